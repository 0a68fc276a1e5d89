use proptest::prelude::*;

use super::*;
use crate::forbidden_address::ForbiddenReason::{CloudMetadata, LinkLocal, Unspecified};

fn parse(host: &str, port: Option<u16>) -> ParsedHost {
    GatewayAddress::parse(host, port).unwrap_or_else(|error| panic!("{host}: {error}"))
}

fn refused(host: &str, port: Option<u16>) -> AddressError {
    match GatewayAddress::parse(host, port) {
        Err(error) => error,
        Ok(parsed) => panic!("{host} was accepted: {parsed:?}"),
    }
}

#[test]
fn one_address_has_one_key_however_it_is_spelled() {
    for (host, port, key) in [
        ("gateway.example.com", Some(8080), "gateway.example.com:8080"),
        ("Gateway.Example.COM.", Some(8080), "gateway.example.com:8080"),
        (" gateway.example.com ", Some(8080), "gateway.example.com:8080"),
        ("ws://GATEWAY.example.com:8080/path", Some(1), "gateway.example.com:8080"),
        ("gateway_1", Some(18789), "gateway_1:18789"),
        ("xn--bcher-kva.example", Some(1), "xn--bcher-kva.example:1"),
        ("b\u{fc}cher.example", Some(1), "xn--bcher-kva.example:1"),
        ("127.0.0.1", Some(18789), "127.0.0.1:18789"),
        ("127.1", Some(18789), "127.0.0.1:18789"),
        ("2130706433", Some(18789), "127.0.0.1:18789"),
        ("0x7f000001", Some(18789), "127.0.0.1:18789"),
        ("0177.0.0.1", Some(18789), "127.0.0.1:18789"),
        ("127.0.0.1.", Some(18789), "127.0.0.1:18789"),
        ("::1", Some(18789), "[::1]:18789"),
        ("[::1]", Some(18789), "[::1]:18789"),
        ("0:0:0:0:0:0:0:1", Some(18789), "[::1]:18789"),
        ("2001:DB8::00aB", Some(1), "[2001:db8::ab]:1"),
        ("wss://[2001:db8::ab]", None, "[2001:db8::ab]:443"),
        ("wss://[2001:db8::ab]:444/", None, "[2001:db8::ab]:444"),
        ("::ffff:10.0.0.1", Some(1), "10.0.0.1:1"),
        ("ws://[::ffff:10.0.0.1]:1", None, "10.0.0.1:1"),
    ] {
        let parsed = parse(host, port);
        assert_eq!(parsed.address.to_string(), key, "{host}");
        assert_eq!(parsed.port(), parsed.address.port());
    }
}

#[test]
fn scheme_host_port_and_path_name_a_gateway_in_whatever_spelling() {
    let key = |host: &str, port| parse(host, port).address.key();
    for (host, port) in [
        ("ws://gw.example:18789/a~b/", None),
        ("WS://GW.example./a~b", None),
        ("http://gw.example:18789/a%7Eb", None),
        ("ws://gw.example/a%7eb//", Some(18789)),
        ("ws://gw.example/x/../a~b?token=t&user=u#here", None),
    ] {
        assert_eq!(key(host, port), "ws://gw.example:18789/a~b", "{host}");
    }
    assert_eq!(key("gw.example", Some(1)), "ws://gw.example:1");
    assert_eq!(key("wss://[2001:DB8::00ab]/", None), "wss://[2001:db8::ab]:443");
    assert_eq!(key("https://gw.example/a%2fb%zz", None), "wss://gw.example:443/a%2Fb%25zz");
    // What is decoded stands behind a sign that was none: read again, it must not be taken for one.
    assert_eq!(key("wss://gw.example/x%6%6%65536e", None), "wss://gw.example:443/x%256%256e536e");
    assert_eq!(key("wss://gw.example/x%256%256e536e", None), "wss://gw.example:443/x%256%256e536e");
}

#[test]
fn another_scheme_port_or_path_is_another_gateway() {
    let hosts =
        ["ws://h/a", "ws://h/b", "ws://h/A", "ws://h", "wss://h:18789/a", "ws://h:1/a", "ws://h/a/b", "ws://h/a%2Fb"];
    let keys: std::collections::BTreeSet<String> = hosts.iter().map(|host| parse(host, None).address.key()).collect();
    assert_eq!(keys.len(), hosts.len(), "{keys:?}");
}

