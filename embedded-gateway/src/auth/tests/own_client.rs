//! This project's own client machine (`gatewarden_protocol::Handshake`) against these checks, in every dialect.

use std::sync::Arc;

use gatewarden_protocol::{
    DeviceIdentity, Dialect, Frame, Handshake as Client, HandshakeConfig, HelloForm, Refusal as ClientRefusal,
    RefusalClass, RefusalCode, Secret, Step,
};
use serde_json::{Value, json};

use crate::auth::Handshake;
use crate::auth::Peer;
use crate::caller::ConnectionId;
use crate::config::GatewayConfig;
use crate::tests::fixture::{Fixture, Outcome, SHARED, config, local, remote};

const CONNECTION: ConnectionId = ConnectionId(4_242);

fn client_config() -> HandshakeConfig {
    let identity = Arc::new(DeviceIdentity::from_seed(&[9; 32]));
    let mut config = HandshakeConfig::with_device(identity, "1.0.0", "run-1");
    config.shared_token = Some(Secret::new(SHARED));
    config
}

fn frame(value: &Value) -> Frame {
    Frame::parse(value.to_string().as_bytes()).unwrap()
}

/// Lets a client connect; `challenged`: whether the challenge reaches it.
fn connect(fixture: &mut Fixture, peer: &Peer, config: HandshakeConfig, challenged: bool) -> Step {
    let mut client = Client::new(config);
    let checks = Handshake::new(CONNECTION, peer.clone(), "nonce-of-4242".into());
    let sent = if challenged {
        let challenge = checks.challenge(&fixture.machine.config, fixture.now);
        let event = json!({"type": "event", "event": "connect.challenge", "payload": challenge});
        client.on_frame(&frame(&event), 0)
    } else {
        client.on_challenge_timeout()
    };
    let Step::Send(text) = sent else { return sent };
    let step = checks.first_frame(text.as_bytes(), &fixture.machine.config, fixture.now);
    let request = match Frame::parse(text.as_bytes()).unwrap() {
        Frame::Request { id, .. } => id,
        other => panic!("{other:?}"),
    };
    let reply = match fixture.step(step).0 {
        Outcome::In { caller, hello, documented } => {
            let mut reply = json!({"ok": true, "payload": hello});
            if let Some(result) = documented {
                reply["result"] = result;
            }
            let dialect = if challenged { Dialect::Openclaw } else { Dialect::Rpc };
            assert_eq!(caller.dialect, dialect);
            reply
        }
        Outcome::Refused(refusal) => json!({"ok": false, "error": refusal.error.to_value()}),
        Outcome::Closed(code, reason) => return client.on_close(Some(code), &reason),
    };
    let mut reply = reply;
    if challenged {
        reply["type"] = "res".into();
    }
    if let Some(id) = request {
        reply["id"] = id.into();
    }
    client.on_frame(&frame(&reply), 0)
}

