-- Storage commitments that were asked of us (PS3.4 J), until their answer has been taken.

CREATE TABLE commitments (
    partner     TEXT    NOT NULL,
    -- Whoever asked, and is to be told: a destination of the partner.
    ae_title    TEXT    NOT NULL,
    transaction_uid TEXT NOT NULL,
    -- JSON list of [SOP class, SOP instance].
    instances   TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('asked', 'told', 'given_up')),
    asked_us    BIGINT NOT NULL,
    -- When it is looked at again; moved on before each attempt to tell.
    next_us     BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    PRIMARY KEY (partner, ae_title, transaction_uid)
);
CREATE INDEX commitments_due ON commitments (next_us) WHERE state = 'asked';
