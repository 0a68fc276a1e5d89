//! Tokens, passwords, and who comes in without.

use super::*;
use crate::auth::{Peer, TailnetLogin};

#[test]
fn signatures_can_be_demanded_of_everybody() {
    let mut config = config();
    config.device_auth.require_signature = true;
    let mut fixture = Fixture::new(config);
    let deviceless = LoginAttempt { client: ("gateway-client", "backend"), device: None, ..LoginAttempt::default() };
    assert_eq!(fixture.attempt(&deviceless).code(), "DEVICE_IDENTITY_REQUIRED");
    let token = fixture.attempt(&LoginAttempt::default()).device_token();
    let alone = LoginAttempt { device: None, token: None, documented_token: token, ..LoginAttempt::default() };
    assert_eq!(fixture.attempt(&alone).code(), "DEVICE_IDENTITY_REQUIRED");
    let auth = json!({"method": "auth", "params": {"token": SHARED}}).to_string();
    assert_eq!(fixture.first_frame(&local(), auth.as_bytes()).0.code(), "DEVICE_IDENTITY_REQUIRED");
}

#[test]
fn devices_can_be_left_out_altogether() {
    let mut config = config();
    config.device_auth.enabled = false;
    let mut fixture = Fixture::new(config);
    let outcome = fixture.attempt(&LoginAttempt {
        peer: remote(3),
        signed_token: Some("not even signed well"),
        ..LoginAttempt::default()
    });
    assert_eq!(scopes_of(&outcome).len(), 3);
    assert_eq!(outcome.device_token(), None);
    assert_eq!(fixture.attempt(&LoginAttempt { token: None, ..LoginAttempt::default() }).code(), "AUTH_TOKEN_MISSING");
}

#[test]
fn control_uis_are_let_in_without_a_device_where_the_configuration_says_so() {
    let mut config = config();
    config.control_ui.require_device_auth = false;
    let mut fixture = Fixture::new(config);
    let ui = LoginAttempt {
        client: ("openclaw-control-ui", "ui"),
        device: None,
        peer: page(OWN_PAGE),
        ..LoginAttempt::default()
    };
    assert_eq!(scopes_of(&fixture.attempt(&ui)).len(), 3);
    assert_eq!(
        fixture.attempt(&LoginAttempt { token: Some("wrong".into()), ..ui.clone() }).code(),
        "AUTH_TOKEN_MISMATCH"
    );
    let evil = LoginAttempt { peer: page("https://evil.example"), ..ui };
    assert_eq!(fixture.attempt(&evil).code(), "CONTROL_UI_ORIGIN_NOT_ALLOWED");
}

#[test]
fn clients_without_parts_of_theirs_here_are_sent_away_without_an_answer() {
    for client in [("openclaw-worker", "backend"), ("cli", "worker"), ("openclaw-browser-copilot", "ui")] {
        let outcome = Fixture::new(config()).attempt(&LoginAttempt { client, ..LoginAttempt::default() });
        assert_eq!(outcome, Outcome::Closed(1008, "invalid-handshake".into()), "{client:?}");
    }
}

#[test]
fn a_password_is_checked_like_a_token() {
    let mut config = config();
    config.auth = Auth::Password(Secret::new("pass"));
    let mut fixture = Fixture::new(config);
    let base = LoginAttempt { token: None, ..LoginAttempt::default() };
    let outcome = fixture.attempt(&LoginAttempt { password: Some("pass".into()), ..base.clone() });
    assert_eq!(outcome.hello()["auth"]["method"], "password");
    assert!(fixture.attempt(&LoginAttempt { token: Some("pass".into()), ..base.clone() }).device_token().is_some());
    assert_eq!(
        fixture.attempt(&LoginAttempt { password: Some("no".into()), ..base.clone() }).code(),
        "AUTH_PASSWORD_MISMATCH"
    );
    assert_eq!(fixture.attempt(&LoginAttempt { device: Some(2), ..base }).code(), "AUTH_PASSWORD_MISSING");
}

