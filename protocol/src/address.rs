//! Where a gateway is, from what an operator typed: validation, and every URL made from it.
//!
//! `host` is a host name, an IP address or a `ws|wss|http|https` URL. What is kept of a URL is its scheme, host, port and
//! path. User info is refused. A `?token=` is taken out as a secret; the rest of the query and the fragment (both come with
//! links that were copied from a dashboard) are dropped and never stored.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

use crate::forbidden_address::{ForbiddenReason, is_forbidden, is_forbidden_name};
use crate::secret::Secret;

/// The port that a gateway listens on unless it is told otherwise.
pub const DEFAULT_GATEWAY_PORT: u16 = 18789;

/// Longest `host` text, bytes.
pub const MAX_HOST_TEXT: usize = 2048;

/// Longest host name and longest label in it (RFC 1035), bytes.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// What is wrong with a `host` or `port`. The text is a sentence for the person who typed it; it repeats nothing of the
/// input, since that may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("host is empty: give a host name, an IP address or a ws, wss, http or https URL")]
    Empty,
    /// More than [`MAX_HOST_TEXT`] bytes.
    #[error("host is longer than 2048 bytes")]
    TooLong,
    /// A control character or a space inside.
    #[error("host holds a space or a control character")]
    SpaceOrControl,
    /// A URL of another scheme.
    #[error("host is a URL of a scheme that no gateway speaks: use ws, wss, http or https")]
    UnknownScheme,
    /// `user@` or `user:password@`.
    #[error("host holds user information before an @: leave it out and give the token in the token field")]
    UserInfo,
    /// `name:port` or `name/path` without a scheme.
    #[error(
        "host without a scheme must be a name or an address alone: give the port in the port field, or a whole URL"
    )]
    NotAlone,
    /// Characters or a form that no host has.
    #[error("host is neither a host name, an IP address nor a ws, wss, http or https URL")]
    Malformed,
    /// A label above 63 bytes or a name above 253.
    #[error("host name is too long: a part between dots has at most 63 bytes, the whole name at most 253")]
    NameTooLong,
    /// The URL's port is not a number from 1 to 65535.
    #[error("the port in the host URL must be a number from 1 to 65535")]
    UrlPort,
    /// `port` is 0.
    #[error("port must be a number from 1 to 65535")]
    PortOutOfRange,
    /// No port, and host isn't a URL.
    #[error("port is required unless host is a URL")]
    PortMissing,
    /// Never dialled.
    #[error("host must not be used for a gateway: it is {0}")]
    Forbidden(ForbiddenReason),
}

impl AddressError {
    /// The field at fault: `host` or `port`.
    pub fn field(self) -> &'static str {
        match self {
            Self::PortOutOfRange | Self::PortMissing => "port",
            _ => "host",
        }
    }
}

/// What came out of a `host` and a `port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedHost {
    /// Where the gateway is.
    pub address: GatewayAddress,
    /// The `host` as given, without query, fragment and outer spaces: what is stored and shown.
    pub host_text: String,
    /// The URL's `?token=`, if it has one and it isn't empty.
    pub query_token: Option<Secret>,
}

impl ParsedHost {
    /// The port to store: the URL's, else the given one, else the default of the URL's scheme.
    pub fn port(&self) -> u16 {
        self.address.port
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    Ws,
    Wss,
    Http,
    Https,
}

impl Scheme {
    fn from_name(name: &str) -> Option<Self> {
        [("ws", Self::Ws), ("wss", Self::Wss), ("http", Self::Http), ("https", Self::Https)]
            .into_iter()
            .find_map(|(known, scheme)| known.eq_ignore_ascii_case(name).then_some(scheme))
    }

    fn is_tls(self) -> bool {
        matches!(self, Self::Wss | Self::Https)
    }
}

/// A gateway's address in its canonical form: names lower-case and in ASCII without the final dot, numbers of any
/// spelling as an address, IPv4-mapped IPv6 as IPv4.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayAddress {
    /// None where `host` was not a URL.
    scheme: Option<Scheme>,
    host: Host<String>,
    port: u16,
    /// Empty, or starting with a slash and ending without one.
    path: String,
}

