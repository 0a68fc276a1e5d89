//! The life of one connection to one gateway, as a pure machine: attempts, handshake, heartbeat, requests, what is known.
//!
//! ```text
//! Idle --permit--> Dialing --> AwaitingChallenge --> Authenticating --> Ready
//!   ^                 |               |                    |              |
//!   |                 v               v                    v              v
//!   +------- Backoff | Starting | Restarting | Blocked  <-----------------+
//! ```
//!
//! Rules that hold whatever comes in (the property test throws everything at it):
//!
//! 1. One socket at a time. Each attempt has an [`Epoch`]; what an older one still says is ignored.
//! 2. No credential leaves without a permit, and every permit is settled once.
//! 3. Something is always due ([`Link::next_deadline`]) until the link is stopped: no state waits for good.
//! 4. `Ready` comes only from an accepted handshake (or, over HTTP, a health document and an accepted token).
//! 5. Every failure waits: no path leads from a failure to the next attempt without a delay or a permit.
//!
//! The shell feeds inputs with a [`Moment`] and carries out the [`Effect`]s that [`Link::take_effects`] gives.

mod attempt;
mod calls;
mod control;
mod deadlines;
mod effect;
mod ending;
mod frames;
mod handshaking;
mod http_dialect;
mod http_runs;
mod knowledge;
mod live;
mod log_following;
mod look_up;
mod outcomes;
mod probing;
mod reading;
mod run_watch;
mod run_words;
mod runs;
mod snapshot;
mod work_request;

use std::sync::Arc;
use std::time::Instant;

use gatewarden_protocol::address::GatewayAddress;
use gatewarden_protocol::{DeviceIdentity, Dialect};

use self::attempt::Asked;
pub use self::effect::{
    CallToken, Count, Effect, Epoch, HttpAnswer, HttpAsk, HttpOperation, LogNews, Moment, ProbeToken,
};
use self::ending::{Blocked, Grace};
use self::handshaking::Handshaking;
use self::http_dialect::HttpTalk;
use self::knowledge::Knowledge;
use self::live::Live;
use self::probing::Probes;
pub use self::probing::{MAX_PROBES, ProbeFinding};
use self::runs::Runs;
use self::snapshot::Telling;
use crate::gateway_record::{DeviceToken, SharedRecord};
use crate::gateway_report::{GatewayReport, Phase};
use crate::machines::backoff::Backoff;
use crate::machines::breaker::Breaker;
use crate::machines::heartbeat::Heartbeat;
use crate::machines::log_tail::LogTail;
use crate::settings::GatewaySettings;

/// What a link is made of.
#[derive(Debug, Clone)]
pub struct LinkParts {
    /// The stored record.
    pub record: SharedRecord,
    /// Times and bounds.
    pub settings: Arc<GatewaySettings>,
    /// Who we are.
    pub identity: Arc<DeviceIdentity>,
    /// Our version, told to gateways.
    pub version: String,
    /// Names this run of the daemon to gateways.
    pub instance_id: String,
}

/// Whether an authentication may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permit {
    /// Not asked for.
    None,
    /// Asked for; asked again then if no answer comes.
    Asked { again_at: Instant },
    /// Refused until then.
    Denied { until: Instant },
    /// Held and to be settled; whether credentials have left with it.
    Held { spent: bool },
}

