-- What scanners are to do, and what they say they did.

-- A step of an order, as the modality worklist looks for it. What else is said of it is in the order's facts.
CREATE TABLE scheduled_steps (
    order_id   TEXT    NOT NULL REFERENCES orders (id),
    -- Which of the order's steps, from 1.
    number     BIGINT  NOT NULL,
    origin     TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('scheduled', 'started', 'done')),
    -- 1: its order is open and it is not done.
    listed     BIGINT  NOT NULL,
    patient_id TEXT    NOT NULL,
    accession  TEXT    NOT NULL,
    -- The patient's name without case and accents.
    name_key   TEXT    COLLATE "C" NOT NULL,
    modality   TEXT    NOT NULL,
    -- AE title of the scanner; empty: whichever asks.
    station    TEXT    NOT NULL,
    -- In the hospital's time: YYYYMMDD, with HHMMSS where it is known.
    start_at   TEXT    COLLATE "C" NOT NULL,
    study_uid  TEXT    NOT NULL,
    step_id    TEXT    NOT NULL,
    PRIMARY KEY (order_id, number)
);
CREATE INDEX scheduled_steps_by_start ON scheduled_steps (origin, start_at, order_id, number) WHERE listed = 1;
CREATE INDEX scheduled_steps_by_station ON scheduled_steps (origin, station, start_at, order_id, number) WHERE listed = 1;
CREATE INDEX scheduled_steps_by_modality ON scheduled_steps (origin, modality, start_at, order_id, number) WHERE listed = 1;
CREATE INDEX scheduled_steps_by_name ON scheduled_steps (origin, name_key, order_id, number) WHERE listed = 1;
CREATE INDEX scheduled_steps_by_patient ON scheduled_steps (origin, patient_id);
CREATE INDEX scheduled_steps_by_accession ON scheduled_steps (origin, accession);
CREATE INDEX scheduled_steps_by_study ON scheduled_steps (origin, study_uid);

-- A performed procedure step (PS3.4 F), as its modality told it.
CREATE TABLE performed_steps (
    origin     TEXT    NOT NULL,
    -- SOP Instance UID; two hospitals may use equal ones.
    uid        TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED')),
    -- The instances it names: JSON list of UIDs; and how many they are.
    instances  TEXT    NOT NULL,
    named      BIGINT  NOT NULL,
    -- DICOM JSON: patient data.
    attributes TEXT    NOT NULL,
    created_us BIGINT  NOT NULL,
    changed_us BIGINT  NOT NULL,
    -- 1: it has ended, and its images are looked for.
    awaited    BIGINT  NOT NULL,
    PRIMARY KEY (origin, uid)
);
CREATE INDEX performed_steps_awaited ON performed_steps (changed_us) WHERE awaited = 1;

-- Which scheduled steps it was.
CREATE TABLE performed_orders (
    origin   TEXT    NOT NULL,
    uid      TEXT    NOT NULL,
    order_id TEXT    NOT NULL,
    number   BIGINT  NOT NULL,
    PRIMARY KEY (origin, uid, order_id, number)
);

-- Studies it belongs to.
CREATE TABLE performed_studies (
    origin    TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    uid       TEXT NOT NULL,
    PRIMARY KEY (origin, study_uid, uid)
);
CREATE INDEX performed_studies_by_step ON performed_studies (origin, uid);
