//! Spawns through the registry: recorded first, sent once, each with exactly one end.

mod random_failures;

use serde_json::{Value, json};

use super::*;
use crate::event_hub::subscriber::Subscription;
use crate::machines::event_places::Holder;
use crate::machines::routing::RouteRequest;
use crate::spawn::{
    Certainty, NotAccepted, RunFinding, RunNotice, RunStage, SpawnRecord, SpawnRequest, SpawnState, Work,
};

pub(super) fn task() -> SpawnWork {
    to(RouteRequest::default())
}

fn to(route: RouteRequest) -> SpawnWork {
    let work = Work::Task {
        task: "say hello".into(),
        agent: None,
        session_key: None,
        model: None,
        label: None,
        timeout_seconds: None,
    };
    let (spawn_id, summary) = (uuid::Uuid::new_v4().to_string(), "say hello".into());
    let record = SpawnRecord { spawn_id, summary, key_id: Some(1), ..SpawnRecord::default() };
    SpawnWork {
        request: SpawnRequest { record, route, work, timeout: Duration::from_secs(2) },
        text: Secret::new("{}"),
        idempotency_key: None,
    }
}

pub(super) fn keyed(key: &str, body: &str) -> SpawnWork {
    SpawnWork { text: Secret::new(body), idempotency_key: Some(key.into()), ..task() }
}

fn not_taken(code: ErrorCode) -> Result<SpawnRecord, NotAccepted> {
    Err(NotAccepted { failure: Failure::new(code, "the gateway's words"), certainty: Certainty::NotTaken })
}

fn answer_lost() -> Result<SpawnRecord, NotAccepted> {
    let failure = Failure::new(ErrorCode::GatewayTimeout, "no answer");
    Err(NotAccepted { failure, certainty: Certainty::Unknown })
}

/// Two ready gateways: `prod`, which is the configured primary, and `backup`.
pub(super) async fn two_ready(house: &mut House) -> (GatewayId, GatewayId) {
    let mut primary = gateway("prod", 1);
    primary.is_primary = true;
    let prod = house.registry.send(CreateGateway(primary.into())).await.unwrap().unwrap().0.record.id;
    let backup = house.create("backup", 2).await.record.id;
    house.ready(prod).await;
    house.ready(backup).await;
    house.script.heard().await;
    house.script.heard().await;
    (prod, backup)
}

async fn follow(house: &House) -> Subscription {
    let filter = EventFilter::new(&[EventKind::SpawnResult], false);
    house.hub.send(Subscribe { holder: Holder::ADMIN, filter, last_seen: None, queue: 1_000 }).await.unwrap().unwrap()
}

/// Reads events until one has a final state; the states on the way.
async fn until_final(events: &Subscription) -> Vec<String> {
    let mut states = Vec::new();
    loop {
        let delivery = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
        let Some(Delivery::Event(event)) = delivery else { panic!("{delivery:?}") };
        let event: Value = serde_json::from_slice(&event.json).unwrap();
        let state = event["data"]["status"].as_str().unwrap().to_owned();
        let ended = SpawnState::from_name(&state).unwrap().is_final();
        states.push(state);
        if ended {
            return states;
        }
    }
}

pub(super) async fn starts(house: &mut House) -> Vec<GatewayId> {
    house.registry.send(Ping).await.unwrap();
    let mut started = Vec::new();
    while let Some((id, heard)) = house.script.heard_already() {
        match heard {
            Heard::Start(start) => {
                assert_eq!(start.timeout, Duration::from_secs(2));
                started.push(id);
            }
            Heard::LookUp(question) => assert!(!question.run_id.is_empty()),
            _ => {}
        }
    }
    started
}

#[actix::test]
async fn a_task_reaches_the_acting_primary_and_its_end_comes_back() {
    let mut house = House::open(at_once()).await;
    let (prod, _) = two_ready(&mut house).await;
    let events = follow(&house).await;
    let answer = house.registry.send(task()).await.unwrap().unwrap();
    assert_eq!(answer.gateway_id, Some(prod));
    assert_eq!(answer.route.as_deref(), Some("primary"));
    assert_eq!(answer.state, SpawnState::Accepted);
    let spawn_id = answer.spawn_id;
    let failed = RunStage::Failed { error: "No API key found".into(), result: Value::Null };
    let notice = RunNotice { run_id: spawn_id.clone(), session_key: None, stage: failed };
    house.say(prod, GatewayNotice::Run(notice)).await;
    assert_eq!(until_final(&events).await, ["sent", "accepted", "failed"]);
    let stored = house.store.find_spawn(spawn_id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.error.as_deref()), (SpawnState::Failed, Some("No API key found")));
    assert_eq!(starts(&mut house).await, [prod]);
}

