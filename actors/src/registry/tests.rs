//! The registry with scripted gateways and a real store in a temporary directory.

mod nodes;
mod scripted_gateway;
mod spawns;
mod stalled_store;
mod trials;

use std::time::Duration;

use gatewarden_protocol::Secret;
use tempfile::TempDir;

use self::scripted_gateway::{Heard, Script};
use super::messages::*;
use super::records::*;
use super::*;
use crate::error::{ErrorCode, Failure};
use crate::event::{EventFilter, EventKind};
use crate::event_hub::EventHubActor;
use crate::event_hub::messages::Subscribe;
use crate::event_hub::subscriber::Delivery;
use crate::gateway_record::{DeviceToken, GatewayChange, ProcessSource};
use crate::gateway_report::{BreakerState, BreakerView, GatewayReport, Phase, Problem, Status, StatusSource};
use crate::machines::connection::{AuthPermit, AuthResult, GatewayNotice};
use crate::machines::event_places::Holder;
use crate::placement::Carriers;
use crate::processes::messages::{OrderProcess, ProcessAction};
use crate::processes::{ProcessParts, ProcessesActor};
use crate::settings::{ElectionSettings, RestartSettings, RoutingSettings};
use crate::store::StoreOptions;
use crate::store::batching::AuditLogWriter;
use crate::store::key_file::SealingKey;

/// For what has to happen; far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry under test, with what its gateways hear.
struct House {
    registry: Addr<RegistryActor>,
    roster: RosterReader,
    script: Script,
    store: StoreHandle,
    hub: Addr<EventHubActor>,
    audit: AuditTrail,
    /// The nodes that carry gateways for this one.
    carrying: tokio::sync::watch::Sender<Carriers>,
    _dir: TempDir,
}

impl House {
    async fn open(election: ElectionSettings) -> Self {
        Self::open_with(election, RestartSettings::default(), None).await
    }

    async fn open_with(election: ElectionSettings, restarts: RestartSettings, seed: Option<GatewaySpec>) -> Self {
        Self::open_on(election, restarts, seed, |_| {}).await
    }

    async fn open_on(
        election: ElectionSettings,
        restarts: RestartSettings,
        seed: Option<GatewaySpec>,
        adjust: impl FnOnce(&mut StoreOptions),
    ) -> Self {
        let (dir, store) = new_store(adjust);
        Self::open_over(election, restarts, seed, (dir, store), None).await
    }

    async fn open_over(
        election: ElectionSettings,
        restarts: RestartSettings,
        seed: Option<GatewaySpec>,
        (dir, store): (TempDir, StoreHandle),
        processes: Option<Addr<ProcessesActor>>,
    ) -> Self {
        let (clock, metrics, script) = (Clock::system(), Arc::new(Metrics::new()), Script::new());
        let (hub, events) = EventHubActor::start(100, clock.clone(), metrics.clone());
        let audit = AuditTrail::new(AuditLogWriter::start(store.clone()), events.clone());
        let (carrying, carriers) = tokio::sync::watch::channel(Carriers::new());
        let (registry, roster) = RegistryActor::start(RegistryParts {
            health_log: HealthLogWriter::start(store.clone()),
            stored: Stored {
                records: store.load_gateways().await.unwrap(),
                device_tokens: store.load_device_tokens().await.unwrap(),
                failed_logins: store.load_failed_logins().await.unwrap(),
                open_spawns: store.open_spawns().await.unwrap(),
            },
            settings: FleetSettings {
                election,
                restarts,
                routing: RoutingSettings::default(),
                heartbeat_interval: Duration::from_secs(30),
                logins_at_a_time: LOGINS_AT_A_TIME,
            },
            seed,
            spawn: script.spawner(),
            placement: Placement::new("here", carriers, clock.clone(), metrics.clone()),
            events,
            audit: audit.clone(),
            retention: RetentionSettings::default(),
            clock,
            metrics,
            processes,
            store: store.clone(),
        });
        Self { registry, roster, script, store, hub, audit, carrying, _dir: dir }
    }

    async fn create(&self, name: &str, port: u16) -> Arc<GatewayView> {
        self.registry.send(CreateGateway(gateway(name, port).into())).await.unwrap().unwrap().0
    }

    async fn say(&mut self, id: GatewayId, notice: GatewayNotice) {
        self.script.say(id, notice).await;
        // Mailboxes are first come, first served: once this is answered, the notice has been worked through.
        self.registry.send(Ping).await.unwrap();
    }

    async fn ready(&mut self, id: GatewayId) {
        self.say(id, GatewayNotice::Report(Box::new(online()))).await;
    }

