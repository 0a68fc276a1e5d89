//! The simulated network: dials, sockets that keep the order of what they carry, and the weather on the way to each gateway.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewarden_core::dialing::{DialFailure, DialStep};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::connection::Epoch;

use crate::world::{Owner, ProcessId, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId(u64);

/// How the way to a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Clear,
    /// Whoever dials is refused; what is connected stays so.
    Refusing,
    /// Nothing passes in either direction, and nobody is told.
    Silent,
    /// Nothing passes in this direction.
    HalfOpen(To),
    /// Each piece takes up to so many ms.
    Slow(u64),
    /// A byte a second.
    Trickle,
}

impl Weather {
    fn holds(self, to: To) -> bool {
        self == Self::Silent || self == Self::HalfOpen(to)
    }
}

/// What a piece takes at most; an answer to it as much again.
pub(crate) const SLOWEST: Duration = Duration::from_secs(15);

/// A connection over which a byte a second comes is broken after so long.
const LONGEST_TRICKLE: Duration = Duration::from_secs(600);

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Gateway,
    Daemon,
}

/// What a socket carries.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(String),
    Ping(Bytes),
    Pong(Bytes),
    /// The end, with a code or without a word.
    End(Option<u16>),
}

impl Piece {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ping(payload) | Self::Pong(payload) => payload.len(),
            Self::End(_) => 4,
        }
    }
}

/// Whose actor holds a socket: the daemon's process, the gateway, the actor's incarnation and its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) process: ProcessId,
    pub(crate) gateway: GatewayId,
    pub(crate) incarnation: u64,
    pub(crate) epoch: Epoch,
}

struct Socket {
    holder: Holder,
    /// The start of the gateway's process that took it.
    taken_by: u64,
    at_daemon: bool,
    at_gateway: bool,
    /// What was on its way when the daemon died never arrives.
    is_cut: bool,
    to_gateway_at: Instant,
    to_daemon_at: Instant,
}

#[derive(Default)]
pub(crate) struct Network {
    sockets: BTreeMap<SocketId, Socket>,
    last: u64,
    weather: BTreeMap<GatewayId, Weather>,
    /// When what was slow has arrived.
    clear_from: BTreeMap<GatewayId, Instant>,
    /// What waits for silence to end.
    held: BTreeMap<GatewayId, Vec<(SocketId, To, Piece)>>,
}

impl Network {
    pub(crate) fn weather(&self, gateway: GatewayId) -> Weather {
        self.weather.get(&gateway).copied().unwrap_or(Weather::Clear)
    }

    pub(crate) fn is_clear(&self, gateway: GatewayId, now: Instant) -> bool {
        self.weather(gateway) == Weather::Clear && self.clear_from.get(&gateway).is_none_or(|from| *from <= now)
    }

    pub(crate) fn set_weather(&mut self, gateway: GatewayId, weather: Weather) {
        self.weather.insert(gateway, weather);
    }

    /// What is on its way, or is late, is told until then.
    pub(crate) fn clears_at(&mut self, gateway: GatewayId, now: Instant) {
        self.clear_from.insert(gateway, now + SLOWEST * 2);
    }

    /// Whose the sockets are that the gateway believes to be open.
    pub(crate) fn open_at(&self, gateway: GatewayId) -> Vec<ProcessId> {
        let open = self.sockets.values().filter(|socket| socket.at_gateway && socket.holder.gateway == gateway);
        open.map(|socket| socket.holder.process).collect()
    }

    /// Whose a socket is.
    pub(crate) fn holder(&self, id: SocketId) -> Option<ProcessId> {
        self.sockets.get(&id).map(|socket| socket.holder.process)
    }

    fn of(&self, gateway: GatewayId) -> Vec<SocketId> {
        let of = self.sockets.iter().filter(|(_, socket)| socket.holder.gateway == gateway);
        of.map(|(id, _)| *id).collect()
    }
}

impl World {
    fn latency(&mut self, gateway: GatewayId) -> Duration {
        match self.network.weather(gateway) {
            Weather::Slow(most) => self.dice.ms(most / 4, most),
            _ => self.dice.ms(0, 8),
        }
    }

    /// The daemon's actor opens a socket.
    pub(crate) fn dial(&mut self, holder: Holder, timeout: Duration) {
        let owner = Owner::Daemon(holder.process);
        let too_late = move |step| DialFailure::Timeout { step };
        let way = self.latency(holder.gateway);
        let gateway = &self.gateways[&holder.gateway];
        let (fails_after, failure) = match self.network.weather(holder.gateway) {
            Weather::Silent | Weather::HalfOpen(_) => (timeout, too_late(DialStep::Connect)),
            Weather::Trickle => (timeout, too_late(DialStep::Upgrade)),
            _ if way > timeout => (timeout, too_late(DialStep::Upgrade)),
            _ if gateway.is_up && gateway.frozen_until.is_some_and(|until| self.now < until) => {
                (timeout, too_late(DialStep::Upgrade))
            }
            Weather::Clear | Weather::Slow(_) if gateway.is_up => {
                let taken_by = gateway.start;
                self.network.last += 1;
                let id = SocketId(self.network.last);
                let arrives = self.now + way;
                let socket = Socket {
                    holder,
                    taken_by,
                    at_daemon: true,
                    at_gateway: true,
                    is_cut: false,
                    to_gateway_at: arrives,
                    to_daemon_at: arrives,
                };
                self.network.sockets.insert(id, socket);
                self.after(way, owner, move |world| world.dialed(holder, Ok(id)));
                let gateway = Owner::Gateway(holder.gateway, taken_by);
                return self.after(way, gateway, move |world| world.gateway_greets(holder.gateway, id));
            }
            Weather::Clear | Weather::Slow(_) | Weather::Refusing => (way, DialFailure::Refused),
        };
        self.after(fails_after, owner, move |world| world.dialed(holder, Err(failure)));
    }

