//! Which of the gateway's listeners a request came to. What Tailscale says of who asks counts at its own listener alone: anywhere else
//! its headers are anybody's.

use std::net::IpAddr;

use actix_http::RequestHead;
use gatewarden_protocol::forwarded::{Network, client_behind};

use crate::config::TailscaleMode;

/// A listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ingress {
    /// The gateway's own.
    #[default]
    Ordinary,
    /// The one that Tailscale hands requests to.
    Tailscale(TailscaleMode),
}

/// A Tailscale login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TailnetLogin {
    /// Serve's header says so.
    Claimed(String),
    /// The command says so, too.
    Confirmed(String),
}

/// What is said to who comes to Tailscale's listener and not through Tailscale.
pub(crate) const NOT_THROUGH_TAILSCALE: &str =
    "proxy_attribution_required: only Tailscale may hand requests to this listener; use the gateway's own port";

/// A client of Tailscale's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TailscaleClient {
    pub(crate) address: IpAddr,
    pub(crate) login: Option<TailnetLogin>,
}

/// Who asks through Tailscale; none where the request doesn't look as it makes them. `remote` is the other end of the socket.
pub(crate) fn tailscale_client(mode: TailscaleMode, remote: IpAddr, head: &RequestHead) -> Option<TailscaleClient> {
    let headers = head.headers();
    let is_there = |name: &str| headers.contains_key(name);
    let is_marked = is_there("x-forwarded-for") && is_there("x-forwarded-proto") && is_there("x-forwarded-host");
    if !remote.to_canonical().is_loopback() || !is_marked {
        return None;
    }
    let lines = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    let is_single = hops.len() == 1;
    let address = client_behind(remote, hops.into_iter(), &Network::loopback()).to_canonical();
    // Tailscale takes no connections of loopback.
    if address.is_loopback() {
        return None;
    }
    match (mode, headers.get("tailscale-funnel-request").map(|marker| marker.as_bytes())) {
        (TailscaleMode::Funnel, None | Some(b"?1")) => return Some(TailscaleClient { address, login: None }),
        (TailscaleMode::Serve, None) => {}
        _ => return None,
    }
    let mut logins = headers.get_all("tailscale-user-login");
    let login = match (logins.next().map(|login| login.to_str()), logins.next()) {
        // Serve writes one address and one login. With more, whose login it is would be a guess.
        (Some(Ok(login)), None) if is_single && (1..=320).contains(&login.len()) => Some(login.to_owned()),
        _ => None,
    };
    Some(TailscaleClient { address, login: login.map(TailnetLogin::Claimed) })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const USUAL: [(&str, &str); 4] = [
        ("x-forwarded-for", "100.64.0.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "box.ts.net"),
        ("tailscale-user-login", "a@example.com"),
    ];

    fn seen(mode: TailscaleMode, remote: IpAddr, headers: &[(&'static str, &'static str)]) -> Option<TailscaleClient> {
        let mut request = actix_http::test::TestRequest::default();
        for header in headers {
            request.append_header(*header);
        }
        tailscale_client(mode, remote, request.finish().head())
    }

    fn serve(headers: &[(&'static str, &'static str)]) -> Option<TailscaleClient> {
        seen(TailscaleMode::Serve, NEAR, headers)
    }

    #[test]
    fn serve_says_address_and_login() {
        let login = Some(TailnetLogin::Claimed("a@example.com".to_owned()));
        let address = IpAddr::from([100, 64, 0, 7]);
        assert_eq!(serve(&USUAL), Some(TailscaleClient { address, login }));
    }

    #[test]
    fn what_didnt_come_through_tailscale_is_nobodys() {
        assert_eq!(seen(TailscaleMode::Serve, IpAddr::from([192, 168, 1, 5]), &USUAL), None, "from the network");
        for left_out in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            let headers: Vec<_> = USUAL.into_iter().filter(|(name, _)| *name != left_out).collect();
            assert_eq!(serve(&headers), None, "{left_out}");
        }
        for address in ["127.0.0.1", "::1", "nonsense", ""] {
            let headers: Vec<_> = [("x-forwarded-for", address)].into_iter().chain(USUAL.into_iter().skip(1)).collect();
            assert_eq!(serve(&headers), None, "{address}");
        }
        let marked = |value| -> Vec<_> { USUAL.into_iter().chain([("tailscale-funnel-request", value)]).collect() };
        assert_eq!(serve(&marked("?1")), None, "Serve is not for the internet");
        assert!(seen(TailscaleMode::Funnel, NEAR, &marked("?1")).is_some());
        assert_eq!(seen(TailscaleMode::Funnel, NEAR, &marked("?0")), None);
    }

    #[test]
    fn a_login_counts_only_where_it_is_clear_whose_it_is() {
        let with = |more: (&'static str, &'static str)| -> Vec<_> { USUAL.into_iter().chain([more]).collect() };
        for more in [
            ("x-forwarded-for", "100.64.0.8"),
            ("x-forwarded-for", "127.0.0.1"),
            ("tailscale-user-login", "b@example.com"),
        ] {
            assert_eq!(serve(&with(more)).unwrap().login, None, "{more:?}");
        }
        let several = [("x-forwarded-for", "100.64.0.1, 100.64.0.7")].into_iter().chain(USUAL.into_iter().skip(1));
        let several = serve(&several.collect::<Vec<_>>()).unwrap();
        assert_eq!((several.address, several.login), (IpAddr::from([100, 64, 0, 7]), None));
        assert_eq!(seen(TailscaleMode::Funnel, NEAR, &USUAL).unwrap().login, None, "Funnel takes the password alone");
    }
}