fn refused(step: Step) -> ClientRefusal {
    match step {
        Step::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn fixture(edit: impl FnOnce(&mut GatewayConfig)) -> Fixture {
    let mut config = config();
    edit(&mut config);
    Fixture::new(config)
}

#[test]
fn our_client_comes_in_with_a_device_over_protocols_3_and_4() {
    for highest in [3, 4] {
        let mut fixture = fixture(|_| {});
        let mut config = client_config();
        config.protocols.max = highest;
        let Step::Ready(hello) = connect(&mut fixture, &local(), config, true) else { panic!() };
        assert_eq!((hello.form, hello.protocol), (HelloForm::Release, Some(highest)));
        assert_eq!(hello.version.as_deref(), Some(crate::COMPATIBLE_VERSION));
        assert!(hello.calendar_version().is_some(), "rules for a minimum version can read it");
        assert!(hello.lists_methods);
    }
}

#[test]
fn our_client_comes_in_without_a_device_and_as_a_control_ui() {
    let mut fixture = fixture(|_| {});
    let mut deviceless = HandshakeConfig::deviceless("abcd1234", "1.0.0", "run-1");
    deviceless.shared_token = Some(Secret::new(SHARED));
    let Step::Ready(hello) = connect(&mut fixture, &local(), deviceless, true) else { panic!() };
    assert_eq!(hello.scopes.map(|scopes| scopes.len()), Some(5), "its scopes are kept");

    let mut ui = HandshakeConfig::control_ui("abcd1234", "1.0.0", "run-1", None);
    ui.shared_token = Some(Secret::new(SHARED));
    let own_page = Peer { origin: Some("http://127.0.0.1:18789".into()), ..local() };
    let refusal = refused(connect(&mut fixture, &own_page, ui.clone(), true));
    assert_eq!(refusal.code, RefusalCode::DeviceIdentityRequired);
    fixture = self::fixture(|config| config.control_ui.require_device_auth = false);
    assert!(matches!(connect(&mut fixture, &own_page, ui, true), Step::Ready(_)));
}

#[test]
fn our_client_waits_for_its_approval_and_then_lives_on_its_device_token() {
    let mut fixture = fixture(|_| {});
    let refusal = refused(connect(&mut fixture, &remote(3), client_config(), true));
    assert_eq!((refusal.code, refusal.class), (RefusalCode::PairingRequired, RefusalClass::PairingRequired));
    let pairing = refusal.pairing.unwrap();
    let admin = fixture.admin();
    fixture.call(&admin, "device.pair.approve", json!({"requestId": pairing.request_id.unwrap()})).0.unwrap();
    let Step::Ready(hello) = connect(&mut fixture, &remote(3), client_config(), true) else { panic!() };
    let issued = hello.device_token.expect("a token");
    assert_eq!(issued.scopes.len(), 5);

    let mut by_token = client_config();
    by_token.shared_token = None;
    by_token.device_token = Some(issued.token.clone());
    let Step::Ready(hello) = connect(&mut fixture, &remote(3), by_token.clone(), true) else { panic!() };
    assert_eq!(hello.device_token.map(|token| token.token), Some(issued.token.clone()));
    // Long after the token's end, the device still comes in by its signature, and gets a new one.
    fixture.pass(std::time::Duration::from_secs(3 * 86_400));
    let Step::Ready(hello) = connect(&mut fixture, &remote(3), by_token.clone(), true) else { panic!() };
    assert_ne!(hello.device_token.map(|token| token.token), Some(issued.token));

    let device = hello_device(&client_config());
    fixture.call(&admin, "device.pair.remove", json!({"deviceId": device})).0.unwrap();
    let refusal = refused(connect(&mut fixture, &remote(3), by_token, true));
    assert_eq!(refusal.code, RefusalCode::DeviceTokenMismatch);
}

fn hello_device(config: &HandshakeConfig) -> String {
    match &config.device {
        gatewarden_protocol::handshake::DeviceMode::Device(identity) => identity.device_id().to_owned(),
        _ => panic!("no device"),
    }
}

#[test]
fn our_client_understands_each_refusal() {
    let wrong = || {
        let mut config = client_config();
        config.shared_token = Some(Secret::new("wrong"));
        config
    };
    let mut open = fixture(|_| {});
    assert_eq!(refused(connect(&mut open, &local(), wrong(), true)).code, RefusalCode::TokenMismatch);
    let mut missing = client_config();
    missing.shared_token = None;
    assert_eq!(refused(connect(&mut open, &local(), missing, true)).code, RefusalCode::TokenMissing);
    let mut future = client_config();
    (future.protocols.min, future.protocols.max) = (5, 9);
    assert_eq!(refused(connect(&mut open, &local(), future, true)).code, RefusalCode::ProtocolMismatch);
    let page = Peer { origin: Some("https://evil.example".into()), ..local() };
    assert_eq!(refused(connect(&mut open, &page, client_config(), true)).code, RefusalCode::OriginNotAllowed);
    for _ in 0..10 {
        connect(&mut open, &remote(9), wrong(), true);
    }
    let locked = refused(connect(&mut open, &remote(9), wrong(), true));
    assert_eq!((locked.code, locked.class), (RefusalCode::RateLimited, RefusalClass::RateLimited));
    assert!(locked.retry_after_ms.is_some());
}

#[test]
fn our_client_comes_in_over_the_rpc_dialect_where_no_challenge_reaches_it() {
    let mut fixture = fixture(|_| {});
    let Step::Ready(hello) = connect(&mut fixture, &local(), client_config(), false) else { panic!() };
    assert_eq!((hello.dialect, hello.form), (Dialect::Rpc, HelloForm::Rpc));
    assert_eq!(hello.version.as_deref(), Some(crate::COMPATIBLE_VERSION));
    assert_eq!(hello.scopes.map(|scopes| scopes.len()), Some(5));
    let mut wrong = client_config();
    wrong.shared_token = Some(Secret::new("wrong"));
    assert_eq!(refused(connect(&mut fixture, &local(), wrong, false)).code, RefusalCode::TokenMismatch);
}

#[test]
fn our_client_comes_in_over_http_with_the_same_token() {
    let mut fixture = fixture(|_| {});
    let caller = fixture.bearer(&remote(2), Some(SHARED)).unwrap();
    assert_eq!((caller.dialect, caller.scopes.len()), (Dialect::Http, 5));
    assert_eq!(fixture.bearer(&remote(2), Some("wrong")).unwrap_err().details["code"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(fixture.bearer(&remote(2), None).unwrap_err().details["code"], "AUTH_TOKEN_MISSING");
}
