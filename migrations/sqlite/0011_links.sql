-- What a person links and unlinks; what resembles each other and is proposed to one.

-- What the case took over from the order when they were joined, as JSON: given back when a person unlinks them.
ALTER TABLE order_cases ADD COLUMN taken TEXT NOT NULL DEFAULT '[]';

-- A person has said that these do not belong together: nothing joins them again by itself.
CREATE TABLE order_unlinks (
    order_id    TEXT    NOT NULL REFERENCES orders (id),
    case_id     TEXT    NOT NULL REFERENCES cases (id),
    unlinked_us INTEGER NOT NULL,
    why         TEXT    NOT NULL,
    PRIMARY KEY (order_id, case_id)
) STRICT;

CREATE INDEX orders_by_patient ON orders (origin, patient_id, patient_issuer, received_us);
CREATE INDEX cases_by_patient ON cases (origin, patient_id, patient_issuer, last_us);
CREATE INDEX orders_by_received ON orders (received_us);
