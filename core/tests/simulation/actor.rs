//! The shell of one gateway's connection in simulated time: what `actors/src/gateway/` does with a connection's effects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use gatewarden_core::cluster::{NO_LEASE, not_acting};
use gatewarden_core::dialing::memory_budget::{COUNTED_FROM, Connected};
use gatewarden_core::dialing::{DialFailure, MemoryAccount, MemoryPermit, SocketError};
use gatewarden_core::gateway_record::SharedRecord;
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::connection::{
    CallToken, Connection, ConnectionParts, Effect, Epoch, HttpAnswer, Moment, ProbeFinding, ProbeToken,
};
use gatewarden_core::spawn::{Certainty, NotAccepted};
use gatewarden_protocol::decoding::{Allowance, Excess};
use gatewarden_protocol::refusal::{Refusal, RefusalCode};

use crate::daemon::{Answer, MAX_HOP_MS, Timer};
use crate::network::{Holder, Piece, SocketId, To, Weather};
use crate::world::{Owner, World};

/// As in `actors/src/dialing/socket.rs`.
const CAP_BEFORE_CONNECT: usize = 64 * 1024;
/// A text of more than this may change what is kept by much, bytes.
const LISTS: usize = 1024;

pub(crate) struct Actor {
    pub(crate) incarnation: u64,
    pub(crate) connection: Connection,
    /// It was told to end: nobody reaches it any more.
    pub(crate) is_stopping: bool,
    dialing: Option<Epoch>,
    socket: Option<(Epoch, SocketId)>,
    /// The longest frame that it takes now, bytes.
    cap: usize,
    memory: MemoryAccount,
    kept: MemoryPermit,
    connected: Option<Connected>,
    /// Who waits for an answer of the connection.
    pub(crate) waiting: BTreeMap<u64, u64>,
    last_token: u64,
    timer: Timer,
    inbox: Instant,
}

impl Actor {
    pub(crate) fn wait(&mut self, ask: u64) -> u64 {
        self.last_token += 1;
        self.waiting.insert(self.last_token, ask);
        self.last_token
    }
}

impl World {
    fn connection_time(&mut self) -> Moment {
        Moment { now: self.now, wall_ms: self.wall_ms(), jitter: self.dice.unit(), woke: None }
    }

    pub(crate) fn start_actor(&mut self, record: SharedRecord, incarnation: u64) {
        let id = record.id;
        let parts = ConnectionParts {
            record,
            settings: Arc::clone(&self.watch.settings),
            identity: Arc::clone(&self.watch.identity),
            version: "0.1.0".into(),
            instance_id: "run".into(),
        };
        let connection = Connection::new(parts, self.connection_time());
        let Some(daemon) = self.nodes[self.me].daemon.as_ref() else { return };
        let memory = daemon.memory.account();
        let actor = Actor {
            incarnation,
            connection,
            is_stopping: false,
            dialing: None,
            socket: None,
            cap: CAP_BEFORE_CONNECT,
            kept: memory.permit(),
            memory,
            connected: None,
            waiting: BTreeMap::new(),
            last_token: 0,
            timer: Timer::default(),
            inbox: self.now,
        };
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        assert!(daemon.actors.insert(id, actor).is_none(), "one actor a gateway");
        self.tell_actor(id, |connection, moment| connection.start(moment));
    }

    pub(crate) fn stop_actor(&mut self, id: GatewayId) {
        self.tell_actor(id, |connection, moment| connection.shut_down(moment));
        let Some(actor) = self.nodes[self.me].daemon.as_mut().and_then(|daemon| daemon.actors.get_mut(&id)) else {
            return;
        };
        actor.is_stopping = true;
        let (at, owner) = (actor.inbox, self.owner());
        self.at(at, owner, move |world| world.actor_dies(id));
    }

    /// A message to the gateway's actor; nobody gets it where there is none.
    pub(crate) fn tell_actor(&mut self, id: GatewayId, input: impl FnOnce(&mut Connection, Moment) + 'static) {
        self.tell_actor_if(id, None, input);
    }

