-- What identifiers of one partner are called toward another that wants them in its own domain, and back.

CREATE TABLE identities (
    reader  TEXT    NOT NULL,
    kind    TEXT    NOT NULL CHECK (kind IN ('patient', 'accession', 'placer', 'filler')),
    origin  TEXT    NOT NULL,
    -- SHA-256 of issuer and value, whatever their length.
    digest  TEXT    NOT NULL,
    issuer  TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    mapped  TEXT    NOT NULL,
    made_us BIGINT  NOT NULL,
    PRIMARY KEY (reader, kind, origin, digest)
);
CREATE UNIQUE INDEX identities_by_mapped ON identities (reader, kind, mapped);

-- What left for a partner under identifiers of its own: the digest of what was sent. That of what was received stands in
-- `instances`.
CREATE TABLE sent_instances (
    case_id     TEXT    NOT NULL REFERENCES cases (id),
    partner     TEXT    NOT NULL,
    seq         BIGINT  NOT NULL,
    sha256      TEXT    NOT NULL,
    -- How many of its identifiers were mapped.
    identifiers BIGINT  NOT NULL,
    PRIMARY KEY (case_id, partner, seq)
);
