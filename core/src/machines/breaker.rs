//! The circuit breaker of one gateway. Closed passes work, open blocks it, half-open means that one attempt is under way
//! to find out.
//!
//! closed -> open after some failures in a row; open -> half-open when the next attempt runs; half-open -> closed on
//! success, -> open on failure. A refusal is an answer: it neither counts as a failure nor closes anything.

use crate::gateway_report::{BreakerState, BreakerView};

/// See the module. Times are wall milliseconds because they are shown, not decided upon.
#[derive(Debug, Clone)]
pub struct Breaker {
    threshold: u32,
    state: BreakerState,
    failures: u32,
    opened_at_ms: Option<i64>,
    changed_at_ms: Option<i64>,
}

impl Breaker {
    /// Opens after `threshold` failures in a row (at least 1).
    pub fn new(threshold: u32) -> Self {
        Self {
            threshold: threshold.max(1),
            state: BreakerState::Closed,
            failures: 0,
            opened_at_ms: None,
            changed_at_ms: None,
        }
    }

    /// An attempt, a heartbeat or a probe starts. True when the state changed.
    pub fn on_attempt(&mut self, wall_ms: i64) -> bool {
        match self.state {
            BreakerState::Open => self.enter(BreakerState::HalfOpen, wall_ms),
            BreakerState::Closed | BreakerState::HalfOpen => false,
        }
    }

    /// A dial, a heartbeat, a probe failed, or a connection was lost. True when the state changed.
    pub fn on_failure(&mut self, wall_ms: i64) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.failures >= self.threshold => self.enter(BreakerState::Open, wall_ms),
            BreakerState::HalfOpen => self.enter(BreakerState::Open, wall_ms),
            BreakerState::Closed | BreakerState::Open => false,
        }
    }

    /// The gateway let us in or answered. True when the state changed.
    pub fn on_success(&mut self, wall_ms: i64) -> bool {
        self.failures = 0;
        let left_open = self.on_attempt(wall_ms);
        match self.state {
            BreakerState::HalfOpen => self.enter(BreakerState::Closed, wall_ms),
            BreakerState::Closed | BreakerState::Open => left_open,
        }
    }

    /// The gateway answered with a refusal, or the attempt was given up before it told anything: a half-open breaker
    /// opens again, and the count stays. True when the state changed.
    pub fn on_no_verdict(&mut self, wall_ms: i64) -> bool {
        match self.state {
            BreakerState::HalfOpen => self.enter(BreakerState::Open, wall_ms),
            BreakerState::Closed | BreakerState::Open => false,
        }
    }

    /// Whether work may pass.
    pub fn passes(&self) -> bool {
        self.state == BreakerState::Closed
    }

    /// As shown.
    pub fn view(&self) -> BreakerView {
        BreakerView {
            state: self.state,
            failures: self.failures,
            opened_at_ms: self.opened_at_ms,
            changed_at_ms: self.changed_at_ms,
        }
    }

    fn enter(&mut self, to: BreakerState, wall_ms: i64) -> bool {
        let legal = matches!(
            (self.state, to),
            (BreakerState::Closed, BreakerState::Open)
                | (BreakerState::Open, BreakerState::HalfOpen)
                | (BreakerState::HalfOpen, BreakerState::Open | BreakerState::Closed)
        );
        debug_assert!(legal, "breaker must not go from {:?} to {to:?}", self.state);
        match to {
            BreakerState::Open => self.opened_at_ms = Some(wall_ms),
            BreakerState::Closed => self.opened_at_ms = None,
            BreakerState::HalfOpen => {}
        }
        self.state = to;
        self.changed_at_ms = Some(wall_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_third_failure_in_a_row_opens() {
        let mut breaker = Breaker::new(3);
        assert!(!breaker.on_failure(1));
        assert!(!breaker.on_failure(2));
        assert!(breaker.passes());
        assert!(breaker.on_failure(3));
        assert!(!breaker.passes());
        assert_eq!(breaker.view().opened_at_ms, Some(3));
        assert_eq!(breaker.view().failures, 3);
    }

    #[test]
    fn a_success_in_between_starts_the_count_over() {
        let mut breaker = Breaker::new(3);
        breaker.on_failure(1);
        breaker.on_failure(2);
        breaker.on_success(3);
        breaker.on_failure(4);
        breaker.on_failure(5);
        assert!(breaker.passes());
    }

    #[test]
    fn half_open_closes_on_success_and_opens_again_on_failure() {
        let mut breaker = Breaker::new(1);
        breaker.on_failure(1);
        assert!(breaker.on_attempt(2));
        assert_eq!(breaker.view().state, BreakerState::HalfOpen);
        assert!(breaker.on_failure(3));
        assert_eq!(breaker.view().opened_at_ms, Some(3));
        breaker.on_attempt(4);
        assert!(breaker.on_success(5));
        assert_eq!(
            breaker.view(),
            BreakerView { state: BreakerState::Closed, failures: 0, opened_at_ms: None, changed_at_ms: Some(5) }
        );
    }

    #[test]
    fn a_refusal_neither_counts_nor_closes() {
        let mut breaker = Breaker::new(2);
        for at in 0..10 {
            breaker.on_attempt(at);
            assert!(!breaker.on_no_verdict(at));
        }
        assert!(breaker.passes());
        breaker.on_failure(11);
        breaker.on_failure(12);
        breaker.on_attempt(13);
        assert!(breaker.on_no_verdict(14));
        assert_eq!(breaker.view().state, BreakerState::Open);
        assert_eq!(breaker.view().failures, 2);
    }

    #[test]
    fn an_attempt_changes_nothing_while_closed() {
        let mut breaker = Breaker::new(3);
        assert!(!breaker.on_attempt(1));
        assert_eq!(breaker.view().changed_at_ms, None);
    }

    proptest! {
        /// `enter` asserts that half-open is never skipped; here every input sequence runs through it.
        #[test]
        fn open_is_left_only_through_half_open(threshold in 0_u32..5, inputs in prop::collection::vec(0_u8..4, 0..200)) {
            let mut breaker = Breaker::new(threshold);
            for (at, input) in inputs.into_iter().enumerate() {
                let before = breaker.view();
                let at = i64::try_from(at).unwrap();
                let changed = match input {
                    0 => breaker.on_attempt(at),
                    1 => breaker.on_failure(at),
                    2 => breaker.on_success(at),
                    _ => breaker.on_no_verdict(at),
                };
                let after = breaker.view();
                prop_assert_eq!(changed, before.state != after.state);
                prop_assert_eq!(after.opened_at_ms.is_some(), after.state != BreakerState::Closed);
                if after.state == BreakerState::Open && before.state == BreakerState::Closed {
                    prop_assert!(after.failures >= threshold.max(1));
                }
            }
        }
    }
}
