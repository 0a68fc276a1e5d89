//! Who may do what: each endpoint, without a key, with a wrong one, and with each role.

use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};

use super::support::{Ask, Harness};

struct Row {
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    /// Without a key, with a wrong key, as viewer, as operator, as admin.
    expected: [u16; 5],
}

fn row(method: &'static str, path: &'static str, body: Option<Value>, expected: [u16; 5]) -> Row {
    Row { method, path, body, expected }
}

/// One row for each operation of the OpenAPI document. Rows that succeed are harmless to the ones after them.
fn table() -> Vec<Row> {
    let open = [200; 5];
    let viewer = [401, 401, 200, 200, 200];
    let operator = [401, 401, 403, 200, 200];
    let admin = [401, 401, 403, 403, 200];
    let new = json!({"name": "new", "host": "127.0.0.1", "port": 1});
    vec![
        row("GET", "/health", None, open),
        row("GET", "/api/health", None, open),
        row("GET", "/ready", None, open),
        row("GET", "/metrics", None, open),
        row("GET", "/api/openapi.json", None, open),
        row("POST", "/mcp", Some(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})), viewer),
        row("GET", "/api/gateways", None, viewer),
        row("GET", "/api/fleet", None, viewer),
        row("GET", "/api/gateways/1", None, viewer),
        row("GET", "/api/gateways/health/history", None, viewer),
        row("GET", "/api/gateways/latency", None, [401, 401, 400, 400, 400]),
        row("GET", "/api/gateways/1/latency", None, viewer),
        row("POST", "/api/gateways/check", Some(json!({"name": "new", "host": "127.0.0.1", "port": 1})), admin),
        // A wrong wait: tests send nothing into the network.
        row("POST", "/api/gateways/discover", Some(json!({"timeout_ms": 1})), [401, 401, 403, 403, 400]),
        row("POST", "/api/gateways/health", None, viewer),
        row("POST", "/api/gateways/connect", Some(json!({"id": 1})), viewer),
        row("GET", "/api/events", None, viewer),
        row("GET", "/api/audit", None, admin),
        // Past the key it wants a WebSocket.
        row("GET", "/api/ws", None, [401, 401, 400, 400, 400]),
        row("GET", "/api/nodes", None, viewer),
        row("GET", "/api/identity", None, viewer),
        row("GET", "/api/status", None, viewer),
        row("GET", "/api/cluster", None, viewer),
        row("POST", "/api/gateways/1/reconnect", None, operator),
        row("GET", "/api/gateways/1/logs", None, operator),
        row("POST", "/api/gateways/1/drain", None, admin),
        row("POST", "/api/gateways/1/undrain", None, admin),
        row("POST", "/api/gateways/1/process", Some(json!({"action": "status"})), [401, 401, 403, 403, 409]),
        row("POST", "/api/gateways", Some(new), [401, 401, 403, 403, 201]),
        row("PUT", "/api/gateways", Some(json!({"id": 1, "priority": 2})), admin),
        row("PUT", "/api/gateways/1", Some(json!({"priority": 3})), admin),
        row("DELETE", "/api/gateways", Some(json!({"id": 99})), admin),
        row("DELETE", "/api/gateways/99", None, admin),
        row("POST", "/api/nodes", Some(json!({"action": "approve", "requestId": "r"})), admin),
        row("GET", "/api/agents", None, viewer),
        row("GET", "/api/agents/nobody", None, [401, 401, 404, 404, 404]),
        row("POST", "/api/agents", Some(json!({})), [401, 401, 403, 400, 400]),
        row("POST", "/api/agents/sync", Some(json!({"gateway_id": "x"})), [401, 401, 403, 403, 400]),
        row("PUT", "/api/agents/nobody", Some(json!({"role": "r"})), [401, 401, 403, 404, 404]),
        row("POST", "/api/agents/nobody/heartbeat", None, [401, 401, 403, 404, 404]),
        row("POST", "/api/connect", Some(json!({"agent_name": "a", "tool_name": "t"})), operator),
        row("GET", "/api/connect", None, viewer),
        row("DELETE", "/api/connect", Some(json!({"connection_id": 5})), [401, 401, 403, 400, 400]),
        row("GET", "/api/tokens", None, viewer),
        row("POST", "/api/tokens", Some(json!({})), [401, 401, 403, 400, 400]),
        row("DELETE", "/api/agents/nobody", None, [401, 401, 403, 403, 404]),
        row("POST", "/api/spawn", Some(json!({"task": "t"})), [401, 401, 403, 202, 202]),
        row("GET", "/api/spawn", None, viewer),
        row("GET", "/api/spawn/none", None, [401, 401, 404, 404, 404]),
        row("GET", "/api/sessions", None, viewer),
        row("POST", "/api/sessions", Some(json!({})), [401, 401, 403, 400, 400]),
        row("DELETE", "/api/sessions", Some(json!({"sessionKey": "nobody"})), [401, 401, 403, 404, 404]),
        row("POST", "/api/sessions/nobody/control", Some(json!({"action": "kill"})), [401, 401, 403, 404, 404]),
        row("GET", "/api/sessions/nobody/history", None, [401, 401, 404, 404, 404]),
        row("POST", "/api/sessions/nobody/message", Some(json!({"content": "hi"})), [401, 401, 403, 404, 404]),
        row("GET", "/api/keys", None, admin),
        row("POST", "/api/keys", Some(json!({"name": "k", "role": "viewer"})), [401, 401, 403, 403, 201]),
        row("DELETE", "/api/keys/99", None, [401, 401, 403, 403, 404]),
        row("GET", "/api/v1/gateways", None, viewer),
        row("POST", "/api/v1/gateways", Some(json!({})), [401, 401, 403, 403, 400]),
        row("GET", "/api/v1/gateways/status", None, viewer),
        row("GET", "/api/v1/gateways/commands", None, [401, 401, 502, 502, 502]),
        row("GET", "/api/v1/gateways/sessions", None, viewer),
        row("GET", "/api/v1/gateways/sessions/nobody", None, [401, 401, 404, 404, 404]),
        row("GET", "/api/v1/gateways/sessions/nobody/history", None, [401, 401, 404, 404, 404]),
        row(
            "POST",
            "/api/v1/gateways/sessions/nobody/message",
            Some(json!({"content": "hi"})),
            [401, 401, 403, 403, 404],
        ),
        row("GET", "/api/v1/gateways/x", None, [401, 401, 400, 400, 400]),
        row("PATCH", "/api/v1/gateways/x", Some(json!({"name": "n"})), [401, 401, 403, 403, 400]),
        row("DELETE", "/api/v1/gateways/x", None, [401, 401, 403, 403, 400]),
        row("POST", "/api/v1/gateways/x/templates/sync", None, [401, 401, 403, 403, 400]),
        row("GET", "/api/auth/session", None, viewer),
        row("POST", "/api/auth/link", None, [401, 401, 201, 201, 201]),
        // The key is in the body; the headers don't matter.
        row("POST", "/api/auth/login", Some(json!({"api_key": super::support::CONFIGURED})), open),
        row("POST", "/api/auth/logout", None, open),
    ]
}

