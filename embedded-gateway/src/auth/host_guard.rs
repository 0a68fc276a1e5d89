//! Under which names the gateway may be asked for. A web page whose name was made to lead to this machine carries its own name in
//! `Host`, so that name is refused.

use std::net::IpAddr;

use actix_http::{RequestHead, header};
use url::{Host, Url};

use crate::config::GatewayConfig;

/// What is said to who asks for the gateway by another name.
pub(crate) const HOST_NOT_ALLOWED: &str =
    "this gateway isn't known by that name: add it to gatewarden.allowedHosts of its configuration";

/// Loopback names, the address that the gateway listens at, and what is configured.
#[derive(Debug)]
pub(crate) struct HostGuard<'a> {
    pub(crate) bound: IpAddr,
    pub(crate) config: &'a GatewayConfig,
    /// Of a request that came through Tailscale: the one name that there is, none while there is no route.
    pub(crate) published: Option<Option<String>>,
}

impl HostGuard<'_> {
    /// Whether a request names the gateway by a name of its own. One without a `Host` doesn't.
    pub(crate) fn allows(&self, request: &RequestHead) -> bool {
        let mut named = request.headers().get_all(header::HOST);
        let (first, second) = (named.next(), named.next());
        let authority = request.uri.authority().map(|authority| authority.as_str());
        let host = match (first.map(|value| value.to_str()), second) {
            (Some(Ok(host)), None) => Some(host),
            (None, _) => authority,
            _ => None,
        };
        host.is_some_and(|host| self.knows(host))
            // Where the request line names a host as well, both must do.
            && authority.is_none_or(|authority| self.knows(authority))
    }

    /// Whether `host`, with or without a port, is a name of the gateway.
    pub(crate) fn knows(&self, host: &str) -> bool {
        // A link that carries `user@` has no place in a Host header, and neither has a path.
        if host.is_empty() || host.contains(['@', '/', '\\', '?', '#']) {
            return false;
        }
        match Url::parse(&format!("http://{host}/")).ok().as_ref().and_then(Url::host) {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                let is_known = |known: &String| known.trim_end_matches('.').eq_ignore_ascii_case(name);
                if let Some(published) = &self.published {
                    return published.as_ref().is_some_and(is_known);
                }
                name == "localhost" || self.config.allowed_hosts.iter().any(is_known)
            }
            Some(_) if self.published.is_some() => false,
            Some(Host::Ipv4(address)) => self.knows_address(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => self.knows_address(IpAddr::V6(address)),
            None => false,
        }
    }

    /// An address in `Host` is the one that the client connected to: no page can make a browser say another one. So a gateway
    /// that listens everywhere may be named by any.
    fn knows_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let written = |name: &String| name.parse::<IpAddr>().is_ok_and(|known| known.to_canonical() == address);
        address.is_loopback()
            || address == self.bound.to_canonical()
            || self.bound.is_unspecified()
            || self.config.allowed_hosts.iter().any(written)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use actix_http::test::TestRequest;

    use super::*;
    use crate::config::Auth;

    fn guard(bound: [u8; 4], names: &[&str]) -> HostGuard<'static> {
        let mut config = GatewayConfig::defaults(PathBuf::from("state"), Auth::None);
        config.allowed_hosts = names.iter().map(|name| (*name).to_owned()).collect();
        HostGuard { bound: IpAddr::V4(Ipv4Addr::from(bound)), config: Box::leak(Box::new(config)), published: None }
    }

    #[test]
    fn loopback_names_the_bound_address_and_configured_names_are_known() {
        let guard = guard([10, 0, 0, 7], &["Gateway.Example.com", "10.1.1.1"]);
        for host in [
            "localhost",
            "LOCALHOST:18789",
            "localhost.",
            "127.0.0.1:18789",
            "127.1.2.3",
            "[::1]:18789",
            "10.0.0.7",
            "gateway.example.com:443",
            "10.1.1.1",
        ] {
            assert!(guard.knows(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "gateway.example.com.evil.example",
            "10.0.0.8",
            "localhost@evil.example",
            "evil.example/localhost",
            "evil.example#localhost",
            "a b",
        ] {
            assert!(!guard.knows(host), "{host}");
        }
    }

    #[test]
    fn a_gateway_that_listens_everywhere_may_be_named_by_any_address_but_by_no_other_name() {
        let guard = guard([0, 0, 0, 0], &[]);
        assert!(guard.knows("192.168.1.20:18789"));
        assert!(!guard.knows("evil.example"));
    }

    #[test]
    fn through_tailscale_the_gateway_has_the_name_of_its_route_and_no_other() {
        let published = Some(Some("box.tail.ts.net".to_owned()));
        let guard = HostGuard { published, ..guard([127, 0, 0, 1], &["gateway.example.com"]) };
        assert!(guard.knows("box.tail.ts.net") && guard.knows("BOX.tail.ts.net:443"));
        for host in ["localhost", "127.0.0.1:18789", "[::1]", "gateway.example.com", "other.tail.ts.net"] {
            assert!(!guard.knows(host), "{host}");
        }
        assert!(!HostGuard { published: Some(None), ..guard }.knows("box.tail.ts.net"), "there is no route");
    }

    #[test]
    fn a_request_without_a_host_or_with_two_is_refused() {
        let guard = guard([127, 0, 0, 1], &[]);
        assert!(!guard.allows(TestRequest::default().uri("/health").finish().head()));
        let two = TestRequest::default()
            .append_header((header::HOST, "localhost"))
            .append_header((header::HOST, "evil.example"))
            .finish();
        assert!(!guard.allows(two.head()));
        let absolute = TestRequest::default()
            .uri("http://evil.example/health")
            .insert_header((header::HOST, "localhost"))
            .finish();
        assert!(!guard.allows(absolute.head()));
        let named = TestRequest::default().insert_header((header::HOST, "localhost:1")).finish();
        assert!(guard.allows(named.head()));
    }
}
