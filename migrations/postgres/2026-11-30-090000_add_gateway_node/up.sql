-- The node of the cluster that alone holds the gateway's connection, by name; none: any.
ALTER TABLE gateways ADD COLUMN node TEXT;
