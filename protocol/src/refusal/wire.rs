//! Errors in reply to a connect (or a call), read as reasons: by `details.code`, then `code`, then the message.

use super::{Pairing, Refusal, RefusalClass, RefusalCode};
use crate::frame::WireError;
use crate::version::is_embedded;
use crate::words;

/// Reads an error as a refusal. What nothing is known of is final if the gateway calls the request invalid, and worth
/// another try otherwise.
pub fn classify_error(error: &WireError) -> Refusal {
    let build_id = error.details.get("gatewayBuildId").and_then(|id| id.as_str()).and_then(words::name);
    let code = match error.details_code().and_then(by_name) {
        Some(RefusalCode::ProtocolMismatch) if build_id.is_some() => RefusalCode::ControlUiBuildMismatch,
        Some(code) => code,
        None => by_name(&error.code).or_else(|| by_message(&error.message)).unwrap_or_else(|| by_kind(error)),
    };
    let said = if error.message.is_empty() { &error.code } else { &error.message };
    let mut refusal = Refusal::new(code, said).with_retry_after_ms(error.retry_after_ms);
    if code == RefusalCode::RefusedByGateway && error.retryable == Some(true) {
        refusal.class = RefusalClass::Retryable;
    }
    refusal.gateway_build_id = build_id;
    if code == RefusalCode::MissingScope {
        refusal.missing_scope = error.missing_scope();
    }
    if code == RefusalCode::PairingRequired {
        let detail = |field: &str| error.details.get(field).and_then(|value| value.as_str());
        refusal.pairing = Some(Pairing {
            request_id: detail("requestId").and_then(words::command_argument).or_else(|| request_id_in(&error.message)),
            device_id: detail("deviceId").and_then(words::command_argument),
            on_embedded_gateway: detail("gatewayVersion").is_some_and(is_embedded),
        });
    }
    refusal
}

/// Codes as releases of protocol 3 and 4 and document 002 write them.
fn by_name(name: &str) -> Option<RefusalCode> {
    let name = name.trim().to_ascii_uppercase().replace([' ', '-'], "_");
    Some(match name.as_str() {
        "AUTH_TOKEN_MISMATCH" => RefusalCode::TokenMismatch,
        "AUTH_TOKEN_MISSING" => RefusalCode::TokenMissing,
        "AUTH_PASSWORD_MISSING" => RefusalCode::PasswordRequired,
        "AUTH_PASSWORD_MISMATCH" => RefusalCode::PasswordMismatch,
        "AUTH_DEVICE_TOKEN_MISMATCH" => RefusalCode::DeviceTokenMismatch,
        "AUTH_UNAUTHORIZED" | "AUTH_REQUIRED" => RefusalCode::Unauthorized,
        "AUTH_RATE_LIMITED" | "AUTH_RATE_LIMIT" | "RATE_LIMITED" => RefusalCode::RateLimited,
        "PAIRING_REQUIRED" => RefusalCode::PairingRequired,
        "DEVICE_IDENTITY_REQUIRED" | "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" => RefusalCode::DeviceIdentityRequired,
        "DEVICE_AUTH_SIGNATURE_INVALID" | "DEVICE_AUTH_INVALID" | "DEVICE_AUTH_PUBLIC_KEY_INVALID" => {
            RefusalCode::DeviceSignatureInvalid
        }
        "DEVICE_AUTH_SIGNATURE_EXPIRED" => RefusalCode::DeviceSignatureExpired,
        "DEVICE_AUTH_DEVICE_ID_MISMATCH" => RefusalCode::DeviceIdMismatch,
        "DEVICE_AUTH_NONCE_MISMATCH" | "DEVICE_AUTH_NONCE_REQUIRED" => RefusalCode::DeviceNonceMismatch,
        "CONTROL_UI_ORIGIN_NOT_ALLOWED" | "ORIGIN_NOT_ALLOWED" => RefusalCode::OriginNotAllowed,
        "MISSING_SCOPE" => RefusalCode::MissingScope,
        "PROTOCOL_MISMATCH" => RefusalCode::ProtocolMismatch,
        "PROXY_ATTRIBUTION_REQUIRED" => RefusalCode::ProxyAttributionRequired,
        _ => return None,
    })
}

