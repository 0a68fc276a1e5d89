//! One file a table: its rows and the functions on a connection. Nobody outside of the store sees them.

pub(super) mod agents;
pub(super) mod api_keys;
pub(super) mod audit_log;
pub(super) mod device_tokens;
pub(super) mod direct_connections;
pub(super) mod gateways;
pub(super) mod health_log;
pub(super) mod idempotency_keys;
pub(super) mod identity;
pub(super) mod local_processes;
pub(super) mod meta;
pub(super) mod notifications;
pub(super) mod spawns;
pub(super) mod token_usage;
pub(super) mod web_sessions;
