//! The row of a direct connection, and of its agent what is shown with it.

use diesel::prelude::*;
use serde_json::{Value, json};

use crate::records::{AgentStatus, ConnectionRecord, ConnectionStatus, EndReason};
use crate::schema::{agents, direct_connections};

/// Largest metadata in bytes of JSON.
const LARGEST_METADATA: usize = 16 * 1024;

#[derive(Queryable, Selectable)]
#[diesel(table_name = direct_connections)]
pub(super) struct Row {
    id: i64,
    agent_id: i64,
    tool_name: String,
    tool_version: Option<String>,
    connection_id: String,
    last_heartbeat: i64,
    metadata: Option<String>,
    created_at: i64,
    disconnected_at: Option<i64>,
    end_reason: Option<String>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = agents)]
pub(super) struct ShownAgent {
    name: String,
    status: String,
    role: String,
}

pub(super) fn into_record((row, agent): (Row, ShownAgent)) -> ConnectionRecord {
    ConnectionRecord {
        // The column says the same, for those who look at the database.
        status: match row.disconnected_at {
            None => ConnectionStatus::Connected,
            Some(_) => ConnectionStatus::Disconnected,
        },
        // An end of a kind that this release doesn't know is not one that a heartbeat may undo.
        end_reason: row
            .disconnected_at
            .map(|_| row.end_reason.as_deref().and_then(EndReason::from_name).unwrap_or(EndReason::Closed)),
        metadata: row.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        id: row.id,
        agent_id: row.agent_id,
        tool_name: row.tool_name,
        tool_version: row.tool_version,
        connection_id: row.connection_id,
        last_heartbeat: row.last_heartbeat,
        created_at: row.created_at,
        disconnected_at: row.disconnected_at,
        agent_name: agent.name,
        agent_status: AgentStatus::from_name(&agent.status).unwrap_or(AgentStatus::Offline),
        agent_role: agent.role,
    }
}

/// Metadata as stored: an object, or nothing.
pub(super) fn metadata_text(metadata: Option<&Value>) -> Option<String> {
    let text = metadata.filter(|value| value.is_object())?.to_string();
    if text.len() <= LARGEST_METADATA { Some(text) } else { Some(json!({ "left_out_bytes": text.len() }).to_string()) }
}
