//! The fleet by itself: no actor, socket, clock or database.

use gatewarden_protocol::refusal::RefusalCode;
use serde_json::Value;

use super::*;
use crate::error::ErrorCode;
use crate::gateway_record::{GatewaySpec, ProcessSource};
use crate::gateway_report::{BreakerState, BreakerView, Problem};
use crate::machines::connection::GatewayNotice;
use crate::machines::flap;
use crate::machines::routing::{NoRoute, RouteReason, RouteRequest};
use crate::spawn::{LookedUp, NoAnswer, RunFinding, RunStage, SpawnRecord, SpawnState, Work};

mod logins;

const PROD: GatewayId = GatewayId(1);
const BACKUP: GatewayId = GatewayId(2);
const THIRD: GatewayId = GatewayId(3);

fn begin() -> Time {
    Time { now: crate::any_instant(), wall_ms: 1_795_253_714_000 }
}

impl Time {
    fn after(self, wait: Duration) -> Self {
        Self { now: self.now + wait, wall_ms: self.wall_ms + i64::try_from(wait.as_millis()).unwrap() }
    }
}

fn settings() -> FleetSettings {
    FleetSettings {
        election: ElectionSettings { startup_hold: Duration::ZERO, ..ElectionSettings::default() },
        routing: RoutingSettings::default(),
        restarts: RestartSettings::default(),
        heartbeat_interval: Duration::from_secs(30),
        logins_at_a_time: 5,
    }
}

fn record(id: GatewayId) -> GatewayRecord {
    let new = GatewaySpec {
        is_primary: id == PROD,
        ..GatewaySpec::at(format!("gateway-{id}"), "127.0.0.1", 18_000 + u16::try_from(id.0).unwrap())
    };
    GatewayRecord { revision: 1, ..new.into_record(id, "uuid", 0) }
}

fn online() -> GatewayReport {
    GatewayReport { status: Status::Online, phase: Phase::Ready, ..GatewayReport::unknown(1) }
}

fn offline() -> GatewayReport {
    let breaker = BreakerView { state: BreakerState::Open, failures: 3, opened_at_ms: Some(2), changed_at_ms: None };
    GatewayReport { status: Status::Offline, phase: Phase::Backoff, breaker, ..GatewayReport::unknown(2) }
}

/// Somebody wants a task done.
fn spawn(fleet: &mut Fleet, time: Time, route: RouteRequest) {
    spawn_as(fleet, time, "s", route);
}

fn spawn_as(fleet: &mut Fleet, time: Time, spawn_id: &str, route: RouteRequest) {
    let task = "say hello".to_owned();
    let work = Work::Task { task, agent: None, session_key: None, model: None, label: None, timeout_seconds: None };
    let request = SpawnRequest { record: as_recorded(spawn_id), route, work, timeout: Duration::from_secs(2) };
    fleet.spawn(time, request, Secret::new("{}"), None);
}

/// Without a gateway.
fn as_recorded(spawn_id: &str) -> SpawnRecord {
    SpawnRecord { spawn_id: spawn_id.to_owned(), summary: "say hello".into(), ..SpawnRecord::default() }
}

fn fleet(time: Time, ids: impl IntoIterator<Item = GatewayId>) -> Fleet {
    let stored = Stored { records: ids.into_iter().map(record).collect(), ..Stored::default() };
    let mut fleet = Fleet::new(settings(), stored, time);
    fleet.start_some(None, usize::MAX);
    fleet.take_effects(time);
    fleet
}

/// The gateway's present actor says this; what follows from it.
fn say(fleet: &mut Fleet, time: Time, id: GatewayId, report: GatewayReport) -> Vec<Effect> {
    let incarnation = fleet.dialled(id).unwrap().incarnation;
    let report = GatewayReport { orders: fleet.dialled(id).unwrap().orders, ..report };
    fleet.on_notice(time, id, incarnation, GatewayNotice::Report(Box::new(report)));
    fleet.take_effects(time)
}

/// [`PROD`] and its stand-in, both online.
fn two_online(time: Time) -> Fleet {
    let mut fleet = fleet(time, [PROD, BACKUP]);
    say(&mut fleet, time, PROD, online());
    say(&mut fleet, time, BACKUP, online());
    fleet
}