/// What is under way within a phase.
#[derive(Debug)]
enum Stage {
    /// Not started, or waiting for a permit.
    Idle,
    /// A socket is being opened.
    Dialing { due: Instant },
    /// Upgraded; the gateway speaks first.
    AwaitingChallenge { due: Instant },
    /// The connect request (or `auth`) is out; a silent gateway is given up then.
    Authenticating { due: Instant },
    /// Speaking HTTP: a health document is awaited, then the token's acceptance.
    TryingHttp { due: Instant },
    /// Authenticated.
    Ready,
    /// Waiting for the next attempt.
    Waiting { until: Instant },
    /// Nothing will happen any more.
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub struct Link {
    record: SharedRecord,
    settings: Arc<GatewaySettings>,
    identity: Arc<DeviceIdentity>,
    version: String,
    instance_id: String,
    /// None where the stored host is no address that may be dialled.
    address: Option<GatewayAddress>,
    /// The address in its canonical form: what permits and device tokens belong to.
    key: String,

    phase: Phase,
    stage: Stage,
    epoch: Epoch,
    /// Whether a socket of the present epoch is open or being opened.
    has_socket: bool,
    permit: Permit,
    asked: Asked,
    /// Whether there was an attempt before: the next one is a reconnect.
    attempted: bool,
    handshaking: Option<Handshaking>,
    http: Option<HttpTalk>,
    live: Option<Box<Live>>,

    device_token: Option<DeviceToken>,
    /// The gateway rejected the device token: not to be used until something changes.
    without_device_token: bool,
    /// The build that a control UI must claim, once the gateway named it.
    build_id: Option<String>,
    /// The dialect of the last success.
    dialect: Option<Dialect>,

    backoff: Backoff,
    breaker: Breaker,
    heartbeat: Heartbeat,
    blocked: Option<Blocked>,
    grace: Option<Grace>,
    knowledge: Knowledge,
    probes: Probes,
    runs: Runs,
    telling: Telling,
    logs: LogTail,
    effects: Vec<Effect>,
}

impl Link {
    /// A link that waits for [`Link::start`].
    pub fn new(parts: LinkParts, moment: Moment) -> Self {
        let LinkParts { record, settings, identity, version, instance_id } = parts;
        let (address, key) = attempt::resolve(&record);
        Self {
            backoff: Backoff::new(settings.backoff.clone(), settings.stable_after),
            breaker: Breaker::new(settings.breaker_failures),
            heartbeat: Heartbeat::new(
                settings.heartbeat_interval,
                settings.heartbeat_timeout,
                settings.missed_heartbeats,
                settings.degraded_latency,
            ),
            knowledge: Knowledge::new(moment, settings.probe_interval, record.dialect),
            dialect: record.dialect,
            record,
            settings,
            identity,
            version,
            instance_id,
            address,
            key,
            phase: Phase::Idle,
            stage: Stage::Idle,
            epoch: Epoch(0),
            has_socket: false,
            permit: Permit::None,
            asked: Asked::default(),
            attempted: false,
            handshaking: None,
            http: None,
            live: None,
            device_token: None,
            without_device_token: false,
            build_id: None,
            blocked: None,
            grace: None,
            probes: Probes::default(),
            runs: Runs::default(),
            telling: Telling::default(),
            logs: LogTail::default(),
            effects: Vec::new(),
        }
    }

    /// What the shell must do now, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The attempt whose socket counts.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last report that was given out.
    pub fn report(&self) -> &GatewayReport {
        self.knowledge.report()
    }

    /// The record that the link works from.
    pub fn record(&self) -> &SharedRecord {
        &self.record
    }

    /// The address that dials go to, if the stored host is one.
    pub fn address(&self) -> Option<&GatewayAddress> {
        self.address.as_ref()
    }

    /// The only way to another phase. `reason` is a stable code, for the log.
    fn enter(&mut self, moment: Moment, phase: Phase, stage: Stage, reason: &'static str) {
        debug_assert!(
            is_legal(self.phase, phase),
            "a link must not go from {} to {} ({reason})",
            self.phase.as_str(),
            phase.as_str()
        );
        self.knowledge.next_attempt_ms = match &stage {
            Stage::Waiting { until } => Some(moment.wall_of(*until)),
            _ => None,
        };
        self.stage = stage;
        if self.phase != phase {
            self.effects.push(Effect::StateChanged { from: self.phase, to: phase, reason });
            self.phase = phase;
        }
    }

    /// Whether `epoch` is the present one and its socket is wanted.
    fn is_current(&self, epoch: Epoch) -> bool {
        self.has_socket && self.epoch == epoch
    }

    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Ends every input: derives status, health point and report from what is known now.
    fn settle(&mut self, moment: Moment) {
        self.tell_sessions(moment);
        // Stopping says nothing about the gateway: what was last known stays as it was told.
        if self.phase != Phase::Stopping {
            let facts = self.facts(moment);
            let view = self.view(moment);
            self.knowledge.publish(moment, facts, view, &mut self.effects);
        }
        self.probes.flush(moment.wall_ms, self.knowledge.current(), &mut self.effects);
    }
}

/// The transitions that make sense; a phase may always stay what it is.
fn is_legal(from: Phase, to: Phase) -> bool {
    use Phase::{
        Authenticating, AwaitingChallenge, Backoff, Blocked, Dialing, Idle, Parked, Ready, Restarting, Starting,
        Stopping,
    };
    let ends = matches!(to, Idle | Backoff | Blocked | Starting | Restarting | Stopping);
    match from {
        Idle => matches!(to, Idle | Dialing | Blocked | Stopping),
        Dialing => ends || matches!(to, Dialing | AwaitingChallenge | Authenticating),
        AwaitingChallenge => ends || matches!(to, AwaitingChallenge | Authenticating),
        Authenticating => ends || matches!(to, Authenticating | Ready),
        Ready => ends || to == Ready,
        // Still connected while the restart is only announced: anything may end it.
        Restarting => ends,
        Backoff | Starting | Blocked => {
            to == from || matches!(to, Idle | Stopping) || (from == Starting && to == Backoff)
        }
        Parked | Stopping => to == from,
    }
}

#[cfg(test)]
mod tests;
