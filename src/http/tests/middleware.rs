//! What every request passes through.

use gatewarden_actors::store::records::Role;

use super::support::{Ask, Harness, settings};
use crate::http::settings::{HttpSettings, MetricsAccess};

#[actix_web::test]
async fn every_answer_has_an_id_and_security_headers() {
    let harness = Harness::start().await;
    for ask in [
        Ask::new("GET", "/health"),
        Ask::new("GET", "/api/gateways"),
        Ask::new("GET", "/nowhere"),
        harness.admin("GET", "/api/gateways"),
        Ask::new("GET", "/api/health").header("host", "evil.example"),
    ] {
        let answer = harness.send(ask).await;
        assert!(!answer.header("x-request-id").unwrap().is_empty());
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    }
    let kept = harness.send(Ask::new("GET", "/health").header("x-request-id", "abc-1")).await;
    assert_eq!(kept.header("x-request-id"), Some("abc-1"));
    let strange = harness.send(Ask::new("GET", "/health").header("x-request-id", "a b\"c")).await;
    assert_ne!(strange.header("x-request-id"), Some("a b\"c"));
}

#[actix_web::test]
async fn a_foreign_host_is_misdirected_and_probes_are_exempt() {
    let harness = Harness::start().await;
    let foreign = harness.send(harness.admin("GET", "/api/gateways").header("host", "evil.example")).await;
    assert_eq!((foreign.status.as_u16(), foreign.error_code().as_str()), (421, "misdirected_request"));
    for path in ["/health", "/ready"] {
        assert_eq!(harness.send(Ask::new("GET", path).header("host", "probe.cluster")).await.status, 200, "{path}");
    }
    let metrics = harness.send(Ask::new("GET", "/metrics").header("host", "evil.example")).await;
    assert_eq!(metrics.status, 421, "they name gateways");
    let own = harness.send(harness.admin("GET", "/api/gateways").header("host", "localhost:3000")).await;
    assert_eq!(own.status, 200);
}

#[actix_web::test]
async fn head_is_answered_like_get() {
    let harness = Harness::start().await;
    assert_eq!(harness.send(Ask::new("HEAD", "/health")).await.status, 200);
    assert_eq!(harness.send(harness.admin("HEAD", "/api/gateways")).await.status, 200);
    assert_eq!(harness.send(harness.admin("HEAD", "/api/gateways/connect")).await.status, 405, "it takes POST alone");
}

#[actix_web::test]
async fn ready_says_what_the_daemon_says() {
    let harness = Harness::start().await;
    assert_eq!(harness.send(Ask::new("GET", "/ready")).await.status, 200);
    harness.readiness.set_stopping();
    let answer = harness.send(Ask::new("GET", "/ready")).await;
    assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (503, "unavailable"));
    assert!(answer.json()["error"].as_str().unwrap().contains("stopping"));
}

#[actix_web::test]
async fn metrics_are_given_to_whom_they_are_for() {
    let local = || Ask::new("GET", "/metrics");
    let remote = || local().peer("192.0.2.1:5");
    for (access, expected) in [
        (MetricsAccess::Off, [404, 404, 404, 404]),
        (MetricsAccess::Loopback, [200, 403, 403, 403]),
        (MetricsAccess::Key, [401, 401, 401, 200]),
        (MetricsAccess::Public, [200, 200, 200, 200]),
    ] {
        let harness = Harness::with(HttpSettings { metrics_access: access, ..settings() }).await;
        let asks = [
            local(),
            remote(),
            local().header("x-forwarded-for", "192.0.2.1"),
            remote().header("x-api-key", &harness.key(Role::Viewer)),
        ];
        for (ask, expected) in asks.into_iter().zip(expected) {
            assert_eq!(harness.send(ask).await.status.as_u16(), expected, "{access:?}");
        }
    }
    let harness = Harness::start().await;
    let answer = harness.send(local()).await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
}

#[actix_web::test]
async fn requests_are_counted_by_route_and_not_by_path_and_strange_methods_are_one() {
    let harness = Harness::start().await;
    harness.send(harness.admin("GET", "/api/gateways/1?token=geheim")).await;
    harness.send(harness.admin("GET", "/no/such/path-4711")).await;
    harness.send(harness.admin("BREW", "/no/such/path-4711")).await;
    let text = harness.send(Ask::new("GET", "/metrics")).await.text();
    assert!(text.contains("/api/gateways/{id}"), "{text}");
    assert!(text.contains("{method=\"other\",route=\"unmatched\""), "{text}");
    assert!(!text.contains("geheim") && !text.contains("4711") && !text.contains("BREW"));
}

#[actix_web::test]
async fn other_origins_read_answers_only_where_they_are_listed() {
    let harness = Harness::start().await;
    let ask = || harness.admin("GET", "/api/gateways").header("origin", "https://dash.example.com");
    assert_eq!(harness.send(ask()).await.header("access-control-allow-origin"), None);

    let listed = HttpSettings { cors_origins: vec!["https://dash.example.com".to_owned()], ..settings() };
    let open = Harness::with(listed).await;
    let from = |origin: &str| open.admin("GET", "/api/gateways").header("origin", origin);
    let answer = open.send(from("https://dash.example.com")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://dash.example.com"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(open.send(from("https://evil.example")).await.header("access-control-allow-origin"), None);
    let preflight = Ask::new("OPTIONS", "/api/gateways")
        .header("origin", "https://dash.example.com")
        .header("access-control-request-method", "PUT");
    let answer = open.send(preflight).await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("access-control-allow-methods").unwrap().contains("PUT"));
}