#[test]
fn a_reconnect_by_an_operator_is_no_failover_no_flap_and_no_failure_unless_it_fails() {
    let mut time = begin();
    let mut fleet = fleet(time, [PROD, BACKUP, THIRD, GatewayId(4)]);
    let all = [PROD, BACKUP, THIRD, GatewayId(4)];
    for id in all {
        say(&mut fleet, time, id, online());
    }
    let dialing = || GatewayReport { phase: Phase::Dialing, ..GatewayReport::unknown(2) };
    for _ in 0..6 {
        time = time.after(Duration::from_secs(1));
        for id in all {
            fleet.reconnect(time, id).unwrap();
            let told = say(&mut fleet, time, id, dialing());
            let is_news = |effect: &Effect| {
                matches!(effect, Effect::Notify(Notice::PrimaryChanged(_) | Notice::Doubt(_) | Notice::HeldDown(..)))
            };
            assert!(!told.iter().any(is_news), "{told:?}");
            assert_eq!(fleet.acting(), Some(PROD));
        }
        for id in all {
            say(&mut fleet, time, id, online());
        }
    }
    fleet.reconnect(time, PROD).unwrap();
    say(&mut fleet, time, PROD, dialing());
    say(&mut fleet, time, PROD, offline());
    assert_eq!(fleet.acting(), Some(BACKUP), "it failed after all");
}

#[test]
fn a_connection_that_broke_over_our_own_silence_is_no_failover_and_no_flap_until_the_new_one_fails() {
    let mut time = begin();
    let mut fleet = two_online(time);
    for _ in 0..6 {
        time = time.after(Duration::from_secs(60));
        let told = say(&mut fleet, time, PROD, GatewayReport { phase: Phase::Dialing, ..online() });
        assert!(!told.iter().any(|effect| matches!(effect, Effect::Notify(_))), "{told:?}");
        let told = say(&mut fleet, time, PROD, online());
        assert!(!told.iter().any(|effect| matches!(effect, Effect::Notify(_))), "{told:?}");
    }
    say(&mut fleet, time, PROD, GatewayReport { phase: Phase::Dialing, ..online() });
    assert_eq!(fleet.acting(), Some(PROD));
    say(&mut fleet, time, PROD, offline());
    assert_eq!(fleet.acting(), Some(BACKUP), "it failed after all");
}

#[test]
fn an_operator_s_corrections_are_no_flapping_and_nothing_from_before_them_is_shown_after() {
    let mut time = begin();
    let mut fleet = two_online(time);
    let blocked = || GatewayReport { phase: Phase::Blocked, status: Status::Degraded, ..GatewayReport::unknown(2) };
    for revision in 2..20 {
        time = time.after(Duration::from_secs(1));
        let present = fleet.get(BACKUP).unwrap().record.as_ref().clone();
        let token = Some(gatewarden_protocol::Secret::new(format!("token {revision}")));
        fleet.on_updated(time, GatewayRecord { revision, ..present.with(|spec| spec.token = token) });
        assert_eq!(fleet.get(BACKUP).unwrap().report.status, Status::Unknown, "what was known is about the old token");
        let incarnation = fleet.dialled(BACKUP).unwrap().incarnation;
        fleet.on_notice(time, BACKUP, incarnation, GatewayNotice::Report(Box::new(online())));
        assert_eq!(fleet.get(BACKUP).unwrap().report.status, Status::Unknown, "said before the change was heard");
        say(&mut fleet, time, BACKUP, if revision % 2 == 0 { blocked() } else { online() });
    }
    assert_eq!(fleet.get(BACKUP).unwrap().held_until_ms(time), None);
}

