use super::*;
use crate::tests::fixture::{config, page, remote};

fn from(origin: &str, peer: Peer) -> Peer {
    Peer { origin: Some(origin.to_owned()), ..peer }
}

#[test]
fn own_listed_and_local_pages_may_talk_to_the_gateway() {
    let mut config = config();
    config.control_ui.allowed_origins =
        vec!["https://mc.example.com".into(), "*".into(), "http://localhost:3000/".into()];
    let own = Peer { host: Some("gateway.lan:18789".into()), ..remote(1) };
    for (peer, allowed) in [
        (page("http://localhost:5173"), true),
        (page("http://127.0.0.1:18789"), true),
        (page("https://[::1]:8443"), true),
        (page("https://mc.example.com"), true),
        (page("https://mc.example.com:443"), true),
        (page("https://MC.example.com"), true),
        (page("http://mc.example.com"), false),
        (page("https://mc.example.com:8443"), false),
        (page("https://mc.example.com.evil.example"), false),
        (page("https://evil.example"), false),
        (page("https://localhost.evil.example"), false),
        (page("null"), false),
        (page(""), false),
        (page("*"), false),
        (page("file:///index.html"), false),
        (page("https://mc.example.com/path"), false),
        (page("https://user@mc.example.com"), false),
        // A page of the visitor's own machine is local only to that machine; here it is listed.
        (from("http://localhost:3000", remote(1)), true),
        (from("http://localhost:5173", remote(1)), false),
        (from("http://gateway.lan:18789", own.clone()), true),
        (from("http://gateway.lan:9999", own), false),
    ] {
        assert_eq!(origin_is_allowed(&peer, &config), allowed, "{peer:?}");
    }
    assert!(origin_is_allowed(&remote(1), &config), "without an origin there is no page");
}

#[test]
fn local_means_this_machine_under_a_name_of_its_own() {
    for (host, local) in [
        ("127.0.0.1:18789", true),
        ("localhost", true),
        ("LOCALHOST:80", true),
        ("[::1]:18789", true),
        ("gateway.example:18789", false),
        ("127.0.0.1.evil.example", false),
        ("", false),
    ] {
        let peer = Peer { host: Some(host.into()), ..crate::tests::fixture::local() };
        assert_eq!(peer.is_local(), local, "{host}");
    }
    assert!(!page("http://localhost:5173").is_local());
    assert!(!remote(1).is_local());
}

#[test]
fn a_trusted_proxys_real_ip_counts_where_it_is_wanted_and_nothing_else_is_said() {
    let head = |headers: &[(&'static str, &'static str)]| {
        let mut request = actix_http::test::TestRequest::default();
        for header in headers {
            request.append_header(*header);
        }
        request.finish()
    };
    let real = head(&[("x-real-ip", "203.0.113.5")]);
    let both = head(&[("x-real-ip", "203.0.113.5"), ("x-forwarded-for", "203.0.113.6")]);
    let (off, mut on) = (config(), config());
    on.real_ip_fallback = true;
    let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 168, 1, 1]));
    for (request, remote, config, expected) in [
        (&real, near, &off, near),
        (&real, near, &on, IpAddr::from([203, 0, 113, 5])),
        (&both, near, &on, IpAddr::from([203, 0, 113, 6])),
        (&real, far, &on, far),
    ] {
        let peer = Peer::of_request(remote, Ingress::Ordinary, request.head(), config).unwrap();
        assert_eq!(peer.remote, expected, "{request:?}");
        assert!(!peer.is_local(), "whatever it says, it makes nobody local");
    }
}

#[test]
fn tailscales_headers_make_nobody_of_the_ordinary_listener_known_or_local() {
    let mut request = actix_http::test::TestRequest::default();
    for header in [("host", "127.0.0.1:18789"), ("tailscale-user-login", "a@example.com")] {
        request.append_header(header);
    }
    let request = request.finish();
    for remote in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 168, 1, 1])] {
        let peer = Peer::of_request(remote, Ingress::Ordinary, request.head(), &config()).unwrap();
        assert_eq!((peer.remote, &peer.tailnet, peer.is_local()), (remote, &None, false));
    }
}
