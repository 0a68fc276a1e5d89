//! The words in which gateways refuse, by release: as captured from real ones.

use serde_json::{Value, json};

use super::behaviour::Form;

/// A reason to refuse a connect request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    TokenMismatch,
    TokenMissing,
    DeviceRequired,
    SignatureInvalid,
    DeviceIdMismatch,
    SignatureExpired,
    NonceMismatch,
    DeviceTokenMismatch,
    ProtocolMismatch,
    OriginNotAllowed,
    ControlUiNeedsDevice,
    PairingRequired,
    RateLimited,
    InvalidRole,
    SchemaError,
    Starting,
}

impl Case {
    /// Every case.
    pub(crate) const ALL: [Self; 16] = [
        Self::TokenMismatch,
        Self::TokenMissing,
        Self::DeviceRequired,
        Self::SignatureInvalid,
        Self::DeviceIdMismatch,
        Self::SignatureExpired,
        Self::NonceMismatch,
        Self::DeviceTokenMismatch,
        Self::ProtocolMismatch,
        Self::OriginNotAllowed,
        Self::ControlUiNeedsDevice,
        Self::PairingRequired,
        Self::RateLimited,
        Self::InvalidRole,
        Self::SchemaError,
        Self::Starting,
    ];
}

/// An error object and the close that follows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    /// The `error` of the reply.
    pub(crate) error: Value,
    /// Close code.
    pub(crate) code: u16,
    /// Close reason.
    pub(crate) reason: String,
}

/// What a gateway of this form says in this case.
pub(crate) fn refusal(form: &Form, case: Case) -> Refusal {
    let newest = *form == Form::Protocol4;
    let (code, message, details) = words(newest, case);
    let mut error = json!({"code": code, "message": message});
    if let Some(details) = details {
        error["details"] = details;
    }
    match form {
        // the old release tells nothing but code and message, save what to approve and which protocol it speaks
        Form::Release219 => match case {
            Case::PairingRequired => error["details"] = json!({"requestId": "0b6f0f6a-7a33-4e39-9d44-1a2b3c4d5e6f"}),
            Case::ProtocolMismatch => error["details"] = json!({"expectedProtocol": 3}),
            _ => drop(error.as_object_mut().map(|fields| fields.remove("details"))),
        },
        Form::Document002 => {
            let message = match case {
                Case::SignatureInvalid => "device_auth_signature_invalid",
                Case::OriginNotAllowed => "origin not allowed",
                Case::RateLimited => "auth rate limit",
                _ => message.as_str(),
            };
            error = json!({"message": message});
        }
        _ => {}
    }
    if newest && case == Case::Starting {
        error["retryable"] = json!(true);
        error["retryAfterMs"] = json!(500);
    }
    if newest && case == Case::RateLimited {
        error["retryable"] = json!(true);
        error["retryAfterMs"] = json!(299_991);
    }
    let close = match case {
        Case::ProtocolMismatch => 1002,
        Case::Starting => 1013,
        _ => 1008,
    };
    let reason = match case {
        Case::Starting => "gateway starting".to_owned(),
        Case::PairingRequired if newest => format!("{message} (requestId: 0b6f0f6a-7a33-4e39-9d44-1a2b3c4d5e6f)"),
        _ => message,
    };
    Refusal { error, code: close, reason }
}

fn auth(reason: &str, retry: bool, next: &str) -> Value {
    json!({"code": format!("AUTH_{}", reason.to_uppercase()), "authReason": reason,
           "canRetryWithDeviceToken": retry, "recommendedNextStep": next})
}

fn device(code: &str, reason: &str) -> Value {
    json!({"code": format!("DEVICE_AUTH_{code}"), "reason": reason})
}

fn words(newest: bool, case: Case) -> (&'static str, String, Option<Value>) {
    let invalid = "INVALID_REQUEST";
    match case {
        Case::TokenMismatch => (
            invalid,
            "unauthorized: gateway token mismatch (provide gateway auth token)".to_owned(),
            Some(auth("token_mismatch", true, "retry_with_device_token")),
        ),
        Case::TokenMissing => (
            invalid,
            "unauthorized: gateway token missing (provide gateway auth token)".to_owned(),
            Some(auth("token_missing", false, "update_auth_configuration")),
        ),
        Case::DeviceRequired => {
            ("NOT_PAIRED", "device identity required".to_owned(), Some(json!({"code": "DEVICE_IDENTITY_REQUIRED"})))
        }
        Case::SignatureInvalid => {
            (invalid, "device signature invalid".to_owned(), Some(device("SIGNATURE_INVALID", "device-signature")))
        }
        Case::DeviceIdMismatch => {
            (invalid, "device identity mismatch".to_owned(), Some(device("DEVICE_ID_MISMATCH", "device-id-mismatch")))
        }
        Case::SignatureExpired => (
            invalid,
            "device signature expired".to_owned(),
            Some(device("SIGNATURE_EXPIRED", "device-signature-stale")),
        ),
        Case::NonceMismatch => {
            (invalid, "device nonce mismatch".to_owned(), Some(device("NONCE_MISMATCH", "device-nonce-mismatch")))
        }
        Case::DeviceTokenMismatch => (
            invalid,
            "unauthorized: device token mismatch (rotate/reissue device token)".to_owned(),
            Some(auth("device_token_mismatch", false, "update_auth_credentials")),
        ),
        Case::ProtocolMismatch => (
            invalid,
            "protocol mismatch".to_owned(),
            Some(if newest {
                json!({"code": "PROTOCOL_MISMATCH", "clientMinProtocol": 3, "clientMaxProtocol": 4,
                       "expectedProtocol": 5, "minimumProbeProtocol": 4})
            } else {
                json!({"expectedProtocol": 2})
            }),
        ),
        Case::OriginNotAllowed => (
            invalid,
            "origin not allowed (open the Control UI from the gateway host or allow it in \
             gateway.controlUi.allowedOrigins)"
                .to_owned(),
            Some(json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": "origin not allowed"})),
        ),
        Case::ControlUiNeedsDevice => (
            invalid,
            "control ui requires device identity (use HTTPS or localhost secure context)".to_owned(),
            Some(json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"})),
        ),
        Case::PairingRequired => {
            let request = "0b6f0f6a-7a33-4e39-9d44-1a2b3c4d5e6f";
            if newest {
                (
                    "NOT_PAIRED",
                    "pairing required: device is not approved yet".to_owned(),
                    Some(json!({"code": "PAIRING_REQUIRED", "reason": "not-paired", "requestId": request,
                        "remediationHint": "Approve this device from the pending pairing requests.",
                        "requestedRole": "operator", "requestedScopes": ["operator.admin"]})),
                )
            } else {
                (
                    "NOT_PAIRED",
                    "pairing required".to_owned(),
                    Some(json!({"code": "PAIRING_REQUIRED", "requestId": request, "reason": "not-paired"})),
                )
            }
        }
        Case::RateLimited => (
            invalid,
            "unauthorized: too many failed authentication attempts (retry later)".to_owned(),
            Some(auth("rate_limited", false, "wait_then_retry")),
        ),
        Case::InvalidRole => (invalid, "invalid role".to_owned(), None),
        Case::SchemaError => (
            invalid,
            "invalid connect params: at /client/id: must be equal to one of the allowed values".to_owned(),
            None,
        ),
        Case::Starting => {
            ("UNAVAILABLE", "gateway starting; retry shortly".to_owned(), Some(json!({"reason": "startup-sidecars"})))
        }
    }
}
