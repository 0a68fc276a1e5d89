//! HTTP on the gateway's own port and on that of its metrics.

use gatewarden_embedded_gateway::config::Webhook;
use gatewarden_protocol::{HealthDocument, Secret};
use serde_json::json;

use crate::support::{Client, Gateway, TOKEN, request, request_to};

const JSON: (&str, &str) = ("content-type", "application/json");

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

#[actix::test]
async fn health_and_readiness_need_no_login_and_read_as_health_documents() {
    let gateway = Gateway::start(|_| {}).await;
    for path in ["/health", "/healthz"] {
        let answer = request(&gateway, "GET", path, &[], "").await;
        assert_eq!(answer.status, 200);
        let health = HealthDocument::read(answer.header("content-type"), answer.body.as_bytes()).unwrap();
        assert!(health.healthy && health.uptime_ms.is_some());
        assert!(health.version.unwrap().starts_with("2026.9.6"));
        assert_eq!(answer.json()["status"], "ok");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for path in ["/ready", "/readyz"] {
        let ready = request(&gateway, "GET", path, &[], "").await.json();
        assert_eq!((&ready["ready"], &ready["failing"]), (&json!(true), &json!([])));
    }
    assert_eq!(request(&gateway, "HEAD", "/health", &[], "").await.body, "");
    assert_eq!(request(&gateway, "DELETE", "/health", &[], "").await.status, 405);
}

#[actix::test]
async fn a_foreign_host_or_origin_gets_nothing_over_http() {
    let gateway = Gateway::start(|config| {
        config.allowed_hosts = vec!["gateway.example".to_owned()];
        config.control_ui.allowed_origins = vec!["https://page.example".to_owned()];
    })
    .await;
    for path in ["/health", "/", "/sessions", "/nothing"] {
        assert_eq!(request(&gateway, "GET", path, &[("host", "evil.example")], "").await.status, 403, "{path}");
        assert_eq!(
            request(&gateway, "GET", path, &[("origin", "https://evil.example")], "").await.status,
            403,
            "{path}"
        );
        assert_eq!(request(&gateway, "GET", path, &[("origin", "null")], "").await.status, 403, "{path}");
    }
    for headers in [
        [("host", "gateway.example"), ("accept", "*/*")],
        [("host", "localhost:1"), ("origin", "http://localhost:5173")],
        [("host", "gateway.example"), ("origin", "https://page.example")],
    ] {
        assert_eq!(request(&gateway, "GET", "/health", &headers, "").await.status, 200, "{headers:?}");
    }
    let metrics = gateway.running().metrics_address.unwrap();
    assert_eq!(request_to(metrics, "GET", "/metrics", &[("host", "evil.example")], "").await.status, 403);
}

#[actix::test]
async fn a_form_of_a_web_page_does_not_reach_spawn() {
    let gateway = Gateway::start(|_| {}).await;
    let (name, token) = bearer(TOKEN);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let headers = [("content-type", kind), (name, token.as_str())];
        assert_eq!(request(&gateway, "POST", "/spawn", &headers, "{}").await.status, 415, "{kind}");
    }
    assert_eq!(request(&gateway, "POST", "/spawn", &[(name, &token)], "{}").await.status, 415, "no type at all");
    assert_eq!(request(&gateway, "GET", "/spawn", &[(name, &token)], "").await.status, 405);
}

#[actix::test]
async fn the_operations_need_the_token() {
    let gateway = Gateway::start(|_| {}).await;
    let wrong = bearer("wrong");
    for (method, path) in [("POST", "/spawn"), ("POST", "/control"), ("GET", "/sessions"), ("GET", "/config")] {
        let none = request(&gateway, method, path, &[JSON], "{").await;
        assert_eq!(none.status, 401, "{method} {path}");
        assert_eq!(none.header("www-authenticate"), Some("bearer"), "in lower case here");
        let wrong = request(&gateway, method, path, &[JSON, (wrong.0, &wrong.1)], "{").await;
        assert_eq!(wrong.status, 401, "{method} {path}");
        assert!(!wrong.body.contains(TOKEN));
    }
    let metrics = request_to(gateway.running().metrics_address.unwrap(), "GET", "/metrics", &[], "").await.body;
    let failures = metrics.lines().find_map(|line| line.strip_prefix("openclaw_gateway_auth_failures_total "));
    assert!(failures.unwrap().parse::<u64>().unwrap() >= 4, "{metrics}");
}

