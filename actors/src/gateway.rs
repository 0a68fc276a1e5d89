//! The `Gateway` actor: one per registered gateway. A thin shell around [`crate::machines::connection`]: it owns the socket
//! halves and the clock, feeds the connection its inputs and carries out its effects.
//!
//! | file | does |
//! | --- | --- |
//! | `network` | opens and closes the socket and the HTTP conversation, and tries beside both |
//! | `followers` | who follows the gateway's log |
//!
//! Nothing here decides; no await in here waits for another actor.

mod followers;
mod network;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::{Stream, StreamExt as _, stream};
use gatewarden_protocol::{DeviceIdentity, Method};
use serde_json::Value;
use tokio::sync::oneshot;
use tracing::{debug, info};

use self::followers::Followers;
use self::network::Network;
use crate::clock::Clock;
use crate::clock_watch::LOOK_EVERY;
use crate::cluster::{NO_LEASE, RightToAct, not_acting};
use crate::deadline_timer::DeadlineTimer;
use crate::dialing::memory_budget::{Decoding, MemoryPermit};
use crate::dialing::{Dialer, Held, Incoming, MemoryAccount, Outgoing, SocketError};
use crate::error::Failure;
use crate::gateway_record::SharedRecord;
use crate::gateway_report::ProbeOutcome;
use crate::ids::GatewayId;
use crate::log_watch::{LogRequest, LogSubscription};
use crate::machines::connection::{
    AuthPermit, CallToken, Connection, ConnectionParts, Effect, Epoch, GatewayNotice, Moment, ProbeToken,
};
use crate::machines::placement::HeldBy;
use crate::metrics::Metrics;
use crate::settings::GatewaySettings;
use crate::spawn::{Certainty, ControlSession, LookUpRun, LookedUp, NoAnswer, NotAccepted, SpawnRecord, SpawnRequest};

/// Messages that may wait for one gateway's actor.
const MAILBOX: usize = 512;

/// Where the answer to a command goes. It is dropped unanswered where the actor ends before.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// Everything that a `Gateway` actor may be told.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) enum GatewayCommand {
    /// Go on with this record.
    Update(SharedRecord),
    /// Drop the connection and dial now.
    Reconnect,
    /// The answer to a permit that was wanted. One is under way per gateway, so this never piles up.
    Permit(AuthPermit),
    /// Give up this run.
    ForgetRun(String),
    /// Check the gateway now; answered at the latest after `timeout`, for all steps together.
    Probe { timeout: Duration, reply: Reply<ProbeOutcome> },
    /// Send one request (`params` is an object) and wait for its first reply.
    /// Fails with `gateway_unavailable`, `gateway_timeout`, `gateway_refused`, `gateway_busy` or `not_supported_by_gateway`.
    Call { method: String, params: Value, timeout: Duration, reply: Reply<Result<Held<Value>, Failure>> },
    /// Start the run of a spawn, which is recorded, and never twice on a gateway that may have taken it. Answered with the record, as the
    /// acceptance tells; what follows comes as a notice.
    StartRun(Arc<SpawnRequest>, Reply<Result<SpawnRecord, NotAccepted>>),
    /// What became of a run?
    LookUpRun(LookUpRun, Reply<Result<LookedUp, Failure>>),
    /// Control what runs in a session.
    Control(ControlSession, Reply<Result<Held<Value>, Failure>>),
    /// Follow the gateway's log. Answered once the first entries are there; what follows comes through the subscription, also
    /// after the gateway was away, until it is dropped or this actor ends.
    /// Fails with `not_supported_by_gateway`, `gateway_unavailable`, `gateway_busy`, `gateway_timeout` or `gateway_refused`.
    WatchLogs(LogRequest, Reply<Result<LogSubscription, Failure>>),
    /// Close the socket with a reason, fail what is pending, stop. Answered when done.
    ShutDown(Reply<()>),
}

