//! The actor tree of gatewarden.
//!
//! ```text
//! HTTP front --> Registry --> Gateway 1..n (socket, heartbeat, breaker, pending requests)
//!                   |
//!                   +-------> Store (diesel on sync arbiters: one writer, two readers)
//! ```
//!
//! Commands go down the tree as messages, notices come up. Readers use published snapshots
//! ([`registry::roster::RosterReader`]) and wait for nobody. Every decision is a pure struct or function of
//! `gatewarden-core` (`fleet`, `machines`); actors feed them and carry out what they say.

pub mod agent_book;
pub mod agent_sync;
pub mod audit_trail;
pub mod clock_watch;
mod deadline_timer;
pub mod dialing;
pub mod direct;
pub mod event_data;
pub mod event_hub;
pub mod gateway;
mod lagging_queue;
pub mod log_relay;
pub mod log_watch;
pub mod metrics;
pub mod notifier;
pub mod placement;
pub mod processes;
pub mod registry;

pub use gatewarden_core::{cluster, error, event, gateway_record, gateway_report, ids, machines, settings, spawn};

pub use gatewarden_clock::{clock, overdue};
pub use gatewarden_store as store;
