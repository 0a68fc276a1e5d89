//! The daemon: configuration, telemetry, the HTTP front and the command line around the actor tree.

mod app;
mod check;
pub mod cli;
mod config;
mod event_stream;
#[cfg(test)]
#[path = "../protocol/tests/fuzz/fuzzing.rs"]
mod fuzzing;
#[expect(unreachable_pub, reason = "its items are not yet as private as the module")]
mod http;
mod mcp;
mod mesh;
mod named_request;
mod provisioning;
mod shutdown;
mod systemd;
mod telemetry;
mod templates;