#[actix::test]
async fn work_moves_on_only_where_the_first_gateway_certainly_could_not_be_reached() {
    let mut house = House::open(at_once()).await;
    let (prod, backup) = two_ready(&mut house).await;
    house.script.answers_start(prod, not_taken(ErrorCode::GatewayUnavailable));
    let answer = house.registry.send(task()).await.unwrap().unwrap();
    assert_eq!(answer.gateway_id, Some(backup));
    assert_eq!(starts(&mut house).await, [prod, backup]);
    house.script.answers_start(prod, not_taken(ErrorCode::GatewayRefused));
    let refused = house.registry.send(task()).await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::GatewayRefused);
    assert_eq!(starts(&mut house).await, [prod], "a gateway's no is the answer");
}

#[actix::test]
async fn the_record_names_the_next_gateway_before_that_one_hears_of_the_spawn() {
    let mut house = House::open(at_once()).await;
    let (prod, backup) = two_ready(&mut house).await;
    house.script.answers_start(prod, not_taken(ErrorCode::GatewayUnavailable));
    let answer = house.registry.send(task());
    let watch = async {
        loop {
            if let (id, Heard::Start(start)) = house.script.heard().await
                && id == backup
            {
                return house.store.find_spawn(start.record.spawn_id.clone()).await.unwrap().unwrap();
            }
        }
    };
    let (answer, stored) = futures_util::future::join(answer, watch).await;
    assert_eq!(answer.unwrap().unwrap().gateway_id, Some(backup));
    assert_eq!(stored.gateway_id, Some(backup), "a daemon that dies now asks the right one");
}

#[actix::test]
async fn a_named_gateway_that_cannot_be_reached_is_an_error_and_never_replaced() {
    let mut house = House::open(at_once()).await;
    let (prod, _) = two_ready(&mut house).await;
    house.script.answers_start(prod, not_taken(ErrorCode::GatewayUnavailable));
    let route = RouteRequest { requested: Some(prod), ..RouteRequest::default() };
    let failure = house.registry.send(to(route)).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::GatewayUnavailable);
    assert_eq!(starts(&mut house).await, [prod]);
}

#[actix::test]
async fn a_lost_answer_is_a_timeout_with_the_spawns_id_and_is_never_sent_again() {
    let mut house = House::open(at_once()).await;
    let (prod, _) = two_ready(&mut house).await;
    let events = follow(&house).await;
    house.script.answers_start(prod, answer_lost());
    house.script.answers_look_up(prod, Ok(RunFinding::Ended(RunStage::Completed { result: json!("done") })));
    let failure = house.registry.send(task()).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::GatewayTimeout);
    let spawn_id = failure.details.unwrap()["spawnId"].as_str().unwrap().to_owned();
    assert_eq!(until_final(&events).await, ["sent", "unknown", "completed"]);
    let stored = house.store.find_spawn(spawn_id.clone()).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.run_id), (SpawnState::Completed, Some(spawn_id)));
    assert_eq!(stored.session_key.as_deref(), Some("agent:main:found"));
    assert_eq!(starts(&mut house).await, [prod]);
}

#[actix::test]
async fn a_connection_that_ends_before_the_answer_is_a_timeout_and_invites_no_repetition() {
    let mut house = House::open(at_once()).await;
    let (prod, _) = two_ready(&mut house).await;
    let failure = Failure::new(ErrorCode::GatewayUnavailable, "the connection ended before it answered")
        .with_retry_after(Duration::from_secs(1));
    house.script.answers_start(prod, Err(NotAccepted { failure, certainty: Certainty::Unknown }));
    let failure = house.registry.send(task()).await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.retry_after), (ErrorCode::GatewayTimeout, None));
    assert!(failure.message.contains("the connection ended"));
    let spawn_id = failure.details.unwrap()["spawnId"].as_str().unwrap().to_owned();
    assert_eq!(house.store.find_spawn(spawn_id).await.unwrap().unwrap().state, SpawnState::Unknown);
    assert_eq!(starts(&mut house).await, [prod]);
}

#[actix::test]
async fn a_spawn_whose_connection_was_lost_is_asked_about_when_the_gateway_is_back() {
    let mut house = House::open(at_once()).await;
    let (prod, _) = two_ready(&mut house).await;
    let events = follow(&house).await;
    house.registry.send(task()).await.unwrap().unwrap();
    house.script.answers_look_up(prod, Ok(RunFinding::Ended(RunStage::Killed { reason: "rpc".into() })));
    house.fail(prod).await;
    house.ready(prod).await;
    assert_eq!(until_final(&events).await, ["sent", "accepted", "killed"]);
    assert_eq!(starts(&mut house).await, [prod]);
}

