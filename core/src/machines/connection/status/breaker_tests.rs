use proptest::prelude::*;

use super::*;

#[test]
fn the_third_failure_in_a_row_opens() {
    let mut breaker = Breaker::new(3);
    breaker.on_failure(1);
    breaker.on_failure(2);
    assert_eq!(breaker.view().state, BreakerState::Closed);
    breaker.on_failure(3);
    assert_eq!(breaker.view().state, BreakerState::Open);
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
    assert_eq!(breaker.view().state, BreakerState::Closed);
}

#[test]
fn half_open_closes_on_success_and_opens_again_on_failure() {
    let mut breaker = Breaker::new(1);
    breaker.on_failure(1);
    breaker.on_attempt(2);
    assert_eq!(breaker.view().state, BreakerState::HalfOpen);
    breaker.on_failure(3);
    assert_eq!(breaker.view().opened_at_ms, Some(3));
    breaker.on_attempt(4);
    breaker.on_success(5);
    assert_eq!(
        *breaker.view(),
        BreakerView { state: BreakerState::Closed, failures: 0, opened_at_ms: None, changed_at_ms: Some(5) }
    );
}

#[test]
fn a_refusal_neither_counts_nor_closes() {
    let mut breaker = Breaker::new(2);
    for at in 0..10 {
        breaker.on_attempt(at);
        breaker.on_no_verdict(at);
    }
    assert_eq!(breaker.view().state, BreakerState::Closed);
    breaker.on_failure(11);
    breaker.on_failure(12);
    breaker.on_attempt(13);
    breaker.on_no_verdict(14);
    assert_eq!(breaker.view().state, BreakerState::Open);
    assert_eq!(breaker.view().failures, 2);
}

#[test]
fn an_attempt_changes_nothing_while_closed() {
    let mut breaker = Breaker::new(3);
    breaker.on_attempt(1);
    assert_eq!(breaker.view().changed_at_ms, None);
}

proptest! {
    /// `enter` asserts that half-open is never skipped; here every input sequence runs through it.
    #[test]
    fn open_is_left_only_through_half_open(threshold in 0_u32..5, inputs in prop::collection::vec(0_u8..4, 0..200)) {
        let mut breaker = Breaker::new(threshold);
        for (at, input) in inputs.into_iter().enumerate() {
            let before = breaker.view().clone();
            let at = i64::try_from(at).unwrap();
            match input {
                0 => breaker.on_attempt(at),
                1 => breaker.on_failure(at),
                2 => breaker.on_success(at),
                _ => breaker.on_no_verdict(at),
            }
            let after = breaker.view();
            prop_assert_eq!(before.changed_at_ms != after.changed_at_ms, before.state != after.state);
            prop_assert_eq!(after.opened_at_ms.is_some(), after.state != BreakerState::Closed);
            if after.state == BreakerState::Open && before.state == BreakerState::Closed {
                prop_assert!(after.failures >= threshold.max(1));
            }
        }
    }
}
