//! An OpenClaw-compatible gateway that runs agents as operating-system processes: `gatewarden gateway run`.
//!
//! How it is put together:
//!
//! ```text
//! connection/  one task a WebSocket: frames in and out, pings, bounds ─┐ messages
//! http/        REST, webhooks, status page, metrics ───────────────────┤
//! processes/   one task a child process: output, exit ─────────────────┤
//! acp/         the same for agents that speak ACP, one a session ───────┤
//! channels/lines.rs  one task a request to a channel's service ──────────┤
//!                                                                       v
//!                       core_actor.rs   the one actor: feeds the machine, carries out its effects
//!                                                                       │ calls
//!                                                                       v
//!             machine.rs  pure: GatewayMachine { auth, subscribers, sessions, runs, agents, cron, .. }
//!                         methods/ one file a family: (machine, call, turn) -> answer, effects
//! ```
//!
//! Nothing under `machine.rs`, `auth/`, `sessions/`, `runs/`, `cron/`, `agents.rs` and `methods/` does IO or reads a clock: the time,
//! chance and what is to be done travel in a `Turn`.

#![cfg_attr(not(feature = "channels"), expect(dead_code, unused_imports, reason = "services of channels alone use it"))]

mod acp;
mod agents;
pub mod announcement;
mod auth;
mod call;
mod caller;
pub mod channels;
pub mod clock;
pub mod config;
mod connection;
mod connection_limits;
mod context;
mod core_actor;
mod cron;
mod devices;
pub mod effect;
mod files;
#[cfg(test)]
#[path = "../../protocol/tests/fuzz/fuzzing.rs"]
mod fuzzing;
mod http;
pub mod interfaces;
mod loading;
pub mod lock_file;
pub mod log_file;
mod log_kinds;
pub mod log_sinks;
mod machine;
mod methods;
mod metrics;
mod nodes;
mod outbound;
mod params;
mod payload;
pub mod private_files;
pub mod processes;
mod runs;
pub mod sample_agent;
pub mod server;
mod sessions;
mod subscribers;
mod tailnet;
pub mod tailscale;
#[cfg(test)]
mod tests;
mod turn;
mod webhook_bodies;
mod wide_area;

pub use loading::look_at_state;

/// The version that clients are told. The daemon's rules for a minimum version compare calendar versions, which this crate's
/// own would never satisfy: it is that of the release whose protocol is followed, with this crate's as build metadata.
const COMPATIBLE_VERSION: &str = concat!("2026.9.6+gatewarden.", env!("CARGO_PKG_VERSION"));
