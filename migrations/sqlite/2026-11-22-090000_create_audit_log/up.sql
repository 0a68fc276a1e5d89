CREATE TABLE audit_log (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- Unix milliseconds.
    at_ms BIGINT NOT NULL,
    -- No reference: what a key did stays known when the key is gone.
    actor_key_id BIGINT,
    actor_name TEXT NOT NULL,
    actor_role TEXT,
    address TEXT,
    request_id TEXT,
    action TEXT NOT NULL,
    target TEXT,
    result TEXT NOT NULL,
    -- JSON object.
    details TEXT NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_log_by_time ON audit_log (at_ms);
