-- Logins that failed lately, so that neither a restart nor a takeover begins to count anew. Rows older than a minute mean nothing.
CREATE TABLE failed_logins (
    -- The gateway's, in its canonical form.
    address TEXT NOT NULL,
    -- Which of the address's: 0 is the oldest.
    place BIGINT NOT NULL,
    -- By the clock of the database: the machine's for a file, the server's for a server.
    at_ms BIGINT NOT NULL,
    -- In the gateway's words; otherwise its answer never came.
    refused BOOLEAN NOT NULL,
    PRIMARY KEY (address, place)
);
