use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn now() -> Instant {
    crate::any_instant()
}

fn running(at: Instant) -> Supervision {
    let mut supervision = Supervision::new(SupervisionSettings::default());
    assert_eq!(supervision.start(), [Effect::Spawn]);
    assert_eq!(supervision.started(at), []);
    supervision
}

fn crash(supervision: &mut Supervision, at: Instant) -> Vec<Effect> {
    supervision.ended(at, &Ending::Signal(9), 0.0)
}

#[test]
fn a_process_that_ends_is_started_again_after_growing_waits_and_then_given_up() {
    let mut at = now();
    let mut supervision = running(at);
    for pause in [1, 2, 4, 8, 16] {
        assert_eq!(crash(&mut supervision, at), [Effect::RestartIn(SECOND * pause)]);
        assert_eq!(supervision.state(), State::Waiting);
        assert_eq!(supervision.tick(at), [], "not before its time");
        at += SECOND * pause;
        assert_eq!(supervision.next_deadline(), Some(at));
        assert_eq!(supervision.tick(at), [Effect::Spawn]);
        supervision.started(at);
    }
    assert_eq!(crash(&mut supervision, at), [Effect::GiveUp(GaveUpBecause::TooOften)]);
    assert_eq!((supervision.state(), supervision.next_deadline(), supervision.restarts()), (State::GaveUp, None, 5));
    assert_eq!(supervision.tick(at + SECOND * 100_000), []);
}

#[test]
fn an_operator_who_starts_what_was_given_up_begins_anew() {
    let mut at = now();
    let mut supervision = running(at);
    while supervision.state() != State::GaveUp {
        crash(&mut supervision, at);
        at += SECOND * 30;
        supervision.tick(at);
        supervision.started(at);
    }
    assert_eq!(supervision.start(), [Effect::Spawn]);
    supervision.started(at);
    assert_eq!(crash(&mut supervision, at), [Effect::RestartIn(SECOND)], "the first wait again");
}

#[test]
fn one_that_ran_long_enough_starts_over_with_the_waits() {
    let at = now();
    let mut supervision = running(at);
    crash(&mut supervision, at);
    supervision.tick(at + SECOND);
    supervision.started(at + SECOND);
    let stable = at + SECOND * 61;
    assert_eq!(supervision.next_deadline(), Some(stable));
    supervision.tick(stable);
    assert_eq!(crash(&mut supervision, stable + SECOND), [Effect::RestartIn(SECOND)]);
}

#[test]
fn what_only_a_person_can_put_right_is_not_tried_again() {
    for code in HOPELESS_CODES {
        let at = now();
        let mut supervision = running(at);
        let effects = supervision.ended(at, &Ending::Code(code), 0.0);
        assert_eq!(effects, [Effect::GiveUp(GaveUpBecause::Hopeless)]);
    }
}

#[test]
fn a_clean_exit_that_nobody_asked_for_is_an_end_like_any_other() {
    let at = now();
    let mut supervision = running(at);
    assert_eq!(supervision.ended(at, &Ending::Code(0), 0.0), [Effect::RestartIn(SECOND)]);
}

#[test]
fn a_stop_asks_first_and_kills_after_the_grace() {
    let at = now();
    let mut supervision = running(at);
    assert_eq!(supervision.stop(at), [Effect::Terminate]);
    assert_eq!(supervision.state(), State::Stopping);
    assert_eq!(supervision.tick(at + SECOND * 9), []);
    assert_eq!(supervision.tick(at + SECOND * 10), [Effect::Kill]);
    assert_eq!(supervision.tick(at + SECOND * 20), [Effect::Kill], "until it is gone");
    assert_eq!(crash(&mut supervision, at + SECOND * 20), [Effect::Rests]);
    assert_eq!(supervision.state(), State::Stopped);
}

#[test]
fn a_restart_starts_only_after_the_former_process_has_ended_and_counts_for_nothing() {
    let at = now();
    let mut supervision = running(at);
    for _ in 0..20 {
        assert_eq!(supervision.restart(at), [Effect::Terminate]);
        assert_eq!(supervision.tick(at), []);
        assert_eq!(supervision.ended(at, &Ending::Code(0), 0.0), [Effect::Spawn]);
        supervision.started(at);
    }
    assert_eq!((supervision.state(), supervision.restarts()), (State::Running, 0));
}

