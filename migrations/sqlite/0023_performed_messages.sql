-- What a hospital's own system is still to be told of its scanners' steps (MPPS sent on). What it has taken is deleted.
CREATE TABLE performed_messages (
    -- In the order they came.
    number     INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    origin     TEXT    NOT NULL,
    -- SOP Instance UID of the step.
    uid        TEXT    NOT NULL,
    -- 1: N-CREATE, 0: N-SET.
    begins     INTEGER NOT NULL CHECK (begins IN (0, 1)),
    -- DICOM JSON: patient data. Empty: it was given up.
    attributes TEXT    NOT NULL,
    created_us INTEGER NOT NULL,
    -- Written down before each.
    attempts   INTEGER NOT NULL,
    -- Not tried before; while somebody sends it, how long that may take.
    next_us    INTEGER NOT NULL,
    -- Why it was given up; empty: it is owed.
    stopped    TEXT    NOT NULL
) STRICT;
CREATE INDEX performed_messages_owed ON performed_messages (origin, next_us, number) WHERE stopped = '';
CREATE INDEX performed_messages_stopped ON performed_messages (created_us) WHERE stopped <> '';
CREATE INDEX performed_messages_by_step ON performed_messages (origin, uid, number);
-- Steps of studies that never become a case leave by their age.
CREATE INDEX performed_steps_by_change ON performed_steps (changed_us);
