//! The actor tree of gatewarden.
//!
//! ```text
//! HTTP front --> Registry --> Gateway 1..n (socket, heartbeat, breaker, pending requests)
//!                   |
//!                   +-------> Store (diesel on sync arbiters: one writer, several readers)
//! ```
//!
//! Commands go down the tree as messages, notices come up. Readers use published snapshots
//! ([`registry::roster::RosterReader`]) and wait for nobody. Every decision is a pure struct or function in [`machines`];
//! actors feed them and carry out what they say.

pub mod agent_book;
pub mod agent_sync;
pub mod audit_trail;
pub mod clock;
pub mod clock_watch;
pub mod dialing;
pub mod direct;
pub mod error;
pub mod event;
pub mod event_hub;
pub mod gateway;
pub mod gateway_record;
pub mod gateway_report;
pub mod ids;
mod lagging_queue;
pub mod log_relay;
pub mod log_watch;
pub mod machines;
pub mod metrics;
pub mod notifier;
pub mod overdue;
pub mod processes;
pub mod registry;
pub mod run;
pub mod settings;
pub mod store;
