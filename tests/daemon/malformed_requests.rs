//! Any malformed body, field, id or header is a 4xx with a sentence that names it: never a 500, never a stack of Rust types.

use serde_json::json;

use crate::support::daemon::{ADMIN_KEY, Daemon};
use crate::support::http::{self, Answer};

fn is_a_clear_refusal(what: &str, answer: &Answer) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
    let body = answer.json();
    assert!(body["error"].as_str().is_some_and(|text| text.len() > 5), "{what}: {}", answer.text);
    assert!(body["code"].as_str().is_some_and(|code| !code.contains(' ')), "{what}: {}", answer.text);
    for rust in ["serde", "struct ", "Option<", "invalid type: ", "panicked", "actix", "i64", "u16", "diesel"] {
        assert!(!answer.text.contains(rust), "{what}: {rust:?} is for programmers: {}", answer.text);
    }
}

fn post(daemon: &Daemon, path: &str, method: &str, body: &[u8]) -> Answer {
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
    http::request(daemon.address(), method, path, &headers, Some(body)).expect("an answer")
}

#[test]
fn malformed_bodies_are_refused_by_every_endpoint_that_takes_one() {
    let daemon = Daemon::start();
    let id = daemon.register("one", 1, "");
    let endpoints = [
        ("POST", "/api/gateways".to_owned()),
        ("PUT", "/api/gateways".to_owned()),
        ("DELETE", "/api/gateways".to_owned()),
        ("PUT", format!("/api/gateways/{id}")),
        ("POST", "/api/gateways/connect".to_owned()),
        ("POST", "/api/keys".to_owned()),
        ("POST", "/api/nodes".to_owned()),
    ];
    let bodies: [&[u8]; 10] = [
        b"{",
        b"[]",
        b"null",
        b"\"text\"",
        b"17",
        b"{\"id\": {}}",
        b"{\"id\": \"x\", \"name\": 5, \"host\": [], \"port\": \"many\", \"requestId\": 5, \"action\": 7, \"role\": []}",
        b"\xff\xfe\x00",
        b"{\"id\": 1e400}",
        b"{\"id\": -9223372036854775809, \"port\": 99999999999999999999}",
    ];
    for (method, path) in &endpoints {
        for body in bodies {
            let what = format!("{method} {path} {}", String::from_utf8_lossy(body));
            is_a_clear_refusal(&what, &post(&daemon, path, method, body));
        }
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    is_a_clear_refusal("deep nesting", &post(&daemon, "/api/gateways", "POST", deep.as_bytes()));
    let long = json!({"name": "x".repeat(2 * 1024 * 1024)}).to_string();
    let too_large = post(&daemon, "/api/gateways", "POST", long.as_bytes());
    assert_eq!(too_large.status, 413, "{}", too_large.text);
    daemon.get("/health").expect(200);
}

#[test]
fn malformed_fields_of_a_gateway_are_each_named() {
    let daemon = Daemon::start();
    let good = json!({"name": "n", "host": "127.0.0.1", "port": 1});
    let cases = [
        ("name", json!("")),
        ("name", json!("x".repeat(10_000))),
        ("name", json!("line\nbreak")),
        ("name", json!(null)),
        ("host", json!("")),
        ("host", json!("has space")),
        ("host", json!("http://user:password@127.0.0.1")),
        ("host", json!("file:///etc/passwd")),
        ("host", json!("ftp://127.0.0.1")),
        ("host", json!("169.254.169.254")),
        ("host", json!("http://169.254.169.254/latest")),
        ("host", json!("[fe80::1]")),
        ("host", json!("::ffff:169.254.169.254")),
        ("host", json!("2852039166")),
        ("host", json!("0xa9fea9fe")),
        ("host", json!("metadata.google.internal")),
        ("host", json!("x".repeat(5_000))),
        ("port", json!(0)),
        ("port", json!(-1)),
        ("port", json!(65_536)),
        ("port", json!(1.5)),
        ("port", json!("1x")),
        ("port", json!({})),
        ("token", json!(5)),
        ("token", json!("line\r\nbreak")),
        ("is_primary", json!("perhaps")),
        ("is_primary", json!(2)),
        ("priority", json!("high")),
        ("priority", json!(1_i64 << 40)),
        ("labels", json!([])),
        ("labels", json!({"a": 1})),
        ("transport", json!("pigeon")),
        ("tls", json!({"trust": "everyone"})),
        ("tls", json!({"trust": "ca"})),
        ("tls", json!({"trust": "ca", "ca_pem": "nonsense"})),
        ("tls", json!({"trust": "pins", "pins": ["abc"]})),
        ("tls", json!({"trust": "pins", "pins": []})),
        ("disable_device_pairing", json!("x")),
        ("node", json!("a node")),
        ("agents", json!("x")),
    ];
    for (field, value) in cases {
        let mut body = good.clone();
        body[field] = value.clone();
        let what = format!("{field} = {:.80}", value.to_string());
        let answer = daemon.post("/api/gateways", &body);
        is_a_clear_refusal(&what, &answer);
        assert!(answer.text.to_lowercase().contains(field), "{what} is not named: {}", answer.text);
    }
    assert_eq!(daemon.gateways().len(), 1, "a malformed gateway was registered");
}

#[test]
fn malformed_ids_queries_and_headers_are_refused() {
    let daemon = Daemon::start();
    for (method, path) in [
        ("GET", "/api/gateways/abc"),
        ("GET", "/api/gateways/-1"),
        ("GET", "/api/gateways/99999999999999999999"),
        ("GET", "/api/gateways/%00"),
        ("GET", "/api/gateways/health/history?gateway_id=x"),
        ("GET", "/api/gateways/health/history?hours=x"),
        ("GET", "/api/gateways?limit=x"),
        ("GET", "/api/nodes?action=explode"),
        ("POST", "/api/gateways/x/reconnect"),
        ("DELETE", "/api/keys/x"),
        ("DELETE", "/api/gateways"),
        ("GET", "/api/no-such-thing"),
        ("PATCH", "/api/gateways"),
        ("TRACE", "/api/gateways"),
    ] {
        let answer = daemon.call(method, path, None);
        assert!((400..500).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text);
        if !path.contains("no-such") && method != "TRACE" {
            is_a_clear_refusal(&format!("{method} {path}"), &answer);
        }
    }
    let address = daemon.address();
    let foreign =
        http::request(address, "GET", "/api/gateways", &[("Host", "evil.example"), ("X-API-Key", ADMIN_KEY)], None);
    assert_eq!(foreign.expect("an answer").status, 421);
    let foreign = http::request(address, "GET", "/health", &[("Host", "evil.example")], None).expect("an answer");
    assert_eq!(foreign.status, 200);
    let text = http::request(
        address,
        "POST",
        "/api/gateways",
        &[("X-API-Key", ADMIN_KEY), ("Content-Type", "text/plain")],
        Some(b"{\"name\":\"n\",\"host\":\"127.0.0.1\",\"port\":1}"),
    );
    assert!([415, 400].contains(&text.expect("an answer").status));
    let id = http::request(address, "GET", "/health", &[("X-Request-Id", "sane-id-1")], None).expect("an answer");
    assert_eq!(id.header("x-request-id"), Some("sane-id-1"));
    let id = http::request(address, "GET", "/health", &[("X-Request-Id", "in sane \u{1}<script>")], None);
    assert!(id.is_err() || id.is_ok_and(|id| id.header("x-request-id") != Some("in sane \u{1}<script>")));
    for bytes in [
        &b"GARBAGE\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /api/gateways HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        let answer = http::raw(address, bytes);
        assert!(answer.is_err() || answer.is_ok_and(|answer| (400..500).contains(&answer.status)));
    }
    daemon.get("/health").expect(200);
}
