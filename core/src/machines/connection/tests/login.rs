use gatewarden_protocol::Secret;
use serde_json::json;

use super::super::*;
use super::sim::{Sim, hello_4, record};
use crate::gateway_record::{DeviceToken, GatewayRecord};
use crate::gateway_report::{BreakerState, Status};
use crate::machines::connection::{AuthResult, GatewayNotice};
use gatewarden_protocol::Dialect;
use std::time::Duration;

const TOKEN_MISMATCH: &str = r#"{"code":"INVALID_REQUEST","message":"unauthorized: gateway token mismatch",
    "details":{"code":"AUTH_TOKEN_MISMATCH"}}"#;

fn issued() -> DeviceToken {
    DeviceToken { token: Secret::new("device-token"), role: "operator".into(), scopes: vec![], issued_at_ms: 1 }
}

fn without_shared_token() -> GatewayRecord {
    record().with(|spec| spec.token = None)
}

#[test]
fn the_documented_connect_is_answered_and_the_link_is_online() {
    let sim = Sim::online();
    assert_eq!(sim.status(), Status::Online);
    let report = sim.current();
    assert_eq!(report.version.as_deref(), Some("2026.9.6"));
    assert_eq!((report.protocol, report.dialect), (Some(4), Some(Dialect::Openclaw)));
    assert_eq!((report.sessions_count, report.agents_count), (Some(1), Some(2)));
    assert_eq!(*report.agent_names, ["main", "Worker"]);
    assert!(report.uptime_ms.unwrap() >= 320_220);
    assert_eq!(report.ready_since_ms, Some(super::sim::START_MS));
    assert_eq!(report.last_error, None);
    assert!(report.is_usable());
    assert_eq!(sim.settlements(), [AuthResult::Accepted]);
}

#[test]
fn larger_frames_are_let_through_only_once_the_connect_is_out() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    assert!(!sim.log.iter().any(|effect| matches!(effect, Effect::RaiseCap(..))));
    sim.challenges();
    assert!(matches!(sim.log.iter().find(|effect| matches!(effect, Effect::RaiseCap(..))),
        Some(Effect::RaiseCap(_, bytes)) if *bytes == 26 * 1024 * 1024));
}

#[test]
fn a_wrong_token_is_degraded_and_rechecked_slowly_without_counting_as_a_failure() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.refuses(serde_json::from_str(TOKEN_MISMATCH).unwrap());
    assert_eq!(sim.status(), Status::Degraded);
    assert_eq!(sim.code().as_deref(), Some("token_mismatch"));
    assert!(sim.current().last_error.as_ref().unwrap().help.contains("gateway.auth.token"));
    assert_eq!(sim.settlements(), [AuthResult::Failed]);
    assert_eq!((sim.current().breaker.state, sim.current().breaker.failures), (BreakerState::Closed, 0));
    sim.pass_s(599);
    assert_eq!(sim.dials(), 1);
    assert_eq!(sim.status(), Status::Degraded, "blocked doesn't decay");
    sim.until_next_dial();
    assert_eq!(sim.status(), Status::Degraded, "the reason stays while it is looked at again");
    sim.let_in();
    assert_eq!(sim.code(), None);
}

#[test]
fn each_class_of_refusal_is_shown_as_what_it_is() {
    let cases = [
        (
            json!({"code":"INVALID_REQUEST","message":"x","details":{"code":"AUTH_TOKEN_MISSING"}}),
            "token_missing",
            Status::Degraded,
        ),
        (
            json!({"code":"NOT_PAIRED","message":"device identity required","details":{"code":"DEVICE_IDENTITY_REQUIRED"}}),
            "device_identity_required",
            Status::Degraded,
        ),
        (
            json!({"code":"INVALID_REQUEST","message":"device signature invalid","details":{"code":"DEVICE_AUTH_SIGNATURE_INVALID"}}),
            "device_signature_invalid",
            Status::Degraded,
        ),
        (
            json!({"code":"INVALID_REQUEST","message":"device signature expired","details":{"code":"DEVICE_AUTH_SIGNATURE_EXPIRED"}}),
            "device_signature_expired",
            Status::Degraded,
        ),
        (json!({"code":"INVALID_REQUEST","message":"origin not allowed"}), "origin_not_allowed", Status::Degraded),
        (
            json!({"code":"INVALID_REQUEST","message":"protocol mismatch","details":{"expectedProtocol":5}}),
            "protocol_mismatch",
            Status::Offline,
        ),
        (
            json!({"code":"INVALID_REQUEST","message":"invalid connect params: at root"}),
            "invalid_handshake",
            Status::Degraded,
        ),
    ];
    for (error, code, status) in cases {
        let mut sim = Sim::new();
        sim.start();
        sim.reach_login();
        sim.refuses(error);
        assert_eq!(sim.code().as_deref(), Some(code));
        assert_eq!(sim.status(), status, "{code}");
        assert_eq!(sim.connection.phase(), Phase::Blocked, "{code}");
        assert!(!sim.current().last_error.as_ref().unwrap().help.is_empty());
    }
}

