use std::collections::HashSet;

use serde_json::{Value, json};

use super::*;
use crate::frame::WireError;

fn classify(error: Value) -> Refusal {
    classify_error(&WireError::from_value(error))
}

#[test]
fn every_code_has_a_name_of_its_own_a_sentence_and_a_help() {
    let mut names = HashSet::new();
    for code in RefusalCode::ALL {
        let name = code.as_str();
        assert!(names.insert(name), "{name} twice");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(RefusalCode::from_name(name), Some(*code));
        assert!(code.sentence().starts_with("The gateway ") && code.sentence().ends_with('.'), "{name}");
        assert!(code.help().len() > 40 && code.help().ends_with('.'), "{name}");
        assert!(!code.help().contains("  ") && !code.sentence().contains(".."), "{name}");
    }
    assert_eq!(RefusalCode::from_name("nonsense"), None);
}

#[test]
fn what_no_device_or_token_could_cure_is_shown_as_offline_and_the_rest_as_degraded() {
    let offline: Vec<&str> =
        RefusalCode::ALL.iter().filter(|code| code.means_offline()).map(|code| code.as_str()).collect();
    assert_eq!(
        offline,
        [
            "protocol_mismatch",
            "not_a_gateway",
            "redirected",
            "tls_not_trusted",
            "tls_trust_unusable",
            "address_forbidden",
            "parked"
        ]
    );
    for code in RefusalCode::ALL.iter().filter(|code| code.means_offline()) {
        assert_eq!(code.class(), RefusalClass::Blocked, "{code}");
    }
}

#[test]
fn the_finest_code_wins_over_the_coarse_one_and_over_the_words() {
    let refusal = classify(json!({"code": "NOT_PAIRED", "message": "pairing required",
        "details": {"code": "DEVICE_IDENTITY_REQUIRED"}}));
    assert_eq!(refusal.code, RefusalCode::DeviceIdentityRequired);
    assert_eq!(
        classify(json!({"code": "NOT_PAIRED", "message": "device identity required"})).code,
        RefusalCode::DeviceIdentityRequired
    );
    assert_eq!(classify(json!({"code": "NOT_PAIRED", "message": ""})).code, RefusalCode::PairingRequired);
}

#[test]
fn the_words_of_the_oldest_release_are_enough() {
    let cases = [
        ("unauthorized: gateway token missing (provide gateway auth token)", RefusalCode::TokenMissing),
        ("unauthorized: gateway token mismatch (provide gateway auth token)", RefusalCode::TokenMismatch),
        ("unauthorized: device token mismatch (rotate/reissue device token)", RefusalCode::DeviceTokenMismatch),
        ("device signature invalid", RefusalCode::DeviceSignatureInvalid),
        ("device signature expired", RefusalCode::DeviceSignatureExpired),
        ("device identity mismatch", RefusalCode::DeviceIdMismatch),
        ("device nonce mismatch", RefusalCode::DeviceNonceMismatch),
        ("control ui requires HTTPS or localhost (secure context)", RefusalCode::DeviceIdentityRequired),
        ("protocol mismatch", RefusalCode::ProtocolMismatch),
        ("pairing required", RefusalCode::PairingRequired),
        ("invalid role", RefusalCode::RoleNotAllowed),
        ("unauthorized role: node", RefusalCode::RoleNotAllowed),
        ("invalid connect params: at /auth: unexpected property 'deviceToken'", RefusalCode::InvalidHandshake),
        ("invalid handshake: first request must be connect", RefusalCode::InvalidHandshake),
        ("unauthorized: too many failed authentication attempts (retry later)", RefusalCode::RateLimited),
        ("missing scope: operator.read", RefusalCode::MissingScope),
    ];
    for (message, code) in cases {
        let refusal = classify(json!({"code": "INVALID_REQUEST", "message": message}));
        assert_eq!(refusal.code, code, "{message}");
        assert_eq!(refusal.words, message);
    }
}

