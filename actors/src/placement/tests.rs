//! Two nodes over a connection in memory: one acts, the other carries a gateway for it whose actor is played by the test.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use gatewarden_protocol::{LogEntry, Secret};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::*;
use crate::cluster::{RightToAct, VALID_MS};
use crate::dialing::Held;
use crate::error::{ErrorCode, Failure};
use crate::gateway::GatewayCommand;
use crate::gateway_record::{DeviceToken, GatewaySpec};
use crate::gateway_report::{GatewayReport, ProbeOutcome};
use crate::ids::GatewayId;
use crate::log_watch::{LogBegin, LogDelivery, LogRequest, LogSubscription, relayed};
use crate::machines::connection::{AuthPermit, AuthResult, Count, GatewayNotice};
use crate::spawn::{
    Certainty, ControlSession, LookUpRun, LookedUp, NoAnswer, NotAccepted, RunFinding, RunNotice, RunStage,
    SessionAction, SpawnRecord, SpawnRequest, SpawnState, Work,
};

const ID: GatewayId = GatewayId(7);
const PATIENCE: Duration = Duration::from_secs(10);

/// In the place of a `Gateway` actor.
struct Puppet {
    heard: mpsc::UnboundedSender<GatewayCommand>,
}

impl Actor for Puppet {
    type Context = Context<Self>;
}

impl Handler<GatewayCommand> for Puppet {
    type Result = ();

    fn handle(&mut self, command: GatewayCommand, ctx: &mut Self::Context) {
        if matches!(command, GatewayCommand::ShutDown(_)) {
            ctx.stop();
        }
        let _ = self.heard.send(command);
    }
}

/// In the place of the registry.
struct Registry(mpsc::UnboundedSender<FromGateway>);

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<FromGateway> for Registry {
    type Result = ();

    fn handle(&mut self, message: FromGateway, _ctx: &mut Self::Context) {
        let _ = self.0.send(message);
    }
}

/// What the other node started.
pub(crate) struct Started {
    record: SharedRecord,
    incarnation: u64,
    supervisor: Recipient<FromGateway>,
    puppet: Addr<Puppet>,
}

impl Started {
    pub(crate) fn says(&self, notice: GatewayNotice) {
        self.supervisor.do_send(FromGateway { id: self.record.id, incarnation: self.incarnation, notice });
    }
}

struct Nodes {
    handle: GatewayHandle,
    noticed: mpsc::UnboundedReceiver<FromGateway>,
    heard: mpsc::UnboundedReceiver<GatewayCommand>,
    started: Rc<RefCell<Vec<Started>>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Of the node that acts, and what the other one knows of it.
    right: RightToAct,
    carried_right: Rc<RefCell<Option<(RightToAct, Clock)>>>,
    carries: watch::Sender<()>,
}

fn record() -> SharedRecord {
    let spec = GatewaySpec { token: Some(Secret::new("its-token")), ..GatewaySpec::at("lab", "192.0.2.7", 18_789) };
    Arc::new(spec.into_record(ID, "uuid-7", 1))
}

/// The other node, as the test sees it.
struct OtherNode {
    started: Rc<RefCell<Vec<Started>>>,
    heard: mpsc::UnboundedReceiver<GatewayCommand>,
    /// What it knows of the right of the node that acts, and the clock that its actors go by.
    right: Rc<RefCell<Option<(RightToAct, Clock)>>>,
    /// It carries for as long as this is held.
    carries: watch::Sender<()>,
}

/// One that knows the role's epoch as `known`.
fn other_node(link: DuplexStream, known: i64, clock: &Clock) -> OtherNode {
    let (heard_by_puppet, heard) = mpsc::unbounded_channel();
    let (started, right) = (Rc::<RefCell<Vec<Started>>>::default(), Rc::<RefCell<_>>::default());
    let (carries, until_over) = watch::channel(());
    let (starts, right_known) = (started.clone(), right.clone());
    let starter: StarterOfCarried = Box::new(move |_identity, clock, right| {
        *right_known.borrow_mut() = Some((right, clock));
        Box::new(move |record, incarnation, supervisor| {
            let puppet = Puppet { heard: heard_by_puppet.clone() }.start();
            let handle = GatewayHandle::new(puppet.clone().recipient(), HeldBy::Here);
            starts.borrow_mut().push(Started { record, incarnation, supervisor, puppet });
            handle
        })
    });
    let parts = CarriedParts { starter, epoch: Box::new(move |_| known), until_over, clock: clock.clone() };
    CarriedGatewaysActor::start(parts, link);
    OtherNode { started, heard, right, carries }
}

