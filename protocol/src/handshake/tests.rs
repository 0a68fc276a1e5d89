use std::sync::Arc;

use super::*;
use crate::hello::HelloForm;
use crate::identity::DeviceIdentity;
use crate::secret::Secret;
use crate::signing::{SignatureVersion, SignedFields, verify};

const WALL: i64 = 1_795_253_999_999;
const TS: i64 = 1_795_253_714_441;

fn config() -> HandshakeConfig {
    let identity = Arc::new(DeviceIdentity::from_seed(&[7; 32]));
    HandshakeConfig {
        shared_token: Some(Secret::new("shared")),
        ..HandshakeConfig::with_device(identity, "0.1.0", "run-1")
    }
}

fn frame(value: Value) -> Frame {
    Frame::parse(value.to_string().as_bytes()).unwrap()
}

fn challenge(payload: Value) -> Frame {
    frame(json!({"type": "event", "event": "connect.challenge", "payload": payload}))
}

fn usual_challenge() -> Frame {
    challenge(json!({"nonce": "n-1", "ts": TS}))
}

fn documented_challenge(device_required: bool) -> Frame {
    challenge(json!({"nonce": "n-1", "protocols": [3], "deviceAuthRequired": device_required}))
}

fn sent(step: Step) -> Value {
    match step {
        Step::Send(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn refused(step: Step) -> Refusal {
    match step {
        Step::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn ready(step: Step) -> Hello {
    match step {
        Step::Ready(hello) => *hello,
        other => panic!("{other:?}"),
    }
}

/// The connect request of a handshake that gets this challenge.
fn connect_of(config: HandshakeConfig, challenge: &Frame) -> Value {
    sent(Handshake::new(config).on_frame(challenge, WALL))
}

/// Checks the device's proof in a connect request as a gateway does.
fn proof(connect: &Value, token: &str) -> Result<SignatureVersion, crate::signing::ProofError> {
    let params = &connect["params"];
    let device = &params["device"];
    let scopes: Vec<String> =
        params["scopes"].as_array().unwrap().iter().map(|scope| scope.as_str().unwrap().to_owned()).collect();
    let fields = SignedFields {
        device_id: device["id"].as_str().unwrap(),
        client_id: params["client"]["id"].as_str().unwrap(),
        client_mode: params["client"]["mode"].as_str().unwrap(),
        role: params["role"].as_str().unwrap(),
        scopes: &scopes,
        signed_at_ms: device["signedAt"].as_i64().unwrap(),
        token,
        nonce: device["nonce"].as_str().unwrap(),
        platform: params["client"]["platform"].as_str().unwrap(),
        device_family: "",
    };
    verify(&fields, device["publicKey"].as_str().unwrap(), device["signature"].as_str().unwrap())
}

#[test]
fn a_challenge_is_answered_by_a_signed_connect_and_a_hello_ends_the_handshake() {
    let mut handshake = Handshake::new(config());
    assert!(!handshake.is_authenticating() && !handshake.credentials_sent());
    let connect = sent(handshake.on_frame(&usual_challenge(), WALL));
    assert!(handshake.is_authenticating() && handshake.credentials_sent());
    assert_eq!((&connect["type"], &connect["method"]), (&json!("req"), &json!("connect")));
    let params = &connect["params"];
    assert_eq!((&params["minProtocol"], &params["maxProtocol"]), (&json!(3), &json!(4)));
    let short_id = DeviceIdentity::from_seed(&[7; 32]).short_id().to_owned();
    assert_eq!(
        params["client"],
        json!({"id": "gateway-client", "mode": "backend", "displayName": format!("gatewarden {short_id}"),
            "version": "0.1.0", "platform": "linux", "instanceId": "run-1"})
    );
    assert_eq!((&params["role"], &params["caps"]), (&json!("operator"), &json!(["tool-events"])));
    assert_eq!(params["auth"], json!({"token": "shared"}));
    assert_eq!(params["device"]["signedAt"], json!(TS), "the gateway's clock, not ours");
    assert_eq!(proof(&connect, "shared"), Ok(SignatureVersion::V2));
    let hello = ready(handshake.on_frame(
        &frame(json!({"type": "res", "id": connect["id"], "ok": true,
            "payload": {"type": "hello-ok", "protocol": 4, "server": {"version": "2026.9.6"}}})),
        WALL,
    ));
    assert_eq!((hello.protocol, hello.form), (Some(4), HelloForm::Release));
    assert_eq!(handshake.on_close(Some(1000), ""), Step::Wait, "what comes later is not the handshake's");
}

#[test]
fn nothing_is_sent_that_a_closed_schema_would_refuse() {
    let connect = connect_of(config(), &usual_challenge());
    let allowed = ["minProtocol", "maxProtocol", "client", "role", "scopes", "caps", "auth", "device"];
    assert!(connect["params"].as_object().unwrap().keys().all(|field| allowed.contains(&field.as_str())));
    assert_eq!(connect.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "method", "params", "type"]);
}

#[test]
fn exactly_the_credential_that_is_sent_is_signed() {
    let issued = Some(Secret::new("issued"));
    let cases = [
        (Some("shared"), issued.clone(), json!({"token": "shared"}), "shared"),
        (None, issued.clone(), json!({"token": "issued"}), "issued"),
        (Some(""), issued, json!({"token": "issued"}), "issued"),
        (None, None, Value::Null, ""),
        (None, Some(Secret::new("")), Value::Null, ""),
    ];
    for (shared, device_token, auth, signed) in cases {
        let config = HandshakeConfig { shared_token: shared.map(Secret::new), device_token, ..config() };
        let connect = connect_of(config, &usual_challenge());
        assert_eq!(connect["params"]["auth"], auth);
        assert!(connect["params"].get("deviceToken").is_none());
        assert_eq!(proof(&connect, signed), Ok(SignatureVersion::V2));
    }
}

#[test]
fn a_password_goes_beside_the_token_keeps_the_device_token_at_home_and_is_not_signed() {
    let issued = Some(Secret::new("issued"));
    for (shared, auth, signed) in [
        (None, json!({"password": "pass"}), ""),
        (Some("shared"), json!({"token": "shared", "password": "pass"}), "shared"),
    ] {
        let password = Some(Secret::new("pass"));
        let shared_token = shared.map(Secret::new);
        let config = HandshakeConfig { shared_token, password, device_token: issued.clone(), ..config() };
        let connect = connect_of(config.clone(), &usual_challenge());
        assert_eq!(connect["params"]["auth"], auth);
        assert_eq!(proof(&connect, signed), Ok(SignatureVersion::V2));
        let mut rpc = Handshake::new(config);
        let first = sent(rpc.on_challenge_timeout());
        assert_eq!(first["params"], auth);
        let refusal = refused(rpc.on_frame(&frame(json!({"error": "nope"})), WALL));
        let code = if shared.is_none() { RefusalCode::PasswordMismatch } else { RefusalCode::TokenMismatch };
        assert_eq!(refusal.code, code);
    }
}

#[test]
fn a_token_that_is_taken_for_a_wrong_password_means_that_a_password_is_wanted() {
    for (password, code) in [(None, RefusalCode::PasswordRequired), (Some("no"), RefusalCode::PasswordMismatch)] {
        let mut handshake = Handshake::new(HandshakeConfig { password: password.map(Secret::new), ..config() });
        sent(handshake.on_frame(&usual_challenge(), WALL));
        let error = json!({"code": "INVALID_REQUEST", "message": "unauthorized: gateway password mismatch"});
        let reply = json!({"type": "res", "id": CONNECT_ID, "ok": false, "error": error});
        assert_eq!(refused(handshake.on_frame(&frame(reply), WALL)).code, code);
    }
}

#[test]
fn a_documented_gateway_gets_the_device_token_beside_auth_and_our_clock() {
    let with_both = HandshakeConfig { device_token: Some(Secret::new("issued")), ..config() };
    let connect = connect_of(with_both.clone(), &documented_challenge(true));
    let params = &connect["params"];
    assert_eq!((&params["auth"], &params["deviceToken"]), (&json!({"token": "shared"}), &json!("issued")));
    assert_eq!((&params["minProtocol"], &params["maxProtocol"]), (&json!(3), &json!(3)), "what it offers");
    assert_eq!(params["device"]["signedAt"], json!(WALL));
    assert!(proof(&connect, "shared").is_ok());
    let connect = connect_of(HandshakeConfig { shared_token: None, ..with_both }, &documented_challenge(true));
    assert_eq!((connect["params"].get("auth"), &connect["params"]["deviceToken"]), (None, &json!("issued")));
    assert!(proof(&connect, "issued").is_ok());
}

#[test]
fn no_device_proves_itself_where_none_is_required_or_wanted() {
    let connect = connect_of(config(), &documented_challenge(false));
    assert!(connect["params"].get("device").is_none());
    let deviceless = HandshakeConfig::deviceless("ab12cd34", "0.1.0", "run-1");
    let connect = connect_of(deviceless, &usual_challenge());
    assert!(connect["params"].get("device").is_none());
    assert_eq!(connect["params"]["client"]["id"], "gateway-client");
    let control_ui = HandshakeConfig {
        shared_token: Some(Secret::new("shared")),
        ..HandshakeConfig::control_ui("ab12cd34", "0.1.0", "run-1", Some("build-9".into()))
    };
    let connect = connect_of(control_ui, &usual_challenge());
    let client = &connect["params"]["client"];
    assert!(connect["params"].get("device").is_none());
    assert_eq!((&client["id"], &client["mode"]), (&json!("openclaw-control-ui"), &json!("ui")));
    assert_eq!((&client["displayName"], &client["buildId"]), (&json!("gatewarden ab12cd34"), &json!("build-9")));
}

#[test]
fn the_signature_can_be_of_version_3() {
    let connect = connect_of(HandshakeConfig { signature: SignatureVersion::V3, ..config() }, &usual_challenge());
    assert_eq!(proof(&connect, "shared"), Ok(SignatureVersion::V3));
}

#[test]
fn no_common_protocol_is_a_refusal_before_anything_is_sent() {
    let mut handshake = Handshake::new(config());
    let refusal = refused(handshake.on_frame(&challenge(json!({"nonce": "n", "protocols": [5, 6]})), WALL));
    assert_eq!(refusal.code, RefusalCode::ProtocolMismatch);
    assert!(refusal.words.contains("[5, 6]") && !handshake.credentials_sent());
    let open = connect_of(config(), &challenge(json!({"nonce": "n", "protocols": []})));
    assert_eq!(open["params"]["maxProtocol"], json!(4), "an empty list offers nothing to go by");
}

#[test]
fn a_challenge_without_a_usable_nonce_is_garbage() {
    for payload in [json!({}), json!({"nonce": ""}), json!({"nonce": 5}), json!({"nonce": "a\nb"}), Value::Null] {
        let refusal = refused(Handshake::new(config()).on_frame(&challenge(payload), WALL));
        assert_eq!(refusal.code, RefusalCode::Garbage);
    }
}

#[test]
fn whatever_else_comes_meanwhile_is_waited_out() {
    let mut handshake = Handshake::new(config());
    let noise = [
        json!({"type": "event", "event": "tick", "payload": {"ts": 1}}),
        json!({"type": "event", "event": "health", "payload": {}}),
        json!({"type": "req", "id": "x", "method": "connect", "params": {}}),
        json!({"type": "res", "id": "someone-elses", "ok": true, "payload": {"type": "hello-ok"}}),
    ];
    for value in &noise {
        assert_eq!(handshake.on_frame(&frame(value.clone()), WALL), Step::Wait);
    }
    sent(handshake.on_frame(&usual_challenge(), WALL));
    for value in &noise {
        assert_eq!(handshake.on_frame(&frame(value.clone()), WALL), Step::Wait);
    }
    assert_eq!(handshake.on_frame(&usual_challenge(), WALL), Step::Wait, "no second signature for a second challenge");
    assert_eq!(handshake.on_challenge_timeout(), Step::Wait);
}

#[test]
fn a_refusal_is_classified_and_completed_with_what_we_know() {
    let mut handshake = Handshake::new(config());
    let connect = sent(handshake.on_frame(&usual_challenge(), WALL));
    let refusal = refused(handshake.on_frame(
        &frame(json!({"type": "res", "id": connect["id"], "ok": false, "error": {"code": "NOT_PAIRED",
            "message": "pairing required", "details": {"requestId": "q-1"}}})),
        WALL,
    ));
    let pairing = refusal.pairing.unwrap();
    assert_eq!(pairing.request_id.as_deref(), Some("q-1"));
    assert_eq!(pairing.device_id.as_deref(), connect["params"]["device"]["id"].as_str());
    assert_eq!(handshake.on_close(Some(1008), "pairing required"), Step::Wait, "the reply has said it already");
}

#[test]
fn a_wrong_shared_token_is_not_taken_for_a_dead_device_token() {
    let oldest = json!({"code": "INVALID_REQUEST", "message": "unauthorized: device token mismatch (rotate/reissue device token)"});
    let answer = |config: HandshakeConfig| {
        let mut handshake = Handshake::new(config);
        sent(handshake.on_frame(&usual_challenge(), WALL));
        refused(
            handshake.on_frame(&frame(json!({"type": "res", "id": CONNECT_ID, "ok": false, "error": oldest})), WALL),
        )
    };
    let issued = Some(Secret::new("issued"));
    let shared = answer(HandshakeConfig { device_token: issued.clone(), ..config() });
    assert_eq!((shared.code, shared.drop_device_token), (RefusalCode::TokenMismatch, false));
    let device = answer(HandshakeConfig { device_token: issued, shared_token: None, ..config() });
    assert_eq!((device.code, device.drop_device_token), (RefusalCode::DeviceTokenMismatch, true));
}

#[test]
fn a_dead_device_token_in_place_of_the_shared_one_is_known_as_such() {
    // Both measured releases answer so to a device token of another time in auth.token.
    let real = json!({"code": "INVALID_REQUEST", "message": "unauthorized: gateway token mismatch (provide gateway auth token)",
        "details": {"code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch", "canRetryWithDeviceToken": false}});
    let answer = |config: HandshakeConfig, challenge: &Frame| {
        let mut handshake = Handshake::new(config);
        sent(handshake.on_frame(challenge, WALL));
        refused(handshake.on_frame(&frame(json!({"type": "res", "id": CONNECT_ID, "ok": false, "error": real})), WALL))
    };
    let both = HandshakeConfig { device_token: Some(Secret::new("issued")), ..config() };
    let alone = answer(HandshakeConfig { shared_token: None, ..both.clone() }, &usual_challenge());
    assert_eq!((alone.code, alone.drop_device_token), (RefusalCode::DeviceTokenMismatch, true));
    for challenge in [usual_challenge(), documented_challenge(true)] {
        let shared = answer(both.clone(), &challenge);
        assert_eq!((shared.code, shared.drop_device_token), (RefusalCode::TokenMismatch, false));
    }
}

#[test]
fn a_frame_that_the_gateway_could_not_match_refuses_the_connect() {
    let mut handshake = Handshake::new(config());
    sent(handshake.on_frame(&usual_challenge(), WALL));
    let invalid =
        json!({"type": "res", "id": "invalid", "ok": false, "error": {"message": "invalid request frame: x"}});
    assert_eq!(refused(handshake.on_frame(&frame(invalid), WALL)).code, RefusalCode::InvalidHandshake);
}

#[test]
fn without_a_challenge_the_rpc_dialect_is_tried_where_the_transport_allows_it() {
    let mut handshake = Handshake::new(config());
    assert_eq!(sent(handshake.on_challenge_timeout()), json!({"method": "auth", "params": {"token": "shared"}}));
    assert_eq!(handshake.dialect(), Dialect::Rpc);
    let hello = ready(handshake.on_frame(&frame(json!({"ok": true, "version": "x"})), WALL));
    assert_eq!(hello.dialect, Dialect::Rpc);
    let mut fixed = Handshake::new(HandshakeConfig { allow_rpc: false, ..config() });
    assert_eq!(refused(fixed.on_challenge_timeout()).code, RefusalCode::ChallengeTimeout);
    assert!(!fixed.credentials_sent());
}

#[test]
fn a_late_challenge_wins_over_the_rpc_dialect() {
    let mut handshake = Handshake::new(config());
    sent(handshake.on_challenge_timeout());
    let connect = sent(handshake.on_frame(&usual_challenge(), WALL));
    assert_eq!(connect["method"], "connect");
    assert_eq!(handshake.dialect(), Dialect::Openclaw);
}

#[test]
fn a_gateway_that_greets_late_and_refuses_the_word_before_has_nothing_against_us() {
    let words = "invalid handshake: first request must be connect";
    let invalid = json!({"type": "res", "id": "invalid", "ok": false, "error": {"message": words}});
    for greets in [true, false] {
        for says_why in [true, false] {
            let mut handshake = Handshake::new(config());
            sent(handshake.on_challenge_timeout());
            if greets {
                sent(handshake.on_frame(&usual_challenge(), WALL));
            }
            let refusal = refused(match says_why {
                true => handshake.on_frame(&frame(invalid.clone()), WALL),
                false => handshake.on_close(Some(1008), if greets { "" } else { words }),
            });
            assert_eq!((refusal.code, refusal.class), (RefusalCode::ChallengeTimeout, RefusalClass::Retryable));
            assert!(!refusal.counts_as_failed_auth);
        }
    }
}

#[test]
fn a_silent_rpc_gateway_is_asked_for_its_info_once() {
    let mut handshake = Handshake::new(HandshakeConfig { shared_token: None, ..config() });
    assert_eq!(sent(handshake.on_challenge_timeout()), json!({"method": "auth", "params": {}}));
    let info = sent(handshake.on_challenge_timeout());
    assert_eq!(info, json!({"id": "info", "method": "gateway.info", "params": {}}));
    assert_eq!(handshake.on_challenge_timeout(), Step::Wait);
    let hello =
        ready(handshake.on_frame(&frame(json!({"id": "info", "result": {"version": "2026.2.19", "uptime": 9}})), WALL));
    assert_eq!((hello.version.as_deref(), hello.uptime_ms), (Some("2026.2.19"), Some(9_000)));
}

#[test]
fn an_rpc_gateway_without_a_login_is_asked_what_it_is() {
    let unknown =
        |id: Value, method: &str| frame(json!({"id": id, "error": {"message": format!("unknown method: {method}")}}));
    let mut handshake = Handshake::new(config());
    sent(handshake.on_challenge_timeout());
    assert_eq!(sent(handshake.on_frame(&unknown(Value::Null, "auth"), WALL))["method"], "gateway.info");
    let refusal = refused(handshake.on_frame(&unknown(json!("info"), "gateway.info"), WALL));
    assert_eq!(refusal.code, RefusalCode::NotAGateway);
}

#[test]
fn a_refused_auth_of_the_rpc_dialect_is_about_the_token() {
    let answers = [
        json!({"error": {"code": "unauthorized", "message": "unauthorized: invalid token"}}),
        json!({"error": "nope"}),
        json!({"ok": false, "error": {"code": 4, "message": "bad"}}),
        json!({"result": {"authenticated": false}}),
        json!({"event": "auth.error", "data": {"message": "denied"}}),
        json!({"event": "auth", "data": {"ok": false}}),
    ];
    for answer in answers {
        for (token, code) in [(Some("t"), RefusalCode::TokenMismatch), (None, RefusalCode::TokenMissing)] {
            let mut handshake = Handshake::new(HandshakeConfig { shared_token: token.map(Secret::new), ..config() });
            sent(handshake.on_challenge_timeout());
            let refusal = refused(handshake.on_frame(&frame(answer.clone()), WALL));
            let expected = if answer.to_string().contains("invalid token") { RefusalCode::TokenMismatch } else { code };
            assert_eq!(refusal.code, expected, "{answer}");
        }
    }
}

#[test]
fn an_rpc_gateway_may_say_yes_by_an_event() {
    for answer in [json!({"event": "auth.ok", "data": {}}), json!({"event": "auth", "data": {"ok": true}})] {
        let mut handshake = Handshake::new(config());
        sent(handshake.on_challenge_timeout());
        assert_eq!(handshake.on_frame(&frame(json!({"event": "presence", "data": {}})), WALL), Step::Wait);
        ready(handshake.on_frame(&frame(answer), WALL));
    }
}

#[test]
fn a_close_before_the_hello_is_a_refusal_that_names_the_device_where_it_must_be_paired() {
    let mut handshake = Handshake::new(config());
    let early = refused(handshake.on_close(Some(1008), "unauthorized"));
    assert!(!early.counts_as_failed_auth, "nothing had been sent");
    let mut handshake = Handshake::new(config());
    sent(handshake.on_frame(&usual_challenge(), WALL));
    let refusal = refused(handshake.on_close(Some(1008), "pairing required: x (requestId: q-9)"));
    let pairing = refusal.pairing.unwrap();
    assert_eq!((pairing.request_id.as_deref(), pairing.device_id.is_some()), (Some("q-9"), true));
}

#[test]
fn the_deadline_says_what_was_waited_for() {
    let mut silent = Handshake::new(config());
    assert_eq!(refused(silent.on_deadline()).code, RefusalCode::ChallengeTimeout);
    assert_eq!(silent.on_deadline(), Step::Wait);
    let mut stuck = Handshake::new(config());
    sent(stuck.on_frame(&usual_challenge(), WALL));
    assert_eq!(refused(stuck.on_deadline()).code, RefusalCode::ConnectTimeout);
}

#[test]
fn no_token_is_printed_with_the_handshake() {
    let handshake = Handshake::new(HandshakeConfig { device_token: Some(Secret::new("issued")), ..config() });
    let shown = format!("{handshake:?}");
    assert!(!shown.contains("shared\"") && !shown.contains("issued\""), "{shown}");
}
