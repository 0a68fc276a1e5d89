use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const PROD: GatewayId = GatewayId(1);
const BACKUP: GatewayId = GatewayId(2);
const LOST_AFTER: Duration = Duration::from_secs(600);

fn start() -> Instant {
    crate::any_instant()
}

fn hear(
    tracker: &mut SpawnTracker,
    now: Instant,
    gateway: GatewayId,
    run_id: &str,
    session_key: Option<String>,
    stage: RunStage,
) {
    tracker.on_stage(now, gateway, RunNotice { run_id: run_id.to_owned(), session_key, stage });
}

fn take(
    tracker: &mut SpawnTracker,
    now: Instant,
    spawn_id: &str,
    run_id: &str,
    session_key: Option<String>,
    pid: Option<i64>,
    running: bool,
) {
    let (spawn_id, run_id) = (spawn_id.to_owned(), Some(run_id.to_owned()));
    let state = if running { SpawnState::Running } else { SpawnState::Accepted };
    tracker.accept(now, &SpawnRecord { spawn_id, run_id, session_key, pid, state, ..SpawnRecord::default() });
}

fn stored(gateway: Option<GatewayId>, state: SpawnState) -> SpawnRecord {
    let (spawn_id, gateway_name) = ("s".to_owned(), gateway.map(|id| id.to_string()));
    SpawnRecord { spawn_id, gateway_id: gateway, gateway_name, state, ..SpawnRecord::default() }
}

/// Writes everything that is to be written, and says which states were of this spawn.
fn write_all(tracker: &mut SpawnTracker, spawn_id: &str) -> Vec<SpawnState> {
    let steps = tracker.take_batch(usize::MAX);
    for id in SpawnRecord::ids(&steps) {
        tracker.written(&id, true);
    }
    steps.iter().filter(|step| step.spawn_id == spawn_id).map(|step| step.state).collect()
}

/// The states of a batch that is begun.
fn begun(tracker: &mut SpawnTracker) -> Vec<SpawnState> {
    tracker.take_batch(usize::MAX).iter().map(|step| step.state).collect()
}

fn accepted(now: Instant) -> SpawnTracker {
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.open("s", PROD);
    take(&mut tracker, now, "s", "s", Some("agent:main:s".into()), None, false);
    tracker
}

#[test]
fn the_moves_of_a_spawn_are_written_in_order_and_the_last_one_ends_it() {
    let now = start();
    let mut tracker = accepted(now);
    hear(&mut tracker, now, PROD, "s", None, RunStage::Running { pid: Some(7) });
    hear(&mut tracker, now, PROD, "s", None, RunStage::Completed { result: json!("ok") });
    assert_eq!(tracker.in_flight(PROD), 0, "a finished spawn counts no more, though it isn't written yet");
    assert_eq!(
        write_all(&mut tracker, "s"),
        [SpawnState::Sent, SpawnState::Accepted, SpawnState::Running, SpawnState::Completed]
    );
    assert!(tracker.is_empty());
}

#[test]
fn a_spawn_is_written_once_at_a_time_and_what_failed_is_tried_again_before_what_came_later() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.open("s", PROD);
    assert_eq!(begun(&mut tracker), [SpawnState::Sent]);
    take(&mut tracker, now, "s", "s", None, None, false);
    assert_eq!(begun(&mut tracker), []);
    assert!(!tracker.written("s", false));
    assert!(tracker.has_line());
    assert_eq!(begun(&mut tracker), [SpawnState::Sent, SpawnState::Accepted]);
    hear(&mut tracker, now, PROD, "s", None, RunStage::Running { pid: None });
    assert!(!tracker.written("s", true));
    assert_eq!(begun(&mut tracker), [SpawnState::Running]);
    assert!(!tracker.written("s", true));
    assert!(!tracker.has_line());
}

