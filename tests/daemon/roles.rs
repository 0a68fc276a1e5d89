//! Who may do what: each endpoint with no key, a wrong key and each role, as one table.

use serde_json::{Value, json};

use crate::support::daemon::{ADMIN_KEY, Daemon};
use crate::support::http;

/// Method, path, body, then the answers for viewer, operator and admin. Ids are unknown and bodies empty on purpose: what
/// counts is whether the role is let through to the next check.
type Row = (&'static str, &'static str, Option<Value>, [u16; 3]);

fn table() -> Vec<Row> {
    vec![
        ("GET", "/api/gateways", None, [200, 200, 200]),
        ("POST", "/api/gateways", Some(json!({})), [403, 403, 400]),
        ("PUT", "/api/gateways", Some(json!({})), [403, 403, 400]),
        ("DELETE", "/api/gateways", Some(json!({})), [403, 403, 400]),
        ("GET", "/api/gateways/999999", None, [404, 404, 404]),
        ("PUT", "/api/gateways/999999", Some(json!({"priority": 1})), [403, 403, 404]),
        ("POST", "/api/gateways/health", Some(json!({"gateway_id": 999_999})), [404, 404, 404]),
        ("GET", "/api/gateways/health/history", None, [200, 200, 200]),
        ("POST", "/api/gateways/connect", Some(json!({"id": 999_999})), [404, 404, 404]),
        ("POST", "/api/gateways/999999/reconnect", Some(json!({})), [403, 404, 404]),
        ("POST", "/api/gateways/999999/drain", Some(json!({})), [403, 403, 404]),
        ("POST", "/api/gateways/999999/undrain", Some(json!({})), [403, 403, 404]),
        ("POST", "/api/gateways/999999/process", Some(json!({"action": "status"})), [403, 403, 404]),
        ("GET", "/api/keys", None, [403, 403, 200]),
        ("POST", "/api/keys", Some(json!({})), [403, 403, 400]),
        ("DELETE", "/api/keys/999999", None, [403, 403, 404]),
        ("GET", "/api/status", None, [200, 200, 200]),
        ("GET", "/api/identity", None, [200, 200, 200]),
        ("GET", "/api/nodes?action=list", None, [200, 200, 200]),
        ("GET", "/api/nodes?action=devices", None, [200, 200, 200]),
        ("POST", "/api/nodes", Some(json!({})), [403, 403, 400]),
        ("GET", "/api/sessions", None, [200, 200, 200]),
        ("POST", "/api/sessions?action=set-label", Some(json!({})), [403, 400, 400]),
        ("DELETE", "/api/sessions", Some(json!({})), [403, 400, 400]),
        ("POST", "/api/sessions/nobody/control", Some(json!({"action": "kill"})), [403, 404, 404]),
        ("GET", "/api/sessions/nobody/history", None, [404, 404, 404]),
        ("POST", "/api/sessions/nobody/message", Some(json!({"content": "x"})), [403, 404, 404]),
        ("GET", "/api/agents", None, [200, 200, 200]),
        ("POST", "/api/agents", Some(json!({})), [403, 400, 400]),
        ("GET", "/api/agents/nobody", None, [404, 404, 404]),
        ("POST", "/api/agents/sync", Some(json!({"gateway_id": 999_999})), [403, 403, 404]),
        ("PUT", "/api/agents/nobody", Some(json!({"role": "r"})), [403, 404, 404]),
        ("POST", "/api/agents/nobody/heartbeat", Some(json!({})), [403, 404, 404]),
        ("GET", "/api/connect", None, [200, 200, 200]),
        ("POST", "/api/connect", Some(json!({})), [403, 400, 400]),
        ("DELETE", "/api/connect", Some(json!({"connection_id": "conn-x"})), [403, 404, 404]),
        ("GET", "/api/tokens", None, [200, 200, 200]),
        ("POST", "/api/tokens", Some(json!({})), [403, 400, 400]),
        ("DELETE", "/api/agents/nobody", None, [403, 403, 404]),
    ]
}

#[test]
fn each_endpoint_lets_exactly_the_documented_roles_through() {
    let daemon = Daemon::start();
    let viewer = daemon.new_key("viewer", "viewer");
    let operator = daemon.new_key("operator", "operator");
    let keys = [viewer.as_str(), operator.as_str(), ADMIN_KEY];
    for (method, path, body, expected) in table() {
        for (key, status) in keys.iter().zip(expected) {
            let answer = daemon.try_call(Some(key), method, path, body.as_ref()).expect("an answer");
            assert_eq!(answer.status, status, "{method} {path} as {key:.8}: {}", answer.text);
            if status == 403 {
                assert_eq!(answer.json()["code"], "forbidden");
            }
        }
        let bare = daemon.try_call(None, method, path, body.as_ref()).expect("an answer");
        assert!(
            bare.status == 401 || bare.status == 429,
            "{method} {path} without a key: {} {}",
            bare.status,
            bare.text
        );
    }
}

#[test]
fn both_ways_of_sending_a_key_work_and_some_pages_need_none() {
    let daemon = Daemon::start();
    let bearer = format!("Bearer {ADMIN_KEY}");
    for headers in [[("X-API-Key", ADMIN_KEY)], [("Authorization", bearer.as_str())]] {
        let answer = http::request(daemon.address(), "GET", "/api/keys", &headers, None).expect("an answer");
        assert_eq!(answer.status, 200);
        assert!(answer.header("x-request-id").is_some());
    }
    for path in ["/health", "/api/health", "/ready"] {
        let answer = daemon.try_call(None, "GET", path, None).expect("an answer").expect(200);
        if path != "/ready" {
            assert_eq!(answer.json()["status"], "ok");
            assert!(answer.json()["version"].is_string() && answer.json()["uptime"].is_number(), "{}", answer.text);
        }
    }
}

#[test]
fn wrong_keys_are_refused_and_then_slowed_down_without_locking_out_a_right_one_for_good() {
    let daemon = Daemon::start();
    let statuses: Vec<u16> = (0..40)
        .map(|_| daemon.try_call(Some("nobody-made-this-key"), "GET", "/api/gateways", None).expect("an answer").status)
        .collect();
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
}

#[test]
fn a_revoked_key_is_worth_nothing() {
    let daemon = Daemon::start();
    let key = daemon.new_key("short-lived", "viewer");
    daemon.try_call(Some(&key), "GET", "/api/gateways", None).expect("an answer").expect(200);
    let listed = daemon.get("/api/keys").expect(200).json();
    let id = listed["keys"].as_array().into_iter().flatten().find(|one| one["name"] == "short-lived").expect("listed")
        ["id"]
        .clone();
    daemon.call("DELETE", &format!("/api/keys/{id}"), None);
    daemon.try_call(Some(&key), "GET", "/api/gateways", None).expect("an answer").expect(401);
}
