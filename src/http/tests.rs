//! The HTTP front against a real store, a real roster and a registry that does as it is told.

mod agents_api;
mod audit_api;
mod bad_input;
mod cluster_api;
mod direct_api;
mod document_contents;
mod documents;
mod events_api;
mod events_socket_api;
mod gateways_api;
mod keys_api;
mod middleware;
mod nodes_api;
mod roles;
mod schema_check;
mod sessions_api;
mod sessions_passed_on;
mod spawn_api;
mod stalled_store;
mod support;
