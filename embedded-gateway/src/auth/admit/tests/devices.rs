//! Devices: their signatures, approvals and tokens.

use super::*;
use crate::auth::Peer;

#[test]
fn the_newest_protocol_within_the_range_is_chosen() {
    for (range, chosen) in [((3, 4), 4), ((1, 9), 4), ((3, 3), 3), ((2, 3), 3), ((4, 4), 4)] {
        let outcome = Fixture::new(config()).attempt(&LoginAttempt { protocols: range, ..LoginAttempt::default() });
        assert_eq!(outcome.caller().protocol, chosen, "{range:?}");
        assert_eq!(outcome.hello()["protocol"], chosen, "{range:?}");
        assert_eq!(outcome.hello()["type"], "hello-ok");
    }
}

#[test]
fn both_signatures_are_taken_within_two_minutes_and_in_either_alphabet() {
    for version in [SignatureVersion::V2, SignatureVersion::V3] {
        for offset in [-110_000, 0, 110_000] {
            let attempt = LoginAttempt { version, signed_at_offset_ms: offset, ..LoginAttempt::default() };
            assert!(Fixture::new(config()).attempt(&attempt).device_token().is_some(), "{version:?} {offset}");
        }
    }
    let plain_base64 = |params: &mut Value| {
        for field in ["publicKey", "signature"] {
            let text = params["device"][field].as_str().unwrap().replace('-', "+").replace('_', "/");
            params["device"][field] = format!("{text}=").into();
        }
    };
    for seed in 1..20 {
        let attempt = LoginAttempt { device: Some(seed), edit: plain_base64, ..LoginAttempt::default() };
        assert!(Fixture::new(config()).attempt(&attempt).device_token().is_some(), "{seed}");
    }
}

#[test]
fn a_device_is_needed_by_some_clients_and_scopes_are_kept_by_few_without_one() {
    for version in [3, 4] {
        // Local, with the shared token, no Origin, no device.
        for (client, kept) in [
            (("gateway-client", "backend"), true),
            (("cli", "cli"), true),
            (("gateway-client", "ui"), false),
            (("openclaw-macos", "ui"), false),
            (("test", "test"), false),
            (("node-host", "node"), false),
        ] {
            let attempt = LoginAttempt { client, device: None, ..protocol(version) };
            let outcome = Fixture::new(config()).attempt(&attempt);
            assert_eq!(!scopes_of(&outcome).is_empty(), kept, "{client:?} {version}");
            assert_eq!(outcome.device_token(), None, "{client:?} {version}");
        }
        // From elsewhere nobody keeps any.
        let attempt =
            LoginAttempt { client: ("gateway-client", "backend"), device: None, peer: remote(7), ..protocol(version) };
        assert_eq!(scopes_of(&Fixture::new(config()).attempt(&attempt)), Vec::<String>::new());
        let proxied = crate::auth::Peer { host: Some("gateway.example:443".into()), ..local() };
        let attempt = LoginAttempt { client: ("cli", "cli"), device: None, peer: proxied, ..protocol(version) };
        assert_eq!(
            scopes_of(&Fixture::new(config()).attempt(&attempt)),
            Vec::<String>::new(),
            "a proxy's client is no local one"
        );
    }
}

#[test]
fn a_proxy_that_names_the_gateway_by_its_loopback_address_makes_nobody_local() {
    let proxied = crate::auth::Peer { forwarded: true, ..local() };
    let attempt = LoginAttempt { client: ("cli", "cli"), device: None, peer: proxied.clone(), ..protocol(4) };
    assert_eq!(scopes_of(&Fixture::new(config()).attempt(&attempt)), Vec::<String>::new());
    let mut fixture = Fixture::new(config());
    let device = LoginAttempt { peer: proxied.clone(), ..protocol(4) };
    assert_eq!(fixture.attempt(&device).code(), "PAIRING_REQUIRED", "it waits for an approval");
    let wrong = LoginAttempt { token: Some("wrong".into()), ..device };
    for _ in 0..10 {
        fixture.attempt(&wrong);
    }
    assert_eq!(fixture.attempt(&wrong).code(), "AUTH_RATE_LIMITED", "and guesses as little as anybody from elsewhere");
    assert_ne!(fixture.attempt(&LoginAttempt { peer: local(), ..wrong }).code(), "AUTH_RATE_LIMITED");
}

