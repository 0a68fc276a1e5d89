//! The other end of a request: who it really comes from (forwarding headers count only where a trusted proxy sent them, or another
//! node over the mesh), and what its connection is told of the key that came with it.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HOST, HeaderMap, HeaderName};
use actix_web::{HttpMessage as _, HttpRequest};
use gatewarden_listener::Connection;
use gatewarden_protocol::GatewayAddress;
use gatewarden_protocol::forwarded::{client_behind, is_trusted};

use super::keyring::KeyHolder;
use super::settings::Network;

/// Another node of the cluster, on whose connection requests come that it passes on. In the data of the connection; of a request that is
/// made here for such a one, as has no connection, in its own.
#[derive(Debug, Clone)]
pub(crate) struct ForwardingNode {
    /// SHA-256 of its certificate.
    pub(crate) certificate: Arc<str>,
}

/// In which a node says whose request it passes on: an address. Without it the client is a program of that node's own machine. On
/// other connections it means nothing. In the answer: whose good key came with the request ([`Holder`]).
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-gatewarden-client");

/// The node that passes the request on; none where the client itself, or its proxy, has sent it.
pub(crate) fn forwarding_node(request: &HttpRequest) -> Option<ForwardingNode> {
    request.conn_data().cloned().or_else(|| request.extensions().get().cloned())
}

/// Puts the client that a node tells in the place of that node.
pub(crate) fn adopt_client(request: &mut ServiceRequest) {
    if forwarding_node(request.request()).is_none() {
        return;
    }
    let told =
        request.headers().get(CLIENT).and_then(|address| address.to_str().ok()).and_then(|told| told.parse().ok());
    if let Some(client) = told {
        request.head_mut().peer_addr = Some(SocketAddr::new(client, 0));
    }
}

/// The address of the client: the peer, or what trusted proxies say in `X-Forwarded-For`, read from its end.
pub(crate) fn client_address(request: &HttpRequest, trusted: &[Network]) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let hops: Vec<&str> = text_values(request.headers(), "x-forwarded-for").collect();
    Some(client_behind(peer, hops.into_iter(), trusted))
}

/// Whether the browser's side of the connection is encrypted: only a trusted proxy can say so, as the daemon itself
/// speaks plain HTTP.
pub(crate) fn is_https(request: &HttpRequest, trusted: &[Network]) -> bool {
    let Some(peer) = request.peer_addr() else {
        return false;
    };
    let last = text_values(request.headers(), "x-forwarded-proto").last();
    let is_believed = forwarding_node(request).is_some() || is_trusted(peer.ip(), trusted);
    is_believed && last.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// Whether the peer is this machine and no proxy stands between: many a proxy says so in no header, but passes on the name by
/// which it was asked.
pub(crate) fn is_direct_loopback(request: &HttpRequest) -> bool {
    const FORWARDING: [&str; 6] =
        ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];
    forwarding_node(request).is_none()
        && request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && !FORWARDING.iter().any(|name| request.headers().contains_key(*name))
        && request.headers().get_all(HOST).all(|host| {
            let named =
                host.to_str().ok().and_then(|host| GatewayAddress::parse(&format!("http://{host}"), Some(80)).ok());
            named.is_some_and(|named| named.address.is_loopback())
        })
}

fn text_values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

/// Whose good key it was, as a number. In the data of a request that another node passes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder(pub(crate) NonZeroU64);

/// A good key came in on the request's connection: it isn't ended in favour of strangers. That of another node stands for no key: that
/// node is told.
pub(crate) fn mark_known(request: &HttpRequest, key: &KeyHolder) {
    let holder = NonZeroU64::MIN.saturating_add(key.limit_key().unsigned_abs());
    if forwarding_node(request).is_some() {
        request.extensions_mut().insert(Holder(holder));
    } else {
        mark_held(request, holder);
    }
}

/// The same of a key that another node has found to be good.
pub(crate) fn mark_held(request: &HttpRequest, holder: NonZeroU64) {
    if let Some(connection) = client_connection(request) {
        connection.mark_known(holder);
    }
}

/// A wrong key came in on the request's connection, which may have been good before.
pub(crate) fn mark_unknown(request: &HttpRequest) {
    if let Some(connection) = client_connection(request) {
        connection.mark_unknown();
    }
}

pub(crate) fn client_connection(request: &HttpRequest) -> Option<&Arc<Connection>> {
    request.conn_data::<Arc<Connection>>().filter(|_| forwarding_node(request).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut request = TestRequest::default().peer_addr(format!("{peer}:5000").parse().unwrap());
        for value in forwarded {
            request = request.append_header(("x-forwarded-for", *value));
        }
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        client_address(&request.to_http_request(), &trusted).unwrap().to_string()
    }

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        assert_eq!(client("192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(client("127.0.0.1", &["1.2.3.4, 198.51.100.9, 10.0.0.7"]), "198.51.100.9");
        assert_eq!(client("127.0.0.1", &["1.2.3.4", "198.51.100.9:4711"]), "198.51.100.9");
        assert_eq!(client("127.0.0.1", &["unknown"]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn https_is_what_a_trusted_proxy_says() {
        let request = |peer: &str, scheme: &str| {
            TestRequest::default()
                .peer_addr(format!("{peer}:5000").parse().unwrap())
                .insert_header(("x-forwarded-proto", scheme))
                .to_http_request()
        };
        let trusted = Network::loopback();
        assert!(is_https(&request("127.0.0.1", "https"), &trusted));
        assert!(!is_https(&request("127.0.0.1", "http"), &trusted));
        assert!(!is_https(&request("192.0.2.1", "https"), &trusted));
    }

    #[test]
    fn a_forwarding_header_makes_loopback_not_direct() {
        let peer = "127.0.0.1:5000".parse().unwrap();
        let direct = TestRequest::default().peer_addr(peer);
        assert!(is_direct_loopback(&direct.to_http_request()));
        for name in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
            let forwarded = TestRequest::default().peer_addr(peer).insert_header((name, "1.2.3.4"));
            assert!(!is_direct_loopback(&forwarded.to_http_request()), "{name}");
        }
    }

    #[test]
    fn another_name_than_this_machines_own_makes_loopback_not_direct() {
        let is_direct = |host: &str| {
            let request = TestRequest::default().peer_addr("127.0.0.1:5000".parse().unwrap());
            is_direct_loopback(&request.insert_header(("host", host)).to_http_request())
        };
        for host in ["localhost", "localhost:3000", "127.0.0.1:3000", "[::1]:3000"] {
            assert!(is_direct(host), "{host}");
        }
        for host in ["warden.example", "warden.example:3000", "192.0.2.7:3000", "localhost@warden.example", "", "a b"] {
            assert!(!is_direct(host), "{host}");
        }
    }
}
