-- The main job: studies in, decided, delivered; reports back. Times are UTC microseconds, ids are UUIDs as text,
-- digests are hex, JSON is text. A migration is never edited after a release; a new one follows it.

-- How far each journal has been read into `instances`. What lies behind is re-read at start.
CREATE TABLE journals (
    id         TEXT    NOT NULL PRIMARY KEY,
    indexed_to BIGINT NOT NULL
);

CREATE TABLE cases (
    id               TEXT    NOT NULL PRIMARY KEY,
    origin           TEXT    NOT NULL,
    study_uid        TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('new', 'held', 'routed', 'delivered', 'preliminary', 'reported')),
    discipline       TEXT    NOT NULL,
    priority         TEXT    NOT NULL,
    calling_ae       TEXT    NOT NULL,
    called_ae        TEXT    NOT NULL,
    facts            TEXT    NOT NULL,
    patient_id       TEXT    NOT NULL,
    patient_issuer   TEXT    NOT NULL,
    accession        TEXT    NOT NULL,
    accession_issuer TEXT    NOT NULL,
    placer_order     TEXT    NOT NULL,
    filler_order     TEXT    NOT NULL,
    -- Instances joined, conflicting duplicates included; the next one gets `instances + 1` as its number.
    instances        BIGINT NOT NULL,
    bytes            BIGINT NOT NULL,
    -- Numbers up to here have been made owed to the reader.
    routed_to        BIGINT NOT NULL CHECK (routed_to <= instances),
    first_us         BIGINT NOT NULL,
    last_us          BIGINT NOT NULL,
    whole_us         BIGINT,
    decision         TEXT,
    reader           TEXT,
    -- Why a person should look; empty when nobody needs to.
    attention        TEXT    NOT NULL,
    CHECK (state NOT IN ('routed', 'delivered') OR decision IS NOT NULL)
);
-- Two hospitals may use equal UIDs: a study is known by its origin and its UID.
CREATE UNIQUE INDEX cases_by_study ON cases (origin, study_uid);
CREATE INDEX cases_by_study_uid ON cases (study_uid);
CREATE INDEX cases_by_accession ON cases (accession);
CREATE INDEX cases_by_placer_order ON cases (placer_order);
CREATE INDEX cases_by_filler_order ON cases (filler_order);
CREATE INDEX cases_to_route ON cases (id) WHERE state IN ('new', 'routed', 'delivered', 'preliminary', 'reported') AND routed_to < instances;
CREATE INDEX cases_to_complete ON cases (last_us, id) WHERE whole_us IS NULL;
CREATE INDEX cases_by_last ON cases (last_us);
CREATE INDEX cases_by_state ON cases (state);
CREATE INDEX cases_waiting ON cases (last_us) WHERE attention <> '' OR state = 'held';

CREATE TABLE instances (
    case_id         TEXT    NOT NULL REFERENCES cases (id),
    seq             BIGINT NOT NULL,
    sop_class       TEXT    NOT NULL,
    sop_uid         TEXT    NOT NULL,
    transfer_syntax TEXT    NOT NULL,
    series_uid      TEXT    NOT NULL,
    journal         TEXT    NOT NULL,
    record_at       BIGINT NOT NULL,
    data_at         BIGINT NOT NULL,
    length          BIGINT NOT NULL,
    sha256          TEXT    NOT NULL,
    received_us     BIGINT NOT NULL,
    -- 1: the same SOP Instance UID came before with other bytes. Kept, flagged, not delivered.
    conflict        BIGINT NOT NULL,
    PRIMARY KEY (case_id, seq)
);
CREATE UNIQUE INDEX instances_by_uid ON instances (case_id, sop_uid, sha256);

CREATE TABLE reports (
    id            TEXT    NOT NULL PRIMARY KEY,
    -- NULL: fits no case, held for a person.
    case_id       TEXT    REFERENCES cases (id),
    sender        TEXT    NOT NULL,
    source        TEXT    NOT NULL CHECK (source IN ('oru', 'sr', 'pdf')),
    status        TEXT    NOT NULL CHECK (status IN ('preliminary', 'final', 'corrected')),
    -- Counts the versions of a case's report, from 1; 0 while held.
    version       BIGINT NOT NULL,
    received_us   BIGINT NOT NULL,
    correlated_by TEXT    NOT NULL,
    hold_reason   TEXT    NOT NULL,
    sha256        TEXT    NOT NULL,
    -- As received: an HL7 message or a data set.
    content       BYTEA NOT NULL
);
CREATE INDEX reports_by_case ON reports (case_id, version);
CREATE INDEX reports_held ON reports (received_us) WHERE case_id IS NULL;

-- What is to be sent, made when the report came: an HL7 message, or a data set with its identifiers.
CREATE TABLE report_forms (
    report_id       TEXT NOT NULL REFERENCES reports (id),
    form            TEXT NOT NULL,
    control_id      TEXT NOT NULL,
    sop_class       TEXT NOT NULL,
    sop_uid         TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL,
    content         BYTEA NOT NULL,
    PRIMARY KEY (report_id, form)
);