#[test]
fn a_device_with_a_token_of_its_own_clears_no_guesses_at_the_shared_one() {
    let mut fixture = Fixture::new(config());
    let admin = fixture.admin();
    let from = LoginAttempt { peer: remote(9), scopes: vec!["operator.read"], ..protocol(4) };
    let request = fixture.attempt(&from).refusal().error.details["requestId"].clone();
    fixture.call(&admin, "device.pair.approve", json!({"requestId": request})).0.unwrap();
    let token = fixture.attempt(&from).device_token().unwrap();
    let own = LoginAttempt { token: None, device_token: Some(token), ..from.clone() };
    let guess = LoginAttempt { token: Some("guess".into()), device: Some(77), ..from };
    for _ in 0..9 {
        assert_eq!(fixture.attempt(&guess).code(), "AUTH_TOKEN_MISMATCH");
    }
    fixture.attempt(&own).caller();
    fixture.attempt(&guess);
    assert_eq!(fixture.attempt(&guess).code(), "AUTH_RATE_LIMITED");
}

#[test]
fn a_local_device_is_approved_without_asking_and_gets_the_same_token_each_time() {
    for version in [3, 4] {
        let mut fixture = Fixture::new(config());
        let attempt = protocol(version);
        let (first, effects) = fixture.attempt_with_effects(&attempt);
        assert_eq!(audited(&effects), ["device.registered", "auth.success"]);
        let token = first.device_token().expect("a token");
        assert_eq!(token.len(), 43);
        let again = fixture.attempt(&attempt);
        assert_eq!(again.device_token().as_ref(), Some(&token));
        // With the token alone, in each of its places.
        for by_token in [
            LoginAttempt { token: None, device_token: Some(token.clone()), ..attempt.clone() },
            LoginAttempt { token: Some(token.clone()), ..attempt.clone() },
            LoginAttempt { token: None, documented_token: Some(token.clone()), ..attempt.clone() },
            LoginAttempt { token: Some("wrong".into()), device_token: Some(token.clone()), ..attempt.clone() },
            LoginAttempt { token: Some(SHARED.into()), device_token: Some(token.clone()), ..attempt.clone() },
            LoginAttempt { token: Some(token.clone()), client: ("gateway-client", "backend"), ..attempt.clone() },
            LoginAttempt { token: Some(token.clone()), peer: remote(5), ..attempt.clone() },
        ] {
            let outcome = fixture.attempt(&by_token);
            assert_eq!(outcome.device_token().as_ref(), Some(&token));
            if version == 4 {
                let method = if by_token.token.as_deref() == Some(SHARED) { "token" } else { "device-token" };
                assert_eq!(outcome.hello()["auth"]["method"], method);
            }
        }
        let signed_otherwise = LoginAttempt {
            token: Some("wrong".into()),
            device_token: Some(token.clone()),
            signed_token: Some("x"),
            ..attempt.clone()
        };
        assert_eq!(fixture.attempt(&signed_otherwise).code(), "DEVICE_AUTH_SIGNATURE_INVALID");
        let other_device = LoginAttempt { token: None, device_token: Some(token), device: Some(2), ..attempt };
        assert_eq!(fixture.attempt(&other_device).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    }
}

#[test]
fn a_local_backend_with_a_device_is_let_in_without_being_paired() {
    for version in [3, 4] {
        let mut fixture = Fixture::new(config());
        let outcome = fixture.attempt(&LoginAttempt { client: ("gateway-client", "backend"), ..protocol(version) });
        assert_eq!(outcome.device_token(), None);
        assert_eq!(scopes_of(&outcome).len(), 3);
        assert_eq!(outcome.caller().device_id.as_deref(), Some(identity(1).device_id()));
        assert!(fixture.machine.devices.iter().next().is_none());
    }
}

#[test]
fn the_gateways_own_page_on_this_machine_is_approved_by_the_shared_credential() {
    let ui = |peer| LoginAttempt { client: ("openclaw-control-ui", "ui"), peer, ..LoginAttempt::default() };
    let mut fixture = Fixture::new(config());
    let outcome = fixture.attempt(&ui(page(OWN_PAGE)));
    assert_eq!(scopes_of(&outcome).len(), 3);
    assert!(outcome.device_token().is_some());
    let proxied = Peer { forwarded: true, ..page(OWN_PAGE) };
    let elsewhere = Peer { origin: Some("http://gateway:18789".into()), ..remote(5) };
    for peer in [page("http://localhost:5173"), proxied, elsewhere] {
        assert_eq!(Fixture::new(config()).attempt(&ui(peer.clone())).code(), "PAIRING_REQUIRED", "{peer:?}");
    }
    let mut strict = config();
    strict.device_auth.approve_loopback = false;
    assert_eq!(Fixture::new(strict).attempt(&ui(page(OWN_PAGE))).code(), "PAIRING_REQUIRED");
    // Where nothing has to be typed, opening the page must not be enough.
    let mut open = config();
    open.auth = Auth::None;
    let untyped = LoginAttempt { token: None, ..ui(page(OWN_PAGE)) };
    assert_eq!(Fixture::new(open).attempt(&untyped).code(), "PAIRING_REQUIRED");
}

#[test]
fn devices_from_elsewhere_and_from_pages_wait_for_an_approval() {
    for version in [3, 4] {
        for peer in [remote(5), page("http://localhost:5173"), page(OWN_PAGE)] {
            let mut fixture = Fixture::new(config());
            let attempt = LoginAttempt { peer: peer.clone(), ..protocol(version) };
            let admin = fixture.admin();
            let (outcome, effects) = fixture.attempt_with_effects(&attempt);
            let refusal = outcome.refusal();
            assert_eq!(refusal.error.code, "NOT_PAIRED");
            let request = refusal.error.details["requestId"].as_str().unwrap().to_owned();
            let hint = format!("On the gateway's machine run: gatewarden gateway devices approve {request}");
            if version == 4 {
                assert_eq!(refusal.error.message, "pairing required: device is not approved yet");
                assert_eq!(
                    refusal.error.details,
                    json!({
                        "code": "PAIRING_REQUIRED",
                        "reason": "not-paired",
                        "requestId": request,
                        "remediationHint": hint,
                        "gatewayVersion": crate::COMPATIBLE_VERSION,
                        "deviceId": identity(1).device_id(),
                        "requestedRole": "operator",
                        "requestedScopes": ["operator.admin", "operator.read", "operator.write"],
                    })
                );
                let reason = format!("pairing required: device is not approved yet (requestId: {request})");
                assert_eq!(refusal.close_reason, reason);
            } else {
                assert_eq!(refusal.error.message, "pairing required");
                let details = json!({"code": "PAIRING_REQUIRED", "requestId": request, "reason": "not-paired",
                    "remediationHint": hint, "gatewayVersion": crate::COMPATIBLE_VERSION});
                assert_eq!(refusal.error.details, details);
                assert_eq!(refusal.close_reason, "pairing required");
            }
            assert_eq!(refusal.close_code, 1008);
            assert_eq!(told(&effects), ["device.pair.requested"]);
            // Trying again changes nothing and tells nobody.
            let (outcome, effects) = fixture.attempt_with_effects(&attempt);
            assert_eq!(outcome.refusal().error.details["requestId"], request.as_str());
            assert!(told(&effects).is_empty());
            let (answer, effects) = fixture.call(&admin, "device.pair.approve", json!({"requestId": request}));
            assert_eq!(answer.unwrap()["device"]["deviceId"], identity(1).device_id());
            assert_eq!(told(&effects), ["device.pair.resolved"]);
            assert!(fixture.attempt(&attempt).device_token().is_some());
        }
    }
}

#[test]
fn nothing_is_approved_without_asking_where_the_configuration_says_so() {
    let mut config = config();
    config.device_auth.approve_loopback = false;
    let mut fixture = Fixture::new(config);
    assert_eq!(fixture.attempt(&LoginAttempt::default()).code(), "PAIRING_REQUIRED");
    let backend = LoginAttempt { client: ("gateway-client", "backend"), ..LoginAttempt::default() };
    assert_eq!(fixture.attempt(&backend).code(), "PAIRING_REQUIRED");
    assert_eq!(scopes_of(&fixture.attempt(&LoginAttempt { device: None, ..backend })), Vec::<String>::new());
}

#[test]
fn who_shows_no_credential_cannot_even_ask_for_an_approval() {
    let mut fixture = Fixture::new(config());
    for token in [None, Some("wrong".to_owned())] {
        fixture.attempt(&LoginAttempt { peer: remote(5), token, ..LoginAttempt::default() }).refusal();
    }
    assert_eq!(fixture.machine.devices.pending(fixture.now.wall_ms).count(), 0);
}

#[test]
fn another_platform_and_more_scopes_need_another_approval() {
    let mut fixture = Fixture::new(config());
    let admin = fixture.admin();
    let read = LoginAttempt { peer: remote(5), scopes: vec!["operator.read"], ..LoginAttempt::default() };
    let request = fixture.attempt(&read).refusal().error.details["requestId"].clone();
    fixture.call(&admin, "device.pair.approve", json!({"requestId": request})).0.unwrap();
    let token = fixture.attempt(&read).device_token();

    let darwin = fixture.attempt(&LoginAttempt { platform: "darwin", ..read.clone() });
    assert_eq!(darwin.refusal().error.details["reason"], "metadata-upgrade");
    assert_eq!(darwin.refusal().error.details["approvedScopes"], json!(["operator.read"]));
    // A device token doesn't help: not even locally may it take more than was approved.
    for peer in [remote(5), local()] {
        let more = LoginAttempt { token: token.clone(), scopes: vec!["operator.write"], peer, ..read.clone() };
        assert_eq!(fixture.attempt(&more).refusal().error.details["reason"], "scope-upgrade");
    }
    // Locally and with the shared token, it may.
    let more = LoginAttempt { scopes: vec!["operator.write"], peer: local(), ..read.clone() };
    let (outcome, effects) = fixture.attempt_with_effects(&more);
    assert_eq!(scopes_of(&outcome), ["operator.write"]);
    assert_eq!(audited(&effects), ["device.widened", "auth.success"]);
    // But not as another platform.
    let darwin = fixture.attempt(&LoginAttempt { platform: "darwin", peer: local(), ..read });
    assert_eq!(darwin.refusal().error.details["reason"], "metadata-upgrade");
}

#[test]
fn a_request_whose_content_changed_has_another_id() {
    let mut fixture = Fixture::new(config());
    let admin = fixture.admin();
    let read = LoginAttempt { peer: remote(5), scopes: vec!["operator.read"], ..LoginAttempt::default() };
    let seen = fixture.attempt(&read).refusal().error.details["requestId"].clone();
    let more = LoginAttempt { scopes: vec!["operator.admin"], ..read };
    let changed = fixture.attempt(&more).refusal().error.details["requestId"].clone();
    assert_ne!(seen, changed);
    let error = fixture.call(&admin, "device.pair.approve", json!({"requestId": seen})).0.unwrap_err();
    assert_eq!(error.message, "unknown requestId");
}

#[test]
fn a_token_expires_and_is_replaced_in_time_where_its_device_comes_by() {
    let mut fixture = Fixture::new(config());
    let attempt = LoginAttempt::default();
    let token = fixture.attempt(&attempt).device_token().unwrap();
    let by_token =
        |token: &str| LoginAttempt { token: None, device_token: Some(token.to_owned()), ..LoginAttempt::default() };
    fixture.pass(Duration::from_secs(11 * 3600));
    assert_eq!(fixture.attempt(&by_token(&token)).device_token().as_ref(), Some(&token));
    fixture.pass(Duration::from_secs(2 * 3600));
    let second = fixture.attempt(&by_token(&token)).device_token().unwrap();
    assert_ne!(second, token, "in the second half of its life it is replaced");
    fixture.pass(Duration::from_secs(11 * 3600));
    assert_eq!(fixture.attempt(&by_token(&token)).code(), "AUTH_DEVICE_TOKEN_MISMATCH", "24 h are over");
    assert!(fixture.attempt(&by_token(&second)).device_token().is_some());
}

#[test]
fn a_narrow_token_gives_no_more_than_it_holds_and_is_not_exchanged_for_a_wider_one() {
    let mut fixture = Fixture::new(config());
    let admin = fixture.admin();
    fixture.attempt(&LoginAttempt::default()).device_token().unwrap();
    let id = identity(1).device_id().to_owned();
    let params = json!({"deviceId": id, "role": "operator", "scopes": ["operator.read"]});
    let narrow = fixture.call(&admin, "device.token.rotate", params).0.unwrap()["token"].as_str().unwrap().to_owned();
    let outcome =
        fixture.attempt(&LoginAttempt { token: Some(narrow.clone()), peer: remote(4), ..LoginAttempt::default() });
    assert_eq!(scopes_of(&outcome), ["operator.read"]);
    assert_eq!(outcome.device_token(), Some(narrow.clone()));
    fixture.pass(Duration::from_secs(13 * 3600));
    let outcome = fixture.attempt(&LoginAttempt { token: Some(narrow.clone()), ..LoginAttempt::default() });
    let renewed = outcome.device_token().unwrap();
    assert_ne!(renewed, narrow);
    let outcome = fixture.attempt(&LoginAttempt { token: Some(renewed), ..LoginAttempt::default() });
    assert_eq!(scopes_of(&outcome), ["operator.read"]);
}

#[test]
fn a_user_has_so_many_devices_and_an_idle_one_gives_way() {
    let mut config = config();
    config.device_auth.max_devices_per_user = 2;
    let mut fixture = Fixture::new(config);
    let device = |seed| LoginAttempt { device: Some(seed), ..LoginAttempt::default() };
    let first = fixture.attempt(&device(1)).caller();
    fixture.attempt(&device(2)).caller();
    fixture.pass(Duration::from_secs(61));
    let outcome = fixture.attempt(&device(3));
    assert_eq!(outcome.code(), "DEVICE_LIMIT_REACHED", "both are connected");
    assert_eq!(outcome.refusal().close_code, 1008);
    fixture.attempt(&LoginAttempt { name: Some("another name".into()), ..device(3) }).caller();
    fixture.leave(&first);
    let (outcome, effects) = fixture.attempt_with_effects(&device(4));
    outcome.caller();
    assert_eq!(audited(&effects), ["device.revoked", "device.registered", "auth.success"]);
    assert_eq!(fixture.machine.devices.get(identity(1).device_id()), None);
}