    /// Gives a piece to a socket.
    pub(crate) fn send(&mut self, id: SocketId, to: To, piece: Piece) {
        let Some(socket) = self.network.sockets.get_mut(&id) else { return };
        let ends = matches!(piece, Piece::End(_));
        let sender = if to == To::Gateway { &mut socket.at_daemon } else { &mut socket.at_gateway };
        if !*sender {
            return;
        }
        *sender = !ends;
        self.carry(id, to, piece);
    }

    fn carry(&mut self, id: SocketId, to: To, piece: Piece) {
        let Some(socket) = self.network.sockets.get(&id) else { return };
        let Holder { gateway, process, .. } = socket.holder;
        let taken_by = socket.taken_by;
        let weather = self.network.weather(gateway);
        if weather.holds(to) {
            return self.network.held.entry(gateway).or_default().push((id, to, piece));
        }
        let earliest = self.now + self.latency(gateway);
        let Some(socket) = self.network.sockets.get_mut(&id) else { return };
        let (arrives, owner) = match to {
            To::Gateway => (&mut socket.to_gateway_at, Owner::Gateway(gateway, taken_by)),
            To::Daemon => (&mut socket.to_daemon_at, Owner::Daemon(process)),
        };
        *arrives = earliest.max(*arrives);
        if weather == Weather::Trickle {
            *arrives += Duration::from_secs(piece.bytes() as u64);
        }
        // Before that the connection is broken.
        if *arrives > self.now + LONGEST_TRICKLE {
            return;
        }
        let at = *arrives;
        self.at(at, owner, move |world| world.arrive(id, to, piece));
    }

    fn arrive(&mut self, id: SocketId, to: To, piece: Piece) {
        let Some(socket) = self.network.sockets.get_mut(&id) else { return };
        let holder = socket.holder;
        if self.network.weather.get(&holder.gateway).is_some_and(|weather| weather.holds(to)) {
            return self.network.held.entry(holder.gateway).or_default().push((id, to, piece));
        }
        let ends = matches!(piece, Piece::End(_));
        let receiver = if to == To::Gateway { &mut socket.at_gateway } else { &mut socket.at_daemon };
        if !*receiver || (to == To::Gateway && socket.is_cut && !ends) {
            return;
        }
        *receiver = !ends;
        match to {
            To::Gateway => self.gateway_hears(holder.gateway, id, piece),
            To::Daemon => self.actor_hears(holder, id, piece),
        }
        if ends {
            self.network.sockets.retain(|_, socket| socket.at_daemon || socket.at_gateway);
        }
    }

    /// What was silent is so no more: what was held back arrives, or the connections turn out to be broken.
    pub(crate) fn clear_up(&mut self, gateway: GatewayId) {
        let trickled = self.network.weather(gateway) == Weather::Trickle;
        self.network.set_weather(gateway, Weather::Clear);
        self.network.clears_at(gateway, self.now);
        let held = self.network.held.remove(&gateway).unwrap_or_default();
        if !trickled && self.dice.happens(50) {
            for (id, to, piece) in held {
                self.carry(id, to, piece);
            }
        } else {
            self.reset(gateway);
        }
    }

    /// All connections to a gateway break.
    pub(crate) fn reset(&mut self, gateway: GatewayId) {
        self.disturb(gateway);
        for id in self.network.of(gateway) {
            // Whoever is told so reads nothing of what is on its way.
            if let Some(socket) = self.network.sockets.get_mut(&id) {
                (socket.to_gateway_at, socket.to_daemon_at) = (self.now, self.now);
            }
            self.carry(id, To::Gateway, Piece::End(None));
            self.carry(id, To::Daemon, Piece::End(None));
        }
    }

    /// The gateway's process is gone: its side of each socket ends.
    pub(crate) fn gateway_sockets_end(&mut self, gateway: GatewayId, code: Option<u16>) {
        for id in self.network.of(gateway) {
            self.send(id, To::Daemon, Piece::End(code));
        }
    }

    /// The daemon was killed: what it had sent arrives, or part of it doesn't.
    pub(crate) fn daemon_sockets_end(&mut self, process: ProcessId) {
        let ids: Vec<SocketId> = self.network.sockets.keys().copied().collect();
        for id in ids {
            let cut = self.dice.happens(50);
            if let Some(socket) = self.network.sockets.get_mut(&id).filter(|socket| socket.holder.process == process) {
                socket.is_cut = cut;
                self.send(id, To::Gateway, Piece::End(None));
            }
        }
    }
}
