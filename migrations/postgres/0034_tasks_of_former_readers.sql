-- What was known of the case when its task ended: who reads it no longer is told that, and nothing newer. Empty: it is open, or ended
-- before this was kept.
ALTER TABLE tasks ADD COLUMN ended_facts TEXT NOT NULL DEFAULT '';
-- When a person was told that it stays with a reader that is down.
ALTER TABLE tasks ADD COLUMN told_us BIGINT;
-- What is offered and not all there, or not any more.
CREATE INDEX tasks_not_ready ON tasks (case_id) WHERE ready = 0 AND state IN ('SCHEDULED', 'IN PROGRESS');

-- Tasks that have fitted a filtered subscription: their events are told, whatever becomes of them (PS3.4 CC.2.3.3). Open ones only.
CREATE TABLE task_fits (
    task_uid TEXT NOT NULL REFERENCES tasks (uid),
    partner  TEXT NOT NULL,
    -- Receiving AE.
    ae       TEXT NOT NULL,
    PRIMARY KEY (task_uid, partner, ae)
);
CREATE INDEX task_fits_of_receiver ON task_fits (partner, ae);
