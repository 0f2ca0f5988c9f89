-- Version 2: what is not of the archive: jobs, remote servers.

-- Named JSON documents that are no part of the index: remote servers.
CREATE TABLE documents (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Counters that grow with every change of a kind, so that other processes notice it.
CREATE TABLE versions (
    kind TEXT PRIMARY KEY,
    version INTEGER NOT NULL
);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,     -- grows with every job that is submitted
    version INTEGER NOT NULL,           -- of the kind jobs, when this row changed last
    type TEXT NOT NULL,                 -- Orthanc's name of what it does
    priority INTEGER NOT NULL,          -- higher ones are started first
    state TEXT NOT NULL,                -- Pending, Running, Success, ...
    wanted TEXT NOT NULL,               -- of the process that runs it: Pause, Cancel, or ''
    owner TEXT NOT NULL,                -- the process that runs it, or ''
    due REAL NOT NULL,                  -- not to be started before; seconds since 1970
    request TEXT NOT NULL,              -- JSON: what to do; may hold secrets, never shown
    checkpoint TEXT NOT NULL,           -- JSON: how far it is, for the work alone
    content TEXT NOT NULL,              -- JSON: what is shown of it
    progress REAL NOT NULL,             -- from 0 to 1
    created REAL NOT NULL,              -- seconds since 1970
    completed REAL,
    runtime REAL NOT NULL,              -- seconds that it has run
    attempts INTEGER NOT NULL,          -- failed ones since it last got ahead
    error TEXT                          -- JSON: code, description, details
);

CREATE INDEX jobs_version ON jobs (version);
CREATE INDEX jobs_state ON jobs (state, priority, number);

-- What a job works through, one after the other.
CREATE TABLE job_items (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,          -- from 0
    item TEXT NOT NULL,
    PRIMARY KEY (job, position)
) WITHOUT ROWID;