fn carrier(link: DuplexStream, clock: &Clock, metrics: &Arc<Metrics>, right: &RightToAct) -> Addr<CarrierActor> {
    let parts = CarrierParts {
        node: "b".into(),
        epoch: 4,
        device_seed: Secret::new("07".repeat(32)),
        right: right.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    CarrierActor::start(parts, link).0
}

/// Another node: the way to it, what it starts, and what it carries gateways for as long as it is held.
pub(crate) fn two_nodes() -> (Addr<CarrierActor>, Rc<RefCell<Vec<Started>>>, watch::Sender<()>) {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let clock = Clock::system();
    let OtherNode { started, carries, .. } = other_node(there, 4, &clock);
    (carrier(here, &clock, &Arc::new(Metrics::new()), &RightToAct::always()), started, carries)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never so: {what}");
}

impl Nodes {
    async fn new() -> Self {
        tokio::time::pause();
        let clock = Clock::simulated(1_700_000_000_000, 1);
        // The other machine's clock is wrong.
        let clock_there = Clock::simulated(1_000, 2);
        let (here, there) = tokio::io::duplex(64 * 1024);
        let OtherNode { started, heard, right: carried_right, carries } = other_node(there, 4, &clock_there);
        let (right, metrics) = (RightToAct::none(), Arc::new(Metrics::new()));
        right.set(clock.uptime_ms() + VALID_MS);
        let carrier = carrier(here, &clock, &metrics, &right);
        let (noticed_by, noticed) = mpsc::unbounded_channel();
        let supervisor = Registry(noticed_by).start().recipient();
        let (_, carriers) = watch::channel(Carriers::from([("b".into(), carrier)]));
        let placement = Placement::new("a", carriers, clock.clone(), metrics.clone());
        let spec = GatewaySpec { node: Some("b".to_owned()), ..record().spec.clone() };
        let record = Arc::new(spec.into_record(ID, "uuid-7", 1));
        let handle = placement.start(record, 3, supervisor, |_, _, _| unreachable!("it is held by b"));
        until("it is started there", || !started.borrow().is_empty()).await;
        Self { handle, noticed, heard, started, clock, metrics, right, carried_right, carries }
    }

    async fn hears(&mut self) -> GatewayCommand {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.unwrap().unwrap()
    }

    fn says(&self, incarnation: u64, notice: GatewayNotice) {
        self.started.borrow()[0].supervisor.do_send(FromGateway { id: ID, incarnation, notice });
    }

    fn may_act_there(&self) -> bool {
        let known = self.carried_right.borrow();
        known.as_ref().is_some_and(|(right, clock)| right.holds(clock.uptime_ms()))
    }
}

fn spawn_request() -> SpawnRequest {
    let env = [("KEY".to_owned(), Secret::new("a-secret"))].into();
    let work = Work::Command { command: "make".to_owned(), args: vec!["all".to_owned()], env, cwd: None };
    let record = SpawnRecord { spawn_id: "spawn-1".to_owned(), ..SpawnRecord::default() };
    SpawnRequest { record, route: Default::default(), work, timeout: Duration::from_secs(5) }
}

#[actix::test]
async fn the_record_arrives_whole_with_its_secrets_and_what_needs_no_answer_follows_it() {
    let mut nodes = Nodes::new().await;
    {
        let started = nodes.started.borrow();
        assert_eq!((started[0].incarnation, started.len()), (3, 1));
        assert_eq!(started[0].record.spec, GatewaySpec { node: Some("b".to_owned()), ..record().spec.clone() });
    }
    nodes.handle.tell(GatewayCommand::Update(record()));
    let GatewayCommand::Update(updated) = nodes.hears().await else { panic!("another one") };
    assert_eq!(updated, record());
    nodes.handle.tell(GatewayCommand::Reconnect);
    assert!(matches!(nodes.hears().await, GatewayCommand::Reconnect));
    let token =
        DeviceToken { token: Secret::new("device"), role: "operator".to_owned(), scopes: Vec::new(), issued_at_ms: 1 };
    nodes.handle.tell(GatewayCommand::Permit(AuthPermit::Granted {
        address: ADDRESS.to_owned(),
        device_token: Some(token.clone()),
    }));
    let GatewayCommand::Permit(AuthPermit::Granted { address, device_token }) = nodes.hears().await else {
        panic!("denied")
    };
    assert_eq!((address.as_str(), device_token), (ADDRESS, Some(token)));
    let wait = Duration::from_secs(40);
    nodes.handle.tell(GatewayCommand::Permit(AuthPermit::Denied {
        address: ADDRESS.to_owned(),
        retry_at: nodes.clock.now() + wait,
    }));
    let GatewayCommand::Permit(AuthPermit::Denied { address, retry_at }) = nodes.hears().await else {
        panic!("granted")
    };
    assert_eq!(address, ADDRESS);
    assert!(retry_at.saturating_duration_since(nodes.clock.now()) <= wait);
    nodes.handle.tell(GatewayCommand::ForgetRun("run-1".to_owned()));
    assert!(matches!(nodes.hears().await, GatewayCommand::ForgetRun(run) if run == "run-1"));
}

#[actix::test]
async fn each_question_is_answered_by_the_actor_at_the_other_node() {
    let mut nodes = Nodes::new().await;
    let timeout = Duration::from_secs(5);
    let failure = Failure::new(ErrorCode::GatewayRefused, "no").with_help("ask").with_details(json!({"a": 1}));

    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::Probe { timeout, reply });
    let GatewayCommand::Probe { reply, .. } = nodes.hears().await else { panic!("another one") };
    let report = GatewayReport { agent_names: ["main".to_owned()].into(), ..GatewayReport::unknown(5) };
    let outcome = ProbeOutcome { probed_at_ms: 5, report, latency_ms: Some(0.25), failed_step: None };
    reply.send(outcome.clone()).unwrap();
    assert_eq!(asked.await.unwrap(), outcome);

    let params = json!({"limit": 3});
    let call = |reply| GatewayCommand::Call { method: "sessions.list".to_owned(), params, timeout, reply };
    let asked = nodes.handle.ask(PATIENCE, call);
    let GatewayCommand::Call { method, params, reply, .. } = nodes.hears().await else { panic!("another one") };
    assert_eq!((method.as_str(), params), ("sessions.list", json!({"limit": 3})));
    reply.send(Ok(Held::from(json!({"sessions": []})))).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().into_inner(), json!({"sessions": []}));

    let request = Arc::new(spawn_request());
    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::StartRun(request.clone(), reply));
    let GatewayCommand::StartRun(arrived, reply) = nodes.hears().await else { panic!("another one") };
    assert_eq!((&arrived.work, &arrived.record), (&request.work, &request.record));
    let accepted = SpawnRecord {
        state: SpawnState::Running,
        run_id: Some("run-1".to_owned()),
        session_key: Some("agent:main:main".to_owned()),
        result: Some(json!({"runId": "run-1"})),
        ..request.record.clone()
    };
    reply.send(Ok(accepted.clone())).unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), accepted);

    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::StartRun(request.clone(), reply));
    let GatewayCommand::StartRun(_, reply) = nodes.hears().await else { panic!("another one") };
    let not_accepted = NotAccepted { failure: failure.clone(), certainty: Certainty::NotTaken };
    reply.send(Err(not_accepted.clone())).unwrap();
    assert_eq!(asked.await.unwrap().unwrap_err(), not_accepted);

    let question = LookUpRun { run_id: "spawn-1".to_owned(), session_key: None, timeout };
    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::LookUpRun(question, reply));
    let GatewayCommand::LookUpRun(_, reply) = nodes.hears().await else { panic!("another one") };
    let found = LookedUp { finding: RunFinding::NotKnown, session_key: None, ended_at_ms: Some(4) };
    reply.send(Ok(found.clone())).unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), found);

    let control = ControlSession { session_key: "main".to_owned(), action: SessionAction::Kill, timeout };
    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::Control(control, reply));
    let GatewayCommand::Control(control, reply) = nodes.hears().await else { panic!("another one") };
    assert_eq!(control.action, SessionAction::Kill);
    reply.send(Err(failure.clone())).unwrap();
    assert_eq!(asked.await.unwrap().unwrap_err(), failure);
}

