//! The row of a spawn, its way into a record, and what a step sets.

use diesel::prelude::*;
use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use crate::error::StoreError;
use crate::records::{NewSpawn, SpawnChange, SpawnKind, SpawnRecord};
use crate::schema::spawns;
use crate::sealing::{Place, Sealer};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::spawn_state::SpawnState;

const LONGEST_SUMMARY: usize = 500;
const LONGEST_ERROR: usize = 4_000;
const LONGEST_REASON: usize = 1_000;
/// Largest result in bytes of JSON.
const LARGEST_RESULT: usize = 64 * 1024;

fn place(spawn_id: &str) -> Place<'_> {
    Place { table: "spawns", row: spawn_id, column: "request" }
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

/// All but the sealed request, which may be large.
#[derive(Queryable, Selectable)]
#[diesel(table_name = spawns)]
pub(super) struct Row {
    spawn_id: String,
    created_at_ms: i64,
    updated_at_ms: i64,
    kind: String,
    summary: String,
    model: Option<String>,
    gateway_id: Option<i64>,
    gateway_name: Option<String>,
    route: Option<String>,
    agent: Option<String>,
    label: Option<String>,
    session_key: Option<String>,
    run_id: Option<String>,
    state: String,
    pid: Option<i64>,
    result: Option<String>,
    error_code: Option<String>,
    error: Option<String>,
    completed_at_ms: Option<i64>,
    reason: Option<String>,
    key_id: Option<i64>,
}

impl Row {
    pub(super) fn into_record(self) -> SpawnRecord {
        let state = SpawnState::from_name(&self.state).unwrap_or_else(|| {
            tracing::error!(spawn.id = %self.spawn_id, state = %self.state, "a stored spawn has an unknown state");
            if self.completed_at_ms.is_some() { SpawnState::Lost } else { SpawnState::Unknown }
        });
        SpawnRecord {
            created_at_ms: self.created_at_ms,
            updated_at_ms: self.updated_at_ms,
            kind: SpawnKind::from_name(&self.kind).unwrap_or(SpawnKind::Command),
            request: None,
            summary: self.summary,
            model: self.model,
            gateway_id: self.gateway_id.map(GatewayId),
            gateway_name: self.gateway_name,
            route: self.route,
            agent: self.agent,
            label: self.label,
            session_key: self.session_key,
            run_id: self.run_id,
            state,
            pid: self.pid,
            result: self.result.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            error_code: self.error_code,
            error: self.error,
            completed_at_ms: self.completed_at_ms,
            reason: self.reason,
            key_id: self.key_id,
            spawn_id: self.spawn_id,
        }
    }
}

/// Opens a request. One that doesn't open costs itself only: the spawn's history stays readable.
pub(super) fn open_request(sealer: &Sealer, spawn_id: &str, sealed: &str) -> Option<Secret> {
    match sealer.open(place(spawn_id), sealed) {
        Ok(plain) => Some(Secret::new(String::from_utf8_lossy(&plain))),
        Err(error) => {
            tracing::error!(spawn.id = spawn_id, %error, "the stored request of spawn {spawn_id} does not open");
            None
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = spawns)]
pub(super) struct NewRow<'a> {
    spawn_id: &'a str,
    created_at_ms: i64,
    updated_at_ms: i64,
    kind: &'static str,
    request: String,
    summary: String,
    model: Option<&'a str>,
    gateway_id: Option<i64>,
    gateway_name: Option<&'a str>,
    route: Option<&'a str>,
    agent: Option<&'a str>,
    label: Option<&'a str>,
    state: &'static str,
    key_id: Option<i64>,
}

impl<'a> NewRow<'a> {
    pub(super) fn of(new: &'a NewSpawn, spawn_id: &'a str, sealer: &Sealer, now_ms: i64) -> Result<Self, StoreError> {
        let request = sealer
            .seal(place(spawn_id), new.request.expose().as_bytes())
            .map_err(|error| StoreError::Sealed { what: "the spawn's request cannot be sealed", error })?;
        Ok(Self {
            spawn_id,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
            kind: new.kind.as_str(),
            request,
            summary: cut(&new.summary, LONGEST_SUMMARY),
            model: new.model.as_deref(),
            gateway_id: new.gateway_id.map(|id| id.0),
            gateway_name: new.gateway_name.as_deref(),
            route: new.route.as_deref(),
            agent: new.agent.as_deref(),
            label: new.label.as_deref(),
            state: SpawnState::Recorded.as_str(),
            key_id: new.key_id,
        })
    }
}

/// The columns that a step sets; `None` leaves a column.
#[derive(AsChangeset)]
#[diesel(table_name = spawns)]
pub(super) struct Changes<'a> {
    state: &'static str,
    updated_at_ms: i64,
    gateway_id: Option<i64>,
    gateway_name: Option<&'a str>,
    route: Option<&'a str>,
    session_key: Option<&'a str>,
    run_id: Option<&'a str>,
    pid: Option<i64>,
    result: Option<String>,
    error_code: Option<&'a str>,
    error: Option<String>,
    reason: Option<String>,
    completed_at_ms: Option<i64>,
}

impl<'a> Changes<'a> {
    pub(super) fn of(to: SpawnState, change: &'a SpawnChange, now_ms: i64) -> Self {
        Self {
            state: to.as_str(),
            updated_at_ms: now_ms,
            gateway_id: change.gateway.as_ref().map(|(id, _)| id.0),
            gateway_name: change.gateway.as_ref().map(|(_, name)| name.as_str()),
            route: change.route.as_deref(),
            session_key: change.session_key.as_deref(),
            run_id: change.run_id.as_deref(),
            pid: change.pid,
            result: change.result.as_ref().map(result_text),
            error_code: change.error_code.as_deref(),
            error: change.error.as_deref().map(|text| cut(text, LONGEST_ERROR)),
            reason: change.reason.as_deref().map(|text| cut(text, LONGEST_REASON)),
            completed_at_ms: to.is_final().then(|| change.completed_at_ms.unwrap_or(now_ms)),
        }
    }
}

fn result_text(result: &Value) -> String {
    let text = result.to_string();
    if text.len() <= LARGEST_RESULT { text } else { json!({ "left_out_bytes": text.len() }).to_string() }
}