#[test]
fn the_port_is_the_urls_then_the_given_then_the_schemes() {
    for (host, given, port) in [
        ("ws://h:1234", Some(99), 1234),
        ("wss://h:443", Some(99), 443),
        ("http://h:80", Some(99), 80),
        ("ws://h:00080", Some(99), 80),
        ("wss://h", Some(99), 99),
        ("ws://h", None, 18789),
        ("http://h/x", None, 18789),
        ("wss://h", None, 443),
        ("https://h/x", None, 443),
        ("HTTPS://h", None, 443),
        ("h", Some(65535), 65535),
    ] {
        assert_eq!(parse(host, given).port(), port, "{host}");
    }
    assert_eq!(refused("h", None), AddressError::PortMissing);
    assert_eq!(refused("h", Some(0)), AddressError::PortOutOfRange);
    assert_eq!(refused("ws://h", Some(0)), AddressError::PortOutOfRange);
    assert_eq!(AddressError::PortMissing.field(), "port");
    for host in ["ws://h:0", "ws://h:65536", "ws://h:99999999999999999999", "ws://h:", "ws://h:8o", "ws://[::1]:x"] {
        assert_eq!(refused(host, Some(1)), AddressError::UrlPort, "{host}");
        assert_eq!(refused(host, Some(1)).field(), "host");
    }
}

#[test]
fn what_is_no_host_is_refused_with_its_fault() {
    let long_label = "a".repeat(64);
    let long_name = "abcdefg.".repeat(32);
    let long_text = format!("ws://h/{}", "a".repeat(MAX_HOST_TEXT));
    for (host, error) in [
        ("", AddressError::Empty),
        ("   ", AddressError::Empty),
        (&long_text, AddressError::TooLong),
        ("a b", AddressError::SpaceOrControl),
        ("a\tb", AddressError::SpaceOrControl),
        ("ws://h\n:1", AddressError::SpaceOrControl),
        ("h\0", AddressError::SpaceOrControl),
        ("h\u{a0}h", AddressError::SpaceOrControl),
        ("h\u{7f}", AddressError::SpaceOrControl),
        ("ftp://h", AddressError::UnknownScheme),
        ("file:///etc/passwd", AddressError::UnknownScheme),
        ("://h", AddressError::UnknownScheme),
        ("user@h", AddressError::UserInfo),
        ("ws://user:secret@h", AddressError::UserInfo),
        ("ws://@h", AddressError::UserInfo),
        ("ws://h@", AddressError::UserInfo),
        ("h:1234", AddressError::NotAlone),
        ("127.0.0.1:1234", AddressError::NotAlone),
        ("h/path", AddressError::NotAlone),
        ("h?token=x", AddressError::NotAlone),
        ("h#x", AddressError::NotAlone),
        ("//h", AddressError::NotAlone),
        ("ws:/h", AddressError::NotAlone),
        ("ws:h", AddressError::NotAlone),
        ("[::1]:1234", AddressError::Malformed),
        ("[::1", AddressError::Malformed),
        ("[h]", AddressError::Malformed),
        ("1:2:3", AddressError::Malformed),
        ("fe80::1%eth0", AddressError::Malformed),
        ("%31%32%37.0.0.1", AddressError::Malformed),
        ("ws://%31%32%37.0.0.1", AddressError::Malformed),
        ("ws://", AddressError::Malformed),
        ("ws:///h", AddressError::Malformed),
        ("ws://?token=x", AddressError::Malformed),
        ("ws:\\\\h", AddressError::Malformed),
        ("ws://h\\@evil.example", AddressError::Malformed),
        ("-h", AddressError::Malformed),
        ("h-", AddressError::Malformed),
        ("a..b", AddressError::Malformed),
        ("h..", AddressError::Malformed),
        (".", AddressError::Malformed),
        ("..", AddressError::Malformed),
        ("h!", AddressError::Malformed),
        ("*.example.com", AddressError::Malformed),
        ("a,b", AddressError::Malformed),
        ("1.2.3.256", AddressError::Malformed),
        ("1.2.3.4.5", AddressError::Malformed),
        ("xn--\u{fffd}", AddressError::Malformed),
        (&long_label, AddressError::NameTooLong),
        (&long_name, AddressError::NameTooLong),
    ] {
        assert_eq!(refused(host, Some(1)), error, "{host:?}");
    }
    assert_eq!(parse(&"a".repeat(63), Some(1)).address.host().len(), 63);
}

#[test]
fn forbidden_hosts_are_refused_in_every_spelling() {
    for (host, reason) in [
        ("169.254.169.254", CloudMetadata),
        ("2852039166", CloudMetadata),
        ("0xA9FEA9FE", CloudMetadata),
        ("0251.0376.0251.0376", CloudMetadata),
        ("169.254.43518", CloudMetadata),
        ("169.254.169.254.", CloudMetadata),
        ("\u{ff11}69.254.169.254", CloudMetadata),
        ("http://2852039166/latest/meta-data", CloudMetadata),
        ("ws://[::ffff:169.254.169.254]:80", CloudMetadata),
        ("::ffff:a9fe:a9fe", CloudMetadata),
        ("64:ff9b::a9fe:a9fe", CloudMetadata),
        ("metadata.google.internal", CloudMetadata),
        ("https://METADATA.google.internal.", CloudMetadata),
        ("169.254.1.1", LinkLocal),
        ("fe80::1", LinkLocal),
        ("0.0.0.0", Unspecified),
        ("0", Unspecified),
        ("::", Unspecified),
    ] {
        assert_eq!(refused(host, Some(80)), AddressError::Forbidden(reason), "{host}");
    }
}

