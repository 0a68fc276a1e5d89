//! The one actor that owns the gateway's state: it feeds the machine and carries out its effects, in order.
//!
//! Connections, HTTP requests and child processes send it messages; it talks back through each connection's bounded
//! [`Outbound`] queue.

mod children;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{oneshot, watch};

use crate::auth::{Admission, Attempt};
use crate::call::{Call, CallError};
use crate::caller::ConnectionId;
use crate::channels::{Services, Update};
use crate::clock::{Now, SystemChance};
use crate::config::{ConfigFile, GatewayConfig};
use crate::cron::Poster;
use crate::effect::{ChannelKey, Effect, ProcessNews};
use crate::files::{Files, Order};
use crate::loading::Loaded;
use crate::log_sinks::LogSinks;
use crate::machine::GatewayMachine;
use crate::metrics::GatewayMetrics;
use crate::outbound::{Outbound, OutboundItem, Overflow, STOPPING};
use crate::turn::Turn;
use children::Children;

/// Reason of the close that a client gets which leaves too much unread (real gateways say the same).
const SLOW_CONSUMER: (u16, &str) = (1008, "slow consumer");
/// Messages that wait for the actor; who sends more waits.
const MAILBOX: usize = 256;
const UPKEEP: Duration = Duration::from_secs(60);

/// One turn of the machine on somebody's behalf, who is sent what was decided.
pub(crate) struct InTurn<F, T> {
    decide: F,
    decided: PhantomData<fn() -> T>,
}

impl<F: FnOnce(&mut GatewayMachine, &mut Turn<'_>) -> T, T> InTurn<F, T> {
    pub(crate) fn new(decide: F) -> Self {
        Self { decide, decided: PhantomData }
    }
}

impl<F, T: 'static> Message for InTurn<F, T> {
    type Result = T;
}

/// From a connection's task, once, after its first frame: may it come in? If so, its queue gets events from now on, and the
/// connection sends the hello before them. `answer` is dropped unanswered only when the gateway stops; a connection that
/// doesn't wait for it any more is forgotten at once.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Admit {
    pub(crate) attempt: Box<Attempt>,
    pub(crate) outbound: Outbound,
    pub(crate) answer: oneshot::Sender<Admission>,
}

/// From a connection's task: a request of an authenticated caller. Answered through the connection's queue. A full mailbox
/// makes the connection wait, so a flood slows its sender down.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CallMethod(pub(crate) Call);

/// From an HTTP handler: one call of a caller that has no socket, and whose connection id is used for this call alone.
/// `answer` gets the first response; it is dropped unanswered only when the gateway stops.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Ask {
    pub(crate) call: Call,
    pub(crate) answer: oneshot::Sender<Result<Value, CallError>>,
}

/// From an HTTP handler: what the service of a channel has sent to its webhook. `stored` is told when it is on disk, and dropped
/// where it isn't taken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Received {
    pub(crate) account: ChannelKey,
    pub(crate) updates: Vec<Update>,
    pub(crate) stored: oneshot::Sender<()>,
}

/// From a connection's task, once, at its end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Disconnected(pub(crate) ConnectionId);

/// From the server, once: tell everybody, end every child process, close every connection. Answered when that is done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

#[derive(Debug)]
pub(crate) struct CoreActor {
    machine: GatewayMachine,
    chance: SystemChance,
    sockets: HashMap<ConnectionId, Outbound>,
    /// HTTP requests that wait for the answer of their one call.
    asking: HashMap<ConnectionId, oneshot::Sender<Result<Value, CallError>>>,
    metrics: GatewayMetrics,
    /// None before the start, and where the thread could not be started. Dropping it writes what is still waiting.
    files: Option<Files>,
    /// What the machine wanted done when it was made; carried out at the start.
    first_effects: Vec<Effect>,
    log_sinks: LogSinks,
    children: Children,
    channel_services: Services,
    poster: Poster,
    live_config: watch::Sender<Arc<GatewayConfig>>,
    /// Until the thread that reads it has started.
    config_file: Option<ConfigFile>,
}

impl CoreActor {
    pub(crate) fn new(
        live_config: watch::Sender<Arc<GatewayConfig>>,
        config_file: Option<ConfigFile>,
        loaded: Loaded,
        metrics: GatewayMetrics,
        log_sinks: LogSinks,
    ) -> Self {
        let mut chance = SystemChance;
        let mut turn = Turn::new(Now::read(), &mut chance);
        let config = Arc::clone(&live_config.borrow());
        let children = Children::new(&config);
        let mut machine = GatewayMachine::new(config, loaded, &mut turn);
        machine.configuration.has_file = config_file.is_some();
        let first_effects = turn.into_effects();
        Self {
            machine,
            chance,
            sockets: HashMap::new(),
            asking: HashMap::new(),
            metrics,
            files: None,
            first_effects,
            log_sinks,
            children,
            channel_services: Services::default(),
            poster: Poster::default(),
            live_config,
            config_file,
        }
    }