impl GatewayAddress {
    /// Reads what an operator typed. `port` may be left out only where `host` is a URL, and a port in the URL wins.
    ///
    /// # Errors
    /// A sentence that names the fault. Never repeats the input.
    pub fn parse(host: &str, port: Option<u16>) -> Result<ParsedHost, AddressError> {
        let text = host.trim_matches(' ');
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.len() > MAX_HOST_TEXT {
            return Err(AddressError::TooLong);
        }
        if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err(AddressError::SpaceOrControl);
        }
        // The URL standard reads a backslash as a slash; nobody means that.
        if text.contains('\\') {
            return Err(AddressError::Malformed);
        }
        if port == Some(0) {
            return Err(AddressError::PortOutOfRange);
        }
        let parsed = match text.split_once("://") {
            Some((scheme, rest)) => Self::parse_url(text, scheme, rest, port)?,
            None => Self::parse_bare(text, port)?,
        };
        match parsed.address.forbidden() {
            Some(reason) => Err(AddressError::Forbidden(reason)),
            None => Ok(parsed),
        }
    }

    fn parse_url(text: &str, scheme: &str, rest: &str, port: Option<u16>) -> Result<ParsedHost, AddressError> {
        let scheme = Scheme::from_name(scheme).ok_or(AddressError::UnknownScheme)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(AddressError::UserInfo);
        }
        // The URL standard would decode it, and skip slashes before the host.
        if authority.is_empty() || authority.contains('%') {
            return Err(AddressError::Malformed);
        }
        // Taken from the text, since the parser forgets a port that is the scheme's own.
        let url_port = match authority.rsplit_once(':') {
            Some((before, _)) if before.starts_with('[') && !before.ends_with(']') => None,
            Some((_, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse::<u16>().ok().filter(|port| *port != 0).ok_or(AddressError::UrlPort)?)
            }
            Some(_) => return Err(AddressError::UrlPort),
            None => None,
        };
        let url = Url::parse(text).map_err(|_| AddressError::Malformed)?;
        let host = canonical_host(url.host().ok_or(AddressError::Malformed)?.to_owned())?;
        let default_port = if scheme.is_tls() { 443 } else { DEFAULT_GATEWAY_PORT };
        let query_token = url
            .query_pairs()
            .find(|(name, _)| name == "token")
            .map(|(_, token)| token.into_owned())
            .filter(|token| !token.is_empty())
            .map(Secret::new);
        let host_text = text.split(['?', '#']).next().unwrap_or_default().to_owned();
        Ok(ParsedHost {
            address: Self {
                scheme: Some(scheme),
                host,
                port: url_port.or(port).unwrap_or(default_port),
                path: kept_path(url.path()),
            },
            host_text,
            query_token,
        })
    }

    fn parse_bare(text: &str, port: Option<u16>) -> Result<ParsedHost, AddressError> {
        if text.contains('@') {
            return Err(AddressError::UserInfo);
        }
        if text.contains(['/', '?', '#']) {
            return Err(AddressError::NotAlone);
        }
        if text.contains('%') {
            return Err(AddressError::Malformed);
        }
        let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = if let Ok(address) = unbracketed.unwrap_or(text).parse::<Ipv6Addr>() {
            Host::Ipv6(address)
        } else if text.starts_with('[') || text.matches(':').count() > 1 {
            return Err(AddressError::Malformed);
        } else if text.contains(':') {
            return Err(AddressError::NotAlone);
        } else {
            Host::parse(text).map_err(|_| AddressError::Malformed)?
        };
        let host = canonical_host(host)?;
        let port = port.ok_or(AddressError::PortMissing)?;
        Ok(ParsedHost {
            address: Self { scheme: None, host, port, path: String::new() },
            host_text: text.to_owned(),
            query_token: None,
        })
    }

    /// `scheme://host:port/path`: what two records of one gateway share (failed authentications, device token). One host and port
    /// may serve several tenants by path, and what one of them issued must not be sent to another.
    ///
    /// The scheme is `ws` or `wss`, the port is always written, and of the ways to write a path there is one: no slash at its
    /// end, and percent-encoded only where it must be. A query is no part of it, since none is ever dialled or stored.
    pub fn key(&self) -> String {
        format!("{}://{self}{}", if self.is_tls() { "wss" } else { "ws" }, canonical_path(&self.path))
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host without brackets: for name resolution and certificate checks.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    /// The address, where the host is one: then nothing is resolved.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// Why this host is never dialled, as far as its text says. A name's addresses are checked at each dial.
    pub fn forbidden(&self) -> Option<ForbiddenReason> {
        match &self.host {
            Host::Domain(name) => is_forbidden_name(name),
            Host::Ipv4(address) => is_forbidden(IpAddr::V4(*address)),
            Host::Ipv6(address) => is_forbidden(IpAddr::V6(*address)),
        }
    }

    /// Whether the host is this machine by its text: `localhost`, a name below it, `127.0.0.0/8` or `::1`.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }

    /// Whether the daemon dials with TLS: the URL says `wss` or `https`.
    pub fn is_tls(&self) -> bool {
        self.scheme.is_some_and(Scheme::is_tls)
    }

    /// What the daemon dials, `ws` or `wss`, port always written. Holds no token.
    pub fn dial_url(&self) -> String {
        format!("{}://{self}{}", if self.is_tls() { "wss" } else { "ws" }, self.path)
    }

    /// The base of HTTP requests, `http` or `https`, without a trailing slash, port always written. Holds no token.
    pub fn http_base(&self) -> String {
        format!("{}://{self}{}", if self.is_tls() { "https" } else { "http" }, self.path)
    }

    /// The path of requests: empty, or starting with a slash and ending without one.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The `Host` header: the port is left out where it is the scheme's own.
    pub fn host_header(&self) -> String {
        if self.port == if self.is_tls() { 443 } else { 80 } { self.host.to_string() } else { self.to_string() }
    }

    /// The `Origin` that a page served by the gateway itself would send (control-UI mode).
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_tls() { "https" } else { "http" }, self.host_header())
    }

    /// What a browser needs to open its own socket (`POST /api/gateways/connect`).
    ///
    /// `wss` where the URL says https or wss, or where there is no URL and the browser came over https; a loopback host
    /// gets plain `ws` unless its URL says `wss` in so many words, since a gateway itself speaks no TLS. The well-known
    /// port 18789 is left out under `wss` for a remote host (a reverse proxy serves it on 443), as is 443.
    /// `query_token` is given only where the caller may see it.
    pub fn ws_url(&self, browser_is_https: bool, query_token: Option<&Secret>) -> String {
        let loopback = self.is_loopback();
        let secure = match self.scheme {
            Some(Scheme::Wss) => true,
            Some(Scheme::Https) => !loopback,
            Some(Scheme::Ws | Scheme::Http) => false,
            None => browser_is_https && !loopback,
        };
        let port_is_implied = secure && (self.port == 443 || (self.port == DEFAULT_GATEWAY_PORT && !loopback));
        let authority = if port_is_implied { self.host.to_string() } else { self.to_string() };
        let mut url = format!("{}://{authority}{}", if secure { "wss" } else { "ws" }, self.path);
        if let Some(token) = query_token.filter(|token| !token.is_empty()) {
            let query =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("token", token.expose()).finish();
            url.push('?');
            url.push_str(&query);
        }
        url
    }
}

