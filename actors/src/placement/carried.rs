//! At a node that stands by: the gateways that it carries for the one that acts. Their actors are as everywhere; who supervises them is
//! at the other end of the connection, and all of them end with it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use actix::prelude::*;
use gatewarden_protocol::{DeviceIdentity, Secret};
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::link::{ALIVE_EVERY, Link, Outbox, Received, is_too_long, open};
use super::messages::{Answer, Apart, AskId, FromCarried, Permit, Question, ToCarried, VERSION};
use crate::clock::Clock;
use crate::cluster::RightToAct;
use crate::dialing::Held;
use crate::error::Failure;
use crate::gateway::{FromGateway, GatewayCommand, GatewayHandle, Reply};
use crate::gateway_record::SharedRecord;
use crate::ids::GatewayId;
use crate::log_watch::LogSubscription;
use crate::machines::connection::AuthPermit;

/// Starts the actor of a carried gateway.
pub type StartCarried = Box<dyn Fn(SharedRecord, u64, Recipient<FromGateway>) -> GatewayHandle>;
/// Makes it, of the installation's device, the clock that the actors go by, and the right to act of the node that acts.
pub type StarterOfCarried = Box<dyn FnOnce(Arc<DeviceIdentity>, Clock, RightToAct) -> StartCarried>;

/// What a [`CarriedGatewaysActor`] is made of.
pub struct CarriedParts {
    /// How actors are started here.
    pub starter: StarterOfCarried,
    /// The epoch of the role as this node knows it, given that of whoever has gateways carried: who acts under an earlier one acts no longer.
    pub epoch: Box<dyn Fn(i64) -> i64>,
    /// Whose sender is dropped when this node carries nothing any more.
    pub until_over: watch::Receiver<()>,
    /// Time of this machine.
    pub clock: Clock,
}

/// The gateways that this node carries over one connection to the node that acts.
pub struct CarriedGatewaysActor {
    outbox: Outbox,
    state: State,
    known_epoch: Box<dyn Fn(i64) -> i64>,
    clock: Clock,
    /// The right to act of the node that acts, as far as it is known here.
    right: RightToAct,
    /// This machine's clock with the wall time of the node that acts: what is said there has its times.
    acting_clock: Clock,
    gateways: HashMap<GatewayId, (u64, GatewayHandle)>,
    /// Logs that are followed from there.
    logs: HashMap<AskId, SpawnHandle>,
    /// The last signs of life that were given, by number, and when; ms of uptime.
    asked: VecDeque<(u64, i64)>,
    last_asked: u64,
    received: Received,
    heard_ms: i64,
}

enum State {
    AwaitsHello(StarterOfCarried),
    Carries { start: StartCarried, epoch: i64 },
    Ended,
}

impl CarriedGatewaysActor {
    /// Starts it on the current arbiter, over a connection that another node made.
    pub fn start(parts: CarriedParts, link: impl Link) -> Addr<Self> {
        let CarriedParts { starter, epoch, mut until_over, clock } = parts;
        Self::create(|ctx| {
            let (outbox, received, incoming) = open::<ToCarried>(link);
            ctx.add_stream(incoming);
            let over = async move { while until_over.changed().await.is_ok() {} };
            ctx.spawn(fut::wrap_future::<_, Self>(over).map(|(), _, ctx| ctx.stop()));
            Self {
                outbox,
                state: State::AwaitsHello(starter),
                known_epoch: epoch,
                heard_ms: clock.uptime_ms(),
                acting_clock: clock.for_another(),
                clock,
                right: RightToAct::none(),
                gateways: HashMap::new(),
                logs: HashMap::new(),
                asked: VecDeque::new(),
                last_asked: 0,
                received,
            }
        })
    }

    fn push(&self, message: &FromCarried, ctx: &mut Context<Self>) {
        if !self.outbox.push(message) {
            warn!("the node that acts does not take what is said to it");
            ctx.stop();
        }
    }

    fn hello(&mut self, version: &str, epoch: i64, device_seed: &Secret, ctx: &mut Context<Self>) {
        let seed = hex::decode(device_seed.expose()).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        match (std::mem::replace(&mut self.state, State::Ended), seed) {
            (State::AwaitsHello(starter), Some(seed)) if version == VERSION && epoch >= (self.known_epoch)(epoch) => {
                let identity = Arc::new(DeviceIdentity::from_seed(&seed));
                let start = starter(identity, self.acting_clock.clone(), self.right.clone());
                self.state = State::Carries { start, epoch };
                info!(epoch, "this node carries gateways for the one that acts");
                self.give_sign_of_life(ctx);
            }
            _ => {
                info!(version, epoch, "carries no gateways for that node: it is of another release, or acts no longer");
                ctx.stop();
            }
        }
    }

