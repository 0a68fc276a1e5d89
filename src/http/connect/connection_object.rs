//! A direct connection as the API shows it: every field of document 001, and when and why it ended.

use gatewarden_actors::store::records::{ConnectionRecord, EndReason};
use serde::Serialize;
use utoipa::ToSchema;

/// A direct connection of a CLI tool.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Connection {
    /// Never used again.
    pub id: i64,
    /// The agent that the tool works as.
    pub agent_id: i64,
    /// Such as `claude-code` or `codex`.
    #[schema(example = "codex")]
    pub tool_name: String,
    /// Its version.
    pub tool_version: Option<String>,
    /// What the tool names its connection by.
    pub connection_id: String,
    /// `connected` or `disconnected`.
    #[schema(example = "connected")]
    pub status: &'static str,
    /// Unix seconds of the last heartbeat, at first of the connection itself.
    pub last_heartbeat: Option<i64>,
    /// What the tool told of itself: a JSON object, as text.
    pub metadata: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Of its agent, now.
    pub agent_name: String,
    /// Of its agent, now.
    pub agent_status: &'static str,
    /// Of its agent, now.
    pub agent_role: String,
    /// Unix seconds; none while it is connected.
    pub disconnected_at: Option<i64>,
    /// `closed`, `replaced` or `silent`; none while it is connected.
    pub end_reason: Option<&'static str>,
}

impl From<ConnectionRecord> for Connection {
    fn from(record: ConnectionRecord) -> Self {
        Self {
            id: record.id,
            agent_id: record.agent_id,
            tool_name: record.tool_name,
            tool_version: record.tool_version,
            connection_id: record.connection_id,
            status: record.status.as_str(),
            last_heartbeat: Some(record.last_heartbeat),
            metadata: record.metadata.map(|metadata| metadata.to_string()),
            created_at: record.created_at,
            agent_name: record.agent_name,
            agent_status: record.agent_status.as_str(),
            agent_role: record.agent_role,
            disconnected_at: record.disconnected_at,
            end_reason: record.end_reason.map(EndReason::as_str),
        }
    }
}
