//! Whether a connect request is good: token, device, signature and nonce, checked as real gateways check them. Written
//! without the daemon's own protocol crate, so that a mistake there cannot hide itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::behaviour::{Behaviour, Form};
use super::refusals::Case;

/// Tolerance of `signedAt`, as real gateways have it.
const SIGNED_AT_TOLERANCE_MS: i64 = 120_000;

/// What a connection knows when its connect request comes.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) nonce: &'a str,
    pub(crate) now_ms: i64,
    /// Tokens issued to devices: device id and token.
    pub(crate) issued: &'a [(String, String)],
}

/// Lets the client in, or says why not.
pub(crate) fn admit(behaviour: &Behaviour, params: &Value, context: &Context<'_>) -> Result<(), Case> {
    let (lowest, highest) = (params["minProtocol"].as_i64(), params["maxProtocol"].as_i64());
    let own = if behaviour.form == Form::Protocol4 { 4 } else { 3 };
    let (Some(lowest), Some(highest)) = (lowest, highest) else { return Err(Case::SchemaError) };
    check_client(behaviour, params)?;
    if !(lowest..=highest).contains(&own) {
        return Err(Case::ProtocolMismatch);
    }
    if params["role"].as_str() != Some("operator") {
        return Err(Case::InvalidRole);
    }
    let auth = &params["auth"];
    let shared = auth["token"].as_str().filter(|token| !token.is_empty());
    let device_token = auth["deviceToken"].as_str().or_else(|| params["deviceToken"].as_str());
    let signed_token = shared.or(device_token).unwrap_or_default();
    let device = &params["device"];
    if device.is_object() {
        check_device(params, device, signed_token, context)?;
    } else if behaviour.form == Form::Document002 && behaviour.device_auth_required {
        return Err(Case::DeviceRequired);
    }
    let Some(wanted) = &behaviour.token else { return Ok(()) };
    let is_issued = |token: &str| {
        context.issued.iter().any(|(owner, issued)| issued == token && Some(owner.as_str()) == device["id"].as_str())
    };
    match (shared, device_token) {
        (Some(token), _) if token == wanted || is_issued(token) => Ok(()),
        (_, Some(token)) if is_issued(token) => Ok(()),
        (None, Some(_)) => Err(Case::DeviceTokenMismatch),
        (Some(_), _) => Err(Case::TokenMismatch),
        (None, None) if device.is_object() => Err(Case::TokenMissing),
        (None, None) => Err(Case::DeviceRequired),
    }
}

fn check_client(behaviour: &Behaviour, params: &Value) -> Result<(), Case> {
    let allowed = [
        "minProtocol",
        "maxProtocol",
        "client",
        "role",
        "scopes",
        "caps",
        "commands",
        "permissions",
        "pathEnv",
        "device",
        "auth",
        "locale",
        "userAgent",
    ];
    let client = &params["client"];
    let complete = ["id", "version", "platform", "mode"].iter().all(|field| client[field].is_string());
    let known = behaviour.form == Form::Document002
        || params.as_object().is_some_and(|fields| fields.keys().all(|field| allowed.contains(&field.as_str())));
    let ids = ["gateway-client", "cli", "openclaw-control-ui", "webchat", "test", "openclaw-probe"];
    let modes = ["backend", "cli", "ui", "webchat", "probe", "test"];
    let listed = ids.contains(&client["id"].as_str().unwrap_or_default())
        && modes.contains(&client["mode"].as_str().unwrap_or_default());
    let old_auth = behaviour.form == Form::Release219 && params["auth"].get("deviceToken").is_some();
    if complete && known && listed && !old_auth { Ok(()) } else { Err(Case::SchemaError) }
}

fn check_device(params: &Value, device: &Value, token: &str, context: &Context<'_>) -> Result<(), Case> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let public: [u8; 32] = URL_SAFE_NO_PAD
        .decode(text(&device["publicKey"]))
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Case::DeviceIdMismatch)?;
    let id: String = Sha256::digest(public).iter().map(|byte| format!("{byte:02x}")).collect();
    if device["id"].as_str() != Some(id.as_str()) {
        return Err(Case::DeviceIdMismatch);
    }
    if device["nonce"].as_str() != Some(context.nonce) {
        return Err(Case::NonceMismatch);
    }
    let signed_at = device["signedAt"].as_i64().ok_or(Case::SchemaError)?;
    if (signed_at - context.now_ms).abs() > SIGNED_AT_TOLERANCE_MS {
        return Err(Case::SignatureExpired);
    }
    let scopes: Vec<&str> = params["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let client = &params["client"];
    let payload = [
        "v2",
        &id,
        &text(&client["id"]),
        &text(&client["mode"]),
        &text(&params["role"]),
        &scopes.join(","),
        &signed_at.to_string(),
        token,
        context.nonce,
    ]
    .join("|");
    let signature: [u8; 64] = URL_SAFE_NO_PAD
        .decode(text(&device["signature"]))
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Case::SignatureInvalid)?;
    VerifyingKey::from_bytes(&public)
        .map_err(|_| Case::DeviceIdMismatch)?
        .verify_strict(payload.as_bytes(), &Signature::from_bytes(&signature))
        .map_err(|_| Case::SignatureInvalid)
}
