//! `/api/gateways` as its clients use it.

use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_report::HealthPoint;
use gatewarden_actors::gateway_report::Status;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};

use super::support::{Ask, Harness, online, refused, settings};
use crate::http::settings::{HttpSettings, RateLimits};

async fn create(harness: &Harness, body: Value) -> Value {
    let answer = harness.send(harness.admin("POST", "/api/gateways").json(body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

async fn names(harness: &Harness, path: &str) -> Vec<String> {
    let list = harness.send(harness.admin("GET", path)).await.json();
    let gateways = list["gateways"].as_array().unwrap().clone();
    gateways.iter().map(|gateway| gateway["name"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn the_gateway_object_has_every_documented_field_and_never_the_token() {
    let harness = Harness::start().await;
    let answer = harness.send(harness.admin("GET", "/api/gateways")).await;
    assert!(!answer.text().contains("tok-18789"));
    let gateway = &answer.json()["gateways"][0];
    for (field, expected) in [
        ("id", json!(1)),
        ("name", json!("prod")),
        ("host", json!("127.0.0.1")),
        ("port", json!(18789)),
        ("token", json!("--------")),
        ("token_set", json!(true)),
        ("is_primary", json!(true)),
        ("status", json!("online")),
        ("sessions_count", json!(3)),
        ("agents_count", json!(2)),
        ("version", json!("2026.9.6")),
        ("protocol", json!(4)),
        ("phase", json!("ready")),
        ("source", json!("event")),
        ("as_of", json!(5)),
        ("drained", json!(false)),
        ("node", Value::Null),
        ("labels", json!({})),
        ("transport", json!("auto")),
        ("tls", json!({"trust": "system"})),
        ("breaker", json!({"state": "closed", "failures": 0, "opened_at": null, "changed_at": null})),
        ("last_error", Value::Null),
        ("last_seen", Value::Null),
        ("latency", Value::Null),
        ("pairing", Value::Null),
        ("reconnect_attempts", json!(0)),
        ("priority", json!(0)),
    ] {
        assert_eq!(gateway.get(field), Some(&expected), "{field}: {gateway}");
    }
    for field in
        ["created_at", "updated_at", "acting_primary", "dialect", "uuid", "since", "healthy_since", "last_failure"]
    {
        assert!(gateway.get(field).is_some(), "{field}");
    }
}

#[actix_web::test]
async fn a_gateway_is_created_read_changed_and_deleted() {
    let harness = Harness::start().await;
    let body = json!({
        "name": "edge", "host": "gw.example.com", "port": 18789, "token": "secret-token", "is_primary": false,
        "labels": {"env": "test"}, "agents": [{"name": "worker"}]
    });
    let created = create(&harness, body).await;
    let id = created["gateway"]["id"].as_i64().unwrap();
    assert_eq!(created["agents_registered"], 1);
    assert!(!created.to_string().contains("secret-token"));
    assert_eq!(created["gateway"]["labels"], json!({"env": "test"}));

    let read = harness.send(harness.ask(Role::Viewer, "GET", &format!("/api/gateways/{id}"))).await;
    assert_eq!(read.json()["gateway"], created["gateway"]);

    let change = harness.admin("PUT", "/api/gateways").json(json!({"id": id, "name": "edge-2", "token": ""}));
    let changed = harness.send(change).await.json();
    assert_eq!(changed["gateway"]["name"], "edge-2");
    assert_eq!(changed["gateway"]["token"], "");
    assert_eq!(changed["gateway"]["token_set"], false);

    let by_path = |other: i64| {
        let change = json!({"id": other, "priority": 3});
        harness.send(harness.admin("PUT", &format!("/api/gateways/{id}")).json(change))
    };
    assert_eq!(by_path(id).await.status, 200);
    let refused = by_path(id + 1).await;
    assert_eq!(refused.status, 400);
    assert!(refused.json()["error"].as_str().unwrap().contains("id of the body must be that of the path"));

    let deleted = harness.send(harness.admin("DELETE", "/api/gateways").json(json!({"id": id}))).await;
    assert_eq!((deleted.status.as_u16(), deleted.json()), (200, json!({"deleted": true})));
    let again = harness.send(harness.admin("DELETE", &format!("/api/gateways?id={id}"))).await;
    assert_eq!(again.json(), json!({"deleted": false}));
    assert_eq!(harness.send(harness.admin("GET", &format!("/api/gateways/{id}"))).await.status, 404);
}

#[actix_web::test]
async fn the_primary_moves_and_cannot_be_deleted() {
    let harness = Harness::start().await;
    let created = create(&harness, json!({"name": "second", "host": "127.0.0.1", "port": 2})).await;
    let id = created["gateway"]["id"].clone();
    let refused = harness.send(harness.admin("DELETE", "/api/gateways").json(json!({"id": 1}))).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.error_code(), "primary_undeletable");
    assert_eq!(refused.json()["error"], "Cannot delete the primary gateway");
    assert!(refused.json()["help"].as_str().unwrap().contains("primary"));

    let moved = harness.send(harness.admin("PUT", "/api/gateways").json(json!({"id": id, "is_primary": 1}))).await;
    assert_eq!(moved.json()["gateway"]["is_primary"], true);
    assert_eq!(names(&harness, "/api/gateways").await, ["second", "prod"]);
    assert_eq!(harness.send(harness.admin("DELETE", "/api/gateways/1")).await.json(), json!({"deleted": true}));
}

#[actix_web::test]
async fn a_taken_name_is_a_409_and_a_known_address_a_warning() {
    let harness = Harness::start().await;
    let taken = harness.admin("POST", "/api/gateways").json(json!({"name": "prod", "host": "h", "port": 1}));
    let taken = harness.send(taken).await;
    assert_eq!(taken.status, 409);
    assert_eq!(taken.error_code(), "name_taken");
    let twin = create(&harness, json!({"name": "twin", "host": "127.0.0.1", "port": 18789})).await;
    assert!(twin["warning"].as_str().unwrap().contains("prod"));
}

#[actix_web::test]
async fn a_forbidden_address_is_refused_in_every_spelling() {
    let harness = Harness::start().await;
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "http://169.254.169.254/",
        "fe80::1",
    ] {
        let body = json!({"name": "meta", "host": host, "port": 80});
        let answer = harness.send(harness.admin("POST", "/api/gateways").json(body)).await;
        assert_eq!(answer.status, 400, "{host}");
        assert_eq!(answer.error_code(), "address_forbidden", "{host}");
    }
    let change = harness.admin("PUT", "/api/gateways").json(json!({"id": 1, "host": "169.254.169.254"}));
    assert_eq!(harness.send(change).await.error_code(), "address_forbidden");
}

#[actix_web::test]
async fn a_change_of_nothing_or_of_nobody_is_refused() {
    let harness = Harness::start().await;
    for (body, status) in [
        (json!({}), 400),
        (json!({"id": 1}), 400),
        (json!({"id": 1, "unknown": true}), 400),
        (json!({"id": 1, "token": "--------"}), 400),
        (json!({"id": "1", "name": "x"}), 400),
        (json!({"name": "x"}), 400),
        (json!({"id": 99, "name": "x"}), 404),
    ] {
        let answer = harness.send(harness.admin("PUT", "/api/gateways").json(body.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        answer.error_code();
    }
}

#[actix_web::test]
async fn the_list_is_complete_unless_a_part_is_asked_for() {
    let harness = Harness::start().await;
    for number in 0..60 {
        create(&harness, json!({"name": format!("g{number:02}"), "host": "127.0.0.1", "port": 100 + number})).await;
    }
    assert_eq!(names(&harness, "/api/gateways").await.len(), 61);
    assert_eq!(names(&harness, "/api/gateways?unknown=1").await.len(), 61);
    assert_eq!(names(&harness, "/api/gateways?limit=2").await, ["prod", "g00"]);
    assert_eq!(names(&harness, "/api/gateways?limit=2&offset=1").await, ["g00", "g01"]);
    assert_eq!(names(&harness, "/api/gateways?limit=2&page=2").await, ["g01", "g02"]);
    assert_eq!(names(&harness, "/api/gateways?page=1").await.len(), 50);
    let part = harness.send(harness.admin("GET", "/api/gateways?limit=5000&offset=60")).await.json();
    assert_eq!((&part["total"], &part["limit"], &part["offset"]), (&json!(61), &json!(200), &json!(60)));
    assert_eq!(part["gateways"].as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn a_check_of_one_gateway_has_the_documented_shape() {
    let harness = Harness::start().await;
    harness.script.probe(1, online(12.5));
    let answer = harness.send(harness.ask(Role::Viewer, "POST", "/api/gateways/health").json(json!({"gateway_id": 1})));
    let body = answer.await.json();
    assert_eq!((&body["healthy"], &body["latency_ms"]), (&json!(true), &json!(12.5)));
    assert_eq!(body["details"]["version"], "2026.9.6");
    assert_eq!(body["details"]["uptime"], 61);
    harness.script.probe(1, refused());
    let answer = harness.send(harness.ask(Role::Viewer, "POST", "/api/gateways/health").json(json!({"gateway_id": 1})));
    let body = answer.await.json();
    assert_eq!((&body["healthy"], &body["latency_ms"]), (&json!(false), &Value::Null));
    assert_eq!(body["details"]["failed_step"], "authenticate");
    assert!(body["details"]["help"].is_string());
    let unknown = harness.admin("POST", "/api/gateways/health").json(json!({"gateway_id": 9}));
    assert_eq!(harness.send(unknown).await.error_code(), "gateway_not_found");
}

#[actix_web::test]
async fn a_check_of_all_gateways_has_the_documented_shape() {
    let harness = Harness::start().await;
    create(&harness, json!({"name": "bad", "host": "127.0.0.1", "port": 2})).await;
    harness.script.probe(2, refused());
    for ask in [
        harness.admin("POST", "/api/gateways/health"),
        harness.admin("POST", "/api/gateways/health").json(json!({})),
        harness.admin("POST", "/api/gateways/health").json(json!({"gateway_id": null})),
    ] {
        let body = harness.send(ask).await.json();
        assert_eq!((&body["probed_at"], &body["probed_at_ms"]), (&json!(5000), &json!(5000)));
        let results = body["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(
            results[0],
            json!({
                "id": 1, "name": "prod", "status": "online", "latency": 4, "agents": ["main", "researcher"],
                "sessions_count": 3, "gateway_version": "2026.9.6"
            })
        );
        assert_eq!(results[1]["status"], "error");
        assert_eq!(results[1]["error"], "unauthorized: gateway token mismatch");
    }
}

#[actix_web::test]
async fn manual_checks_are_limited_by_key_and_other_operations_apart() {
    let harness = Harness::with(HttpSettings { rate_limits: RateLimits::default(), ..settings() }).await;
    assert_eq!(harness.send(harness.ask(Role::Viewer, "POST", "/api/gateways/health")).await.status, 200);
    let refused = harness.send(harness.ask(Role::Viewer, "POST", "/api/gateways/health")).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.error_code(), "rate_limited");
    assert!((1..=10).contains(&refused.header("retry-after").unwrap().parse::<u32>().unwrap()));
    assert_eq!(refused.header("ratelimit-remaining"), Some("0"));
    assert_eq!(harness.send(harness.ask(Role::Operator, "POST", "/api/gateways/health")).await.status, 200);
    let list = harness.send(harness.ask(Role::Viewer, "GET", "/api/gateways")).await;
    assert_eq!((list.status.as_u16(), list.header("ratelimit-limit")), (200, Some("100")));
    assert_eq!(list.header("ratelimit-remaining"), Some("99"));
}

#[actix_web::test]
async fn history_is_grouped_by_gateway_with_entries_newest_first() {
    let harness = Harness::start().await;
    let now = harness.app.clock.wall_ms();
    let point = |age_s: i64, status: Status, latency: Option<f64>, error: Option<&str>| {
        let point = HealthPoint {
            samples: Vec::new(),
            at_ms: now - age_s * 1000,
            status,
            latency_ms: latency,
            latency_min_ms: latency,
            latency_avg_ms: latency,
            latency_max_ms: latency,
            misses: 0,
            error: error.map(str::to_owned),
        };
        (GatewayId(1), point)
    };
    let points = vec![
        point(7200, Status::Online, Some(3.0), None),
        point(60, Status::Degraded, None, Some("token mismatch")),
        point(30, Status::Timeout, None, Some("no answer")),
    ];
    harness.store.append_health(points).await.unwrap();
    let body = harness.send(harness.ask(Role::Viewer, "GET", "/api/gateways/health/history?gateway_id=1")).await.json();
    let history = &body["history"][0];
    assert_eq!((&history["gatewayId"], &history["name"]), (&json!(1), &json!("prod")));
    let statuses: Vec<_> =
        history["entries"].as_array().unwrap().iter().map(|entry| entry["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["offline", "error", "online"]);
    assert_eq!(history["entries"][0]["probed_at"], (now - 30_000).div_euclid(1000));
    assert_eq!(history["entries"][0]["probed_at_ms"], now - 30_000);
    let limited = harness.send(harness.admin("GET", "/api/gateways/health/history?limit=1&hours=1")).await.json();
    assert_eq!(limited["history"][0]["entries"].as_array().unwrap().len(), 1);
    let unknown = harness.send(harness.admin("GET", "/api/gateways/health/history?gateway_id=7")).await;
    assert_eq!(unknown.error_code(), "gateway_not_found");
}

#[actix_web::test]
async fn connection_details_hold_the_token_only_for_whom_it_is() {
    let harness = Harness::start().await;
    let ask = |role| harness.ask(role, "POST", "/api/gateways/connect").json(json!({"id": 1}));
    let answer = harness.send(ask(Role::Viewer)).await;
    assert_eq!(answer.json(), json!({"id": 1, "ws_url": "ws://127.0.0.1:18789", "token": "", "token_set": false}));
    for role in [Role::Operator, Role::Admin] {
        let answer = harness.send(ask(role)).await;
        assert_eq!(answer.json()["token"], "tok-18789");
        assert_eq!(answer.json()["token_set"], true);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let strict = Harness::with(HttpSettings { operators_see_tokens: false, ..settings() }).await;
    let operator = strict.ask(Role::Operator, "POST", "/api/gateways/connect").json(json!({"id": 1}));
    assert_eq!(strict.send(operator).await.json()["token"], "");
    for (body, code) in
        [(json!({"id": 9}), "gateway_not_found"), (json!({"id": 0}), "invalid_request"), (json!({}), "invalid_request")]
    {
        let answer = harness.send(harness.admin("POST", "/api/gateways/connect").json(body)).await;
        assert_eq!(answer.error_code(), code);
    }
}

#[actix_web::test]
async fn connection_details_follow_the_rules_for_urls() {
    let harness = Harness::start().await;
    let remote = create(&harness, json!({"name": "remote", "host": "gw.example.com", "port": 18789})).await;
    let hidden =
        create(&harness, json!({"name": "hidden", "host": "wss://gw.example.com/x?token=url-tok", "token": "t"})).await;
    assert!(!hidden.to_string().contains("url-tok"));
    let connect = |gateway: &Value, role| {
        harness.ask(role, "POST", "/api/gateways/connect").json(json!({"id": gateway["gateway"]["id"]}))
    };
    let url = async |ask: Ask| harness.send(ask).await.json()["ws_url"].as_str().unwrap().to_owned();
    assert_eq!(url(connect(&remote, Role::Admin)).await, "ws://gw.example.com:18789");
    assert_eq!(url(connect(&remote, Role::Admin).header("x-forwarded-proto", "https")).await, "wss://gw.example.com");
    assert_eq!(
        url(connect(&remote, Role::Admin).header("origin", "https://dash.example.com")).await,
        "wss://gw.example.com"
    );
    let untrusted = connect(&remote, Role::Admin).peer("192.0.2.1:5").header("x-forwarded-proto", "https");
    assert_eq!(url(untrusted).await, "ws://gw.example.com:18789");

    let admin = harness.send(connect(&hidden, Role::Admin)).await.json();
    assert_eq!(admin["ws_url"], "wss://gw.example.com/x?token=url-tok");
    assert_eq!((&admin["token"], &admin["token_set"]), (&json!(""), &json!(false)));
    assert_eq!(url(connect(&hidden, Role::Viewer)).await, "wss://gw.example.com/x");
}

#[actix_web::test]
async fn drain_undrain_and_reconnect_answer_with_the_gateway() {
    let harness = Harness::start().await;
    for (path, drained) in [("drain", true), ("undrain", false)] {
        let answer = harness.send(harness.admin("POST", &format!("/api/gateways/1/{path}"))).await.json();
        assert_eq!(answer["gateway"]["drained"], drained);
    }
    let answer = harness.send(harness.ask(Role::Operator, "POST", "/api/gateways/1/reconnect")).await.json();
    assert_eq!(answer["gateway"]["id"], 1);
    for path in ["drain", "undrain", "reconnect"] {
        let answer = harness.send(harness.admin("POST", &format!("/api/gateways/9/{path}"))).await;
        assert_eq!(answer.error_code(), "gateway_not_found");
    }
}

#[actix_web::test]
async fn logs_are_read_once_and_what_cannot_be_followed_is_a_501() {
    let harness = Harness::start().await;
    let line = |level: &str, text: &str| json!({"0": text, "_meta": {"logLevelName": level}}).to_string();
    let lines = [line("INFO", "one"), line("ERROR", "two"), line("DEBUG", "three"), line("WARN", "four")];
    harness.script.reply("logs.tail", Ok(json!({"cursor": 77, "lines": lines, "truncated": false})));
    let messages = async |query: &str| {
        let body =
            harness.send(harness.ask(Role::Operator, "GET", &format!("/api/gateways/1/logs{query}"))).await.json();
        let logs = body["logs"].as_array().unwrap().clone();
        logs.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(messages("").await, ["one", "two", "three", "four"]);
    assert_eq!(messages("?limit=1").await, ["four"]);
    assert_eq!(messages("?level=warn").await, ["two", "four"]);
    assert_eq!(messages("?level=ERROR").await, ["two"]);
    assert_eq!(harness.script.calls()[0], (Some(1), "logs.tail".to_owned(), json!({"limit": 200})));
    let follow = harness.send(harness.admin("GET", "/api/gateways/1/logs?follow=true")).await;
    assert_eq!((follow.status.as_u16(), follow.error_code().as_str()), (501, "not_supported_by_gateway"));
    assert_eq!(*harness.script.watched.lock().unwrap(), [1]);
    for path in ["/api/gateways/9/logs", "/api/gateways/9/logs?follow=true"] {
        assert_eq!(harness.send(harness.admin("GET", path)).await.error_code(), "gateway_not_found");
    }
}

#[actix_web::test]
async fn what_a_gateway_cannot_or_will_not_do_has_its_own_status() {
    let harness = Harness::start().await;
    for (code, status) in [
        (ErrorCode::NotSupportedByGateway, 501),
        (ErrorCode::GatewayRefused, 502),
        (ErrorCode::GatewayUnavailable, 503),
        (ErrorCode::GatewayBusy, 503),
        (ErrorCode::GatewayTimeout, 504),
    ] {
        harness.script.reply("logs.tail", Err(Failure::new(code, "The gateway prod said something")));
        let answer = harness.send(harness.admin("GET", "/api/gateways/1/logs")).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.error_code(), code.as_str());
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{code:?}");
    }
}

#[actix_web::test]
async fn a_registry_that_does_not_answer_is_a_503_within_the_deadline() {
    let deadline = Duration::from_millis(50);
    let quick = HttpSettings { request_deadline: deadline, ..settings() };
    let harness = Harness::with(quick).await;
    harness.script.fall_silent();
    let answer = harness.send(harness.admin("POST", "/api/gateways/1/reconnect")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.error_code(), "outcome_unknown");
    for header in ["retry-after", "x-request-id", "content-security-policy"] {
        assert!(answer.header(header).is_some(), "{header}: {answer:?}");
    }
    assert_eq!(harness.app.mutations.running(), 1, "it goes on");
    assert_eq!(harness.send(harness.admin("GET", "/api/gateways")).await.status, 200, "reads go on");
}
