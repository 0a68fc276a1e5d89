//! When steps of spawns are written, and how many at once.
//!
//! Each commit waits for the disk, and the next spawn's record waits behind it. So steps that nobody waits for are gathered
//! for a moment and written in one transaction; what somebody waits for is written at once, with all that is there.
//!
//! After a batch has failed its spawns are tried one by one: one that can never be written must not hold up the others.

use std::time::Duration;

/// How long a step that nobody waits for may be gathered. Short enough for a person, long against a commit (about 1 ms).
pub(crate) const GATHER: Duration = Duration::from_millis(20);
/// Moves in one transaction.
pub(crate) const MAX_STEPS: usize = 500;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Take a batch and write it.
    Now,
    /// Ask again with [`WriteCoalescer::gathered`] after [`GATHER`].
    Soon,
    /// Nothing: a write or a timer is under way.
    Wait,
}

/// Decides when the next batch is written.
#[derive(Debug, Default)]
pub(crate) struct WriteCoalescer {
    writing: bool,
    gathering: bool,
    urgent: bool,
    one_by_one: usize,
}

impl WriteCoalescer {
    /// Something is to be written. `urgent`: somebody waits for it.
    pub(crate) fn on_step(&mut self, urgent: bool) -> Pace {
        self.urgent |= urgent;
        if self.writing {
            Pace::Wait
        } else if self.urgent {
            Pace::Now
        } else if std::mem::replace(&mut self.gathering, true) {
            Pace::Wait
        } else {
            Pace::Soon
        }
    }

    /// The time for gathering is over.
    pub(crate) fn gathered(&mut self) -> Pace {
        self.gathering = false;
        if self.writing { Pace::Wait } else { Pace::Now }
    }

    /// A batch is taken now: how many steps it may hold.
    pub(crate) fn begin(&mut self) -> usize {
        self.writing = true;
        self.urgent = false;
        if self.one_by_one == 0 {
            return MAX_STEPS;
        }
        self.one_by_one -= 1;
        1
    }

    /// A batch of so many spawns (0: there was nothing to write) ended. `more`: whether other steps wait.
    pub(crate) fn ended(&mut self, spawns: usize, done: bool, more: bool) -> Pace {
        self.writing = false;
        if !done {
            self.one_by_one = if spawns > 1 { spawns } else { self.one_by_one };
            // The store can't write now: the caller's next look tries again, however urgent it is.
            self.urgent = false;
            return Pace::Wait;
        }
        if !more {
            self.one_by_one = 0;
            return Pace::Wait;
        }
        if self.urgent || self.one_by_one > 0 {
            return Pace::Now;
        }
        if std::mem::replace(&mut self.gathering, true) { Pace::Wait } else { Pace::Soon }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_waits_for_is_gathered_and_the_timer_is_armed_once() {
        let mut pace = WriteCoalescer::default();
        assert_eq!(pace.on_step(false), Pace::Soon);
        assert_eq!(pace.on_step(false), Pace::Wait);
        assert_eq!(pace.gathered(), Pace::Now);
        assert_eq!(pace.begin(), MAX_STEPS);
    }

    #[test]
    fn what_somebody_waits_for_is_written_at_once_or_right_after_the_write_under_way() {
        let mut pace = WriteCoalescer::default();
        pace.on_step(false);
        assert_eq!(pace.on_step(true), Pace::Now);
        pace.begin();
        assert_eq!(pace.on_step(true), Pace::Wait);
        assert_eq!(pace.gathered(), Pace::Wait);
        assert_eq!(pace.ended(1, true, true), Pace::Now);
    }

    #[test]
    fn the_spawns_of_a_failed_batch_are_tried_one_by_one() {
        let mut pace = WriteCoalescer::default();
        pace.begin();
        assert_eq!(pace.ended(3, false, true), Pace::Wait);
        for turn in 0..3 {
            assert_eq!(pace.on_step(true), Pace::Now, "{turn}");
            assert_eq!(pace.begin(), 1);
            // One of them can't be written at all, and does not start the count anew.
            pace.ended(1, turn != 1, true);
        }
        assert_eq!(pace.begin(), MAX_STEPS);
    }

    #[test]
    fn a_failure_of_the_store_is_not_answered_with_a_storm_of_attempts() {
        let mut pace = WriteCoalescer::default();
        pace.begin();
        pace.on_step(true);
        assert_eq!(pace.ended(1, false, true), Pace::Wait);
    }

    proptest! {
        /// Whatever comes in whatever order: where steps wait, a write or a timer is under way, unless the last write failed.
        #[test]
        fn nothing_is_forgotten(steps in proptest::collection::vec((0..4_u8, any::<bool>()), 1..60)) {
            let mut pace = WriteCoalescer::default();
            let (mut waiting, mut writing, mut armed, mut failed) = (0_usize, 0_usize, false, false);
            for (step, flag) in steps {
                let said = match step {
                    0 => { waiting += 1; failed = false; pace.on_step(flag) }
                    1 if armed => { armed = false; pace.gathered() }
                    2 | 3 if writing > 0 => {
                        let (taken, done) = (std::mem::take(&mut writing), step == 2);
                        if !done { waiting += taken; failed = true; }
                        pace.ended(taken, done, waiting > 0)
                    }
                    _ => continue,
                };
                match said {
                    Pace::Now => {
                        prop_assert_eq!(writing, 0);
                        writing = waiting.min(pace.begin());
                        waiting -= writing;
                        if writing == 0 { pace.ended(0, true, false); }
                    }
                    Pace::Soon => { prop_assert!(!armed); armed = true; }
                    Pace::Wait => {}
                }
                prop_assert!(waiting == 0 || writing > 0 || armed || failed);
            }
        }
    }
}