#[actix_web::test]
async fn each_endpoint_answers_each_role_as_the_table_says() {
    let harness = Harness::start().await;
    let mut wrong_from = 0;
    for row in table() {
        let keys = [
            None,
            Some("gw_00000000_wrong".to_owned()),
            Some(harness.key(Role::Viewer)),
            Some(harness.key(Role::Operator)),
            Some(harness.key(Role::Admin)),
        ];
        for (key, expected) in keys.into_iter().zip(row.expected) {
            // Each wrong key from an address of its own, so that none is slowed down. The metrics want loopback.
            wrong_from += 1;
            let mut ask = Ask::new(row.method, row.path).peer(&format!(
                "127.0.{}.{}:5000",
                1 + wrong_from / 250,
                wrong_from % 250
            ));
            let shown = key.as_deref().map_or("none".to_owned(), |key| key.chars().take(11).collect::<String>());
            if let Some(key) = key {
                ask = ask.header("x-api-key", &key);
            }
            if let Some(body) = &row.body {
                ask = ask.json(body.clone());
            }
            let answer = harness.send(ask).await;
            assert_eq!(answer.status.as_u16(), expected, "{} {} key {shown}: {answer:?}", row.method, row.path);
            if expected >= 400 {
                let code = match expected {
                    400 => "invalid_request",
                    401 => "unauthorized",
                    403 => "forbidden",
                    502 => "gateway_refused",
                    409 => "process_not_managed",
                    _ if row.path.contains("/sessions") => "session_not_found",
                    _ if row.path.starts_with("/api/agents") => "agent_not_found",
                    _ if row.path.starts_with("/api/v1/gateways") => "gateway_not_found",
                    _ if row.path.starts_with("/api/spawn") => "spawn_not_found",
                    _ => "key_not_found",
                };
                assert_eq!(answer.error_code(), code);
            }
        }
    }
}