#[test]
fn a_batch_takes_whole_spawns_in_the_order_of_their_moves() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    for spawn_id in ["a", "b", "c"] {
        tracker.open(spawn_id, PROD);
        take(&mut tracker, now, spawn_id, spawn_id, None, None, true);
    }
    let ids = |steps: Vec<SpawnRecord>| SpawnRecord::ids(&steps);
    assert_eq!(ids(tracker.take_batch(3)), ["a", "b"], "the second one makes it three, and is not torn");
    assert_eq!(ids(tracker.take_batch(3)), ["c"]);
    assert!(!tracker.has_line());
}

#[test]
fn the_first_final_stage_counts_and_later_ones_are_ignored() {
    let now = start();
    let mut tracker = accepted(now);
    hear(&mut tracker, now, PROD, "s", None, RunStage::Killed { reason: "rpc".into() });
    hear(&mut tracker, now, PROD, "s", None, RunStage::Failed { error: "aborted".into(), result: Value::Null });
    assert_eq!(write_all(&mut tracker, "s").last(), Some(&SpawnState::Killed));
}

#[test]
fn what_a_gateway_says_before_its_acceptance_is_known_is_not_lost() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.open("s", PROD);
    hear(&mut tracker, now, PROD, "request-7", None, RunStage::Running { pid: None });
    hear(&mut tracker, now, PROD, "request-7", None, RunStage::Completed { result: json!(1) });
    hear(&mut tracker, now, BACKUP, "request-7", None, RunStage::Killed { reason: "of another gateway".into() });
    take(&mut tracker, now, "s", "request-7", None, None, false);
    assert_eq!(write_all(&mut tracker, "s").last(), Some(&SpawnState::Completed));
}

#[test]
fn words_on_a_run_that_nobody_waits_for_are_not_kept() {
    let now = start();
    let mut tracker = accepted(now);
    tracker.open("other", BACKUP);
    hear(&mut tracker, now, PROD, "s", None, RunStage::Completed { result: json!("ok") });
    hear(&mut tracker, now, PROD, "s", None, RunStage::Running { pid: None });
    hear(&mut tracker, now, BACKUP, "other", None, RunStage::Running { pid: None });
    tracker.forget_early();
    assert_eq!(tracker.early.iter().map(|(gateway, _)| *gateway).collect::<Vec<_>>(), [BACKUP]);
}

#[test]
fn the_record_tells_of_the_acceptance_before_an_end_that_overtook_it() {
    let now = start();
    let ended = RunStage::Completed { result: json!(1) };
    let mut taken = SpawnTracker::new(LOST_AFTER);
    taken.open("s", PROD);
    hear(&mut taken, now, PROD, "s", None, ended.clone());
    assert_eq!(taken.get("s").unwrap().state, SpawnState::Sent);
    take(&mut taken, now, "s", "s", Some("agent:main:s".into()), None, false);
    assert_eq!(write_all(&mut taken, "s"), [SpawnState::Sent, SpawnState::Accepted, SpawnState::Completed]);
    let mut unanswered = SpawnTracker::new(LOST_AFTER);
    unanswered.open("s", PROD);
    hear(&mut unanswered, now, PROD, "s", None, ended);
    unanswered.mark_unknown(now, "s", "no answer");
    assert_eq!(write_all(&mut unanswered, "s"), [SpawnState::Sent, SpawnState::Unknown, SpawnState::Completed]);
}

#[test]
fn what_is_on_its_way_is_not_asked_about_and_a_loss_meanwhile_is_not_forgotten() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.open("s", PROD);
    tracker.on_gateway_lost(now, PROD);
    assert!(tracker.due(now, 100, |_| Some(now)).is_empty(), "the answer may still come");
    hear(&mut tracker, now, PROD, "s", None, RunStage::Running { pid: None });
    take(&mut tracker, now, "s", "s", None, None, false);
    assert_eq!(tracker.get("s").unwrap().state, SpawnState::Running);
    assert_eq!(tracker.due(now, 100, |_| Some(now)).len(), 1, "taken, and its connection lost since");
}

