//! Live connections: every form of the protocol comes online, shows what it is, and is spoken to as real gateways want it.

use std::time::Duration;

use serde_json::json;

use crate::support::chaos_proxy::{ChaosProxy, Link};
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::{Behaviour, Form, ScriptedGateway};
use crate::support::wait;

#[test]
fn every_form_comes_online_with_its_dialect_protocol_and_version() {
    let daemon = Setup::new().without_challenge().start();
    let cases = [
        (Form::Protocol4, "openclaw", json!(4), json!("2026.9.6")),
        (Form::Protocol3, "openclaw", json!(3), json!("2026.3.24")),
        (Form::Release219, "openclaw", json!(3), json!("2026.2.19")),
        (Form::Document002, "openclaw", json!(3), json!(null)),
        (Form::Rpc, "rpc", json!(null), json!("2026.2.19")),
        (Form::Http, "http", json!(null), json!("2026.2.19")),
    ];
    let gateways: Vec<_> = cases
        .into_iter()
        .enumerate()
        .map(|(index, case)| {
            let gateway = ScriptedGateway::of(case.0.clone(), "right");
            let id = daemon.register(&format!("form-{index}"), gateway.port(), "right");
            (gateway, id, case)
        })
        .collect();
    for (gateway, id, (form, dialect, protocol, version)) in &gateways {
        let shown = daemon.until(*id, &format!("{form:?} is online"), PATIENCE, |shown| {
            shown["status"] == "online" && (version.is_null() || shown["version"] == *version)
        });
        assert_eq!((&shown["dialect"], &shown["protocol"]), (&json!(dialect), protocol), "{form:?}: {shown}");
        assert_eq!(shown["last_error"], json!(null), "{form:?}");
        let refused = gateway.record().attempts.iter().filter(|one| !one.accepted).count();
        assert_eq!(refused, 0, "{form:?} refused an attempt");
    }
}

#[test]
fn a_connect_request_is_signed_names_a_known_client_and_carries_no_origin() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    let record = gateway.record();
    let upgrade = record.heads.iter().find(|head| head.is_upgrade()).expect("an upgrade");
    assert_eq!(upgrade.header("origin"), None);
    let params = &record.attempts[0].params;
    assert_eq!((&params["minProtocol"], &params["maxProtocol"]), (&json!(3), &json!(4)));
    assert_eq!((&params["client"]["id"], &params["client"]["mode"]), (&json!("gateway-client"), &json!("backend")));
    let device = record.attempts[0].device_id().expect("a device");
    let shown = params["client"]["displayName"].as_str().expect("a display name");
    assert!(shown.starts_with("gatewarden "), "{shown}");
    assert!(device.starts_with(shown.trim_start_matches("gatewarden ").trim_end_matches('…')), "{shown} {device}");
    assert!(daemon.get("/api/identity").expect(200).text.contains(device));
}

#[test]
fn sessions_and_agents_are_counted_and_follow_events() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until(id, "one session and two agents", PATIENCE, |shown| {
        shown["sessions_count"] == 1 && shown["agents_count"] == 2
    });
    let row = |key: &str| {
        json!({"type": "event", "event": "sessions.changed", "payload": {"sessionKey": key, "agentId": "main", "phase": "start",
            "ts": 1_795_253_102_776_i64, "session": {"key": key, "kind": "direct", "status": "running", "hasActiveRun": true,
            "updatedAt": 1_795_253_102_776_i64, "sessionId": "s-9", "totalTokens": 1}}})
    };
    gateway.send(&row("agent:main:second"));
    daemon.until(id, "a second session", PATIENCE, |shown| shown["sessions_count"] == 2);
    gateway.send(
        &json!({"type": "event", "event": "never.heard.of", "payload": {"deep": [1, {"x": null}]}, "extra": true}),
    );
    gateway.send(&row("agent:main:third"));
    daemon.until(id, "a third session after an unknown event", PATIENCE, |shown| shown["sessions_count"] == 3);
    assert_eq!(daemon.gateway(id)["status"], "online");
    assert_eq!(gateway.record().attempts.len(), 1, "an unknown event cost the connection");
}

#[test]
fn a_heartbeat_finds_what_the_gateway_answers_and_pings_of_the_gateway_are_answered() {
    let four = ScriptedGateway::start(Behaviour {
        ping_every: Some(Duration::from_secs(2)),
        ..Behaviour::of(Form::Protocol4, "right")
    });
    let documented = ScriptedGateway::of(Form::Document002, "right");
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "3s").start();
    daemon.register("four", four.port(), "right");
    daemon.register("documented", documented.port(), "right");
    wait::until("heartbeats arrive in each gateway's own way", PATIENCE, || {
        four.record().pings >= 3 && documented.record().asked("ping") >= 3
    });
    wait::until("the gateway's pings are answered", PATIENCE, || four.record().pongs >= 3);
    assert!(four.record().asked("ping") <= 1, "an unknown method was asked for again");
    assert_eq!(four.record().attempts.len(), 1, "the connection was lost meanwhile");
}

#[test]
fn a_large_hello_in_fragments_at_a_slow_pace_is_read() {
    let gateway = ScriptedGateway::start(Behaviour {
        hello_padding: 1_500_000,
        hello_pieces: Some(100_000),
        ..Behaviour::of(Form::Protocol3, "right")
    });
    let proxy = ChaosProxy::before(gateway.port());
    proxy.set(Link::Delayed(Duration::from_millis(2)));
    let daemon = Daemon::start();
    let id = daemon.register("padded", proxy.port(), "right");
    assert_eq!(daemon.until_status(id, "online")["version"], "2026.3.24");
}

#[test]
fn a_slow_answer_makes_a_gateway_degraded_and_a_quick_one_online_again() {
    let gateway = ScriptedGateway::of(Form::Document002, "right");
    let daemon = Setup::new()
        .env("GATEWARDEN_GATEWAY__DEGRADED_LATENCY", "500ms")
        .env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "6s")
        .start();
    let id = daemon.register("slow", gateway.port(), "right");
    daemon.until_status(id, "online");
    gateway.change(|behaviour| {
        behaviour.replies = crate::support::scripted_gateway::Replies::Late(Duration::from_millis(900));
    });
    // A busy moment may have made it slow before.
    daemon.until(id, "it is degraded for its latency", PATIENCE, |shown| {
        let is_slow = shown["latency"].as_i64().is_some_and(|ms| ms >= 900);
        shown["status"] == "degraded" && shown["last_error"]["code"] == "high_latency" && is_slow
    });
    gateway.change(|behaviour| behaviour.replies = crate::support::scripted_gateway::Replies::Normal);
    daemon.until_status(id, "online");
}
