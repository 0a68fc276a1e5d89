//! Who is let in: the handshake of a connection, its credentials, and what it is told when it may not come in.
//!
//! Two halves, both pure. A [`Handshake`] belongs to one connection and runs in its task: it reads the first frame, checks
//! its form and a device's signature, and ends in a [`FirstStep`]. What is left is an [`Attempt`], which goes to the core actor,
//! where [`crate::machine::GatewayMachine::admit`] decides with the one registry of devices and the one list of lock-outs.

mod admit;
mod connect_params;
mod credential;
mod handshake;
mod hello;
mod host_guard;
mod ingress;
mod lockout;
mod origin;
mod refusals;
pub(crate) mod report;
#[cfg(test)]
mod tests;
pub(crate) mod webhook_secret;

use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};
use serde_json::Value;

use crate::call::CallError;
use crate::caller::{Caller, ConnectionId, Role};
use crate::config::GatewayConfig;

pub(crate) use connect_params::{Client, ConnectParams};
pub(crate) use credential::same_secret;
pub(crate) use handshake::{FirstStep, Handshake};
pub(crate) use host_guard::{HOST_NOT_ALLOWED, HostGuard};
pub(crate) use ingress::{Ingress, NOT_THROUGH_TAILSCALE, TailnetLogin, tailscale_client};
use lockout::{FailureLog, LockOuts};
pub(crate) use origin::{Peer, origin_is_allowed};

/// The newest protocol that this gateway speaks.
const NEWEST_PROTOCOL: u32 = 4;
/// The oldest protocol that this gateway speaks.
const OLDEST_PROTOCOL: u32 = 3;

/// What the gateway remembers of those who tried to log in.
#[derive(Debug)]
pub(crate) struct AuthState {
    pub(crate) lock_outs: LockOuts,
    pub(crate) failure_log: FailureLog,
}

impl AuthState {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            lock_outs: LockOuts::new(config.limits.auth_failures, config.limits.lockout),
            failure_log: FailureLog::default(),
        }
    }
}

/// Who a connection says to be, after everything that needs no registry has been checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) connection: ConnectionId,
    pub(crate) peer: Peer,
    /// The request's id as sent; none where it had none (`auth` of the `rpc` dialect).
    pub(crate) request: Option<String>,
    pub(crate) claim: Claim,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Claim {
    /// `connect` of the `openclaw` dialect.
    Connect {
        params: Box<ConnectParams>,
        /// The protocol chosen from its range: 3 or 4.
        protocol: u32,
        role: Role,
        proven: Option<ProvenDevice>,
    },
    /// Refused already, without the registry: a device that is not the one it says to be, a page that may not come in. The
    /// core counts and writes it.
    Refused { client_id: String, dialect: Dialect, rejection: Box<Rejection> },
    /// `auth` of the `rpc` dialect (document 004).
    Auth { token: Option<Secret>, password: Option<Secret> },
}

/// A device whose proof holds: its id is that of its key, and the key signed this connection's nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProvenDevice {
    /// Lowercase hex SHA-256 of the public key.
    pub(crate) id: String,
    /// Raw public key, base64url without padding.
    pub(crate) public_key: String,
}

impl Attempt {
    /// The Tailscale login that it could be let in by, if that is confirmed: a page in a browser that shows no shared credential. It
    /// comes as an operator and with a device.
    pub(crate) fn claimed_login(&self) -> Option<&str> {
        let (Some(TailnetLogin::Claimed(login)), Claim::Connect { params, role: Role::Operator, proven: Some(_), .. }) =
            (&self.peer.tailnet, &self.claim)
        else {
            return None;
        };
        let shown = &params.credentials;
        let shows_none = shown.token.is_none() && shown.password.is_none() && shown.bootstrap_token.is_none();
        (origin::is_control_ui(&params.client) && shows_none).then_some(login)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match &self.claim {
            Claim::Connect { .. } => Dialect::Openclaw,
            Claim::Auth { .. } => Dialect::Rpc,
            Claim::Refused { dialect, .. } => *dialect,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rejection {
    pub(crate) error: CallError,
    /// The reason of the close, where it isn't the error's message.
    pub(crate) close_reason: Option<String>,
    /// A wrong credential or proof was shown: it counts towards the lock-out.
    pub(crate) counts: bool,
}

type Decision<T> = Result<T, Box<Rejection>>;

fn reject<T>(error: CallError, counts: bool) -> Decision<T> {
    Err(Box::new(Rejection { error, close_reason: None, counts }))
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Admission {
    /// Let in. The connection sends the hello first of all, then what waits in its queue.
    In {
        caller: Arc<Caller>,
        request: Option<String>,
        hello: Value,
        /// A client as document 002 has it, which looks for a reply's content under `result`: this is that of the hello.
        /// All later replies to it carry their payload under both names.
        documented: Option<Value>,
    },
    Refused(Refusal),
}

/// How a connection is refused: an error reply, then a close.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) dialect: Dialect,
    pub(crate) request: Option<String>,
    pub(crate) error: CallError,
    pub(crate) close_code: u16,
    /// Cut at 123 bytes on the wire.
    pub(crate) close_reason: String,
}

impl Refusal {
    /// A refusal whose close reason is the message, with code 1008.
    fn new(dialect: Dialect, request: Option<String>, error: CallError) -> Self {
        let close_reason = error.message.clone();
        Self { dialect, request, error, close_code: 1008, close_reason }
    }
}
