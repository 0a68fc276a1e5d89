DROP TABLE cluster_roles;
DROP TABLE cluster_nodes;
