//! The checks as a whole, seen from a client.

mod own_client;