#[test]
fn what_an_acceptance_that_was_lost_had_told_is_stored_with_the_next_news() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.resume(now, &stored(Some(PROD), SpawnState::Recorded));
    write_all(&mut tracker, "s");
    tracker.due(now, 100, |_| Some(now));
    tracker.found_running(now, "s", Some("agent:main:s".into()));
    let moves = tracker.take_batch(1);
    let step = &moves[0];
    assert_eq!((step.run_id.as_deref(), step.session_key.as_deref()), (Some("s"), Some("agent:main:s")));
}

#[test]
fn an_answer_from_before_the_connection_was_lost_again_does_not_end_the_doubt() {
    let now = start();
    let mut tracker = accepted(now);
    tracker.on_gateway_lost(now, PROD);
    assert_eq!(tracker.due(now, 100, |_| Some(now)).len(), 1);
    tracker.on_gateway_lost(now, PROD);
    tracker.found_running(now, "s", None);
    assert_eq!(tracker.due(now, 100, |_| Some(now)).len(), 1, "it may have ended since, unheard");
    tracker.found_running(now, "s", None);
    assert!(tracker.due(now, 100, |_| Some(now)).is_empty());
}

#[test]
fn the_doubt_about_a_gateway_that_took_nothing_does_not_follow_a_spawn_to_the_next_one() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.open("s", PROD);
    tracker.on_gateway_lost(now, PROD);
    tracker.reroute("s", BACKUP, "backup", "the first was not connected".into());
    take(&mut tracker, now, "s", "s", None, None, false);
    assert!(tracker.due(now, 100, |_| Some(now)).is_empty());
    for Question { spawn_id, .. } in tracker.due(now + LOST_AFTER, 100, |_| Some(now)) {
        tracker.found_nothing(now + LOST_AFTER, &spawn_id, Some(now));
    }
    assert_eq!(tracker.get("s").unwrap().state, SpawnState::Unknown, "ten minutes count from the first doubt");
}

#[test]
fn a_lost_connection_puts_a_spawn_in_doubt_until_its_gateway_was_asked() {
    let now = start();
    let mut tracker = accepted(now);
    tracker.on_gateway_lost(now, PROD);
    assert!(tracker.due(now, 100, |_| None).is_empty(), "a gateway that is away can't be asked");
    let back = now + Duration::from_secs(60);
    let due = tracker.due(back, 100, |_| Some(back));
    let (spawn_id, run_id, session_key) = ("s".to_owned(), "s".to_owned(), Some("agent:main:s".to_owned()));
    assert_eq!(due, [Question { spawn_id, gateway: PROD, run_id, session_key }]);
    assert!(tracker.due(back, 100, |_| Some(back)).is_empty(), "asked once at a time");
    tracker.found_running(back, "s", None);
    assert_eq!(tracker.get("s").unwrap().state, SpawnState::Running);
    assert!(tracker.due(back + FIRST_CHECK, 100, |_| Some(back)).is_empty());
    assert_eq!(tracker.due(back + QUIET_CHECK, 100, |_| Some(back)).len(), 1, "a quiet one is asked about again");
}

/// When a gateway that can tell nothing is asked about a spawn that it took and was silent about since, in seconds.
fn asked_in_silence(tracker: &mut SpawnTracker, now: Instant, seconds: u64) -> Vec<u64> {
    let mut asked = Vec::new();
    for second in 0..=seconds {
        let at = now + Duration::from_secs(second);
        for Question { spawn_id, .. } in tracker.due(at, 100, |_| Some(now)) {
            asked.push(second);
            tracker.found_nothing(at, &spawn_id, Some(now));
        }
    }
    asked
}

