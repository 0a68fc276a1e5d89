DROP TABLE local_processes;
ALTER TABLE gateways DROP COLUMN command;
ALTER TABLE gateways DROP COLUMN unit;
