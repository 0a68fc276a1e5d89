//! Each way in which a gateway refuses has its own code, sentence, help and status; none is online; none provokes a lock-out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{BUDGET, Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::{Behaviour, Case, Form, ScriptedGateway};
use crate::support::wait;

/// What is shown for a refusal: code and status.
fn expected(case: Case) -> (&'static str, &'static str) {
    match case {
        Case::TokenMismatch => ("token_mismatch", "degraded"),
        Case::TokenMissing => ("token_missing", "degraded"),
        Case::DeviceRequired | Case::ControlUiNeedsDevice => ("device_identity_required", "degraded"),
        Case::SignatureInvalid => ("device_signature_invalid", "degraded"),
        Case::DeviceIdMismatch => ("device_id_mismatch", "degraded"),
        Case::SignatureExpired => ("device_signature_expired", "degraded"),
        Case::NonceMismatch => ("device_nonce_mismatch", "degraded"),
        // it was the shared token that was sent, whatever the gateway calls it
        Case::DeviceTokenMismatch => ("token_mismatch", "degraded"),
        Case::ProtocolMismatch => ("protocol_mismatch", "offline"),
        Case::OriginNotAllowed => ("origin_not_allowed", "degraded"),
        Case::PairingRequired => ("pairing_required", "degraded"),
        Case::RateLimited => ("rate_limited", "degraded"),
        Case::InvalidRole => ("role_not_allowed", "degraded"),
        Case::SchemaError => ("invalid_handshake", "degraded"),
        Case::Starting => ("gateway_starting", "degraded"),
    }
}

fn is_explained(name: &str, shown: &Value) {
    let error = &shown["last_error"];
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    assert!(text("message").contains(name), "the sentence does not name the gateway: {error}");
    assert!(text("message").ends_with('.') || text("message").ends_with('"'), "no sentence: {error}");
    assert!(text("help").len() > 20, "no help: {error}");
}

fn check_every_refusal(form: Form) {
    let daemon = Daemon::start();
    let mut open = Vec::new();
    for case in Case::ALL {
        let gateway = ScriptedGateway::start(Behaviour::of(form.clone(), "right").refuses(case));
        let name = format!("refuses-{case:?}");
        let id = daemon.register(&name, gateway.port(), "right");
        open.push((gateway, name, id, case));
    }
    for (_gateway, name, id, case) in &open {
        let (code, status) = expected(*case);
        let shown = daemon.until(*id, &format!("{form:?} {case:?} shows {code}, {status}"), PATIENCE, |shown| {
            shown["last_error"]["code"] == code && shown["status"] == status
        });
        is_explained(name, &shown);
        if *case == Case::PairingRequired {
            let error = shown["last_error"].to_string();
            assert!(error.contains("openclaw devices approve 0b6f0f6a-7a33-4e39-9d44-1a2b3c4d5e6f"), "{error}");
        }
    }
    // whatever was refused comes up by itself once its cause is gone
    for (gateway, _, _, _) in &open {
        gateway.behave(Behaviour::of(form.clone(), "right"));
    }
    for (_gateway, _, id, case) in &open {
        if *case == Case::RateLimited || *case == Case::PairingRequired {
            // these wait for as long as the gateway says, or for a person: told to, they try at once
            daemon.post(&format!("/api/gateways/{id}/reconnect"), &json!({})).expect(200);
        }
    }
    for (_gateway, _, id, case) in &open {
        let shown = daemon.until(*id, &format!("{case:?} is cured"), BUDGET, |shown| shown["status"] == "online");
        assert_eq!(shown["last_error"], json!(null), "{case:?}");
    }
}

#[test]
fn protocol_4_refusals_are_told_apart_and_cured() {
    check_every_refusal(Form::Protocol4);
}

#[test]
fn protocol_3_refusals_are_told_apart_and_cured() {
    check_every_refusal(Form::Protocol3);
}

#[test]
fn the_old_release_s_refusals_are_told_apart_by_their_words() {
    check_every_refusal(Form::Release219);
}