#[actix::test]
async fn a_page_that_guesses_is_locked_out() {
    let gateway = Gateway::start(|config| config.limits.auth_failures = 3).await;
    let (wrong, right) = (bearer("wrong"), bearer(TOKEN));
    let origin = ("origin", "http://localhost:5173");
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(request(&gateway, "GET", "/sessions", &[origin, (wrong.0, &wrong.1)], "").await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let locked = request(&gateway, "GET", "/sessions", &[origin, (wrong.0, &wrong.1)], "").await;
    assert!(locked.header("retry-after").is_some());
    let let_in = request(&gateway, "GET", "/sessions", &[origin, (right.0, &right.1)], "").await;
    assert_eq!(let_in.status, 200, "the right token, which nobody can guess, is never refused");
}

#[actix::test]
async fn sessions_and_the_configuration_are_read_with_the_token() {
    let gateway = Gateway::start(|_| {}).await;
    let (name, token) = bearer(TOKEN);
    let sessions = request(&gateway, "GET", "/sessions?limit=5&agent=main", &[(name, &token)], "").await;
    assert_eq!(sessions.status, 200, "{sessions:?}");
    assert!(sessions.json()["sessions"].is_array());
    let config = request(&gateway, "GET", "/config", &[(name, &token)], "").await;
    assert_eq!(config.status, 200, "{config:?}");
    assert!(!config.body.contains(TOKEN));
    assert!(gatewarden_protocol::read_config_agents(&config.json()).is_some());
}

#[actix::test]
async fn bodies_that_make_no_sense_are_refused() {
    let gateway = Gateway::start(|_| {}).await;
    let (name, token) = bearer(TOKEN);
    let headers = [JSON, (name, token.as_str())];
    for body in ["", "{", "[]", "7", "\u{0}"] {
        let answer = request(&gateway, "POST", "/control", &headers, body).await;
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
        assert!(answer.json()["error"]["message"].is_string());
    }
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(300 * 1024));
    assert_eq!(request(&gateway, "POST", "/spawn", &headers, &large).await.status, 413);
    assert_eq!(request(&gateway, "GET", "/sessions?limit=many", &headers[1..], "").await.status, 400);
    assert_eq!(request(&gateway, "GET", "/nothing", &[], "").await.status, 404);
}

#[actix::test]
async fn the_status_page_tells_strangers_what_health_tells() {
    let gateway = Gateway::start(|_| {}).await;
    let page = request(&gateway, "GET", "/", &[], "").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(page.body.contains("2026.9.6") && !page.body.contains("Sessions") && !page.body.contains("<script"));
    let (name, token) = bearer(TOKEN);
    let known = request(&gateway, "GET", "/", &[(name, &token)], "").await;
    assert!(known.body.contains("Sessions") && !known.body.contains(TOKEN));
    assert_eq!(request(&gateway, "GET", "/", &[("authorization", "Bearer wrong")], "").await.status, 401);
    assert_eq!(request(&gateway, "POST", "/", &[JSON], "{}").await.status, 405);
}

#[actix::test]
async fn browsers_get_the_control_ui_with_the_status_for_those_without_scripts() {
    let browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    for (path, base) in [("/", ""), ("/ui", "/ui")] {
        let gateway = Gateway::start(|config| config.control_ui.base_path = path.to_owned()).await;
        let page = request(&gateway, "GET", path, &[browser], "").await;
        assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("require-trusted-types-for 'script'"), "{policy}");
        let without_scripts = page.body.split("<noscript>").nth(1).unwrap();
        assert!(without_scripts.contains("2026.9.6") && !without_scripts.contains("Sessions"));
        let begin = format!("src=\"{base}/assets/");
        let script = page.body.split(&begin).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let main = request(&gateway, "HEAD", &format!("{base}/assets/{script}"), &[], "").await;
        assert_eq!((main.status, main.header("content-encoding")), (200, Some("gzip")));
        let other = request(&gateway, "GET", &format!("{base}/assets/0000000000000000/main.js"), &[], "").await;
        assert_eq!(other.status, 404, "of another release");
    }
}

