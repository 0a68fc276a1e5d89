-- What runs a gateway on this machine: a unit of the service manager or a command of the configuration, by name; at most one.
ALTER TABLE gateways ADD COLUMN unit TEXT;
ALTER TABLE gateways ADD COLUMN command TEXT;

-- The processes of commands, so that a daemon that was killed finds again what it started.
CREATE TABLE local_processes (
    gateway_id BIGINT NOT NULL PRIMARY KEY REFERENCES gateways (id) ON DELETE CASCADE,
    -- Whether it shall run.
    wanted BOOLEAN NOT NULL,
    pid BIGINT,
    -- When the process started, in clock ticks since boot: tells it from a later one with its id.
    start_ticks BIGINT,
    boot_id TEXT,
    -- Unix seconds.
    updated_at BIGINT NOT NULL
);
