-- Reading tasks (UPS): what a reader is to do for a case, who has claimed it, and who is told what becomes of it.

CREATE TABLE tasks (
    uid             TEXT    NOT NULL PRIMARY KEY,
    case_id         TEXT    NOT NULL REFERENCES cases (id),
    reader          TEXT    NOT NULL,
    -- Of the case: it may look, and ask that the task be canceled.
    origin          TEXT    NOT NULL,
    -- Counts the tasks of this case and reader, from 1.
    round           INTEGER NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')),
    -- The performer's lock; never given out. Empty: nobody has claimed it.
    transaction_uid TEXT    NOT NULL,
    -- AE title, or name of the token.
    claimed_by      TEXT    NOT NULL,
    claimed_us      INTEGER,
    -- IN PROGRESS only: the claim may be ended when this has passed without progress.
    lease_us        INTEGER,
    -- 1 HIGH, 2 MEDIUM, 3 LOW.
    rank            INTEGER NOT NULL CHECK (rank IN (1, 2, 3)),
    -- Worklist Label: the rule that named the reader.
    label           TEXT    NOT NULL,
    scheduled_us    INTEGER NOT NULL,
    expires_us      INTEGER,
    created_us      INTEGER NOT NULL,
    updated_us      INTEGER NOT NULL,
    ended_us        INTEGER,
    -- 1: all images are there.
    ready           INTEGER NOT NULL,
    -- What its performer has set, as DICOM JSON: progress, what was performed, by whom.
    attributes      TEXT    NOT NULL,
    -- The report that completed it; empty: none, or its performer did.
    report_id       TEXT    NOT NULL,
    -- Why it was canceled. No patient data.
    reason          TEXT    NOT NULL,
    -- The task in whose place it came; empty: none.
    replaces        TEXT    NOT NULL,
    CHECK ((ended_us IS NOT NULL) = (state IN ('COMPLETED', 'CANCELED'))),
    CHECK (state <> 'IN PROGRESS' OR transaction_uid <> ''),
    CHECK (lease_us IS NULL OR state = 'IN PROGRESS')
) STRICT;
CREATE UNIQUE INDEX tasks_by_case ON tasks (case_id, reader, round);
-- One at a time for a case and reader.
CREATE UNIQUE INDEX tasks_open ON tasks (case_id, reader) WHERE state IN ('SCHEDULED', 'IN PROGRESS');
CREATE INDEX tasks_of_reader ON tasks (reader, state, rank, scheduled_us, uid);
CREATE INDEX tasks_of_reader_by_label ON tasks (reader, state, label, rank, scheduled_us, uid);
CREATE INDEX tasks_of_origin ON tasks (origin, state, rank, scheduled_us, uid);
CREATE INDEX tasks_leased ON tasks (lease_us) WHERE lease_us IS NOT NULL;

-- Who wants to be told (PS3.4 CC.2.3).
CREATE TABLE task_subscriptions (
    partner       TEXT    NOT NULL,
    -- Receiving AE.
    ae            TEXT    NOT NULL,
    -- A task's UID, or the well-known one of a global or filtered subscription.
    scope         TEXT    NOT NULL,
    -- Filtered: its keys as DICOM JSON; empty otherwise.
    keys          TEXT    NOT NULL,
    deletion_lock INTEGER NOT NULL,
    -- 1: not this task, though a global subscription would have it.
    excluded      INTEGER NOT NULL,
    since_us      INTEGER NOT NULL,
    -- A global subscription that was suspended: no task made after this.
    until_us      INTEGER,
    PRIMARY KEY (partner, ae, scope)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_subscriptions_by_scope ON task_subscriptions (scope);

-- What happened to tasks, until everybody who wants to know it has a notice.
CREATE TABLE task_events (
    id       INTEGER PRIMARY KEY,
    task_uid TEXT    NOT NULL REFERENCES tasks (uid),
    -- Event Type ID, PS3.4 Table CC.2.4-1.
    kind     INTEGER NOT NULL CHECK (kind IN (1, 2, 3, 5)),
    state    TEXT    NOT NULL,
    ready    INTEGER NOT NULL,
    -- What else the event says, as DICOM JSON.
    content  TEXT    NOT NULL,
    -- For this one alone: its first event after it has subscribed. Empty: for all.
    only_partner TEXT NOT NULL,
    only_ae  TEXT    NOT NULL,
    at_us    INTEGER NOT NULL,
    -- 1: its notices are written.
    noted    INTEGER NOT NULL
) STRICT;
CREATE INDEX task_events_to_note ON task_events (id) WHERE noted = 0;
CREATE INDEX task_events_by_time ON task_events (at_us) WHERE noted = 1;

-- An event that a subscriber has not been told yet.
CREATE TABLE task_notices (
    partner  TEXT    NOT NULL,
    ae       TEXT    NOT NULL,
    event_id INTEGER NOT NULL REFERENCES task_events (id),
    PRIMARY KEY (partner, ae, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_notices_by_event ON task_notices (event_id);

-- The rhythm of each subscriber: written down before it is tried.
CREATE TABLE task_receivers (
    partner  TEXT    NOT NULL,
    ae       TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    -- Not tried before; while somebody tells it, how long that may take.
    next_us  INTEGER NOT NULL,
    PRIMARY KEY (partner, ae)
) STRICT, WITHOUT ROWID;