#[test]
fn a_silent_spawn_is_asked_about_within_seconds_and_less_often_the_longer_it_is_silent() {
    let now = start();
    let mut tracker = accepted(now);
    assert_eq!(asked_in_silence(&mut tracker, now, 200), [10, 30, 70, 150]);
    assert_eq!(tracker.get("s").unwrap().state, SpawnState::Accepted, "a gateway that can't tell says nothing by that");
    let heard = now + Duration::from_secs(201);
    hear(&mut tracker, heard, PROD, "s", None, RunStage::Running { pid: None });
    assert_eq!(asked_in_silence(&mut tracker, heard, 40), [10, 30], "soon again after a sign of life");
}

#[test]
fn a_spawn_that_is_lost_without_a_lost_connection_is_not_said_to_have_a_gateway_that_is_back() {
    let now = start();
    let mut tracker = accepted(now);
    asked_in_silence(&mut tracker, now, 1_000);
    let steps = tracker.take_batch(usize::MAX).into_iter();
    let reasons: Vec<(SpawnState, String)> =
        steps.filter_map(|step| Some((step.state, step.reason?))).filter(|(to, _)| *to != SpawnState::Sent).collect();
    let said = |state: SpawnState| reasons.iter().find(|(to, _)| *to == state).map(|(_, reason)| reason.as_str());
    assert_eq!(said(SpawnState::Unknown), Some("its gateway has said nothing of it for 310 s and cannot tell"));
    assert!(said(SpawnState::Lost).unwrap().starts_with("its gateway has said nothing of it for 9"), "{reasons:?}");
}

#[test]
fn a_gateway_that_is_back_and_knows_nothing_for_ten_minutes_makes_it_lost() {
    let now = start();
    let mut tracker = accepted(now);
    tracker.mark_unknown(now, "s", "no answer");
    let back = now + Duration::from_secs(3_600);
    let mut at = back;
    while at < back + LOST_AFTER {
        for Question { spawn_id, .. } in tracker.due(at, 100, |_| Some(back)) {
            tracker.found_nothing(at, &spawn_id, Some(back));
        }
        assert_eq!(tracker.get("s").unwrap().state, SpawnState::Unknown);
        at += DOUBT_CHECK;
    }
    for Question { spawn_id, .. } in tracker.due(at, 100, |_| Some(back)) {
        tracker.found_nothing(at, &spawn_id, Some(back));
    }
    assert_eq!(write_all(&mut tracker, "s").last(), Some(&SpawnState::Lost));
}

#[test]
fn a_spawn_in_doubt_is_asked_about_as_soon_as_its_gateway_is_back_and_soon_again() {
    let now = start();
    let mut tracker = accepted(now);
    tracker.mark_unknown(now, "s", "no answer");
    tracker.on_gateway_lost(now, PROD);
    assert!(tracker.due(now, 100, |_| None).is_empty(), "nobody is there to be asked");
    let back = now + Duration::from_secs(100);
    tracker.on_gateway_back(back, PROD);
    let mut asked = Vec::new();
    for second in 0..40 {
        let at = back + Duration::from_secs(second);
        for Question { spawn_id, .. } in tracker.due(at, 100, |_| Some(back)) {
            asked.push(second);
            tracker.found_nothing(at, &spawn_id, None);
        }
    }
    assert_eq!(asked, [0, 2, 6, 14, 29]);
    let doubts: Vec<_> = tracker.all_open().filter_map(|(_, spawn)| spawn.doubt()).collect();
    assert_eq!(doubts, [(now, Some(back + Duration::from_secs(44)))]);
}

#[test]
fn one_that_a_gateway_never_took_is_lost_a_minute_after_the_gateways_return() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.open("s", PROD);
    tracker.mark_unknown(now, "s", "no answer");
    tracker.on_gateway_lost(now, PROD);
    let back = now + Duration::from_secs(100);
    tracker.on_gateway_back(back, PROD);
    let lost = (0..600).find(|second| {
        let at = back + Duration::from_secs(*second);
        for Question { spawn_id, .. } in tracker.due(at, 100, |_| Some(back)) {
            tracker.found_nothing(at, &spawn_id, Some(back));
        }
        tracker.get("s").unwrap().state == SpawnState::Lost
    });
    assert!(lost.is_some_and(|second| (60..80).contains(&second)), "{lost:?}");
}

