-- AUTOINCREMENT: the id of a deleted gateway is never given to another one.
CREATE TABLE gateways (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    host TEXT NOT NULL,
    port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    -- Sealed, bound to the uuid.
    token TEXT,
    -- Sealed, bound to the uuid: the ?token= of a URL host.
    url_token TEXT,
    is_primary BOOLEAN NOT NULL DEFAULT FALSE,
    priority INTEGER NOT NULL DEFAULT 0,
    -- JSON object of texts.
    labels TEXT NOT NULL DEFAULT '{}',
    transport TEXT NOT NULL DEFAULT 'auto',
    -- JSON object with "trust".
    tls TEXT NOT NULL DEFAULT '{"trust":"system"}',
    disable_device_pairing BOOLEAN NOT NULL DEFAULT FALSE,
    drained BOOLEAN NOT NULL DEFAULT FALSE,
    dialect TEXT,
    status TEXT,
    -- Unix seconds.
    last_seen BIGINT,
    -- Milliseconds.
    latency BIGINT,
    sessions_count BIGINT NOT NULL DEFAULT 0,
    agents_count BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 1
);

-- At most one configured primary, whoever writes.
CREATE UNIQUE INDEX gateways_one_primary ON gateways (is_primary) WHERE is_primary;

CREATE TABLE agents (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'offline',
    gateway_id BIGINT REFERENCES gateways (id) ON DELETE SET NULL,
    source TEXT NOT NULL,
    -- JSON object.
    config TEXT NOT NULL DEFAULT '{}',
    is_gateway_main BOOLEAN NOT NULL DEFAULT FALSE,
    -- Unix seconds.
    last_seen BIGINT,
    -- In the agent's words.
    last_activity TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX agents_by_gateway ON agents (gateway_id);

-- Device tokens belong to an address, not to a record: two records of one address share them.
CREATE TABLE device_tokens (
    -- Canonical host:port.
    address TEXT NOT NULL PRIMARY KEY,
    -- Sealed, bound to the address.
    token TEXT NOT NULL,
    role TEXT NOT NULL,
    -- JSON array of texts.
    scopes TEXT NOT NULL,
    issued_at_ms BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
