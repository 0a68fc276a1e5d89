//! The health document of real releases: in the hello's snapshot, in `health` events and in replies to `health`.

use serde_json::Value;

use crate::agents::{AgentRow, bounded};
use crate::fields;

/// What a health document tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HealthSnapshot {
    /// The gateway's own verdict; constantly true on every release measured.
    pub ok: Option<bool>,
    /// Whether the gateway calls itself degraded (its event loop, protocol 4).
    pub degraded: bool,
    /// Why it does, in its words.
    pub degraded_reasons: Vec<String>,
    /// The agents named; none where it lists none.
    pub agents: Option<Vec<AgentRow>>,
    /// Sessions stored of all kinds, running or not.
    pub sessions_count: Option<u32>,
}

impl HealthSnapshot {
    /// Reads a document; none where it is no object or has nothing of one (`{}`).
    pub fn read(document: &Value) -> Option<Self> {
        let object = document.as_object().filter(|object| !object.is_empty())?;
        let event_loop = object.get("eventLoop");
        Some(Self {
            ok: fields::flag(document, &["ok"]),
            degraded: event_loop.and_then(|state| fields::flag(state, &["degraded"])).unwrap_or(false),
            degraded_reasons: event_loop.and_then(|state| fields::names(state, "reasons")).unwrap_or_default(),
            agents: object
                .get("agents")
                .and_then(Value::as_array)
                .map(|rows| bounded(rows.iter().filter(|row| row.is_object()).filter_map(AgentRow::read))),
            sessions_count: object.get("sessions").and_then(|sessions| fields::count(sessions, &["count"])),
        })
    }
}
