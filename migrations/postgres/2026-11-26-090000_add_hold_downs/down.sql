UPDATE notification_episodes SET subject = 'fleet' WHERE condition = 'failover';
ALTER TABLE notification_episodes DROP COLUMN hold_ms;
ALTER TABLE gateways DROP COLUMN seeded;
ALTER TABLE gateways DROP COLUMN held_for_ms;
ALTER TABLE gateways DROP COLUMN held_until_ms;