/// The way to one `Gateway` actor.
#[derive(Clone)]
pub struct GatewayHandle {
    way: Way,
    held_by: HeldBy,
}

#[derive(Clone)]
enum Way {
    Here(Recipient<GatewayCommand>),
    /// To one that another node carries.
    Carried(Arc<dyn CarriedWay>),
}

/// The way to an actor of another node.
pub(crate) trait CarriedWay: Send + Sync {
    /// Whether the actor is alive, and its node there.
    fn is_alive(&self) -> bool;

    /// Whether its node is there.
    fn has_node(&self) -> bool;

    /// Hands over what must not be lost, as long as the node is there.
    fn tell(&self, command: GatewayCommand);

    /// Hands over a command; false where too much waits for the node.
    fn try_tell(&self, command: GatewayCommand) -> bool;
}

impl From<Addr<GatewayActor>> for GatewayHandle {
    fn from(actor: Addr<GatewayActor>) -> Self {
        Self::new(actor.recipient(), HeldBy::Here)
    }
}

impl GatewayHandle {
    /// To the actor of this node that takes these commands.
    pub(crate) fn new(commands: Recipient<GatewayCommand>, held_by: HeldBy) -> Self {
        Self { way: Way::Here(commands), held_by }
    }

    /// To one that the node of this name carries.
    pub(crate) fn carried(way: Arc<dyn CarriedWay>, node: Arc<str>) -> Self {
        Self { way: Way::Carried(way), held_by: HeldBy::Node(node) }
    }

    /// Where the connection is held.
    pub(crate) fn held_by(&self) -> &HeldBy {
        &self.held_by
    }

    /// The other node that holds the connection.
    pub(crate) fn other_node(&self) -> Option<Arc<str>> {
        match &self.held_by {
            HeldBy::Node(node) => Some(node.clone()),
            HeldBy::Here | HeldBy::Nobody(_) => None,
        }
    }

    /// Whether the actor is alive. False for good once it stopped or panicked, or the node that carries it is gone.
    pub(crate) fn is_alive(&self) -> bool {
        match &self.way {
            Way::Here(commands) => commands.connected(),
            Way::Carried(carried) => carried.is_alive(),
        }
    }

    /// Whether it is not the actor that failed, but the node that carried it.
    pub(crate) fn has_lost_its_node(&self) -> bool {
        matches!(&self.way, Way::Carried(carried) if !carried.has_node())
    }

    /// Hands over what needs no answer and must not be lost. Its sender sees to it that only few are under way.
    pub(crate) fn tell(&self, command: GatewayCommand) {
        match &self.way {
            Way::Here(commands) => commands.do_send(command),
            Way::Carried(carried) => carried.tell(command),
        }
    }

    /// Ends the actor, and doesn't wait for it.
    pub(crate) fn shut_down(&self) {
        self.tell(GatewayCommand::ShutDown(oneshot::channel().0));
    }

    /// Hands over a command and waits for its answer. It is handed over before this returns, if it is at all.
    pub(crate) fn ask<T: 'static>(
        &self,
        within: Duration,
        command: impl FnOnce(Reply<T>) -> GatewayCommand,
    ) -> ResponseFuture<Result<T, NoAnswer>> {
        let (reply, answer) = oneshot::channel();
        let is_sent = match &self.way {
            Way::Here(commands) => commands.try_send(command(reply)).is_ok(),
            Way::Carried(carried) => carried.try_tell(command(reply)),
        };
        Box::pin(async move {
            is_sent.then_some(()).ok_or(NoAnswer::NotTaken)?;
            match tokio::time::timeout(within, answer).await {
                Ok(answer) => answer.map_err(|_| NoAnswer::Ended),
                Err(_) => Err(NoAnswer::Late),
            }
        })
    }
}

impl std::fmt::Debug for GatewayHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayHandle").field("held_by", &self.held_by).finish_non_exhaustive()
    }
}

