CREATE TABLE direct_connections (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    agent_id BIGINT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    tool_name TEXT NOT NULL,
    tool_version TEXT,
    connection_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    -- Unix seconds, as all times of this table.
    last_heartbeat BIGINT NOT NULL,
    -- JSON object in the tool's words.
    metadata TEXT,
    created_at BIGINT NOT NULL,
    -- Both set exactly where it is disconnected.
    disconnected_at BIGINT,
    end_reason TEXT
);

-- At most one open connection an agent, whoever writes.
CREATE UNIQUE INDEX direct_connections_one_open ON direct_connections (agent_id) WHERE disconnected_at IS NULL;
CREATE INDEX direct_connections_by_agent ON direct_connections (agent_id);
CREATE INDEX direct_connections_by_end ON direct_connections (disconnected_at);
