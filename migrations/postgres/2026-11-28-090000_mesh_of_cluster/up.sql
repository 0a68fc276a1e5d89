-- Where the other nodes reach a node, and by what they know it. All three are NULL for a node that takes no connections of others.

ALTER TABLE cluster_nodes
    -- host:port
    ADD COLUMN mesh_address TEXT,
    -- SHA-256 of its certificate, in hexadecimal digits.
    ADD COLUMN mesh_certificate TEXT,
    -- HMAC over node, address and certificate with a key derived from the sealing key, in hexadecimal digits.
    ADD COLUMN mesh_proof TEXT;