/// From a `Gateway` actor to whoever supervises it (the registry; a recorder in tests).
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct FromGateway {
    /// Who says it.
    pub id: GatewayId,
    /// The incarnation that says it: a restarted actor has a higher one, and a late word of the old one is ignored.
    pub incarnation: u64,
    /// What it says.
    pub notice: GatewayNotice,
}

/// What a `Gateway` actor is made of.
#[derive(Clone)]
pub struct GatewayParts {
    /// The stored record.
    pub record: SharedRecord,
    /// Which start of this gateway's actor it is; told with every notice.
    pub incarnation: u64,
    /// Times and bounds.
    pub settings: Arc<GatewaySettings>,
    /// This installation's device.
    pub identity: Arc<DeviceIdentity>,
    /// Reaches gateways.
    pub dialer: Arc<dyn Dialer>,
    /// Who gets the notices: the registry, or a recorder in tests.
    pub supervisor: Recipient<FromGateway>,
    /// Time and chance.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Without it nothing is sent that changes anything.
    pub right: RightToAct,
    /// Names this run of the daemon to gateways.
    pub instance_id: String,
    /// The daemon's version, told to gateways.
    pub version: String,
    /// Whether it is carried for another node, which counts what happens.
    pub is_carried: bool,
}

/// Who waits for an answer of the connection.
enum Waiting {
    Call(Reply<Result<Held<Value>, Failure>>),
    Run(Reply<Result<SpawnRecord, NotAccepted>>),
    LookUp(Reply<Result<LookedUp, Failure>>),
    Probe(Reply<ProbeOutcome>),
}

/// What a socket says, with its epoch; `None` is its end.
struct Heard {
    epoch: Epoch,
    item: Option<Result<Incoming, SocketError>>,
}

/// Holds one connection to one gateway and says what is known of it.
pub struct GatewayActor {
    id: GatewayId,
    incarnation: u64,
    connection: Connection,
    dialer: Arc<dyn Dialer>,
    memory: MemoryAccount,
    /// Covers what is kept between two messages.
    kept: MemoryPermit,
    /// Covers the values of the message that is being handled.
    decoded: Option<MemoryPermit>,
    supervisor: Recipient<FromGateway>,
    clock: Clock,
    metrics: Arc<Metrics>,
    right: RightToAct,
    is_carried: bool,
    network: Network,
    timer: DeadlineTimer,
    waiting: HashMap<u64, Waiting>,
    followers: Followers,
    last_token: u64,
}