#[test]
fn one_whose_gateway_spoke_of_it_before_its_acceptance_was_lost_was_taken() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.open("s", PROD);
    hear(&mut tracker, now, PROD, "s", None, RunStage::Running { pid: None });
    tracker.mark_unknown(now, "s", "no answer in time");
    for (seconds, is_lost) in [(NEVER_TAKEN_LOST_AFTER.as_secs() + 1, false), (LOST_AFTER.as_secs() + 1, true)] {
        let later = now + Duration::from_secs(seconds);
        tracker.found_nothing(later, "s", Some(now));
        assert_eq!(tracker.get("s").unwrap().state == SpawnState::Lost, is_lost, "{seconds} s");
    }
}

#[test]
fn an_end_that_is_found_out_ended_when_the_gateway_says_or_says_that_this_is_not_known() {
    let now = start();
    let found_out = |ended_at_ms| {
        let mut tracker = accepted(now);
        tracker.on_gateway_lost(now, PROD);
        let stage = RunStage::Failed { error: "no key".to_owned(), result: Value::Null };
        let notice = RunNotice { run_id: "s".to_owned(), session_key: None, stage };
        tracker.on_stage_found(now + LOST_AFTER, PROD, notice, ended_at_ms);
        let step = tracker.take_batch(9).pop().unwrap();
        (step.state, step.completed_at_ms, step.reason)
    };
    assert_eq!(found_out(Some(7)), (SpawnState::Failed, Some(7), None));
    assert_eq!(found_out(None), (SpawnState::Failed, None, Some(FOUND_OUT.to_owned())));
}

#[test]
fn a_gateway_that_stays_away_for_a_day_or_is_deleted_makes_it_lost() {
    let now = start();
    let mut away = accepted(now);
    away.on_gateway_lost(now, PROD);
    away.due(now + LOST_AT_LATEST, 100, |_| None);
    assert_eq!(write_all(&mut away, "s").last(), Some(&SpawnState::Lost));
    let mut deleted = accepted(now);
    deleted.on_gateway_deleted(PROD);
    assert_eq!(write_all(&mut deleted, "s").last(), Some(&SpawnState::Lost));
}

#[test]
fn a_rerouted_spawn_belongs_to_the_other_gateway_only() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.open("s", PROD);
    tracker.reroute("s", BACKUP, "backup", "the first was not connected".into());
    assert_eq!((tracker.in_flight(PROD), tracker.in_flight(BACKUP)), (0, 1));
    take(&mut tracker, now, "s", "s", None, None, true);
    hear(&mut tracker, now, PROD, "s", None, RunStage::Killed { reason: "not ours".into() });
    assert_eq!(tracker.get("s").unwrap().state, SpawnState::Running);
    let moves = tracker.take_batch(1);
    assert_eq!((moves[1].gateway_id, moves[1].gateway_name.as_deref()), (Some(BACKUP), Some("backup")));
}

