-- What lets a caller in over HTTP. Of the secret only its hash is here.
CREATE TABLE tokens (
    id           TEXT    NOT NULL PRIMARY KEY,
    partner      TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    sha256       TEXT    NOT NULL,
    created_us   BIGINT  NOT NULL,
    expires_us   BIGINT,
    revoked_us   BIGINT,
    -- To ten minutes.
    last_used_us BIGINT
);
CREATE INDEX tokens_by_partner ON tokens (partner, created_us);
