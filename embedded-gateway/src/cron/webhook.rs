//! Addresses to which jobs tell of their ends by HTTP, and which of them are written to.
//!
//! As with real gateways none of this machine, of private networks and of reserved ranges is, unless the configuration says so
//! (`cron.webhookSsrfPolicy`): who may make jobs must not reach what only the gateway's machine reaches. It is looked at when a job is
//! made, as far as the address tells, and again for each address that its name has when something is sent.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gatewarden_protocol::forbidden_address::{is_forbidden, is_forbidden_name};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::config::WebhookReach;

/// Names that are never of the public internet.
const INTERNAL_NAMES: [&str; 4] = ["localhost", "local", "internal", "lan"];

/// Where to. What comes after the host is as good as a password with many services: it is shown to nobody but those who see the job.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct WebhookUrl(Url);

impl WebhookUrl {
    /// Reads an address. Err: what would be right; repeats nothing of it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "must be an http or https URL such as https://hooks.example.com/brief";
        let mut url = Url::parse(text.trim()).map_err(|_| EXPECTED)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(EXPECTED);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "must not hold a user or a password; cron.webhookToken of the configuration is sent with webhooks",
            );
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// The whole of it, for the wire.
    pub(crate) fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host, as the configuration would name it, and the port.
    pub(crate) fn host(&self) -> (String, u16) {
        let host = match self.0.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').to_ascii_lowercase(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        };
        (host, self.0.port_or_known_default().unwrap_or(443))
    }

    pub(crate) fn has_host_of(&self, other: &Self) -> bool {
        (self.0.host(), self.0.port_or_known_default()) == (other.0.host(), other.0.port_or_known_default())
    }

    /// Why nothing is sent there, as far as the address itself tells.
    pub(crate) fn refusal(&self, reach: &WebhookReach) -> Option<String> {
        let (host, _) = self.host();
        if reach.hostnames.contains(&host) {
            return None;
        }
        if let Ok(address) = host.parse() {
            return refusal(&host, address, reach);
        }
        if let Some(reason) = is_forbidden_name(&host) {
            return Some(sentence(&host, reason.as_str()));
        }
        let last = host.rsplit('.').next().unwrap_or_default();
        let is_internal = INTERNAL_NAMES.contains(&last) && !reach.private_networks;
        is_internal.then(|| sentence(&host, "a name of this machine or of a private network"))
    }
}

/// Why nothing is sent to a host that has this address.
pub(crate) fn refusal(host: &str, address: IpAddr, reach: &WebhookReach) -> Option<String> {
    if reach.hostnames.contains(host) {
        return None;
    }
    let what = match is_forbidden(address) {
        Some(reason) => reason.as_str(),
        None => match internal(address)? {
            Internal::Benchmark if reach.benchmark_range => return None,
            Internal::UniqueLocal if reach.unique_local_range => return None,
            Internal::Loopback | Internal::Private | Internal::UniqueLocal if reach.private_networks => return None,
            Internal::Loopback => "an address of the gateway's own machine",
            Internal::Private => "an address of a private network",
            Internal::UniqueLocal => "an IPv6 address of a private network",
            Internal::Benchmark => "an address of the range for benchmarks",
            Internal::Reserved => "an address of a reserved range",
        },
    };
    Some(sentence(host, what))
}

fn sentence(host: &str, what: &str) -> String {
    let host = gatewarden_protocol::words::shown(host);
    format!("{host} is {what}; if it is meant, add it to cron.webhookSsrfPolicy.allowedHostnames of the configuration")
}

/// What isn't public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Internal {
    Loopback,
    Private,
    UniqueLocal,
    Benchmark,
    Reserved,
}

fn internal(address: IpAddr) -> Option<Internal> {
    match address {
        IpAddr::V4(address) => internal_v4(address),
        IpAddr::V6(address) => internal_v6(address),
    }
}

fn internal_v4(address: Ipv4Addr) -> Option<Internal> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Some(Internal::Loopback),
        _ if address.is_private() => Some(Internal::Private),
        // Of carriers, and of tailnets.
        (100, 64..=127, _) => Some(Internal::Private),
        (198, 18 | 19, _) => Some(Internal::Benchmark),
        (192, 0, 0) | (192, 88, 99) | (240.., ..) => Some(Internal::Reserved),
        _ if address.is_documentation() => Some(Internal::Reserved),
        _ => None,
    }
}

