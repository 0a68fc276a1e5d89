//! Where a connection or a request comes from, which browser pages may talk to the gateway, and which names are this machine's
//! own.

use std::net::IpAddr;

use actix_http::RequestHead;
use actix_http::header::{HOST, ORIGIN};
use gatewarden_protocol::forwarded::client_behind;
use url::{Host, Url};

use super::{Client, Ingress, TailnetLogin, tailscale_client};
use crate::config::GatewayConfig;

/// Whether a client is one that runs in a browser by its own word, and so must come with an `Origin`.
pub(super) fn is_control_ui(client: &Client) -> bool {
    matches!(client.id.as_str(), "webchat-ui" | "openclaw-control-ui") || client.mode == "webchat"
}

/// The check of a `connect`: a control UI must come from an allowed page, and so must everybody who sends an `Origin` at
/// all. The error is `details.reason` of the refusal.
pub(super) fn check(peer: &Peer, client: &Client, config: &GatewayConfig) -> Result<(), &'static str> {
    match &peer.origin {
        None if is_control_ui(client) => Err("origin missing or invalid"),
        None => Ok(()),
        Some(_) => of_page(peer, config),
    }
}

/// The check of what carries an `Origin`, whoever it says to be.
pub(super) fn of_page(peer: &Peer, config: &GatewayConfig) -> Result<(), &'static str> {
    let Some(origin) = &peer.origin else { return Ok(()) };
    if parse(origin).is_none() {
        return Err("origin missing or invalid");
    }
    if origin_is_allowed(peer, config) { Ok(()) } else { Err("origin not allowed") }
}

/// Whether the page that a request comes from may talk to the gateway: it comes from the gateway's own address, or it is
/// listed in `gateway.controlUi.allowedOrigins`, or it is served by this machine to this machine. True without an
/// `Origin`. HTTP and WebSocket share this rule. A `*` in the list allows nothing.
pub(crate) fn origin_is_allowed(peer: &Peer, config: &GatewayConfig) -> bool {
    let Some(origin) = &peer.origin else { return true };
    let Some(page) = parse(origin) else { return false };
    is_own(&page, peer)
        || config.control_ui.allowed_origins.iter().filter_map(|allowed| parse(allowed)).any(|allowed| allowed == page)
        || (peer.is_near() && is_loopback(&page.host))
}

/// An origin in comparable form: default ports filled in, names in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    scheme: String,
    host: Host<String>,
    port: u16,
}

fn parse(origin: &str) -> Option<Page> {
    if origin.len() > 512 {
        return None;
    }
    let url = Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let bare = url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
    if !bare || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    Some(Page { scheme: url.scheme().to_owned(), host: url.host()?.to_owned(), port: url.port_or_known_default()? })
}

/// Whether a page comes from what the peer's `Host` header names.
fn is_own(page: &Page, peer: &Peer) -> bool {
    let own = peer.host.as_deref().and_then(|host| parse(&format!("{}://{host}", page.scheme)));
    own.as_ref() == Some(page)
}

fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
    }
}

/// Whether a `Host` header names this machine: `localhost`, `127.0.0.1`, `[::1]`, with or without a port.
fn is_loopback_authority(authority: &str) -> bool {
    parse(&format!("http://{authority}")).is_some_and(|page| is_loopback(&page.host))
}

/// Headers that proxies add, Tailscale's among them (the same that real releases look for).
const FORWARDING_HEADERS: [&str; 10] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "tailscale-funnel-request",
    "tailscale-headers-info",
    "tailscale-user-login",
    "tailscale-user-name",
    "tailscale-user-profile-pic",
];

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
    /// The Tailscale login that it came with, where Serve handed it on.
    pub(crate) tailnet: Option<TailnetLogin>,
}

impl Peer {
    /// `remote` is the other end of the socket. None: it came to Tailscale's listener, and not through Tailscale.
    pub(crate) fn of_request(
        remote: IpAddr,
        ingress: Ingress,
        head: &RequestHead,
        config: &GatewayConfig,
    ) -> Option<Self> {
        let headers = head.headers();
        let text = |name| headers.get(name).map(|value| value.to_str().map(str::to_owned).unwrap_or_default());
        let lines = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
        let mut hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
        if hops.is_empty() && config.real_ip_fallback {
            hops.extend(headers.get("x-real-ip").and_then(|value| value.to_str().ok()));
        }
        let (remote, tailnet) = match ingress {
            Ingress::Ordinary => {
                (client_behind(remote, hops.into_iter(), &config.trusted_proxies).to_canonical(), None)
            }
            Ingress::Tailscale(mode) => {
                let client = tailscale_client(mode, remote, head)?;
                (client.address, client.login)
            }
        };
        Some(Self {
            remote,
            origin: text(ORIGIN),
            host: text(HOST).or_else(|| head.uri.authority().map(ToString::to_string)),
            forwarded: FORWARDING_HEADERS.iter().any(|name| headers.contains_key(*name)),
            tailnet,
        })
    }

    /// On this machine, named as such, and no browser: the one kind of peer that is trusted without an approval, if it
    /// shows the shared credential. (A loopback peer that asks for another host name is a proxy's client, and so is one whose
    /// proxy says so: many proxies name the gateway by its loopback address.)
    pub(crate) fn is_local(&self) -> bool {
        self.is_near() && self.origin.is_none()
    }

    /// The gateway's own page in a browser on this machine.
    pub(super) fn is_own_page(&self) -> bool {
        self.is_near() && self.origin.as_deref().and_then(parse).is_some_and(|page| is_own(&page, self))
    }

    /// On this machine, and named as such; perhaps a browser.
    fn is_near(&self) -> bool {
        !self.forwarded
            && self.remote.to_canonical().is_loopback()
            && self.host.as_deref().is_none_or(is_loopback_authority)
    }
}

#[cfg(test)]
mod tests;
