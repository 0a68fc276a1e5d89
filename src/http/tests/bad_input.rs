//! Bad input is a 4xx with a sentence that names it. Never a 500, never words of Rust.

use serde_json::json;

use super::support::Harness;

const BODIES: [(&str, &[u8]); 18] = [
    ("empty", b""),
    ("not JSON", b"hello"),
    ("half an object", b"{\"name\":"),
    ("trailing text", b"{} x"),
    ("an array", b"[]"),
    ("a number", b"5"),
    ("null", b"null"),
    ("a text", b"\"x\""),
    ("an empty object", b"{}"),
    ("repeated keys", b"{\"id\":1,\"id\":1,\"gateway_id\":1,\"gateway_id\":1}"),
    ("NaN", b"{\"id\":NaN}"),
    ("infinity", b"{\"id\":Infinity}"),
    ("a giant number", b"{\"id\":1e999,\"gateway_id\":1e999}"),
    ("a long number", b"{\"id\":123456789012345678901234567890,\"gateway_id\":123456789012345678901234567890}"),
    ("invalid UTF-8", b"{\"name\":\"\xff\xfe\"}"),
    ("a NUL byte", b"{\"name\":\"\0\"}"),
    ("only NUL", b"\0\0\0"),
    ("a lone surrogate", b"{\"name\":\"\\ud800\"}"),
];

#[actix_web::test]
async fn every_malformed_body_is_a_400_everywhere() {
    let harness = Harness::start().await;
    let deep = [b"{\"id\":".repeat(200), b"1".to_vec(), b"}".repeat(200)].concat();
    let routes = [
        ("POST", "/api/gateways"),
        ("PUT", "/api/gateways"),
        ("DELETE", "/api/gateways"),
        ("PUT", "/api/gateways/1"),
        ("POST", "/api/gateways/connect"),
        ("POST", "/api/gateways/health"),
        ("POST", "/api/nodes"),
        ("POST", "/api/agents"),
        ("PUT", "/api/agents/1"),
        ("POST", "/api/agents/sync"),
        ("POST", "/api/sessions?action=set-label"),
        ("DELETE", "/api/sessions"),
        ("POST", "/api/sessions/main/control"),
        ("POST", "/api/sessions/main/message"),
        ("POST", "/api/connect"),
        ("DELETE", "/api/connect"),
        ("POST", "/api/tokens"),
        ("POST", "/api/keys"),
        ("POST", "/api/auth/login"),
    ];
    for (method, path) in routes {
        for (what, body) in BODIES.into_iter().chain([("deep nesting", deep.as_slice())]) {
            // A check of all gateways needs no body, nor does a sync with the acting primary.
            if (path.ends_with("/health") || path.ends_with("/sync")) && ["empty", "an empty object"].contains(&what) {
                continue;
            }
            let answer = harness.send(harness.admin(method, path).bytes(body)).await;
            assert_eq!(answer.status, 400, "{method} {path} with {what}: {answer:?}");
            assert_eq!(answer.error_code(), "invalid_request", "{method} {path} with {what}");
        }
    }
}

#[actix_web::test]
async fn every_malformed_field_is_a_400_that_names_it() {
    let harness = Harness::start().await;
    let good = json!({"name": "n", "host": "127.0.0.1", "port": 1});
    let with = |field: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let long = "x".repeat(5000);
    for (field, value) in [
        ("name", json!(5)),
        ("name", json!("")),
        ("name", json!("x".repeat(201))),
        ("name", json!("a\u{0}")),
        ("host", json!(["a"])),
        ("host", json!("")),
        ("host", json!("http://user:pass@h")),
        ("host", json!("ftp://h")),
        ("host", json!("a b")),
        ("port", json!(0)),
        ("port", json!(65_536)),
        ("port", json!(-1)),
        ("port", json!("18789")),
        ("port", json!(1.5)),
        ("token", json!(5)),
        ("token", json!(long)),
        ("token", json!("a\nb")),
        ("is_primary", json!("yes")),
        ("priority", json!(1e12)),
        ("labels", json!([])),
        ("labels", json!({"a": 1})),
        ("transport", json!("carrier pigeon")),
        ("tls", json!("none")),
        ("tls", json!({"trust": "pins", "pins": ["short"]})),
        ("disable_device_pairing", json!("no")),
        ("agents", json!({"name": "a"})),
        ("agents", json!([{"role": "x"}])),
    ] {
        let answer = harness.send(harness.admin("POST", "/api/gateways").json(with(field, value.clone()))).await;
        assert_eq!(answer.status, 400, "{field} = {value}: {answer:?}");
        assert_eq!(answer.error_code(), "invalid_request", "{field} = {value}");
        assert!(answer.json()["error"].as_str().unwrap().contains(field), "{field}: {answer:?}");
    }
    assert_eq!(harness.app.roster.len(), 1, "nothing was stored");
}

#[actix_web::test]
async fn a_body_of_another_type_or_size_is_refused_as_such() {
    let harness = Harness::start().await;
    for content_type in ["text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let ask = harness.admin("POST", "/api/gateways").header("content-type", content_type).bytes(b"{}");
        let answer = harness.send(ask).await;
        assert_eq!(answer.status, 415, "{content_type}");
        assert_eq!(answer.error_code(), "unsupported_media_type");
    }
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(1024 * 1024));
    let answer = harness.send(harness.admin("POST", "/api/gateways").bytes(large.as_bytes())).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.error_code(), "payload_too_large");
}

