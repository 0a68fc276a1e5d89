use serde_json::json;

use super::*;
use crate::tests::fixture::{Fixture, LoginAttempt, SHARED, audited, config, identity, remote, told};

fn paired() -> (Fixture, std::sync::Arc<Caller>, String) {
    let mut fixture = Fixture::new(config());
    let admin = fixture.admin();
    let token = fixture.attempt(&LoginAttempt::default()).device_token().unwrap();
    (fixture, admin, token)
}

fn device_id() -> String {
    identity(1).device_id().to_owned()
}

#[test]
fn the_list_shows_requests_and_devices_and_no_token() {
    let (mut fixture, admin, token) = paired();
    let asking = LoginAttempt { device: Some(2), peer: remote(5), ..LoginAttempt::default() };
    fixture.attempt(&asking).refusal();
    let list = fixture.call(&admin, "device.pair.list", json!({})).0.unwrap();
    let pending = &list["pending"][0];
    assert_eq!(pending["deviceId"], identity(2).device_id());
    assert_eq!(
        (&pending["role"], &pending["isRepair"], &pending["silent"]),
        (&json!("operator"), &json!(false), &json!(false))
    );
    assert_eq!(pending["remoteIp"], "192.168.1.5");
    let device = &list["paired"][0];
    assert_eq!((&device["deviceId"], &device["displayName"]), (&json!(device_id()), &json!("probe")));
    assert_eq!(device["tokens"][0]["role"], "operator");
    assert!(!list.to_string().contains(&token) && !list.to_string().contains(SHARED));
}

#[test]
fn a_removed_device_is_closed_after_the_answer_and_its_token_is_worthless() {
    let (mut fixture, admin, token) = paired();
    let by_token = LoginAttempt { token: Some(token), ..LoginAttempt::default() };
    let connected = fixture.attempt(&by_token).caller();
    let (answer, effects) = fixture.call(&admin, "device.pair.remove", json!({"deviceId": device_id()}));
    assert_eq!(answer.unwrap(), json!({"deviceId": device_id()}));
    assert_eq!(audited(&effects), ["device.revoked"]);
    let closed: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Close { connection, code, reason } => Some((*connection, *code, reason.as_str())),
            _ => None,
        })
        .collect();
    assert!(closed.contains(&(connected.connection, 4001, "device removed")));
    assert!(closed.iter().all(|(connection, ..)| *connection != admin.connection));
    let explicit = LoginAttempt { token: None, device_token: by_token.token.clone(), ..by_token };
    assert_eq!(fixture.attempt(&explicit).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    let again = fixture.call(&admin, "device.pair.remove", json!({"deviceId": device_id()})).0;
    assert_eq!(again.unwrap_err().message, "unknown deviceId");
}

#[test]
fn a_device_may_remove_itself_and_hears_of_it() {
    let (mut fixture, _, _) = paired();
    let own = fixture.attempt(&LoginAttempt::default()).caller();
    let (answer, effects) = fixture.call(&own, "device.pair.remove", json!({"deviceId": device_id()}));
    assert!(answer.is_ok());
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Close { code: 4001, .. })));
}

#[test]
fn a_rejected_request_is_gone_and_can_be_asked_again() {
    let (mut fixture, admin, _) = paired();
    let asking = LoginAttempt { device: Some(2), peer: remote(5), ..LoginAttempt::default() };
    let request = fixture.attempt(&asking).refusal().error.details["requestId"].clone();
    let (answer, effects) = fixture.call(&admin, "device.pair.reject", json!({"requestId": request}));
    assert_eq!(answer.unwrap()["deviceId"], identity(2).device_id());
    assert_eq!(told(&effects), ["device.pair.resolved"]);
    let error = fixture.call(&admin, "device.pair.approve", json!({"requestId": request})).0.unwrap_err();
    assert_eq!(error.message, "unknown requestId");
    assert_ne!(fixture.attempt(&asking).refusal().error.details["requestId"], request);
}