#[test]
fn the_errors_that_document_002_names_are_known_in_its_own_spelling() {
    let cases = [
        ("origin not allowed", RefusalCode::OriginNotAllowed),
        ("device identity required", RefusalCode::DeviceIdentityRequired),
        ("device_auth_signature_invalid", RefusalCode::DeviceSignatureInvalid),
        ("auth rate limit", RefusalCode::RateLimited),
    ];
    for (text, code) in cases {
        assert_eq!(classify(json!(text)).code, code, "{text} as a sentence");
        assert_eq!(classify(json!({"code": text})).code, code, "{text} as a code");
        assert_eq!(classify(json!({"message": text})).code, code, "{text} as a message");
    }
}

#[test]
fn a_lock_out_carries_the_time_that_the_gateway_named() {
    let refusal =
        classify(json!({"code": "INVALID_REQUEST", "message": "unauthorized: too many failed authentication attempts",
        "details": {"code": "AUTH_RATE_LIMITED"}, "retryable": true, "retryAfterMs": 299_991}));
    assert_eq!((refusal.class, refusal.retry_after_ms), (RefusalClass::RateLimited, Some(299_991)));
    assert!(refusal.counts_as_failed_auth);
}

#[test]
fn a_gateway_that_starts_is_not_blocked() {
    for error in [
        json!({"code": "UNAVAILABLE", "message": "gateway starting; retry shortly", "retryAfterMs": 500}),
        json!({"code": "UNAVAILABLE", "message": "later", "details": {"reason": "startup-sidecars"}, "retryAfterMs": 500}),
    ] {
        let refusal = classify(error);
        assert_eq!((refusal.code, refusal.class), (RefusalCode::GatewayStarting, RefusalClass::Starting));
        assert_eq!(refusal.retry_after_ms, Some(500));
        assert!(!refusal.counts_as_failed_auth);
    }
}

#[test]
fn pairing_names_the_exact_command_only_where_the_id_is_fit_for_one() {
    let pairing = |id: &str| {
        classify(json!({"code": "NOT_PAIRED", "message": "pairing required: device is not approved yet",
            "details": {"code": "PAIRING_REQUIRED", "requestId": id, "deviceId": "ab12"}}))
    };
    let good = pairing("0b6f0f6a-7a33-4e39-9d44-1a2b3c4d5e6f");
    assert_eq!(good.class, RefusalClass::PairingRequired);
    assert_eq!(good.pairing.as_ref().unwrap().device_id.as_deref(), Some("ab12"));
    assert!(good.help().contains("openclaw devices approve 0b6f0f6a-7a33-4e39-9d44-1a2b3c4d5e6f"));
    let own = classify(json!({"code": "NOT_PAIRED", "message": "pairing required",
        "details": {"code": "PAIRING_REQUIRED", "requestId": "ab-12", "gatewayVersion": "2026.9.6+gatewarden.0.1.0"}}));
    assert!(
        own.help().contains("gatewarden gateway devices approve ab-12 (gatewarden gateway devices list"),
        "{own:?}"
    );
    let bad = pairing("x; rm -rf ~");
    assert_eq!(bad.pairing.as_ref().unwrap().request_id, None);
    assert!(!bad.help().contains("rm -rf") && bad.help().contains("openclaw devices approve <requestId>"));
}

#[test]
fn a_missing_scope_is_named_in_the_sentence_and_in_the_help() {
    let refusal = classify(json!({"code": "FORBIDDEN", "message": "missing scope: operator.read",
        "details": {"code": "MISSING_SCOPE", "missingScope": "operator.read"}}));
    assert!(refusal.for_gateway("prod", "h:1").contains("did not grant the scope operator.read"));
    assert!(refusal.help().contains("operator.read"));
}

#[test]
fn a_control_ui_of_another_build_learns_the_build_and_is_no_protocol_mismatch() {
    let refusal = classify(
        json!({"code": "UNAVAILABLE", "message": "protocol mismatch: Control UI updated; reload this page to continue",
        "details": {"code": "PROTOCOL_MISMATCH", "gatewayBuildId": "2026.9.6-release-x", "reloadRequired": true}}),
    );
    assert_eq!(refusal.code, RefusalCode::ControlUiBuildMismatch);
    assert_eq!(refusal.gateway_build_id.as_deref(), Some("2026.9.6-release-x"));
    assert!(!refusal.code.means_offline());
}

