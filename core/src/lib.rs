//! The domain of gatewarden, and every decision about it: no actor, socket, clock, randomness or database.

pub mod cluster;
pub mod dialing;
pub mod error;
pub mod event;
pub mod fleet;
pub mod gateway_record;
pub mod gateway_report;
pub mod ids;
pub mod machines;
pub mod settings;
pub mod spawn;

/// Where the clock of a test starts: an [`std::time::Instant`] can't be made otherwise.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "decisions are handed the time; a test has to begin somewhere")]
fn any_instant() -> std::time::Instant {
    std::time::Instant::now()
}
