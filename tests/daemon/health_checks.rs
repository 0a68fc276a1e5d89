//! Manual health checks: one gateway, all at once, and the history.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Setup};
use crate::support::scripted_gateway::{Behaviour, Case, Fault, Form, ScriptedGateway, Step};
use crate::support::wait::Stopwatch;

fn result_of(results: &[Value], id: i64) -> &Value {
    results.iter().find(|one| one["id"] == id).expect("every gateway has a result")
}

#[test]
fn a_sweep_takes_one_probe_s_timeout_however_many_gateways_are_black_holes() {
    let hole = Behaviour::of(Form::Protocol4, "right").fails(Step::Accept, Fault::Silence);
    let holes: Vec<_> = (0..8).map(|_| ScriptedGateway::start(hole.clone())).collect();
    let (good, web) = (ScriptedGateway::of(Form::Protocol4, "right"), ScriptedGateway::of(Form::WebServer, ""));
    let refusing = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").refuses(Case::TokenMismatch));
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__PROBE_TIMEOUT", "5s").start();
    let ids: Vec<i64> = holes
        .iter()
        .enumerate()
        .map(|(index, one)| daemon.register(&format!("hole-{index}"), one.port(), ""))
        .collect();
    let online = daemon.register("good", good.port(), "right");
    let page = daemon.register("web", web.port(), "");
    let refused = daemon.register("refusing", refusing.port(), "right");
    daemon.until_status(online, "online");
    daemon.until_code(refused, "token_mismatch");
    let watch = Stopwatch::start();
    let sweep = daemon.post("/api/gateways/health", &json!({})).expect(200).json();
    // one after the other they would take 40 s
    assert!(watch.elapsed() < Duration::from_secs(30), "took {:?}", watch.elapsed());
    let results = sweep["results"].as_array().expect("results");
    assert_eq!(results.len(), daemon.gateways().len());
    assert!(sweep["probed_at"].as_i64().is_some_and(|ms| ms > 1_700_000_000_000), "{sweep}");
    let healthy = result_of(results, online);
    assert_eq!((&healthy["status"], &healthy["gateway_version"]), (&json!("online"), &json!("2026.9.6")), "{healthy}");
    assert!(healthy["latency"].is_number() && healthy["agents"].is_array(), "{healthy}");
    assert_eq!(result_of(results, page)["status"], "error");
    assert_eq!(result_of(results, refused)["status"], "error");
    for id in ids {
        let result = result_of(results, id);
        assert_eq!(result["status"], "offline", "{result}");
        assert!(result["error"].as_str().is_some_and(|text| !text.is_empty()), "{result}");
    }
}

#[test]
fn a_single_check_tells_the_failing_step_and_an_unknown_id_is_404() {
    let good = ScriptedGateway::of(Form::Protocol3, "right");
    let daemon = Daemon::start();
    let online = daemon.register("good", good.port(), "right");
    let refused = daemon.register("nobody", 1, "");
    daemon.until_status(online, "online");
    let healthy = daemon.post("/api/gateways/health", &json!({"gateway_id": online})).expect(200).json();
    assert_eq!(healthy["healthy"], true, "{healthy}");
    assert!(healthy["latency_ms"].is_number(), "{healthy}");
    assert_eq!(healthy["details"]["version"], "2026.3.24", "{healthy}");
    let unhealthy = daemon.post("/api/gateways/health", &json!({"gateway_id": refused})).expect(200).json();
    assert_eq!((&unhealthy["healthy"], &unhealthy["latency_ms"]), (&json!(false), &json!(null)), "{unhealthy}");
    assert!(unhealthy["details"].to_string().contains("refused"), "{unhealthy}");
    daemon.post("/api/gateways/health", &json!({"gateway_id": 999_999})).expect(404);
    daemon.post("/api/gateways/health", &json!({"gateway_id": "x"})).expect(400);
}

#[test]
fn a_check_of_a_connected_gateway_uses_the_live_connection() {
    let good = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("good", good.port(), "right");
    daemon.until_status(id, "online");
    for _ in 0..3 {
        let check = daemon.post("/api/gateways/health", &json!({"gateway_id": id})).expect(200).json();
        assert_eq!(check["healthy"], true, "{check}");
    }
    assert_eq!(good.record().attempts.len(), 1, "a check logged in again");
}

#[test]
fn the_history_keeps_changes_of_status_newest_first() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    gateway.kill();
    daemon.until_status(id, "offline");
    gateway.revive();
    daemon.until_status(id, "online");
    crate::support::wait::until_ok("three changes are in the history", crate::support::daemon::PATIENCE, || {
        let path = format!("/api/gateways/health/history?gateway_id={id}");
        let history = daemon.get(&path).expect(200).json();
        let entries = history["history"][0]["entries"].as_array().cloned().unwrap_or_default();
        let statuses: Vec<&str> = entries.iter().filter_map(|entry| entry["status"].as_str()).collect();
        let times: Vec<i64> = entries.iter().filter_map(|entry| entry["probed_at"].as_i64()).collect();
        let falls = times.windows(2).all(|pair| pair[0] >= pair[1]) && times.len() == entries.len();
        let went =
            statuses.first() == Some(&"online") && statuses.contains(&"offline") && statuses.last() == Some(&"online");
        if falls && went && history["history"][0]["gatewayId"] == id { Ok(()) } else { Err(history.to_string()) }
    });
}

#[test]
fn manual_checks_and_gateway_operations_are_limited_by_key() {
    let daemon = Setup::new()
        .env("GATEWARDEN_RATE_LIMIT__ENABLED", "true")
        .env("GATEWARDEN_RATE_LIMIT__GATEWAY_PER_MINUTE", "20")
        .env("GATEWARDEN_RATE_LIMIT__HEALTH_INTERVAL", "5m")
        .start();
    let other = daemon.new_key("other", "admin");
    daemon.post("/api/gateways/health", &json!({})).expect(200);
    let refused = daemon.post("/api/gateways/health", &json!({})).expect(429);
    assert_eq!(refused.json()["code"], "rate_limited");
    for header in ["retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"] {
        assert!(refused.header(header).is_some(), "no {header} in {:?}", refused.headers);
    }
    let by_other = daemon.try_call(Some(&other), "POST", "/api/gateways/health", Some(&json!({})));
    by_other.expect("an answer").expect(200);
    let statuses: Vec<u16> = (0..40).map(|_| daemon.get("/api/gateways").status).collect();
    assert!(statuses.contains(&429) && statuses.starts_with(&[200]), "{statuses:?}");
    let by_other = daemon.try_call(Some(&other), "GET", "/api/gateways", None);
    by_other.expect("an answer").expect(200);
}