impl GatewayActor {
    /// An actor that dials as soon as it is started and has a permit.
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts { record, settings, identity, version, instance_id, .. } = parts;
        let GatewayParts { incarnation, dialer, supervisor, clock, metrics, right, is_carried, .. } = parts;
        let id = record.id;
        let moment = moment_of(&clock);
        let memory = dialer.memory().account();
        Self {
            id,
            incarnation,
            connection: Connection::new(ConnectionParts { record, settings, identity, version, instance_id }, moment),
            kept: memory.permit(),
            memory,
            decoded: None,
            dialer,
            supervisor,
            clock,
            metrics,
            right,
            is_carried,
            network: Network::default(),
            timer: DeadlineTimer::default(),
            waiting: HashMap::new(),
            followers: Followers::default(),
            last_token: 0,
        }
    }

    /// Starts one on an arbiter. It stays there: its sockets belong to that thread.
    pub fn start_in(arbiter: &ArbiterHandle, parts: GatewayParts) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |_| Self::new(parts))
    }

    /// One input: the connection decides, the effects are carried out, the timer is set to what is due next.
    fn feed(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Connection, Moment)) {
        self.tell_connection(input);
        self.perform(ctx);
    }

    /// One input with something to decode, at the expense of this gateway's account. What an answer takes along is covered until
    /// whoever asked has done with it.
    fn feed_decoding(
        &mut self,
        ctx: &mut Context<Self>,
        permit: Option<MemoryPermit>,
        input: impl FnOnce(&mut Connection, Moment, &mut Decoding<'_>),
    ) {
        let mut permit = permit.unwrap_or_else(|| self.memory.permit());
        input(&mut self.connection, moment_of(&self.clock), &mut permit.decoding());
        self.decoded = Some(permit);
        self.perform(ctx);
    }

    /// An input whose effects the loop that is under way carries out.
    fn tell_connection(&mut self, input: impl FnOnce(&mut Connection, Moment)) {
        input(&mut self.connection, moment_of(&self.clock));
    }

    fn perform(&mut self, ctx: &mut Context<Self>) {
        self.perform_all(ctx);
        // The values are gone, but for what was kept of them: that is covered, or given up.
        self.decoded = None;
        if let Err(excess) = self.kept.set_to(self.connection.held_bytes()) {
            let error = SocketError::OutOfMemory(excess);
            self.tell_connection(|connection, moment| {
                connection.on_socket_failed(moment, connection.epoch(), &error);
            });
            self.perform_all(ctx);
            // What is left is less than was covered before.
            let _ = self.kept.set_to(self.connection.held_bytes());
        }
        self.rearm(ctx);
    }

    /// Carries out all effects, in order; carrying one out may cause more.
    fn perform_all(&mut self, ctx: &mut Context<Self>) {
        loop {
            let effects = self.connection.take_effects(moment_of(&self.clock));
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.perform_one(effect, ctx);
            }
        }
    }

    fn perform_one(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Notify(notice) => self.notify(notice),
            Effect::Dial(epoch, request) => self.dial(epoch, *request, ctx),
            Effect::Http { epoch, id, operation, timeout } => self.ask_http(epoch, id, operation, timeout, ctx),
            // It may have waited for what must be set before.
            Effect::Send { starts: Some(call), .. } if !self.may_act() => {
                self.tell_connection(|connection, moment| connection.on_run_unsent(moment, call))
            }
            Effect::Send { epoch, text, starts } => {
                self.send(epoch, starts, |outgoing| outgoing.try_send_text(text));
            }
            Effect::Ping(epoch, payload) => self.send(epoch, None, |outgoing| outgoing.ping(payload)),
            Effect::Pong(epoch, payload) => self.send(epoch, None, |outgoing| outgoing.pong(payload)),
            Effect::RaiseCap(epoch, bytes) => self.raise_cap(epoch, bytes),
            Effect::Close { epoch, code, reason } => self.close(epoch, code, reason, ctx),
            Effect::ProbeUnconnected { round, timeout } => self.probe_beside(round, timeout, ctx),
            Effect::Answer(CallToken(token), result) => {
                if let Some(Waiting::Call(reply)) = self.waiting.remove(&token) {
                    let result = result.map(|answer| Held::new(answer, self.decoded.take()));
                    // A caller that went away needs no answer; nor do those below.
                    let _ = reply.send(result);
                }
            }
            Effect::AnswerRun(CallToken(token), result) => {
                if let Some(Waiting::Run(reply)) = self.waiting.remove(&token) {
                    let _ = reply.send(*result);
                }
            }
            Effect::AnswerFinding(CallToken(token), result) => {
                if let Some(Waiting::LookUp(reply)) = self.waiting.remove(&token) {
                    let _ = reply.send(result);
                }
            }
            Effect::AnswerProbe(ProbeToken(token), outcome) => {
                if let Some(Waiting::Probe(reply)) = self.waiting.remove(&token) {
                    let _ = reply.send(*outcome);
                }
            }
            Effect::Logs(news) => self.followers.tell(news, &self.metrics),
            Effect::Count(count) if self.is_carried => self.notify(GatewayNotice::Count(count)),
            Effect::Count(count) => self.metrics.count(self.id, &count),
            // Phases are for debugging: a gateway that is down goes through them twice a minute. The line for operators is
            // the one on the change of status, which the registry writes.
            Effect::PhaseChanged { from, to, reason } => {
                let (id, name) = (self.id.0, &self.connection.record().name);
                let (from, to) = (from.as_str(), to.as_str());
                debug!(gateway.id = id, gateway.name = %name, from, to, reason, "gateway phase changed");
            }
            Effect::SpawnAccepted(spawn_id, method) => {
                info!(spawn.id = %spawn_id, gateway.id = self.id.0, method, "spawn accepted");
            }
            Effect::Remark(words) => {
                debug!(gateway.id = self.id.0, gateway.name = %self.connection.record().name, "{words}");
            }
        }
    }

    /// Queues something; a queue that takes nothing more means that the socket is of no use. A frame that isn't queued has
    /// certainly not left, which the connection must know of one that starts a run.
    fn send(
        &mut self,
        epoch: Epoch,
        starts: Option<CallToken>,
        push: impl FnOnce(&Outgoing) -> Result<(), SocketError>,
    ) {
        let queued = match self.network.socket(epoch) {
            Some(socket) => push(&socket.outgoing),
            None if starts.is_some() => Err(SocketError::Closed),
            None => Ok(()),
        };
        if let Err(error) = queued {
            if let Some(call) = starts {
                self.tell_connection(|connection, moment| connection.on_run_unsent(moment, call));
            }
            self.tell_connection(|connection, moment| connection.on_socket_failed(moment, epoch, &error));
        }
    }

    fn message(
        &mut self,
        epoch: Epoch,
        content: impl AsRef<[u8]>,
        permit: Option<MemoryPermit>,
        ctx: &mut Context<Self>,
    ) {
        self.feed_decoding(ctx, permit, |connection, moment, meter| {
            connection.on_message(moment, epoch, content.as_ref(), meter);
            drop(content);
            meter.keep_values();
        });
    }

    /// Reports are throttled by the connection, so that what waits for the supervisor stays small.
    fn notify(&self, notice: GatewayNotice) {
        if !self.is_carried {
            self.metrics.notice_sent();
        }
        self.supervisor.do_send(FromGateway { id: self.id, incarnation: self.incarnation, notice });
    }

    /// Arms the timer for what is due next.
    fn rearm(&mut self, ctx: &mut Context<Self>) {
        let moment = moment_of(&self.clock);
        let due = self.connection.next_deadline(moment);
        self.timer.arm(ctx, moment.now, due, |actor: &mut Self, ctx, armed| {
            if actor.timer.expire(armed) {
                actor.drop_gone_followers();
                actor.feed(ctx, Connection::on_deadline);
            }
        });
    }

    fn may_act(&self) -> bool {
        self.right.holds(self.clock.uptime_ms())
    }

    fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    fn wait(&mut self, waiting: Waiting) -> u64 {
        let token = self.next_token();
        self.waiting.insert(token, waiting);
        token
    }
}

