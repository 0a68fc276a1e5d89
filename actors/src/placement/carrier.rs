//! At the node that acts: another one that carries gateways for it. What their actors are told goes there, what they say comes back.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::prelude::*;
use gatewarden_protocol::Secret;
use tokio::sync::oneshot;
use tracing::warn;

use super::link::{ALIVE_EVERY, Link, Outbox, Received, is_too_long, open};
use super::messages::{Answer, Apart, AskId, FromCarried, Permit, Question, ToCarried, VERSION};
use crate::clock::Clock;
use crate::cluster::RightToAct;
use crate::dialing::Held;
use crate::error::{ErrorCode, Failure};
use crate::gateway::{CarriedWay, FromGateway, GatewayCommand, GatewayHandle, Reply};
use crate::gateway_record::SharedRecord;
use crate::gateway_report::ProbeOutcome;
use crate::ids::GatewayId;
use crate::log_watch::{LogFeed, LogRequest, LogSubscription, relayed};
use crate::machines::connection::{AuthPermit, AuthResult, GatewayNotice};
use crate::metrics::Metrics;
use crate::spawn::{Certainty, LookedUp, NotAccepted, SpawnRecord};

/// Messages that may wait for it where their sender can take a no.
const MAILBOX: usize = 4_096;

/// What a [`CarrierActor`] is made of.
pub struct CarrierParts {
    /// The other node's name.
    pub node: Arc<str>,
    /// The epoch of the role under which this node acts.
    pub epoch: i64,
    /// The seed of the installation's device, in hexadecimal digits.
    pub device_seed: Secret,
    /// This node's right to act.
    pub right: RightToAct,
    /// Time.
    pub clock: Clock,
    /// Counters: what happens to a gateway is counted where it is shown.
    pub metrics: Arc<Metrics>,
}

/// Another node that carries gateways for this one. It ends with the connection, and its gateways' actors with it.
pub struct CarrierActor {
    parts: CarrierParts,
    outbox: Outbox,
    gateways: HashMap<GatewayId, CarriedGateway>,
    waiting: HashMap<AskId, Waiting>,
    feeds: HashMap<AskId, LogFeed>,
    last_ask: AskId,
    received: Received,
    heard_ms: i64,
    /// Told once the other node carries.
    accepted: Option<oneshot::Sender<()>>,
    /// Dropped with it.
    _until_end: oneshot::Sender<()>,
}

struct CarriedGateway {
    incarnation: u64,
    supervisor: Recipient<FromGateway>,
    is_alive: Arc<AtomicBool>,
    /// The addresses for which it has a permit to log in, and hasn't told how that ended.
    permits: Vec<String>,
}

enum Waiting {
    Probe(Reply<ProbeOutcome>),
    Value(Reply<Result<Held<serde_json::Value>, Failure>>),
    Run(Reply<Result<SpawnRecord, NotAccepted>>),
    LookUp(Reply<Result<LookedUp, Failure>>),
    Logs(LogRequest, Reply<Result<LogSubscription, Failure>>),
}

/// The way to the actor of one gateway that another node carries.
#[derive(Clone)]
struct Carried {
    id: GatewayId,
    carrier: Addr<CarrierActor>,
    is_alive: Arc<AtomicBool>,
}

impl CarriedWay for Carried {
    fn is_alive(&self) -> bool {
        self.has_node() && self.is_alive.load(Ordering::Acquire)
    }

    fn has_node(&self) -> bool {
        self.carrier.connected()
    }

    fn tell(&self, command: GatewayCommand) {
        self.carrier.do_send(Tell(self.id, command));
    }

    fn try_tell(&self, command: GatewayCommand) -> bool {
        self.carrier.try_send(Tell(self.id, command)).is_ok()
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tell(GatewayId, GatewayCommand);

#[derive(Message)]
#[rtype(result = "()")]
struct Carry {
    record: SharedRecord,
    gateway: CarriedGateway,
}

/// Has a gateway carried by the node of this name.
pub(super) fn start(
    carrier: &Addr<CarrierActor>,
    node: Arc<str>,
    record: SharedRecord,
    incarnation: u64,
    supervisor: Recipient<FromGateway>,
) -> GatewayHandle {
    let is_alive = Arc::new(AtomicBool::new(true));
    let carried = Carried { id: record.id, carrier: carrier.clone(), is_alive: is_alive.clone() };
    carrier
        .do_send(Carry { record, gateway: CarriedGateway { incarnation, supervisor, is_alive, permits: Vec::new() } });
    GatewayHandle::carried(Arc::new(carried), node)
}

impl CarrierActor {
    /// Starts it on the current arbiter, over a connection to the other node. What is returned beside it resolves once that node
    /// carries, and at its end.
    pub fn start(parts: CarrierParts, link: impl Link) -> (Addr<Self>, oneshot::Receiver<()>, oneshot::Receiver<()>) {
        let ((until_end, ended), (accepts, accepted)) = (oneshot::channel(), oneshot::channel());
        let addr = Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let (outbox, received, incoming) = open::<FromCarried>(link);
            ctx.add_stream(incoming);
            Self {
                heard_ms: parts.clock.uptime_ms(),
                parts,
                outbox,
                gateways: HashMap::new(),
                waiting: HashMap::new(),
                feeds: HashMap::new(),
                last_ask: 0,
                received,
                accepted: Some(accepts),
                _until_end: until_end,
            }
        });
        (addr, accepted, ended)
    }

