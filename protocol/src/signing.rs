//! The text that a device signs to prove itself to a gateway, and its verification.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::identity::device_id_of;

/// Which form the signed text has. All measured releases take version 2; 2026.2.19 takes no version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureVersion {
    /// `v2|deviceId|clientId|clientMode|role|scopes|signedAt|token|nonce`
    #[default]
    V2,
    /// Version 2 followed by `|platform|deviceFamily`, both trimmed and in lower case.
    V3,
}

/// What a device signature covers.
#[derive(Debug, Clone, Copy)]
pub struct SignedFields<'a> {
    /// Hex SHA-256 of the public key.
    pub device_id: &'a str,
    /// `client.id`.
    pub client_id: &'a str,
    /// `client.mode`.
    pub client_mode: &'a str,
    /// The role asked for.
    pub role: &'a str,
    /// The scopes asked for, in the order sent.
    pub scopes: &'a [String],
    /// Wall ms of the signature: the challenge's `ts` where it has one.
    pub signed_at_ms: i64,
    /// The credential that the request carries: shared token, else device token, else empty.
    pub token: &'a str,
    /// The challenge's nonce.
    pub nonce: &'a str,
    /// `client.platform` (version 3 only).
    pub platform: &'a str,
    /// `client.deviceFamily`, empty where not sent (version 3 only).
    pub device_family: &'a str,
}

impl SignedFields<'_> {
    /// The text to sign.
    pub fn payload(&self, version: SignatureVersion) -> String {
        let Self { device_id, client_id, client_mode, role, signed_at_ms, token, nonce, .. } = self;
        let scopes = self.scopes.join(",");
        let common = format!("{device_id}|{client_id}|{client_mode}|{role}|{scopes}|{signed_at_ms}|{token}|{nonce}");
        match version {
            SignatureVersion::V2 => format!("v2|{common}"),
            SignatureVersion::V3 => format!("v3|{common}|{}|{}", plain(self.platform), plain(self.device_family)),
        }
    }
}

fn plain(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Why a device's proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The public key is not 32 bytes in base64url, or no point of the curve.
    #[error("device public key invalid")]
    PublicKey,
    /// The device id is not the hash of the public key.
    #[error("device identity mismatch")]
    DeviceId,
    /// The signature is malformed, or not this key's over this text.
    #[error("device signature invalid")]
    Signature,
}

/// Checks a device's proof as a gateway does: the id belongs to the key, and the key signed the fields, in either version.
/// Weak keys and malleable signatures are refused. Returns the version that matched.
pub fn verify(fields: &SignedFields<'_>, public_key: &str, signature: &str) -> Result<SignatureVersion, ProofError> {
    let raw: [u8; 32] = decode(public_key).ok_or(ProofError::PublicKey)?;
    if device_id_of(&raw) != fields.device_id {
        return Err(ProofError::DeviceId);
    }
    let key = VerifyingKey::from_bytes(&raw).map_err(|_| ProofError::PublicKey)?;
    let signature = Signature::from_bytes(&decode(signature).ok_or(ProofError::Signature)?);
    [SignatureVersion::V2, SignatureVersion::V3]
        .into_iter()
        .find(|version| key.verify_strict(fields.payload(*version).as_bytes(), &signature).is_ok())
        .ok_or(ProofError::Signature)
}

/// Base64url with or without padding, of exactly `N` bytes.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
