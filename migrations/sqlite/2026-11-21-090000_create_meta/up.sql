-- Single values that belong to the installation: the key canary, the installation id.
CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- The seed of this installation's device identity, sealed. One row.
CREATE TABLE identity (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
