//! The daemon: configuration, telemetry, the HTTP front and the command line around the actor tree.

pub mod app;
pub mod cli;
pub mod config;
pub mod http;
pub mod provisioning;
pub mod shutdown;
pub mod systemd;
pub mod telemetry;
pub mod templates;