-- SR and PDF objects that came by C-STORE from a reader and wait to be correlated.
CREATE TABLE report_objects (
    sender          TEXT    NOT NULL,
    sop_uid         TEXT    NOT NULL,
    sha256          TEXT    NOT NULL,
    sop_class       TEXT    NOT NULL,
    transfer_syntax TEXT    NOT NULL,
    study_uid       TEXT    NOT NULL,
    facts           TEXT    NOT NULL,
    journal         TEXT    NOT NULL,
    record_at       BIGINT NOT NULL,
    data_at         BIGINT NOT NULL,
    length          BIGINT NOT NULL,
    received_us     BIGINT NOT NULL,
    done            BIGINT NOT NULL,
    PRIMARY KEY (sender, sop_uid, sha256)
);
CREATE INDEX report_objects_waiting ON report_objects (received_us) WHERE done = 0;

-- Every HL7 message accepted, so that a repeated one gets the same answer: MSH-3, MSH-4, MSH-10 and equal bytes. Some
-- senders give every message the same control id, or count anew: other bytes are another message, and both are known.
CREATE TABLE messages (
    partner     TEXT    NOT NULL,
    application TEXT    NOT NULL,
    facility    TEXT    NOT NULL,
    control_id  TEXT    NOT NULL,
    sha256      TEXT    NOT NULL,
    received_us BIGINT NOT NULL,
    answer      BYTEA NOT NULL,
    PRIMARY KEY (partner, application, facility, control_id, sha256)
);

-- The ledger: what is owed to whom. The queue holds no state that this row does not.
CREATE TABLE deliveries (
    id           TEXT    NOT NULL PRIMARY KEY,
    case_id      TEXT    NOT NULL REFERENCES cases (id),
    partner      TEXT    NOT NULL,
    lane         TEXT    NOT NULL CHECK (lane IN ('stat', 'routine', 'bulk')),
    kind         TEXT    NOT NULL CHECK (kind IN ('images', 'report_oru', 'report_pdf', 'report_sr')),
    -- Images: the run of the case's instances, inclusive, and how far it has been confirmed.
    first_seq    BIGINT NOT NULL,
    last_seq     BIGINT NOT NULL,
    done_to      BIGINT NOT NULL,
    -- Instances the partner would not have: JSON list of {seq, status}.
    refused      TEXT    NOT NULL,
    report_id    TEXT    REFERENCES reports (id),
    version      BIGINT NOT NULL,
    items        BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('owed', 'queued', 'attempting', 'delivered', 'stopped', 'withdrawn')),
    attempts     BIGINT NOT NULL,
    next_us      BIGINT NOT NULL,
    -- Queued and attempting only: owed again when this has passed.
    lease_us     BIGINT,
    owner        TEXT    NOT NULL,
    deadline_us  BIGINT,
    give_up_us   BIGINT NOT NULL,
    created_us   BIGINT NOT NULL,
    finished_us  BIGINT,
    last_outcome TEXT    NOT NULL,
    CHECK ((finished_us IS NULL) = (state IN ('owed', 'queued', 'attempting'))),
    CHECK ((lease_us IS NOT NULL) = (state IN ('queued', 'attempting')))
);
-- A line is what one partner is owed of one kind by one lane.
CREATE INDEX deliveries_due ON deliveries (partner, lane, kind, next_us, id) WHERE state = 'owed';
CREATE INDEX deliveries_open ON deliveries (partner, state, lane, kind) WHERE state IN ('owed', 'queued', 'attempting', 'stopped');
CREATE INDEX deliveries_late ON deliveries (deadline_us) WHERE state IN ('owed', 'queued', 'attempting') AND deadline_us IS NOT NULL;
CREATE INDEX deliveries_spent ON deliveries (give_up_us) WHERE state = 'owed';
CREATE INDEX deliveries_leased ON deliveries (lease_us) WHERE state IN ('queued', 'attempting');
CREATE INDEX deliveries_by_case ON deliveries (case_id, partner, kind);

-- Every attempt, written before it is made.
CREATE TABLE attempts (
    delivery_id TEXT    NOT NULL REFERENCES deliveries (id),
    attempt     BIGINT NOT NULL,
    node        TEXT    NOT NULL,
    started_us  BIGINT NOT NULL,
    ended_us    BIGINT,
    outcome     TEXT    NOT NULL,
    PRIMARY KEY (delivery_id, attempt)
);

-- A partner that cannot take anything now, by DICOM or by HL7: one does not hold up the other.
CREATE TABLE pauses (
    partner  TEXT NOT NULL,
    channel  TEXT NOT NULL CHECK (channel IN ('dicom', 'hl7')),
    since_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (partner, channel)
);

-- The story of a case, as `neisse cases show` prints it. No patient data.
CREATE TABLE events (
    id      BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    case_id TEXT    NOT NULL REFERENCES cases (id),
    at_us   BIGINT NOT NULL,
    actor   TEXT    NOT NULL,
    what    TEXT    NOT NULL
);
CREATE INDEX events_by_case ON events (case_id, id);
