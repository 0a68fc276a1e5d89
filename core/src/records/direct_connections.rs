//! CLI tools that report in over REST, without a gateway (document 001).

use serde::Serialize;
use serde_json::Value;

use super::{AgentRecord, AgentStatus};

/// Whether a tool is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// It reports in.
    Connected,
    /// It said goodbye, was replaced, or has not reported in for too long.
    Disconnected,
}

impl ConnectionStatus {
    /// The stable name, as shown in the API and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The tool, or an operator, ended it.
    Closed,
    /// Another connection of the same agent took its place.
    Replaced,
    /// No heartbeat for too long. The only end that a heartbeat undoes.
    Silent,
}

impl EndReason {
    /// The stable name, as shown and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Replaced => "replaced",
            Self::Silent => "silent",
        }
    }

    /// Reads a name back.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Closed, Self::Replaced, Self::Silent].into_iter().find(|reason| reason.as_str() == name)
    }
}

/// A tool that connects.
#[derive(Debug, Clone, PartialEq)]
pub struct NewConnection {
    /// The agent that it works as; made where it is unknown.
    pub agent_name: String,
    /// The agent's role; changes only an agent that a tool made known.
    pub agent_role: Option<String>,
    /// Such as `claude-code` or `codex`.
    pub tool_name: String,
    /// Its version.
    pub tool_version: Option<String>,
    /// A JSON object in its words; one above 16 KiB is left out, and says so.
    pub metadata: Option<Value>,
}

/// A stored connection, with what document 001 shows of its agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionRecord {
    /// The database's key.
    pub id: i64,
    /// The agent that the tool works as.
    pub agent_id: i64,
    /// See [`NewConnection::tool_name`].
    pub tool_name: String,
    /// See [`NewConnection::tool_version`].
    pub tool_version: Option<String>,
    /// What the tool names the connection by: `conn-` and 32 random hex digits.
    pub connection_id: String,
    /// Whether the tool is there.
    pub status: ConnectionStatus,
    /// Unix seconds of the last heartbeat, at first of the connection itself.
    pub last_heartbeat: i64,
    /// See [`NewConnection::metadata`].
    pub metadata: Option<Value>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; set exactly where it is disconnected.
    pub disconnected_at: Option<i64>,
    /// Set exactly where it is disconnected.
    pub end_reason: Option<EndReason>,
    /// Of its agent, now.
    pub agent_name: String,
    /// Of its agent, now.
    pub agent_status: AgentStatus,
    /// Of its agent, now.
    pub agent_role: String,
}

/// A committed new connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// As stored.
    pub connection: ConnectionRecord,
    /// Its agent, online.
    pub agent: AgentRecord,
    /// Whether the agent was unknown.
    pub agent_is_new: bool,
    /// The connection of this agent that was open until now.
    pub replaced: Option<ConnectionRecord>,
}

/// How a request to end a connection ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Closed {
    /// It was open and is not any more; its agent is offline.
    Now(ConnectionRecord),
    /// It had ended before; nothing changed.
    Before(ConnectionRecord),
    /// There is none.
    NotFound,
}

/// A heartbeat of an agent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Beat {
    /// Over which connection; `None` for the one that is open, if any.
    pub connection_id: Option<String>,
    /// What it is doing. Where it says nothing, an offline agent becomes online and others stay.
    pub status: Option<AgentStatus>,
}

/// A committed heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Beaten {
    /// The agent now.
    pub agent: AgentRecord,
    /// Whether its status was another before.
    pub status_changed: bool,
    /// Over which connection. `None` where it named one that this agent doesn't have (then nothing changed), or named none
    /// and has none open. Where it named one that was closed or replaced, that one, still disconnected (nothing changed).
    pub connection: Option<ConnectionRecord>,
    /// Whether the connection had been given up for silence and is open again.
    pub revived: bool,
}
