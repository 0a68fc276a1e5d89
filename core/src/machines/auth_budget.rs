//! How many failed authentications one address may see: real gateways lock a client out after ten, so never more than
//! five in any minute, whatever happens on our side.
//!
//! A permit is reserved before credentials are sent and settled when the outcome is known. Until then it counts as a
//! failure, so that several records of one address cannot overdraw together.
//!
//! Credentials whose answer never came count as failed: the gateway may have refused them. Once credentials are accepted
//! at that address these are forgiven, as a real gateway forgives them (its limiter is reset by a success: releases
//! 2026.3.24 and 2026.9.6). Otherwise a gateway that dies five times a minute while it lets us in would be left alone
//! for a minute although nothing was ever refused. What it refused in words is not forgiven.
//!
//! A gateway knows nothing of our restarts: what counts is kept over them ([`AuthBudget::failures`], [`AuthBudget::resume`]).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::machines::connection::AuthResult;

/// Failed authentications allowed in any [`WINDOW`].
pub const MAX_FAILURES: usize = 5;
/// The sliding window.
pub const WINDOW: Duration = Duration::from_secs(60);
/// When to ask again while every place is taken by attempts under way.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A failure leaves the window strictly after it, so that no closed interval of a minute holds six.
const MARGIN: Duration = Duration::from_millis(1);

/// The budget of one address. The registry owns one per canonical address.
#[derive(Debug, Clone, Default)]
pub struct AuthBudget {
    /// Settled failures, oldest first; at most [`MAX_FAILURES`] matter.
    failures: VecDeque<Failed>,
    /// Permits given and not settled.
    outstanding: usize,
}

/// One that counts.
#[derive(Debug, Clone, Copy)]
struct Failed {
    /// When it counts no more.
    until: Instant,
    refused: bool,
}

/// A failure as it is kept over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedLogin {
    /// How long ago it was.
    pub ago: Duration,
    /// In the gateway's own words, not for want of an answer.
    pub refused: bool,
}

impl AuthBudget {
    /// A budget that nothing was spent of.
    pub fn new() -> Self {
        Self::default()
    }

    /// After a restart: what failed before it, in any order, counts for the rest of its window.
    pub fn resume(now: Instant, failures: &[FailedLogin]) -> Self {
        let counts = |failed: &FailedLogin| {
            let left = (WINDOW + MARGIN).checked_sub(failed.ago).filter(|left| !left.is_zero())?;
            Some(Failed { until: now + left, refused: failed.refused })
        };
        let mut failures: Vec<Failed> = failures.iter().filter_map(counts).collect();
        failures.sort_by_key(|failed| failed.until);
        Self { failures: failures.into(), outstanding: 0 }
    }

    /// What is to be kept for [`AuthBudget::resume`]: the newest [`MAX_FAILURES`] that count, oldest first. Permits under way are not
    /// among them.
    pub fn failures(&self, now: Instant) -> Vec<FailedLogin> {
        let counts = self.failures.iter().filter(|failed| now < failed.until);
        let kept = counts.map(|failed| FailedLogin {
            ago: (WINDOW + MARGIN).saturating_sub(failed.until.saturating_duration_since(now)),
            refused: failed.refused,
        });
        let kept: Vec<FailedLogin> = kept.collect();
        kept.get(kept.len().saturating_sub(MAX_FAILURES)..).unwrap_or_default().to_vec()
    }

    /// Takes one permit, or says when one may be had. Every `Ok` must be followed by one [`AuthBudget::settle`], also
    /// when the actor that held it died ([`AuthResult::Unknown`] then).
    pub fn reserve(&mut self, now: Instant) -> Result<(), Instant> {
        self.expire(now);
        if self.failures.len() + self.outstanding < MAX_FAILURES {
            self.outstanding += 1;
            return Ok(());
        }
        Err(self.failures.front().map_or(now + ASK_AGAIN, |oldest| oldest.until))
    }

