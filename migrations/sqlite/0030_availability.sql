-- Partners' own systems are told when a study is whole and delivered (instance availability, PS3.4 R), by the way that performed steps
-- are sent on.
ALTER TABLE performed_messages ADD COLUMN kind TEXT NOT NULL DEFAULT 'performed' CHECK (kind IN ('performed', 'availability'));
DROP INDEX performed_messages_owed;
CREATE INDEX performed_messages_owed ON performed_messages (origin, kind, next_us, number) WHERE stopped = '';

-- Studies that are whole and delivered: with how many instances, and to whom (a list in JSON). What has been told is told again only
-- where there are more, or others have it: when no more have come for a while.
CREATE TABLE available_studies (
    case_id   TEXT    NOT NULL PRIMARY KEY REFERENCES cases (id),
    noted_us  INTEGER NOT NULL,
    instances INTEGER NOT NULL,
    receivers TEXT    NOT NULL,
    told      INTEGER NOT NULL DEFAULT 0,
    again     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX available_studies_untold ON available_studies (noted_us, case_id) WHERE told = 0;