#[actix::test]
async fn a_value_as_deep_as_may_be_breaks_nothing_in_either_direction() {
    let mut nodes = Nodes::new().await;
    let deepest: Value = serde_json::from_str(&format!("{}{}", "[".repeat(127), "]".repeat(127))).unwrap();
    let (params, timeout) = (deepest.clone(), Duration::from_secs(5));
    let call = |reply| GatewayCommand::Call { method: "x".to_owned(), params, timeout, reply };
    let asked = nodes.handle.ask(PATIENCE, call);
    let GatewayCommand::Call { params, reply, .. } = nodes.hears().await else { panic!("another one") };
    assert_eq!(params, deepest);
    reply.send(Ok(Held::from(deepest.clone()))).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().into_inner(), deepest);

    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::StartRun(Arc::new(spawn_request()), reply));
    let GatewayCommand::StartRun(request, reply) = nodes.hears().await else { panic!("another one") };
    let accepted = SpawnRecord { result: Some(deepest.clone()), ..request.record.clone() };
    reply.send(Ok(accepted.clone())).unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), accepted);
    let stage = RunStage::Completed { result: deepest.clone() };
    let run = RunNotice { run_id: "run-1".to_owned(), session_key: None, stage: stage.clone() };
    nodes.says(3, GatewayNotice::Run(run));
    let heard = tokio::time::timeout(PATIENCE, nodes.noticed.recv()).await.unwrap().unwrap();
    assert!(matches!(heard.notice, GatewayNotice::Run(run) if run.stage == stage));
}

