//! The words of refusals, as 2026.3.24 (protocol 3) and 2026.9.6 (protocol 4) word them. Clients branch on them.

use std::time::Duration;

use gatewarden_protocol::Dialect;
use serde_json::{Value, json};

use super::{NEWEST_PROTOCOL, OLDEST_PROTOCOL, Refusal, Rejection};
use crate::COMPATIBLE_VERSION;
use crate::call::CallError;
use crate::devices::{Device, NoRoom, PairingReason, PairingRequest};
use crate::nodes::MOST_NODES;

/// The range that a client speaks has nothing that we speak.
pub(super) fn protocol_mismatch(request: &str, min: u32, max: u32) -> Refusal {
    let details = if max < OLDEST_PROTOCOL {
        json!({"expectedProtocol": OLDEST_PROTOCOL})
    } else {
        json!({
            "code": "PROTOCOL_MISMATCH",
            "clientMinProtocol": min,
            "clientMaxProtocol": max,
            "expectedProtocol": NEWEST_PROTOCOL,
            "minimumProbeProtocol": OLDEST_PROTOCOL,
        })
    };
    let error = CallError::invalid("protocol mismatch").with_details(details);
    Refusal { close_code: 1002, ..Refusal::new(Dialect::Openclaw, Some(request.to_owned()), error) }
}

/// The page is not one that may talk to the gateway. `reason` says why.
pub(super) fn origin(reason: &str) -> CallError {
    CallError::invalid(
        "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
    )
    .with_details(json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": reason}))
}

/// A device's proof doesn't hold.
pub(super) fn device(message: &str, code: &str, reason: &str) -> CallError {
    CallError::invalid(message).with_details(json!({"code": code, "reason": reason}))
}

/// A device is needed, and none was shown.
pub(super) fn device_required() -> CallError {
    CallError { code: "NOT_PAIRED", ..CallError::invalid("device identity required") }
        .with_details(json!({"code": "DEVICE_IDENTITY_REQUIRED"}))
}

/// The same for clients that run in a browser or stand in for one.
pub(super) fn control_ui_device_required() -> CallError {
    CallError::invalid("control ui requires device identity (use HTTPS or localhost secure context)")
        .with_details(json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}))
}

/// A node where devices aren't looked at.
pub(super) fn no_nodes() -> CallError {
    CallError::invalid(
        "nodes need a device identity, and this gateway looks at none; set gateway.auth.deviceAuth.enabled to true",
    )
    .with_details(json!({"code": "DEVICE_IDENTITY_REQUIRED"}))
}

pub(super) fn too_many_nodes() -> CallError {
    CallError::unavailable(format!("{MOST_NODES} nodes are connected, and no more are let in; stop one of them"))
        .with_details(json!({"code": "TOO_MANY_NODES", "limit": MOST_NODES}))
}

/// Something else than `auth` came first in the `rpc` dialect.
pub(super) fn auth_first() -> CallError {
    CallError::invalid(
        "unauthorized: the first message must be auth ({\"method\":\"auth\",\"params\":{\"token\":\"...\"}} with the gateway's token)",
    )
    .with_details(json!({"code": "AUTH_REQUIRED"}))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unauthorized {
    /// None was shown where the gateway has a token.
    TokenMissing,
    /// It is not the gateway's token.
    TokenMismatch,
    /// None was shown where the gateway has a password.
    PasswordMissing,
    /// It is not the gateway's password.
    PasswordMismatch,
    /// It is not a token of this device, or no longer.
    DeviceTokenMismatch,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) client_id: &'a str,
    pub(super) protocol: u32,
    /// Whether the client has proven to be a device, and so may have a device token to try.
    pub(super) has_device: bool,
}

pub(super) fn unauthorized(why: Unauthorized, told: Told<'_>) -> CallError {
    use Unauthorized::*;
    let (code, reason, what) = match why {
        TokenMissing => ("AUTH_TOKEN_MISSING", "token_missing", "gateway token missing"),
        TokenMismatch => ("AUTH_TOKEN_MISMATCH", "token_mismatch", "gateway token mismatch"),
        PasswordMissing => ("AUTH_PASSWORD_MISSING", "password_missing", "gateway password missing"),
        PasswordMismatch => ("AUTH_PASSWORD_MISMATCH", "password_mismatch", "gateway password mismatch"),
        DeviceTokenMismatch => ("AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch", "device token mismatch"),
    };
    let retry_with_device = why == TokenMismatch && told.has_device;
    let next = match why {
        TokenMissing | PasswordMissing => "update_auth_configuration",
        _ if retry_with_device => "retry_with_device_token",
        _ => "update_auth_credentials",
    };
    CallError::invalid(format!("unauthorized: {what} ({})", advice(why, told))).with_details(json!({
        "code": code,
        "authReason": reason,
        "canRetryWithDeviceToken": retry_with_device,
        "recommendedNextStep": next,
    }))
}

