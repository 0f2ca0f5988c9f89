-- Version 1: the index. Columns that end in _key hold text as it is compared (case
-- folded, blanks stripped); what is shown comes from the JSON in `attributes`.

CREATE TABLE patients (
    id INTEGER PRIMARY KEY,
    orthanc_id TEXT NOT NULL UNIQUE,
    patient_id TEXT NOT NULL,
    attributes TEXT NOT NULL,           -- DICOM JSON of the patient's attributes
    updated TEXT NOT NULL               -- UTC, YYYYMMDDTHHMMSS
);

CREATE TABLE studies (
    id INTEGER PRIMARY KEY,
    patient INTEGER NOT NULL REFERENCES patients (id),
    orthanc_id TEXT NOT NULL UNIQUE,
    uid TEXT NOT NULL,
    attributes TEXT NOT NULL,           -- DICOM JSON of the patient and the study
    patient_id_key TEXT,
    patient_name_key TEXT,              -- component groups joined by =
    birth_date TEXT,
    sex_key TEXT,
    study_date TEXT,
    study_time TEXT,
    accession_key TEXT,
    study_id_key TEXT,
    description_key TEXT,
    referring_name_key TEXT,
    modalities TEXT NOT NULL DEFAULT '',        -- of its series, joined by backslashes
    series_count INTEGER NOT NULL DEFAULT 0,
    instance_count INTEGER NOT NULL DEFAULT 0,
    updated TEXT NOT NULL
);

CREATE INDEX studies_patient ON studies (patient);
CREATE INDEX studies_uid ON studies (uid);
CREATE INDEX studies_patient_id ON studies (patient_id_key);
CREATE INDEX studies_patient_name ON studies (patient_name_key);
CREATE INDEX studies_birth_date ON studies (birth_date);
CREATE INDEX studies_date ON studies (study_date, study_time);
CREATE INDEX studies_accession ON studies (accession_key);
CREATE INDEX studies_study_id ON studies (study_id_key);
CREATE INDEX studies_description ON studies (description_key);
CREATE INDEX studies_referring_name ON studies (referring_name_key);

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES studies (id),
    orthanc_id TEXT NOT NULL UNIQUE,
    uid TEXT NOT NULL,
    attributes TEXT NOT NULL,           -- DICOM JSON of the series
    number INTEGER,                     -- SeriesNumber
    modality_key TEXT,
    description_key TEXT,
    body_part_key TEXT,
    step_date TEXT,                     -- PerformedProcedureStepStartDate
    step_time TEXT,                     -- PerformedProcedureStepStartTime
    instance_count INTEGER NOT NULL DEFAULT 0,
    updated TEXT NOT NULL
);

CREATE INDEX series_study ON series (study, number);
CREATE INDEX series_uid ON series (uid);
CREATE INDEX series_modality ON series (modality_key, study);
CREATE INDEX series_description ON series (description_key);
CREATE INDEX series_step_date ON series (step_date, step_time);

CREATE TABLE instances (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series (id),
    orthanc_id TEXT NOT NULL UNIQUE,
    uid TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL,
    number INTEGER,                     -- InstanceNumber
    blob TEXT NOT NULL,                 -- name of the file that holds it
    size INTEGER NOT NULL,              -- bytes
    stored TEXT NOT NULL,               -- UTC, YYYYMMDDTHHMMSS.ffffff
    attributes TEXT NOT NULL            -- DICOM JSON of what a search shows
);

CREATE INDEX instances_series ON instances (series, number);
CREATE INDEX instances_uid ON instances (uid);
CREATE UNIQUE INDEX instances_blob ON instances (blob);
CREATE INDEX instances_sop_class ON instances (sop_class, series);

-- The whole header of an instance as DICOM JSON: deflated, each value a run of blocks
-- that ends on a byte boundary, so that several can be joined without inflating them.
CREATE TABLE headers (
    instance INTEGER PRIMARY KEY REFERENCES instances (id),
    json BLOB NOT NULL,
    bulk TEXT                           -- path -> [offset, length] of what the file keeps
);

CREATE TABLE totals (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    instances INTEGER NOT NULL,
    size INTEGER NOT NULL               -- bytes of all blobs
);
INSERT INTO totals (id, instances, size) VALUES (1, 0, 0);

-- The name that this index and the folder of its files share.
CREATE TABLE identity (
    id TEXT NOT NULL
);

-- Blobs whose rows are gone and whose files are still to be removed.
CREATE TABLE garbage (
    blob TEXT PRIMARY KEY
);