#[test]
fn of_a_new_configured_primary_the_reason_is_that_it_was_made_that_whatever_its_priority() {
    let time = begin();
    let mut fleet = two_online(time);
    let time = time.after(Duration::from_secs(600));
    let spec = |id, is_primary| {
        let present = fleet.get(id).unwrap().record.as_ref().clone();
        let changed =
            present.with(|spec| (spec.is_primary, spec.priority) = (is_primary, if is_primary { 20 } else { 0 }));
        GatewayRecord { revision: 2, ..changed }
    };
    let both = [spec(PROD, false), spec(BACKUP, true)];
    fleet.on_all_updated(time, both);
    assert_eq!(fleet.acting(), Some(BACKUP));
    let told = fleet.take_effects(time);
    let reasons: Vec<_> = told
        .iter()
        .filter_map(|effect| match effect {
            Effect::Notify(Notice::PrimaryChanged(change)) => Some(change.reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, ["it was made the configured primary"]);
}

#[test]
fn a_gateway_that_leaves_a_heartbeat_unanswered_acts_on_but_is_given_no_work_until_it_answers() {
    let time = begin();
    let mut fleet = two_online(time);
    say(&mut fleet, time, PROD, GatewayReport { status: Status::Timeout, ..online() });
    assert_eq!(fleet.acting(), Some(PROD), "one miss is no failover");
    assert_eq!(fleet.route(&RouteRequest::default()), Ok((BACKUP, RouteReason::LeastLoaded)));
    let named = RouteRequest { requested: Some(PROD), ..RouteRequest::default() };
    assert_eq!(fleet.route(&named), Err(NoRoute::NotUsable(PROD)));
    say(&mut fleet, time, PROD, online());
    assert_eq!(fleet.route(&RouteRequest::default()), Ok((PROD, RouteReason::Primary)));
}

#[test]
fn a_gateway_that_bounces_is_held_down_and_comes_back_by_the_deadline() {
    let mut time = begin();
    let mut fleet = two_online(time);
    let mut held = false;
    for turn in 0..7 {
        time = time.after(Duration::from_secs(1));
        let effects = say(&mut fleet, time, PROD, if turn % 2 == 0 { offline() } else { online() });
        held |= effects.iter().any(|effect| matches!(effect, Effect::Notify(Notice::HeldDown(..))));
    }
    say(&mut fleet, time, PROD, online());
    assert!(held);
    assert_eq!(fleet.acting(), Some(BACKUP));
    let end = time.now + flap::FIRST_HOLD + Duration::from_secs(60);
    while let Some(due) = fleet.next_deadline().filter(|due| *due <= end) {
        time = time.after(due.saturating_duration_since(time.now));
        fleet.on_deadline(time);
        fleet.take_effects(time);
    }
    assert_eq!(fleet.acting(), Some(PROD), "it was ready for long enough when its hold-down ended");
    assert!(fleet.held_down.is_empty());
}

#[test]
fn a_failover_is_of_one_configured_primary_and_begins_when_that_ceases_to_act() {
    let mut time = begin();
    let mut fleet = fleet(time, [PROD, BACKUP, THIRD]);
    assert_eq!(fleet.failover(), None, "nobody has been elected yet");
    for id in [PROD, BACKUP, THIRD] {
        say(&mut fleet, time, id, online());
    }
    assert_eq!(fleet.failover(), None);
    time = time.after(Duration::from_millis(700));
    let began = Some(Failover { configured: PROD, since_ms: time.wall_ms });
    say(&mut fleet, time, PROD, offline());
    assert_eq!((fleet.failover(), fleet.acting()), (began, Some(BACKUP)));
    time = time.after(Duration::from_secs(5));
    say(&mut fleet, time, BACKUP, offline());
    assert_eq!((fleet.failover(), fleet.acting()), (began, Some(THIRD)), "another stands in: the same failover");
    time = time.after(Duration::from_secs(5));
    let configure = |fleet: &mut Fleet, time: Time, id: GatewayId, is_primary: bool| {
        let present = fleet.get(id).unwrap().record.as_ref().clone();
        let revision = present.revision + 1;
        fleet.on_updated(time, GatewayRecord { revision, ..present.with(|spec| spec.is_primary = is_primary) });
        fleet.take_effects(time)
    };
    configure(&mut fleet, time, PROD, false);
    assert_eq!(fleet.failover(), None, "no configured primary, no failover");
    let told = configure(&mut fleet, time, BACKUP, true);
    let of_backup = Some(Failover { configured: BACKUP, since_ms: time.wall_ms });
    assert_eq!((fleet.failover(), fleet.acting()), (of_backup, Some(THIRD)));
    let is_published = |effect: &Effect| matches!(effect, Effect::Notify(Notice::PrimaryKept(Some(THIRD), _)));
    assert!(told.iter().any(is_published), "readers hear of it although nobody else acts: {told:?}");
    configure(&mut fleet, time, BACKUP, false);
    configure(&mut fleet, time, THIRD, true);
    assert_eq!((fleet.failover(), fleet.acting()), (None, Some(THIRD)));
}

#[test]
fn a_process_that_does_not_run_is_the_reason_for_everybody_unless_the_gateway_is_connected() {
    let mut time = begin();
    let mut fleet = fleet(time, [PROD, BACKUP]);
    let halted = || Some(HaltedProcess { gave_up: true, reason: Some("process 7 exited with code 1".to_owned()) });
    let with_process = record(PROD).with(|spec| spec.process = Some(ProcessSource::Command("x".to_owned())));
    fleet.on_updated(time, GatewayRecord { revision: 2, ..with_process });
    say(&mut fleet, time, PROD, online());
    fleet.on_process(time, PROD, halted());
    fleet.take_effects(time);
    assert_eq!(fleet.get(PROD).unwrap().report.status, Status::Online, "something else serves it");
    let told = |effects: &[Effect]| {
        let said = |effect: &Effect| match effect {
            Effect::Notify(Notice::StatusChanged(_, from, report)) => {
                Some((*from, report.status, report.last_error.clone()))
            }
            _ => None,
        };
        effects.iter().find_map(said).map(|(from, to, error)| (from, to, error.map(|error| error.code)))
    };
    time = time.after(Duration::from_secs(1));
    let dialing = GatewayReport { phase: Phase::Dialing, ..GatewayReport::unknown(2) };
    let effects = say(&mut fleet, time, PROD, dialing.clone());
    assert_eq!(told(&effects), Some((Status::Online, Status::Offline, Some("process_gave_up".to_owned()))));
    let member = fleet.get(PROD).unwrap();
    assert_eq!((member.report.since_ms, member.heard.status), (time.wall_ms, Status::Unknown));
    assert!(member.report.last_error.as_ref().unwrap().message.contains("process 7 exited"));
    let since_ms = time.wall_ms;
    time = time.after(Duration::from_secs(1));
    assert_eq!(told(&say(&mut fleet, time, PROD, offline())), None, "it is known to be offline");
    assert_eq!(fleet.get(PROD).unwrap().report.since_ms, since_ms);
    say(&mut fleet, time, PROD, dialing);
    time = time.after(Duration::from_secs(1));
    fleet.on_process(time, PROD, None);
    let effects = fleet.take_effects(time);
    assert_eq!(told(&effects), Some((Status::Offline, Status::Unknown, None)), "it is started");
    assert_eq!(fleet.get(PROD).unwrap().report.since_ms, time.wall_ms);
    fleet.on_process(time, PROD, halted());
    let without = record(PROD);
    fleet.on_updated(time, GatewayRecord { revision: 3, ..without });
    assert_eq!(fleet.get(PROD).unwrap().report.status, Status::Unknown, "it is no process any more");
}

#[test]
fn a_restart_of_the_daemon_keeps_a_hold_down() {
    let mut time = begin();
    let mut fleet = two_online(time);
    for turn in 0..6 {
        time = time.after(Duration::from_secs(1));
        say(&mut fleet, time, PROD, if turn % 2 == 0 { offline() } else { online() });
    }
    let until_ms = fleet.get(PROD).unwrap().held_until_ms(time).unwrap();
    let observed: HashMap<GatewayId, Observed> = fleet.take_unsaved().into_iter().collect();
    let records = [PROD, BACKUP].map(|id| GatewayRecord { observed: observed[&id].clone(), ..record(id) });
    time = time.after(Duration::from_secs(10));
    let hold = ElectionSettings { startup_hold: Duration::from_secs(10), ..ElectionSettings::default() };
    let settings = FleetSettings { election: hold, ..settings() };
    let mut again = Fleet::new(settings, Stored { records: records.into(), ..Stored::default() }, time);
    again.start_some(None, usize::MAX);
    again.take_effects(time);
    assert_eq!(again.get(PROD).unwrap().held_until_ms(time), Some(until_ms));
    say(&mut again, time, PROD, online());
    assert_eq!(again.acting(), None, "it acts only if nobody else can");
    say(&mut again, time, BACKUP, online());
    assert_eq!(again.acting(), Some(BACKUP));
    let end = time.now + flap::FIRST_HOLD + Duration::from_secs(60);
    while let Some(due) = again.next_deadline().filter(|due| *due <= end) {
        time = time.after(due.saturating_duration_since(time.now));
        again.on_deadline(time);
        again.take_effects(time);
    }
    assert_eq!((again.acting(), again.get(PROD).unwrap().held_until_ms(time)), (Some(PROD), None));
}

#[test]
fn members_are_started_in_turns_and_each_once() {
    let time = begin();
    let stored = Stored { records: [PROD, BACKUP, THIRD].map(record).into(), ..Stored::default() };
    let mut fleet = Fleet::new(settings(), stored, time);
    let started = |fleet: &mut Fleet| -> Vec<GatewayId> {
        let id = |effect: Effect| if let Effect::Start(record, _) = effect { Some(record.id) } else { None };
        fleet.take_effects(time).into_iter().filter_map(id).collect()
    };
    assert_eq!(fleet.start_some(None, 1), Some(PROD));
    assert_eq!(started(&mut fleet), [PROD]);
    fleet.reconnect(time, THIRD).unwrap();
    assert_eq!(started(&mut fleet), [THIRD], "an operator's wish doesn't wait for its turn");
    assert_eq!(fleet.start_some(Some(PROD), 9), Some(THIRD));
    assert_eq!(started(&mut fleet), [BACKUP]);
    assert_eq!(fleet.start_some(Some(THIRD), 9), None);
}

#[test]
fn while_nobody_acts_gateways_that_are_down_are_looked_at_together_and_one_that_comes_acts_at_once() {
    let time = begin();
    let mut fleet = fleet(time, [PROD, BACKUP, THIRD]);
    say(&mut fleet, time, PROD, offline());
    assert_eq!((fleet.acting(), fleet.decide_at), (None, None), "the configured primary is never put off");
    say(&mut fleet, time, BACKUP, offline());
    assert_eq!(fleet.decide_at, Some(time.now + GATHER));
    let soon = time.after(GATHER / 2);
    say(&mut fleet, soon, THIRD, online());
    assert_eq!((fleet.acting(), fleet.decide_at), (Some(THIRD), None));
}

#[test]
fn hosts_that_refuse_connections_raise_no_doubt_of_our_network_and_silent_ones_do() {
    let failed = |code: RefusalCode| {
        let problem = Problem { code: code.as_str().to_owned(), message: String::new(), help: String::new() };
        GatewayReport { last_error: Some(problem), ..offline() }
    };
    let doubts = |codes: &[RefusalCode]| {
        let time = begin();
        let ids: Vec<GatewayId> = (1..=5).map(GatewayId).collect();
        let mut fleet = fleet(time, ids.clone());
        for id in &ids {
            say(&mut fleet, time, *id, online());
        }
        let mut effects = Vec::new();
        for code in codes {
            for id in &ids {
                effects.extend(say(&mut fleet, time, *id, failed(*code)));
            }
        }
        effects.iter().any(|effect| matches!(effect, Effect::Notify(Notice::Doubt(DoubtChange::Began { .. }))))
    };
    assert!(!doubts(&[RefusalCode::ConnectionReset, RefusalCode::ConnectionRefused]));
    assert!(!doubts(&[RefusalCode::ConnectionReset]), "the next attempt tells");
    assert!(doubts(&[RefusalCode::ConnectionReset, RefusalCode::DialTimeout]));
    assert!(doubts(&[RefusalCode::HeartbeatLost, RefusalCode::DialTimeout]));
}

#[test]
fn a_fleet_that_drops_at_once_has_few_elections_and_one_hold_down_each() {
    let time = begin();
    let ids: Vec<GatewayId> = (1..=300).map(GatewayId).collect();
    let mut fleet = fleet(time, ids.clone());
    let mut changes = 0;
    for turn in 0..8 {
        for id in ids.iter().rev() {
            let report = if turn % 2 == 0 { online() } else { offline() };
            let effects = say(&mut fleet, time, *id, report);
            let is_change = |effect: &&Effect| matches!(effect, Effect::Notify(Notice::PrimaryChanged(_)));
            changes += effects.iter().filter(is_change).count();
        }
    }
    assert!(fleet.held_down.len() <= ids.len());
    assert!(changes < 2_400 / 4, "{changes}");
    assert_eq!(fleet.acting(), None);
}

fn recorded(record: &SpawnRecord) -> Option<SpawnRecord> {
    Some(record.clone())
}

/// The daemon is killed after the request was given to the connection and before that it was sent is on disk.
#[test]
fn a_spawn_that_a_crash_left_recorded_is_asked_about_and_never_sent_again() {
    let time = begin();
    let mut before = fleet(time, [PROD]);
    say(&mut before, time, PROD, online());
    spawn(&mut before, time, RouteRequest::default());
    let effects = before.take_effects(time);
    let Some(Effect::RecordSpawn(stored, ..)) = effects.into_iter().next() else { panic!("not recorded first") };
    before.on_spawn_recorded(time, "s", Ok(recorded(&stored)));
    let effects = before.take_effects(time);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::StartRun(..))), "it is on the wire");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::WriteSpawns(_))), "and that is not written yet");
    drop(before);

    let records = vec![record(PROD)];
    let stored = Stored { records, open_spawns: vec![*stored], ..Stored::default() };
    let mut time = time.after(Duration::from_secs(5));
    let mut after = Fleet::new(settings(), stored, time);
    after.start_some(None, usize::MAX);
    say(&mut after, time, PROD, online());
    let mut questions = 0;
    for _ in 0..10 {
        time = time.after(Duration::from_secs(1));
        after.on_deadline(time);
        for effect in after.take_effects(time) {
            match effect {
                Effect::StartRun(..) | Effect::RecordSpawn(..) => panic!("it is sent again"),
                Effect::LookUpRun(spawn_id, gateway, question) => {
                    assert_eq!((spawn_id.as_str(), gateway, question.run_id.as_str()), ("s", PROD, "s"));
                    questions += 1;
                    let stage = RunStage::Completed { result: Value::Null };
                    let found = LookedUp { finding: RunFinding::Ended(stage), session_key: None, ended_at_ms: None };
                    after.on_run_found(time, "s", gateway, "s", Some(found));
                }
                Effect::WriteSpawns(steps) => {
                    let written: Vec<SpawnState> = steps.iter().map(|step| step.state).collect();
                    assert!(!written.contains(&SpawnState::Recorded));
                    after.on_spawns_written(time, &SpawnRecord::ids(&steps), Ok(Vec::new()));
                }
                _ => {}
            }
        }
    }
    assert_eq!((questions, after.open_spawns()), (1, 0), "asked once, and over");
}

