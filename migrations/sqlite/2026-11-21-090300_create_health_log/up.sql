CREATE TABLE health_log (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    gateway_id BIGINT NOT NULL REFERENCES gateways (id) ON DELETE CASCADE,
    -- Unix milliseconds; of an hourly point the start of its hour.
    at_ms BIGINT NOT NULL,
    status TEXT NOT NULL,
    latency_ms DOUBLE PRECISION,
    latency_min_ms DOUBLE PRECISION,
    latency_avg_ms DOUBLE PRECISION,
    latency_max_ms DOUBLE PRECISION,
    misses BIGINT NOT NULL DEFAULT 0,
    error TEXT,
    -- Whether this point stands for an hour.
    thinned BOOLEAN NOT NULL DEFAULT FALSE
);

-- History of one gateway, newest first.
CREATE INDEX health_log_by_gateway ON health_log (gateway_id, at_ms);
-- Retention: what is old, and of that what is still full.
CREATE INDEX health_log_by_time ON health_log (thinned, at_ms);