#[test]
fn only_a_dead_device_token_is_dropped() {
    for code in RefusalCode::ALL {
        let drops = matches!(code, RefusalCode::DeviceTokenMismatch | RefusalCode::DeviceRemoved);
        assert_eq!(Refusal::new(*code, "").drop_device_token, drops, "{code}");
    }
}

#[test]
fn an_unknown_refusal_is_final_unless_the_gateway_says_that_it_passes() {
    let last = classify(json!({"code": "INVALID_REQUEST", "message": "no way"}));
    assert_eq!((last.code, last.class), (RefusalCode::RefusedByGateway, RefusalClass::Blocked));
    let passing = classify(json!({"code": "BUSY", "message": "no way", "retryable": true}));
    assert_eq!((passing.code, passing.class), (RefusalCode::RefusedByGateway, RefusalClass::Retryable));
    assert_eq!(classify(json!({"code": "UNAVAILABLE", "message": "x"})).class, RefusalClass::Retryable);
    assert_eq!(classify(Value::Null).code, RefusalCode::RefusedByGateway);
}

#[test]
fn the_sentence_names_the_gateway_and_carries_its_words_cleaned() {
    let refusal = classify(json!({"message": "origin not allowed\u{1b}[2J\r\nevil: header"}));
    assert_eq!(
        refusal.for_gateway("prod", "10.0.0.5:18789"),
        "Gateway \"prod\" (10.0.0.5:18789) does not allow the origin of this connection. It said: \"origin not allowed[2J \
         evil: header\"."
    );
    let ours = Refusal::new(RefusalCode::TlsNotTrusted, "certificate expired");
    assert_eq!(
        ours.for_gateway("a", "h:1"),
        "Gateway \"a\" (h:1) shows a TLS certificate that is not trusted: certificate expired."
    );
    let silent = Refusal::new(RefusalCode::ConnectionRefused, "");
    assert_eq!(
        silent.for_gateway("a", "h:1"),
        "Gateway \"a\" (h:1) is not listening at its address (connection refused)."
    );
}

#[test]
fn closes_before_the_hello_are_told_apart() {
    let cases = [
        (Some(1000), "", RefusalCode::ClosedInHandshake, RefusalClass::Retryable),
        (None, "", RefusalCode::ConnectionReset, RefusalClass::Retryable),
        (Some(1006), "", RefusalCode::ConnectionReset, RefusalClass::Retryable),
        (Some(1002), "protocol mismatch", RefusalCode::ProtocolMismatch, RefusalClass::Blocked),
        (Some(1008), "invalid-handshake", RefusalCode::InvalidHandshake, RefusalClass::Blocked),
        (Some(1008), "device signature invalid", RefusalCode::DeviceSignatureInvalid, RefusalClass::Blocked),
        (Some(1008), "", RefusalCode::RefusedByGateway, RefusalClass::Blocked),
        (Some(1009), "", RefusalCode::FrameTooLarge, RefusalClass::Retryable),
        (Some(1012), "service restart", RefusalCode::GatewayRestarting, RefusalClass::Restarting),
        (Some(1013), "gateway starting", RefusalCode::GatewayStarting, RefusalClass::Starting),
        (Some(4001), "device removed", RefusalCode::DeviceRemoved, RefusalClass::Blocked),
        (Some(4002), "auth rate limit", RefusalCode::RateLimited, RefusalClass::RateLimited),
        (Some(4999), "", RefusalCode::ClosedInHandshake, RefusalClass::Retryable),
        (Some(3000), "", RefusalCode::ClosedInHandshake, RefusalClass::Retryable),
    ];
    for (code, reason, expected, class) in cases {
        let refusal = classify_close(code, reason, false);
        assert_eq!((refusal.code, refusal.class), (expected, class), "{code:?} {reason}");
    }
}

