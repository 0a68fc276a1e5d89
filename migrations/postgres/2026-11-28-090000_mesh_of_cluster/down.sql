ALTER TABLE cluster_nodes DROP COLUMN mesh_proof, DROP COLUMN mesh_certificate, DROP COLUMN mesh_address;
