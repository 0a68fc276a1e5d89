DROP TABLE direct_connections;