impl Actor for GatewayActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.feed(ctx, Connection::start);
    }
}

impl Handler<GatewayCommand> for GatewayActor {
    type Result = ();

    fn handle(&mut self, command: GatewayCommand, ctx: &mut Self::Context) {
        match command {
            GatewayCommand::Call { method, reply, .. } if !is_read(&method) && !self.may_act() => {
                let _ = reply.send(Err(not_acting(NO_LEASE)));
            }
            GatewayCommand::StartRun(_, reply) if !self.may_act() => {
                let _ = reply.send(Err(NotAccepted { failure: not_acting(NO_LEASE), certainty: Certainty::NotTaken }));
            }
            GatewayCommand::Control(_, reply) if !self.may_act() => {
                let _ = reply.send(Err(not_acting(NO_LEASE)));
            }
            GatewayCommand::Update(record) => {
                self.feed(ctx, |connection, moment| connection.update_record(moment, record))
            }
            GatewayCommand::Reconnect => self.feed(ctx, Connection::reconnect),
            GatewayCommand::Permit(permit) => self.feed(ctx, |connection, moment| connection.on_permit(moment, permit)),
            GatewayCommand::ForgetRun(run_id) => self.feed(ctx, |connection, _| connection.forget_run(&run_id)),
            GatewayCommand::Probe { timeout, reply } => {
                let probe = ProbeToken(self.wait(Waiting::Probe(reply)));
                self.feed(ctx, |connection, moment| connection.probe(moment, probe, timeout));
            }
            GatewayCommand::Call { method, params, timeout, reply } => {
                let call = CallToken(self.wait(Waiting::Call(reply)));
                self.feed(ctx, |connection, moment| connection.call(moment, call, &method, &params, timeout));
            }
            GatewayCommand::StartRun(request, reply) => {
                let call = CallToken(self.wait(Waiting::Run(reply)));
                self.feed(ctx, |connection, moment| connection.start_run(moment, call, &request));
            }
            GatewayCommand::LookUpRun(wanted, reply) => {
                let call = CallToken(self.wait(Waiting::LookUp(reply)));
                self.feed(ctx, |connection, moment| connection.look_up_run(moment, call, wanted));
            }
            GatewayCommand::Control(control, reply) => {
                let call = CallToken(self.wait(Waiting::Call(reply)));
                self.feed(ctx, |connection, moment| connection.control(moment, call, control));
            }
            GatewayCommand::WatchLogs(request, reply) => self.let_follower_in(request, reply, ctx),
            GatewayCommand::ShutDown(reply) => {
                self.feed(ctx, Connection::shut_down);
                // Whoever only wanted it stopped doesn't wait.
                let _ = reply.send(());
                // The close frame is queued; the socket's own task writes it after this actor is gone.
                ctx.stop();
            }
        }
    }
}

