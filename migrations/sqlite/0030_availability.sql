-- Partners' own systems are told when a study is whole and delivered (instance availability, PS3.4 R), by the way that performed steps
-- are sent on.
ALTER TABLE performed_messages ADD COLUMN kind TEXT NOT NULL DEFAULT 'performed' CHECK (kind IN ('performed', 'availability'));
DROP INDEX performed_messages_owed;
CREATE INDEX performed_messages_owed ON performed_messages (origin, kind, next_us, number) WHERE stopped = '';

-- Studies that are whole and delivered, of which nobody has been told.
CREATE TABLE available_studies (
    case_id  TEXT    NOT NULL PRIMARY KEY REFERENCES cases (id),
    noted_us INTEGER NOT NULL
) STRICT;