#[test]
fn faults_are_told_without_the_input() {
    for host in ["ws://user:s3cret@h", "ftp://s3cret", "ws://h\u{1}?token=s3cret", "ws://%?token=s3cret"] {
        let error = refused(host, Some(1));
        assert!(!error.to_string().contains("s3cret"));
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}

#[test]
fn a_url_token_is_taken_out_and_the_rest_of_the_query_dropped() {
    for (host, text, token) in [
        ("ws://h:1?token=abc", "ws://h:1", Some("abc")),
        ("wss://h/gw/?a=b&token=a%2Bb%20c&token=second", "wss://h/gw/", Some("a+b c")),
        ("https://h/sessions?session=main&token=abc#frag", "https://h/sessions", Some("abc")),
        ("ws://h?token=", "ws://h", None),
        ("ws://h?Token=abc", "ws://h", None),
        ("ws://h/#token=abc", "ws://h/", None),
        ("ws://h", "ws://h", None),
        (" Gateway.Example.com ", "Gateway.Example.com", None),
    ] {
        let parsed = parse(host, Some(1));
        assert_eq!(parsed.host_text, text, "{host}");
        assert_eq!(parsed.query_token.as_ref().map(Secret::expose), token, "{host}");
        let shown =
            format!("{parsed:?} {} {} {}", parsed.address.dial_url(), parsed.address.http_base(), parsed.address);
        assert!(token.is_none_or(|token| !shown.contains(token)), "{shown}");
    }
}

#[test]
fn dial_http_and_origin_urls_follow_the_scheme_and_keep_the_path() {
    for (host, port, dial, http, origin, header) in [
        ("h", 18789, "ws://h:18789", "http://h:18789", "http://h:18789", "h:18789"),
        ("h", 80, "ws://h:80", "http://h:80", "http://h", "h"),
        ("::1", 1, "ws://[::1]:1", "http://[::1]:1", "http://[::1]:1", "[::1]:1"),
        ("ws://h/gw/", 1, "ws://h:1/gw", "http://h:1/gw", "http://h:1", "h:1"),
        ("http://h/a/b", 1, "ws://h:1/a/b", "http://h:1/a/b", "http://h:1", "h:1"),
        ("wss://h:443", 1, "wss://h:443", "https://h:443", "https://h", "h"),
        ("https://h/gw", 8443, "wss://h:8443/gw", "https://h:8443/gw", "https://h:8443", "h:8443"),
        ("https://h/sessions/main", 1, "wss://h:1", "https://h:1", "https://h:1", "h:1"),
        ("https://127.0.0.1/", 1, "wss://127.0.0.1:1", "https://127.0.0.1:1", "https://127.0.0.1:1", "127.0.0.1:1"),
    ] {
        let address = parse(host, Some(port)).address;
        assert_eq!(address.dial_url(), dial, "{host}");
        assert_eq!(address.http_base(), http, "{host}");
        assert_eq!(address.origin(), origin, "{host}");
        assert_eq!(address.host_header(), header, "{host}");
    }
}

#[test]
fn a_browser_gets_the_documented_url() {
    for (host, port, browser_is_https, url) in [
        ("127.0.0.1", 18789, false, "ws://127.0.0.1:18789"),
        ("127.0.0.1", 18789, true, "ws://127.0.0.1:18789"),
        ("localhost", 18789, true, "ws://localhost:18789"),
        ("gw.localhost", 18789, true, "ws://gw.localhost:18789"),
        ("::1", 18789, true, "ws://[::1]:18789"),
        ("https://127.0.0.1:18789", 18789, true, "ws://127.0.0.1:18789"),
        ("http://localhost:18789", 18789, false, "ws://localhost:18789"),
        ("wss://127.0.0.1:18789", 18789, false, "wss://127.0.0.1:18789"),
        ("node.tailnet.ts.net", 18789, true, "wss://node.tailnet.ts.net"),
        ("node.tailnet.ts.net", 18790, true, "wss://node.tailnet.ts.net:18790"),
        ("node.tailnet.ts.net", 18789, false, "ws://node.tailnet.ts.net:18789"),
        ("192.168.1.5", 18789, true, "wss://192.168.1.5"),
        ("2001:db8::1", 18789, true, "wss://[2001:db8::1]"),
        ("https://gateway.example.com", 18789, true, "wss://gateway.example.com"),
        ("https://gateway.example.com", 443, false, "wss://gateway.example.com"),
        ("https://gateway.example.com:8443", 18789, true, "wss://gateway.example.com:8443"),
        ("https://gateway.example.com/gw", 18789, true, "wss://gateway.example.com/gw"),
        ("https://gateway.example.com/gw/", 443, true, "wss://gateway.example.com/gw"),
        ("https://gateway.example.com:4443/sessions", 1, true, "wss://gateway.example.com:4443"),
        ("https://gateway.example.com:4443/sessions/x", 1, true, "wss://gateway.example.com:4443"),
        ("https://gateway.example.com:4443/sessionsx", 1, true, "wss://gateway.example.com:4443/sessionsx"),
        ("ws://gateway.example.com", 18789, true, "ws://gateway.example.com:18789"),
        ("http://gateway.example.com/", 9090, true, "ws://gateway.example.com:9090"),
    ] {
        let address = parse(host, Some(port)).address;
        assert_eq!(address.ws_url(browser_is_https, None), url, "{host}");
        assert_eq!(address.ws_url(browser_is_https, Some(&Secret::default())), url, "an empty token is none");
    }
    let pasted = parse("https://node.ts.net:4443/sessions?foo=bar&token=a%2Bb#frag", Some(1));
    assert_eq!(pasted.address.ws_url(true, pasted.query_token.as_ref()), "wss://node.ts.net:4443?token=a%2Bb");
}

#[test]
fn loopback_is_told_from_the_text() {
    for host in [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "ws://2130706433",
    ] {
        assert!(parse(host, Some(1)).address.is_loopback(), "{host}");
    }
    for host in ["localhost.example.com", "10.0.0.1", "fd00::2", "notlocalhost"] {
        assert!(!parse(host, Some(1)).address.is_loopback(), "{host}");
    }
}

fn host_like() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-zA-Z0-9_.-]{1,20}",
        "[0-9a-fA-F:.\\[\\]]{1,24}",
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        "\\PC{1,12}",
        any::<u32>().prop_map(|number| number.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]")),
    ];
    let scheme = prop_oneof![Just(""), Just("ws://"), Just("WSS://"), Just("http://"), Just("https://"), Just("x://")];
    (scheme, host, "(:[0-9]{0,6})?", "(/[a-z%./]{0,12})?", "(\\?(token=)?[a-z%+&=]{0,8})?(#[a-z]{0,3})?")
        .prop_map(|(scheme, host, port, path, query)| format!("{scheme}{host}{port}{path}{query}"))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*|[\\x00-\\x7f]{0,40}", port in any::<Option<u16>>()) {
        let _ = GatewayAddress::parse(&text, port);
    }

    #[test]
    fn what_is_stored_and_what_is_dialled_read_back_as_the_same_address(text in host_like(), port in any::<Option<u16>>()) {
        if let Ok(parsed) = GatewayAddress::parse(&text, port) {
            let stored = GatewayAddress::parse(&parsed.host_text, Some(parsed.port())).unwrap();
            prop_assert_eq!(&stored.address, &parsed.address);
            prop_assert_eq!(&stored.host_text, &parsed.host_text);
            prop_assert_eq!(stored.query_token, None);

            let dialled = GatewayAddress::parse(&parsed.address.dial_url(), None).unwrap();
            prop_assert_eq!(dialled.address.dial_url(), parsed.address.dial_url());
            prop_assert_eq!(dialled.address.key(), parsed.address.key());

            let bare = GatewayAddress::parse(&parsed.address.host(), Some(parsed.port())).unwrap();
            prop_assert_eq!(bare.address.to_string(), parsed.address.to_string());
            prop_assert!(!parsed.address.ws_url(true, None).ends_with('/'));
            prop_assert!(!parsed.host_text.contains(['?', '#']));
            let key = parsed.address.key();
            prop_assert!(!key.contains(['?', '#', '@', ' ']) && !key.ends_with('/'), "{}", key);
            let again = GatewayAddress::parse(&key, None).unwrap();
            prop_assert_eq!(again.address.key(), key);
        }
    }

    #[test]
    fn no_forbidden_ipv4_address_gets_in_as_a_number(last in any::<u16>()) {
        let number = 0xa9fe_0000_u32 + u32::from(last);
        for text in [number.to_string(), format!("{number:#x}"), format!("0{number:o}"), format!("169.254.{last}")] {
            prop_assert!(matches!(GatewayAddress::parse(&text, Some(80)), Err(AddressError::Forbidden(_))));
        }
    }
}
