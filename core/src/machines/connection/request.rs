//! A request to the gateway: what its reply is awaited for, and what may come of it.

use std::time::Duration;

use gatewarden_protocol::WireError;
use serde_json::Value;

use super::peer::Peer;
use super::turn::CallToken;
use crate::error::Failure;
use crate::run::Certainty;

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
