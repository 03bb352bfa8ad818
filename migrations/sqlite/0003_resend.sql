-- A delivery that a person has sent again is tried as often as the first time.

-- Attempts made before it was last sent again by a person.
ALTER TABLE deliveries ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0;
