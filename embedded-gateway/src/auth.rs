//! Who is let in: the handshake of a connection, its credentials, and what it is told when it may not come in.
//!
//! Two halves, both pure. A [`Handshake`] belongs to one connection and runs in its task: it reads the first frame, checks
//! its form and a device's signature, and ends in a [`FirstStep`]. What is left is an [`Attempt`], which goes to the core actor,
//! where [`crate::machine::GatewayMachine::admit`] decides with the one registry of devices and the one list of lock-outs.

mod admit;
mod approval;
mod bearer;
mod connect_params;
mod credential;
mod entry;
mod failure_log;
mod handshake;
mod hello;
pub(crate) mod lockout;
mod origin;
mod proof;
mod refusals;
pub(crate) mod report;
pub(crate) mod scopes;
mod shared;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};
use serde_json::Value;

use crate::caller::{Caller, ConnectionId};
use crate::config::GatewayConfig;
use crate::reply::CallError;

pub(crate) use connect_params::{Client, ConnectParams, Credentials, DeviceClaim};
pub(crate) use failure_log::FailureLog;
pub(crate) use handshake::{FirstStep, Handshake};
pub(crate) use lockout::{LockOutKey, LockOuts};
pub(crate) use origin::origin_is_allowed;

#[derive(Debug)]
pub(crate) struct AuthState {
    pub lock_outs: LockOuts,
    pub failure_log: FailureLog,
}

impl AuthState {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            lock_outs: LockOuts::new(config.limits.auth_failures, config.limits.lockout),
            failure_log: FailureLog::default(),
        }
    }
}

/// The newest protocol that this gateway speaks.
pub(crate) const NEWEST_PROTOCOL: u32 = 4;
/// The oldest protocol that this gateway speaks.
pub(crate) const OLDEST_PROTOCOL: u32 = 3;
/// Most that a `signedAt` may differ from the gateway's clock, in ms (2026.3.24 and 2026.9.6: 110 s pass, 130 s don't).
pub(crate) const SIGNATURE_SKEW_MS: u64 = 120_000;

/// Where a connection or a request comes from, as its HTTP head said. `host` has been checked against the allowed names
/// before (an unlisted one is refused at the upgrade).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub remote: IpAddr,
    /// The `Origin` header: only browsers send one.
    pub origin: Option<String>,
    /// The `Host` header (or the authority of the URL), with its port.
    pub host: Option<String>,
    /// It came with a header in which a proxy names the client that it speaks for: the other end of the socket is not who asks.
    /// Whoever sent it, and whatever it says, it makes nobody local.
    pub forwarded: bool,
}

/// Headers that proxies add (the same that real releases look for).
pub(crate) const FORWARDING_HEADERS: [&str; 5] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

impl Peer {
    /// On this machine, named as such, and no browser: the one kind of peer that is trusted without an approval, if it
    /// shows the shared credential. (A loopback peer that asks for another host name is a proxy's client, and so is one whose
    /// proxy says so: many proxies name the gateway by its loopback address.)
    pub fn is_local(&self) -> bool {
        self.is_near() && self.origin.is_none()
    }

    /// On this machine, and named as such; perhaps a browser.
    fn is_near(&self) -> bool {
        !self.forwarded
            && self.remote.to_canonical().is_loopback()
            && self.host.as_deref().is_none_or(origin::is_loopback_authority)
    }
}

/// Who a connection says to be, after everything that needs no registry has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub connection: ConnectionId,
    pub peer: Peer,
    /// The request's id as sent; none where it had none (`auth` of the `rpc` dialect).
    pub request: Option<String>,
    pub claim: Claim,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    Connect {
        params: Box<ConnectParams>,
        /// The protocol chosen from its range: 3 or 4.
        protocol: u32,
        /// The device that it proved to be, where it did: its id is that of its key, and the key signed this connection's
        /// nonce.
        proven: Option<ProvenDevice>,
    },
    /// Refused already, without the registry: a device that is not the one it says to be, a page that may not come in. The
    /// core counts and writes it.
    Refused {
        client_id: String,
        refusal: Box<Refusal>,
        /// A wrong proof: it counts towards the lock-out.
        counts: bool,
    },
    /// `auth` of the `rpc` dialect (document 004).
    Auth {
        token: Option<Secret>,
        password: Option<Secret>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenDevice {
    /// Lowercase hex SHA-256 of the public key.
    pub id: String,
    /// Raw public key, base64url without padding.
    pub public_key: String,
}

impl Attempt {
    pub fn dialect(&self) -> Dialect {
        match &self.claim {
            Claim::Connect { .. } => Dialect::Openclaw,
            Claim::Auth { .. } => Dialect::Rpc,
            Claim::Refused { refusal, .. } => refusal.dialect,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
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

#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub dialect: Dialect,
    pub request: Option<String>,
    pub error: CallError,
    pub close_code: u16,
    /// Reason of the close (cut at 123 bytes on the wire).
    pub close_reason: String,
}