#[test]
fn a_close_without_a_reply_after_credentials_counts_as_a_failed_login() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.closes(Some(1000), "");
    assert_eq!(sim.settlements(), [AuthResult::Unknown]);
    assert_eq!(sim.code().as_deref(), Some("closed_in_handshake"));
}

#[test]
fn pairing_is_rechecked_every_15_s_for_ten_minutes_then_every_minute() {
    let mut sim = Sim::new();
    sim.start();
    let refusal = json!({"code":"NOT_PAIRED","message":"pairing required","details":{"code":"PAIRING_REQUIRED","requestId":"req-1"}});
    let mut gaps = Vec::new();
    let mut last = 0.0;
    for _ in 0..45 {
        sim.reach_login();
        sim.refuses(refusal.clone());
        assert_eq!(sim.status(), Status::Degraded);
        let pairing = sim.current().pairing.clone().unwrap();
        assert_eq!(pairing.request_id.as_deref(), Some("req-1"));
        assert_eq!(pairing.device_id.len(), 64);
        assert!(sim.current().last_error.as_ref().unwrap().help.contains("openclaw devices approve req-1"));
        sim.until_next_dial();
        gaps.push((sim.seconds() - last).round() as u64);
        last = sim.seconds();
    }
    assert_eq!(gaps[..40], [15; 40]);
    assert_eq!(gaps[41..], [60; 4]);
    sim.let_in();
    assert_eq!(sim.current().pairing, None);
}

#[test]
fn a_rate_limited_gateway_is_left_alone_for_as_long_as_it_asks() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.refuses(json!({"code":"INVALID_REQUEST","message":"unauthorized: too many failed authentication attempts",
        "retryable":true,"retryAfterMs":299_991,"details":{"code":"AUTH_RATE_LIMITED"}}));
    assert_eq!(sim.status(), Status::Degraded);
    sim.pass_s(299);
    assert_eq!(sim.dials(), 1);
    sim.pass_s(2);
    assert_eq!(sim.dials(), 2);
}

#[test]
fn an_issued_device_token_is_handed_over_to_be_kept_once() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    let mut hello = hello_4();
    hello["payload"]["auth"]["deviceToken"] = json!("device-token");
    sim.says(hello.clone());
    let issued_tokens = |sim: &Sim| {
        sim.log
            .iter()
            .filter(|effect| matches!(effect, Effect::Notify(GatewayNotice::DeviceTokenIssued { .. })))
            .count()
    };
    assert_eq!(issued_tokens(&sim), 1);
    sim.device_token = Some(issued());
    sim.feed(Connection::reconnect);
    sim.reach_login();
    sim.says(hello);
    assert_eq!(issued_tokens(&sim), 1, "the same token again is no news");
}

#[test]
fn without_a_shared_token_the_device_token_is_used() {
    let mut sim = Sim::of(without_shared_token());
    sim.device_token = Some(issued());
    sim.start();
    sim.reach_login();
    assert_eq!(sim.last_sent()["params"]["auth"]["token"], "device-token");
}

#[test]
fn with_a_shared_token_the_device_token_stays_at_home() {
    let mut sim = Sim::new();
    sim.device_token = Some(issued());
    sim.start();
    sim.reach_login();
    assert_eq!(sim.last_sent()["params"]["auth"]["token"], "shared-token");
}

#[test]
fn a_rejected_device_token_is_forgotten_tried_without_once_and_then_it_stops() {
    let mut sim = Sim::of(without_shared_token());
    sim.device_token = Some(issued());
    sim.start();
    sim.reach_login();
    let mismatch = json!({"code":"INVALID_REQUEST","message":"unauthorized: device token mismatch",
        "details":{"code":"AUTH_DEVICE_TOKEN_MISMATCH"}});
    sim.refuses(mismatch);
    assert!(sim.log.iter().any(|effect| matches!(effect, Effect::Notify(GatewayNotice::DeviceTokenRejected { .. }))));
    assert_eq!(sim.dials(), 2, "tried again at once, with a permit of its own");
    sim.reach_login();
    assert!(sim.last_sent()["params"].get("auth").is_none());
    sim.refuses(json!({"code":"INVALID_REQUEST","message":"unauthorized","details":{"code":"AUTH_TOKEN_MISSING"}}));
    assert_eq!(sim.connection.phase(), Phase::Blocked);
    assert_eq!(sim.dials(), 2);
    assert_eq!(sim.settlements(), [AuthResult::Failed, AuthResult::Failed]);
}

