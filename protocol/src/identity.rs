//! The device identity of an installation: one Ed25519 key, made once.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// An Ed25519 key and what gateways know of it. The private half is wiped from memory when dropped and never shown.
pub struct DeviceIdentity {
    key: SigningKey,
    device_id: String,
    public_key: String,
}

/// Why a text is no device key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a PEM text with an Ed25519 private key.
    #[error("not an unencrypted PKCS#8 private key of type Ed25519 (a PEM text that begins with BEGIN PRIVATE KEY)")]
    NotAnEd25519Key,
    /// The key could not be written as PEM.
    #[error("the device key could not be encoded as PKCS#8")]
    NotEncodable,
}

impl DeviceIdentity {
    /// The identity of a seed: 32 random bytes that the caller drew, or opened from its store.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = key.verifying_key();
        Self { device_id: device_id_of(public.as_bytes()), public_key: URL_SAFE_NO_PAD.encode(public.as_bytes()), key }
    }

    /// Reads a PKCS#8 PEM text: version 1 (what OpenSSL and Node write) or 2.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, IdentityError> {
        let key = SigningKey::from_pkcs8_pem(pem.trim()).map_err(|_| IdentityError::NotAnEd25519Key)?;
        Ok(Self::from_seed(&Zeroizing::new(key.to_bytes())))
    }

    /// Writes a PKCS#8 PEM text of version 1: without the public key, because OpenSSL and Node refuse version 2.
    pub fn to_pkcs8_pem(&self) -> Result<Secret, IdentityError> {
        let bytes = KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF).map_err(|_| IdentityError::NotEncodable)?;
        Ok(Secret::new(pem.as_str()))
    }

    /// The seed, to be sealed in the store. It is the whole secret.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// Lowercase hex SHA-256 of the raw public key: how gateways name this device.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// The first 8 digits of the device id: enough for a person to tell installations apart.
    pub fn short_id(&self) -> &str {
        self.device_id.get(..8).unwrap_or(&self.device_id)
    }

    /// The raw public key, base64url without padding.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Signs a text: base64url without padding.
    pub fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()).to_bytes())
    }
}

/// The device id of a raw public key.
pub fn device_id_of(public_key: &[u8; 32]) -> String {
    hex::encode(Sha256::digest(public_key))
}

impl fmt::Debug for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceIdentity").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
