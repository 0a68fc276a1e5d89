//! Devices and requests as `device.pair.*` shows them (2026.9.6).

use serde_json::{Value, json};

use super::{Device, PairingReason, PairingRequest};

pub(crate) fn pending_row(request: &PairingRequest) -> Value {
    let who = &request.introduction;
    let mut row = json!({
        "requestId": request.id,
        "deviceId": request.device_id,
        "publicKey": who.public_key,
        "platform": who.platform,
        "clientId": who.client_id,
        "clientMode": who.client_mode,
        "role": "operator",
        "roles": ["operator"],
        "scopes": request.scopes,
        "remoteIp": request.remote,
        "silent": false,
        "isRepair": request.reason != PairingReason::NotPaired,
        "reason": request.reason.as_str(),
        "ts": request.asked_at_ms,
    });
    add_names(&mut row, who.display_name.as_deref(), who.device_family.as_deref());
    row
}

/// An approved device. Its tokens are shown by their times only.
pub(crate) fn device_row(device: &Device) -> Value {
    let who = &device.introduction;
    let tokens: Vec<Value> = device
        .tokens()
        .iter()
        .map(|token| {
            json!({
                "role": "operator",
                "scopes": token.scopes,
                "createdAtMs": token.issued_at_ms,
                "expiresAtMs": token.expires_at_ms,
            })
        })
        .collect();
    let mut row = json!({
        "deviceId": device.id,
        "publicKey": who.public_key,
        "platform": who.platform,
        "clientId": who.client_id,
        "clientMode": who.client_mode,
        "role": "operator",
        "roles": ["operator"],
        "scopes": device.scopes,
        "silent": device.silent,
        "tokens": tokens,
        "createdAtMs": device.created_at_ms,
        "approvedAtMs": device.approved_at_ms,
        "lastSeenAtMs": device.last_seen_at_ms,
    });
    add_names(&mut row, who.display_name.as_deref(), who.device_family.as_deref());
    row
}

fn add_names(row: &mut Value, display_name: Option<&str>, device_family: Option<&str>) {
    let Some(fields) = row.as_object_mut() else { return };
    for (name, value) in [("displayName", display_name), ("deviceFamily", device_family)] {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.into());
        }
    }
}
