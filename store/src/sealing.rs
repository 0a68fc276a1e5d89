//! Sealing of secrets at rest: XChaCha20-Poly1305, bound to the place where the secret is stored.
//!
//! The envelope is the text `v1:<key id>:<nonce, base64>:<ciphertext, base64>`. Table, row and column are the associated
//! data, so that a ciphertext moved to another row or column doesn't open. A row is named by something that is known before
//! it is inserted and never changes: a gateway by its uuid (its id exists only after the insert), a device token by its
//! address. The key id makes a wrong key recognisable without trying it, and leaves room for a change of keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use gatewarden_protocol::Secret;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::postgres::mesh_entry::MeshKey;

/// Where a secret is stored: part of what is authenticated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    /// What names the row, unchanged for its whole life.
    pub(crate) row: &'a str,
    pub(crate) column: &'static str,
}

impl Place<'_> {
    /// Lengths go in too, so that no two places read the same.
    fn associated_data(&self) -> Vec<u8> {
        format!("{}|{}|{}|{}", self.table, self.row.len(), self.row, self.column).into_bytes()
    }
}

/// Why a sealed value didn't open. Never holds any of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not an envelope of version 1.
    #[error("it is not a sealed value of a known version")]
    NotAnEnvelope,
    /// Sealed with another key.
    #[error("it was sealed with another key")]
    OtherKey,
    /// Changed, or moved from another row or column.
    #[error("it was changed, or moved here from another row or column")]
    NotAuthentic,
    /// The system gave no random numbers, or the cipher refused.
    #[error("it could not be sealed: the system gives no random numbers")]
    CannotSeal,
}

/// Seals and opens with one key.
#[derive(Clone)]
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    key_id: String,
    mesh_key: MeshKey,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer for a 32-byte key.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"gatewarden sealing key id\0");
        hash.update(key);
        let key_id = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { cipher: XChaCha20Poly1305::new(&Key::from(*key)), key_id, mesh_key: MeshKey::of(key) }
    }

    /// By which nodes with the same key know each other.
    pub(crate) fn mesh_key(&self) -> &MeshKey {
        &self.mesh_key
    }

    /// What every envelope of this key begins with.
    pub(crate) fn prefix(&self) -> String {
        format!("v1:{}:", self.key_id)
    }

    /// Seals a secret for one place, under a nonce drawn anew.
    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0_u8; 24];
        getrandom::fill(&mut nonce).map_err(|_| SealError::CannotSeal)?;
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &place.associated_data() })
            .map_err(|_| SealError::CannotSeal)?;
        Ok(format!("v1:{}:{}:{}", self.key_id, STANDARD.encode(nonce), STANDARD.encode(sealed)))
    }

    /// Opens what was sealed for this place.
    pub(crate) fn open(&self, place: Place<'_>, envelope: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut parts = envelope.split(':');
        let (Some("v1"), Some(key_id), Some(nonce), Some(sealed), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SealError::NotAnEnvelope);
        };
        if key_id != self.key_id {
            return Err(SealError::OtherKey);
        }
        let nonce: [u8; 24] =
            STANDARD.decode(nonce).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(SealError::NotAnEnvelope)?;
        let sealed = STANDARD.decode(sealed).map_err(|_| SealError::NotAnEnvelope)?;
        self.cipher
            .decrypt(&XNonce::from(nonce), Payload { msg: &sealed, aad: &place.associated_data() })
            .map(Zeroizing::new)
            .map_err(|_| SealError::NotAuthentic)
    }

    /// The same for text.
    pub(crate) fn open_text(&self, place: Place<'_>, envelope: &str) -> Result<Secret, SealError> {
        self.open(place, envelope).map(|plain| Secret::new(String::from_utf8_lossy(&plain)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'_> = Place { table: "gateways", row: "uuid-1", column: "token" };

    #[test]
    fn a_sealed_secret_opens_in_its_own_place() {
        let sealer = Sealer::new(&[7; 32]);
        let envelope = sealer.seal(HERE, b"tok-1").unwrap();
        assert!(envelope.starts_with("v1:"));
        assert_eq!(sealer.open(HERE, &envelope).unwrap().as_slice(), b"tok-1");
    }

    #[test]
    fn the_same_secret_never_seals_to_the_same_text() {
        let sealer = Sealer::new(&[7; 32]);
        assert_ne!(sealer.seal(HERE, b"tok-1").unwrap(), sealer.seal(HERE, b"tok-1").unwrap());
    }

    #[test]
    fn a_sealed_secret_opens_in_no_other_row_column_or_table() {
        let sealer = Sealer::new(&[7; 32]);
        let envelope = sealer.seal(HERE, b"tok-1").unwrap();
        for elsewhere in [
            Place { row: "uuid-2", ..HERE },
            Place { column: "url_token", ..HERE },
            Place { table: "device_tokens", ..HERE },
        ] {
            assert_eq!(sealer.open(elsewhere, &envelope), Err(SealError::NotAuthentic));
        }
    }

    #[test]
    fn a_sealed_secret_opens_with_no_other_key() {
        let envelope = Sealer::new(&[7; 32]).seal(HERE, b"tok-1").unwrap();
        assert_eq!(Sealer::new(&[8; 32]).open(HERE, &envelope), Err(SealError::OtherKey));
    }

    #[test]
    fn a_changed_envelope_does_not_open() {
        let sealer = Sealer::new(&[7; 32]);
        let envelope = sealer.seal(HERE, b"tok-1").unwrap();
        let (head, sealed) = envelope.rsplit_once(':').unwrap();
        let mut bytes = STANDARD.decode(sealed).unwrap();
        bytes[0] ^= 1;
        assert_eq!(sealer.open(HERE, &format!("{head}:{}", STANDARD.encode(bytes))), Err(SealError::NotAuthentic));
        for nonsense in ["", "v1", "tok-1", "v2:00000000:AA==:AA==", "v1:a:b:c:d"] {
            assert_eq!(sealer.open(HERE, nonsense), Err(SealError::NotAnEnvelope), "{nonsense}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", Sealer::new(&[0xab; 32]));
        assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    }
}
