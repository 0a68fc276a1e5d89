//! How soon an agent that keeps failing is started again.

use std::time::{Duration, Instant};

/// The wait after the second failure in a row; twice as long after each further one.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// The failures of one agent: its processes ended, or were ended, before they could be spoken to. That is the program's or its
/// configuration's, so it counts for all sessions; one that ends in the midst of a conversation may do so in that one alone.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    failures: u32,
    not_before: Option<Instant>,
}

impl Restarts {
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.checked_sub(2);
        let wait = doublings.map(|doublings| FIRST.saturating_mul(1 << doublings.min(6)).min(LONGEST));
        self.not_before = wait.map(|wait| now + wait);
    }

    /// The failures in a row and the time to wait, where it must not be started yet.
    pub(super) fn wait(&self, now: Instant) -> Option<(u32, Duration)> {
        let left = self.not_before?.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some((self.failures, left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    #[test]
    fn one_failure_costs_nothing_and_each_further_one_twice_as_long_up_to_a_minute() {
        let now = Now::read().at;
        let mut restarts = Restarts::default();
        restarts.failed(now);
        assert_eq!(restarts.wait(now), None);
        for (failures, seconds) in [(2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 32), (8, 60), (9, 60)] {
            restarts.failed(now);
            assert_eq!(restarts.wait(now), Some((failures, Duration::from_secs(seconds))));
        }
        assert_eq!(restarts.wait(now + LONGEST), None);
        restarts.worked();
        restarts.failed(now);
        assert_eq!(restarts.wait(now), None);
    }
}