    async fn fail(&mut self, id: GatewayId) {
        self.say(id, GatewayNotice::Report(Box::new(offline()))).await;
    }

    fn acting(&self) -> Option<GatewayId> {
        self.roster.acting_primary().map(|acting| acting.id)
    }
}

fn new_store(adjust: impl FnOnce(&mut StoreOptions)) -> (TempDir, StoreHandle) {
    // In memory where that can be: deadlines of milliseconds are not about the disk.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let key = SealingKey::load_or_create(None, dir.path()).unwrap();
    let mut options = StoreOptions::at(dir.path().join("gatewarden.db"));
    adjust(&mut options);
    let store = StoreHandle::open(options, key, Clock::system(), Arc::new(Metrics::new())).unwrap();
    (dir, store)
}

fn gateway(name: &str, port: u16) -> GatewaySpec {
    GatewaySpec { token: Some(Secret::new("tok")), ..GatewaySpec::at(name, "127.0.0.1", port) }
}

fn online() -> GatewayReport {
    let mut report = GatewayReport::unknown(1);
    report.status = Status::Online;
    report.phase = Phase::Ready;
    report.source = StatusSource::Heartbeat;
    report.last_seen_ms = Some(7_000);
    report.latency_ms = Some(3.0);
    report
}

fn offline() -> GatewayReport {
    let mut report = GatewayReport::unknown(2);
    report.status = Status::Offline;
    report.phase = Phase::Backoff;
    report.breaker =
        BreakerView { state: BreakerState::Open, failures: 3, opened_at_ms: Some(2), changed_at_ms: Some(2) };
    report.last_error = Some(Problem {
        code: "connection_refused".into(),
        message: "Gateway \"prod\" refused".into(),
        help: "start it".into(),
    });
    report
}

fn at_once() -> ElectionSettings {
    ElectionSettings { failback_after: Duration::ZERO, startup_hold: Duration::ZERO, ..ElectionSettings::default() }
}

#[actix::test]
async fn a_created_gateway_is_stored_started_and_published_before_the_answer() {
    let mut house = House::open(at_once()).await;
    let committed = house.create("prod", 18_789).await;
    let id = committed.record.id;
    assert_eq!(house.roster.get(id).unwrap().record.name, "prod");
    assert_eq!(house.store.load_gateways().await.unwrap().len(), 1);
    assert!(matches!(house.script.heard().await, (heard, Heard::Started { incarnation: 1 }) if heard == id));
}

#[actix::test]
async fn a_taken_name_is_refused_and_changes_nothing() {
    let house = House::open(at_once()).await;
    house.create("prod", 18_789).await;
    let failure = house.registry.send(CreateGateway(gateway("prod", 1).into())).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::NameTaken);
    assert_eq!(house.roster.len(), 1);
}

#[actix::test]
async fn at_most_one_gateway_is_the_configured_primary() {
    let house = House::open(at_once()).await;
    let mut first = gateway("a", 1);
    first.is_primary = true;
    let mut second = gateway("b", 2);
    second.is_primary = true;
    let first = house.registry.send(CreateGateway(first.into())).await.unwrap().unwrap().0.record.id;
    let second = house.registry.send(CreateGateway(second.into())).await.unwrap().unwrap().0.record.id;
    assert!(!house.roster.get(first).unwrap().record.is_primary);
    assert!(house.roster.get(second).unwrap().record.is_primary);
    assert_eq!(house.roster.list()[0].record.id, second, "the primary comes first");
    let refused = house.registry.send(DeleteGateway(second)).await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::PrimaryUndeletable);
    let change = GatewayChange { is_primary: Some(true), ..GatewayChange::default() };
    house.registry.send(UpdateGateway { id: first, change, from: None }).await.unwrap().unwrap();
    assert_eq!(house.roster.list().iter().filter(|view| view.record.is_primary).count(), 1);
    assert!(house.registry.send(DeleteGateway(second)).await.unwrap().unwrap());
    assert!(!house.registry.send(DeleteGateway(second)).await.unwrap().unwrap());
}

#[actix::test]
async fn an_update_reaches_the_actor_and_a_missing_gateway_is_said_so() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    house.script.heard().await;
    let change = GatewayChange { port: Some(18_809), ..GatewayChange::default() };
    house.registry.send(UpdateGateway { id, change: change.clone(), from: None }).await.unwrap().unwrap();
    assert!(matches!(house.script.heard().await.1, Heard::Record(record) if record.port == 18_809));
    let missing =
        house.registry.send(UpdateGateway { id: GatewayId(99), change, from: None }).await.unwrap().unwrap_err();
    assert_eq!(missing.code, ErrorCode::GatewayNotFound);
}