    /// One turn of the machine, and everything that it wants done.
    fn turn<T>(&mut self, decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>) -> T) -> T {
        let now = Now::read();
        let mut turn = Turn::new(now, &mut self.chance);
        let decided = decide(&mut self.machine, &mut turn);
        self.machine.attend_webhooks(&mut turn);
        self.machine.attend_channels(&mut turn);
        for effect in turn.into_effects() {
            if let Effect::Log(line) = &effect
                && let Some(event) = self.machine.log_event(line, now)
            {
                self.carry_out(event);
            }
            self.carry_out(effect);
        }
        self.children.wake_at(self.machine.next_deadline());
        decided
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Respond { to, outcome } => {
                if let Some(waiting) = self.asking.remove(&to.connection) {
                    let _ = waiting.send(outcome);
                    return;
                }
                let outcome = match outcome {
                    Ok(payload) => sendable(raw(&payload), self.machine.config.limits.max_payload),
                    Err(error) => Err(raw(&error.to_value())),
                };
                self.send(to.connection, OutboundItem::Response { request: to.request, outcome });
            }
            Effect::Tell { to, event, payload } => self.tell(to, &event, &payload, None),
            Effect::TellPresence { to, payload, version } => self.tell(to, "presence", &payload, Some(version)),
            Effect::CountAuthFailure => self.metrics.auth_failures.inc(),
            Effect::Close { connection, code, reason } => self.close(connection, code, reason),
            Effect::Write(change) => self.order_of_files(Order::Change(change)),
            Effect::Channel { account, order } => self.channel_services.carry_out(account, order),
            Effect::Post(order) => self.poster.send(order),
            Effect::Confirm { file, awaited_by } => self.order_of_files(Order::Confirm { file, awaited_by }),
            Effect::Disk { to, query } => self.order_of_files(Order::Query { to, query }),
            Effect::ReadConfig(wish) => self.order_of_files(Order::Config(wish)),
            Effect::Configure(config) => {
                self.log_sinks.set_level(config.log.level);
                self.live_config.send_replace(config);
            }
            Effect::Audit(entry) => self.log_sinks.audit(&entry, Now::read().wall_ms),
            Effect::Log(line) => self.log_sinks.log(&line, Now::read().wall_ms),
            // What waited for another run to end must not begin among the last.
            Effect::Start(order) if self.machine.is_stopping() => {
                let news = ProcessNews::NotStarted { reason: "the gateway is stopping".to_owned() };
                self.turn(|machine, turn| machine.process_news(&order.run, news, turn));
            }
            Effect::Start(order) => self.children.launcher.start(order),
            Effect::Signal { run, signal } => self.children.launcher.signal(&run, signal),
            Effect::Decide { run, question, allow } => self.children.launcher.decide(&run, question, allow),
            Effect::EndSession(session) => self.children.launcher.end_session(&session),
        }
    }

    fn tell(&mut self, to: Vec<ConnectionId>, event: &str, payload: &Value, presence_version: Option<u64>) {
        let (name, payload) = (Arc::<str>::from(event), raw(payload));
        for connection in to {
            let (name, payload) = (Arc::clone(&name), Arc::clone(&payload));
            self.send(connection, OutboundItem::Event { name, payload, presence_version });
        }
    }

    fn send(&mut self, connection: ConnectionId, item: OutboundItem) {
        let Some(socket) = self.sockets.get(&connection) else { return };
        if socket.send(item) == Err(Overflow) {
            let (code, reason) = SLOW_CONSUMER;
            // What waits is given up: it would never be read, and the close would wait behind it.
            socket.cut(code, reason.to_owned());
            self.metrics.slow_consumers.inc();
            self.close(connection, code, reason.to_owned());
        }
    }

    fn close(&mut self, connection: ConnectionId, code: u16, reason: String) {
        if let Some(socket) = self.sockets.remove(&connection) {
            socket.close(code, reason);
        }
        // Its task says so once more when it has ended; who has left is told then.
        self.machine.disconnected(connection, Now::read());
    }

    fn call(&mut self, call: &Call) {
        if call.method == "spawn" {
            self.metrics.spawn_requests.inc();
        }
        self.turn(|machine, turn| machine.call(call, turn));
    }

    /// Starts the files' thread. Where that fails, every change fails and is said.
    fn start_files(&mut self, ctx: &Context<Self>) {
        let core = ctx.address();
        // Bounded by what was wanted done: at most one piece of news for each change or question.
        let tell = move |news| core.do_send(InTurn::new(|machine, turn| machine.files_news(news, turn)));
        match Files::start(self.machine.config.state_dir.clone(), self.config_file.take(), tell) {
            Ok(files) => self.files = Some(files),
            Err(error) => tracing::error!(%error, "the thread that writes files could not be started"),
        }
    }

    fn order_of_files(&mut self, order: Order) {
        let news = match &self.files {
            Some(files) => files.send(order),
            None => order.failed(CallError::unavailable("no thread reads and writes files; restart the gateway")),
        };
        if let Some(news) = news {
            self.turn(|machine, turn| machine.files_news(news, turn));
        }
    }

    /// The last turn of all: nobody is served after it.
    fn stop(&mut self) {
        for connection in self.sockets.keys().copied().collect::<Vec<_>>() {
            let (code, reason) = STOPPING;
            self.close(connection, code, reason.to_owned());
        }
        self.asking.clear();
        // Waits until everything is written.
        self.files = None;
    }
}

