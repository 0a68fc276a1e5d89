ALTER TABLE gateways DROP COLUMN password;