#[actix::test]
async fn a_gateway_actor_that_panics_is_started_again_from_its_record() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    house.script.heard().await;
    house.ready(id).await;
    house.script.panic(id).await;
    assert!(matches!(house.script.heard().await, (heard, Heard::Started { incarnation: 2 }) if heard == id));
    assert_eq!(house.roster.get(id).unwrap().report.last_seen_ms, Some(7_000), "what was last seen stays known");
    house.ready(id).await;
    assert_eq!(house.roster.get(id).unwrap().report.status, Status::Online);
}

#[actix::test]
async fn a_panic_of_one_gateway_costs_no_other() {
    let mut house = House::open(at_once()).await;
    let first = house.create("a", 1).await.record.id;
    let second = house.create("b", 2).await.record.id;
    house.script.heard().await;
    house.script.heard().await;
    house.ready(second).await;
    house.script.panic(first).await;
    assert_eq!(house.script.heard().await.0, first);
    assert_eq!(house.roster.get(second).unwrap().report.status, Status::Online);
}

#[actix::test]
async fn an_actor_that_dies_too_often_is_parked_until_an_operator_reconnects() {
    let restarts = RestartSettings { max_restarts: 1, window: Duration::from_secs(60) };
    let mut house = House::open_with(at_once(), restarts, None).await;
    let id = house.create("prod", 18_789).await.record.id;
    house.script.heard().await;
    house.script.panic(id).await;
    house.script.heard().await;
    house.script.panic(id).await;
    // No new actor comes; the registry's own watch publishes the parking.
    let parked =
        house.script.until(|| house.roster.get(id).is_some_and(|view| view.report.phase == Phase::Parked)).await;
    assert!(parked);
    let view = house.roster.get(id).unwrap();
    assert_eq!(
        (view.report.status, view.report.last_error.as_ref().unwrap().code.as_str()),
        (Status::Offline, "parked")
    );
    house.registry.send(ReconnectGateway(id)).await.unwrap().unwrap();
    assert!(matches!(house.script.heard().await.1, Heard::Started { .. }));
}

#[actix::test]
async fn a_late_word_of_a_dead_incarnation_is_ignored() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    let stale = FromGateway { id, incarnation: 77, notice: GatewayNotice::Report(Box::new(online())) };
    house.registry.send(stale).await.unwrap();
    assert_eq!(house.roster.get(id).unwrap().report.status, Status::Unknown);
    house.ready(id).await;
    assert_eq!(house.roster.get(id).unwrap().report.status, Status::Online);
}

#[actix::test]
async fn failover_is_immediate_and_failback_follows() {
    let mut house = House::open(at_once()).await;
    let mut primary = gateway("prod", 1);
    primary.is_primary = true;
    let primary = house.registry.send(CreateGateway(primary.into())).await.unwrap().unwrap().0.record.id;
    let backup = house.create("backup", 2).await.record.id;
    house.ready(primary).await;
    house.ready(backup).await;
    assert_eq!(house.acting(), Some(primary));
    house.fail(primary).await;
    assert_eq!(house.acting(), Some(backup));
    assert!(house.roster.get(backup).unwrap().acting_primary);
    assert!(!house.roster.get(primary).unwrap().acting_primary);
    house.ready(primary).await;
    assert_eq!(house.acting(), Some(primary));
    house.fail(primary).await;
    house.fail(backup).await;
    assert_eq!(house.acting(), None);
}