#[test]
fn an_open_spawn_of_an_earlier_run_is_in_doubt_and_never_sent_again() {
    let now = start();
    for state in SpawnState::OPEN {
        let mut tracker = SpawnTracker::new(LOST_AFTER);
        tracker.resume(now, &stored(Some(PROD), state));
        assert_eq!(tracker.due(now, 100, |_| Some(now)).len(), 1, "{state:?}");
        let written = write_all(&mut tracker, "s");
        match state {
            SpawnState::Recorded => assert_eq!(written, [SpawnState::Sent, SpawnState::Unknown]),
            SpawnState::Sent => assert_eq!(written, [SpawnState::Unknown]),
            _ => assert!(written.is_empty()),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Accept(bool),
    Stage(u8, bool),
    MarkUnknown,
    GatewayLost(bool),
    Ask(u8),
    Write(bool),
    Wait(u64),
    Reroute,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Accept),
        (0_u8..4, any::<bool>()).prop_map(|(stage, prod)| Step::Stage(stage, prod)),
        Just(Step::MarkUnknown),
        any::<bool>().prop_map(Step::GatewayLost),
        (0_u8..3).prop_map(Step::Ask),
        any::<bool>().prop_map(Step::Write),
        (0_u64..100_000).prop_map(Step::Wait),
        Just(Step::Reroute),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_written_states_are_legal_and_end_once(steps in prop::collection::vec(any_step(), 1..80)) {
        let mut now = start();
        let mut tracker = SpawnTracker::new(LOST_AFTER);
        tracker.open("s", PROD);
        let mut written = vec![SpawnState::Recorded];
        for step in steps {
            match step {
                Step::Accept(running) => take(&mut tracker, now, "s", "run", None, None, running),
                Step::Stage(stage, prod) => {
                    let stage = match stage {
                        0 => RunStage::Running { pid: None },
                        1 => RunStage::Completed { result: Value::Null },
                        2 => RunStage::Failed { error: "x".into(), result: Value::Null },
                        _ => RunStage::Killed { reason: "x".into() },
                    };
                    hear(&mut tracker, now, if prod { PROD } else { BACKUP }, "run", None, stage);
                }
                Step::MarkUnknown => tracker.mark_unknown(now, "s", "x"),
                Step::GatewayLost(prod) => tracker.on_gateway_lost(now, if prod { PROD } else { BACKUP }),
                Step::Ask(answer) => {
                    for Question { spawn_id, .. } in tracker.due(now, 100, |_| Some(now)) {
                        match answer {
                            0 => tracker.found_running(now, &spawn_id, None),
                            _ => tracker.found_nothing(now, &spawn_id, Some(now)),
                        }
                    }
                }
                Step::Write(done) => {
                    let states = begun(&mut tracker);
                    if !states.is_empty() {
                        tracker.written("s", done);
                    }
                    if done {
                        written.extend(states);
                    }
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Reroute => {
                    if tracker.get("s").is_some_and(|spawn| spawn.state == SpawnState::Sent) {
                        tracker.reroute("s", BACKUP, "backup", "x".into());
                    }
                }
            }
            prop_assert!(tracker.in_flight(PROD) + tracker.in_flight(BACKUP) <= 1);
        }
        tracker.on_gateway_deleted(PROD);
        tracker.on_gateway_deleted(BACKUP);
        written.extend(write_all(&mut tracker, "s"));
        prop_assert!(tracker.is_empty());
        prop_assert_eq!(tracker.in_flight(PROD) + tracker.in_flight(BACKUP), 0);
        for pair in written.windows(2) {
            prop_assert!(pair[1].may_follow(pair[0]), "{:?}", written);
        }
        prop_assert_eq!(written.iter().filter(|state| state.is_final()).count(), 1);
    }
}

#[test]
fn a_lost_spawn_names_the_run_that_its_gateway_was_asked_about() {
    let now = start();
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.resume(now, &stored(Some(PROD), SpawnState::Sent));
    write_all(&mut tracker, "s");
    tracker.on_gateway_deleted(PROD);
    let moves = tracker.take_batch(1);
    assert_eq!((moves[0].state, moves[0].run_id.as_deref()), (SpawnState::Lost, Some("s")));
}

#[test]
fn what_was_recorded_without_a_gateway_and_left_by_a_crash_ends_as_not_taken() {
    let mut tracker = SpawnTracker::new(LOST_AFTER);
    tracker.resume(start(), &stored(None, SpawnState::Recorded));
    let moves = tracker.take_batch(1);
    let states: Vec<_> = moves.iter().map(|step| step.state).collect();
    assert_eq!((states, moves[0].reason.as_deref()), (vec![SpawnState::Failed], Some(NOT_ACCEPTED)));
    assert!(tracker.written("s", true) && tracker.is_empty());
}