#[test]
fn a_spawn_whose_gateway_is_deleted_on_the_way_is_over_and_goes_nowhere_else() {
    let time = begin();
    let mut fleet = two_online(time);
    spawn(&mut fleet, time, RouteRequest::default());
    let (gateway_id, gateway_name) = (Some(PROD), Some("gateway-1".into()));
    let stored = SpawnRecord { gateway_id, gateway_name, ..as_recorded("s") };
    fleet.on_spawn_recorded(time, "s", Ok(recorded(&stored)));
    fleet.take_effects(time);
    fleet.on_deleted(time, PROD);
    fleet.on_run_answered(time, "s", Err(NoAnswer::NotTaken.of_run("gateway-1", Duration::ZERO)));
    let effects = fleet.take_effects(time);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::StartRun(..))), "its record says that it is lost");
    let ids: Vec<String> = vec!["s".into()];
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::WriteSpawns(steps) if SpawnRecord::ids(steps) == ids))
    );
    fleet.on_spawns_written(time, &ids, Ok(Vec::new()));
    let effects = fleet.take_effects(time);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::AnswerSpawn(_, answer) if answer.is_err())));
    assert_eq!((fleet.open_spawns(), fleet.spawns.in_flight(BACKUP), fleet.spawns.in_flight(PROD)), (0, 0, 0));
}