#[actix::test]
async fn six_failed_authentications_of_two_records_of_one_address_are_never_permitted_in_a_minute() {
    let mut house = House::open(at_once()).await;
    let first = house.create("a", 18_789).await.record.id;
    let second = house.create("b", 18_789).await.record.id;
    house.script.heard().await;
    house.script.heard().await;
    let address = "127.0.0.1:18789".to_owned();
    let mut granted = 0;
    for attempt in 0..6 {
        let id = if attempt % 2 == 0 { first } else { second };
        house.say(id, GatewayNotice::PermitWanted { address: address.clone() }).await;
        if matches!(house.script.heard().await.1, Heard::Permit(AuthPermit::Granted { .. })) {
            granted += 1;
            house.say(id, GatewayNotice::AuthSettled { address: address.clone(), result: AuthResult::Failed }).await;
        }
    }
    assert_eq!(granted, 5);
    // Whoever starts next finds them all.
    let stored = async {
        loop {
            let logins = house.store.load_failed_logins().await.unwrap();
            if logins.first().is_some_and(|(_, failed)| failed.len() == 5) {
                break logins.into_iter().map(|(address, _)| address).collect::<Vec<_>>();
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(30), stored).await.unwrap(), [address]);
}

#[actix::test]
async fn an_issued_device_token_comes_back_with_the_next_permit_and_survives_a_restart() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    house.script.heard().await;
    let address = "127.0.0.1:18789".to_owned();
    let token = DeviceToken {
        token: Secret::new("device-token"),
        role: "operator".into(),
        scopes: vec!["operator.read".into()],
        issued_at_ms: 5,
    };
    house.say(id, GatewayNotice::DeviceTokenIssued { address: address.clone(), token: token.clone() }).await;
    house.say(id, GatewayNotice::PermitWanted { address: address.clone() }).await;
    assert!(
        matches!(house.script.heard().await.1, Heard::Permit(AuthPermit::Granted { device_token: Some(kept), .. }) if kept == token)
    );
    house.store.flush().await.unwrap();
    assert_eq!(house.store.load_device_tokens().await.unwrap(), [(address.clone(), token)]);
    house.say(id, GatewayNotice::DeviceTokenRejected { address: address.clone() }).await;
    house.say(id, GatewayNotice::PermitWanted { address }).await;
    assert!(matches!(house.script.heard().await.1, Heard::Permit(AuthPermit::Granted { device_token: None, .. })));
    house.store.flush().await.unwrap();
    assert!(house.store.load_device_tokens().await.unwrap().is_empty());
}

#[actix::test]
async fn a_call_to_an_unusable_gateway_names_it_and_is_never_sent() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    house.fail(id).await;
    let call = CallGateway {
        target: Some(id),
        method: "health".into(),
        params: serde_json::json!({}),
        timeout: Duration::from_secs(1),
    };
    let failure = house.registry.send(call.clone()).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::GatewayUnavailable);
    assert!(failure.message.contains("\"prod\"") && failure.help.unwrap().contains("start it"));
    let nobody = house.registry.send(CallGateway { target: None, ..call.clone() }).await.unwrap().unwrap_err();
    assert_eq!(nobody.code, ErrorCode::NoUsableGateway);
    house.ready(id).await;
    assert_eq!(house.registry.send(call).await.unwrap().unwrap().0, id);
}

#[actix::test]
async fn a_call_of_a_gateway_that_readers_know_as_usable_passes_the_registry_by() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    let to = |target: Option<GatewayId>| CallGateway {
        target,
        method: "health".into(),
        params: serde_json::json!({}),
        timeout: Duration::from_secs(1),
    };
    house.fail(id).await;
    assert!(to(Some(id)).straight(&house.roster).is_err(), "why it is unusable is the registry's to say");
    house.ready(id).await;
    let answered = to(Some(id)).straight(&house.roster).map_err(|_| "it is usable").unwrap();
    assert_eq!(answered.await.unwrap().0, id);
    assert!(to(None).straight(&house.roster).is_err(), "who acts is the registry's to say");
    assert!(to(Some(GatewayId(99))).straight(&house.roster).is_err());
    house.registry.send(DeleteGateway(id)).await.unwrap().unwrap();
    assert!(to(Some(id)).straight(&house.roster).is_err(), "it is gone");
}

#[actix::test]
async fn a_sweep_answers_for_a_gateway_whose_actor_keeps_silent() {
    let mut house = House::open(at_once()).await;
    let silent = house.create("silent", 1).await.record.id;
    let good = house.create("good", 2).await.record.id;
    house.script.silence_probes(silent);
    house.ready(good).await;
    let sweep = ProbeGateways { only: None, timeout: Duration::from_secs(2) };
    let outcomes = house.registry.send(sweep).await.unwrap().unwrap();
    assert_eq!(outcomes.len(), 2);
    let of = |id| outcomes.iter().find(|(probed, _)| *probed == id).map(|(_, outcome)| outcome).unwrap();
    assert!(of(silent).failed_step.is_some());
    assert!(of(good).failed_step.is_none());
}

#[actix::test]
async fn an_empty_roster_is_seeded_at_the_start_and_when_the_last_gateway_goes() {
    let mut house = House::open_with(at_once(), RestartSettings::default(), Some(gateway("primary", 18_789))).await;
    house.registry.send(Ping).await.unwrap();
    let seeded = house.roster.list();
    assert_eq!(seeded.len(), 1);
    let id = seeded[0].record.id;
    house.script.heard().await;
    assert!(house.registry.send(DeleteGateway(id)).await.unwrap().unwrap());
    let again = house.roster.list();
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].record.id, id, "an id is never used again");
}