    /// Asks for the right again, too. What is not answered for longer than silence is borne is forgotten.
    fn give_sign_of_life(&mut self, ctx: &mut Context<Self>) {
        let (asked, now_ms) = (self.last_asked + 1, self.clock.uptime_ms());
        self.last_asked = asked;
        self.asked.push_back((asked, now_ms));
        self.asked.retain(|(_, at_ms)| !is_too_long(now_ms - at_ms));
        self.push(&FromCarried::Alive { asked }, ctx);
    }

    /// The right holds on for as long as it did at the node that acts when that answered, which is after this node asked.
    fn on_right(&mut self, asked: u64, remaining_ms: i64, wall_ms: i64) {
        let Some((_, asked_ms)) = self.asked.iter().find(|(number, _)| *number == asked).copied() else { return };
        self.asked.retain(|(number, _)| *number > asked);
        let now_ms = self.clock.uptime_ms();
        let until_ms = if remaining_ms > 0 { asked_ms.saturating_add(remaining_ms) } else { i64::MIN };
        self.right.set(until_ms);
        self.acting_clock.set_wall(wall_ms.saturating_add(now_ms.saturating_sub(asked_ms) / 2));
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let now_ms = self.clock.uptime_ms();
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        let is_silent = is_too_long(silent_ms);
        if self.received.is_more() {
            self.heard_ms = now_ms;
        }
        let is_over = matches!(self.state, State::Carries { epoch, .. } if epoch < (self.known_epoch)(epoch));
        if is_silent || is_over {
            warn!(silent_ms, "the node for which gateways were carried is silent, or acts no longer");
            return ctx.stop();
        }
        let is_dead = |(id, (incarnation, handle)): (&GatewayId, &(u64, GatewayHandle))| {
            (!handle.is_alive()).then_some((*id, *incarnation))
        };
        for (gateway, incarnation) in self.gateways.iter().filter_map(is_dead).collect::<Vec<_>>() {
            self.gateways.remove(&gateway);
            self.push(&FromCarried::Died { gateway, incarnation }, ctx);
        }
        if matches!(self.state, State::Carries { .. }) {
            self.give_sign_of_life(ctx);
        }
    }

    fn tell(&self, id: GatewayId, command: GatewayCommand) {
        if let Some((_, handle)) = self.gateways.get(&id) {
            handle.tell(command);
        }
    }

    /// Asks a gateway's actor, and sends what it answers. Each answers in its own time, or ends.
    fn ask<T: 'static>(
        &self,
        gateway: GatewayId,
        ask: AskId,
        ctx: &mut Context<Self>,
        command: impl FnOnce(Reply<T>) -> GatewayCommand,
        answer: impl FnOnce(T) -> Answer + 'static,
    ) {
        let (reply, answered) = oneshot::channel();
        let is_there = self.gateways.contains_key(&gateway);
        self.tell(gateway, command(reply));
        let unanswered = if is_there { Answer::Ended } else { Answer::Nobody };
        let answered = async move { answered.await.map_or(unanswered, answer) };
        ctx.spawn(answered.into_actor(self).map(move |answer, this, ctx| {
            this.push(&FromCarried::Answer { ask, answer }, ctx);
        }));
    }

    fn on_question(&mut self, gateway: GatewayId, ask: AskId, question: Question, ctx: &mut Context<Self>) {
        match question {
            Question::Probe { timeout } => {
                let command = |reply| GatewayCommand::Probe { timeout, reply };
                self.ask(gateway, ask, ctx, command, |outcome| Answer::Probe(Box::new(outcome)));
            }
            Question::Call { method, params, timeout } => {
                let command = |reply| GatewayCommand::Call { method, params, timeout, reply };
                self.ask(gateway, ask, ctx, command, value);
            }
            Question::StartRun(request) => {
                let command = |reply| GatewayCommand::StartRun(Arc::new(*request), reply);
                self.ask(gateway, ask, ctx, command, |answer: Result<_, _>| Answer::Run(answer.map(Box::new)));
            }
            Question::LookUpRun(wanted) => {
                self.ask(gateway, ask, ctx, |reply| GatewayCommand::LookUpRun(wanted, reply), Answer::LookUp);
            }
            Question::Control(control) => {
                let command = |reply| GatewayCommand::Control(control, reply);
                self.ask(gateway, ask, ctx, command, value);
            }
            Question::WatchLogs(request) => {
                let (reply, answered) = oneshot::channel();
                self.tell(gateway, GatewayCommand::WatchLogs(request, reply));
                ctx.spawn(answered.into_actor(self).map(move |answered, this, ctx| {
                    let subscription = match answered {
                        Ok(Ok(subscription)) => subscription,
                        Ok(Err(failure)) => {
                            return this.push(&FromCarried::Answer { ask, answer: Answer::Logs(Err(failure)) }, ctx);
                        }
                        Err(_) => return this.push(&FromCarried::Answer { ask, answer: Answer::Ended }, ctx),
                    };
                    let begins_at = subscription.begins_at();
                    this.push(&FromCarried::Answer { ask, answer: Answer::Logs(Ok(begins_at)) }, ctx);
                    this.relay(ask, subscription, ctx);
                }));
            }
        }
    }

    /// Sends the deliveries of a log as they come. The follower's own queue is at the other end.
    fn relay(&mut self, ask: AskId, subscription: LogSubscription, ctx: &mut Context<Self>) {
        let deliveries = futures_util::stream::unfold(subscription, |subscription| async move {
            let delivery = subscription.next().await?;
            Some((delivery, subscription))
        });
        let relaying = deliveries
            .into_actor(self)
            .map(move |delivery, this, ctx| this.push(&FromCarried::Log { ask, delivery: Some(delivery) }, ctx))
            .finish()
            .map(move |(), this, ctx| {
                this.logs.remove(&ask);
                this.push(&FromCarried::Log { ask, delivery: None }, ctx);
            });
        let handle = ctx.spawn(relaying);
        self.logs.insert(ask, handle);
    }
}

