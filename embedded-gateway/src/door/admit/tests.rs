//! Every row of what real releases answer (protocol 3 as 2026.3.24, protocol 4 as 2026.9.6), and what is ours alone.

use std::time::Duration;

use gatewarden_protocol::Secret;
use gatewarden_protocol::signing::SignatureVersion;
use serde_json::{Value, json};

use crate::config::Auth;
use crate::door::bench::{Bench, Knock, Outcome, SHARED, audited, config, identity, local, page, remote, told};
use crate::effect::Effect;

const OWN_PAGE: &str = "http://127.0.0.1:18789";

fn scopes_of(outcome: &Outcome) -> Vec<String> {
    outcome.caller().scopes.clone()
}

fn protocol(version: u32) -> Knock {
    Knock { protocols: (version, version), ..Knock::default() }
}

/// Case, knock, `error.code`, `error.message`, `error.details`, close code.
type Row = (&'static str, Knock, &'static str, &'static str, Value, u16);

fn unauthorized(code: &str, reason: &str, retry: bool, next: &str) -> Value {
    json!({"code": code, "authReason": reason, "canRetryWithDeviceToken": retry, "recommendedNextStep": next})
}

fn check(rows: Vec<Row>) {
    for (case, knock, code, message, details, close) in rows {
        let outcome = Bench::new(config()).knock(&knock);
        let refusal = outcome.refusal();
        assert_eq!(refusal.error.code, code, "{case}");
        assert_eq!(refusal.error.message, message, "{case}");
        assert_eq!(refusal.error.details, details, "{case}");
        assert_eq!((refusal.close_code, refusal.close_reason.as_str()), (close, message), "{case}");
        assert_eq!(refusal.request.as_deref(), Some("c1"), "{case}");
        assert_eq!(refusal.error.retry_after_ms, None, "{case}");
    }
}

#[test]
fn refusals_are_worded_as_real_releases_of_both_protocols_word_them() {
    let bad = || Some("wrong".to_owned());
    let deviceless = |knock: Knock| Knock { device: None, client: ("gateway-client", "backend"), ..knock };
    let mut rows: Vec<Row> = Vec::new();
    for version in [3, 4] {
        let base = protocol(version);
        let hint = if version == 4 {
            "use this gateway's gateway.auth.token or pair the device"
        } else {
            "set gateway.remote.token to match gateway.auth.token"
        };
        let of_cli = |what: &str| -> &'static str { format!("unauthorized: gateway token {what} ({hint})").leak() };
        rows.extend([
            (
                "wrong token, no device",
                deviceless(Knock { token: bad(), ..base.clone() }),
                "INVALID_REQUEST",
                "unauthorized: gateway token mismatch (provide gateway auth token)",
                unauthorized("AUTH_TOKEN_MISMATCH", "token_mismatch", false, "update_auth_credentials"),
                1008,
            ),
            (
                "wrong token and a device",
                Knock { token: bad(), ..base.clone() },
                "INVALID_REQUEST",
                of_cli("mismatch"),
                unauthorized("AUTH_TOKEN_MISMATCH", "token_mismatch", true, "retry_with_device_token"),
                1008,
            ),
            (
                "no token, a device",
                Knock { token: None, ..base.clone() },
                "INVALID_REQUEST",
                of_cli("missing"),
                unauthorized("AUTH_TOKEN_MISSING", "token_missing", false, "update_auth_configuration"),
                1008,
            ),
            (
                "no token, a device, not the CLI",
                Knock { token: None, client: ("openclaw-macos", "ui"), ..base.clone() },
                "INVALID_REQUEST",
                "unauthorized: gateway token missing (provide gateway auth token)",
                unauthorized("AUTH_TOKEN_MISSING", "token_missing", false, "update_auth_configuration"),
                1008,
            ),
            (
                "no token, no device",
                Knock { token: None, device: None, ..base.clone() },
                "NOT_PAIRED",
                "device identity required",
                json!({"code": "DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "an empty token, no device",
                Knock { token: Some(String::new()), device: None, ..base.clone() },
                "NOT_PAIRED",
                "device identity required",
                json!({"code": "DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "a device token in auth, no device",
                Knock { token: None, device_token: bad(), device: None, ..base.clone() },
                "NOT_PAIRED",
                "device identity required",
                json!({"code": "DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "a signature over another token",
                Knock { signed_token: Some("another"), ..base.clone() },
                "INVALID_REQUEST",
                "device signature invalid",
                json!({"code": "DEVICE_AUTH_SIGNATURE_INVALID", "reason": "device-signature"}),
                1008,
            ),
            (
                "a signature that is none",
                Knock { edit: |params| params["device"]["signature"] = "AAAA".into(), ..base.clone() },
                "INVALID_REQUEST",
                "device signature invalid",
                json!({"code": "DEVICE_AUTH_SIGNATURE_INVALID", "reason": "device-signature"}),
                1008,
            ),
            (
                "scopes changed after the signature",
                Knock { edit: |params| params["scopes"] = json!(["operator.admin"]), ..base.clone() },
                "INVALID_REQUEST",
                "device signature invalid",
                json!({"code": "DEVICE_AUTH_SIGNATURE_INVALID", "reason": "device-signature"}),
                1008,
            ),
            (
                "another device's id",
                Knock {
                    edit: |params| params["device"]["id"] = identity(99).device_id().into(),
                    ..base.clone()
                },
                "INVALID_REQUEST",
                "device identity mismatch",
                json!({"code": "DEVICE_AUTH_DEVICE_ID_MISMATCH", "reason": "device-id-mismatch"}),
                1008,
            ),
            (
                "document 002's sample id, which is no hash",
                Knock {
                    edit: |params| params["device"]["id"] = "device-550e8400-e29b-41d4".into(),
                    ..base.clone()
                },
                "INVALID_REQUEST",
                "device identity mismatch",
                json!({"code": "DEVICE_AUTH_DEVICE_ID_MISMATCH", "reason": "device-id-mismatch"}),
                1008,
            ),
            (
                "a public key that is none",
                Knock { edit: |params| params["device"]["publicKey"] = "AAAA".into(), ..base.clone() },
                "INVALID_REQUEST",
                "device identity mismatch",
                json!({"code": "DEVICE_AUTH_DEVICE_ID_MISMATCH", "reason": "device-id-mismatch"}),
                1008,
            ),
            (
                "signed too long ago",
                Knock { signed_at_offset_ms: -130_000, ..base.clone() },
                "INVALID_REQUEST",
                "device signature expired",
                json!({"code": "DEVICE_AUTH_SIGNATURE_EXPIRED", "reason": "device-signature-stale"}),
                1008,
            ),
            (
                "signed in the future",
                Knock { signed_at_offset_ms: 130_000, ..base.clone() },
                "INVALID_REQUEST",
                "device signature expired",
                json!({"code": "DEVICE_AUTH_SIGNATURE_EXPIRED", "reason": "device-signature-stale"}),
                1008,
            ),
            (
                "the nonce of another connection",
                Knock { nonce: Some("nonce-77"), ..base.clone() },
                "INVALID_REQUEST",
                "device nonce mismatch",
                json!({"code": "DEVICE_AUTH_NONCE_MISMATCH", "reason": "device-nonce-mismatch"}),
                1008,
            ),
            (
                "a device token that was never issued",
                Knock { token: None, device_token: bad(), ..base.clone() },
                "INVALID_REQUEST",
                "unauthorized: device token mismatch (rotate/reissue device token)",
                unauthorized("AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch", false, "update_auth_credentials"),
                1008,
            ),
            (
                "a page that is not listed",
                Knock { peer: page("https://evil.example"), ..base.clone() },
                "INVALID_REQUEST",
                "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
                json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": "origin not allowed"}),
                1008,
            ),
            (
                "a control UI without an origin",
                Knock { client: ("webchat-ui", "webchat"), ..base.clone() },
                "INVALID_REQUEST",
                "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
                json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": "origin missing or invalid"}),
                1008,
            ),
            (
                "the mode webchat without an origin",
                Knock { client: ("cli", "webchat"), ..base.clone() },
                "INVALID_REQUEST",
                "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
                json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": "origin missing or invalid"}),
                1008,
            ),
            (
                "a control UI without a device",
                Knock { client: ("openclaw-control-ui", "ui"), device: None, peer: page(OWN_PAGE), ..base.clone() },
                "INVALID_REQUEST",
                "control ui requires device identity (use HTTPS or localhost secure context)",
                json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "a role that is none",
                Knock { edit: |params| params["role"] = "king".into(), ..base.clone() },
                "INVALID_REQUEST",
                "invalid role",
                Value::Null,
                1008,
            ),
            (
                "a node",
                Knock { edit: |params| params["role"] = "node".into(), ..base.clone() },
                "INVALID_REQUEST",
                "unauthorized role: node",
                Value::Null,
                1008,
            ),
            (
                "no version of the client",
                Knock {
                    edit: |params| {
                        params["client"].as_object_mut().unwrap().remove("version");
                    },
                    ..base.clone()
                },
                "INVALID_REQUEST",
                "invalid connect params: at /client: must have required property 'version'",
                Value::Null,
                1008,
            ),
            (
                "no nonce",
                Knock {
                    edit: |params| {
                        params["device"].as_object_mut().unwrap().remove("nonce");
                    },
                    ..base.clone()
                },
                "INVALID_REQUEST",
                "invalid connect params: at /device: must have required property 'nonce'",
                Value::Null,
                1008,
            ),
            (
                "an unknown parameter",
                Knock { edit: |params| params["foo"] = 1.into(), ..base.clone() },
                "INVALID_REQUEST",
                "invalid connect params: at root: unexpected property 'foo'",
                Value::Null,
                1008,
            ),
            (
                "a client id of one's own",
                Knock { client: ("my-supervisor", "backend"), ..base.clone() },
                "INVALID_REQUEST",
                if version == 4 {
                    "invalid connect params: at /client/id: must be equal to one of the allowed values"
                } else {
                    "invalid connect params: at /client/id: must be equal to constant; at /client/id: must match a schema in anyOf"
                },
                Value::Null,
                1008,
            ),
        ]);
    }
    rows.extend([
        (
            "openclaw-tui without a device",
            Knock { client: ("openclaw-tui", "cli"), device: None, ..protocol(4) },
            "INVALID_REQUEST",
            "control ui requires device identity (use HTTPS or localhost secure context)",
            json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}),
            1008,
        ),
        (
            "the token as a password, which only protocol 4 takes",
            Knock { token: None, password: Some(SHARED.to_owned()), ..protocol(3) },
            "INVALID_REQUEST",
            "unauthorized: gateway token missing (set gateway.remote.token to match gateway.auth.token)",
            unauthorized("AUTH_TOKEN_MISSING", "token_missing", false, "update_auth_configuration"),
            1008,
        ),
        (
            "protocols of the future",
            Knock { protocols: (9, 9), ..Knock::default() },
            "INVALID_REQUEST",
            "protocol mismatch",
            json!({
                "code": "PROTOCOL_MISMATCH",
                "clientMinProtocol": 9,
                "clientMaxProtocol": 9,
                "expectedProtocol": 4,
                "minimumProbeProtocol": 3,
            }),
            1002,
        ),
        (
            "protocols of the past",
            Knock { protocols: (1, 2), ..Knock::default() },
            "INVALID_REQUEST",
            "protocol mismatch",
            json!({"expectedProtocol": 3}),
            1002,
        ),
    ]);
    check(rows);
}

#[test]
fn the_newest_protocol_within_the_range_is_chosen() {
    for (range, chosen) in [((3, 4), 4), ((1, 9), 4), ((3, 3), 3), ((2, 3), 3), ((4, 4), 4)] {
        let outcome = Bench::new(config()).knock(&Knock { protocols: range, ..Knock::default() });
        assert_eq!(outcome.caller().protocol, chosen, "{range:?}");
        assert_eq!(outcome.hello()["protocol"], chosen, "{range:?}");
        assert_eq!(outcome.hello()["type"], "hello-ok");
    }
}

#[test]
fn both_signatures_are_taken_within_two_minutes_and_in_either_alphabet() {
    for version in [SignatureVersion::V2, SignatureVersion::V3] {
        for offset in [-110_000, 0, 110_000] {
            let knock = Knock { version, signed_at_offset_ms: offset, ..Knock::default() };
            assert!(Bench::new(config()).knock(&knock).device_token().is_some(), "{version:?} {offset}");
        }
    }
    let plain_base64 = |params: &mut Value| {
        for field in ["publicKey", "signature"] {
            let text = params["device"][field].as_str().unwrap().replace('-', "+").replace('_', "/");
            params["device"][field] = format!("{text}=").into();
        }
    };
    for seed in 1..20 {
        let knock = Knock { device: Some(seed), edit: plain_base64, ..Knock::default() };
        assert!(Bench::new(config()).knock(&knock).device_token().is_some(), "{seed}");
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
            let knock = Knock { client, device: None, ..protocol(version) };
            let outcome = Bench::new(config()).knock(&knock);
            assert_eq!(!scopes_of(&outcome).is_empty(), kept, "{client:?} {version}");
            assert_eq!(outcome.device_token(), None, "{client:?} {version}");
        }
        // From elsewhere nobody keeps any.
        let knock = Knock { client: ("gateway-client", "backend"), device: None, peer: remote(7), ..protocol(version) };
        assert_eq!(scopes_of(&Bench::new(config()).knock(&knock)), Vec::<String>::new());
        let proxied = crate::door::Peer { host: Some("gateway.example:443".into()), ..local() };
        let knock = Knock { client: ("cli", "cli"), device: None, peer: proxied, ..protocol(version) };
        assert_eq!(
            scopes_of(&Bench::new(config()).knock(&knock)),
            Vec::<String>::new(),
            "a proxy's client is no local one"
        );
    }
}

#[test]
fn a_proxy_that_names_the_gateway_by_its_loopback_address_makes_nobody_local() {
    let proxied = crate::door::Peer { forwarded: true, ..local() };
    let knock = Knock { client: ("cli", "cli"), device: None, peer: proxied.clone(), ..protocol(4) };
    assert_eq!(scopes_of(&Bench::new(config()).knock(&knock)), Vec::<String>::new());
    let mut bench = Bench::new(config());
    let device = Knock { peer: proxied.clone(), ..protocol(4) };
    assert_eq!(bench.knock(&device).code(), "PAIRING_REQUIRED", "it waits for an approval");
    let wrong = Knock { token: Some("wrong".into()), ..device };
    for _ in 0..10 {
        bench.knock(&wrong);
    }
    assert_eq!(bench.knock(&wrong).code(), "AUTH_RATE_LIMITED", "and guesses as little as anybody from elsewhere");
    assert_ne!(bench.knock(&Knock { peer: local(), ..wrong }).code(), "AUTH_RATE_LIMITED");
}

#[test]
fn a_device_with_a_token_of_its_own_clears_no_guesses_at_the_shared_one() {
    let mut bench = Bench::new(config());
    let admin = bench.admin();
    let from = Knock { peer: remote(9), scopes: vec!["operator.read"], ..protocol(4) };
    let request = bench.knock(&from).refusal().error.details["requestId"].clone();
    bench.call(&admin, "device.pair.approve", json!({"requestId": request})).0.unwrap();
    let token = bench.knock(&from).device_token().unwrap();
    let own = Knock { token: None, device_token: Some(token), ..from.clone() };
    let guess = Knock { token: Some("guess".into()), device: Some(77), ..from };
    for _ in 0..9 {
        assert_eq!(bench.knock(&guess).code(), "AUTH_TOKEN_MISMATCH");
    }
    bench.knock(&own).caller();
    bench.knock(&guess);
    assert_eq!(bench.knock(&guess).code(), "AUTH_RATE_LIMITED");
}

#[test]
fn a_local_device_is_approved_without_asking_and_gets_the_same_token_each_time() {
    for version in [3, 4] {
        let mut bench = Bench::new(config());
        let knock = protocol(version);
        let (first, effects) = bench.knock_and_tell(&knock);
        assert_eq!(audited(&effects), ["device.registered", "auth.success"]);
        let token = first.device_token().expect("a token");
        assert_eq!(token.len(), 43);
        let again = bench.knock(&knock);
        assert_eq!(again.device_token().as_ref(), Some(&token));
        // With the token alone, in each of its places.
        for by_token in [
            Knock { token: None, device_token: Some(token.clone()), ..knock.clone() },
            Knock { token: Some(token.clone()), ..knock.clone() },
            Knock { token: None, documented_token: Some(token.clone()), ..knock.clone() },
            Knock { token: Some("wrong".into()), device_token: Some(token.clone()), ..knock.clone() },
            Knock { token: Some(SHARED.into()), device_token: Some(token.clone()), ..knock.clone() },
            Knock { token: Some(token.clone()), client: ("gateway-client", "backend"), ..knock.clone() },
            Knock { token: Some(token.clone()), peer: remote(5), ..knock.clone() },
        ] {
            let outcome = bench.knock(&by_token);
            assert_eq!(outcome.device_token().as_ref(), Some(&token));
            if version == 4 {
                let method = if by_token.token.as_deref() == Some(SHARED) { "token" } else { "device-token" };
                assert_eq!(outcome.hello()["auth"]["method"], method);
            }
        }
        let signed_otherwise = Knock {
            token: Some("wrong".into()),
            device_token: Some(token.clone()),
            signed_token: Some("x"),
            ..knock.clone()
        };
        assert_eq!(bench.knock(&signed_otherwise).code(), "DEVICE_AUTH_SIGNATURE_INVALID");
        let other_device = Knock { token: None, device_token: Some(token), device: Some(2), ..knock };
        assert_eq!(bench.knock(&other_device).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    }
}

#[test]
fn a_local_backend_with_a_device_is_let_in_without_being_paired() {
    for version in [3, 4] {
        let mut bench = Bench::new(config());
        let outcome = bench.knock(&Knock { client: ("gateway-client", "backend"), ..protocol(version) });
        assert_eq!(outcome.device_token(), None);
        assert_eq!(scopes_of(&outcome).len(), 3);
        assert_eq!(outcome.caller().device_id.as_deref(), Some(identity(1).device_id()));
        assert!(bench.machine.devices.is_empty());
    }
}

#[test]
fn devices_from_elsewhere_and_from_pages_wait_for_an_approval() {
    for version in [3, 4] {
        for peer in [remote(5), page("http://localhost:5173"), page(OWN_PAGE)] {
            let mut bench = Bench::new(config());
            let knock = Knock { peer: peer.clone(), ..protocol(version) };
            let admin = bench.admin();
            let (outcome, effects) = bench.knock_and_tell(&knock);
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
            let (outcome, effects) = bench.knock_and_tell(&knock);
            assert_eq!(outcome.refusal().error.details["requestId"], request.as_str());
            assert!(told(&effects).is_empty());
            let (answer, effects) = bench.call(&admin, "device.pair.approve", json!({"requestId": request}));
            assert_eq!(answer.unwrap()["device"]["deviceId"], identity(1).device_id());
            assert_eq!(told(&effects), ["device.pair.resolved"]);
            assert!(bench.knock(&knock).device_token().is_some());
        }
    }
}

#[test]
fn nothing_is_approved_without_asking_where_the_configuration_says_so() {
    let mut config = config();
    config.device_auth.approve_loopback = false;
    let mut bench = Bench::new(config);
    assert_eq!(bench.knock(&Knock::default()).code(), "PAIRING_REQUIRED");
    let backend = Knock { client: ("gateway-client", "backend"), ..Knock::default() };
    assert_eq!(bench.knock(&backend).code(), "PAIRING_REQUIRED");
    assert_eq!(scopes_of(&bench.knock(&Knock { device: None, ..backend })), Vec::<String>::new());
}

#[test]
fn who_shows_no_credential_cannot_even_ask_for_an_approval() {
    let mut bench = Bench::new(config());
    for token in [None, Some("wrong".to_owned())] {
        bench.knock(&Knock { peer: remote(5), token, ..Knock::default() }).refusal();
    }
    assert_eq!(bench.machine.devices.pending(bench.now.wall_ms).count(), 0);
}

#[test]
fn another_platform_and_more_scopes_need_another_approval() {
    let mut bench = Bench::new(config());
    let admin = bench.admin();
    let read = Knock { peer: remote(5), scopes: vec!["operator.read"], ..Knock::default() };
    let request = bench.knock(&read).refusal().error.details["requestId"].clone();
    bench.call(&admin, "device.pair.approve", json!({"requestId": request})).0.unwrap();
    let token = bench.knock(&read).device_token();

    let darwin = bench.knock(&Knock { platform: "darwin", ..read.clone() });
    assert_eq!(darwin.refusal().error.details["reason"], "metadata-upgrade");
    assert_eq!(darwin.refusal().error.details["approvedScopes"], json!(["operator.read"]));
    // A device token doesn't help: not even locally may it take more than was approved.
    for peer in [remote(5), local()] {
        let more = Knock { token: token.clone(), scopes: vec!["operator.write"], peer, ..read.clone() };
        assert_eq!(bench.knock(&more).refusal().error.details["reason"], "scope-upgrade");
    }
    // Locally and with the shared token, it may.
    let more = Knock { scopes: vec!["operator.write"], peer: local(), ..read.clone() };
    let (outcome, effects) = bench.knock_and_tell(&more);
    assert_eq!(scopes_of(&outcome), ["operator.write"]);
    assert_eq!(audited(&effects), ["device.widened", "auth.success"]);
    // But not as another platform.
    let darwin = bench.knock(&Knock { platform: "darwin", peer: local(), ..read });
    assert_eq!(darwin.refusal().error.details["reason"], "metadata-upgrade");
}

#[test]
fn a_request_whose_content_changed_has_another_id() {
    let mut bench = Bench::new(config());
    let admin = bench.admin();
    let read = Knock { peer: remote(5), scopes: vec!["operator.read"], ..Knock::default() };
    let seen = bench.knock(&read).refusal().error.details["requestId"].clone();
    let more = Knock { scopes: vec!["operator.admin"], ..read };
    let changed = bench.knock(&more).refusal().error.details["requestId"].clone();
    assert_ne!(seen, changed);
    let error = bench.call(&admin, "device.pair.approve", json!({"requestId": seen})).0.unwrap_err();
    assert_eq!(error.message, "unknown requestId");
}

#[test]
fn a_token_expires_and_is_replaced_in_time_where_its_device_comes_by() {
    let mut bench = Bench::new(config());
    let knock = Knock::default();
    let token = bench.knock(&knock).device_token().unwrap();
    let by_token = |token: &str| Knock { token: None, device_token: Some(token.to_owned()), ..Knock::default() };
    bench.pass(Duration::from_secs(11 * 3600));
    assert_eq!(bench.knock(&by_token(&token)).device_token().as_ref(), Some(&token));
    bench.pass(Duration::from_secs(2 * 3600));
    let second = bench.knock(&by_token(&token)).device_token().unwrap();
    assert_ne!(second, token, "in the second half of its life it is replaced");
    bench.pass(Duration::from_secs(11 * 3600));
    assert_eq!(bench.knock(&by_token(&token)).code(), "AUTH_DEVICE_TOKEN_MISMATCH", "24 h are over");
    assert!(bench.knock(&by_token(&second)).device_token().is_some());
}

#[test]
fn a_narrow_token_gives_no_more_than_it_holds_and_is_not_exchanged_for_a_wider_one() {
    let mut bench = Bench::new(config());
    let admin = bench.admin();
    bench.knock(&Knock::default()).device_token().unwrap();
    let id = identity(1).device_id().to_owned();
    let params = json!({"deviceId": id, "role": "operator", "scopes": ["operator.read"]});
    let narrow = bench.call(&admin, "device.token.rotate", params).0.unwrap()["token"].as_str().unwrap().to_owned();
    let outcome = bench.knock(&Knock { token: Some(narrow.clone()), peer: remote(4), ..Knock::default() });
    assert_eq!(scopes_of(&outcome), ["operator.read"]);
    assert_eq!(outcome.device_token(), Some(narrow.clone()));
    bench.pass(Duration::from_secs(13 * 3600));
    let outcome = bench.knock(&Knock { token: Some(narrow.clone()), ..Knock::default() });
    let renewed = outcome.device_token().unwrap();
    assert_ne!(renewed, narrow);
    let outcome = bench.knock(&Knock { token: Some(renewed), ..Knock::default() });
    assert_eq!(scopes_of(&outcome), ["operator.read"]);
}

#[test]
fn signatures_can_be_demanded_of_everybody() {
    let mut config = config();
    config.device_auth.require_signature = true;
    let mut bench = Bench::new(config);
    let deviceless = Knock { client: ("gateway-client", "backend"), device: None, ..Knock::default() };
    assert_eq!(bench.knock(&deviceless).code(), "DEVICE_IDENTITY_REQUIRED");
    let token = bench.knock(&Knock::default()).device_token();
    let alone = Knock { device: None, token: None, documented_token: token, ..Knock::default() };
    assert_eq!(bench.knock(&alone).code(), "DEVICE_IDENTITY_REQUIRED");
    let auth = json!({"method": "auth", "params": {"token": SHARED}}).to_string();
    assert_eq!(bench.first_frame(&local(), auth.as_bytes()).0.code(), "DEVICE_IDENTITY_REQUIRED");
}

#[test]
fn devices_can_be_left_out_altogether() {
    let mut config = config();
    config.device_auth.enabled = false;
    let mut bench = Bench::new(config);
    let outcome =
        bench.knock(&Knock { peer: remote(3), signed_token: Some("not even signed well"), ..Knock::default() });
    assert_eq!(scopes_of(&outcome).len(), 3);
    assert_eq!(outcome.device_token(), None);
    assert_eq!(bench.knock(&Knock { token: None, ..Knock::default() }).code(), "AUTH_TOKEN_MISSING");
}

#[test]
fn control_uis_are_let_in_without_a_device_where_the_configuration_says_so() {
    let mut config = config();
    config.control_ui.require_device_auth = false;
    let mut bench = Bench::new(config);
    let ui = Knock { client: ("openclaw-control-ui", "ui"), device: None, peer: page(OWN_PAGE), ..Knock::default() };
    assert_eq!(scopes_of(&bench.knock(&ui)).len(), 3);
    assert_eq!(bench.knock(&Knock { token: Some("wrong".into()), ..ui.clone() }).code(), "AUTH_TOKEN_MISMATCH");
    let evil = Knock { peer: page("https://evil.example"), ..ui };
    assert_eq!(bench.knock(&evil).code(), "CONTROL_UI_ORIGIN_NOT_ALLOWED");
}

#[test]
fn clients_without_parts_of_theirs_here_are_sent_away_without_an_answer() {
    for client in [("openclaw-worker", "backend"), ("cli", "worker"), ("openclaw-browser-copilot", "ui")] {
        let outcome = Bench::new(config()).knock(&Knock { client, ..Knock::default() });
        assert_eq!(outcome, Outcome::Closed(1008, "invalid-handshake".into()), "{client:?}");
    }
}

#[test]
fn a_password_is_checked_like_a_token() {
    let mut config = config();
    config.auth = Auth::Password(Secret::new("pass"));
    let mut bench = Bench::new(config);
    let base = Knock { token: None, ..Knock::default() };
    let outcome = bench.knock(&Knock { password: Some("pass".into()), ..base.clone() });
    assert_eq!(outcome.hello()["auth"]["method"], "password");
    assert!(bench.knock(&Knock { token: Some("pass".into()), ..base.clone() }).device_token().is_some());
    assert_eq!(bench.knock(&Knock { password: Some("no".into()), ..base.clone() }).code(), "AUTH_PASSWORD_MISMATCH");
    assert_eq!(bench.knock(&Knock { device: Some(2), ..base }).code(), "AUTH_PASSWORD_MISSING");
}

#[test]
fn without_any_credential_only_devices_and_local_backends_come_in() {
    let mut config = config();
    config.auth = Auth::None;
    let mut bench = Bench::new(config);
    let base = Knock { token: None, ..Knock::default() };
    let outcome = bench.knock(&base);
    assert_eq!(outcome.hello()["auth"]["method"], "none");
    assert!(outcome.device_token().is_some());
    let backend = Knock { client: ("gateway-client", "backend"), device: None, ..base.clone() };
    assert_eq!(scopes_of(&bench.knock(&backend)).len(), 3);
    assert_eq!(bench.knock(&Knock { device: None, ..base.clone() }).code(), "DEVICE_IDENTITY_REQUIRED");
    // Nor does a page come in for having been opened.
    let page = page("http://localhost:5173");
    assert_eq!(bench.knock(&Knock { peer: page.clone(), device: Some(4), ..base }).code(), "PAIRING_REQUIRED");
    assert_eq!(bench.first_frame(&page, br#"{"method":"auth","params":{}}"#).0.code(), "DEVICE_IDENTITY_REQUIRED");
    assert_eq!(bench.bearer(&page, None).unwrap_err().code, "FORBIDDEN");
    assert!(bench.bearer(&local(), None).is_ok());
}

#[test]
fn the_auth_of_document_004_takes_the_shared_credential_and_gives_all_scopes() {
    let mut bench = Bench::new(config());
    for frame in [
        json!({"method": "auth", "params": {"token": SHARED}}),
        json!({"id": 7, "method": "auth", "params": {"token": SHARED}}),
        json!({"method": "auth", "params": {"password": SHARED}}),
    ] {
        let outcome = bench.first_frame(&local(), frame.to_string().as_bytes()).0;
        assert!(outcome.caller().scopes.contains(&"operator.admin".to_owned()));
        assert_eq!(outcome.hello()["authenticated"], true);
    }
    for (frame, code) in [
        (json!({"method": "auth", "params": {"token": "wrong"}}), "AUTH_TOKEN_MISMATCH"),
        (json!({"method": "auth"}), "AUTH_TOKEN_MISSING"),
        (json!({"method": "sessions.list", "params": {}}), "AUTH_REQUIRED"),
    ] {
        let outcome = bench.first_frame(&local(), frame.to_string().as_bytes()).0;
        assert_eq!((outcome.code(), outcome.refusal().close_code), (code, 1008), "{frame}");
    }
    let frame = json!({"method": "auth", "params": {"token": SHARED}}).to_string();
    let outcome = bench.first_frame(&page("https://evil.example"), frame.as_bytes()).0;
    assert_eq!(outcome.code(), "CONTROL_UI_ORIGIN_NOT_ALLOWED");
}

#[test]
fn clients_of_document_002_find_what_they_look_for() {
    let mut bench = Bench::new(config());
    let sample = Knock { client: ("gateway-client", "ui"), scopes: vec!["operator.admin"], ..protocol(3) };
    let Outcome::In { documented: Some(result), hello, .. } = bench.knock(&sample) else { panic!() };
    assert_eq!(result["protocol"], 3);
    assert_eq!(hello["type"], "hello-ok", "whoever reads the other field finds a hello as well");
    assert!(result["features"].as_array().unwrap().iter().any(|name| name == "ping"));
    let token = result["deviceToken"].as_str().unwrap().to_owned();
    // The token alone, as its reconnect shows.
    let alone = Knock { device: None, token: None, documented_token: Some(token.clone()), ..sample.clone() };
    let outcome = bench.knock(&alone);
    assert_eq!(scopes_of(&outcome), ["operator.admin"]);
    assert_eq!(outcome.caller().device_id.as_deref(), Some(identity(1).device_id()));
    let wrong = Knock { documented_token: Some("wrong".into()), ..alone.clone() };
    assert_eq!(bench.knock(&wrong).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    // The signature alone, of a device that is known; and after the token's end.
    let signature = Knock { token: None, ..sample.clone() };
    assert_eq!(bench.knock(&signature).device_token().as_ref(), Some(&token));
    assert_eq!(bench.knock(&Knock { device: Some(2), ..signature.clone() }).code(), "AUTH_TOKEN_MISSING");
    bench.pass(Duration::from_secs(25 * 3600));
    assert_eq!(bench.knock(&alone).code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    let both = Knock { documented_token: Some(token.clone()), ..signature.clone() };
    assert_ne!(bench.knock(&both).device_token(), Some(token));
    // But not after its tokens were withdrawn.
    let admin = bench.admin();
    bench.call(&admin, "device.token.revoke", json!({"deviceId": identity(1).device_id()})).0.unwrap();
    assert_eq!(bench.knock(&signature).code(), "AUTH_TOKEN_MISSING");
    // Nobody else gets a second form of the answer.
    for other in [protocol(3), protocol(4), Knock { client: ("gateway-client", "ui"), ..protocol(4) }] {
        let Outcome::In { documented, .. } = bench.knock(&other) else { panic!() };
        assert_eq!(documented, None);
    }
}

#[test]
fn ten_failures_lock_a_page_out_for_five_minutes_but_not_the_machine() {
    for version in [3, 4] {
        let mut bench = Bench::new(config());
        let good = Knock { peer: page("http://localhost:5173"), device: None, ..protocol(version) };
        let bad = Knock { token: Some("wrong".into()), ..good.clone() };
        for failure in 1..=10 {
            assert_eq!(bench.knock(&bad).code(), "AUTH_TOKEN_MISMATCH", "{failure}");
        }
        bench.pass(Duration::from_millis(9));
        for knock in [&bad, &good] {
            let outcome = bench.knock(knock);
            let refusal = outcome.refusal();
            assert_eq!(refusal.error.message, "unauthorized: too many failed authentication attempts (retry later)");
            let details = unauthorized("AUTH_RATE_LIMITED", "rate_limited", false, "wait_then_retry");
            assert_eq!(refusal.error.details, details);
            assert_eq!(refusal.error.retry_after_ms, (version == 4).then_some(299_991));
        }
        // A broken proof learns nothing either; nor does a page over HTTP.
        let broken = Knock { device: Some(1), signed_token: Some("x"), ..good.clone() };
        assert_eq!(bench.knock(&broken).code(), "AUTH_RATE_LIMITED");
        assert_eq!(bench.bearer(&good.peer, Some(SHARED)).unwrap_err().details["code"], "AUTH_RATE_LIMITED");
        bench.knock(&Knock { peer: local(), ..good.clone() }).caller();
        bench.pass(Duration::from_secs(300));
        bench.knock(&good).caller();
    }
}

#[test]
fn a_local_client_is_never_locked_out() {
    let mut bench = Bench::new(config());
    for _ in 0..30 {
        assert_eq!(
            bench.knock(&Knock { token: Some("wrong".into()), ..Knock::default() }).code(),
            "AUTH_TOKEN_MISMATCH"
        );
    }
    bench.knock(&Knock::default()).caller();
}

#[test]
fn remote_guesses_count_over_every_way_in() {
    let mut bench = Bench::new(config());
    let wrong_auth = json!({"method": "auth", "params": {"token": "wrong"}}).to_string();
    for round in 0..10 {
        let peer = remote(66);
        match round % 4 {
            0 => drop(bench.knock(&Knock { peer, token: Some("wrong".into()), ..Knock::default() })),
            1 => drop(bench.first_frame(&peer, wrong_auth.as_bytes())),
            2 => drop(bench.bearer(&peer, Some("wrong"))),
            _ => drop(bench.knock(&Knock { peer, signed_token: Some("x"), ..Knock::default() })),
        }
    }
    assert_eq!(bench.knock(&Knock { peer: remote(66), ..Knock::default() }).code(), "AUTH_RATE_LIMITED");
    assert_eq!(bench.knock(&Knock { peer: remote(67), ..Knock::default() }).code(), "PAIRING_REQUIRED");
}

#[test]
fn a_connect_without_any_credential_is_no_guess() {
    let mut bench = Bench::new(config());
    for _ in 0..30 {
        bench.knock(&Knock { peer: remote(8), token: None, ..Knock::default() }).refusal();
        assert!(bench.bearer(&remote(8), None).is_err());
    }
    assert_eq!(bench.knock(&Knock { peer: remote(8), ..Knock::default() }).code(), "PAIRING_REQUIRED");
}

#[test]
fn no_secret_reaches_the_logs_or_the_errors() {
    let mut bench = Bench::new(config());
    let secret = "guess-9f2c";
    let mut seen = String::new();
    let mut note = |(outcome, effects): (Outcome, Vec<Effect>)| {
        let said = effects.iter().filter(|effect| !matches!(effect, Effect::Write(_)));
        for effect in said {
            seen.push_str(&format!("{effect:?}"));
        }
        if let Outcome::Refused(refusal) = outcome {
            seen.push_str(&format!("{refusal:?}"));
        }
    };
    let (first, effects) = bench.knock_and_tell(&Knock::default());
    let token = first.device_token().unwrap();
    note((first, effects));
    for knock in [
        Knock { token: Some(secret.into()), ..Knock::default() },
        Knock { password: Some(secret.into()), token: None, ..Knock::default() },
        Knock { device_token: Some(secret.into()), token: None, ..Knock::default() },
        Knock { documented_token: Some(secret.into()), token: None, ..Knock::default() },
        Knock { token: Some(token.clone()), ..Knock::default() },
    ] {
        note(bench.knock_and_tell(&knock));
    }
    for secret in [secret, SHARED, &token] {
        assert!(!seen.contains(secret), "{seen}");
    }
    let (_, effects) = bench.knock_and_tell(&Knock { device: Some(3), ..Knock::default() });
    let written = format!("{effects:?}");
    assert!(written.contains("devices.json") && !written.contains(&token), "only hashes are kept");
}

#[test]
fn a_user_has_so_many_devices_and_an_idle_one_gives_way() {
    let mut config = config();
    config.device_auth.max_devices_per_user = 2;
    let mut bench = Bench::new(config);
    let device = |seed| Knock { device: Some(seed), ..Knock::default() };
    let first = bench.knock(&device(1)).caller();
    bench.knock(&device(2)).caller();
    bench.pass(Duration::from_secs(61));
    let outcome = bench.knock(&device(3));
    assert_eq!(outcome.code(), "DEVICE_LIMIT_REACHED", "both are connected");
    assert_eq!(outcome.refusal().close_code, 1008);
    bench.knock(&Knock { name: Some("another name".into()), ..device(3) }).caller();
    bench.leave(&first);
    let (outcome, effects) = bench.knock_and_tell(&device(4));
    outcome.caller();
    assert_eq!(audited(&effects), ["device.revoked", "device.registered", "auth.success"]);
    assert_eq!(bench.machine.devices.get(identity(1).device_id()), None);
}
