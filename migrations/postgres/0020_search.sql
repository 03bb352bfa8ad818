-- What is held here, as partners search it.

-- A study as one partner finds it: its origin, and whoever it was owed to. Whether that one may still see it is asked when it
-- searches. Names are without case and accents.
CREATE TABLE study_views (
    partner         TEXT NOT NULL,
    case_id         TEXT NOT NULL REFERENCES cases (id),
    study_uid       TEXT NOT NULL,
    -- Study Date and Time, YYYYMMDDHHMMSS as far as they are known.
    study_at        TEXT COLLATE "C" NOT NULL,
    name_key        TEXT COLLATE "C" NOT NULL,
    patient_id      TEXT COLLATE "C" NOT NULL,
    accession       TEXT COLLATE "C" NOT NULL,
    study_id        TEXT NOT NULL,
    referrer_key    TEXT COLLATE "C" NOT NULL,
    description_key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (case_id, partner)
);
CREATE INDEX study_views_by_time ON study_views (partner, study_at, case_id);
CREATE INDEX study_views_by_name ON study_views (partner, name_key, case_id);
CREATE INDEX study_views_by_patient ON study_views (partner, patient_id, case_id);
CREATE INDEX study_views_by_accession ON study_views (partner, accession, case_id);
CREATE INDEX study_views_by_study ON study_views (partner, study_uid, case_id);
CREATE INDEX study_views_by_study_id ON study_views (partner, study_id, case_id);
CREATE INDEX study_views_by_referrer ON study_views (partner, referrer_key, case_id);
CREATE INDEX study_views_by_description ON study_views (partner, description_key, case_id);

CREATE TABLE study_modalities (
    partner  TEXT NOT NULL,
    modality TEXT NOT NULL,
    study_at TEXT COLLATE "C" NOT NULL,
    case_id  TEXT NOT NULL REFERENCES cases (id),
    PRIMARY KEY (partner, modality, study_at, case_id)
);
CREATE INDEX study_modalities_by_case ON study_modalities (case_id);

CREATE TABLE series (
    case_id     TEXT    NOT NULL REFERENCES cases (id),
    series_uid  TEXT    NOT NULL,
    modality    TEXT    NOT NULL,
    number      BIGINT,
    description TEXT    NOT NULL,
    body_part   TEXT    NOT NULL,
    -- Performed Procedure Step Start Date and Time.
    started_on  TEXT    NOT NULL,
    started_at  TEXT    NOT NULL,
    -- Conflicting duplicates are not counted.
    instances   BIGINT NOT NULL,
    PRIMARY KEY (case_id, series_uid)
);
CREATE INDEX series_by_uid ON series (series_uid);

ALTER TABLE instances ADD COLUMN instance_number BIGINT;
CREATE INDEX instances_by_sop ON instances (sop_uid);

-- 0: it came before there was a search, and is made searchable when the node starts.
ALTER TABLE cases ADD COLUMN searchable BIGINT NOT NULL DEFAULT 0;
CREATE INDEX cases_to_make_searchable ON cases (id) WHERE searchable = 0 AND has_study = 1 AND instances > 0;