fn internal_v6(address: Ipv6Addr) -> Option<Internal> {
    if address.is_loopback() {
        return Some(Internal::Loopback);
    }
    if let Some(address) = address.to_ipv4_mapped() {
        return internal_v4(address);
    }
    match address.segments() {
        // NAT64: the IPv4 address is the end of it.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = address.octets();
            internal_v4(Ipv4Addr::new(a, b, c, d))
        }
        [0xfc00..=0xfdff, ..] => Some(Internal::UniqueLocal),
        // What is assigned to protocols, Teredo among it; for documents; 6to4; ISATAP: packets may end up anywhere.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002 | 0x3fff, ..] | [.., 0 | 0x200, 0x5efe, _, _] => {
            Some(Internal::Reserved)
        }
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Internal::Reserved),
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({}/...)", self.origin())
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, reach: &WebhookReach) -> Option<String> {
        WebhookUrl::parse(url).unwrap().refusal(reach)
    }

    #[test]
    fn only_public_addresses_are_written_to() {
        let none = WebhookReach::default();
        for url in [
            "http://127.0.0.1:9/x",
            "http://127.1/x",
            "http://0x7f000001/x",
            "http://localhost/x",
            "http://a.LOCALHOST./x",
            "http://printer.local/x",
            "http://metadata.google.internal/x",
            "http://169.254.169.254/latest",
            "http://10.1.2.3/x",
            "http://172.16.0.1/x",
            "http://192.168.1.1/x",
            "http://100.100.0.1/x",
            "http://198.18.0.1/x",
            "http://240.0.0.1/x",
            "http://255.255.255.255/x",
            "http://0.0.0.0/x",
            "http://224.0.0.1/x",
            "http://203.0.113.5/x",
            "http://[::1]/x",
            "http://[::]/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://[::ffff:10.0.0.1]/x",
            "http://[64:ff9b::a00:1]/x",
            "http://[64:ff9b:1::a00:1]/x",
            "http://[fd00::1]/x",
            "http://[fe80::1]/x",
            "http://[ff02::1]/x",
            "http://[2002:7f00:1::1]/x",
            "http://[2001:0:7f00:1::1]/x",
            "http://[2a00::5efe:10.0.0.1]/x",
        ] {
            assert!(refused(url, &none).is_some_and(|said| said.contains("allowedHostnames")), "{url}");
        }
        for url in [
            "https://hooks.example.com/x",
            "http://1.1.1.1:8080/x",
            "https://[2a00:1450::1]/x",
            "https://[64:ff9b::101:101]/",
        ] {
            assert_eq!(refused(url, &none), None, "{url}");
        }
    }

    #[test]
    fn what_the_configuration_names_is_written_to_and_nothing_else() {
        let named =
            WebhookReach { hostnames: ["127.0.0.1".to_owned(), "hooks.lan".into()].into(), ..Default::default() };
        assert_eq!(refused("http://127.0.0.1:8080/x", &named), None);
        assert_eq!(refused("http://HOOKS.lan./x", &named), None);
        assert!(refusal("hooks.lan", [10, 0, 0, 1].into(), &named).is_none());
        assert!(
            refusal("elsewhere.com", [10, 0, 0, 1].into(), &named).is_some(),
            "a public name with a private address"
        );
        assert!(refused("http://127.0.0.2/x", &named).is_some() && refused("http://localhost/x", &named).is_some());
        let private = WebhookReach { private_networks: true, ..Default::default() };
        assert_eq!(refused("http://localhost/x", &private), None);
        assert_eq!(refused("http://10.0.0.1/x", &private), None);
        assert!(refused("http://169.254.169.254/x", &private).is_some(), "credentials of cloud machines are there");
        assert!(refused("http://metadata.google.internal/x", &private).is_some());
    }

    #[test]
    fn an_address_that_makes_no_sense_is_refused_and_none_is_shown_whole() {
        for text in ["", "hooks.example.com", "ftp://a/b", "file:///etc/passwd", "http://", "https://user:pw@a.com/x"] {
            assert!(WebhookUrl::parse(text).is_err(), "{text}");
        }
        let url = WebhookUrl::parse(" https://a.com/secret?token=tok#part ").unwrap();
        assert_eq!(url.expose(), "https://a.com/secret?token=tok");
        let shown = format!("{url:?} {}", url.origin());
        assert!(shown.contains("https://a.com") && !shown.contains("secret") && !shown.contains("tok"), "{shown}");
    }
}