/// An answer, or what is said in its place where no client of ours would take it.
fn sendable(answer: Arc<RawValue>, most: usize) -> Result<Arc<RawValue>, Arc<RawValue>> {
    let length = answer.get().len();
    // What the frame adds.
    if length.saturating_add(1024) <= most {
        return Ok(answer);
    }
    let error = CallError::invalid(format!(
        "the answer has {length} bytes, and at most {most} (policy.maxPayload) are sent: ask for less at a time, with limit"
    ));
    Err(raw(&error.with_details(serde_json::json!({"code": "ANSWER_TOO_LARGE", "bytes": length})).to_value()))
}

fn raw(value: &Value) -> Arc<RawValue> {
    to_raw_value(value).map_or_else(|_| Arc::from(RawValue::NULL.to_owned()), Arc::from)
}

/// Resident memory of this process in bytes; none where the system doesn't tell. The kernel answers from memory: no disk is
/// touched.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

impl Actor for CoreActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.start_files(ctx);
        let core = ctx.address();
        self.channel_services
            .attend(move |news| core.do_send(InTurn::new(|machine, turn| machine.channels.hear(news, turn))));
        let core = ctx.address();
        // At most one piece of news for each message that is sent.
        self.poster.attend(move |run, outcome| {
            core.do_send(InTurn::new(move |machine, turn| machine.cron.post_heard(&run, outcome, turn)));
        });
        self.machine.resident_bytes = resident_bytes();
        for effect in std::mem::take(&mut self.first_effects) {
            self.carry_out(effect);
        }
        ctx.run_interval(UPKEEP, |core, _| {
            core.machine.resident_bytes = resident_bytes();
            core.turn(GatewayMachine::upkeep);
        });
        self.children.attend(ctx.address());
        self.turn(GatewayMachine::report_orphans);
        ctx.run_interval(self.machine.config.limits.tick, |core, _| core.turn(GatewayMachine::tick));
    }
}

impl<F, T> Handler<InTurn<F, T>> for CoreActor
where
    F: FnOnce(&mut GatewayMachine, &mut Turn<'_>) -> T,
    T: 'static,
{
    type Result = MessageResult<InTurn<F, T>>;

    fn handle(&mut self, wanted: InTurn<F, T>, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.turn(wanted.decide))
    }
}

impl Handler<Admit> for CoreActor {
    type Result = ();

    fn handle(&mut self, Admit { attempt, outbound, answer }: Admit, _: &mut Self::Context) {
        let connection = attempt.connection;
        // Its queue is there before the machine speaks, so that no event is lost; the hello still goes out first.
        self.sockets.insert(connection, outbound);
        let admission = self.turn(|machine, turn| machine.admit(&attempt, turn));
        let refused = matches!(admission, Admission::Refused(_));
        if answer.send(admission).is_err() || refused {
            self.sockets.remove(&connection);
            self.turn(|machine, turn| machine.disconnected(connection, turn.now));
        }
    }
}

impl Handler<CallMethod> for CoreActor {
    type Result = ();

    fn handle(&mut self, CallMethod(call): CallMethod, _: &mut Self::Context) {
        self.call(&call);
    }
}

impl Handler<Ask> for CoreActor {
    type Result = ();

    fn handle(&mut self, Ask { call, answer }: Ask, _: &mut Self::Context) {
        self.asking.insert(call.caller.connection, answer);
        self.call(&call);
    }
}

impl Handler<Received> for CoreActor {
    type Result = ();

    fn handle(&mut self, Received { account, updates, stored }: Received, _: &mut Self::Context) {
        self.channel_services.receive(&account, updates, stored);
    }
}

impl Handler<Disconnected> for CoreActor {
    type Result = ();

    fn handle(&mut self, Disconnected(connection): Disconnected, _: &mut Self::Context) {
        self.sockets.remove(&connection);
        self.asking.remove(&connection);
        self.turn(|machine, turn| machine.disconnected(connection, turn.now));
    }
}

impl Handler<Stop> for CoreActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.turn(GatewayMachine::stopping);
        // News are still taken meanwhile, so that everybody hears how their runs ended, and jobs whether they were told.
        let ended = join(self.children.launcher.stop(), self.poster.finish()).into_actor(self);
        Box::pin(ended.map(|_, core, ctx| {
            core.stop();
            ctx.stop();
        }))
    }
}