const ADDRESS: &str = "ws://192.0.2.7:18789";

/// A gateway that asked for a permit to log in.
async fn with_permit_wanted() -> Nodes {
    let mut nodes = Nodes::new().await;
    nodes.says(3, GatewayNotice::PermitWanted { address: ADDRESS.to_owned() });
    let heard = tokio::time::timeout(PATIENCE, nodes.noticed.recv()).await.unwrap().unwrap();
    assert!(matches!(heard.notice, GatewayNotice::PermitWanted { .. }));
    nodes
}

#[actix::test]
async fn the_permit_of_a_gateway_that_is_held_no_longer_is_settled() {
    let mut nodes = with_permit_wanted().await;
    nodes.handle.tell(GatewayCommand::Permit(AuthPermit::Granted { address: ADDRESS.to_owned(), device_token: None }));
    nodes.handle.shut_down();
    let heard = tokio::time::timeout(PATIENCE, nodes.noticed.recv()).await.unwrap().unwrap();
    assert!(matches!(heard.notice, GatewayNotice::AuthSettled { address, result: AuthResult::Unknown }
            if address == ADDRESS));
}

#[actix::test]
async fn each_of_two_permits_is_settled_whichever_is_given_back() {
    let mut nodes = with_permit_wanted().await;
    for address in [ADDRESS, "ws://192.0.2.8:18789"] {
        let permit = AuthPermit::Granted { address: address.to_owned(), device_token: None };
        nodes.handle.tell(GatewayCommand::Permit(permit));
        assert!(matches!(nodes.hears().await, GatewayCommand::Permit(_)));
    }
    nodes.says(3, GatewayNotice::AuthSettled { address: ADDRESS.to_owned(), result: AuthResult::NotFailed });
    let heard = tokio::time::timeout(PATIENCE, nodes.noticed.recv()).await.unwrap().unwrap();
    assert!(matches!(heard.notice, GatewayNotice::AuthSettled { result: AuthResult::NotFailed, .. }));
    nodes.handle.shut_down();
    let heard = tokio::time::timeout(PATIENCE, nodes.noticed.recv()).await.unwrap().unwrap();
    assert!(matches!(heard.notice, GatewayNotice::AuthSettled { address, result: AuthResult::Unknown }
            if address == "ws://192.0.2.8:18789"));
}

