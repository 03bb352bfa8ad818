-- When what a hospital's own system is not told any more was given up: from then on it is shown to a person.
ALTER TABLE performed_messages ADD COLUMN stopped_us INTEGER NOT NULL DEFAULT 0;
UPDATE performed_messages SET stopped_us = next_us WHERE stopped <> '';
DROP INDEX performed_messages_stopped;
CREATE INDEX performed_messages_stopped ON performed_messages (stopped_us) WHERE stopped <> '';
-- A person has seen to it, and why.
ALTER TABLE performed_messages ADD COLUMN dismissed_us INTEGER;
ALTER TABLE performed_messages ADD COLUMN decided_why TEXT NOT NULL DEFAULT '';
-- Who subscribes to one task is told its state at once. Events of it that nobody had been told of by then say nothing newer.
ALTER TABLE task_subscriptions ADD COLUMN after_event INTEGER NOT NULL DEFAULT 0;
