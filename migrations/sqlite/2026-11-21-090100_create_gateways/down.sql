DROP TABLE device_tokens;
DROP TABLE agents;
DROP TABLE gateways;
