use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn start() -> Instant {
    crate::any_instant()
}

fn documented() -> Heartbeat {
    Heartbeat::new(30 * SECOND, 10 * SECOND, 3, SECOND / 2)
}

/// Runs every deadline up to `until` and notes what it asked for, in seconds from `begin`.
fn run(heartbeat: &mut Heartbeat, begin: Instant, until: Duration) -> Vec<(u64, HeartbeatEffect)> {
    let mut seen = Vec::new();
    while let Some(at) = heartbeat.next_deadline() {
        if at > begin + until {
            break;
        }
        if let Some(effect) = heartbeat.on_deadline(at) {
            seen.push(((at - begin).as_secs(), effect));
        }
    }
    seen
}

#[test]
fn the_first_heartbeat_is_sent_at_once_and_the_next_after_the_interval() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    assert_eq!(heartbeat.on_deadline(begin), Some(HeartbeatEffect::Send));
    assert_eq!(heartbeat.on_reply(begin + Duration::from_millis(7)), Some(Duration::from_millis(7)));
    assert_eq!(heartbeat.next_deadline(), Some(begin + 30 * SECOND));
}

#[test]
fn a_slow_reply_is_asked_for_again_soon_and_a_row_of_them_is_not_pressed() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    let mut sent = Vec::new();
    let mut answer_the_next = |heartbeat: &mut Heartbeat, after: Duration| {
        let at = heartbeat.next_deadline().unwrap();
        assert_eq!(heartbeat.on_deadline(at), Some(HeartbeatEffect::Send));
        sent.push((at - begin).as_secs());
        assert_eq!(heartbeat.on_reply(at + after), Some(after));
    };
    for _ in 0..5 {
        answer_the_next(&mut heartbeat, SECOND);
    }
    // What is as fast as it should be ends the row.
    answer_the_next(&mut heartbeat, SECOND / 2);
    answer_the_next(&mut heartbeat, SECOND);
    answer_the_next(&mut heartbeat, SECOND / 10);
    assert_eq!(heartbeat.next_deadline().map(|at| (at - begin).as_secs()), Some(144));
    assert_eq!(sent, [0, 6, 12, 18, 48, 78, 108, 114]);
}

#[test]
fn a_gateway_frozen_right_after_a_reply_shows_within_40_s_and_is_dropped_within_a_minute() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    heartbeat.on_reply(begin);
    let seen = run(&mut heartbeat, begin, 200 * SECOND);
    assert_eq!(
        seen,
        [
            (30, HeartbeatEffect::Send),
            (40, HeartbeatEffect::Missed(1)),
            (45, HeartbeatEffect::Send),
            (50, HeartbeatEffect::Missed(2)),
            (55, HeartbeatEffect::Send),
            (60, HeartbeatEffect::Lost),
        ]
    );
    assert_eq!(heartbeat.next_deadline(), None);
}

#[test]
fn time_that_the_daemon_itself_slept_through_is_no_miss_and_no_round_trip() {
    let begin = start();
    let woken = begin + 1_000 * SECOND;
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    let mut replied = heartbeat.clone();
    let asks_again = |heartbeat: &mut Heartbeat| {
        assert_eq!(heartbeat.on_deadline(woken), Some(HeartbeatEffect::Send));
        assert_eq!((heartbeat.on_deadline(woken), heartbeat.misses()), (None, 0));
        assert_eq!(heartbeat.next_deadline(), Some(woken + 10 * SECOND));
        assert_eq!(heartbeat.on_reply(woken + SECOND / 4), Some(SECOND / 4));
    };
    assert_eq!(heartbeat.on_deadline(woken), Some(HeartbeatEffect::Overslept));
    asks_again(&mut heartbeat);
    // The reply lay in the socket, and was read before anybody looked at the deadline.
    assert_eq!(replied.on_reply(woken), None);
    asks_again(&mut replied);
    // One that froze meanwhile is found out all the same.
    let mut waiting = documented();
    waiting.start(begin);
    assert_eq!(waiting.on_deadline(woken), Some(HeartbeatEffect::Overslept));
    let seen = run(&mut waiting, woken, 200 * SECOND);
    assert_eq!(seen.last(), Some(&(30, HeartbeatEffect::Lost)));
}

#[test]
fn with_a_short_interval_timeout_and_repeat_shrink_to_a_third_each() {
    let begin = start();
    let mut heartbeat = Heartbeat::new(3 * SECOND, 10 * SECOND, 3, SECOND / 2);
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    heartbeat.on_reply(begin);
    let seen = run(&mut heartbeat, begin, 200 * SECOND);
    assert_eq!(seen.last(), Some(&(8, HeartbeatEffect::Lost)));
    assert_eq!(seen.get(1), Some(&(4, HeartbeatEffect::Missed(1))));
}

#[test]
fn any_frame_makes_an_unanswered_heartbeat_late_instead_of_missed() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    heartbeat.on_frame(begin);
    assert_eq!(heartbeat.on_deadline(begin + 10 * SECOND), Some(HeartbeatEffect::Late));
    assert!(heartbeat.is_late());
    assert_eq!(heartbeat.misses(), 0);
    assert_eq!(heartbeat.next_deadline(), Some(begin + 15 * SECOND));
    heartbeat.on_deadline(begin + 15 * SECOND);
    heartbeat.on_reply(begin + 15 * SECOND);
    assert!(!heartbeat.is_late());
}