    /// A message that changes something, where it is to be answered with this token: without the right to act it is refused.
    pub(crate) fn tell_actor_if(
        &mut self,
        id: GatewayId,
        changes: Option<u64>,
        input: impl FnOnce(&mut Connection, Moment) + 'static,
    ) {
        let at = self.now + self.dice.ms(0, MAX_HOP_MS);
        let owner = self.owner();
        let actor = self.nodes[self.me].daemon.as_mut().and_then(|daemon| daemon.actors.get_mut(&id));
        let Some(actor) = actor.filter(|actor| !actor.is_stopping) else { return };
        actor.inbox = actor.inbox.max(at);
        let (at, incarnation) = (actor.inbox, actor.incarnation);
        self.at(at, owner, move |world| match changes {
            Some(token) if !world.may_act() => world.refuse_of_actor(id, incarnation, token),
            Some(_) => {
                world.uses_right("asks a gateway for a change");
                world.feed_actor(id, incarnation, input);
            }
            None => world.feed_actor(id, incarnation, input),
        });
    }

    fn refuse_of_actor(&mut self, id: GatewayId, incarnation: u64, token: u64) {
        let waiting = self.actor(id, incarnation).and_then(|actor| actor.waiting.remove(&token));
        if let Some(ask) = waiting {
            let refused = NotAccepted { failure: not_acting(NO_LEASE), certainty: Certainty::NotTaken };
            self.refuse_soon(ask, refused);
        }
    }

    fn actor(&mut self, id: GatewayId, incarnation: u64) -> Option<&mut Actor> {
        let actor = self.nodes[self.me].daemon.as_mut()?.actors.get_mut(&id);
        actor.filter(|actor| actor.incarnation == incarnation)
    }

    /// One input: the connection decides, the effects are carried out, the timer is set to what is due next.
    fn feed_actor(&mut self, id: GatewayId, incarnation: u64, input: impl FnOnce(&mut Connection, Moment)) {
        let moment = self.connection_time();
        if let Some(actor) = self.actor(id, incarnation) {
            input(&mut actor.connection, moment);
            self.carry_out_of_actor(id, incarnation);
        }
    }

    fn carry_out_of_actor(&mut self, id: GatewayId, incarnation: u64) {
        let mut is_given_up = false;
        loop {
            let moment = self.connection_time();
            let Some(actor) = self.actor(id, incarnation) else { return };
            let effects = actor.connection.take_effects(moment);
            if effects.is_empty() {
                // What is kept is covered, or given up.
                match actor.kept.set_to(actor.connection.held_bytes()) {
                    Ok(()) => break,
                    Err(_) if is_given_up => break,
                    Err(excess) => {
                        is_given_up = true;
                        let epoch = actor.connection.epoch();
                        actor.connection.on_socket_failed(moment, epoch, &SocketError::OutOfMemory(excess));
                        self.out_of_memory(id);
                    }
                }
            }
            for effect in effects {
                self.perform_of_actor(id, incarnation, effect);
            }
        }
        let (moment, owner) = (self.connection_time(), self.owner());
        let Some(actor) = self.actor(id, incarnation) else { return };
        let due = actor.connection.next_deadline(moment);
        if let Some((at, generation)) = actor.timer.arm(moment.now, due) {
            self.timer(at, owner, move |world| {
                let now = world.now;
                if world.actor(id, incarnation).is_some_and(|actor| actor.timer.expire(now, generation)) {
                    world.feed_actor(id, incarnation, |connection, moment| connection.on_deadline(moment));
                }
            });
        }
    }

