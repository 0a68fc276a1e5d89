//! Gaps in the event numbering of a gateway.
//!
//! Newer releases number events per connection, older ones number all broadcasts together; events for one client alone
//! carry no number. So counting starts at the first number seen, unnumbered events pass, and a gap means only that
//! something was missed: a resync, never an error.

use std::time::{Duration, Instant};

/// Two requests for a resync lie at least this far apart.
pub const MIN_BETWEEN_RESYNCS: Duration = Duration::from_secs(10);

/// The numbering of one connection.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    last: Option<u64>,
    gaps: u64,
    last_request: Option<Instant>,
    owed: bool,
}

impl Sequence {
    /// A new connection: its numbering is unknown. The pace of requests is kept.
    pub fn restart(&mut self) {
        self.last = None;
        self.owed = false;
    }

    /// An event came, with its number if it has one. True when a resync is wanted now.
    pub fn on_event(&mut self, now: Instant, number: Option<u64>) -> bool {
        if let Some(number) = number {
            let gap = match self.last {
                None => false,
                // A smaller number is a counter that started over: something may have been missed as well.
                Some(last) => number != last.wrapping_add(1) && number != last,
            };
            self.last = Some(number);
            if gap {
                self.gaps = self.gaps.saturating_add(1);
                self.owed = true;
            }
        }
        self.on_deadline(now)
    }

    /// Whether a request that came too soon after the last one is due now.
    pub fn on_deadline(&mut self, now: Instant) -> bool {
        let due = self.next_deadline().is_some_and(|at| now >= at);
        if due || (self.owed && self.last_request.is_none()) {
            self.owed = false;
            self.last_request = Some(now);
            return true;
        }
        false
    }

    /// When a postponed request is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.last_request.filter(|_| self.owed).map(|last| last + MIN_BETWEEN_RESYNCS)
    }

    /// Gaps seen since the start.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        crate::any_instant()
    }

    #[test]
    fn numbers_that_follow_each_other_are_no_gap_wherever_they_start() {
        let now = start();
        let mut sequence = Sequence::default();
        for number in 284..400 {
            assert!(!sequence.on_event(now, Some(number)));
        }
        assert_eq!(sequence.gaps(), 0);
    }

    #[test]
    fn events_without_a_number_pass() {
        let now = start();
        let mut sequence = Sequence::default();
        sequence.on_event(now, Some(1));
        assert!(!sequence.on_event(now, None));
        assert!(!sequence.on_event(now, Some(2)));
    }

    #[test]
    fn a_gap_wants_one_resync_at_once() {
        let now = start();
        let mut sequence = Sequence::default();
        sequence.on_event(now, Some(1));
        assert!(sequence.on_event(now, Some(5)));
        assert!(!sequence.on_event(now, Some(6)));
        assert_eq!(sequence.gaps(), 1);
    }

    #[test]
    fn a_storm_of_gaps_wants_few_resyncs_and_forgets_none() {
        let begin = start();
        let mut sequence = Sequence::default();
        let mut requests = 0;
        for step in 0..1000_u64 {
            let now = begin + Duration::from_millis(step * 10);
            requests += u32::from(sequence.on_event(now, Some(step * 2)));
        }
        assert_eq!(requests, 1);
        let due = sequence.next_deadline().unwrap();
        assert!(sequence.on_deadline(due));
        assert_eq!(sequence.next_deadline(), None);
    }

    #[test]
    fn a_counter_that_starts_over_is_a_gap_but_a_new_connection_is_not() {
        let now = start();
        let mut sequence = Sequence::default();
        sequence.on_event(now, Some(70));
        assert!(sequence.on_event(now, Some(1)));
        sequence.restart();
        assert!(!sequence.on_event(now, Some(9)));
        assert_eq!(sequence.gaps(), 1);
    }
}
