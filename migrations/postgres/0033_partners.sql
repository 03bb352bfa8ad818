-- What has left for each partner; answers that are forgotten; news of patients with many cases.

-- Images that a partner fetched by itself, before they left.
CREATE TABLE retrievals (
    case_id  TEXT   NOT NULL,
    partner  TEXT   NOT NULL,
    way      TEXT   NOT NULL CHECK (way IN ('C-GET', 'C-MOVE', 'DICOMweb')),
    -- Of the first request: a viewer makes one for each frame.
    at_us    BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    images   BIGINT NOT NULL,
    PRIMARY KEY (case_id, partner, way, at_us)
);
CREATE INDEX retrievals_by_partner ON retrievals (partner, at_us);

CREATE INDEX deliveries_by_end ON deliveries (partner, finished_us, id) WHERE finished_us IS NOT NULL;
CREATE INDEX deliveries_sent_again ON deliveries (partner, id) WHERE attempts_before > 0;
CREATE INDEX tasks_of_reader_by_day ON tasks (reader, created_us, uid);

-- Answers leave by their age, unless what came with the message is open.
CREATE INDEX messages_by_time ON messages (received_us);
CREATE INDEX order_messages_by_time ON order_messages (received_us, sha256);
CREATE INDEX patient_messages_by_time ON patient_messages (received_us, sha256);
CREATE INDEX reports_by_time ON reports (received_us, sender);

-- News of a patient that have reached its open cases and orders, and are still to reach the others: page by page, in this order.
CREATE TABLE patient_news (
    -- UUIDv7: in the order they came.
    id          TEXT    NOT NULL PRIMARY KEY,
    origin      TEXT    NOT NULL,
    received_us BIGINT NOT NULL,
    sha256      TEXT    NOT NULL,
    -- Patient data: the news, as JSON.
    news        TEXT    NOT NULL,
    -- Which list of which identifier is gone through, and the last id in it.
    list        BIGINT NOT NULL,
    after_id    TEXT    NOT NULL
);
CREATE INDEX patient_news_by_origin ON patient_news (origin, id);