/// `host:port`, IPv6 in brackets.
impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn canonical_host(host: Host<String>) -> Result<Host<String>, AddressError> {
    match host {
        Host::Domain(name) => canonical_name(&name).map(Host::Domain),
        Host::Ipv4(address) => Ok(Host::Ipv4(address)),
        Host::Ipv6(address) => Ok(address.to_ipv4_mapped().map_or(Host::Ipv6(address), Host::Ipv4)),
    }
}

/// The name has been through IDNA: it is lower-case ASCII. Underscores are let through, container names have them.
fn canonical_name(name: &str) -> Result<String, AddressError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > MAX_NAME || name.split('.').any(|label| label.len() > MAX_LABEL) {
        return Err(AddressError::NameTooLong);
    }
    let label_is_sound = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
    };
    if name.split('.').all(label_is_sound) { Ok(name.to_owned()) } else { Err(AddressError::Malformed) }
}

/// The dashboard's own route is no place to dial; anything else is a reverse proxy's path.
fn kept_path(path: &str) -> String {
    let path = path.trim_end_matches('/');
    if path == "/sessions" || path.starts_with("/sessions/") { String::new() } else { path.to_owned() }
}

/// The path with its percent-encodings in one spelling: upper-case digits, none of what needs none (RFC 3986, 6.2.2), and a percent
/// sign that begins none as `%25`, which is how servers read it.
fn canonical_path(path: &str) -> String {
    let mut canonical = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        canonical.push_str(before);
        // The standard library would take a sign for a digit.
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                canonical.push(char::from(byte));
            }
            Some(byte) => canonical.push_str(&format!("%{byte:02X}")),
            // Left alone it could become the beginning of an encoding, by what is decoded behind it.
            None => canonical.push_str("%25"),
        }
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    canonical.push_str(rest);
    canonical
}

#[cfg(test)]
mod tests;
