-- What hospitals ask for, and the studies it became.

CREATE TABLE orders (
    id               TEXT    NOT NULL PRIMARY KEY,
    origin           TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('open', 'on_hold', 'cancelled', 'discontinued', 'replaced', 'completed')),
    -- Each number with its issuer; empty where the origin has given none.
    placer           TEXT    NOT NULL,
    placer_issuer    TEXT    NOT NULL,
    filler           TEXT    NOT NULL,
    filler_issuer    TEXT    NOT NULL,
    accession        TEXT    NOT NULL,
    accession_issuer TEXT    NOT NULL,
    patient_id       TEXT    NOT NULL,
    patient_issuer   TEXT    NOT NULL,
    modality         TEXT    NOT NULL,
    priority         TEXT    NOT NULL,
    -- Name, birth date, sex, procedure: patient data.
    facts            TEXT    NOT NULL,
    received_us      BIGINT  NOT NULL,
    changed_us       BIGINT  NOT NULL,
    CHECK (placer <> '' OR filler <> '')
);
-- Two hospitals may use equal numbers: an order is known by its origin and its number.
CREATE UNIQUE INDEX orders_by_placer ON orders (origin, placer, placer_issuer) WHERE placer <> '';
-- Orders of a group may share the filler's number.
CREATE INDEX orders_by_filler ON orders (origin, filler, filler_issuer) WHERE filler <> '';
CREATE INDEX orders_by_accession ON orders (origin, accession, accession_issuer) WHERE accession <> '';

-- Study Instance UIDs an order was announced with.
CREATE TABLE order_studies (
    order_id  TEXT NOT NULL REFERENCES orders (id),
    origin    TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    PRIMARY KEY (order_id, study_uid)
);
CREATE INDEX order_studies_by_uid ON order_studies (origin, study_uid);

-- One order may become two studies, one study may answer two orders.
CREATE TABLE order_cases (
    order_id  TEXT    NOT NULL REFERENCES orders (id),
    case_id   TEXT    NOT NULL REFERENCES cases (id),
    joined_by TEXT    NOT NULL,
    joined_us BIGINT  NOT NULL,
    PRIMARY KEY (order_id, case_id)
);
CREATE INDEX order_cases_by_case ON order_cases (case_id);

-- What each message asked of an order, and how it was answered; and every such message once, as received.
CREATE TABLE order_messages (
    order_id    TEXT    NOT NULL REFERENCES orders (id),
    received_us BIGINT  NOT NULL,
    sha256      TEXT    NOT NULL,
    -- Which ORC of the message, from 1.
    sequence    BIGINT  NOT NULL,
    control     TEXT    NOT NULL,
    answer      TEXT    NOT NULL,
    PRIMARY KEY (order_id, received_us, sha256, sequence)
);

CREATE TABLE order_contents (
    sha256      TEXT    NOT NULL,
    received_us BIGINT  NOT NULL,
    content     BYTEA   NOT NULL,
    PRIMARY KEY (sha256, received_us)
);
