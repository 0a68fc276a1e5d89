//! The devices that were approved, those that wait for it, and their tokens.
//!
//! Pure: what changes is written back as the whole file `devices.json` ([`Devices::save`]). Tokens are kept as SHA-256
//! hashes on disk; the clear text of the newest one of each device stays in memory, so that a device which reconnects gets
//! the same one again.

mod node;
mod pairing;
mod tokens;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewarden_protocol::identity::device_id_of;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::CallError;
use crate::caller::Role;
use crate::config::DeviceAuth;
use crate::effect::FileChange;
use crate::payload::{joined, without_nulls};
use crate::turn::Turn;

pub(crate) use node::{ApprovedSurface, NodeRecord, Offered, PendingSurface, Surface, Unsurfaced};
pub(crate) use pairing::{Asking, PairingReason, PairingRequest, Unapprovable};
pub(crate) use tokens::{DeviceToken, TokenState};

/// Most devices that are kept.
pub(crate) const MAX_DEVICES: usize = 1_000;
/// Most requests that wait for an approval; the oldest goes when another comes.
pub(crate) const MAX_PENDING: usize = 64;
/// A request that was not repeated for so long is forgotten.
pub(crate) const PENDING_LIFE: Duration = Duration::from_secs(3_600);
/// A device that was approved without asking may give way to another of the same name after this.
const SUPERSEDABLE_AFTER_MS: i64 = 60_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    /// Lowercase hex SHA-256 of the public key.
    #[serde(rename = "deviceId")]
    pub id: String,
    #[serde(flatten)]
    pub introduction: Introduction,
    pub scopes: Vec<String>,
    /// Approved without asking: it was local and held the shared credential.
    pub silent: bool,
    /// First approval, in wall ms.
    pub created_at_ms: i64,
    /// Last approval, in wall ms.
    pub approved_at_ms: i64,
    /// Last time that it was let in, in wall ms, as far as it was written.
    pub last_seen_at_ms: i64,
    pub(crate) tokens: Vec<DeviceToken>,
    /// What it is as a node, where it was let in as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Box<NodeRecord>>,
}

