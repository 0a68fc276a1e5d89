CREATE TABLE spawns (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    spawn_id TEXT NOT NULL UNIQUE,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    -- Sealed, bound to the spawn id: JSON; values of its environment are secrets.
    request TEXT NOT NULL,
    -- What of the request may be shown in a list.
    summary TEXT NOT NULL,
    model TEXT,
    -- No reference: the history of a deleted gateway stays.
    gateway_id BIGINT,
    gateway_name TEXT,
    route TEXT,
    agent TEXT,
    label TEXT,
    session_key TEXT,
    run_id TEXT,
    state TEXT NOT NULL,
    pid BIGINT,
    -- JSON.
    result TEXT,
    error_code TEXT,
    error TEXT,
    -- Set exactly where the state is final.
    completed_at_ms BIGINT,
    reason TEXT,
    key_id BIGINT
);

-- The open ones at the daemon's start; the final ones by age.
CREATE INDEX spawns_by_completion ON spawns (completed_at_ms);
CREATE INDEX spawns_open_by_gateway ON spawns (gateway_id) WHERE completed_at_ms IS NULL;

CREATE TABLE idempotency_keys (
    -- 0 for the key of the configuration.
    key_id BIGINT NOT NULL,
    -- SHA-256 of the client's Idempotency-Key, 64 hex digits.
    key_sha256 TEXT NOT NULL,
    -- Hash of the request's body, as the caller made it.
    body_hash TEXT NOT NULL,
    spawn_id TEXT NOT NULL REFERENCES spawns (spawn_id) ON DELETE CASCADE,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (key_id, key_sha256)
);

CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at_ms);
CREATE INDEX idempotency_keys_by_spawn ON idempotency_keys (spawn_id);