#[actix::test]
async fn processes_hear_of_every_record_before_the_last_gateways_are_started() {
    let (dir, store) = new_store(|_| {});
    for number in 1..=4 * STARTED_AT_ONCE {
        let mut spec = gateway(&format!("g{number}"), 18_789);
        spec.process =
            (number == 4 * STARTED_AT_ONCE).then(|| ProcessSource::Unit("gatewarden-gateway@g.service".into()));
        store.create_gateway(spec).await.unwrap();
    }
    let last = store.load_gateways().await.unwrap().iter().map(|record| record.id).max().unwrap();
    let clock = Clock::system();
    let metrics = Arc::new(Metrics::new());
    let processes = ProcessesActor::start(ProcessParts {
        settings: Arc::default(),
        restarts: RestartSettings::default(),
        store: store.clone(),
        events: EventHubActor::start(100, clock.clone(), metrics.clone()).1,
        metrics,
        clock,
    });
    let processes = processes.await.unwrap();
    let mut house =
        House::open_over(at_once(), RestartSettings::default(), None, (dir, store), Some(processes.clone())).await;
    house.script.heard().await;
    let order = OrderProcess { gateway: last, action: ProcessAction::Status, wait: false };
    let answer = processes.send(order).await.unwrap();
    assert!(
        !answer.is_err_and(|failure| failure.code == ErrorCode::ProcessNotManaged),
        "its process would be ended as one that nobody names"
    );
}

#[actix::test]
async fn an_external_observation_is_stored_and_stands_for_nothing_that_is_known_here() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    let change = GatewayChange {
        status: Some("degraded".into()),
        latency: Some(120),
        last_seen: Some(1_700_000_000),
        ..GatewayChange::default()
    };
    let committed = house.registry.send(UpdateGateway { id, change, from: None }).await.unwrap().unwrap();
    assert_eq!(committed.report.status, Status::Unknown);
    assert_eq!(committed.record.observed.latency, Some(120));
    assert_eq!((committed.report.last_seen_ms, committed.report.latency_ms), (None, None));
    house.ready(id).await;
    assert_eq!(house.roster.get(id).unwrap().report.status, Status::Online);
}

#[actix::test]
async fn draining_stops_every_gateway_stores_what_was_seen_and_refuses_changes() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    house.script.heard().await;
    house.ready(id).await;
    house.registry.send(Drain).await.unwrap();
    assert!(matches!(house.script.heard().await.1, Heard::ShutDown));
    let stored = house.store.load_gateways().await.unwrap();
    assert_eq!(stored[0].observed.last_seen, Some(7));
    assert_eq!(stored[0].observed.status.as_deref(), Some("online"));
    let refused = house.registry.send(CreateGateway(gateway("late", 2).into())).await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unavailable);
}

#[actix::test]
async fn subscribers_hear_of_status_refusal_and_acting_primary_once_each() {
    let mut house = House::open(at_once()).await;
    let subscribe =
        Subscribe { holder: Holder::ADMIN, filter: EventFilter::new(&[], false), last_seen: None, queue: 100 };
    let subscription = house.hub.send(subscribe).await.unwrap().unwrap();
    let id = house.create("prod", 18_789).await.record.id;
    house.ready(id).await;
    house.ready(id).await;
    let mut blocked = offline();
    blocked.status = Status::Degraded;
    blocked.phase = Phase::Blocked;
    let mut checked_again = blocked.clone();
    checked_again.phase = Phase::Dialing;
    for report in [&blocked, &blocked, &checked_again, &blocked] {
        house.say(id, GatewayNotice::Report(Box::new(report.clone()))).await;
    }
    let mut heard = Vec::new();
    for _ in 0..5 {
        match subscription.next().await {
            Some(Delivery::Event(event)) => heard.push(event.kind),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        heard,
        [
            EventKind::GatewayStatus,
            EventKind::GatewayPrimary,
            EventKind::GatewayStatus,
            EventKind::GatewayBlocked,
            EventKind::GatewayPrimary
        ]
    );
    house.registry.send(Ping).await.unwrap();
    assert_eq!(subscription.try_next(), None);
}

#[actix::test]
async fn changes_of_the_acting_primary_are_in_the_audit_log() {
    let mut house = House::open(at_once()).await;
    let id = house.create("prod", 18_789).await.record.id;
    house.ready(id).await;
    house.audit.flush().await;
    let entries = house.store.list_audit(10, None, None).await.unwrap();
    let [only] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((only.entry.action.as_str(), only.entry.actor.name.as_str()), ("gateway.primary", "system"));
    assert_eq!(only.entry.target, Some(format!("gateway {id}")));
    assert_eq!(only.entry.details["to"]["name"], "prod");
}
