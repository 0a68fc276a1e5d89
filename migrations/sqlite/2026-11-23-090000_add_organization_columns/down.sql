ALTER TABLE gateways DROP COLUMN provisioning;
ALTER TABLE gateways DROP COLUMN gateway_agent_id;
ALTER TABLE gateways DROP COLUMN workspace_root;
