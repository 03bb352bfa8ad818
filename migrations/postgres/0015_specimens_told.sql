-- Who has been told of what happened to a specimen; in which words a reason is coded; what was never ordered.

-- SPM-21.3: whose code it is; empty where none was named.
ALTER TABLE specimen_events ADD COLUMN reason_system TEXT NOT NULL DEFAULT '';

-- Partners for whom an event has been gone through: each is told once, however many cases of the specimen it has.
CREATE TABLE specimen_events_told (
    event_id TEXT NOT NULL REFERENCES specimen_events (id),
    partner  TEXT NOT NULL,
    PRIMARY KEY (event_id, partner)
);
INSERT INTO specimen_events_told (event_id, partner)
    SELECT e.id, s.origin FROM specimen_events e JOIN specimens s ON s.id = e.specimen_id
    WHERE s.ordered = 1 AND e.untold IN (0, 2);
INSERT INTO specimen_events_told (event_id, partner)
    SELECT DISTINCT e.id, c.reader FROM specimen_events e JOIN specimens s ON s.id = e.specimen_id
    JOIN specimen_orders so ON so.specimen_id = s.id JOIN order_cases oc ON oc.order_id = so.order_id
    JOIN cases c ON c.id = oc.case_id
    WHERE e.untold = 0 AND c.reader IS NOT NULL AND c.reader <> s.origin;

CREATE INDEX specimens_without_order ON specimens (ordered, id) WHERE ordered = 0;