/// All that a socket says.
fn hear(epoch: Epoch, incoming: impl Stream<Item = Result<Incoming, SocketError>>) -> impl Stream<Item = Heard> {
    let heard = incoming.map(move |item| Heard { epoch, item: Some(item) });
    heard.chain(stream::once(async move { Heard { epoch, item: None } }))
}

impl StreamHandler<Heard> for GatewayActor {
    fn handle(&mut self, Heard { epoch, item }: Heard, ctx: &mut Self::Context) {
        match item {
            Some(Ok(Incoming::Text(text, permit))) => self.message(epoch, text, permit, ctx),
            Some(Ok(Incoming::Binary(bytes, permit))) => self.message(epoch, bytes, permit, ctx),
            Some(Ok(Incoming::Ping(payload))) => {
                self.feed(ctx, |connection, moment| connection.on_ping(moment, epoch, payload));
            }
            Some(Ok(Incoming::Pong(payload))) => {
                self.feed(ctx, |connection, moment| connection.on_pong(moment, epoch, &payload));
            }
            Some(Ok(Incoming::Close { code, reason })) => {
                let code = code.or(Some(1005));
                self.feed(ctx, |connection, moment| connection.on_closed(moment, epoch, code, &reason));
            }
            Some(Err(error)) => {
                self.feed(ctx, |connection, moment| connection.on_socket_failed(moment, epoch, &error));
            }
            None => self.feed(ctx, |connection, moment| connection.on_closed(moment, epoch, None, "")),
        }
    }

    /// The end of one socket is not the end of the actor.
    fn finished(&mut self, _ctx: &mut Self::Context) {}
}

fn is_read(method: &str) -> bool {
    Method::from_name(method).is_some_and(Method::is_read)
}

fn moment_of(clock: &Clock) -> Moment {
    // Before `now`: what begins at this moment began after it.
    let woke = clock.woke(LOOK_EVERY);
    Moment { now: clock.now(), wall_ms: clock.wall_ms(), jitter: clock.random_unit(), woke }
}

#[cfg(test)]
mod tests;