#[test]
fn the_documented_refusals_are_told_apart() {
    let daemon = Daemon::start();
    for (case, code) in [
        (Case::OriginNotAllowed, "origin_not_allowed"),
        (Case::DeviceRequired, "device_identity_required"),
        (Case::SignatureInvalid, "device_signature_invalid"),
        (Case::RateLimited, "rate_limited"),
    ] {
        let gateway = ScriptedGateway::start(Behaviour::of(Form::Document002, "right").refuses(case));
        let name = format!("documented-{case:?}");
        let id = daemon.register(&name, gateway.port(), "right");
        is_explained(&name, &daemon.until_code(id, code));
    }
}

#[test]
fn wrong_tokens_are_refused_by_the_other_dialects_too() {
    let daemon = Setup::new().without_challenge().start();
    for form in [Form::Rpc, Form::Http] {
        let gateway = ScriptedGateway::of(form.clone(), "right");
        let id = daemon.register(&format!("{form:?}"), gateway.port(), "wrong");
        let shown = daemon.until_status(id, "degraded");
        let code = shown["last_error"]["code"].as_str().unwrap_or_default().to_owned();
        assert!(["token_mismatch", "unauthorized"].contains(&code.as_str()), "{form:?}: {shown}");
        daemon.update(&json!({"id": id, "token": "right"})).expect(200);
        daemon.until_status(id, "online");
    }
}

#[test]
fn never_more_than_five_failed_logins_a_minute_reach_one_address() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__BLOCKED_RECHECK", "300ms").start();
    let first = daemon.register("first", gateway.port(), "wrong");
    let second = daemon.register("second", gateway.port(), "wrong-too");
    daemon.until_status(first, "degraded");
    wait::holds_for("the budget of failed logins", Duration::from_secs(12), || {
        // impatient operators and changed records draw on the same budget
        let _ = daemon.post(&format!("/api/gateways/{first}/reconnect"), &json!({}));
        let _ = daemon.update(&json!({"id": second, "token": "wrong-again"}));
        let _ = daemon.post("/api/gateways/health", &json!({"gateway_id": first}));
        gateway.record().most_refusals_within(Duration::from_secs(60)) <= 5
    });
    assert!(!gateway.record().attempts.is_empty());
    assert_ne!(daemon.gateway(first)["status"], "online");
}

#[test]
fn a_daemon_that_is_killed_again_and_again_fails_no_more_than_five_logins_a_minute() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    // One login each start.
    let setup = Setup::new().env("GATEWARDEN_GATEWAY__BLOCKED_RECHECK", "1h");
    let mut daemon = setup.start();
    let id = daemon.register("locks-out", gateway.port(), "wrong");
    let watch = wait::Stopwatch::start();
    for priority in 1..=8 {
        daemon.until(id, "it was refused, or may not try", PATIENCE, |shown| {
            ["token_mismatch", "login_budget_spent"].iter().any(|code| shown["last_error"]["code"] == *code)
        });
        // The store writes in order: with this the failed login is stored, too.
        daemon.update(&json!({"id": id, "priority": priority})).expect(200);
        daemon.crash_and_restart();
    }
    let record = gateway.record();
    assert!(record.most_refusals_within(Duration::from_secs(60)) <= 5, "{:?}", record.attempts);
    assert!(record.attempts.len() >= 5);
    if watch.elapsed() < Duration::from_secs(50) {
        let shown = daemon.until_code(id, "login_budget_spent");
        is_explained("locks-out", &shown);
    }
}

#[test]
fn granted_scopes_that_do_not_suffice_are_named() {
    let missing = json!({"code": "INVALID_REQUEST", "message": "missing scope: operator.read"});
    let mut behaviour = Behaviour::of(Form::Protocol3, "right");
    for method in
        ["status", "sessions.list", "agents.list", "config.get", "sessions.subscribe", "health", "device.pair.list"]
    {
        behaviour.errors.insert(method.to_owned(), missing.clone());
    }
    let gateway = ScriptedGateway::start(behaviour);
    let daemon = Daemon::start();
    let id = daemon.register("stripped", gateway.port(), "right");
    let shown = daemon.until_code(id, "missing_scope");
    assert_eq!(shown["status"], "degraded");
    assert!(shown["last_error"].to_string().contains("operator.read"), "{shown}");
}