#[test]
fn a_stop_while_it_is_being_started_or_waits_is_not_lost() {
    let at = now();
    let mut supervision = Supervision::new(SupervisionSettings::default());
    supervision.start();
    assert_eq!(supervision.stop(at), []);
    assert_eq!(supervision.started(at), [Effect::Terminate]);
    assert_eq!(supervision.ended(at, &Ending::Code(0), 0.0), [Effect::Rests]);

    let mut supervision = running(at);
    crash(&mut supervision, at);
    assert_eq!(supervision.stop(at), [Effect::Rests]);
    assert_eq!((supervision.state(), supervision.next_deadline()), (State::Stopped, None));
}

#[test]
fn a_start_while_it_stops_takes_the_stop_back() {
    let at = now();
    let mut supervision = running(at);
    supervision.stop(at);
    assert_eq!(supervision.start(), []);
    assert_eq!(supervision.ended(at, &Ending::Code(0), 0.0), [Effect::Spawn]);
}

proptest! {
    #[test]
    fn thirty_crashes_in_a_row_end_in_gave_up_whatever_the_settings(
        max in 0_u32..30,
        window_ms in 1_u64..600_000,
        backoff_ms in prop::collection::vec(1_u64..600_000, 0..8),
        ran_ms in prop::collection::vec(0_u64..59_999, 30),
        unit in 0.0_f64..1.0,
    ) {
        let settings = SupervisionSettings {
            max_restarts: max,
            window: Duration::from_millis(window_ms),
            backoff: backoff_ms.into_iter().map(Duration::from_millis).collect(),
            ..SupervisionSettings::default()
        };
        let mut supervision = Supervision::new(settings);
        let mut at = now();
        let mut spawns = usize::from(supervision.start() == [Effect::Spawn]);
        for ran in ran_ms {
            supervision.started(at);
            at += Duration::from_millis(ran);
            supervision.ended(at, &Ending::Signal(11), unit);
            if let Some(due) = supervision.next_deadline() {
                at = due;
                spawns += supervision.tick(at).iter().filter(|effect| **effect == Effect::Spawn).count();
            }
        }
        prop_assert_eq!(supervision.state(), State::GaveUp);
        prop_assert!(spawns <= max as usize + 1);
        prop_assert_eq!(supervision.start(), [Effect::Spawn]);
        supervision.started(at);
        prop_assert_eq!(supervision.state(), State::Running);
    }

    #[test]
    fn never_two_processes_and_never_stuck(inputs in prop::collection::vec((0_u8..7, 0_u64..40), 1..200)) {
        let mut supervision = Supervision::new(SupervisionSettings::default());
        let mut at = now();
        // Whether the shell has a process, or is about to.
        let mut alive = false;
        for (input, seconds) in inputs {
            at += SECOND * u32::try_from(seconds).unwrap();
            let before = supervision.state();
            let effects = match input {
                0 => supervision.start(),
                1 => supervision.stop(at),
                2 => supervision.restart(at),
                3 if alive => supervision.started(at),
                4 if alive => {
                    alive = false;
                    supervision.ended(at, &Ending::Code(1), 0.0)
                }
                _ => supervision.tick(at),
            };
            for effect in &effects {
                match effect {
                    Effect::Spawn => {
                        prop_assert!(!alive, "a second process");
                        alive = true;
                    }
                    Effect::Terminate | Effect::Kill => prop_assert!(alive, "nobody to signal"),
                    Effect::RestartIn(_) | Effect::GiveUp(_) | Effect::Rests => prop_assert!(!alive),
                }
            }
            if before == State::GaveUp && input > 2 {
                prop_assert_eq!(supervision.state(), State::GaveUp, "only an operator ends it");
            }
            match supervision.state() {
                State::Starting | State::Running | State::Stopping => prop_assert!(alive),
                State::Waiting => prop_assert!(supervision.next_deadline().is_some() && !alive),
                State::Stopped | State::GaveUp => prop_assert!(!alive && supervision.next_deadline().is_none()),
            }
        }
    }
}
