-- The nodes that share this database, and which of them acts. Only on a server: a file has one daemon.

CREATE TABLE cluster_nodes (
    -- Of one run of a daemon: a uuid.
    node TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    release TEXT NOT NULL,
    -- The state directory that it has locked, during one boot of one machine.
    home TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'dead')),
    beat BIGINT NOT NULL DEFAULT 0,
    joined_at TIMESTAMPTZ NOT NULL,
    beat_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);

CREATE UNIQUE INDEX cluster_nodes_alive ON cluster_nodes (name) WHERE state = 'active';

CREATE TABLE cluster_roles (
    role TEXT NOT NULL PRIMARY KEY,
    -- None while nobody has it.
    node TEXT,
    -- Grows with each change: what was begun under an older one is refused.
    epoch BIGINT NOT NULL,
    since TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);

INSERT INTO cluster_roles (role, epoch, since) VALUES ('coordinator', 0, clock_timestamp());