fn advice(why: Unauthorized, told: Told<'_>) -> &'static str {
    use Unauthorized::*;
    let password = matches!(why, PasswordMissing | PasswordMismatch);
    match (why, told.client_id) {
        (DeviceTokenMismatch, _) => "rotate/reissue device token",
        (_, "cli") if told.protocol >= 4 && password => "use this gateway's gateway.auth.password or pair the device",
        (_, "cli") if told.protocol >= 4 => "use this gateway's gateway.auth.token or pair the device",
        (_, "cli") if password => "set gateway.remote.password to match gateway.auth.password",
        (_, "cli") => "set gateway.remote.token to match gateway.auth.token",
        (_, "openclaw-control-ui" | "webchat-ui" | "webchat") if password => {
            "enter the password in Control UI settings"
        }
        (_, "openclaw-control-ui" | "webchat-ui" | "webchat") => {
            "open the dashboard URL and paste the token in Control UI settings"
        }
        _ if password => "provide gateway auth password",
        _ => "provide gateway auth token",
    }
}

/// Locked out. Protocol 3 doesn't say for how long.
pub(super) fn rate_limited(left: Duration, protocol: u32) -> CallError {
    let error =
        CallError::invalid("unauthorized: too many failed authentication attempts (retry later)").with_details(json!({
            "code": "AUTH_RATE_LIMITED",
            "authReason": "rate_limited",
            "canRetryWithDeviceToken": false,
            "recommendedNextStep": "wait_then_retry",
        }));
    match protocol {
        3 => error,
        _ => error.retry_after(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)),
    }
}

/// A refusal until the device is approved. `approved` is what it was approved for before.
pub(super) fn pairing_required(protocol: u32, request: &PairingRequest, approved: Option<&Device>) -> Rejection {
    let PairingRequest { id: request_id, device_id, scopes, reason, .. } = request;
    // Ours: real releases have no version here. By it clients can tell which command approves.
    let hint = format!("On the gateway's machine run: gatewarden gateway devices approve {request_id}");
    let (message, details) = if protocol >= 4 {
        let mut details = json!({
            "code": "PAIRING_REQUIRED",
            "reason": reason.as_str(),
            "requestId": request_id,
            "remediationHint": hint,
            "gatewayVersion": COMPATIBLE_VERSION,
            "deviceId": device_id,
            "requestedRole": request.introduction.role,
            "requestedScopes": scopes,
        });
        if let (Some(approved), Value::Object(fields)) = (approved, &mut details) {
            fields.insert("approvedRoles".to_owned(), json!(approved.roles().collect::<Vec<_>>()));
            fields.insert("approvedScopes".to_owned(), json!(approved.scopes));
        }
        (format!("pairing required: {}", sentence(*reason)), details)
    } else {
        let details = json!({
            "code": "PAIRING_REQUIRED",
            "requestId": request_id,
            "reason": reason.as_str(),
            "remediationHint": hint,
            "gatewayVersion": COMPATIBLE_VERSION,
        });
        ("pairing required".to_owned(), details)
    };
    let close_reason = if protocol >= 4 { format!("{message} (requestId: {request_id})") } else { message.clone() };
    let error = CallError { code: "NOT_PAIRED", ..CallError::invalid(message) }.with_details(details);
    Rejection { error, close_reason: Some(close_reason), counts: false }
}

fn sentence(reason: PairingReason) -> &'static str {
    match reason {
        PairingReason::NotPaired => "device is not approved yet",
        PairingReason::ScopeUpgrade => "device is asking for more scopes than currently approved",
        PairingReason::RoleUpgrade => "device is asking for a higher role than currently approved",
        PairingReason::MetadataUpgrade => "device identity changed and must be re-approved",
    }
}

pub(super) fn too_many_devices(no_room: NoRoom) -> CallError {
    CallError { code: "NOT_PAIRED", ..no_room.error() }
}
