-- A report that fitted no case leaves the list when a person has attached it to one, or dismissed it.

-- When a person dismissed it. NULL: nobody has.
ALTER TABLE reports ADD COLUMN dismissed_us INTEGER;
-- Why a person attached or dismissed it.
ALTER TABLE reports ADD COLUMN decided_why TEXT NOT NULL DEFAULT '';
DROP INDEX reports_held;
CREATE INDEX reports_held ON reports (received_us) WHERE case_id IS NULL AND dismissed_us IS NULL;