#[actix::test]
async fn a_permit_that_was_denied_is_not_settled() {
    let mut nodes = with_permit_wanted().await;
    nodes
        .handle
        .tell(GatewayCommand::Permit(AuthPermit::Denied { address: ADDRESS.to_owned(), retry_at: nodes.clock.now() }));
    assert!(matches!(nodes.hears().await, GatewayCommand::Permit(AuthPermit::Denied { .. })));
    settles_nothing_at_its_end(nodes).await;
}

#[actix::test]
async fn a_permit_whose_turn_has_not_come_is_not_settled() {
    settles_nothing_at_its_end(with_permit_wanted().await).await;
}

async fn settles_nothing_at_its_end(mut nodes: Nodes) {
    nodes.handle.shut_down();
    assert!(matches!(nodes.hears().await, GatewayCommand::ShutDown(_)));
    assert!(nodes.noticed.try_recv().is_err(), "nothing was reserved");
}

#[actix::test]
async fn what_an_actor_says_comes_with_its_incarnation_and_what_it_counts_is_counted_where_it_is_shown() {
    let mut nodes = Nodes::new().await;
    let report = GatewayReport { orders: 2, ..GatewayReport::unknown(5) };
    nodes.metrics.publish_gateway(&record(), &report, false);
    nodes.says(2, GatewayNotice::Report(Box::new(GatewayReport::unknown(1))));
    nodes.says(3, GatewayNotice::Count(Count::Reconnect));
    nodes.says(3, GatewayNotice::Report(Box::new(report.clone())));
    let heard = tokio::time::timeout(PATIENCE, nodes.noticed.recv()).await.unwrap().unwrap();
    assert_eq!((heard.id, heard.incarnation), (ID, 3), "a late word of an earlier actor is dropped");
    assert!(matches!(heard.notice, GatewayNotice::Report(told) if *told == report));
    let rendered = nodes.metrics.render();
    assert!(rendered.contains("gatewarden_reconnects_total{gateway=\"7\"} 1\n"), "{rendered}");
}

#[actix::test]
async fn a_log_is_followed_over_the_other_node_until_its_follower_is_gone() {
    let mut nodes = Nodes::new().await;
    let request = LogRequest { begin: LogBegin::Newest(5), level: None };
    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::WatchLogs(request, reply));
    let GatewayCommand::WatchLogs(arrived, reply) = nodes.hears().await else { panic!("another one") };
    assert_eq!(arrived, request);
    let (feed, subscription) = relayed(request, &nodes.metrics, None);
    reply.send(Ok(subscription)).unwrap();
    let subscription: LogSubscription = asked.await.unwrap().unwrap();
    feed.entries(&[Arc::new(LogEntry::plain("hello"))], None);
    feed.notice(LogDelivery::Interrupted);
    let Some(LogDelivery::Entry { entry, .. }) = subscription.next().await else { panic!("no entry") };
    assert_eq!(entry.message, "hello");
    assert_eq!(subscription.next().await, Some(LogDelivery::Interrupted));
    drop(subscription);
    until("it is left there, too", || !feed.is_read()).await;

    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::WatchLogs(request, reply));
    let GatewayCommand::WatchLogs(_, reply) = nodes.hears().await else { panic!("another one") };
    let (feed, subscription) = relayed(request, &nodes.metrics, None);
    reply.send(Ok(subscription)).unwrap();
    let subscription = asked.await.unwrap().unwrap();
    drop(feed);
    assert_eq!(subscription.next().await, None, "it ends where it ends there");
}

