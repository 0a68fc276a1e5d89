-- What was announced to a destination and lasts, so that neither a restart nor a crash announces it again or forgets its end.
CREATE TABLE notification_episodes (
    -- The destination's name in the configuration.
    destination TEXT NOT NULL,
    -- `gateway-<id>` or `fleet`. By name: what was announced must be taken back after the gateway is gone.
    subject TEXT NOT NULL,
    condition TEXT NOT NULL,
    -- Notifications of an episode are numbered after it.
    episode TEXT NOT NULL,
    began_ms BIGINT NOT NULL,
    announced_ms BIGINT NOT NULL,
    -- The number of the latest notification.
    sequence BIGINT NOT NULL,
    detail TEXT NOT NULL,
    -- What the subject was called when it was announced.
    subject_name TEXT NOT NULL,
    PRIMARY KEY (destination, subject, condition)
);

-- Notifications that no destination has taken yet. A row goes when it was taken, or given up.
CREATE TABLE notification_outbox (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- What the receiver tells duplicates by.
    notification_id TEXT NOT NULL UNIQUE,
    destination TEXT NOT NULL,
    subject TEXT NOT NULL,
    condition TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    next_attempt_ms BIGINT NOT NULL
);

CREATE INDEX notification_outbox_by_destination ON notification_outbox (destination, id);