    fn perform_of_actor(&mut self, id: GatewayId, incarnation: u64, effect: Effect) {
        let process = self.process();
        match effect {
            Effect::Notify(notice) => {
                self.tell_registry(move |fleet, time| fleet.on_notice(time, id, incarnation, notice));
            }
            Effect::Dial(epoch, request) => {
                if let Some(actor) = self.actor(id, incarnation) {
                    assert!(actor.socket.is_none() && actor.dialing.is_none(), "one socket at a time");
                    actor.dialing = Some(epoch);
                }
                self.dial(Holder { process, gateway: id, incarnation, epoch }, request.timeout);
            }
            // It may have waited for what must be set before.
            Effect::Send { starts: Some(call), .. } if !self.may_act() => {
                let moment = self.connection_time();
                if let Some(actor) = self.actor(id, incarnation) {
                    actor.connection.on_run_unsent(moment, call);
                }
            }
            Effect::Send { epoch, text, starts } => {
                if starts.is_some() {
                    self.uses_right("starts a run");
                }
                self.send_of_actor(id, incarnation, epoch, Piece::Text(text), starts)
            }
            Effect::Ping(epoch, payload) => self.send_of_actor(id, incarnation, epoch, Piece::Ping(payload), None),
            Effect::Pong(epoch, payload) => self.send_of_actor(id, incarnation, epoch, Piece::Pong(payload), None),
            Effect::Close { epoch, code, .. } => {
                let Some(actor) = self.actor(id, incarnation) else { return };
                actor.dialing.take_if(|dialing| *dialing == epoch);
                if let Some((_, socket)) = actor.socket.take_if(|(of, _)| *of == epoch) {
                    actor.connected = None;
                    self.send(socket, To::Gateway, Piece::End(Some(code)));
                }
            }
            Effect::AnswerRun(CallToken(token), answer) => {
                self.answer_of_actor(id, incarnation, token, Answer::Run(answer))
            }
            Effect::AnswerFinding(CallToken(token), found) => {
                self.answer_of_actor(id, incarnation, token, Answer::LookUp(found));
            }
            Effect::Answer(CallToken(token), _) | Effect::AnswerProbe(ProbeToken(token), _) => {
                self.answer_of_actor(id, incarnation, token, Answer::Other);
            }
            Effect::ProbeUnconnected { round, timeout } => {
                let failed = |step, code| Some((step, Refusal::new(code, "")));
                let (wait, failure) = match self.network.weather(id) {
                    Weather::Silent | Weather::HalfOpen(_) => (timeout, failed("connect", RefusalCode::DialTimeout)),
                    Weather::Trickle => (timeout, failed("challenge", RefusalCode::ChallengeTimeout)),
                    Weather::Refusing => (self.dice.ms(0, 8), failed("connect", RefusalCode::ConnectionRefused)),
                    _ if !self.gateways[&id].is_up => {
                        (self.dice.ms(0, 8), failed("connect", RefusalCode::ConnectionRefused))
                    }
                    _ if !self.gateways[&id].is_well(self.now) => {
                        (timeout, failed("challenge", RefusalCode::ChallengeTimeout))
                    }
                    _ => (self.dice.ms(1, 20), None),
                };
                let finding = ProbeFinding { latency: failure.is_none().then_some(wait), failure };
                self.after(wait, Owner::Daemon(process), move |world| {
                    world.feed_actor(id, incarnation, |connection, moment| {
                        connection.on_probe_finding(moment, round, finding);
                    });
                });
            }
            // None of these gateways answers over HTTP.
            Effect::Http { epoch, id: request, .. } => {
                self.after(self.watch.settings.dial_timeout, Owner::Daemon(process), move |world| {
                    let answer = HttpAnswer::Health(Err(DialFailure::Refused.into()));
                    world.feed_actor(id, incarnation, |connection, moment| {
                        connection.on_http(moment, epoch, &request, answer, &mut Allowance(0));
                    });
                });
            }
            Effect::PhaseChanged { from, to, reason } => {
                self.tell(|| format!("gateway {id} (actor {incarnation}): {from:?} -> {to:?}, {reason}"));
            }
            Effect::RaiseCap(_, cap) => {
                if let Some(actor) = self.actor(id, incarnation) {
                    actor.cap = cap;
                }
            }
            Effect::Logs(_) | Effect::Count(_) | Effect::SpawnAccepted(..) | Effect::Remark(_) => {}
        }
    }

    fn answer_of_actor(&mut self, id: GatewayId, incarnation: u64, token: u64, answer: Answer) {
        let waiting = self.actor(id, incarnation).and_then(|actor| actor.waiting.remove(&token));
        self.settle_soon(waiting.expect("a question is answered once"), Ok(answer));
    }

    /// Queues a piece. A frame that isn't queued has certainly not left.
    fn send_of_actor(
        &mut self,
        id: GatewayId,
        incarnation: u64,
        epoch: Epoch,
        piece: Piece,
        starts: Option<CallToken>,
    ) {
        let refuses = self.dice.roll(2_000) < u64::from(!self.is_settling);
        if refuses {
            self.disturb(id);
        }
        let moment = self.connection_time();
        let Some(actor) = self.actor(id, incarnation) else { return };
        let error = match actor.socket.filter(|(of, _)| *of == epoch) {
            Some(_) if refuses => SocketError::SlowPeer,
            Some((_, socket)) => return self.send(socket, To::Gateway, piece),
            None if starts.is_some() => SocketError::Closed,
            None => return,
        };
        if let Some(call) = starts {
            actor.connection.on_run_unsent(moment, call);
        }
        actor.connection.on_socket_failed(moment, epoch, &error);
    }

