//! The store: the only place with SQL.
//!
//! ```text
//! StoreHandle --permit--> job --> SyncArbiter, one writer   --> diesel connection (immediate transactions, synchronous=FULL)
//!                          \----> SyncArbiter, two readers  --> diesel connections (query_only)
//! ```
//!
//! [`handle::StoreHandle`] is what everybody else holds: typed async methods that answer with a record or a
//! [`gatewarden_core::error::Failure`]. A job is a closure over a connection; its type never leaves this folder. Secrets are sealed
//! on their way into a row ([`sealing`]) with a key that lives outside of the database ([`key_file`]). What is done to the database as
//! a whole, by commands and not by the daemon's work, is in [`care`].

pub mod audit_log;
mod batching;
pub mod care;
mod connection;
mod error;
pub mod handle;
pub mod health_log;
pub mod key_file;
pub mod metrics;
pub mod mission_control;
pub mod open_error;
pub mod options;
mod pulse;
mod queue;
pub use gatewarden_core::records;
mod schema;
pub mod sealing;
mod startup;
mod tables;
mod thread;
mod verification;
mod write_fault;

#[cfg(test)]
mod tests;
