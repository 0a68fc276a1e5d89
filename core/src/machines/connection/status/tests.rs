use proptest::prelude::*;

use super::*;

fn online(now: Instant) -> Facts {
    Facts {
        parked: false,
        blocked: None,
        in_grace: false,
        breaker: BreakerState::Closed,
        last_attempt: LastAttempt::Answered,
        ready: true,
        heartbeat_missed: false,
        heartbeat_late: false,
        latency: Some(Duration::from_millis(3)),
        degraded_latency: Duration::from_millis(500),
        calls_itself_degraded: false,
        attempt_due: None,
        kept: None,
        as_of: now,
        heartbeat_interval: Duration::from_secs(30),
    }
}

fn start() -> Instant {
    crate::any_instant()
}

#[test]
fn each_row_of_the_table_wins_over_all_rows_below_it() {
    let now = start();
    let mut facts = online(now);
    assert_eq!(facts.status(now), Status::Online, "row 9");
    facts.calls_itself_degraded = true;
    assert_eq!(facts.status(now), Status::Degraded, "row 8");
    facts.heartbeat_missed = true;
    assert_eq!(facts.status(now), Status::Timeout, "row 7, heartbeat");
    facts.ready = false;
    facts.last_attempt = LastAttempt::NoAnswer;
    assert_eq!(facts.status(now), Status::Timeout, "row 7, attempt");
    facts.last_attempt = LastAttempt::Refused;
    assert_eq!(facts.status(now), Status::Offline, "row 6");
    facts.last_attempt = LastAttempt::NoAnswer;
    facts.breaker = BreakerState::Open;
    assert_eq!(facts.status(now), Status::Offline, "row 5");
    facts.in_grace = true;
    assert_eq!(facts.status(now), Status::Degraded, "row 4");
    facts.in_grace = false;
    facts.blocked = Some(BlockedAs::Refused);
    assert_eq!(facts.status(now), Status::Degraded, "row 3");
    facts.in_grace = true;
    facts.blocked = Some(BlockedAs::Unreachable);
    assert_eq!(facts.status(now), Status::Offline, "row 2");
    facts.blocked = Some(BlockedAs::Refused);
    facts.parked = true;
    assert_eq!(facts.status(now), Status::Offline, "row 1");
}

#[test]
fn a_gateway_that_was_never_checked_is_unknown() {
    let now = start();
    let facts = Facts { ready: false, last_attempt: LastAttempt::None, ..online(now) };
    assert_eq!(facts.status(now), Status::Unknown);
    assert_eq!(facts.next_deadline(now), None);
}

#[test]
fn an_attempt_that_goes_without_an_answer_for_long_is_a_timeout_before_it_ends() {
    let now = start();
    let due = now + Duration::from_secs(4);
    for last_attempt in [LastAttempt::None, LastAttempt::Answered] {
        let facts = Facts { ready: false, last_attempt, attempt_due: Some(due), ..online(now) };
        assert_eq!(facts.status(now), Status::Unknown);
        assert_eq!(facts.next_deadline(now), Some(due));
        assert_eq!(facts.status(due), Status::Timeout);
        assert_eq!(facts.next_deadline(due), None);
    }
    let refused = Facts { ready: false, last_attempt: LastAttempt::Refused, attempt_due: Some(due), ..online(now) };
    assert_eq!(refused.status(due), Status::Offline, "the last answer counts until there is another");
}

#[test]
fn slow_means_more_than_the_limit() {
    let now = start();
    let at_limit = Facts { latency: Some(Duration::from_millis(500)), ..online(now) };
    let above = Facts { latency: Some(Duration::from_micros(500_001)), ..online(now) };
    assert_eq!(at_limit.status(now), Status::Online);
    assert_eq!(above.status(now), Status::Degraded);
}

#[test]
fn a_late_heartbeat_is_degraded() {
    let now = start();
    assert_eq!(Facts { heartbeat_late: true, ..online(now) }.status(now), Status::Degraded);
}

