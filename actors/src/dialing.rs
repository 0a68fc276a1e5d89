//! How a gateway is reached over the network: resolve, connect, TLS, upgrade, frames; and plain HTTP requests.
//!
//! A [`Dialer`] is the seam: `Gateway` actors hold an `Arc<dyn Dialer>`, [`NetworkDialer`] is the real one, and tests
//! script one. What comes out of a dial is a pair of halves: a stream of [`Incoming`] messages and an
//! [`Outgoing`] queue. Nobody answers pings or close frames by itself: the actor does.
//!
//! Rules kept here, whoever dials: the address that is dialled is the one that was checked (one resolution a dial), no
//! redirect is followed, no `Origin` is sent unless asked for, a frame is refused by its header before it is buffered, and
//! neither a peer that sends too much nor one that doesn't read can make memory grow.
//!
//! WebSockets are opened by awc (`upgrade`), on a connection that this module has made; frames are then read by
//! [`socket`] in place of awc's codec, which waits for a whole frame before it compares the length. As of awc 3.11 these
//! parts are not left to it:
//!
//! - Names and TCP: its connector's resolver has no place for the check of addresses, and tries one after the other.
//! - TLS: it takes the name to check from the URL with the brackets on (`[fd00::1]`), which is no name for rustls, so that no
//!   gateway at an IPv6 address could be reached; and whether a dial hangs in the handshake or in the upgrade can't be told
//!   from outside.
//! - Plain requests (`exchange`), since its `h1proto::send_request` gives no access to the connection behind an answer: it
//!   takes an interim answer (103) for the final one, gives an HTTP/1.1 answer without a length an empty body, and ends a
//!   body that was cut short as if it were whole.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::LocalBoxStream;
use gatewarden_protocol::{GatewayAddress, Secret};

use crate::gateway_record::TlsTrust;

pub mod channel;
mod connect;
mod exchange;
pub mod http_probe;
pub mod login;
pub mod network;
mod resolver;
mod socket;
mod tls;
pub mod unconnected_probe;
mod upgrade;

pub use gatewarden_core::dialing::{
    DialFailure, DialRequest, DialStep, Health, HealthFailure, Held, HttpReply, MemoryAccount, MemoryBudget,
    MemoryPermit, SocketError, failure, memory_budget, read_health,
};
pub use network::NetworkDialer;
pub use socket::{FrameCap, Incoming, Outgoing, Sent};

/// Reaches gateways. One serves the whole process; its futures run on the arbiter that polls them.
pub trait Dialer: Send + Sync {
    /// Opens a WebSocket. Ends within the request's timeout. What the gateway sends is held at the expense of `memory`.
    fn dial(
        &self,
        request: DialRequest,
        memory: &MemoryAccount,
    ) -> LocalBoxFuture<'static, Result<Dialed, DialFailure>>;

    /// Sends one HTTP request on a connection of its own. Any status is an answer; ends within the request's timeout. The answer
    /// is held at the expense of `memory`.
    fn http(
        &self,
        request: HttpRequest,
        memory: &MemoryAccount,
    ) -> LocalBoxFuture<'static, Result<HttpReply, DialFailure>>;

    /// What all gateways that are reached through this dialer may make us hold.
    fn memory(&self) -> MemoryBudget {
        MemoryBudget::default()
    }
}

/// Method of an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
}

/// An HTTP request to send. A credential can only be put in by [`http_probe::HttpGateway`], which has seen a health document.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Where; the address's own path goes before `path`.
    pub address: GatewayAddress,
    /// Whom to trust, where the address says TLS.
    pub tls: TlsTrust,
    /// Method.
    pub method: HttpMethod,
    /// Path and query, starting with a slash.
    pub path: String,
    /// JSON body of a `POST`.
    pub body: Option<Bytes>,
    /// Further headers. Not for credentials.
    pub headers: Vec<(&'static str, String)>,
    /// Budget of all steps together, to the body's last byte.
    pub timeout: Duration,
    /// A longer response body is a failure, bytes.
    pub max_body: usize,
    bearer: Option<Secret>,
}

impl HttpRequest {
    /// A request without body and without credentials.
    pub fn get(
        address: GatewayAddress,
        tls: TlsTrust,
        path: impl Into<String>,
        timeout: Duration,
        max_body: usize,
    ) -> Self {
        Self {
            address,
            tls,
            method: HttpMethod::Get,
            path: path.into(),
            body: None,
            headers: Vec::new(),
            timeout,
            max_body,
            bearer: None,
        }
    }

    /// A request with a JSON body, and without credentials.
    pub fn post(
        address: GatewayAddress,
        tls: TlsTrust,
        path: impl Into<String>,
        body: Bytes,
        timeout: Duration,
        max_body: usize,
    ) -> Self {
        Self { method: HttpMethod::Post, body: Some(body), ..Self::get(address, tls, path, timeout, max_body) }
    }

    /// The credential, if this request carries one.
    pub fn bearer(&self) -> Option<&Secret> {
        self.bearer.as_ref()
    }
}

/// How long each step took; none where there was no such step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DialTimings {
    /// Name resolution.
    pub resolve: Option<Duration>,
    /// TCP.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// HTTP upgrade.
    pub upgrade: Option<Duration>,
}

/// What a socket gives: messages until the first error or the end. The end comes without a word (`None`) when the peer
/// goes away, with [`Incoming::Close`] before it when it said goodbye.
pub type IncomingStream = LocalBoxStream<'static, Result<Incoming, SocketError>>;

/// An open WebSocket. Dropping `incoming` closes the connection once what is queued has been sent, or after a second.
pub struct Dialed {
    /// What the gateway says.
    pub incoming: IncomingStream,
    /// What we say.
    pub outgoing: Outgoing,
    /// How large a message the gateway may send: 64 KiB until raised.
    pub frame_cap: FrameCap,
    /// How long each step took.
    pub timings: DialTimings,
    /// The address dialled.
    pub peer: SocketAddr,
}

impl std::fmt::Debug for Dialed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialed").field("peer", &self.peer).field("timings", &self.timings).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
