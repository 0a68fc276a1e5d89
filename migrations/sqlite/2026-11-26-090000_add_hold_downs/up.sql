-- A gateway that came and went too often is held down from acting as primary until then (wall ms); the next time for longer.
ALTER TABLE gateways ADD COLUMN held_until_ms BIGINT;
ALTER TABLE gateways ADD COLUMN held_for_ms BIGINT;
-- Registered by the daemon itself, and changed by nobody since.
ALTER TABLE gateways ADD COLUMN seeded BOOLEAN NOT NULL DEFAULT FALSE;
-- For so long the subject of an episode must be well before its end is told: it comes and goes.
ALTER TABLE notification_episodes ADD COLUMN hold_ms BIGINT NOT NULL DEFAULT 0;
-- A failover is one of the configured primary, no more of the fleet.
UPDATE notification_episodes SET subject = 'gateway-' || (SELECT id FROM gateways WHERE is_primary)
WHERE condition = 'failover' AND subject = 'fleet' AND EXISTS (SELECT id FROM gateways WHERE is_primary);
