-- An answer to a message that was sent may come later, as a message of its own: it is found by what it names.
CREATE INDEX case_messages_by_control_id ON case_messages (control_id);

-- Application responses to orders that their sender wants as messages of their own (HL7 v2.5.1 2.9.3), and refusals that no
-- message can bring. What has been taken is deleted.
CREATE TABLE order_answers (
    -- In the order they became owed.
    number       INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    partner      TEXT    NOT NULL,
    -- MSH-10 of it.
    control_id   TEXT    NOT NULL,
    -- As it is sent: numbers of orders. Empty: it was given up, or there was no way for it.
    content      BLOB    NOT NULL,
    -- ORC-1 of what was refused (UA, UC, UX, ...).
    refused      TEXT    NOT NULL,
    created_us   INTEGER NOT NULL,
    -- Written down before each.
    attempts     INTEGER NOT NULL,
    -- Not tried before; while somebody sends it, how long that may take.
    next_us      INTEGER NOT NULL,
    -- Why a person must tell the sender; empty: it is owed.
    stopped      TEXT    NOT NULL,
    stopped_us   INTEGER,
    dismissed_us INTEGER,
    decided_why  TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX order_answers_owed ON order_answers (partner, next_us, number) WHERE stopped = '';
CREATE INDEX order_answers_stopped ON order_answers (stopped_us) WHERE stopped <> '' AND dismissed_us IS NULL;
