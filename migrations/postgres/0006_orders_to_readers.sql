-- Orders go to readers; a case may begin with an order alone; further forms of reports.

ALTER TABLE reports DROP CONSTRAINT reports_source_check;
ALTER TABLE reports ADD CONSTRAINT reports_source_check CHECK (source IN ('oru', 'oul', 'mdm', 'sr', 'pdf'));
ALTER TABLE reports DROP CONSTRAINT reports_status_check;
ALTER TABLE reports ADD CONSTRAINT reports_status_check CHECK (status IN ('preliminary', 'final', 'corrected', 'withdrawn'));
ALTER TABLE deliveries DROP CONSTRAINT deliveries_kind_check;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_kind_check
    CHECK (kind IN ('images', 'message', 'report_oru', 'report_oul', 'report_mdm', 'report_pdf', 'report_sr'));

-- What is sent about an order, its specimens or its patient by HL7, made when it became owed.
CREATE TABLE case_messages (
    delivery_id TEXT NOT NULL PRIMARY KEY REFERENCES deliveries (id),
    control_id  TEXT NOT NULL,
    -- MSH-9 of it, such as ORM^O01.
    what        TEXT NOT NULL,
    content     BYTEA NOT NULL
);

ALTER TABLE orders ADD COLUMN discipline TEXT NOT NULL DEFAULT 'radiology';
-- Counts the messages about an order, from 1, in the order in which they were committed.
ALTER TABLE order_messages ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
UPDATE order_messages SET number = (SELECT COUNT(*) FROM order_messages earlier
    WHERE earlier.order_id = order_messages.order_id AND (earlier.received_us, earlier.sha256, earlier.sequence)
        <= (order_messages.received_us, order_messages.sha256, order_messages.sequence));
CREATE UNIQUE INDEX order_messages_by_number ON order_messages (order_id, number);

-- How far the messages about an order have been made owed to a partner for a case.
CREATE TABLE order_forwards (
    case_id  TEXT    NOT NULL REFERENCES cases (id),
    order_id TEXT    NOT NULL REFERENCES orders (id),
    partner  TEXT    NOT NULL,
    -- Messages with numbers up to here.
    sent_to  BIGINT NOT NULL,
    -- 1: the partner has been told that the order is not its any more.
    withdrawn BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (case_id, order_id, partner)
);

-- 0: begun by an order, no study yet; `study_uid` is then derived from the order.
ALTER TABLE cases ADD COLUMN has_study BIGINT NOT NULL DEFAULT 1;
-- 1: something about its orders has come that its readers do not know yet.
ALTER TABLE cases ADD COLUMN order_news BIGINT NOT NULL DEFAULT 0;
-- When its final report is due. NULL: no deadline, or it has passed and a person was told.
ALTER TABLE cases ADD COLUMN report_due_us BIGINT;
-- It waits for its order until then before it is decided without.
ALTER TABLE cases ADD COLUMN waits_until_us BIGINT;
CREATE INDEX cases_with_news ON cases (id) WHERE order_news = 1;
CREATE INDEX cases_of_orders_to_route ON cases (id) WHERE state = 'new' AND has_study = 0;
CREATE INDEX cases_by_report_due ON cases (report_due_us) WHERE report_due_us IS NOT NULL;
CREATE INDEX cases_waiting_for_orders ON cases (waits_until_us) WHERE state = 'new' AND waits_until_us IS NOT NULL;