    fn push(&self, message: &ToCarried, ctx: &mut Context<Self>) {
        if !self.outbox.push(message) {
            warn!(node.name = %self.parts.node, "node {} does not take what is said to it", self.parts.node);
            ctx.stop();
        }
    }

    fn ask(&mut self, gateway: GatewayId, question: Question, waiting: Waiting, ctx: &mut Context<Self>) {
        self.last_ask += 1;
        let ask = self.last_ask;
        self.waiting.insert(ask, waiting);
        self.push(&ToCarried::Ask { gateway, ask, question }, ctx);
    }

    /// Whoever doesn't wait any more needs no answer. Where the kinds differ the answer is dropped, which says as much.
    fn on_answer(&mut self, ask: AskId, answer: Answer, ctx: &mut Context<Self>) {
        match (self.waiting.remove(&ask), answer) {
            (Some(Waiting::Probe(reply)), Answer::Probe(outcome)) => drop(reply.send(*outcome)),
            (Some(Waiting::Value(reply)), Answer::Value(result)) => {
                drop(reply.send(result.map(|Apart(value)| Held::from(value))));
            }
            (Some(Waiting::Run(reply)), Answer::Nobody) => {
                let words = format!("Node {} does not hold the gateway any more", self.parts.node);
                let failure = Failure::new(ErrorCode::GatewayUnavailable, words).with_help("Try again in a second.");
                drop(reply.send(Err(NotAccepted { failure, certainty: Certainty::NotTaken })));
            }
            (Some(Waiting::Run(reply)), Answer::Run(result)) => drop(reply.send(result.map(|record| *record))),
            (Some(Waiting::LookUp(reply)), Answer::LookUp(result)) => drop(reply.send(result)),
            (Some(Waiting::Logs(request, reply)), Answer::Logs(Ok(begins_at))) => {
                let (feed, subscription) = relayed(request, &self.parts.metrics, begins_at);
                if reply.send(Ok(subscription)).is_ok() {
                    self.feeds.insert(ask, feed);
                } else {
                    self.push(&ToCarried::LeaveLog(ask), ctx);
                }
            }
            (Some(Waiting::Logs(_, reply)), Answer::Logs(Err(failure))) => drop(reply.send(Err(failure))),
            _ => {}
        }
    }

    fn on_notice(&mut self, id: GatewayId, incarnation: u64, notice: GatewayNotice) {
        let gateway = self.gateways.get_mut(&id).filter(|gateway| gateway.incarnation == incarnation);
        let Some(gateway) = gateway else { return };
        match &notice {
            GatewayNotice::Count(count) => return self.parts.metrics.count(id, count),
            GatewayNotice::AuthSettled { address, .. } => {
                let settled = gateway.permits.iter().position(|permitted| permitted == address);
                settled.into_iter().for_each(|settled| drop(gateway.permits.swap_remove(settled)));
            }
            _ => {}
        }
        self.parts.metrics.notice_sent();
        gateway.supervisor.do_send(FromGateway { id, incarnation, notice });
    }

    /// Ends it where the other node is silent, and asks no more for logs that nobody follows.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let now_ms = self.parts.clock.uptime_ms();
        if self.received.is_more() {
            self.heard_ms = now_ms;
        }
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        if is_too_long(silent_ms) {
            warn!(node.name = %self.parts.node, silent_ms, "node {} gives no sign of life", self.parts.node);
            return ctx.stop();
        }
        let left: Vec<AskId> = self.feeds.extract_if(|_, feed| !feed.is_read()).map(|(ask, _)| ask).collect();
        for ask in left {
            self.push(&ToCarried::LeaveLog(ask), ctx);
        }
    }
}

impl Actor for CarrierActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (version, epoch) = (VERSION.to_owned(), self.parts.epoch);
        self.push(&ToCarried::Hello { version, epoch, device_seed: self.parts.device_seed.clone() }, ctx);
        ctx.run_interval(ALIVE_EVERY, Self::look);
    }
}