impl Device {
    /// Whether it was approved for this role; it may be for both.
    pub(crate) fn is(&self, role: Role) -> bool {
        self.roles().any(|own| own == role)
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = Role> {
        let operator = (self.introduction.role == Role::Operator).then_some(Role::Operator);
        operator.into_iter().chain(self.node.is_some().then_some(Role::Node))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Introduction {
    /// Raw public key, base64url without padding.
    pub public_key: String,
    pub client_id: String,
    pub client_mode: String,
    /// What it wants to be. Releases before nodes wrote none.
    #[serde(default)]
    pub role: Role,
    pub display_name: Option<String>,
    /// Pinned: another one later needs an approval.
    pub platform: String,
    /// Pinned, where it was sent.
    pub device_family: Option<String>,
}

impl Introduction {
    /// Whether both belong to one identity ("user"), whose devices are limited: same client and same name.
    fn same_user(&self, other: &Self) -> bool {
        self.client_id == other.client_id && self.display_name == other.display_name
    }

    /// Whether this one keeps to what is pinned in `pinned`.
    fn keeps_to(&self, pinned: &Self) -> bool {
        let family = match (&self.device_family, &pinned.device_family) {
            (Some(said), Some(pinned)) => said == pinned,
            _ => true,
        };
        self.platform == pinned.platform && family
    }
}

/// No room for another device: so many are the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} devices are the most")]
pub(crate) struct NoRoom(pub usize);

impl NoRoom {
    pub(crate) fn error(self) -> CallError {
        CallError::invalid(format!(
            "device limit reached: {} devices with this name are paired already; remove one with device.pair.remove or raise gateway.auth.deviceAuth.maxDevicesPerUser",
            self.0
        ))
        .with_details(json!({"code": "DEVICE_LIMIT_REACHED", "limit": self.0}))
    }
}

#[derive(Debug)]
pub(crate) struct Devices {
    token_ttl: Duration,
    most_of_a_user: usize,
    paired: BTreeMap<String, Device>,
    pending: Vec<PairingRequest>,
}

impl Devices {
    pub(crate) fn new(config: &DeviceAuth) -> Self {
        Self {
            token_ttl: config.token_ttl,
            most_of_a_user: config.max_devices_per_user.clamp(1, MAX_DEVICES),
            paired: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// Tokens get the new lifetime when they are made.
    pub(crate) fn configure(&mut self, config: &DeviceAuth) {
        let Self { token_ttl, most_of_a_user, .. } = Self::new(config);
        (self.token_ttl, self.most_of_a_user) = (token_ttl, most_of_a_user);
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Device> {
        self.paired.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Device> {
        self.paired.values()
    }

    /// Approves a device that is new, without asking anybody. Where its identity has too many devices already, the oldest of
    /// those that were approved like this and are not `connected` gives way; it is returned. (Real releases drop all such
    /// at once, so that two installations of equal name take turns in losing their tokens.)
    pub(crate) fn approve_silently(
        &mut self,
        id: &str,
        introduction: Introduction,
        scopes: Vec<String>,
        connected: impl Fn(&str) -> bool,
        now_ms: i64,
    ) -> Result<Option<Device>, NoRoom> {
        let gone = match self.room_for(&introduction) {
            Ok(()) => None,
            Err(no_room) => {
                let oldest = self
                    .paired
                    .values()
                    .filter(|device| device.silent && device.introduction.same_user(&introduction))
                    .filter(|device| now_ms.saturating_sub(device.approved_at_ms) >= SUPERSEDABLE_AFTER_MS)
                    .filter(|device| !connected(&device.id))
                    .min_by_key(|device| (device.last_seen_at_ms, device.approved_at_ms))
                    .map(|device| device.id.clone());
                Some(oldest.and_then(|id| self.remove(&id)).ok_or(no_room)?)
            }
        };
        self.insert(id, introduction, scopes, true, now_ms);
        Ok(gone)
    }

    /// Gives a device more scopes, without asking anybody.
    pub(crate) fn widen(&mut self, id: &str, scopes: &[String]) {
        let Some(device) = self.paired.get_mut(id) else { return };
        add_scopes(&mut device.scopes, scopes);
    }

    /// Lets a known device in for another role, too.
    pub(crate) fn add_role(&mut self, id: &str, introduction: Introduction, scopes: &[String]) {
        let Some(device) = self.paired.get_mut(id) else { return };
        match introduction.role {
            Role::Operator => device.introduction = introduction,
            Role::Node => device.node = Some(Box::new(NodeRecord::new(introduction))),
        }
        add_scopes(&mut device.scopes, scopes);
    }

    /// Notes that a device was let in. (Not written by itself.)
    pub(crate) fn seen(&mut self, id: &str, now_ms: i64) {
        if let Some(device) = self.paired.get_mut(id) {
            device.last_seen_at_ms = now_ms;
        }
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Device> {
        self.pending.retain(|request| request.device_id != id);
        self.paired.remove(id)
    }

    fn room_for(&self, introduction: &Introduction) -> Result<(), NoRoom> {
        self.room_of_user(introduction)?;
        if self.paired.len() >= MAX_DEVICES { Err(NoRoom(MAX_DEVICES)) } else { Ok(()) }
    }

    fn room_of_user(&self, introduction: &Introduction) -> Result<(), NoRoom> {
        let of_user = self.paired.values().filter(|device| device.introduction.same_user(introduction)).count();
        if of_user >= self.most_of_a_user { Err(NoRoom(self.most_of_a_user)) } else { Ok(()) }
    }

    fn insert(&mut self, id: &str, introduction: Introduction, scopes: Vec<String>, silent: bool, now_ms: i64) {
        self.pending.retain(|request| request.device_id != id || request.introduction.role != introduction.role);
        let node = (introduction.role == Role::Node).then(|| Box::new(NodeRecord::new(introduction.clone())));
        self.paired.insert(
            id.to_owned(),
            Device {
                id: id.to_owned(),
                node,
                introduction,
                scopes,
                silent,
                created_at_ms: now_ms,
                approved_at_ms: now_ms,
                last_seen_at_ms: now_ms,
                tokens: Vec::new(),
            },
        );
    }
}

/// Most scopes of one device; connects that ask for more of their own are cut there.
const MAX_SCOPES: usize = 256;

fn add_scopes(held: &mut Vec<String>, more: &[String]) {
    for scope in more {
        if held.len() < MAX_SCOPES && !held.contains(scope) {
            held.push(scope.clone());
        }
    }
}

/// The file, relative to the state directory. Requests are not kept: who still wants in asks again.
pub(crate) const DEVICES_FILE: &str = "devices.json";

/// Why a file can't be used. The gateway must not start then: it would forget all devices with the next change.
#[derive(Debug, thiserror::Error)]
pub enum DevicesFileError {
    /// Not the JSON of this file.
    #[error(
        "devices.json can't be read as a list of devices ({0}); restore it from a backup, or remove it to pair all devices anew"
    )]
    Malformed(serde_json::Error),
    #[error(
        "devices.json is of version {0}, and this release knows version 1 only; run the newer release, or remove the file to pair all devices anew"
    )]
    Version(u32),
    /// An id that doesn't belong to its key.
    #[error("devices.json was damaged at device {0}; restore it from a backup, or remove that entry")]
    Entry(String),
}

#[derive(Serialize, Deserialize)]
struct File<D> {
    version: u32,
    devices: D,
}

impl Devices {
    /// The registry that a file holds; `text` is none where there is no file.
    pub(crate) fn read(config: &DeviceAuth, text: Option<&str>) -> Result<Self, DevicesFileError> {
        let mut devices = Self::new(config);
        let Some(text) = text else { return Ok(devices) };
        let file: File<Vec<Device>> = serde_json::from_str(text).map_err(DevicesFileError::Malformed)?;
        if file.version != 1 {
            return Err(DevicesFileError::Version(file.version));
        }
        for device in file.devices.into_iter().take(MAX_DEVICES) {
            let key = URL_SAFE_NO_PAD.decode(&device.introduction.public_key).ok();
            let key: Option<[u8; 32]> = key.and_then(|key| key.try_into().ok());
            if key.is_none_or(|key| device_id_of(&key) != device.id) {
                return Err(DevicesFileError::Entry(device.id.chars().take(64).collect()));
            }
            devices.paired.insert(device.id.clone(), device);
        }
        Ok(devices)
    }

    pub(crate) fn save(&self, turn: &mut Turn<'_>) {
        let file = File { version: 1, devices: self.iter().collect::<Vec<_>>() };
        // Texts and numbers only: this can't fail.
        let text = serde_json::to_string_pretty(&file).unwrap_or_default();
        turn.write(FileChange::Replace { file: DEVICES_FILE.into(), text });
    }
}

/// A request that waits, as `device.pair.*` shows it (2026.9.6).
pub(crate) fn pending_row(request: &PairingRequest) -> Value {
    let more = json!({
        "requestId": request.id,
        "remoteIp": request.remote,
        "silent": false,
        "isRepair": request.reason != PairingReason::NotPaired,
        "reason": request.reason.as_str(),
        "ts": request.asked_at_ms,
    });
    let role = request.introduction.role;
    let roles = json!({"role": role, "roles": [role]});
    row(&request.device_id, &request.introduction, &request.scopes, joined(roles, more))
}

/// An approved device. Its tokens are shown by their times only.
pub(crate) fn device_row(device: &Device) -> Value {
    let tokens = device.tokens().iter().map(|token| {
        json!({
            "role": token.role,
            "scopes": token.scopes,
            "createdAtMs": token.issued_at_ms,
            "expiresAtMs": token.expires_at_ms,
        })
    });
    let more = json!({
        "role": device.introduction.role,
        "roles": device.roles().collect::<Vec<_>>(),
        "silent": device.silent,
        "tokens": tokens.collect::<Vec<_>>(),
        "createdAtMs": device.created_at_ms,
        "approvedAtMs": device.approved_at_ms,
        "lastSeenAtMs": device.last_seen_at_ms,
    });
    row(&device.id, &device.introduction, &device.scopes, more)
}

fn row(id: &str, who: &Introduction, scopes: &[String], more: Value) -> Value {
    let row = json!({
        "deviceId": id,
        "publicKey": who.public_key,
        "platform": who.platform,
        "clientId": who.client_id,
        "clientMode": who.client_mode,
        "scopes": scopes,
        "displayName": who.display_name,
        "deviceFamily": who.device_family,
    });
    without_nulls(joined(row, more))
}

#[cfg(test)]
mod tests;
