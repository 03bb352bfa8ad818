-- Storage commitments that have ended leave after a while; one that nobody took and that no case tells of is a notice.

ALTER TABLE commitments ADD COLUMN id TEXT NOT NULL DEFAULT '';
UPDATE commitments SET id = gen_random_uuid()::text;
CREATE UNIQUE INDEX commitments_by_id ON commitments (id);
-- Why it was given up, where no case of its instances says so.
ALTER TABLE commitments ADD COLUMN stopped TEXT NOT NULL DEFAULT '';
CREATE INDEX commitments_stopped ON commitments (id) WHERE stopped <> '';
-- What has ended is not looked at again.
UPDATE commitments SET instances = '[]' WHERE state <> 'asked';
CREATE INDEX commitments_ended ON commitments (next_us) WHERE state <> 'asked';
