//! Refusals, word by word as real releases say them.

use super::*;

/// Case, attempt, `error.code`, `error.message`, `error.details`, close code.
type Row = (&'static str, LoginAttempt, &'static str, &'static str, Value, u16);

fn check(rows: Vec<Row>) {
    for (case, attempt, code, message, details, close) in rows {
        let outcome = Fixture::new(config()).attempt(&attempt);
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
    let deviceless =
        |attempt: LoginAttempt| LoginAttempt { device: None, client: ("gateway-client", "backend"), ..attempt };
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
                deviceless(LoginAttempt { token: bad(), ..base.clone() }),
                "INVALID_REQUEST",
                "unauthorized: gateway token mismatch (provide gateway auth token)",
                unauthorized("AUTH_TOKEN_MISMATCH", "token_mismatch", false, "update_auth_credentials"),
                1008,
            ),
            (
                "wrong token and a device",
                LoginAttempt { token: bad(), ..base.clone() },
                "INVALID_REQUEST",
                of_cli("mismatch"),
                unauthorized("AUTH_TOKEN_MISMATCH", "token_mismatch", true, "retry_with_device_token"),
                1008,
            ),
            (
                "no token, a device",
                LoginAttempt { token: None, ..base.clone() },
                "INVALID_REQUEST",
                of_cli("missing"),
                unauthorized("AUTH_TOKEN_MISSING", "token_missing", false, "update_auth_configuration"),
                1008,
            ),
            (
                "no token, a device, not the CLI",
                LoginAttempt { token: None, client: ("openclaw-macos", "ui"), ..base.clone() },
                "INVALID_REQUEST",
                "unauthorized: gateway token missing (provide gateway auth token)",
                unauthorized("AUTH_TOKEN_MISSING", "token_missing", false, "update_auth_configuration"),
                1008,
            ),
            (
                "no token, no device",
                LoginAttempt { token: None, device: None, ..base.clone() },
                "NOT_PAIRED",
                "device identity required",
                json!({"code": "DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "an empty token, no device",
                LoginAttempt { token: Some(String::new()), device: None, ..base.clone() },
                "NOT_PAIRED",
                "device identity required",
                json!({"code": "DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "a device token in auth, no device",
                LoginAttempt { token: None, device_token: bad(), device: None, ..base.clone() },
                "NOT_PAIRED",
                "device identity required",
                json!({"code": "DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "a signature over another token",
                LoginAttempt { signed_token: Some("another"), ..base.clone() },
                "INVALID_REQUEST",
                "device signature invalid",
                json!({"code": "DEVICE_AUTH_SIGNATURE_INVALID", "reason": "device-signature"}),
                1008,
            ),
            (
                "a signature that is none",
                LoginAttempt { edit: |params| params["device"]["signature"] = "AAAA".into(), ..base.clone() },
                "INVALID_REQUEST",
                "device signature invalid",
                json!({"code": "DEVICE_AUTH_SIGNATURE_INVALID", "reason": "device-signature"}),
                1008,
            ),
            (
                "scopes changed after the signature",
                LoginAttempt { edit: |params| params["scopes"] = json!(["operator.admin"]), ..base.clone() },
                "INVALID_REQUEST",
                "device signature invalid",
                json!({"code": "DEVICE_AUTH_SIGNATURE_INVALID", "reason": "device-signature"}),
                1008,
            ),
            (
                "another device's id",
                LoginAttempt {
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
                LoginAttempt {
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
                LoginAttempt { edit: |params| params["device"]["publicKey"] = "AAAA".into(), ..base.clone() },
                "INVALID_REQUEST",
                "device identity mismatch",
                json!({"code": "DEVICE_AUTH_DEVICE_ID_MISMATCH", "reason": "device-id-mismatch"}),
                1008,
            ),
            (
                "signed too long ago",
                LoginAttempt { signed_at_offset_ms: -130_000, ..base.clone() },
                "INVALID_REQUEST",
                "device signature expired",
                json!({"code": "DEVICE_AUTH_SIGNATURE_EXPIRED", "reason": "device-signature-stale"}),
                1008,
            ),
            (
                "signed in the future",
                LoginAttempt { signed_at_offset_ms: 130_000, ..base.clone() },
                "INVALID_REQUEST",
                "device signature expired",
                json!({"code": "DEVICE_AUTH_SIGNATURE_EXPIRED", "reason": "device-signature-stale"}),
                1008,
            ),
            (
                "the nonce of another connection",
                LoginAttempt { nonce: Some("nonce-77"), ..base.clone() },
                "INVALID_REQUEST",
                "device nonce mismatch",
                json!({"code": "DEVICE_AUTH_NONCE_MISMATCH", "reason": "device-nonce-mismatch"}),
                1008,
            ),
            (
                "a device token that was never issued",
                LoginAttempt { token: None, device_token: bad(), ..base.clone() },
                "INVALID_REQUEST",
                "unauthorized: device token mismatch (rotate/reissue device token)",
                unauthorized("AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch", false, "update_auth_credentials"),
                1008,
            ),
            (
                "a page that is not listed",
                LoginAttempt { peer: page("https://evil.example"), ..base.clone() },
                "INVALID_REQUEST",
                "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
                json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": "origin not allowed"}),
                1008,
            ),
            (
                "a control UI without an origin",
                LoginAttempt { client: ("webchat-ui", "webchat"), ..base.clone() },
                "INVALID_REQUEST",
                "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
                json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": "origin missing or invalid"}),
                1008,
            ),
            (
                "the mode webchat without an origin",
                LoginAttempt { client: ("cli", "webchat"), ..base.clone() },
                "INVALID_REQUEST",
                "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
                json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": "origin missing or invalid"}),
                1008,
            ),
            (
                "a control UI without a device",
                LoginAttempt { client: ("openclaw-control-ui", "ui"), device: None, peer: page(OWN_PAGE), ..base.clone() },
                "INVALID_REQUEST",
                "control ui requires device identity (use HTTPS or localhost secure context)",
                json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "a role that is none",
                LoginAttempt { edit: |params| params["role"] = "king".into(), ..base.clone() },
                "INVALID_REQUEST",
                "invalid role",
                Value::Null,
                1008,
            ),
            (
                "a node without a device",
                LoginAttempt { role: "node", device: None, ..base.clone() },
                "NOT_PAIRED",
                "device identity required",
                json!({"code": "DEVICE_IDENTITY_REQUIRED"}),
                1008,
            ),
            (
                "no version of the client",
                LoginAttempt {
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
                LoginAttempt {
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
                LoginAttempt { edit: |params| params["foo"] = 1.into(), ..base.clone() },
                "INVALID_REQUEST",
                "invalid connect params: at root: unexpected property 'foo'",
                Value::Null,
                1008,
            ),
            (
                "a client id of one's own",
                LoginAttempt { client: ("my-supervisor", "backend"), ..base.clone() },
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
            LoginAttempt { client: ("openclaw-tui", "cli"), device: None, ..protocol(4) },
            "INVALID_REQUEST",
            "control ui requires device identity (use HTTPS or localhost secure context)",
            json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}),
            1008,
        ),
        (
            "the token as a password, which only protocol 4 takes",
            LoginAttempt { token: None, password: Some(SHARED.to_owned()), ..protocol(3) },
            "INVALID_REQUEST",
            "unauthorized: gateway token missing (set gateway.remote.token to match gateway.auth.token)",
            unauthorized("AUTH_TOKEN_MISSING", "token_missing", false, "update_auth_configuration"),
            1008,
        ),
        (
            "protocols of the future",
            LoginAttempt { protocols: (9, 9), ..LoginAttempt::default() },
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
            LoginAttempt { protocols: (1, 2), ..LoginAttempt::default() },
            "INVALID_REQUEST",
            "protocol mismatch",
            json!({"expectedProtocol": 3}),
            1002,
        ),
    ]);
    check(rows);
}
