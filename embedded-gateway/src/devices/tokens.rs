//! Device tokens: issued, recognised, replaced and withdrawn.

use std::fmt;

use gatewarden_protocol::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Device, Devices};
use crate::caller::Role;

/// Most tokens of one device and role that are good at a time; the oldest goes. More than one, since after a restart of the gateway a
/// device gets a new one while another program with the same device may still use the old.
const MAX_TOKENS: usize = 4;

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceToken {
    /// SHA-256 of the token; base64url without padding in the file.
    #[serde(rename = "sha256", with = "hash_text")]
    pub(super) hash: [u8; 32],
    #[serde(skip)]
    pub(super) clear: Option<Secret>,
    /// What it lets in. Releases before nodes wrote none.
    #[serde(default)]
    pub role: Role,
    pub scopes: Vec<String>,
    /// When it was issued, in wall ms.
    pub issued_at_ms: i64,
    /// From when on it is good no more, in wall ms.
    pub expires_at_ms: i64,
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceToken").field("expires_at_ms", &self.expires_at_ms).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Issued {
    pub token: Secret,
    /// When it was issued, in wall ms.
    pub issued_at_ms: i64,
    /// It was made just now: the registry is to be saved.
    pub is_fresh: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenState {
    Good(Vec<String>),
    Expired,
    /// Not one of the device's.
    Unknown,
}

impl Devices {
    /// What a token that a device shows for a role is. Takes the same time whatever it is.
    pub(crate) fn check_token(&self, id: &str, role: Role, token: &Secret, now_ms: i64) -> TokenState {
        self.paired.get(id).map_or(TokenState::Unknown, |device| device.check(role, &hash(token), now_ms))
    }

    /// Whose good token of an operator this is, where no device proves itself (document 002's reconnect).
    pub(crate) fn owner_of(&self, token: &Secret, now_ms: i64) -> Option<(&Device, Vec<String>)> {
        let hash = hash(token);
        let mut owner = None;
        for device in self.paired.values() {
            if let TokenState::Good(scopes) = device.check(Role::Operator, &hash, now_ms) {
                owner = Some((device, scopes));
            }
        }
        owner
    }

    /// The token that a device is given with its hello, for these scopes: the one that it has shown, or got before, if that
    /// is good for long enough yet; else a fresh one. None for a device that isn't approved.
    pub(crate) fn token_for(
        &mut self,
        id: &str,
        role: Role,
        scopes: &[String],
        shown: Option<&Secret>,
        now_ms: i64,
        fresh: impl FnOnce() -> Secret,
    ) -> Option<Issued> {
        let ttl = self.ttl_ms();
        let device = self.paired.get_mut(id)?;
        // In the second half of its life a token is replaced, so that who comes by regularly is never shut out.
        let usable = |token: &&DeviceToken| {
            let lives_on = token.expires_at_ms.saturating_sub(now_ms) > ttl / 2;
            lives_on && token.role == role && token.scopes.as_slice() == scopes
        };
        let of_shown = shown.and_then(|shown| {
            let hash = hash(shown);
            let token = device.tokens.iter().filter(usable).find(|token| same(&hash, &token.hash))?;
            Some((shown.clone(), token.issued_at_ms))
        });
        let kept = of_shown.or_else(|| {
            let mut known = device.tokens.iter().rev().filter(usable);
            known.find_map(|token| Some((token.clear.clone()?, token.issued_at_ms)))
        });
        if let Some((token, issued_at_ms)) = kept {
            return Some(Issued { token, issued_at_ms, is_fresh: false });
        }
        let token = fresh();
        device.add(role, &token, scopes.to_vec(), now_ms, ttl);
        Some(Issued { token, issued_at_ms: now_ms, is_fresh: true })
    }

    /// Gives a device a new token for a role and these scopes, and makes all others of the role worthless. None for a device
    /// that isn't approved for it.
    pub(crate) fn rotate(
        &mut self,
        id: &str,
        role: Role,
        scopes: Vec<String>,
        now_ms: i64,
        fresh: Secret,
    ) -> Option<DeviceToken> {
        let ttl = self.ttl_ms();
        let device = self.paired.get_mut(id).filter(|device| device.is(role))?;
        device.tokens.retain(|token| token.role != role);
        device.add(role, &fresh, scopes, now_ms, ttl);
        device.tokens.last().cloned()
    }

    /// Makes all tokens of a device for a role worthless. How many there were; none for a device that isn't approved for it.
    pub(crate) fn revoke(&mut self, id: &str, role: Role) -> Option<usize> {
        let device = self.paired.get_mut(id).filter(|device| device.is(role))?;
        let before = device.tokens.len();
        device.tokens.retain(|token| token.role != role);
        Some(before - device.tokens.len())
    }

    fn ttl_ms(&self) -> i64 {
        i64::try_from(self.token_ttl.as_millis()).unwrap_or(i64::MAX).max(1)
    }
}

impl Device {
    /// Whether it was given an operator's token that has not been withdrawn since, good or expired.
    pub(crate) fn has_tokens(&self) -> bool {
        self.tokens.iter().any(|token| token.role == Role::Operator)
    }

    pub(crate) fn tokens(&self) -> &[DeviceToken] {
        &self.tokens
    }

    fn check(&self, role: Role, hash: &[u8; 32], now_ms: i64) -> TokenState {
        let mut state = TokenState::Unknown;
        for token in &self.tokens {
            if same(hash, &token.hash) && token.role == role {
                state = if now_ms < token.expires_at_ms {
                    TokenState::Good(token.scopes.clone())
                } else {
                    TokenState::Expired
                };
            }
        }
        state
    }

    fn add(&mut self, role: Role, token: &Secret, scopes: Vec<String>, now_ms: i64, ttl_ms: i64) {
        let of_role = |token: &DeviceToken| token.role == role;
        if self.tokens.iter().filter(|token| of_role(token)).count() >= MAX_TOKENS
            && let Some(oldest) = self.tokens.iter().position(of_role)
        {
            self.tokens.remove(oldest);
        }
        self.tokens.push(DeviceToken {
            hash: hash(token),
            clear: Some(token.clone()),
            role,
            scopes,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(ttl_ms),
        });
    }
}

fn hash(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose()).into()
}

fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    bool::from(one.as_slice().ct_eq(other.as_slice()))
}

mod hash_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(hash))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        hash.ok_or_else(|| D::Error::custom("a hash of a token was damaged"))
    }
}