#[actix_web::test]
async fn bad_paths_and_queries_are_named() {
    let harness = Harness::start().await;
    for (method, path, word) in [
        ("GET", "/api/gateways/abc", "id"),
        ("GET", "/api/gateways/0", "id"),
        ("GET", "/api/gateways/-1", "id"),
        ("GET", "/api/gateways/99999999999999999999", "id"),
        ("GET", "/api/gateways/%00", "id"),
        ("GET", "/api/gateways/%ff", "id"),
        ("POST", "/api/gateways/x/drain", "id"),
        ("GET", "/api/gateways?limit=0", "limit"),
        ("GET", "/api/gateways?limit=x", "limit"),
        ("GET", "/api/gateways?offset=-1", "offset"),
        ("GET", "/api/gateways?page=1&offset=1", "page"),
        ("GET", "/api/gateways/health/history?hours=0", "hours"),
        ("GET", "/api/gateways/health/history?hours=999", "hours"),
        ("GET", "/api/gateways/health/history?gateway_id=x", "gateway_id"),
        ("GET", "/api/gateways/1/logs?level=loud", "level"),
        ("GET", "/api/gateways/1/logs?follow=maybe", "follow"),
        ("DELETE", "/api/gateways?id=x", "id"),
        ("DELETE", "/api/keys/x", "id"),
        ("GET", "/api/nodes?action=dance", "Unknown action"),
        ("GET", "/api/agents?status=asleep", "status"),
        ("GET", "/api/agents?limit=x", "limit"),
        ("GET", "/api/agents?gateway_id=0", "gateway_id"),
        ("GET", "/api/agents?search=%00", "search"),
        ("GET", "/api/agents/0", "name an agent"),
        ("GET", "/api/agents/99999999999999999999", "name an agent"),
        ("GET", "/api/agents/%00", "name an agent"),
        ("DELETE", "/api/agents/%0a", "name an agent"),
        ("POST", "/api/agents/0/heartbeat", "name an agent"),
        ("GET", "/api/connect?status=open", "status"),
        ("GET", "/api/connect?limit=0", "limit"),
        ("GET", "/api/tokens?action=dance", "Unknown action"),
        ("GET", "/api/tokens?timeframe=year", "timeframe"),
        ("GET", "/api/tokens?limit=x", "limit"),
    ] {
        let answer = harness.send(harness.admin(method, path)).await;
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
        assert_eq!(answer.error_code(), "invalid_request");
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{method} {path}: {answer:?}");
    }
}

#[actix_web::test]
async fn what_body_and_address_name_is_the_same_or_nothing_is_done() {
    let harness = Harness::start().await;
    for (method, path, body) in [
        ("DELETE", "/api/gateways/1", json!({"id": 2})),
        ("DELETE", "/api/gateways?id=2", json!({"id": 1})),
        ("PUT", "/api/gateways/1", json!({"id": 2, "name": "x"})),
        ("DELETE", "/api/connect?connection_id=conn-a", json!({"connection_id": "conn-b"})),
    ] {
        let answer = harness.send(harness.admin(method, path).json(body)).await;
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
        let field = if path.contains("connect") { "connection_id" } else { "id" };
        assert_eq!(answer.json()["details"]["fields"][0]["field"], field, "{answer:?}");
    }
}

#[actix_web::test]
async fn every_refused_field_is_in_the_list_for_programs() {
    let harness = Harness::start().await;
    for (method, path, body, fields) in [
        ("DELETE", "/api/gateways", json!({}), vec!["id"]),
        ("DELETE", "/api/connect", json!({}), vec!["connection_id"]),
        ("POST", "/api/auth/login", json!({}), vec!["api_key"]),
        ("POST", "/api/auth/login", json!({"api_key": "a", "once": "b"}), vec!["api_key"]),
        ("GET", "/api/gateways/latency?ids=x&bucket=2m", json!({}), vec!["bucket", "ids"]),
        ("POST", "/api/sessions?action=zap", json!({"sessionKey": "a:b"}), vec!["action"]),
        ("POST", "/api/sessions?action=set-thinking", json!({"sessionKey": "no:such", "level": "zap"}), vec!["level"]),
    ] {
        let answer = harness.send(harness.admin(method, path).json(body)).await;
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
        let listed = answer.json()["details"]["fields"].clone();
        let listed: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
        assert_eq!(listed, fields, "{answer:?}");
    }
}

#[actix_web::test]
async fn unknown_paths_and_methods_have_the_one_error_shape() {
    let harness = Harness::start().await;
    for path in ["/api", "/api/nothing", "/api/gateways/", "/api/gateways/1/fly", "//", "/api/../etc/passwd"] {
        let answer = harness.send(harness.admin("GET", path)).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.error_code(), "not_found");
    }
    for (method, path, allow) in [
        ("PATCH", "/api/gateways", "DELETE"),
        ("POST", "/api/gateways/1", "PUT"),
        ("DELETE", "/api/gateways/health/history", "GET"),
        ("GET", "/api/auth/login", "POST"),
        ("OPTIONS", "/api/gateways", "GET"),
        ("BREW", "/health", "GET"),
    ] {
        let answer = harness.send(harness.admin(method, path)).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.error_code(), "method_not_allowed");
        assert!(answer.header("allow").unwrap().contains(allow), "{method} {path}: {answer:?}");
    }
}
