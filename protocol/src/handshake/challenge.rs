//! The gateway's first word.

use serde_json::Value;

use super::ProtocolRange;
use crate::fields;

/// A `connect.challenge`, of real releases or as document 002 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What must be signed; valid for this connection only.
    pub nonce: String,
    /// The gateway's clock in wall ms, where it tells it.
    pub ts_ms: Option<i64>,
    /// The protocols offered; none where the gateway chooses from the range that the connect names.
    pub protocols: Option<Vec<u32>>,
    /// Whether a device must prove itself.
    pub device_required: bool,
    /// Whether it has the form of document 002: then a device token travels beside `auth`.
    pub is_documented: bool,
}

impl Challenge {
    /// Reads the event's payload; none where it has no usable nonce.
    pub fn read(payload: &Value) -> Option<Self> {
        let protocols = payload.get("protocols").and_then(Value::as_array).map(|offered| {
            offered
                .iter()
                .filter_map(Value::as_u64)
                .filter_map(|version| u32::try_from(version).ok())
                .take(64)
                .collect()
        });
        let device_required = fields::flag(payload, &["deviceAuthRequired"]);
        Some(Self {
            nonce: fields::name(payload, &["nonce"])?,
            ts_ms: payload.get("ts").and_then(Value::as_i64),
            is_documented: protocols.is_some() || device_required.is_some(),
            protocols,
            device_required: device_required.unwrap_or(true),
        })
    }

    /// What of our range the gateway offers; none where nothing.
    pub(super) fn common(&self, ours: ProtocolRange) -> Option<ProtocolRange> {
        let Some(offered) = self.protocols.as_ref().filter(|offered| !offered.is_empty()) else { return Some(ours) };
        let common = || offered.iter().copied().filter(|version| (ours.min..=ours.max).contains(version));
        Some(ProtocolRange { min: common().min()?, max: common().max()? })
    }
}
