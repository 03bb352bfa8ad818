-- Reading tasks (UPS): what a reader is to do for a case, who has claimed it, and who is told what becomes of it.

CREATE TABLE tasks (
    uid             TEXT    NOT NULL PRIMARY KEY,
    case_id         TEXT    NOT NULL REFERENCES cases (id),
    reader          TEXT    NOT NULL,
    -- Of the case: it may look, and ask that the task be canceled.
    origin          TEXT    NOT NULL,
    -- Counts the tasks of this case and reader, from 1.
    round           BIGINT NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')),
    -- The performer's lock; never given out. Empty: nobody has claimed it.
    transaction_uid TEXT    NOT NULL,
    -- AE title, or name of the token.
    claimed_by      TEXT    NOT NULL,
    claimed_us      BIGINT,
    -- IN PROGRESS only: the claim may be ended when this has passed without progress.
    lease_us        BIGINT,
    -- 1 HIGH, 2 MEDIUM, 3 LOW.
    rank            BIGINT NOT NULL CHECK (rank IN (1, 2, 3)),
    -- Worklist Label: the rule that named the reader.
    label           TEXT    NOT NULL,
    scheduled_us    BIGINT NOT NULL,
    expires_us      BIGINT,
    created_us      BIGINT NOT NULL,
    updated_us      BIGINT NOT NULL,
    ended_us        BIGINT,
    -- 1: all images are there.
    ready           BIGINT NOT NULL,
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
);
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
    deletion_lock BIGINT NOT NULL,
    -- 1: not this task, though a global subscription would have it.
    excluded      BIGINT NOT NULL,
    since_us      BIGINT NOT NULL,
    -- A global subscription that was suspended: no task made after this.
    until_us      BIGINT,
    PRIMARY KEY (partner, ae, scope)
);
CREATE INDEX task_subscriptions_by_scope ON task_subscriptions (scope);

-- What happened to tasks, until everybody who wants to know it has a notice.
CREATE TABLE task_events (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_uid TEXT    NOT NULL REFERENCES tasks (uid),
    -- Event Type ID, PS3.4 Table CC.2.4-1.
    kind     BIGINT NOT NULL CHECK (kind IN (1, 2, 3, 5)),
    state    TEXT    NOT NULL,
    ready    BIGINT NOT NULL,
    -- What else the event says, as DICOM JSON.
    content  TEXT    NOT NULL,
    -- For this one alone: its first event after it has subscribed. Empty: for all.
    only_partner TEXT NOT NULL,
    only_ae  TEXT    NOT NULL,
    at_us    BIGINT NOT NULL,
    -- 1: its notices are written.
    noted    BIGINT NOT NULL
);
CREATE INDEX task_events_to_note ON task_events (id) WHERE noted = 0;
CREATE INDEX task_events_by_time ON task_events (at_us) WHERE noted = 1;

-- An event that a subscriber has not been told yet.
CREATE TABLE task_notices (
    partner  TEXT    NOT NULL,
    ae       TEXT    NOT NULL,
    event_id BIGINT NOT NULL REFERENCES task_events (id),
    PRIMARY KEY (partner, ae, event_id)
);
CREATE INDEX task_notices_by_event ON task_notices (event_id);

-- The rhythm of each subscriber: written down before it is tried.
CREATE TABLE task_receivers (
    partner  TEXT    NOT NULL,
    ae       TEXT    NOT NULL,
    attempts BIGINT NOT NULL,
    -- Not tried before; while somebody tells it, how long that may take.
    next_us  BIGINT NOT NULL,
    PRIMARY KEY (partner, ae)
);
