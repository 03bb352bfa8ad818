-- Orders go to readers; a case may begin with an order alone; further forms of reports.

-- SQLite cannot widen a CHECK: what refers to a table goes aside before it, and comes back after it.
CREATE TABLE attempts_aside AS SELECT * FROM attempts;
DROP TABLE attempts;
CREATE TABLE deliveries_aside AS SELECT id, case_id, partner, lane, kind, first_seq, last_seq, done_to, refused, report_id, version, items, bytes, state, attempts, next_us, lease_us, owner, deadline_us, give_up_us, created_us, finished_us, last_outcome, attempts_before FROM deliveries;
DROP TABLE deliveries;
CREATE TABLE report_forms_aside AS SELECT * FROM report_forms;
DROP TABLE report_forms;
CREATE TABLE reports_aside AS SELECT * FROM reports;
DROP TABLE reports;

CREATE TABLE reports (
    id            TEXT    NOT NULL PRIMARY KEY,
    -- NULL: fits no case, held for a person.
    case_id       TEXT    REFERENCES cases (id),
    sender        TEXT    NOT NULL,
    source        TEXT    NOT NULL CHECK (source IN ('oru', 'oul', 'mdm', 'sr', 'pdf')),
    status        TEXT    NOT NULL CHECK (status IN ('preliminary', 'final', 'corrected', 'withdrawn')),
    -- Counts the versions of a case's report, from 1; 0 while held.
    version       INTEGER NOT NULL,
    received_us   INTEGER NOT NULL,
    correlated_by TEXT    NOT NULL,
    hold_reason   TEXT    NOT NULL,
    sha256        TEXT    NOT NULL,
    -- As received: an HL7 message or a data set.
    content       BLOB    NOT NULL,
    -- When a person dismissed it. NULL: nobody has.
    dismissed_us  INTEGER,
    -- Why a person attached or dismissed it.
    decided_why   TEXT    NOT NULL DEFAULT ''
) STRICT;
INSERT INTO reports SELECT id, case_id, sender, source, status, version, received_us, correlated_by, hold_reason, sha256, content,
    dismissed_us, decided_why FROM reports_aside;
DROP TABLE reports_aside;
CREATE INDEX reports_by_case ON reports (case_id, version);
CREATE INDEX reports_held ON reports (received_us) WHERE case_id IS NULL AND dismissed_us IS NULL;
CREATE INDEX reports_by_sha256 ON reports (sha256);

CREATE TABLE report_forms (
    report_id       TEXT NOT NULL REFERENCES reports (id),
    form            TEXT NOT NULL,
    control_id      TEXT NOT NULL,
    sop_class       TEXT NOT NULL,
    sop_uid         TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL,
    content         BLOB NOT NULL,
    PRIMARY KEY (report_id, form)
) STRICT;
INSERT INTO report_forms SELECT report_id, form, control_id, sop_class, sop_uid, transfer_syntax, content FROM report_forms_aside;
DROP TABLE report_forms_aside;

CREATE TABLE deliveries (
    id           TEXT    NOT NULL PRIMARY KEY,
    case_id      TEXT    NOT NULL REFERENCES cases (id),
    partner      TEXT    NOT NULL,
    lane         TEXT    NOT NULL CHECK (lane IN ('stat', 'routine', 'bulk')),
    kind         TEXT    NOT NULL CHECK (kind IN ('images', 'message', 'report_oru', 'report_oul', 'report_mdm', 'report_pdf', 'report_sr')),
    -- Images: the run of the case's instances, inclusive, and how far it has been confirmed.
    first_seq    INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL,
    done_to      INTEGER NOT NULL,
    -- Instances the partner would not have: JSON list of {seq, status}.
    refused      TEXT    NOT NULL,
    report_id    TEXT    REFERENCES reports (id),
    version      INTEGER NOT NULL,
    items        INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('owed', 'queued', 'attempting', 'delivered', 'stopped', 'withdrawn')),
    attempts     INTEGER NOT NULL,
    next_us      INTEGER NOT NULL,
    -- Queued and attempting only: owed again when this has passed.
    lease_us     INTEGER,
    owner        TEXT    NOT NULL,
    deadline_us  INTEGER,
    give_up_us   INTEGER NOT NULL,
    created_us   INTEGER NOT NULL,
    finished_us  INTEGER,
    last_outcome TEXT    NOT NULL,
    -- Attempts made before it was last sent again by a person.
    attempts_before INTEGER NOT NULL DEFAULT 0,
    CHECK ((finished_us IS NULL) = (state IN ('owed', 'queued', 'attempting'))),
    CHECK ((lease_us IS NOT NULL) = (state IN ('queued', 'attempting')))
) STRICT;
INSERT INTO deliveries (id, case_id, partner, lane, kind, first_seq, last_seq, done_to, refused, report_id, version, items, bytes, state, attempts, next_us, lease_us, owner, deadline_us, give_up_us, created_us, finished_us, last_outcome, attempts_before) SELECT id, case_id, partner, lane, kind, first_seq, last_seq, done_to, refused, report_id, version, items, bytes, state, attempts, next_us, lease_us, owner, deadline_us, give_up_us, created_us, finished_us, last_outcome, attempts_before FROM deliveries_aside;
DROP TABLE deliveries_aside;
CREATE INDEX deliveries_due ON deliveries (partner, lane, kind, next_us, id) WHERE state = 'owed';
CREATE INDEX deliveries_open ON deliveries (partner, state, lane, kind) WHERE state IN ('owed', 'queued', 'attempting', 'stopped');
CREATE INDEX deliveries_late ON deliveries (deadline_us) WHERE state IN ('owed', 'queued', 'attempting') AND deadline_us IS NOT NULL;
CREATE INDEX deliveries_spent ON deliveries (give_up_us) WHERE state = 'owed';
CREATE INDEX deliveries_leased ON deliveries (lease_us) WHERE state IN ('queued', 'attempting');
CREATE INDEX deliveries_by_case ON deliveries (case_id, partner, kind);