#[test]
fn a_frame_between_two_misses_breaks_the_row() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    assert_eq!(heartbeat.on_deadline(begin + 10 * SECOND), Some(HeartbeatEffect::Missed(1)));
    assert!(heartbeat.on_frame(begin + 11 * SECOND));
    assert_eq!(heartbeat.misses(), 0);
    assert!(!heartbeat.on_frame(begin + 11 * SECOND));
}

#[test]
fn a_reply_that_nobody_asked_for_measures_nothing() {
    let begin = start();
    let mut heartbeat = documented();
    assert_eq!(heartbeat.on_reply(begin), None);
    heartbeat.start(begin);
    assert_eq!(heartbeat.on_reply(begin), None);
    heartbeat.on_deadline(begin);
    assert!(heartbeat.on_reply(begin).is_some());
    assert_eq!(heartbeat.on_reply(begin), None);
}

#[test]
fn a_probe_hastens_the_next_heartbeat_but_never_doubles_one() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    heartbeat.hasten(begin);
    assert_eq!(heartbeat.on_deadline(begin), None);
    heartbeat.on_reply(begin);
    heartbeat.hasten(begin + SECOND);
    assert_eq!(heartbeat.on_deadline(begin + SECOND), Some(HeartbeatEffect::Send));
}

#[test]
fn silence_after_a_request_shows_within_5_s_and_ends_the_connection_8_s_later() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    heartbeat.on_reply(begin);
    heartbeat.on_request(begin + 4 * SECOND);
    heartbeat.on_request(begin + 5 * SECOND);
    let seen = run(&mut heartbeat, begin, 200 * SECOND);
    assert_eq!(
        seen,
        [
            (6, HeartbeatEffect::Send),
            (9, HeartbeatEffect::Missed(1)),
            (10, HeartbeatEffect::Send),
            (13, HeartbeatEffect::Missed(2)),
            (14, HeartbeatEffect::Send),
            (17, HeartbeatEffect::Lost),
        ]
    );
}

#[test]
fn silence_after_a_request_shortens_the_wait_for_a_heartbeat_under_way() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    heartbeat.on_request(begin + SECOND);
    assert_eq!(run(&mut heartbeat, begin, 6 * SECOND), [(6, HeartbeatEffect::Missed(1))]);
}

#[test]
fn a_request_that_is_answered_asks_for_no_heartbeat_and_a_slow_one_for_a_single_one() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    heartbeat.on_reply(begin);
    heartbeat.on_request(begin + SECOND);
    heartbeat.all_answered();
    assert_eq!(heartbeat.next_deadline(), Some(begin + 30 * SECOND));
    heartbeat.on_request(begin + 2 * SECOND);
    // What else comes in puts the question off.
    heartbeat.on_frame(begin + 3 * SECOND);
    assert_eq!(run(&mut heartbeat, begin, 5 * SECOND), [(5, HeartbeatEffect::Send)]);
    heartbeat.on_reply(begin + 5 * SECOND);
    assert_eq!(heartbeat.next_deadline(), Some(begin + 35 * SECOND));
}

#[test]
fn a_gateway_that_is_heard_after_silence_gets_the_usual_time_to_answer() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.on_deadline(begin);
    heartbeat.on_reply(begin);
    heartbeat.on_request(begin);
    run(&mut heartbeat, begin, 2 * SECOND);
    heartbeat.on_frame(begin + 4 * SECOND);
    assert_eq!(heartbeat.next_deadline(), Some(begin + 12 * SECOND));
}

#[test]
fn nothing_is_due_once_stopped() {
    let begin = start();
    let mut heartbeat = documented();
    heartbeat.start(begin);
    heartbeat.stop();
    assert_eq!(heartbeat.next_deadline(), None);
    assert_eq!(heartbeat.on_deadline(begin + 1000 * SECOND), None);
}

proptest! {
    /// Silence of any start, at any setting, ends in a loss within interval + timeout + a fixed number of repeats.
    #[test]
    fn silence_is_always_found_out(interval_ms in 30_u64..600_000, timeout_ms in 1_u64..60_000, max_misses in 0_u32..10) {
        let begin = start();
        let interval = Duration::from_millis(interval_ms);
        let mut heartbeat = Heartbeat::new(interval, Duration::from_millis(timeout_ms), max_misses, interval);
        heartbeat.start(begin);
        heartbeat.on_deadline(begin);
        heartbeat.on_reply(begin);
        let mut now = begin;
        let mut lost = false;
        while let Some(at) = heartbeat.next_deadline() {
            prop_assert!(at >= now);
            now = at;
            lost |= heartbeat.on_deadline(at) == Some(HeartbeatEffect::Lost);
        }
        prop_assert!(lost);
        let bound = interval + interval / 3 + (interval / 3) * 2 * max_misses.saturating_sub(1);
        prop_assert!(now - begin <= bound);
    }

    /// While any frame comes between sending and due, the connection is never given up.
    #[test]
    fn a_gateway_that_says_anything_at_all_is_never_lost(rounds in 1_usize..50) {
        let mut heartbeat = documented();
        heartbeat.start(start());
        for _ in 0..rounds {
            let at = heartbeat.next_deadline().unwrap();
            let effect = heartbeat.on_deadline(at);
            prop_assert!(!matches!(effect, Some(HeartbeatEffect::Lost | HeartbeatEffect::Missed(_))));
            heartbeat.on_request(at);
            heartbeat.on_frame(at);
        }
    }
}