#[test]
fn a_reserved_gateway_whose_actor_died_is_started_when_it_is_confirmed() {
    let time = begin();
    let mut fleet = fleet(time, []);
    let id = THIRD;
    fleet.begin_trial(time, GatewayRecord { provisioning: true, ..record(id) });
    fleet.on_actor_died(time, id);
    fleet.take_effects(time);
    fleet.promote(time, GatewayRecord { revision: 2, ..record(id) });
    let effects = fleet.take_effects(time);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Start(record, 2) if record.id == id)));
    assert!(fleet.get(id).unwrap().is_running);
}

fn answer_of(effects: Vec<Effect>) -> Failure {
    let answers = effects.into_iter().filter_map(|effect| match effect {
        Effect::AnswerSpawn(_, answer) => answer.err(),
        _ => None,
    });
    answers.last().unwrap()
}

#[test]
fn where_none_is_usable_the_drained_ones_are_named() {
    let time = begin();
    let records = [PROD, BACKUP].map(record);
    let [drained, away] = records;
    let drained = GatewayRecord { spec: GatewaySpec { drained: true, ..drained.spec }, ..drained };
    let mut fleet = Fleet::new(settings(), Stored { records: vec![drained, away], ..Stored::default() }, time);
    fleet.start_some(None, usize::MAX);
    say(&mut fleet, time, PROD, online());
    spawn(&mut fleet, time, RouteRequest::default());
    let failure = answer_of(fleet.take_effects(time));
    assert_eq!(failure.message, "No gateway can take the work: \"gateway-1\" is drained, and no other is usable");
    assert!(failure.help.unwrap().contains("undrain"));
}

