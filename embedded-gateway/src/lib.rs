//! An OpenClaw-compatible gateway that runs agents as operating-system processes: `gatewarden gateway run`.
//!
//! How it is put together:
//!
//! ```text
//! connection/  one task a WebSocket: frames in and out, pings, bounds ─┐ messages
//! http/        REST, webhooks, status page, metrics ───────────────────┤
//! processes/   one task a child process: output, exit ─────────────────┤
//!                                                                       v
//!                             desk.rs   the one actor: feeds the machine, carries out its effects
//!                                                                       │ calls
//!                                                                       v
//!             machine.rs  pure: GatewayMachine { door, audience, sessions, runs, agents, .. }
//!                         methods/ one file a family: (machine, call, turn) -> answer, effects
//! ```
//!
//! Nothing under `machine.rs`, `door/`, `sessions/`, `runs/`, `agents/` and `methods/` does IO or reads a clock: the time,
//! chance and what is to be done travel in a [`turn::Turn`].

pub mod agents;
pub mod audience;
pub mod audit_log;
pub mod caller;
pub mod clock;
pub mod config;
pub mod connection;
pub mod desk;
pub mod devices;
pub mod door;
pub mod effect;
pub mod files;
mod http;
pub mod loaded;
pub mod lock_file;
pub mod log_file;
pub mod machine;
pub mod methods;
pub mod metrics;
pub mod outlets;
pub mod private_dir;
pub mod processes;
pub mod reply;
pub mod runs;
pub mod sample_agent;
pub mod server;
pub mod sessions;
pub mod turn;

/// The version that clients are told. The daemon's rules for a minimum version compare calendar versions, which this crate's
/// own would never satisfy: it is that of the release whose protocol is followed, with this crate's as build metadata.
pub const COMPATIBLE_VERSION: &str = concat!("2026.9.6+gatewarden.", env!("CARGO_PKG_VERSION"));