#[actix_web::test]
async fn the_table_has_a_row_for_every_operation_of_the_document() {
    let table = table();
    let document = crate::http::openapi();
    for (path, item) in &document.paths.paths {
        let pattern = actix_web::dev::ResourceDef::new(path.as_str());
        for method in crate::http::route_table::methods(item) {
            if method == actix_web::http::Method::HEAD {
                continue;
            }
            let there = table.iter().any(|row| row.method == method.as_str() && pattern.is_match(row.path));
            assert!(there, "no row for {method} {path}");
        }
    }
}

#[actix_web::test]
async fn a_bearer_key_works_like_the_other_header() {
    let harness = Harness::start().await;
    let key = format!("Bearer {}", harness.key(Role::Viewer));
    let answer = harness.send(Ask::new("GET", "/api/gateways").header("authorization", &key)).await;
    assert_eq!(answer.status, 200);
    let answer = harness.send(Ask::new("GET", "/api/gateways").header("authorization", "Basic YTpi")).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
}

#[actix_web::test]
async fn a_refused_caller_is_answered_before_the_body_is_read() {
    let harness = Harness::start().await;
    let garbage = Ask::new("POST", "/api/gateways").bytes(b"{not json");
    assert_eq!(harness.send(garbage).await.status, 401);
    let garbage = harness.ask(Role::Viewer, "POST", "/api/gateways").bytes(b"{not json");
    assert_eq!(harness.send(garbage).await.status, 403);
}

#[actix_web::test]
async fn wrong_keys_are_slowed_down_and_a_right_one_never_is() {
    let harness = Harness::start().await;
    let mut statuses = Vec::new();
    for _ in 0..15 {
        let answer = harness.send(Ask::new("GET", "/api/gateways").header("x-api-key", "wrong")).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.header("ratelimit-limit"), Some("5"));
            assert_eq!(answer.error_code(), "rate_limited");
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5);
    assert_eq!(statuses.last(), Some(&429));
    assert_eq!(harness.send(harness.admin("GET", "/api/gateways")).await.status, 200, "the same address");
    let elsewhere = Ask::new("GET", "/api/gateways").peer("192.0.2.7:1").header("x-api-key", "wrong");
    assert_eq!(harness.send(elsewhere).await.status, 401, "another address has its own count");
    let login = Ask::new("POST", "/api/auth/login").json(json!({"api_key": "wrong"}));
    assert_eq!(harness.send(login).await.status, 429, "logins count too");
    let login = Ask::new("POST", "/api/auth/login").json(json!({"api_key": harness.key(Role::Viewer)}));
    assert_eq!(harness.send(login).await.status, 200);
}

#[actix_web::test]
async fn the_sixth_wrong_login_in_a_minute_is_refused_by_the_address_behind_the_proxy() {
    let harness = Harness::start().await;
    let login = |client: &str, key: &str| {
        let login = Ask::new("POST", "/api/auth/login").json(json!({"api_key": key}));
        login.peer("127.0.0.1:1").header("x-forwarded-for", client)
    };
    for expected in [401, 401, 401, 401, 401, 429, 429] {
        assert_eq!(harness.send(login("192.0.2.7", "wrong")).await.status, expected);
    }
    assert_eq!(harness.send(login("192.0.2.8", "wrong")).await.status, 401, "another client of the same proxy");
    assert_eq!(harness.send(login("192.0.2.7", &harness.key(Role::Viewer))).await.status, 200, "a right key never is");
}
