//! `devices.json`: the approved devices as they are kept. Requests are not kept: who still wants in asks again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewarden_protocol::identity::device_id_of;
use serde::{Deserialize, Serialize};

use super::{Device, DeviceToken, Devices, Introduction, MAX_DEVICES};
use crate::config::DeviceAuth;

/// The file, relative to the state directory.
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
    /// An id that doesn't belong to its key, or a hash that is none.
    #[error("devices.json was damaged at device {0}; restore it from a backup, or remove that entry")]
    Entry(String),
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    devices: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    device_id: String,
    public_key: String,
    client_id: String,
    client_mode: String,
    display_name: Option<String>,
    platform: String,
    device_family: Option<String>,
    scopes: Vec<String>,
    silent: bool,
    created_at_ms: i64,
    approved_at_ms: i64,
    last_seen_at_ms: i64,
    tokens: Vec<TokenEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenEntry {
    /// SHA-256 of the token, base64url without padding.
    sha256: String,
    scopes: Vec<String>,
    issued_at_ms: i64,
    expires_at_ms: i64,
}

impl Devices {
    /// The registry that a file holds; `text` is none where there is no file.
    pub(crate) fn read(config: &DeviceAuth, text: Option<&str>) -> Result<Self, DevicesFileError> {
        let mut devices = Self::new(config);
        let Some(text) = text else { return Ok(devices) };
        let file: File = serde_json::from_str(text).map_err(DevicesFileError::Malformed)?;
        if file.version != 1 {
            return Err(DevicesFileError::Version(file.version));
        }
        let mut paired = BTreeMap::new();
        for entry in file.devices.into_iter().take(MAX_DEVICES) {
            let name: String = entry.device_id.chars().take(64).collect();
            let device = entry.into_device().ok_or(DevicesFileError::Entry(name))?;
            paired.insert(device.id.clone(), device);
        }
        devices.paired = paired;
        Ok(devices)
    }
}

pub(super) fn write(devices: &Devices) -> String {
    let file = File { version: 1, devices: devices.iter().map(Entry::of).collect() };
    // Texts and numbers only: this can't fail.
    serde_json::to_string_pretty(&file).unwrap_or_default()
}

impl Entry {
    fn of(device: &Device) -> Self {
        let who = device.introduction.clone();
        Self {
            device_id: device.id.clone(),
            public_key: who.public_key,
            client_id: who.client_id,
            client_mode: who.client_mode,
            display_name: who.display_name,
            platform: who.platform,
            device_family: who.device_family,
            scopes: device.scopes.clone(),
            silent: device.silent,
            created_at_ms: device.created_at_ms,
            approved_at_ms: device.approved_at_ms,
            last_seen_at_ms: device.last_seen_at_ms,
            tokens: device.tokens().iter().map(TokenEntry::of).collect(),
        }
    }

    fn into_device(self) -> Option<Device> {
        let key: [u8; 32] = URL_SAFE_NO_PAD.decode(&self.public_key).ok()?.try_into().ok()?;
        if device_id_of(&key) != self.device_id {
            return None;
        }
        Some(Device {
            id: self.device_id,
            introduction: Introduction {
                public_key: self.public_key,
                client_id: self.client_id,
                client_mode: self.client_mode,
                display_name: self.display_name,
                platform: self.platform,
                device_family: self.device_family,
            },
            scopes: self.scopes,
            silent: self.silent,
            created_at_ms: self.created_at_ms,
            approved_at_ms: self.approved_at_ms,
            last_seen_at_ms: self.last_seen_at_ms,
            tokens: self.tokens.into_iter().map(TokenEntry::into_token).collect::<Option<_>>()?,
        })
    }
}

impl TokenEntry {
    fn of(token: &DeviceToken) -> Self {
        Self {
            sha256: URL_SAFE_NO_PAD.encode(token.hash),
            scopes: token.scopes.clone(),
            issued_at_ms: token.issued_at_ms,
            expires_at_ms: token.expires_at_ms,
        }
    }

    fn into_token(self) -> Option<DeviceToken> {
        Some(DeviceToken {
            hash: URL_SAFE_NO_PAD.decode(&self.sha256).ok()?.try_into().ok()?,
            clear: None,
            scopes: self.scopes,
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires_at_ms,
        })
    }
}
