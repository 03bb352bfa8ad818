-- Storage commitments that this node asks of those it has delivered images to (PS3.4 J as SCU): what was delivered within
-- a few seconds is asked for at once.
CREATE TABLE asked_commitments (
    -- Transaction UIDs are made of it: 2.25, its number, the number of the attempt.
    id          TEXT    NOT NULL PRIMARY KEY,
    case_id     TEXT    NOT NULL REFERENCES cases (id),
    -- Who has the images.
    partner     TEXT    NOT NULL,
    -- Runs of the case's instances, inclusive: JSON list of [first, last]; and those in them that were not taken: of numbers.
    runs        TEXT    NOT NULL,
    skipped     TEXT    NOT NULL,
    items       INTEGER NOT NULL,
    -- given_up: no answer came. replaced: another asks for the same, and more. dropped: it is not to be asked any more.
    state       TEXT    NOT NULL CHECK (state IN ('owed', 'asked', 'committed', 'failed', 'given_up', 'replaced', 'dropped')),
    -- Questions that were taken.
    asks        INTEGER NOT NULL,
    -- Written down before each.
    attempts    INTEGER NOT NULL,
    created_us  INTEGER NOT NULL,
    -- When it was owed, or last taken.
    since_us    INTEGER NOT NULL,
    -- Owed: not tried before. Asked: until when the answer is waited for.
    next_us     INTEGER NOT NULL,
    ended_us    INTEGER,
    CHECK ((ended_us IS NULL) = (state IN ('owed', 'asked')))
) STRICT;
CREATE INDEX asked_commitments_due ON asked_commitments (partner, next_us) WHERE ended_us IS NULL;
CREATE INDEX asked_commitments_open ON asked_commitments (case_id) WHERE ended_us IS NULL;
CREATE INDEX asked_commitments_by_case ON asked_commitments (case_id, partner);
