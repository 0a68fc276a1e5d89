//! The `Gateway` actor: one per registered gateway. A thin shell around [`crate::machines::link`]: it owns the socket
//! halves and the clock, feeds the link and carries out what the link says.
//!
//! | file | does |
//! | --- | --- |
//! | `messages` | what it may be told, and what it tells |
//! | `handlers` | message in, link, effects out |
//! | `effects` | carries out what the link says |
//! | `socket` | dials, and reads what comes in |
//! | `log_handlers` | followers of the gateway's log |
//! | `http_dialect` | HTTP conversations |
//! | `probe` | tries beside the connection |
//! | `timer` | the one armed deadline |
//!
//! Nothing here decides; no await in here waits for another actor.

mod effects;
mod handlers;
mod http_dialect;
mod log_handlers;
pub mod messages;
mod probe;
mod socket;
mod timer;

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;
use gatewarden_protocol::DeviceIdentity;
use serde_json::Value;

use self::http_dialect::HttpConversation;
use self::log_handlers::Followers;
use self::messages::{FromGateway, GatewayHandle, Reply};
use self::socket::Socket;
use self::timer::Timer;
use crate::clock::Clock;
use crate::dialing::memory_budget::{Decoding, MemoryPermit};
use crate::dialing::{Dialer, Held, MemoryAccount, SocketError};
use crate::error::Failure;
use crate::gateway_notice::GatewayNotice;
use crate::gateway_record::SharedRecord;
use crate::gateway_report::ProbeOutcome;
use crate::ids::GatewayId;
use crate::machines::link::{CallToken, Link, LinkParts, Moment, ProbeToken};
use crate::metrics::Metrics;
use crate::run::{Accepted, LookedUp, NotAccepted};
use crate::settings::GatewaySettings;

/// Messages that may wait for one gateway's actor.
const MAILBOX: usize = 512;

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
    /// Names this run of the daemon to gateways.
    pub instance_id: String,
    /// The daemon's version, told to gateways.
    pub version: String,
}

/// Holds one connection to one gateway and says what is known of it.
pub struct GatewayActor {
    id: GatewayId,
    incarnation: u64,
    link: Link,
    dialer: Arc<dyn Dialer>,
    memory: MemoryAccount,
    /// Covers what is kept between two messages.
    kept: MemoryPermit,
    /// Covers the values of the message that is being handled.
    decoded: Option<MemoryPermit>,
    supervisor: Recipient<FromGateway>,
    clock: Clock,
    metrics: Arc<Metrics>,
    socket: Socket,
    http: HttpConversation,
    timer: Timer,
    callers: HashMap<CallToken, Reply<Result<Held<Value>, Failure>>>,
    starters: HashMap<CallToken, Reply<Result<Accepted, NotAccepted>>>,
    seekers: HashMap<CallToken, Reply<Result<LookedUp, Failure>>>,
    probers: HashMap<ProbeToken, Reply<ProbeOutcome>>,
    followers: Followers,
    last_token: u64,
}

impl GatewayActor {
    /// An actor that dials as soon as it is started and has a permit.
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts {
            record,
            incarnation,
            settings,
            identity,
            dialer,
            supervisor,
            clock,
            metrics,
            instance_id,
            version,
        } = parts;
        let id = record.id;
        let moment = moment_of(&clock);
        let link = Link::new(LinkParts { record, settings, identity, version, instance_id }, moment);
        let memory = dialer.memory().account();
        Self {
            id,
            incarnation,
            link,
            kept: memory.permit(),
            memory,
            decoded: None,
            dialer,
            supervisor,
            clock,
            metrics,
            socket: Socket::default(),
            http: HttpConversation::default(),
            timer: Timer::default(),
            callers: HashMap::new(),
            starters: HashMap::new(),
            seekers: HashMap::new(),
            probers: HashMap::new(),
            followers: Followers::default(),
            last_token: 0,
        }
    }

    /// Starts one on an arbiter. It stays there: its sockets belong to that thread.
    pub fn start_in(arbiter: &ArbiterHandle, parts: GatewayParts) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |_| Self::new(parts))
    }

    /// One input: the link decides, the effects are carried out, the timer is set to what is due next.
    fn feed<T>(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Link, Moment) -> T) -> T {
        let answer = input(&mut self.link, moment_of(&self.clock));
        self.perform(ctx);
        self.cover_kept(ctx);
        self.rearm(ctx);
        answer
    }

    /// One input with something to decode, at the expense of this gateway's account. What an answer takes along is covered until
    /// whoever asked has done with it.
    fn feed_decoding(
        &mut self,
        ctx: &mut Context<Self>,
        permit: Option<MemoryPermit>,
        input: impl FnOnce(&mut Link, Moment, &mut Decoding<'_>),
    ) {
        let mut permit = permit.unwrap_or_else(|| self.memory.permit());
        let mut decoding = permit.decoding();
        input(&mut self.link, moment_of(&self.clock), &mut decoding);
        self.decoded = Some(permit);
        self.perform(ctx);
        self.decoded = None;
        self.cover_kept(ctx);
        self.rearm(ctx);
    }

    /// What the link keeps is covered, or given up.
    fn cover_kept(&mut self, ctx: &mut Context<Self>) {
        if let Err(excess) = self.kept.set_to(self.link.held_bytes()) {
            let (moment, epoch) = (moment_of(&self.clock), self.link.epoch());
            self.link.on_socket_error(moment, epoch, &SocketError::OutOfMemory(excess));
            self.perform(ctx);
            // What is left is less than was covered before.
            let _ = self.kept.set_to(self.link.held_bytes());
        }
    }

    fn tell(&self, notice: GatewayNotice) {
        // Reports are throttled by the link, so that what waits for the registry stays small.
        self.metrics.notice_sent();
        self.supervisor.do_send(FromGateway { id: self.id, incarnation: self.incarnation, notice });
    }

    fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }
}

impl From<Addr<GatewayActor>> for GatewayHandle {
    fn from(actor: Addr<GatewayActor>) -> Self {
        Self::new(actor.recipient())
    }
}

impl Actor for GatewayActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.feed(ctx, Link::start);
    }
}

fn moment_of(clock: &Clock) -> Moment {
    Moment { now: clock.now(), wall_ms: clock.wall_ms(), chance: clock.random_unit() }
}

#[cfg(test)]
mod tests;
