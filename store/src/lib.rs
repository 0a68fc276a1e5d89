//! The store: the only place with SQL.
//!
//! ```text
//! StoreHandle --permit--> job --> SyncArbiter, one writer   --> connection (one write at a time, on disk at its commit)
//!                          \----> SyncArbiter, two readers  --> connections (read-only)
//! ```
//!
//! [`StoreHandle`] is what everybody else holds: typed async methods that answer with a record or a
//! [`gatewarden_core::error::Failure`]; each stands with its table. A job is a closure over a connection; its type never leaves
//! this crate. Secrets are sealed on their way into a row with a key that lives outside of the database ([`key_file`]). What is
//! done to the database as a whole, by commands and not by the daemon's work, is in [`maintenance`]. The database is a file of
//! SQLite's or a PostgreSQL; what only one of the two understands is in one file each.

pub mod batching;
mod connection;
mod database;
mod error;
mod files;
mod gathered;
pub mod handle;
pub mod key_file;
pub mod maintenance;
pub mod member;
pub mod mission_control;
pub mod postgres;
mod queue;
mod rows;
mod schema;
mod sealing;
mod sqlite;
mod startup;
#[expect(missing_docs, reason = "a field whose name says it all has no line of its own")]
mod tables;
mod thread;

pub use database::Database;
pub use error::{Fault, StoreError};
pub use handle::StoreHandle;
pub use queue::{StoreMetrics, StoreOptions};

/// What goes into the store and comes out of it.
pub mod records {
    pub use crate::tables::access::{ApiKey, NewApiKey, Role, WebSession};
    pub use crate::tables::agents::{
        AgentChange, AgentFilter, AgentRecord, AgentSeen, AgentSource, AgentStatus, MainAgent, NewAgent, SyncStats,
        SyncedAgent,
    };
    pub use crate::tables::audit_log::{AuditActor, AuditEntry, AuditRecord, AuditResult};
    pub use crate::tables::credentials::KnownAdminKey;
    pub use crate::tables::direct_connections::{
        AgentHeard, AgentHeartbeat, Closed, ConnectionRecord, ConnectionStatus, EndReason, NewConnection, Opened,
    };
    pub use crate::tables::gateways::{Created, DeleteOutcome, MainRecorded};
    pub use crate::tables::health_log::{HealthEntry, Thinned};
    pub use crate::tables::local_processes::LocalProcess;
    pub use crate::tables::notifications::{
        EpisodeMove, EpisodeRecord, NewNotification, NotificationMove, OutboxRecord,
    };
    pub use crate::tables::spawns::key_hash;
    pub use crate::tables::token_usage::{TokenRecord, TokenStats, TokenUsage};
}

#[cfg(test)]
mod tests;