CREATE TABLE attempts (
    delivery_id TEXT    NOT NULL REFERENCES deliveries (id),
    attempt     INTEGER NOT NULL,
    node        TEXT    NOT NULL,
    started_us  INTEGER NOT NULL,
    ended_us    INTEGER,
    outcome     TEXT    NOT NULL,
    PRIMARY KEY (delivery_id, attempt)
) STRICT;
INSERT INTO attempts SELECT delivery_id, attempt, node, started_us, ended_us, outcome FROM attempts_aside;
DROP TABLE attempts_aside;

-- What is sent about an order, its specimens or its patient by HL7, made when it became owed.
CREATE TABLE case_messages (
    delivery_id TEXT NOT NULL PRIMARY KEY REFERENCES deliveries (id),
    control_id  TEXT NOT NULL,
    -- MSH-9 of it, such as ORM^O01.
    what        TEXT NOT NULL,
    content     BLOB NOT NULL
) STRICT;

ALTER TABLE orders ADD COLUMN discipline TEXT NOT NULL DEFAULT 'radiology';
-- Counts the messages about an order, from 1, in the order in which they were committed.
ALTER TABLE order_messages ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE order_messages SET number = (SELECT COUNT(*) FROM order_messages earlier
    WHERE earlier.order_id = order_messages.order_id AND (earlier.received_us, earlier.sha256, earlier.sequence)
        <= (order_messages.received_us, order_messages.sha256, order_messages.sequence));
CREATE UNIQUE INDEX order_messages_by_number ON order_messages (order_id, number);

-- How far the messages about an order have been made owed to a partner for a case.
CREATE TABLE order_forwards (
    case_id  TEXT    NOT NULL REFERENCES cases (id),
    order_id TEXT    NOT NULL REFERENCES orders (id),
    partner  TEXT    NOT NULL,
    -- Messages with numbers up to here.
    sent_to  INTEGER NOT NULL,
    -- 1: the partner has been told that the order is not its any more.
    withdrawn INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (case_id, order_id, partner)
) STRICT;

-- 0: begun by an order, no study yet; `study_uid` is then derived from the order.
ALTER TABLE cases ADD COLUMN has_study INTEGER NOT NULL DEFAULT 1;
-- 1: something about its orders has come that its readers do not know yet.
ALTER TABLE cases ADD COLUMN order_news INTEGER NOT NULL DEFAULT 0;
-- When its final report is due. NULL: no deadline, or it has passed and a person was told.
ALTER TABLE cases ADD COLUMN report_due_us INTEGER;
-- It waits for its order until then before it is decided without.
ALTER TABLE cases ADD COLUMN waits_until_us INTEGER;
CREATE INDEX cases_with_news ON cases (id) WHERE order_news = 1;
CREATE INDEX cases_of_orders_to_route ON cases (id) WHERE state = 'new' AND has_study = 0;
CREATE INDEX cases_by_report_due ON cases (report_due_us) WHERE report_due_us IS NOT NULL;
CREATE INDEX cases_waiting_for_orders ON cases (waits_until_us) WHERE state = 'new' AND waits_until_us IS NOT NULL;
