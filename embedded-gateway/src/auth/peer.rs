//! Where a connection or a request comes from, as its HTTP head said.

use std::net::IpAddr;

use actix_http::RequestHead;
use actix_http::header::{HOST, ORIGIN};
use gatewarden_protocol::forwarded::client_behind;

use super::origin;
use crate::config::GatewayConfig;

/// Headers that proxies add (the same that real releases look for).
const FORWARDING_HEADERS: [&str; 5] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// `host` has been checked against the allowed names before (an unlisted one is refused first of all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Address of the other end of the socket, or of the client that a trusted proxy there speaks for: who is counted and
    /// written down.
    pub(crate) remote: IpAddr,
    /// The `Origin` header: only browsers send one. One that is no text is empty, which no list has.
    pub(crate) origin: Option<String>,
    /// The `Host` header (or the authority of the URL), with its port.
    pub(crate) host: Option<String>,
    /// It came with a header in which a proxy names the client that it speaks for: the other end of the socket is not who asks.
    /// Whoever sent it, and whatever it says, it makes nobody local.
    pub(crate) forwarded: bool,
}

impl Peer {
    /// `remote` is the other end of the socket.
    pub(crate) fn of_request(remote: IpAddr, head: &RequestHead, config: &GatewayConfig) -> Self {
        let headers = head.headers();
        let text = |name| headers.get(name).map(|value| value.to_str().map(str::to_owned).unwrap_or_default());
        let lines = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
        Self {
            remote: client_behind(remote, hops.into_iter(), &config.trusted_proxies).to_canonical(),
            origin: text(ORIGIN),
            host: text(HOST).or_else(|| head.uri.authority().map(ToString::to_string)),
            forwarded: FORWARDING_HEADERS.iter().any(|name| headers.contains_key(*name)),
        }
    }

    /// On this machine, named as such, and no browser: the one kind of peer that is trusted without an approval, if it
    /// shows the shared credential. (A loopback peer that asks for another host name is a proxy's client, and so is one whose
    /// proxy says so: many proxies name the gateway by its loopback address.)
    pub(crate) fn is_local(&self) -> bool {
        self.is_near() && self.origin.is_none()
    }

    /// On this machine, and named as such; perhaps a browser.
    pub(super) fn is_near(&self) -> bool {
        !self.forwarded
            && self.remote.to_canonical().is_loopback()
            && self.host.as_deref().is_none_or(origin::is_loopback_authority)
    }
}