#[test]
fn a_gateway_that_cannot_take_work_says_when_it_is_tried_again() {
    let time = begin();
    let mut fleet = fleet(time, [PROD]);
    let report = GatewayReport { phase: Phase::Backoff, status: Status::Offline, ..online() };
    say(&mut fleet, time, PROD, GatewayReport { next_attempt_ms: Some(time.wall_ms + 12_000), ..report });
    spawn(&mut fleet, time, RouteRequest { requested: Some(PROD), ..RouteRequest::default() });
    let failure = answer_of(fleet.take_effects(time));
    assert_eq!(failure.help.as_deref(), Some("It is tried again in 12 s."));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(12)));
}

#[test]
fn a_gateway_s_actor_forgets_the_run_of_a_spawn_that_was_given_up() {
    let mut time = begin();
    let stored = SpawnRecord { state: SpawnState::Unknown, gateway_id: Some(PROD), ..as_recorded("s") };
    let stored = Stored { records: vec![record(PROD)], open_spawns: vec![stored], ..Stored::default() };
    let mut fleet = Fleet::new(settings(), stored, time);
    fleet.start_some(None, usize::MAX);
    let mut told = say(&mut fleet, time, PROD, online());
    for _ in 0..700 {
        time = time.after(Duration::from_secs(1));
        fleet.on_deadline(time);
        for effect in fleet.take_effects(time) {
            match effect {
                Effect::LookUpRun(spawn_id, gateway, question) => {
                    let found = LookedUp { finding: RunFinding::NotKnown, session_key: None, ended_at_ms: None };
                    fleet.on_run_found(time, &spawn_id, gateway, &question.run_id, Some(found));
                }
                Effect::WriteSpawns(steps) => fleet.on_spawns_written(time, &SpawnRecord::ids(&steps), Ok(Vec::new())),
                other => told.push(other),
            }
        }
    }
    let forgets = |effect: &&Effect| matches!(effect, Effect::ForgetRun(PROD, run) if run == "s");
    assert_eq!((told.iter().filter(forgets).count(), fleet.open_spawns()), (1, 0));
}