#[test]
fn tokens_are_rotated_and_revoked() {
    let (mut fixture, admin, token) = paired();
    let by =
        |token: &str| LoginAttempt { token: None, device_token: Some(token.to_owned()), ..LoginAttempt::default() };
    let rotated =
        fixture.call(&admin, "device.token.rotate", json!({"deviceId": device_id(), "role": "operator"})).0.unwrap();
    let fresh = rotated["token"].as_str().unwrap();
    assert_eq!(fixture.attempt(&by(&token)).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    let connected = fixture.attempt(&by(fresh)).caller();
    let (answer, effects) = fixture.call(&admin, "device.token.revoke", json!({"deviceId": device_id()}));
    assert_eq!(answer.unwrap()["deviceId"], device_id());
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Close { connection, code: 4001, .. } if *connection == connected.connection
    )));
    assert_eq!(fixture.attempt(&by(fresh)).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    assert!(fixture.machine.devices.get(&device_id()).is_some(), "the device itself stays approved");
    for params in [json!({"deviceId": "nope"}), json!({"deviceId": device_id(), "role": "node"})] {
        let error = fixture.call(&admin, "device.token.rotate", params).0.unwrap_err();
        assert_eq!(error.message, "unknown deviceId/role");
    }
}

#[test]
fn who_manages_pairing_hands_out_no_more_than_he_holds() {
    let (mut fixture, _, _) = paired();
    let pairing = LoginAttempt {
        client: ("gateway-client", "backend"),
        device: None,
        scopes: vec!["operator.pairing"],
        ..LoginAttempt::default()
    };
    let pairing = fixture.attempt(&pairing).caller();
    let asking = LoginAttempt { device: Some(2), peer: remote(5), ..LoginAttempt::default() };
    let request = fixture.attempt(&asking).refusal().error.details["requestId"].clone();
    for (method, params) in [
        ("device.pair.approve", json!({"requestId": request})),
        ("device.token.rotate", json!({"deviceId": device_id()})),
    ] {
        let error = fixture.call(&pairing, method, params).0.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), ("FORBIDDEN", "missing scope: operator.admin"), "{method}");
    }
    let params = json!({"deviceId": device_id(), "scopes": ["operator.approvals.none"]});
    let admin = fixture.admin();
    assert!(fixture.call(&admin, "device.token.rotate", params).0.is_ok(), "admin covers what is an operator's");
}

#[test]
fn a_device_that_is_no_administrators_has_a_say_about_itself_alone() {
    let (mut fixture, _, _) = paired();
    let pairing = LoginAttempt { device: Some(2), scopes: vec!["operator.pairing"], ..LoginAttempt::default() };
    let pairing = fixture.attempt(&pairing).caller();
    for (method, params) in [
        ("device.pair.remove", json!({"deviceId": device_id()})),
        ("device.token.revoke", json!({"deviceId": device_id()})),
        ("device.token.rotate", json!({"deviceId": device_id(), "scopes": []})),
    ] {
        let (answer, effects) = fixture.call(&pairing, method, params);
        let error = answer.unwrap_err();
        assert!(error.code == "FORBIDDEN" && error.message.ends_with("denied"), "{method}: {}", error.message);
        assert_eq!(audited(&effects), Vec::<&str>::new());
    }
    assert!(fixture.machine.devices.get(&device_id()).is_some_and(|device| device.has_tokens()));
    let own = json!({"deviceId": identity(2).device_id()});
    assert!(fixture.call(&pairing, "device.token.rotate", own).0.is_ok());
}

#[test]
fn others_may_do_none_of_it() {
    let (mut fixture, _, _) = paired();
    let reader = LoginAttempt { scopes: vec!["operator.write"], ..LoginAttempt::default() };
    let reader = fixture.attempt(&reader).caller();
    for method in METHODS {
        let error = fixture.call(&reader, method.name, json!({})).0.unwrap_err();
        assert_eq!(error.message, "missing scope: operator.pairing", "{}", method.name);
    }
}

#[test]
fn unknown_parameters_are_refused() {
    let (mut fixture, admin, _) = paired();
    let error = fixture.call(&admin, "device.pair.list", json!({"foo": 1})).0.unwrap_err();
    assert_eq!(error.message, "invalid device.pair.list params: at root: unexpected property 'foo'");
    let error = fixture.call(&admin, "device.pair.approve", json!({})).0.unwrap_err();
    assert!(error.message.starts_with("invalid device.pair.approve params: "), "{}", error.message);
}