#[test]
fn a_connection_that_was_let_in_is_tried_again_after_any_close_but_a_removal() {
    let cases = [
        (Some(1000), "", RefusalCode::Closed),
        (Some(1001), "", RefusalCode::Closed),
        (Some(1002), "", RefusalCode::Closed),
        (Some(1008), "slow consumer", RefusalCode::SlowConsumer),
        (Some(1008), "device token mismatch", RefusalCode::DeviceTokenMismatch),
        (Some(1011), "", RefusalCode::GatewayError),
    ];
    for (code, reason, expected) in cases {
        let refusal = classify_close(code, reason, true);
        assert_eq!((refusal.code, refusal.class), (expected, RefusalClass::Retryable), "{code:?} {reason}");
    }
    assert_eq!(classify_close(Some(4001), "", true).class, RefusalClass::Blocked);
    assert_eq!(classify_close(Some(1012), "", true).class, RefusalClass::Restarting);
}

#[test]
fn a_close_reason_may_carry_the_pairing_request() {
    let refusal = classify_close(Some(1008), "pairing required: device is not approved yet (requestId: 0b6f-1)", false);
    assert_eq!(refusal.pairing.unwrap().request_id.as_deref(), Some("0b6f-1"));
}

#[test]
fn an_upgrade_that_finds_no_websocket_may_find_the_http_dialect() {
    for status in [200, 404, 405, 426, 501] {
        match classify_upgrade(status, None, None, b"<html>") {
            UpgradeAnswer::TryHttp(refusal) => assert_eq!(refusal.code, RefusalCode::NotAGateway, "{status}"),
            UpgradeAnswer::Refused(refusal) => panic!("{status}: {refusal:?}"),
        }
    }
}

#[test]
fn an_upgrade_that_is_refused_says_by_whom_as_far_as_it_shows() {
    let proxy = br#"{"error":{"message":"Proxy client attribution is required.","type":"proxy_attribution_required"}}"#;
    let cases: [(u16, &[u8], RefusalCode, RefusalClass); 9] = [
        (403, proxy, RefusalCode::ProxyAttributionRequired, RefusalClass::Blocked),
        (403, b"no", RefusalCode::UpgradeForbidden, RefusalClass::Blocked),
        (401, b"", RefusalCode::Unauthorized, RefusalClass::Blocked),
        (302, b"", RefusalCode::Redirected, RefusalClass::Blocked),
        (429, b"", RefusalCode::RateLimited, RefusalClass::RateLimited),
        (502, b"<html>bad gateway", RefusalCode::GatewayError, RefusalClass::Retryable),
        (
            503,
            br#"{"ready":false,"failing":["startup-sidecars"]}"#,
            RefusalCode::GatewayStarting,
            RefusalClass::Starting,
        ),
        (503, b"", RefusalCode::GatewayError, RefusalClass::Retryable),
        (400, b"The plain HTTP request was sent to HTTPS port", RefusalCode::NotAGateway, RefusalClass::Blocked),
    ];
    for (status, body, code, class) in cases {
        match classify_upgrade(status, Some("https://u.example/x?token=geheim"), Some(7), body) {
            UpgradeAnswer::Refused(refusal) => {
                assert_eq!((refusal.code, refusal.class), (code, class), "{status}");
                assert!(refusal.words.contains(&status.to_string()));
                assert!(!refusal.words.contains("geheim"), "a query may hold a secret");
            }
            UpgradeAnswer::TryHttp(_) => panic!("{status}"),
        }
    }
    match classify_upgrade(429, None, Some(7), b"") {
        UpgradeAnswer::Refused(refusal) => assert_eq!(refusal.retry_after_ms, Some(7_000)),
        UpgradeAnswer::TryHttp(_) => panic!("429"),
    }
}

#[test]
fn a_401_of_the_http_dialect_tells_a_wrong_token_from_none() {
    assert_eq!(classify_http_reply(401, None, b"", true).code, RefusalCode::TokenMismatch);
    assert_eq!(classify_http_reply(401, None, b"", false).code, RefusalCode::TokenMissing);
    assert_eq!(classify_http_reply(500, None, b"", true).code, RefusalCode::GatewayError);
}