/// What becomes of a spawn at [`PROD`] whose record ended so: the states that are written in the end, and what its client is told.
/// Nothing is sent.
fn unsent(
    fleet: &mut Fleet,
    time: Time,
    outcome: impl FnOnce(SpawnRecord) -> Result<Option<SpawnRecord>, Failure>,
) -> Failure {
    let (gateway_id, gateway_name) = (Some(PROD), Some("gateway-1".into()));
    fleet.on_spawn_recorded(time, "s", outcome(SpawnRecord { gateway_id, gateway_name, ..as_recorded("s") }));
    let effects = fleet.take_effects(time);
    let written: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::WriteSpawns(_))).collect();
    let [Effect::WriteSpawns(batch)] = written[..] else { panic!("{effects:?}") };
    let states: Vec<SpawnState> = batch.iter().map(|step| step.state).collect();
    assert_eq!(states, [SpawnState::Sent, SpawnState::Failed], "its record, if there is one, says so");
    assert!(!fleet.has_settled(), "that isn't written yet");
    fleet.on_spawns_written(time, &["s".into()], Ok(Vec::new()));
    let told = fleet.take_effects(time);
    let is_sent = |effect: &&Effect| matches!(effect, Effect::StartRun(..));
    assert_eq!(effects.iter().chain(&told).find(is_sent).map(|effect| format!("{effect:?}")), None);
    assert!(fleet.has_settled());
    let answer = told.into_iter().find_map(|effect| match effect {
        Effect::AnswerSpawn(_, answer) => Some(*answer),
        _ => None,
    });
    answer.expect("it is answered").unwrap_err()
}

