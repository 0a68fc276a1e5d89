//! The daemon: configuration, telemetry, the HTTP front and the command line around the actor tree.

pub mod config;
pub mod http;
pub mod systemd;
pub mod telemetry;