impl Actor for CarriedGatewaysActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(ALIVE_EVERY, Self::look);
    }
}

/// However it ends, a panic included.
impl Drop for CarriedGatewaysActor {
    fn drop(&mut self) {
        self.right.set(i64::MIN);
        for (_, handle) in self.gateways.values() {
            handle.shut_down();
        }
        if let State::Carries { epoch, .. } = self.state {
            info!(epoch, gateways = self.gateways.len(), "this node carries no gateways any more");
        }
    }
}

/// What covers it is given back once it is written down for the other node.
fn value(result: Result<Held<Value>, Failure>) -> Answer {
    Answer::Value(result.map(|held| Apart(held.into_inner())))
}

impl Handler<FromGateway> for CarriedGatewaysActor {
    type Result = ();

    fn handle(&mut self, FromGateway { id, incarnation, notice }: FromGateway, ctx: &mut Self::Context) {
        self.push(&FromCarried::Notice { gateway: id, incarnation, notice }, ctx);
    }
}

impl StreamHandler<io::Result<ToCarried>> for CarriedGatewaysActor {
    fn handle(&mut self, message: io::Result<ToCarried>, ctx: &mut Self::Context) {
        let now_ms = self.clock.uptime_ms();
        if is_too_long(now_ms.saturating_sub(self.heard_ms)) {
            // This node was frozen: the other end has given it up, and what it had asked for by then is not to be done any more.
            return ctx.stop();
        }
        self.heard_ms = now_ms;
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                info!(%error, "the connection to the node for which gateways were carried broke");
                return ctx.stop();
            }
        };
        match message {
            ToCarried::Hello { version, epoch, device_seed } => self.hello(&version, epoch, &device_seed, ctx),
            ToCarried::Start { record, incarnation } => {
                let State::Carries { start, .. } = &self.state else { return ctx.stop() };
                let id = record.id;
                let handle = start(record, incarnation, ctx.address().recipient());
                if let Some((_, former)) = self.gateways.insert(id, (incarnation, handle)) {
                    former.shut_down();
                }
            }
            ToCarried::Stop(id) => {
                if let Some((_, handle)) = self.gateways.remove(&id) {
                    handle.shut_down();
                }
            }
            ToCarried::Update(record) => self.tell(record.id, GatewayCommand::Update(record)),
            ToCarried::Reconnect(id) => self.tell(id, GatewayCommand::Reconnect),
            ToCarried::Permit(id, permit) => {
                let permit = match permit {
                    Permit::Granted { address, device_token } => AuthPermit::Granted { address, device_token },
                    Permit::Denied { address, wait } => {
                        AuthPermit::Denied { address, retry_at: self.clock.now() + wait }
                    }
                };
                self.tell(id, GatewayCommand::Permit(permit));
            }
            ToCarried::ForgetRun(id, run_id) => self.tell(id, GatewayCommand::ForgetRun(run_id)),
            ToCarried::Ask { gateway, ask, question } => self.on_question(gateway, ask, question, ctx),
            ToCarried::LeaveLog(ask) => {
                if let Some(relaying) = self.logs.remove(&ask) {
                    ctx.cancel_future(relaying);
                }
            }
            ToCarried::Right { asked, remaining_ms, wall_ms } => self.on_right(asked, remaining_ms, wall_ms),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
