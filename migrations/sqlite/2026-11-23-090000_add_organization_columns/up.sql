-- What the organization API knows of a gateway beyond the others. Its `url` and `allow_insecure_tls` are read from host,
-- port and tls, so that both APIs always say the same.
ALTER TABLE gateways ADD COLUMN workspace_root TEXT;
-- The main agent, by its id on the gateway.
ALTER TABLE gateways ADD COLUMN gateway_agent_id TEXT;
-- Being created: nobody sees it yet. What a crash leaves of this is removed at the next start.
ALTER TABLE gateways ADD COLUMN provisioning BOOLEAN NOT NULL DEFAULT FALSE;
