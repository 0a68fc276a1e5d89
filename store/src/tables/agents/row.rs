//! The row of an agent and its way into a record.

use diesel::prelude::*;
use serde_json::{Map, Value};

use crate::records::{AgentChange, AgentRecord, AgentSource, AgentStatus};
use crate::schema::agents;
use gatewarden_core::ids::GatewayId;

#[derive(Queryable, Selectable)]
#[diesel(table_name = agents)]
pub(super) struct Row {
    id: i64,
    name: String,
    role: String,
    status: String,
    gateway_id: Option<i64>,
    source: String,
    config: String,
    is_gateway_main: bool,
    last_seen: Option<i64>,
    last_activity: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl Row {
    /// What this release doesn't know reads as the value that promises least.
    pub(super) fn into_record(self) -> AgentRecord {
        AgentRecord {
            status: AgentStatus::from_name(&self.status).unwrap_or(AgentStatus::Offline),
            gateway_id: self.gateway_id.map(GatewayId),
            source: AgentSource::from_name(&self.source).unwrap_or(AgentSource::Manual),
            config: match serde_json::from_str(&self.config) {
                Ok(Value::Object(config)) => Value::Object(config),
                Ok(_) | Err(_) => {
                    tracing::error!(agent.id = self.id, agent.name = %self.name, "the stored configuration of agent {} is malformed; an empty one is used", self.name);
                    Value::Object(Map::new())
                }
            },
            id: self.id,
            name: self.name,
            role: self.role,
            is_gateway_main: self.is_gateway_main,
            last_seen: self.last_seen,
            last_activity: self.last_activity,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// The columns that a change sets; `None` leaves a column, `Some(None)` clears it.
#[derive(AsChangeset)]
#[diesel(table_name = agents)]
pub(super) struct Changes<'a> {
    name: Option<&'a str>,
    role: Option<&'a str>,
    status: Option<&'static str>,
    gateway_id: Option<Option<i64>>,
    config: Option<String>,
    is_gateway_main: Option<bool>,
    last_seen: Option<i64>,
    last_activity: Option<Option<&'a str>>,
    updated_at: Option<i64>,
}

impl<'a> Changes<'a> {
    pub(super) fn of(change: &'a AgentChange, now_s: i64) -> Self {
        Self {
            name: change.name.as_deref(),
            role: change.role.as_deref(),
            status: change.status.map(AgentStatus::as_str),
            gateway_id: change.gateway_id.map(|gateway| gateway.map(|id| id.0)),
            config: change.config.as_ref().map(config_text),
            is_gateway_main: change.is_gateway_main,
            last_seen: change.last_seen,
            last_activity: change.last_activity.as_ref().map(Option::as_deref),
            updated_at: is_more_than_an_observation(change).then_some(now_s),
        }
    }
}

fn is_more_than_an_observation(change: &AgentChange) -> bool {
    let observations_only = AgentChange {
        status: change.status,
        last_seen: change.last_seen,
        last_activity: change.last_activity.clone(),
        ..AgentChange::default()
    };
    *change != observations_only
}

/// A configuration as stored: always an object.
pub(super) fn config_text(config: &Value) -> String {
    if config.is_object() { config.to_string() } else { "{}".to_owned() }
}