#[test]
fn online_and_slow_decay_after_three_heartbeat_intervals() {
    let now = start();
    let slow = Facts { latency: Some(Duration::from_secs(1)), ..online(now) };
    for facts in [online(now), slow] {
        let deadline = facts.next_deadline(now).unwrap();
        assert_eq!(deadline, now + Duration::from_secs(90));
        assert_ne!(facts.status(deadline - Duration::from_millis(1)), Status::Unknown);
        assert_eq!(facts.status(deadline), Status::Unknown);
        assert_eq!(facts.next_deadline(deadline), None);
    }
}

#[test]
fn blocked_parked_starting_timeout_and_offline_do_not_decay() {
    let now = start();
    let much_later = now + Duration::from_secs(100_000);
    let base = Facts { ready: false, last_attempt: LastAttempt::Refused, ..online(now) };
    for (facts, expected) in [
        (base, Status::Offline),
        (Facts { last_attempt: LastAttempt::NoAnswer, ..base }, Status::Timeout),
        (Facts { heartbeat_missed: true, ..online(now) }, Status::Timeout),
        (Facts { parked: true, ..base }, Status::Offline),
        (Facts { blocked: Some(BlockedAs::Refused), ..base }, Status::Degraded),
        (Facts { blocked: Some(BlockedAs::Unreachable), ..base }, Status::Offline),
        (Facts { in_grace: true, ..base }, Status::Degraded),
        (Facts { breaker: BreakerState::Open, ..base }, Status::Offline),
    ] {
        assert_eq!(facts.status(much_later), expected);
        assert_eq!(facts.next_deadline(much_later), None);
    }
}

#[test]
fn half_open_is_still_offline() {
    let now = start();
    let facts =
        Facts { ready: false, last_attempt: LastAttempt::NoAnswer, breaker: BreakerState::HalfOpen, ..online(now) };
    assert_eq!(facts.status(now), Status::Offline);
}

prop_compose! {
    fn any_facts()(
        flags in prop::collection::vec(any::<bool>(), 6),
        blocked in prop::sample::select(vec![None, Some(BlockedAs::Unreachable), Some(BlockedAs::Refused)]),
        breaker in prop::sample::select(vec![BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen]),
        last_attempt in prop::sample::select(vec![
            LastAttempt::None, LastAttempt::Answered, LastAttempt::Refused, LastAttempt::NoAnswer]),
        latency in prop::option::of(0_u64..2000),
    ) -> Facts {
        Facts {
            parked: flags[0],
            blocked,
            in_grace: flags[1],
            breaker,
            last_attempt,
            ready: flags[2],
            heartbeat_missed: flags[3],
            heartbeat_late: flags[4],
            latency: latency.map(Duration::from_millis),
            calls_itself_degraded: flags[5],
            ..online(start())
        }
    }
}

proptest! {
    #[test]
    fn online_is_never_said_without_every_reason_for_it(facts in any_facts(), age_s in 0_u64..500) {
        let now = facts.as_of + Duration::from_secs(age_s);
        if facts.status(now) == Status::Online {
            prop_assert!(facts.ready && !facts.parked && facts.blocked.is_none() && !facts.in_grace);
            prop_assert!(facts.breaker == BreakerState::Closed && !facts.heartbeat_missed && !facts.heartbeat_late);
            prop_assert!(age_s < 90);
        }
    }

    #[test]
    fn the_status_changes_by_age_only_at_its_next_deadline(facts in any_facts(), age_s in 0_u64..500) {
        let now = facts.as_of + Duration::from_secs(age_s);
        let at_first = facts.status(facts.as_of);
        match facts.next_deadline(facts.as_of) {
            Some(deadline) if now >= deadline => prop_assert_eq!(facts.status(now), Status::Unknown),
            _ => prop_assert_eq!(facts.status(now), at_first),
        }
    }
}
