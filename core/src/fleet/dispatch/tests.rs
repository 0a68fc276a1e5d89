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