/// Sentences, for releases that send no finer code. Order matters: the longer phrase stands before the one within it.
pub(super) fn by_message(message: &str) -> Option<RefusalCode> {
    const PHRASES: &[(&str, RefusalCode)] = &[
        ("gateway starting", RefusalCode::GatewayStarting),
        ("too many failed auth", RefusalCode::RateLimited),
        ("rate limit", RefusalCode::RateLimited),
        ("pairing required", RefusalCode::PairingRequired),
        ("origin not allowed", RefusalCode::OriginNotAllowed),
        ("origin missing or invalid", RefusalCode::OriginNotAllowed),
        ("control ui requires", RefusalCode::DeviceIdentityRequired),
        ("device identity required", RefusalCode::DeviceIdentityRequired),
        ("device identity mismatch", RefusalCode::DeviceIdMismatch),
        ("device signature expired", RefusalCode::DeviceSignatureExpired),
        ("device signature invalid", RefusalCode::DeviceSignatureInvalid),
        ("device_auth_signature_invalid", RefusalCode::DeviceSignatureInvalid),
        ("device public key invalid", RefusalCode::DeviceSignatureInvalid),
        ("device nonce", RefusalCode::DeviceNonceMismatch),
        ("device token mismatch", RefusalCode::DeviceTokenMismatch),
        ("device removed", RefusalCode::DeviceRemoved),
        ("token mismatch", RefusalCode::TokenMismatch),
        ("token missing", RefusalCode::TokenMissing),
        ("password missing", RefusalCode::PasswordRequired),
        ("password mismatch", RefusalCode::PasswordMismatch),
        ("protocol mismatch", RefusalCode::ProtocolMismatch),
        ("missing scope", RefusalCode::MissingScope),
        ("version too old", RefusalCode::VersionTooOld),
        ("invalid role", RefusalCode::RoleNotAllowed),
        ("unauthorized role", RefusalCode::RoleNotAllowed),
        ("invalid connect params", RefusalCode::InvalidHandshake),
        ("invalid request frame", RefusalCode::InvalidHandshake),
        ("invalid handshake", RefusalCode::InvalidHandshake),
        ("invalid-handshake", RefusalCode::InvalidHandshake),
        ("slow consumer", RefusalCode::SlowConsumer),
        ("service restart", RefusalCode::GatewayRestarting),
        ("invalid token", RefusalCode::TokenMismatch),
        ("wrong token", RefusalCode::TokenMismatch),
        ("unauthorized", RefusalCode::Unauthorized),
        ("authentication failed", RefusalCode::Unauthorized),
        ("not authenticated", RefusalCode::Unauthorized),
    ];
    let message = message.to_ascii_lowercase();
    PHRASES.iter().find(|(phrase, _)| message.contains(phrase)).map(|(_, code)| *code)
}

/// The last resort: the coarse code.
fn by_kind(error: &WireError) -> RefusalCode {
    match error.code.to_ascii_uppercase().as_str() {
        "NOT_PAIRED" => RefusalCode::PairingRequired,
        "UNAVAILABLE" if error.details.get("reason").and_then(|reason| reason.as_str()) == Some("startup-sidecars") => {
            RefusalCode::GatewayStarting
        }
        "UNAVAILABLE" => RefusalCode::GatewayUnavailable,
        "FORBIDDEN" | "UNAUTHORIZED" => RefusalCode::Unauthorized,
        "INTERNAL" | "INTERNAL_ERROR" | "-32603" => RefusalCode::GatewayError,
        _ => RefusalCode::RefusedByGateway,
    }
}

/// `(requestId: ...)` in a sentence or a close reason.
pub(super) fn request_id_in(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("requestId:")?;
    words::command_argument(rest.trim_start().split([')', ' ', ',']).next()?)
}
