//! One input of a connection: when it comes, what the machines within are handed for it, and what they await of the gateway.

use std::time::{Duration, Instant};

use gatewarden_protocol::WireError;
use serde_json::Value;

use super::peer::Peer;
use super::{Effect, GatewayNotice};
use crate::error::Failure;
use crate::gateway_report::{Phase, Problem, unavailable};
use crate::spawn::Certainty;

/// Time and chance at one input.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic.
    pub now: Instant,
    /// Wall time in ms.
    pub wall_ms: i64,
    /// A random number in `[0, 1)`.
    pub jitter: f64,
    /// When the daemon last came back from a time in which it got none itself: the machine was suspended, or the process stopped.
    pub woke: Option<Instant>,
}

impl Moment {
    /// A later instant, and its wall time.
    pub(super) fn until(&self, at: Instant) -> Until {
        let ahead = i64::try_from(at.saturating_duration_since(self.now).as_millis()).unwrap_or(i64::MAX);
        Until { at, wall_ms: self.wall_ms.saturating_add(ahead) }
    }
}

/// A moment to come. Its wall time is computed once, so that what is shown of it stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Until {
    pub(super) at: Instant,
    pub(super) wall_ms: i64,
}

/// One socket or HTTP conversation. It grows with each attempt; what arrives for an older one is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Names a caller that waits in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallToken(pub u64);

/// Names a probe that waits in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeToken(pub u64);

/// What the machines within a connection are handed: when it is, what gateway it is about, and where their effects go.
pub(super) struct Turn<'a> {
    pub(super) moment: Moment,
    pub(super) epoch: Epoch,
    pub(super) peer: &'a Peer,
    pub(super) phase: Phase,
    pub(super) problem: Option<&'a Problem>,
    /// When it is dialled again by itself.
    pub(super) next_attempt: Option<Instant>,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn notify(&mut self, notice: GatewayNotice) {
        self.push(Effect::Notify(notice));
    }

    /// Why nothing can be asked now.
    pub(super) fn unavailable(&self) -> Failure {
        let wait = self.next_attempt.map(|at| at.saturating_duration_since(self.moment.now));
        unavailable(&self.peer.record.name, self.phase, self.problem, wait)
    }
}

/// No caller waits longer than this.
pub(super) const MAX_CALL: Duration = Duration::from_secs(600);

/// What a reply is awaited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PendingKind {
    Caller(CallToken),
    Heartbeat,
    /// What a gateway that calls itself degraded says of itself by now.
    Health,
    Agents,
    AgentsFromConfig,
    Subscribe,
    Sessions,
    Run(CallToken),
    /// What must be set before a run is started, and whether that makes no sense without.
    Preparation(CallToken, bool),
    LookUp(CallToken),
    Kill(CallToken),
    Logs,
}

impl PendingKind {
    pub(super) fn is_read(self) -> bool {
        matches!(self, Self::Agents | Self::AgentsFromConfig | Self::Subscribe | Self::Sessions)
    }
}

/// Why a request wasn't answered as it was meant to be.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The gateway said no.
    Refused(WireError),
    /// The gateway doesn't know the method.
    NotOffered(WireError),
    /// Nothing came back, or nothing that tells; and whether the gateway may be carrying the request out.
    Lost(Failure, Certainty),
}

impl NoAnswer {
    pub(super) fn failure(self, peer: &Peer, method: &str) -> Failure {
        match self {
            Self::Refused(error) => peer.refused(method, &error),
            Self::NotOffered(_) => peer.not_supported(method),
            Self::Lost(failure, _) => failure,
        }
    }
}

pub(super) type Outcome = Result<Value, NoAnswer>;
