-- Version 3: what Orthanc's dialect keeps of resources beside the index. A resource is
-- named by its level (0 patient, 1 study, 2 series, 3 instance) and its id in the table
-- of that level; all that is kept of it goes when it goes.

-- What happened. The numbers are those of the kind changes in `versions`.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY,
    type TEXT NOT NULL,                 -- NewInstance, StableStudy, ...
    level INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    date TEXT NOT NULL                  -- UTC, YYYYMMDDTHHMMSS
);

CREATE INDEX changes_resource ON changes (level, resource);

-- Patients, studies and series that got something new, and were not yet told stable.
CREATE TABLE unstable (
    level INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    PRIMARY KEY (level, resource)
) WITHOUT ROWID;

CREATE TABLE labels (
    label TEXT NOT NULL,
    level INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    PRIMARY KEY (label, level, resource)
) WITHOUT ROWID;

CREATE INDEX labels_resource ON labels (level, resource);

-- What users wrote beside a resource.
CREATE TABLE metadata (
    level INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    name TEXT NOT NULL,                 -- a number from 1024 on, as text
    value BLOB NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (level, resource, name)
) WITHOUT ROWID;

-- Patients that are never removed to make room; and the order in which others are.
ALTER TABLE patients ADD COLUMN protected INTEGER NOT NULL DEFAULT 0;

CREATE INDEX patients_updated ON patients (protected, updated);
