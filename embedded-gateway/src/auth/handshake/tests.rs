use super::*;
use crate::tests::fixture::{Fixture, LoginAttempt, Outcome, config, local};

fn first(bytes: &[u8]) -> Outcome {
    Fixture::new(config()).first_frame(&local(), bytes).0
}

#[test]
fn the_challenge_has_what_documents_and_releases_show() {
    let now = Now::read();
    let handshake = Handshake::new(ConnectionId(1), local(), "n-1".into());
    let challenge = handshake.challenge(&config(), now);
    assert_eq!(challenge, json!({"nonce": "n-1", "ts": now.wall_ms, "protocols": [3, 4], "deviceAuthRequired": true}));
    let mut without = config();
    without.device_auth.enabled = false;
    assert_eq!(handshake.challenge(&without, now)["deviceAuthRequired"], false);
}

#[test]
fn garbage_is_hung_up_on_without_a_word() {
    for bytes in [&b"hello"[..], b"", b"\xff\xfe", b"[]", b"12", b"null", b"{\"type\":\"req\"", b"\"connect\""] {
        assert_eq!(first(bytes), Outcome::Closed(1000, String::new()), "{bytes:?}");
    }
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(first(deep.as_bytes()), Outcome::Closed(1000, String::new()));
}

#[test]
fn json_that_is_no_request_is_closed_with_a_reason() {
    for (frame, reason) in [
        (r#"{}"#, "invalid request frame"),
        (r#"{"type":"event","event":"x"}"#, "invalid request frame"),
        (r#"{"type":"res","id":"1","ok":true}"#, "invalid request frame"),
        (r#"{"type":"req","id":"1"}"#, "invalid request frame"),
        (r#"{"type":"req","method":"connect"}"#, "invalid request frame: at root: must have required property 'id'"),
        (
            r#"{"type":"req","id":1,"method":"connect"}"#,
            "invalid request frame: at root: must have required property 'id'",
        ),
        (
            r#"{"type":"req","id":"1","method":"connect","foo":1}"#,
            "invalid request frame: at root: unexpected property 'foo'",
        ),
    ] {
        assert_eq!(first(frame.as_bytes()), Outcome::Closed(1008, reason.into()), "{frame}");
    }
}

#[test]
fn the_first_request_must_be_connect() {
    let outcome = first(br#"{"type":"req","id":"h1","method":"health","params":{}}"#);
    let refusal = outcome.refusal();
    assert_eq!(refusal.error.message, "invalid handshake: first request must be connect");
    assert_eq!((refusal.close_code, refusal.request.as_deref()), (1008, Some("h1")));
}

#[test]
fn connect_without_parameters_is_refused_by_its_schema() {
    let outcome = first(br#"{"type":"req","id":"c1","method":"connect"}"#);
    assert_eq!(outcome.refusal().error.message, "invalid connect params: at root: must be object");
}

#[test]
fn credentials_of_the_rpc_dialect_must_be_texts() {
    let outcome = first(br#"{"id":3,"method":"auth","params":{"token":{}}}"#);
    assert_eq!(outcome.refusal().error.message, "invalid auth params: at /token: must be string");
    assert_eq!((outcome.refusal().request.as_deref(), outcome.refusal().dialect), (Some("3"), Dialect::Rpc));
}

#[test]
fn a_proof_is_good_for_its_own_connection_only() {
    let mut fixture = Fixture::new(config());
    let params = LoginAttempt::default().params("nonce-1", fixture.now.wall_ms);
    let frame = json!({"type": "req", "id": "c1", "method": "connect", "params": params}).to_string();
    fixture.first_frame(&local(), frame.as_bytes()).0.caller();
    assert_eq!(fixture.first_frame(&local(), frame.as_bytes()).0.code(), "DEVICE_AUTH_NONCE_MISMATCH");
}
