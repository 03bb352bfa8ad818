-- One way to tell the operator: what waits for a person becomes a notice, and is told by every channel there is.

CREATE TABLE notices (
    id          TEXT    NOT NULL PRIMARY KEY,
    -- What waits, `case` or `report`, and its id.
    kind        TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    -- Whose it is (origin, or sender of a report), and who reads it; empty where nobody does.
    partner     TEXT    NOT NULL,
    reader      TEXT    NOT NULL,
    -- All that it waits for, as last seen. No patient data.
    reason      TEXT    NOT NULL,
    first_us    BIGINT NOT NULL,
    -- NULL: it still waits.
    resolved_us BIGINT
);
CREATE UNIQUE INDEX notices_open ON notices (kind, subject) WHERE resolved_us IS NULL;
CREATE INDEX notices_by_subject ON notices (subject);

-- How far each notice has been told by each channel.
CREATE TABLE notice_tellings (
    notice_id TEXT    NOT NULL REFERENCES notices (id),
    channel   TEXT    NOT NULL CHECK (channel IN ('log', 'webhook', 'mail')),
    -- 1 until the notice is resolved.
    open      BIGINT NOT NULL,
    -- Those of its reasons that have not been told yet.
    news      TEXT    NOT NULL,
    -- 0: not told yet, or there is news.
    told_us   BIGINT NOT NULL,
    times     BIGINT NOT NULL,
    -- The call under way that carries it; empty: none.
    call_id   TEXT    NOT NULL,
    PRIMARY KEY (notice_id, channel)
);
CREATE INDEX notice_tellings_due ON notice_tellings (channel, told_us) WHERE open = 1;
CREATE INDEX notice_tellings_by_call ON notice_tellings (call_id) WHERE call_id <> '';

-- Each channel's own rhythm: a call is written down before it is made.
CREATE TABLE notice_channels (
    channel  TEXT    NOT NULL PRIMARY KEY,
    -- Under way, or failed and to be made again; empty: none.
    call_id  TEXT    NOT NULL,
    attempts BIGINT NOT NULL,
    -- Nothing is told before.
    next_us  BIGINT NOT NULL,
    outcome  TEXT    NOT NULL
);
INSERT INTO notice_channels (channel, call_id, attempts, next_us, outcome)
    VALUES ('log', '', 0, 0, ''), ('webhook', '', 0, 0, ''), ('mail', '', 0, 0, '');
