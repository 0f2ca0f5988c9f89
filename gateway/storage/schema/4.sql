-- Version 4: what searches among a million instances read instead of whole rows.

-- What searches compare of many, in the order of arrival: a walk over these is short.
CREATE INDEX studies_keys ON studies (
    id, patient_id_key, patient_name_key, birth_date, sex_key, study_date, study_time,
    accession_key, study_id_key, description_key, referring_name_key
);
CREATE INDEX series_keys ON series (
    id, study, number, modality_key, description_key, body_part_key, step_date, step_time
);

-- Each group of the names that have several.
CREATE TABLE name_groups (
    study INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    kind INTEGER NOT NULL,              -- 0 the patient's name, 1 the referring physician's
    key TEXT NOT NULL,
    PRIMARY KEY (study, kind, key)
) WITHOUT ROWID;

CREATE INDEX name_groups_key ON name_groups (kind, key);

INSERT OR IGNORE INTO name_groups (study, kind, key)
SELECT s.id, 0, g.value FROM studies s,
    json_each('[' || replace(json_quote(s.patient_name_key), '=', '","') || ']') g
WHERE instr(s.patient_name_key, '=') AND g.value <> '';

INSERT OR IGNORE INTO name_groups (study, kind, key)
SELECT s.id, 1, g.value FROM studies s,
    json_each('[' || replace(json_quote(s.referring_name_key), '=', '","') || ']') g
WHERE instr(s.referring_name_key, '=') AND g.value <> '';

-- How many instances there are of each 1,024 ids: the way to a page far behind.
CREATE TABLE blocks (
    block INTEGER PRIMARY KEY,          -- the id divided by 1,024
    instances INTEGER NOT NULL
);

INSERT INTO blocks (block, instances)
SELECT id >> 10, COUNT(*) FROM instances GROUP BY id >> 10;