#[test]
fn an_old_release_that_calls_a_wrong_shared_token_a_device_token_is_understood() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.refuses(
        json!({"code":"INVALID_REQUEST","message":"unauthorized: device token mismatch (rotate/reissue device token)"}),
    );
    assert_eq!(sim.code().as_deref(), Some("token_mismatch"));
    assert_eq!(sim.dials(), 1);
}

#[test]
fn control_ui_mode_has_an_origin_no_device_and_one_retry_with_the_gateways_build() {
    let mut sim = Sim::of(record().with(|spec| spec.disable_device_pairing = true));
    sim.start();
    assert!(matches!(&sim.log.iter().rev().find(|effect| matches!(effect, Effect::Dial(..))),
        Some(Effect::Dial(_, request)) if request.origin.as_deref() == Some("http://127.0.0.1:18789")));
    sim.reach_login();
    assert!(sim.last_sent()["params"].get("device").is_none());
    let mismatch = json!({"code":"UNAVAILABLE","message":"protocol mismatch: Control UI updated",
        "details":{"code":"PROTOCOL_MISMATCH","gatewayBuildId":"build-9","reloadRequired":true}});
    sim.refuses(mismatch.clone());
    assert_eq!(sim.dials(), 2);
    sim.reach_login();
    assert_eq!(sim.last_sent()["params"]["client"]["buildId"], "build-9");
    sim.refuses(mismatch);
    assert_eq!(sim.dials(), 2);
    assert_eq!(sim.connection.phase(), Phase::Blocked);
    assert_eq!(sim.code().as_deref(), Some("control_ui_build_mismatch"));
}

#[test]
fn an_ordinary_client_sends_no_origin() {
    let mut sim = Sim::new();
    sim.start();
    assert!(sim.log.iter().all(|effect| !matches!(effect, Effect::Dial(_, request) if request.origin.is_some())));
}

#[test]
fn scopes_that_the_hello_lacks_block_with_the_scopes_name() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    let mut hello = hello_4();
    hello["payload"]["auth"]["scopes"] = json!(["operator.read"]);
    sim.says(hello);
    assert_eq!(sim.code().as_deref(), Some("missing_scope"));
    assert!(sim.current().last_error.as_ref().unwrap().message.contains("operator.write"));
    assert_eq!(sim.status(), Status::Degraded);
}

#[test]
fn scopes_taken_away_without_a_word_are_found_out_by_the_first_read() {
    let mut sim = Sim::new();
    sim.start();
    sim.let_in();
    let (id, _) = sim.unanswered().into_iter().find(|(_, method)| method == "agents.list").unwrap();
    sim.says(json!({"type":"res","id":id,"ok":false,"error":{"code":"INVALID_REQUEST","message":"missing scope: operator.read"}}));
    assert_eq!(sim.connection.phase(), Phase::Blocked);
    assert_eq!(sim.code().as_deref(), Some("missing_scope"));
    assert_eq!(sim.settlements(), [AuthResult::Accepted]);
}

#[test]
fn a_gateway_that_upgrades_and_says_nothing_is_timeout() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    sim.pass_s(6);
    assert_eq!(sim.last_sent()["method"], "auth", "the rpc dialect waits for our first word");
    sim.pass_s(10);
    assert_eq!(sim.status(), Status::Timeout);
    assert_eq!(sim.code().as_deref(), Some("challenge_timeout"));
    assert_eq!(sim.settlements(), [AuthResult::Unknown]);
}

#[test]
fn a_gateway_that_never_answers_the_connect_is_timeout() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.pass(Duration::from_millis(10_001));
    assert_eq!(sim.status(), Status::Timeout);
    assert_eq!(sim.code().as_deref(), Some("connect_timeout"));
}

#[test]
fn a_challenge_for_another_protocol_never_sees_a_credential() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    sim.says(json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","protocols":[9],"deviceAuthRequired":true}}));
    assert_eq!(sim.code().as_deref(), Some("protocol_mismatch"));
    assert!(!sim.log.iter().any(|effect| matches!(effect, Effect::Send { .. })));
    assert_eq!(sim.settlements(), [AuthResult::NotFailed]);
}
