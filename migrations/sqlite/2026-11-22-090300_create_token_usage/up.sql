CREATE TABLE token_usage (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- Unix milliseconds.
    at_ms BIGINT NOT NULL,
    -- By name: what an agent used stays known when the agent is gone.
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost DOUBLE PRECISION,
    session_key TEXT,
    source TEXT NOT NULL
);

CREATE INDEX token_usage_by_time ON token_usage (at_ms);