#[actix::test]
async fn the_status_page_can_be_elsewhere_or_nowhere() {
    let elsewhere = Gateway::start(|config| config.control_ui.base_path = "/ui".to_owned()).await;
    assert_eq!(request(&elsewhere, "GET", "/ui", &[], "").await.status, 200);
    assert_eq!(request(&elsewhere, "GET", "/ui/", &[], "").await.status, 200);
    assert_eq!(request(&elsewhere, "GET", "/", &[], "").await.status, 404);
    let nowhere = Gateway::start(|config| config.control_ui.enabled = false).await;
    assert_eq!(request(&nowhere, "GET", "/", &[], "").await.status, 404);
}

#[actix::test]
async fn metrics_count_connections_and_messages() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    client.call("ping", json!({})).await;
    let metrics = request_to(gateway.running().metrics_address.unwrap(), "GET", "/metrics", &[], "").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "openclaw_gateway_connections_total 1",
        "openclaw_gateway_connections 1",
        "openclaw_gateway_messages_received_total 2",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line} in {}", metrics.body);
    }
    assert_eq!(request(&gateway, "GET", "/metrics", &[], "").await.status, 404, "not on the gateway's own port");
}

#[actix::test]
async fn a_metrics_port_that_is_taken_does_not_stop_the_gateway() {
    let first = Gateway::start(|_| {}).await;
    let taken = first.running().metrics_address.unwrap();
    let second = Gateway::start(|config| config.metrics.as_mut().unwrap().port = taken.port()).await;
    assert_eq!(second.running().metrics_address, None);
    assert_eq!(request(&second, "GET", "/health", &[], "").await.status, 200);
}

fn with_webhook(config: &mut gatewarden_embedded_gateway::config::GatewayConfig) {
    config.limits.auth_failures = 3;
    config.webhooks = vec![Webhook {
        id: "my-hook".to_owned(),
        path: "/webhook/my-hook".to_owned(),
        agent_id: "main".to_owned(),
        message: "Webhook triggered: {{body.message}}".to_owned(),
        secret: Some(Secret::new("hook-secret")),
    }];
}

#[actix::test]
async fn a_webhook_needs_its_own_secret() {
    let gateway = Gateway::start(with_webhook).await;
    let body = r#"{"message":"Hello"}"#;
    for (name, value) in [
        ("authorization", "Bearer wrong".to_owned()),
        ("authorization", format!("Bearer {TOKEN}")),
        ("x-signature", "00".repeat(32)),
        ("accept", "*/*".to_owned()),
    ] {
        let answer = request(&gateway, "POST", "/webhook/my-hook", &[JSON, (name, &value)], body).await;
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
    }
    let right = [JSON, ("authorization", "Bearer hook-secret")];
    assert_eq!(request(&gateway, "POST", "/webhook/other", &right, body).await.status, 404);
    assert_eq!(request(&gateway, "GET", "/webhook/my-hook", &right[1..], "").await.status, 405);
    assert_eq!(request(&gateway, "POST", "/webhook/my-hook", &right, "no json").await.status, 400);
    let large = format!(r#"{{"message":"{}"}}"#, "x".repeat(300 * 1024));
    assert_eq!(request(&gateway, "POST", "/webhook/my-hook", &right, &large).await.status, 413);
    assert_eq!(request(&gateway, "GET", "/sessions", &right[1..], "").await.status, 401, "it opens nothing else");
}

#[actix::test]
async fn a_webhook_without_a_secret_is_for_programs_on_this_machine() {
    let gateway = Gateway::start(|config| {
        with_webhook(config);
        config.webhooks[0].secret = None;
    })
    .await;
    let body = r#"{"message":"Hello"}"#;
    let answer = request(&gateway, "POST", "/webhook/my-hook", &[JSON], body).await;
    // The agent of this configuration has no command: the request got as far as that.
    assert!(answer.body.contains("AGENT_HAS_NO_COMMAND"), "{answer:?}");
    for stranger in
        [("origin", "http://localhost:5173"), ("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7")]
    {
        let answer = request(&gateway, "POST", "/webhook/my-hook", &[JSON, stranger], body).await;
        assert_eq!(answer.status, 401, "{stranger:?}: {answer:?}");
        assert!(answer.body.contains("set its secret"), "{answer:?}");
    }
}