#[test]
fn a_spawn_that_may_be_recorded_ends_as_one_that_was_never_sent() {
    let time = begin();
    let mut fleet = two_online(time);
    spawn(&mut fleet, time, RouteRequest::default());
    fleet.take_effects(time);
    let told = unsent(&mut fleet, time, |_| Err(Failure::outcome_unknown("no answer")));
    assert_eq!((told.code, told.details), (ErrorCode::StoreUnavailable, None), "its key may stand for another one");
    assert!(told.help.unwrap().contains("with the same") && told.retry_after.is_some());
    assert_eq!(fleet.open_spawns(), 0);
}

#[test]
fn a_spawn_that_was_recorded_in_doubt_is_a_refusal_to_whoever_sends_its_key_again_before_that_is_written() {
    let time = begin();
    let mut fleet = two_online(time);
    spawn(&mut fleet, time, RouteRequest::default());
    fleet.on_spawn_recorded(time, "s", Err(Failure::outcome_unknown("no answer")));
    fleet.take_effects(time);
    fleet.on_spawns_written(time, &["s".into()], Err(Failure::unavailable("store")));
    let told = fleet.take_effects(time);
    assert!(
        told.iter().any(|effect| matches!(effect, Effect::AnswerSpawn(id, answer) if id == "s" && answer.is_err()))
    );
    spawn_as(&mut fleet, time, "again", RouteRequest::default());
    let found = SpawnRecord { gateway_id: Some(PROD), state: SpawnState::Recorded, ..as_recorded("s") };
    fleet.on_spawn_recorded(time, "again", Ok(Some(found)));
    let answer = fleet.take_effects(time).into_iter().find_map(|effect| match effect {
        Effect::AnswerSpawn(id, answer) if id == "again" => Some(*answer),
        _ => None,
    });
    let refusal = answer.expect("it is answered").unwrap_err();
    let expected = (ErrorCode::StoreUnavailable, Some(serde_json::json!({"spawnId": "s"})));
    assert_eq!((refusal.code, refusal.details), expected, "it never ran: no 202");
    assert!(refusal.help.unwrap().contains("new key"));
}

#[test]
fn a_spawn_that_is_recorded_only_after_its_daemon_began_to_stop_ends_unsent_and_the_stop_waits_for_that() {
    let time = begin();
    let mut fleet = two_online(time);
    spawn(&mut fleet, time, RouteRequest::default());
    fleet.take_effects(time);
    fleet.stop();
    assert!(!fleet.has_settled());
    let told = unsent(&mut fleet, time, |record| Ok(recorded(&record)));
    assert_eq!(told.code, ErrorCode::Unavailable);
    assert_eq!(fleet.open_spawns(), 0);
}