#[actix::test]
async fn deleting_a_gateway_makes_its_spawns_lost() {
    let mut house = House::open(at_once()).await;
    let (_, backup) = two_ready(&mut house).await;
    let events = follow(&house).await;
    let route = RouteRequest { requested: Some(backup), ..RouteRequest::default() };
    house.registry.send(to(route)).await.unwrap().unwrap();
    house.registry.send(DeleteGateway(backup)).await.unwrap().unwrap();
    assert_eq!(until_final(&events).await.last().map(String::as_str), Some("lost"));
}

#[actix::test]
async fn the_same_idempotency_key_runs_once_and_another_body_is_refused() {
    let mut house = House::open(at_once()).await;
    let (prod, _) = two_ready(&mut house).await;
    let first = house.registry.send(keyed("k", "a")).await.unwrap().unwrap();
    let again = house.registry.send(keyed("k", "a")).await.unwrap().unwrap();
    assert_eq!(again.spawn_id, first.spawn_id);
    let other = house.registry.send(keyed("k", "b")).await.unwrap().unwrap_err();
    assert_eq!(other.code, ErrorCode::IdempotencyMismatch);
    assert_eq!(starts(&mut house).await, [prod]);
}

#[actix::test]
async fn a_refusal_on_record_is_a_refusal_again_and_nothing_is_sent() {
    let mut house = House::open(at_once()).await;
    let (prod, _) = two_ready(&mut house).await;
    house.script.answers_start(prod, not_taken(ErrorCode::GatewayRefused));
    let first = house.registry.send(keyed("k", "a")).await.unwrap().unwrap_err();
    house.script.accepts_start(prod);
    let again = house.registry.send(keyed("k", "a")).await.unwrap().unwrap_err();
    assert_eq!((again.code, &again.message, &again.details), (first.code, &first.message, &first.details));
    assert_eq!(starts(&mut house).await, [prod]);
}

#[actix::test]
async fn with_no_usable_gateway_nothing_is_recorded_and_nothing_is_sent() {
    let mut house = House::open(at_once()).await;
    let (prod, backup) = two_ready(&mut house).await;
    house.fail(prod).await;
    house.fail(backup).await;
    let failure = house.registry.send(task()).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::NoUsableGateway);
    assert!(failure.retry_after.is_some());
    assert!(house.store.list_spawns(10, 0).await.unwrap().0.is_empty());
    assert!(starts(&mut house).await.is_empty());
}

#[actix::test]
async fn a_drained_gateway_takes_no_new_work() {
    let mut house = House::open(at_once()).await;
    let (prod, backup) = two_ready(&mut house).await;
    let change = GatewayChange { drained: Some(true), ..GatewayChange::default() };
    house.registry.send(UpdateGateway { id: prod, change, from: None }).await.unwrap().unwrap();
    let answer = house.registry.send(task()).await.unwrap().unwrap();
    assert_eq!(answer.gateway_id, Some(backup));
    let route = RouteRequest { requested: Some(prod), ..RouteRequest::default() };
    let failure = house.registry.send(to(route)).await.unwrap().unwrap_err();
    assert!(failure.message.contains("drained"));
}

#[actix::test]
async fn control_goes_to_the_named_gateway_and_brings_its_words() {
    let mut house = House::open(at_once()).await;
    let (prod, backup) = two_ready(&mut house).await;
    let control = |gateway| ControlSessionAt {
        gateway,
        session_key: "agent:main:x".into(),
        action: crate::spawn::SessionAction::Kill,
        timeout: Duration::from_secs(1),
    };
    assert_eq!(house.registry.send(control(backup)).await.unwrap().unwrap()["ok"], true);
    assert!(
        matches!(house.script.heard().await, (id, Heard::Control(control)) if id == backup && control.session_key == "agent:main:x")
    );
    let no = Failure::new(ErrorCode::NotSupportedByGateway, "cannot pause");
    house.script.answers_control(prod, Err(no.clone()));
    assert_eq!(house.registry.send(control(prod)).await.unwrap().unwrap_err(), no);
}

#[actix::test]
async fn what_is_gathered_when_the_daemon_stops_is_written_down_before_it_ends() {
    let mut house = House::open(at_once()).await;
    two_ready(&mut house).await;
    let answer = house.registry.send(task()).await.unwrap().unwrap();
    house.registry.send(Drain).await.unwrap();
    // As the daemon does: a write may have been under way already.
    house.store.flush().await.unwrap();
    let stored = house.store.find_spawn(answer.spawn_id).await.unwrap().unwrap();
    assert_eq!(stored.state, SpawnState::Accepted);
}
