CREATE TABLE api_keys (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    -- SHA-256 of the key, 64 hex digits. The key itself is nowhere.
    sha256 TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    -- Unix seconds, as all times of this table.
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);

CREATE TABLE web_sessions (
    -- SHA-256 of the cookie's token, 64 hex digits.
    token_sha256 TEXT NOT NULL PRIMARY KEY,
    -- Null for a key that comes from the configuration.
    key_id BIGINT REFERENCES api_keys (id) ON DELETE CASCADE,
    key_sha256 TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX web_sessions_by_expiry ON web_sessions (expires_at);
CREATE INDEX web_sessions_by_key ON web_sessions (key_id);
