//! Whether a client is the device that it says to be.

use gatewarden_protocol::Secret;
use gatewarden_protocol::signing::{ProofError, SignedFields, verify};

use super::{ConnectParams, DeviceClaim, ProvenDevice, SIGNATURE_SKEW_MS, refusals};
use crate::reply::CallError;

/// Checks id, time, nonce and signature, in the order of real releases. `nonce` is this connection's.
pub(super) fn check(
    claim: &DeviceClaim,
    params: &ConnectParams,
    nonce: &str,
    wall_ms: i64,
) -> Result<ProvenDevice, CallError> {
    // Document 002 shows plain base64; the same bytes in the other alphabet are the same key.
    let (public_key, signature) = (url_safe(&claim.public_key), url_safe(&claim.signature));
    let verdict = signed_tokens(params)
        .into_iter()
        .map(|token| verify(&fields(claim, params, token), &public_key, &signature))
        .reduce(|first, next| if first.is_ok() { first } else { next });
    if matches!(verdict, Some(Err(ProofError::DeviceId | ProofError::PublicKey))) {
        return Err(refusals::device(
            "device identity mismatch",
            "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            "device-id-mismatch",
        ));
    }
    if claim.signed_at_ms.abs_diff(wall_ms) > SIGNATURE_SKEW_MS {
        return Err(refusals::device(
            "device signature expired",
            "DEVICE_AUTH_SIGNATURE_EXPIRED",
            "device-signature-stale",
        ));
    }
    if claim.nonce != nonce {
        return Err(refusals::device("device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH", "device-nonce-mismatch"));
    }
    if !matches!(verdict, Some(Ok(_))) {
        return Err(refusals::device("device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID", "device-signature"));
    }
    Ok(ProvenDevice { id: claim.id.clone(), public_key })
}

fn fields<'a>(claim: &'a DeviceClaim, params: &'a ConnectParams, token: &'a str) -> SignedFields<'a> {
    SignedFields {
        device_id: &claim.id,
        client_id: &params.client.id,
        client_mode: &params.client.mode,
        role: &params.role,
        scopes: &params.scopes,
        signed_at_ms: claim.signed_at_ms,
        token,
        nonce: &claim.nonce,
        platform: &params.client.platform,
        device_family: params.client.device_family.as_deref().unwrap_or_default(),
    }
}

/// The tokens that may stand in the signed text: the first of `auth`, and document 002's device token where it is sent.
fn signed_tokens(params: &ConnectParams) -> Vec<&str> {
    let shown = &params.credentials;
    let of_auth = shown.token.as_ref().or(shown.device_token.as_ref()).or(shown.bootstrap_token.as_ref());
    let documented = shown.documented_device_token.as_ref();
    match (of_auth, documented) {
        (Some(first), Some(second)) => vec![first.expose(), second.expose()],
        (first, second) => vec![first.or(second).map(Secret::expose).unwrap_or_default()],
    }
}

fn url_safe(text: &str) -> String {
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}