    /// What came of a dial.
    pub(crate) fn dialed(&mut self, holder: Holder, outcome: Result<SocketId, DialFailure>) {
        let Holder { gateway, incarnation, epoch, .. } = holder;
        let actor = self.actor(gateway, incarnation);
        let wanted = actor.and_then(|actor| {
            actor.dialing.take_if(|dialing| *dialing == epoch)?;
            Some(actor)
        });
        match (wanted, outcome) {
            (Some(actor), Ok(socket)) if actor.connection.is_dialing(epoch) => {
                (actor.socket, actor.cap) = (Some((epoch, socket)), CAP_BEFORE_CONNECT);
                actor.connected = Some(actor.memory.connect());
                self.feed_actor(gateway, incarnation, |connection, moment| {
                    connection.on_dialed(moment, epoch);
                });
            }
            (Some(_), Err(failure)) => self.feed_actor(gateway, incarnation, |connection, moment| {
                connection.on_dial_failed(moment, epoch, &failure);
            }),
            (_, Ok(socket)) => self.send(socket, To::Gateway, Piece::End(None)),
            (None, Err(_)) => {}
        }
    }

    /// Something came over a socket that the daemon holds.
    pub(crate) fn actor_hears(&mut self, holder: Holder, socket: SocketId, piece: Piece) {
        let Holder { gateway, incarnation, epoch, .. } = holder;
        let waking = self.waking();
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        let Some(actor) = daemon.actors.get_mut(&gateway).filter(|actor| actor.incarnation == incarnation) else {
            return;
        };
        if actor.socket != Some((epoch, socket)) {
            return;
        }
        let mut permit = actor.memory.permit();
        let (length, cap) = (piece.bytes(), actor.cap);
        let error = match &piece {
            Piece::Text(_) if length > cap => Some(SocketError::FrameTooLarge { announced: length as u64, cap }),
            Piece::Text(_) if length > COUNTED_FROM => permit.grow_to(length).err().map(SocketError::OutOfMemory),
            _ => None,
        };
        if matches!(piece, Piece::End(_)) {
            (actor.socket, actor.connected) = (None, None);
        } else if error.is_none() {
            daemon.heard.insert(gateway, waking);
        }
        if let Some(error) = error {
            if matches!(error, SocketError::OutOfMemory(_)) {
                self.out_of_memory(gateway);
            }
            return self.feed_actor(gateway, incarnation, |connection, moment| {
                connection.on_socket_failed(moment, epoch, &error);
            });
        }
        self.feed_actor(gateway, incarnation, |connection, moment| match piece {
            Piece::Text(text) => {
                let mut meter = permit.decoding();
                connection.on_message(moment, epoch, text.as_bytes(), &mut meter);
                meter.keep_values();
            }
            Piece::Ping(payload) => connection.on_ping(moment, epoch, payload),
            Piece::Pong(payload) => connection.on_pong(moment, epoch, &payload),
            Piece::End(code) => connection.on_closed(moment, epoch, code, ""),
        });
        if length > LISTS {
            self.end_chosen();
        }
    }

    /// Those of whom the others' room is taken end at once.
    fn end_chosen(&mut self) {
        let Some(daemon) = self.nodes[self.me].daemon.as_ref() else { return };
        let chosen = daemon
            .actors
            .iter()
            .filter(|(_, actor)| actor.connected.as_ref().is_some_and(|connected| connected.is_chosen(Waker::noop())));
        let chosen: Vec<(GatewayId, u64)> = chosen.map(|(id, actor)| (*id, actor.incarnation)).collect();
        for (id, incarnation) in chosen {
            self.out_of_memory(id);
            self.feed_actor(id, incarnation, |connection, moment| {
                let error = SocketError::OutOfMemory(Excess::Shared);
                connection.on_socket_failed(moment, connection.epoch(), &error);
            });
        }
    }

    /// A connection ends for want of memory, be it another one's.
    fn out_of_memory(&mut self, gateway: GatewayId) {
        self.tell(|| format!("gateway {gateway}: memory is spent"));
        self.watch.figures.excesses += 1;
        self.disturb(gateway);
    }

    pub(crate) fn drop_socket(&mut self, actor: &Actor) {
        if let Some((_, socket)) = actor.socket {
            self.send(socket, To::Gateway, Piece::End(None));
        }
    }
}