#[test]
fn without_any_credential_only_devices_and_local_backends_come_in() {
    let mut config = config();
    config.auth = Auth::None;
    let mut fixture = Fixture::new(config);
    let base = LoginAttempt { token: None, ..LoginAttempt::default() };
    let outcome = fixture.attempt(&base);
    assert_eq!(outcome.hello()["auth"]["method"], "none");
    assert!(outcome.device_token().is_some());
    let backend = LoginAttempt { client: ("gateway-client", "backend"), device: None, ..base.clone() };
    assert_eq!(scopes_of(&fixture.attempt(&backend)).len(), 3);
    assert_eq!(fixture.attempt(&LoginAttempt { device: None, ..base.clone() }).code(), "DEVICE_IDENTITY_REQUIRED");
    // Nor does a page come in for having been opened.
    let page = page("http://localhost:5173");
    assert_eq!(
        fixture.attempt(&LoginAttempt { peer: page.clone(), device: Some(4), ..base }).code(),
        "PAIRING_REQUIRED"
    );
    assert_eq!(fixture.first_frame(&page, br#"{"method":"auth","params":{}}"#).0.code(), "DEVICE_IDENTITY_REQUIRED");
    assert_eq!(fixture.bearer(&page, None).unwrap_err().code, "FORBIDDEN");
    assert!(fixture.bearer(&local(), None).is_ok());
}

#[test]
fn the_auth_of_document_004_takes_the_shared_credential_and_gives_all_scopes() {
    let mut fixture = Fixture::new(config());
    for frame in [
        json!({"method": "auth", "params": {"token": SHARED}}),
        json!({"id": 7, "method": "auth", "params": {"token": SHARED}}),
        json!({"method": "auth", "params": {"password": SHARED}}),
    ] {
        let outcome = fixture.first_frame(&local(), frame.to_string().as_bytes()).0;
        assert!(outcome.caller().scopes.contains(&"operator.admin".to_owned()));
        assert_eq!(outcome.hello()["authenticated"], true);
    }
    for (frame, code) in [
        (json!({"method": "auth", "params": {"token": "wrong"}}), "AUTH_TOKEN_MISMATCH"),
        (json!({"method": "auth"}), "AUTH_TOKEN_MISSING"),
        (json!({"method": "sessions.list", "params": {}}), "AUTH_REQUIRED"),
    ] {
        let outcome = fixture.first_frame(&local(), frame.to_string().as_bytes()).0;
        assert_eq!((outcome.code(), outcome.refusal().close_code), (code, 1008), "{frame}");
    }
    let frame = json!({"method": "auth", "params": {"token": SHARED}}).to_string();
    let outcome = fixture.first_frame(&page("https://evil.example"), frame.as_bytes()).0;
    assert_eq!(outcome.code(), "CONTROL_UI_ORIGIN_NOT_ALLOWED");
}

#[test]
fn clients_of_document_002_find_what_they_look_for() {
    let mut fixture = Fixture::new(config());
    let sample = LoginAttempt { client: ("gateway-client", "ui"), scopes: vec!["operator.admin"], ..protocol(3) };
    let Outcome::In { documented: Some(result), hello, .. } = fixture.attempt(&sample) else { panic!() };
    assert_eq!(result["protocol"], 3);
    assert_eq!(hello["type"], "hello-ok", "whoever reads the other field finds a hello as well");
    for feature in ["ping", "spawn", "cron", "logs"] {
        assert!(result["features"].as_array().unwrap().iter().any(|name| name == feature), "{feature}");
    }
    let token = result["deviceToken"].as_str().unwrap().to_owned();
    // The token alone, as its reconnect shows.
    let alone = LoginAttempt { device: None, token: None, documented_token: Some(token.clone()), ..sample.clone() };
    let outcome = fixture.attempt(&alone);
    assert_eq!(scopes_of(&outcome), ["operator.admin"]);
    assert_eq!(outcome.caller().device_id.as_deref(), Some(identity(1).device_id()));
    let wrong = LoginAttempt { documented_token: Some("wrong".into()), ..alone.clone() };
    assert_eq!(fixture.attempt(&wrong).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    // The signature alone, of a device that is known; and after the token's end.
    let signature = LoginAttempt { token: None, ..sample.clone() };
    assert_eq!(fixture.attempt(&signature).device_token().as_ref(), Some(&token));
    assert_eq!(fixture.attempt(&LoginAttempt { device: Some(2), ..signature.clone() }).code(), "AUTH_TOKEN_MISSING");
    fixture.pass(Duration::from_secs(25 * 3600));
    assert_eq!(fixture.attempt(&alone).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    let both = LoginAttempt { documented_token: Some(token.clone()), ..signature.clone() };
    assert_ne!(fixture.attempt(&both).device_token(), Some(token));
    // But not after its tokens were withdrawn.
    let admin = fixture.admin();
    fixture.call(&admin, "device.token.revoke", json!({"deviceId": identity(1).device_id()})).0.unwrap();
    assert_eq!(fixture.attempt(&signature).code(), "AUTH_TOKEN_MISSING");
    // Nobody else gets a second form of the answer.
    for other in [protocol(3), protocol(4), LoginAttempt { client: ("gateway-client", "ui"), ..protocol(4) }] {
        let Outcome::In { documented, .. } = fixture.attempt(&other) else { panic!() };
        assert_eq!(documented, None);
    }
}

#[test]
fn the_key_of_a_page_is_no_login_without_its_credential() {
    let mut fixture = Fixture::new(config());
    let control_ui =
        LoginAttempt { client: ("openclaw-control-ui", "ui"), peer: page(OWN_PAGE), ..LoginAttempt::default() };
    let token = fixture.attempt(&control_ui).device_token();
    let sample = LoginAttempt { client: ("gateway-client", "ui"), token: None, ..protocol(3) };
    for peer in [local(), remote(5), page(OWN_PAGE), page("http://127.0.0.1:3999")] {
        let bare = LoginAttempt { peer, ..sample.clone() };
        assert_eq!(fixture.attempt(&bare).code(), "AUTH_TOKEN_MISSING", "{:?}", bare.peer);
    }
    fixture.pass(Duration::from_secs(25 * 3600));
    let expired = LoginAttempt { documented_token: token, ..sample.clone() };
    assert_eq!(fixture.attempt(&expired).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    // Nor is that of a program, where a page holds it.
    let program = LoginAttempt { device: Some(2), ..sample };
    fixture.attempt(&LoginAttempt { token: Some(SHARED.into()), ..program.clone() }).caller();
    fixture.attempt(&program).caller();
    let in_a_page = LoginAttempt { peer: page(OWN_PAGE), ..program };
    assert_eq!(fixture.attempt(&in_a_page).code(), "AUTH_TOKEN_MISSING");
}

#[test]
fn a_tailscale_login_lets_the_gateways_page_in_once_it_is_confirmed() {
    let attempt = |tailnet: TailnetLogin| LoginAttempt {
        client: ("openclaw-control-ui", "ui"),
        token: None,
        peer: Peer {
            tailnet: Some(tailnet),
            origin: Some("https://box.ts.net".to_owned()),
            host: Some("box.ts.net".to_owned()),
            forwarded: true,
            ..remote(5)
        },
        ..LoginAttempt::default()
    };
    let mut fixture = Fixture::new(config());
    let claimed = attempt(TailnetLogin::Claimed("a@example.com".to_owned()));
    assert_eq!(fixture.attempt(&claimed).code(), "AUTH_TOKEN_MISSING", "anybody can claim one");
    let confirmed = attempt(TailnetLogin::Confirmed("a@example.com".to_owned()));
    let (outcome, effects) = fixture.attempt_with_effects(&confirmed);
    assert!(outcome.caller().device_id.is_some(), "its device is approved");
    let login = |effect: &Effect| matches!(effect, Effect::Audit(entry) if entry.fields["login"] == "a@example.com");
    assert!(effects.iter().any(login), "the audit log has it");
}
