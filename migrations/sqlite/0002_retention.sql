-- Images leave the disk when their case is done and its time has passed; rows stay.

-- 1: the bytes are in the journal. 2: they may be taken off the disk. 0: they have been.
ALTER TABLE instances ADD COLUMN on_disk INTEGER NOT NULL DEFAULT 1;
CREATE INDEX instances_on_disk ON instances (journal, on_disk) WHERE on_disk > 0;

ALTER TABLE report_objects ADD COLUMN on_disk INTEGER NOT NULL DEFAULT 1;
CREATE INDEX report_objects_on_disk ON report_objects (journal, on_disk) WHERE on_disk > 0;
CREATE INDEX report_objects_to_purge ON report_objects (received_us) WHERE on_disk = 1 AND done = 1;
CREATE INDEX reports_by_sha256 ON reports (sha256);

-- When the case's images were given up. NULL again when more come.
ALTER TABLE cases ADD COLUMN purged_us INTEGER;
CREATE INDEX cases_to_purge ON cases (last_us) WHERE purged_us IS NULL AND routed_to = instances AND attention = '';
