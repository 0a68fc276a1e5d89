//! How often a dead actor may be started again: at most N restarts within T, as OTP supervisors count.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What to do with an actor that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start it again now.
    Restart,
    /// It died too often: park it and say so.
    Park,
}

/// Counts the restarts of one actor. Bounded: it remembers at most `max_restarts` instants.
#[derive(Debug, Clone)]
pub struct RestartIntensity {
    max_restarts: usize,
    window: Duration,
    restarts: VecDeque<Instant>,
}

impl RestartIntensity {
    /// Allows `max_restarts` restarts within any `window`; zero allows none.
    pub fn new(max_restarts: u32, window: Duration) -> Self {
        Self { max_restarts: usize::try_from(max_restarts).unwrap_or(usize::MAX), window, restarts: VecDeque::new() }
    }

    /// The actor died at `now`.
    pub fn on_death(&mut self, now: Instant) -> RestartDecision {
        while self.restarts.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.window) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.max_restarts {
            return RestartDecision::Park;
        }
        self.restarts.push_back(now);
        RestartDecision::Restart
    }

    /// An operator asked for a fresh start: forget the past.
    pub fn forgive(&mut self) {
        self.restarts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start() -> Instant {
        crate::any_instant()
    }

    #[test]
    fn deaths_beyond_the_allowed_number_within_the_window_park() {
        let t0 = start();
        let mut intensity = RestartIntensity::new(2, Duration::from_secs(60));
        assert_eq!(intensity.on_death(t0), RestartDecision::Restart);
        assert_eq!(intensity.on_death(t0 + Duration::from_secs(1)), RestartDecision::Restart);
        assert_eq!(intensity.on_death(t0 + Duration::from_secs(59)), RestartDecision::Park);
    }

    #[test]
    fn deaths_far_apart_never_park() {
        let t0 = start();
        let mut intensity = RestartIntensity::new(1, Duration::from_secs(60));
        for n in 0..50 {
            assert_eq!(intensity.on_death(t0 + Duration::from_secs(60 * n)), RestartDecision::Restart);
        }
    }

    #[test]
    fn an_operator_may_forgive() {
        let t0 = start();
        let mut intensity = RestartIntensity::new(1, Duration::from_secs(60));
        intensity.on_death(t0);
        assert_eq!(intensity.on_death(t0), RestartDecision::Park);
        intensity.forgive();
        assert_eq!(intensity.on_death(t0), RestartDecision::Restart);
    }

    proptest! {
        #[test]
        fn no_window_holds_more_restarts_than_allowed(gaps in prop::collection::vec(0_u64..30, 1..200), max in 0_u32..6) {
            let window = Duration::from_secs(60);
            let mut intensity = RestartIntensity::new(max, window);
            let mut now = start();
            let mut restarts: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_secs(gap);
                if intensity.on_death(now) == RestartDecision::Restart {
                    restarts.push(now);
                }
                let recent = restarts.iter().filter(|at| now.duration_since(**at) < window).count();
                prop_assert!(recent <= max as usize);
            }
        }
    }
}
