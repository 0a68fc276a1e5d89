//! How much output of one process is passed on per second. What exceeds it is read all the same, dropped and counted: a
//! flood costs the process nothing and the gateway little, and is never kept.

use std::time::{Duration, Instant};

/// Between two reports of what was dropped.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Lines passed on per second at most, whatever the bytes allow: each costs the gateway, its log and everybody who listens far
/// more than its bytes, which for an empty line is one.
const MOST_LINES: u64 = 2_048;

/// A bucket that holds one second's worth of bytes.
#[derive(Debug)]
pub struct OutputBudget {
    per_second: u64,
    left: u64,
    filled_at: Instant,
    dropped: u64,
    reported_at: Option<Instant>,
}

impl OutputBudget {
    /// A full bucket.
    pub fn new(per_second: u64, now: Instant) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, left: per_second, filled_at: now, dropped: 0, reported_at: None }
    }

    /// Whether a line of this many bytes may pass; else it counts as dropped. A line passes while anything is left, so one
    /// that is larger than a second's worth passes too, now and then.
    pub fn pass(&mut self, bytes: u64, now: Instant) -> bool {
        self.fill(now);
        if self.left == 0 {
            self.dropped = self.dropped.saturating_add(bytes);
            return false;
        }
        self.left = self.left.saturating_sub(bytes.max(self.per_second / MOST_LINES));
        true
    }

    /// What was dropped since the last report, where it is time to tell: once a second.
    pub fn report(&mut self, now: Instant) -> Option<u64> {
        let due = self.reported_at.is_none_or(|at| now.saturating_duration_since(at) >= REPORT_EVERY);
        if self.dropped == 0 || !due {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.dropped))
    }

    /// What was dropped and not yet told, at the end.
    pub fn last_report(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.dropped)).filter(|bytes| *bytes > 0)
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled_at);
        let gained = u128::from(self.per_second).saturating_mul(since.as_millis()) / 1_000;
        if gained > 0 {
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            self.left = self.left.saturating_add(gained).min(self.per_second);
            self.filled_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    #[test]
    fn what_exceeds_a_seconds_worth_is_dropped_and_counted_until_the_next() {
        let start = Now::read().at;
        let mut budget = OutputBudget::new(100, start);
        assert!(budget.pass(60, start));
        assert!(budget.pass(60, start), "a line passes while anything is left");
        assert!(!budget.pass(10, start));
        assert!(!budget.pass(5, start));
        assert_eq!(budget.report(start), Some(15));
        assert!(!budget.pass(7, start));
        assert_eq!(budget.report(start + Duration::from_millis(1)), None, "told once a second");
        let later = start + Duration::from_secs(1);
        assert!(budget.pass(100, later));
        assert!(!budget.pass(1, later));
        assert_eq!(budget.report(later), Some(8));
        assert_eq!(budget.last_report(), None);
    }

    #[test]
    fn a_flood_of_empty_lines_is_a_flood() {
        let start = Now::read().at;
        let mut budget = OutputBudget::new(256 * 1024, start);
        let passed = (0..1_000_000).filter(|_| budget.pass(1, start)).count();
        assert_eq!(passed, 2_048);
        assert_eq!(budget.last_report(), Some(1_000_000 - 2_048));
    }

    #[test]
    fn a_quiet_hour_saves_up_one_second() {
        let start = Now::read().at;
        let mut budget = OutputBudget::new(100, start);
        let later = start + Duration::from_secs(3_600);
        assert!(budget.pass(100, later));
        assert!(!budget.pass(100, later));
        assert_eq!(budget.last_report(), Some(100));
    }
}