#[actix::test]
async fn an_actor_that_dies_there_is_not_alive_and_its_node_still_is() {
    let nodes = Nodes::new().await;
    let asked = nodes.handle.ask::<Result<LookedUp, Failure>>(PATIENCE, |reply| {
        let question = LookUpRun { run_id: "x".to_owned(), session_key: None, timeout: PATIENCE };
        GatewayCommand::LookUpRun(question, reply)
    });
    let puppet = nodes.started.borrow()[0].puppet.clone();
    puppet.do_send(GatewayCommand::ShutDown(tokio::sync::oneshot::channel().0));
    until("it is known to be gone", || !nodes.handle.is_alive()).await;
    assert!(!nodes.handle.has_lost_its_node());
    drop(nodes.heard);
    assert_eq!(asked.await.unwrap_err(), NoAnswer::Ended, "nobody knows what came of it");
}

#[actix::test]
async fn all_gateways_of_a_node_that_carries_no_more_are_lost_with_it_and_their_actors_end() {
    let mut nodes = Nodes::new().await;
    let asked = nodes.handle.ask(PATIENCE, |reply| GatewayCommand::StartRun(Arc::new(spawn_request()), reply));
    let GatewayCommand::StartRun(_, _reply) = nodes.hears().await else { panic!("another one") };
    drop(nodes.carries);
    assert_eq!(asked.await.unwrap_err(), NoAnswer::Ended);
    until("the node is known to be gone", || nodes.handle.has_lost_its_node()).await;
    assert!(!nodes.handle.is_alive());
    let ended = tokio::time::timeout(PATIENCE, nodes.heard.recv()).await.unwrap();
    assert!(matches!(ended, Some(GatewayCommand::ShutDown(_))));
}

#[actix::test]
async fn the_other_node_may_act_as_long_as_the_one_that_acts_and_goes_by_its_wall_clock() {
    let nodes = Nodes::new().await;
    until("it may act", || nodes.may_act_there()).await;
    let wall_ms = nodes.carried_right.borrow().as_ref().unwrap().1.wall_ms();
    assert!((wall_ms - nodes.clock.wall_ms()).abs() < 50, "{wall_ms}");
    // The database is silent: the right isn't renewed.
    tokio::time::sleep(Duration::from_millis(VALID_MS as u64 - 100)).await;
    while nodes.right.holds(nodes.clock.uptime_ms()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!nodes.may_act_there(), "never longer than where it comes from");
    nodes.right.set(nodes.clock.uptime_ms() + VALID_MS);
    until("it may act again", || nodes.may_act_there()).await;
}

#[actix::test]
async fn a_node_that_acts_no_longer_has_nothing_carried_and_neither_has_one_of_another_release() {
    tokio::time::pause();
    let (clock, metrics) = (Clock::simulated(0, 1), Arc::new(Metrics::new()));
    let (here, there) = tokio::io::duplex(64 * 1024);
    let other = other_node(there, 5, &clock);
    let late = carrier(here, &clock, &metrics, &RightToAct::always());
    until("it is refused", || !late.connected()).await;
    assert!(other.started.borrow().is_empty(), "another one acts under epoch 5");

    let (here, there) = tokio::io::duplex(64 * 1024);
    let other = other_node(there, 4, &clock);
    let (outbox, _, _incoming) = link::open::<Value>(here);
    let hello = json!({"Hello": {"version": "0.0.1", "epoch": 4, "device_seed": "07".repeat(32)}});
    assert!(outbox.push(&hello));
    tokio::time::sleep(PATIENCE).await;
    assert!(other.right.borrow().is_none(), "it starts nothing");
}

#[actix::test]
async fn a_node_that_falls_silent_is_given_up() {
    tokio::time::pause();
    let (clock, metrics) = (Clock::simulated(0, 1), Arc::new(Metrics::new()));
    let (here, there) = tokio::io::duplex(64 * 1024);
    let frozen = carrier(here, &clock, &metrics, &RightToAct::always());
    tokio::time::sleep(Duration::from_millis(2_900)).await;
    assert!(frozen.connected());
    until("it is given up", || !frozen.connected()).await;
    assert!(clock.uptime_ms() <= 4_000, "{}", clock.uptime_ms());
    drop(there);
}