    /// Gives a permit back with its outcome. A settlement that no permit stands for is taken at its word if it failed. True where other
    /// failures count than before, but for those whose time is over.
    pub fn settle(&mut self, now: Instant, result: AuthResult) -> bool {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.expire(now);
        let refused = match result {
            AuthResult::NotFailed => return false,
            AuthResult::Accepted => {
                let before = self.failures.len();
                self.failures.retain(|failed| failed.refused);
                return self.failures.len() < before;
            }
            AuthResult::Failed => true,
            AuthResult::Unknown => false,
        };
        self.failures.push_back(Failed { until: now + WINDOW + MARGIN, refused });
        true
    }

    /// Permits given and not settled.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether nothing is remembered: the registry may drop such a budget.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        self.expire(now);
        self.failures.is_empty() && self.outstanding == 0
    }

    fn expire(&mut self, now: Instant) {
        while self.failures.front().is_some_and(|oldest| now >= oldest.until) {
            self.failures.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> Instant {
        crate::any_instant()
    }

    #[test]
    fn the_sixth_attempt_within_a_minute_of_five_failures_is_denied_until_the_first_is_a_minute_old() {
        let begin = start();
        let mut budget = AuthBudget::new();
        for second in 0..5 {
            let now = begin + Duration::from_secs(second);
            budget.reserve(now).unwrap();
            budget.settle(now, AuthResult::Failed);
        }
        let retry_at = budget.reserve(begin + Duration::from_secs(5)).unwrap_err();
        assert!(retry_at > begin + WINDOW);
        assert!(budget.reserve(retry_at).is_ok());
    }

    #[test]
    fn successes_cost_nothing() {
        let now = start();
        let mut budget = AuthBudget::new();
        for turn in 0..50 {
            budget.reserve(now).unwrap();
            budget.settle(now, [AuthResult::Accepted, AuthResult::NotFailed][turn % 2]);
        }
        assert!(budget.is_idle(now));
    }

    #[test]
    fn a_success_forgives_what_was_never_answered_but_nothing_that_was_refused() {
        let now = start();
        let mut budget = AuthBudget::new();
        let outcomes = [AuthResult::Unknown, AuthResult::Failed, AuthResult::Unknown, AuthResult::Accepted];
        for outcome in outcomes.into_iter().chain([AuthResult::Failed; 4]) {
            budget.reserve(now).unwrap();
            budget.settle(now, outcome);
        }
        assert!(budget.reserve(now).is_err(), "one before and four after");
    }

    #[test]
    fn an_answer_that_never_came_counts_as_failed() {
        let now = start();
        let mut budget = AuthBudget::new();
        for _ in 0..5 {
            budget.reserve(now).unwrap();
            budget.settle(now, AuthResult::Unknown);
        }
        assert!(budget.reserve(now).is_err());
    }

    #[test]
    fn what_failed_before_a_restart_counts_for_the_rest_of_its_minute_and_not_longer() {
        let begin = start();
        let mut budget = AuthBudget::new();
        for second in 0..5 {
            let now = begin + Duration::from_secs(second);
            budget.reserve(now).unwrap();
            assert!(budget.settle(now, AuthResult::Failed));
        }
        let retry_at = budget.clone().reserve(begin + Duration::from_secs(20)).unwrap_err();
        let now = begin + Duration::from_secs(20);
        let mut again = AuthBudget::resume(now, &budget.failures(now));
        assert_eq!(again.reserve(now), Err(retry_at));
        assert_eq!(again.reserve(begin + WINDOW), Err(retry_at), "a window is closed");
        assert_eq!(again.reserve(retry_at), Ok(()), "the first counts no more");
        assert!(again.reserve(retry_at).is_err(), "the others do");
    }

    #[test]
    fn failures_are_taken_over_in_any_order_and_none_whose_time_is_over() {
        let now = start();
        let old = FailedLogin { ago: WINDOW + MARGIN, refused: true };
        let kept = FailedLogin { ago: WINDOW, refused: true };
        assert_eq!(AuthBudget::resume(now, &[old, kept]).failures(now), [kept]);
        let newest = FailedLogin { ago: Duration::ZERO, refused: false };
        assert_eq!(AuthBudget::resume(now, &[newest, kept]).failures(now), [kept, newest]);
    }

    #[test]
    fn whoever_keeps_the_failures_is_told_of_each_that_counts_and_of_each_that_is_forgiven() {
        let now = start();
        let mut budget = AuthBudget::new();
        let mut settle = |after: Duration, result| budget.settle(now + after, result);
        assert!(!settle(Duration::ZERO, AuthResult::Accepted));
        assert!(!settle(Duration::ZERO, AuthResult::NotFailed));
        assert!(settle(Duration::ZERO, AuthResult::Unknown));
        assert!(settle(Duration::ZERO, AuthResult::Failed));
        assert!(settle(Duration::ZERO, AuthResult::Accepted), "the one without an answer is forgiven");
        assert!(!settle(Duration::ZERO, AuthResult::Accepted));
        assert!(settle(Duration::ZERO, AuthResult::Unknown));
        assert!(!settle(WINDOW * 2, AuthResult::Accepted), "its time was over by then");
        assert!(budget.failures(now).is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded_though_more_was_reported_than_permitted() {
        let now = start();
        let mut budget = AuthBudget::new();
        for second in 0..20 {
            budget.settle(now + Duration::from_secs(second), AuthResult::Failed);
        }
        let kept = budget.failures(now + Duration::from_secs(20));
        assert_eq!(kept.len(), MAX_FAILURES);
        assert_eq!(kept.last().unwrap().ago, Duration::from_secs(1), "the newest");
    }

    #[test]
    fn attempts_under_way_count_until_they_are_settled() {
        let now = start();
        let mut budget = AuthBudget::new();
        for _ in 0..5 {
            budget.reserve(now).unwrap();
        }
        assert!(budget.reserve(now).is_err());
        budget.settle(now, AuthResult::NotFailed);
        assert!(budget.reserve(now).is_ok());
    }

    proptest! {
        /// Whatever order permits are asked for, held and settled in, no closed minute sees more than five failures,
        /// wherever between reservation and settlement the gateway counted them.
        #[test]
        fn no_sequence_of_inputs_yields_more_than_five_failures_in_any_minute(
            steps in prop::collection::vec((0_u64..20_000, 0_u8..6, any::<prop::sample::Index>()), 1..300),
        ) {
            let mut now = start();
            let mut budget = AuthBudget::new();
            let mut open: Vec<Instant> = Vec::new();
            let mut counted: Vec<(Instant, Instant, AuthResult)> = Vec::new();
            for (wait_ms, action, which) in steps {
                now += Duration::from_millis(wait_ms);
                // A restart in between, once nothing is under way.
                if action == 5 && open.is_empty() {
                    budget = AuthBudget::resume(now, &budget.failures(now));
                } else if matches!(action, 0 | 5) || open.is_empty() {
                    match budget.reserve(now) {
                        Ok(()) => open.push(now),
                        Err(retry_at) => prop_assert!(retry_at > now),
                    }
                } else {
                    let reserved_at = open.swap_remove(which.index(open.len()));
                    let result = [AuthResult::NotFailed, AuthResult::Failed, AuthResult::Unknown, AuthResult::Accepted]
                        [usize::from(action) - 1];
                    budget.settle(now, result);
                    match result {
                        AuthResult::NotFailed => {}
                        AuthResult::Failed | AuthResult::Unknown => counted.push((reserved_at, now, result)),
                        // The gateway's own count starts anew; we forgive less than it does.
                        AuthResult::Accepted => counted.retain(|(.., result)| *result == AuthResult::Failed),
                    }
                    // What the gateway may have counted since, wherever between reservation and settlement it did.
                    let (mut early, mut late): (Vec<_>, Vec<_>) = counted.iter().map(|(e, l, _)| (*e, *l)).unzip();
                    early.sort();
                    late.sort();
                    for times in [early, late] {
                        for window in times.windows(MAX_FAILURES + 1) {
                            prop_assert!(window[MAX_FAILURES] - window[0] > WINDOW);
                        }
                    }
                }
                prop_assert_eq!(budget.outstanding(), open.len());
            }
        }
    }
}
