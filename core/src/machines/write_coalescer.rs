//! When steps of spawns are written, and how many at once.
//!
//! Each commit waits for the disk, and the next spawn's record waits behind it. So steps that nobody waits for are gathered
//! for a moment and written in one transaction; what somebody waits for is written at once, with all that is there.
//!
//! After a batch has failed its spawns are tried one by one: one that can never be written must not hold up the others.

use std::time::{Duration, Instant};

/// How long a step that nobody waits for may be gathered. Short enough for a person, long against a commit (about 1 ms).
pub(crate) const GATHER: Duration = Duration::from_millis(20);
/// How long after a failure the store is tried again, unless somebody asks for something new.
pub(crate) const RETRY: Duration = Duration::from_secs(1);
/// Steps in one transaction.
pub(crate) const MAX_STEPS: usize = 500;

/// One write at a time.
#[derive(Debug, Default)]
pub(crate) struct WriteCoalescer {
    writing: bool,
    write_at: Option<Instant>,
    one_by_one: usize,
}

impl WriteCoalescer {
    /// Somebody waits for what is in line or in the write under way.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.write_at = Some(now);
    }

    /// To be asked after each input: how many steps may be written now, if a batch is due. `waiting`: whether steps are in line.
    pub(crate) fn begin(&mut self, now: Instant, waiting: bool) -> Option<usize> {
        if self.writing {
            return None;
        }
        if !waiting {
            (self.write_at, self.one_by_one) = (None, 0);
            return None;
        }
        if *self.write_at.get_or_insert(now + GATHER) > now {
            return None;
        }
        (self.writing, self.write_at) = (true, None);
        if self.one_by_one == 0 {
            return Some(MAX_STEPS);
        }
        self.one_by_one -= 1;
        Some(1)
    }

    /// The batch, of so many spawns, was written or not.
    pub(crate) fn ended(&mut self, now: Instant, spawns: usize, done: bool) {
        self.writing = false;
        if !done {
            self.one_by_one = if spawns > 1 { spawns } else { self.one_by_one };
            // However urgent it is: the store can't write now.
            self.write_at = Some(now + RETRY);
        } else if self.one_by_one > 0 {
            self.write_at = Some(now);
        }
    }

    /// When a batch is due, if none is under way.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.write_at.filter(|_| !self.writing)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_waits_for_is_gathered() {
        let now = crate::any_instant();
        let mut coalescer = WriteCoalescer::default();
        assert_eq!(coalescer.begin(now, true), None);
        assert_eq!(coalescer.begin(now + GATHER / 2, true), None);
        assert_eq!(coalescer.next_deadline(), Some(now + GATHER));
        assert_eq!(coalescer.begin(now + GATHER, true), Some(MAX_STEPS));
    }

    #[test]
    fn what_somebody_waits_for_is_written_at_once_or_right_after_the_write_under_way() {
        let now = crate::any_instant();
        let mut coalescer = WriteCoalescer::default();
        coalescer.begin(now, true);
        coalescer.hurry(now);
        assert!(coalescer.begin(now, true).is_some());
        coalescer.hurry(now);
        assert_eq!(coalescer.begin(now, true), None);
        coalescer.ended(now, 1, true);
        assert!(coalescer.begin(now, true).is_some());
    }

    #[test]
    fn the_spawns_of_a_failed_batch_are_tried_one_by_one() {
        let mut now = crate::any_instant();
        let mut coalescer = WriteCoalescer::default();
        coalescer.hurry(now);
        coalescer.begin(now, true);
        coalescer.ended(now, 3, false);
        for turn in 0..3 {
            // One of them can't be written at all, and does not start the count anew.
            now = coalescer.next_deadline().unwrap();
            assert_eq!(coalescer.begin(now, true), Some(1), "{turn}");
            coalescer.ended(now, 1, turn != 1);
        }
        coalescer.hurry(now);
        assert_eq!(coalescer.begin(now, true), Some(MAX_STEPS));
    }

    #[test]
    fn a_failure_of_the_store_is_not_answered_with_a_storm_of_attempts() {
        let now = crate::any_instant();
        let mut coalescer = WriteCoalescer::default();
        coalescer.hurry(now);
        coalescer.begin(now, true);
        coalescer.hurry(now);
        coalescer.ended(now, 1, false);
        assert_eq!(coalescer.begin(now, true), None);
        assert_eq!(coalescer.next_deadline(), Some(now + RETRY));
    }

    proptest! {
        /// Whatever comes in whatever order: where steps wait, a write is under way or due within a second.
        #[test]
        fn nothing_is_forgotten(inputs in proptest::collection::vec((0..4_u8, 0..3_000_u64), 1..60)) {
            let mut now = crate::any_instant();
            let mut coalescer = WriteCoalescer::default();
            let (mut waiting, mut writing) = (0_usize, None);
            for (input, wait) in inputs {
                now += Duration::from_millis(wait);
                match input {
                    0 => waiting += 1,
                    1 => { waiting += 1; coalescer.hurry(now); }
                    _ => if let Some(taken) = writing.take() {
                        let done = input == 2;
                        waiting += if done { 0 } else { taken };
                        coalescer.ended(now, taken, done);
                    }
                }
                if let Some(max) = coalescer.begin(now, waiting > 0) {
                    prop_assert!(writing.is_none());
                    let taken = waiting.min(max);
                    waiting -= taken;
                    writing = Some(taken);
                }
                let due = coalescer.next_deadline().is_some_and(|at| at <= now + RETRY);
                prop_assert!(waiting == 0 || writing.is_some() || due);
            }
        }
    }
}
