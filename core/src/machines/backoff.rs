//! How long to wait before the next attempt to connect.

use std::time::{Duration, Instant};

/// The share of a delay that chance may add, so that a restarted host isn't stampeded by its own supervisor.
pub const MAX_JITTER: f64 = 0.2;

/// Grows with each failed attempt and forgets only after a connection that stayed ready for a while.
#[derive(Debug, Clone)]
pub struct Backoff {
    schedule: Vec<Duration>,
    stable_after: Duration,
    failures: u32,
    ready_since: Option<Instant>,
}

impl Backoff {
    /// `schedule` holds the delays before attempts 1, 2, ...; its last entry repeats. An empty one means one second.
    pub fn new(schedule: Vec<Duration>, stable_after: Duration) -> Self {
        let schedule = if schedule.is_empty() { vec![Duration::from_secs(1)] } else { schedule };
        Self { schedule, stable_after, failures: 0, ready_since: None }
    }

    /// A connection became ready.
    pub fn on_ready(&mut self, now: Instant) {
        self.ready_since = Some(now);
    }

    /// A connection ended or an attempt failed: the delay before the next one. `unit` is a random number in `[0, 1)`.
    pub fn on_failure(&mut self, now: Instant, unit: f64) -> Duration {
        self.on_tick(now);
        self.ready_since = None;
        let delay = self.delay(self.failures, unit);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// Forgets the failures once the connection has been ready for long enough. True when that happened now.
    pub fn on_tick(&mut self, now: Instant) -> bool {
        let stable = self.stable_at().is_some_and(|at| now >= at);
        if stable {
            self.failures = 0;
        }
        stable
    }

    /// When the failures will be forgotten, if the connection holds.
    pub fn stable_at(&self) -> Option<Instant> {
        self.ready_since.filter(|_| self.failures > 0).map(|since| since + self.stable_after)
    }

    /// Forgets everything: an operator asked for an attempt now.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.ready_since = None;
    }

    /// Attempts that failed since the last stable connection.
    pub fn attempts(&self) -> u32 {
        self.failures
    }

    /// The delay after `failures` earlier ones, with its jitter.
    pub fn delay(&self, failures: u32, unit: f64) -> Duration {
        let last = self.schedule.len().saturating_sub(1);
        let place = usize::try_from(failures).unwrap_or(usize::MAX).min(last);
        let base = self.schedule.get(place).copied().unwrap_or(Duration::from_secs(1));
        base + base.mul_f64(MAX_JITTER * unit.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn documented() -> Backoff {
        Backoff::new([1, 2, 4, 8, 16, 30].map(Duration::from_secs).to_vec(), Duration::from_secs(60))
    }

    fn start() -> Instant {
        crate::any_instant()
    }

    #[test]
    fn delays_follow_the_schedule_and_stay_at_its_end() {
        let mut backoff = documented();
        let now = start();
        let delays: Vec<u64> = (0..8).map(|_| backoff.on_failure(now, 0.0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(backoff.attempts(), 8);
    }

    #[test]
    fn a_connection_that_stayed_ready_for_a_minute_starts_over() {
        let mut backoff = documented();
        let now = start();
        for _ in 0..4 {
            backoff.on_failure(now, 0.0);
        }
        backoff.on_ready(now);
        assert_eq!(backoff.stable_at(), Some(now + Duration::from_secs(60)));
        assert_eq!(backoff.on_failure(now + Duration::from_secs(60), 0.0), Duration::from_secs(1));
    }

    #[test]
    fn a_connection_that_died_young_goes_on_where_the_delays_were() {
        let mut backoff = documented();
        let now = start();
        backoff.on_failure(now, 0.0);
        backoff.on_ready(now);
        assert_eq!(backoff.on_failure(now + Duration::from_secs(59), 0.0), Duration::from_secs(2));
    }

    #[test]
    fn an_operator_starts_over() {
        let mut backoff = documented();
        backoff.on_failure(start(), 0.0);
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
    }

    #[test]
    fn an_empty_schedule_still_waits() {
        let mut backoff = Backoff::new(Vec::new(), Duration::ZERO);
        assert_eq!(backoff.on_failure(start(), 0.0), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn jitter_only_adds_and_never_more_than_a_fifth(failures in 0_u32..10_000, unit in -1.0_f64..2.0) {
            let backoff = documented();
            let plain = backoff.delay(failures, 0.0);
            let jittered = backoff.delay(failures, unit);
            prop_assert!(jittered >= plain);
            prop_assert!(jittered <= plain.mul_f64(1.0 + MAX_JITTER));
        }
    }
}
