-- The shared password of a gateway whose gateway.auth.mode is password; sealed.
ALTER TABLE gateways ADD COLUMN password TEXT;