impl Handler<Carry> for CarrierActor {
    type Result = ();

    fn handle(&mut self, Carry { record, gateway }: Carry, ctx: &mut Self::Context) {
        let (id, incarnation) = (record.id, gateway.incarnation);
        self.gateways.insert(id, gateway);
        self.push(&ToCarried::Start { record, incarnation }, ctx);
    }
}

impl Handler<Tell> for CarrierActor {
    type Result = ();

    fn handle(&mut self, Tell(id, command): Tell, ctx: &mut Self::Context) {
        match command {
            GatewayCommand::Update(record) => self.push(&ToCarried::Update(record), ctx),
            GatewayCommand::Reconnect => self.push(&ToCarried::Reconnect(id), ctx),
            GatewayCommand::Permit(AuthPermit::Granted { address, device_token }) => {
                if let Some(gateway) = self.gateways.get_mut(&id) {
                    gateway.permits.push(address.clone());
                }
                self.push(&ToCarried::Permit(id, Permit::Granted { address, device_token }), ctx);
            }
            GatewayCommand::Permit(AuthPermit::Denied { address, retry_at }) => {
                let wait = retry_at.saturating_duration_since(self.parts.clock.now());
                self.push(&ToCarried::Permit(id, Permit::Denied { address, wait }), ctx);
            }
            GatewayCommand::ForgetRun(run_id) => self.push(&ToCarried::ForgetRun(id, run_id), ctx),
            GatewayCommand::Probe { timeout, reply } => {
                self.ask(id, Question::Probe { timeout }, Waiting::Probe(reply), ctx);
            }
            GatewayCommand::Call { method, params, timeout, reply } => {
                self.ask(id, Question::Call { method, params, timeout }, Waiting::Value(reply), ctx);
            }
            GatewayCommand::StartRun(request, reply) => {
                let request = Arc::unwrap_or_clone(request);
                self.ask(id, Question::StartRun(Box::new(request)), Waiting::Run(reply), ctx);
            }
            GatewayCommand::LookUpRun(wanted, reply) => {
                self.ask(id, Question::LookUpRun(wanted), Waiting::LookUp(reply), ctx);
            }
            GatewayCommand::Control(control, reply) => {
                self.ask(id, Question::Control(control), Waiting::Value(reply), ctx);
            }
            GatewayCommand::WatchLogs(request, reply) => {
                self.ask(id, Question::WatchLogs(request), Waiting::Logs(request, reply), ctx);
            }
            GatewayCommand::ShutDown(reply) => {
                // What becomes of its login is not waited for: it counts as failed where that isn't known.
                if let Some(CarriedGateway { incarnation, supervisor, permits, .. }) = self.gateways.remove(&id) {
                    for address in permits {
                        let notice = GatewayNotice::AuthSettled { address, result: AuthResult::Unknown };
                        self.parts.metrics.notice_sent();
                        supervisor.do_send(FromGateway { id, incarnation, notice });
                    }
                }
                self.push(&ToCarried::Stop(id), ctx);
                let _ = reply.send(());
            }
        }
    }
}

impl StreamHandler<io::Result<FromCarried>> for CarrierActor {
    fn handle(&mut self, message: io::Result<FromCarried>, ctx: &mut Self::Context) {
        self.heard_ms = self.parts.clock.uptime_ms();
        match message {
            Ok(FromCarried::Alive { asked }) => {
                if let Some(accepted) = self.accepted.take() {
                    // Who no longer waits has seen its end.
                    let _ = accepted.send(());
                }
                let remaining_ms = self.parts.right.remaining_ms(self.parts.clock.uptime_ms());
                let wall_ms = self.parts.clock.wall_ms();
                self.push(&ToCarried::Right { asked, remaining_ms, wall_ms }, ctx);
            }
            Ok(FromCarried::Notice { gateway, incarnation, notice }) => self.on_notice(gateway, incarnation, notice),
            Ok(FromCarried::Answer { ask, answer }) => self.on_answer(ask, answer, ctx),
            Ok(FromCarried::Log { ask, delivery: Some(delivery) }) => {
                self.feeds.get(&ask).into_iter().for_each(|feed| feed.notice(delivery.clone()));
            }
            Ok(FromCarried::Log { ask, delivery: None }) => drop(self.feeds.remove(&ask)),
            Ok(FromCarried::Died { gateway, incarnation }) => {
                if let Some(died) = self.gateways.get(&gateway).filter(|one| one.incarnation == incarnation) {
                    died.is_alive.store(false, Ordering::Release);
                    self.gateways.remove(&gateway);
                }
            }
            Err(error) => {
                warn!(node.name = %self.parts.node, %error, "the connection to node {} broke", self.parts.node);
                ctx.stop();
            }
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
