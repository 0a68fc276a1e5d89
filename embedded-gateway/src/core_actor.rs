//! The one actor that owns the gateway's state: it feeds the machine and carries out its effects, in order.
//!
//! Connections, HTTP requests and child processes talk to it through [`messages`]; it talks back through each
//! connection's bounded [`Outbound`] queue.

mod children;
mod files;
pub mod messages;
mod process_memory;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture as _,
};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;

use crate::auth::Admission;
use crate::caller::ConnectionId;
use crate::clock::{Now, SystemChance};
use crate::config::GatewayConfig;
use crate::connection::{Outbound, OutboundItem, Overflow, STOPPING};
use crate::effect::{Effect, ProcessNews};
use crate::files::Files;
use crate::loaded::Loaded;
use crate::log_sinks::LogSinks;
use crate::machine::GatewayMachine;
use crate::metrics::GatewayMetrics;
use crate::reply::CallError;
use crate::turn::{Call, Turn};
use children::Children;
use messages::{Admit, Ask, CallMethod, CheckBearer, CheckWebhook, Count, Disconnected, Numbers, Stop, Trigger};

/// Reason of the close that a client gets which leaves too much unread (real gateways say the same).
const SLOW_CONSUMER: (u16, &str) = (1008, "slow consumer");

/// Messages that wait for the core actor; who sends more waits.
const MAILBOX: usize = 256;

const UPKEEP: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct CoreActor {
    machine: GatewayMachine,
    chance: SystemChance,
    sockets: HashMap<ConnectionId, Outbound>,
    asking: HashMap<ConnectionId, oneshot::Sender<Result<Value, CallError>>>,
    metrics: GatewayMetrics,
    /// None before the start, and where the thread could not be started. Dropping it writes what is still waiting.
    files: Option<Files>,
    /// What the machine wanted done when it was made; carried out at the start.
    first_effects: Vec<Effect>,
    log_sinks: LogSinks,
    children: Children,
}

impl CoreActor {
    pub fn new(config: Arc<GatewayConfig>, loaded: Loaded, metrics: GatewayMetrics) -> Self {
        let mut chance = SystemChance;
        let mut turn = Turn::new(Now::read(), &mut chance);
        let children = Children::new(&config);
        let machine = GatewayMachine::new(config, loaded, &mut turn);
        let first_effects = turn.into_effects();
        Self {
            machine,
            chance,
            sockets: HashMap::new(),
            asking: HashMap::new(),
            metrics,
            files: None,
            first_effects,
            log_sinks: LogSinks::default(),
            children,
        }
    }

    #[must_use]
    pub fn with_log_sinks(mut self, log_sinks: LogSinks) -> Self {
        self.log_sinks = log_sinks;
        self
    }

    fn turn<T>(&mut self, decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>) -> T) -> T {
        let now = Now::read();
        let mut turn = Turn::new(now, &mut self.chance);
        let decided = decide(&mut self.machine, &mut turn);
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
            Effect::Write(change) => self.change_file(change),
            Effect::Disk { to, query } => self.ask_disk(to, query),
            Effect::Audit(entry) => self.log_sinks.audit(&entry, Now::read().wall_ms),
            Effect::Log(line) => self.log_sinks.log(&line, Now::read().wall_ms),
            // What waited for another run to end must not begin among the last.
            Effect::Start(order) if self.machine.is_stopping() => {
                let news = ProcessNews::NotStarted { reason: "the gateway is stopping".to_owned() };
                self.turn(|machine, turn| machine.process_news(&order.run, news, turn));
            }
            Effect::Start(order) => self.children.launcher.start(order),
            Effect::Signal { run, signal } => self.children.launcher.signal(&run, signal),
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

    /// Counts what is asked most.
    fn count(&self, call: &Call) {
        if call.method == "spawn" {
            self.metrics.spawn_requests.inc();
        }
    }

    fn close(&mut self, connection: ConnectionId, code: u16, reason: String) {
        if let Some(socket) = self.sockets.remove(&connection) {
            let _ = socket.send(OutboundItem::Close { code, reason });
        }
        // Its task says so once more when it has ended; who has left is told then.
        self.machine.disconnected(connection, Now::read());
    }
}

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

impl Actor for CoreActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.start_files(ctx);
        self.machine.resident_bytes = process_memory::resident_bytes();
        for effect in std::mem::take(&mut self.first_effects) {
            self.carry_out(effect);
        }
        ctx.run_interval(UPKEEP, |core, _| {
            core.machine.resident_bytes = process_memory::resident_bytes();
            core.turn(GatewayMachine::upkeep);
        });
        self.children.attend(ctx.address());
        self.turn(GatewayMachine::report_orphans);
        ctx.run_interval(self.machine.config.limits.tick, |core, _| core.turn(GatewayMachine::tick));
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

impl Handler<CheckBearer> for CoreActor {
    type Result = ();

    fn handle(&mut self, CheckBearer { connection, peer, token, answer }: CheckBearer, _: &mut Self::Context) {
        let _ = answer.send(self.turn(|machine, turn| machine.bearer(connection, &peer, token.as_ref(), turn)));
    }
}

impl Handler<CheckWebhook> for CoreActor {
    type Result = ();

    fn handle(&mut self, CheckWebhook { peer, webhook, shown, answer }: CheckWebhook, _: &mut Self::Context) {
        let decided = self.turn(|machine, turn| machine.webhook(&peer, &webhook, shown, turn));
        let _ = answer.send(decided);
    }
}

impl Handler<Trigger> for CoreActor {
    type Result = ();

    fn handle(&mut self, trigger: Trigger, _: &mut Self::Context) {
        let Trigger { webhook, agent_id, text, delivery, answer } = trigger;
        let begun = self.turn(|machine, turn| machine.triggered(&webhook, &agent_id, text, delivery, turn));
        let _ = answer.send(begun);
    }
}

impl Handler<Count> for CoreActor {
    type Result = ();

    fn handle(&mut self, Count { answer }: Count, _: &mut Self::Context) {
        let (agents, sessions) = (&self.machine.agents, &self.machine.sessions);
        let _ = answer.send(Numbers {
            agents: agents.list().len(),
            sessions: sessions.len(),
            busy_sessions: sessions.busy(),
        });
    }
}

impl Handler<CallMethod> for CoreActor {
    type Result = ();

    fn handle(&mut self, CallMethod(call): CallMethod, _: &mut Self::Context) {
        self.count(&call);
        self.turn(|machine, turn| machine.call(&call, turn));
    }
}

impl Handler<Ask> for CoreActor {
    type Result = ();

    fn handle(&mut self, Ask { call, answer }: Ask, _: &mut Self::Context) {
        self.count(&call);
        self.asking.insert(call.caller.connection, answer);
        self.turn(|machine, turn| machine.call(&call, turn));
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
        // News are still taken meanwhile, so that everybody hears how their runs ended.
        let ended = self.children.launcher.stop().into_actor(self);
        Box::pin(ended.map(|_, core, ctx| {
            core.stop();
            ctx.stop();
        }))
    }
}
