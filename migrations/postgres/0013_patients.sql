-- What hospitals tell of their patients: changed names, merged identifiers.

-- An identifier that has been merged into another one of the same hospital (ADT^A40).
CREATE TABLE patient_merges (
    origin     TEXT    NOT NULL,
    old_id     TEXT    NOT NULL,
    old_issuer TEXT    NOT NULL,
    new_id     TEXT    NOT NULL,
    new_issuer TEXT    NOT NULL,
    merged_us  BIGINT NOT NULL,
    PRIMARY KEY (origin, old_id, old_issuer)
);
CREATE INDEX patient_merges_by_new ON patient_merges (origin, new_id, new_issuer);

-- Messages about the patient of a case that its readers are to get. The content is in `order_contents`.
CREATE TABLE patient_messages (
    case_id     TEXT    NOT NULL REFERENCES cases (id),
    received_us BIGINT NOT NULL,
    sha256      TEXT    NOT NULL,
    -- 1: identifiers were merged.
    merge       BIGINT NOT NULL,
    PRIMARY KEY (case_id, received_us, sha256)
);

-- Each of them goes to a partner once, however many cases of the patient it reads.
CREATE TABLE patient_messages_sent (
    partner     TEXT    NOT NULL,
    received_us BIGINT NOT NULL,
    sha256      TEXT    NOT NULL,
    PRIMARY KEY (partner, received_us, sha256)
);
