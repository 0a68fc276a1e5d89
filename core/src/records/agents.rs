//! Agents, as stored and as others want them changed.

use serde::Serialize;
use serde_json::Value;

use crate::ids::GatewayId;

/// What an agent is doing, as last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Not there.
    Offline,
    /// There.
    Online,
    /// There, without work.
    Idle,
    /// At work.
    Busy,
    /// In trouble, by its own account or its gateway's.
    Error,
}

impl AgentStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Offline, Self::Online, Self::Idle, Self::Busy, Self::Error];

    /// The stable name, as shown in the API and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Error => "error",
        }
    }

    /// Reads a name back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Who made an agent known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentSource {
    /// A person or a script, through the API.
    Manual,
    /// Registered together with its gateway.
    Gateway,
    /// A CLI tool that connected directly.
    Cli,
    /// The configuration of its gateway.
    Sync,
}

impl AgentSource {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Manual, Self::Gateway, Self::Cli, Self::Sync];

    /// The stable name, as shown in the API and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Gateway => "gateway",
            Self::Cli => "cli",
            Self::Sync => "sync",
        }
    }

    /// Reads a name back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

/// A stored agent; serializes to the agent of the API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentRecord {
    /// The database's key; never used again after a delete.
    pub id: i64,
    /// Unique.
    pub name: String,
    /// What it is for, in its owner's words.
    pub role: String,
    /// As last heard.
    pub status: AgentStatus,
    /// The gateway that it belongs to. The gateway that its work goes to may be another one: see
    /// [`AgentRecord::preferred_gateway`].
    pub gateway_id: Option<GatewayId>,
    /// Who made it known; never changes.
    pub source: AgentSource,
    /// Always a JSON object.
    pub config: Value,
    /// Whether it is the main agent of its gateway (document 003).
    pub is_gateway_main: bool,
    /// Unix seconds of the last sign of life.
    pub last_seen: Option<i64>,
    /// What it did last, in its own words.
    pub last_activity: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds of the last change but of `status`, `last_seen` and `last_activity`, which are observations.
    pub updated_at: i64,
}

impl AgentRecord {
    /// `gateway_config.preferred_gateway` of the configuration: a gateway's id (number or text) or name, as text.
    pub fn preferred_gateway(&self) -> Option<String> {
        match self.config.get("gateway_config")?.get("preferred_gateway")? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

/// An agent to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAgent {
    /// See [`AgentRecord::name`].
    pub name: String,
    /// `None` for the role `agent`.
    pub role: Option<String>,
    /// See [`AgentRecord::status`].
    pub status: AgentStatus,
    /// See [`AgentRecord::gateway_id`].
    pub gateway_id: Option<GatewayId>,
    /// See [`AgentRecord::source`].
    pub source: AgentSource,
    /// Anything but a JSON object is stored as an empty object.
    pub config: Value,
    /// See [`AgentRecord::is_gateway_main`].
    pub is_gateway_main: bool,
}

impl NewAgent {
    /// An agent that a person or a script makes known: offline, of no gateway, with no configuration.
    pub fn manual(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            role: None,
            status: AgentStatus::Offline,
            gateway_id: None,
            source: AgentSource::Manual,
            config: Value::Object(serde_json::Map::new()),
            is_gateway_main: false,
        }
    }
}

/// A change of an agent: `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentChange {
    /// New name.
    pub name: Option<String>,
    /// New role.
    pub role: Option<String>,
    /// New status.
    pub status: Option<AgentStatus>,
    /// New gateway, or none.
    pub gateway_id: Option<Option<GatewayId>>,
    /// New configuration (the whole object).
    pub config: Option<Value>,
    /// Main agent of its gateway or not.
    pub is_gateway_main: Option<bool>,
    /// Unix seconds; an earlier one than the stored is stored too.
    pub last_seen: Option<i64>,
    /// What it did last, or nothing.
    pub last_activity: Option<Option<String>>,
}

impl AgentChange {
    /// Whether nothing would change: a request with no known field.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which agents to list; all conditions hold together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentFilter {
    /// With this status.
    pub status: Option<AgentStatus>,
    /// With exactly this role.
    pub role: Option<String>,
    /// Of this gateway.
    pub gateway_id: Option<GatewayId>,
    /// With this text in the name or the role; upper and lower case of ASCII letters are the same.
    pub search: Option<String>,
}

/// A sign of life of an agent, as heard from its gateway or itself.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSeen {
    /// Which agent.
    pub name: String,
    /// Only if it belongs to this gateway, so that a gateway speaks for its own agents alone; `None` for any.
    pub gateway_id: Option<GatewayId>,
    /// What it is doing, if that was said.
    pub status: Option<AgentStatus>,
    /// Unix seconds; an earlier one than the stored changes nothing.
    pub last_seen: Option<i64>,
    /// What it did last, if that was said.
    pub last_activity: Option<String>,
}

/// One agent of a gateway's own configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncedAgent {
    /// Its name: what a stored agent is matched by.
    pub name: String,
    /// Its role, if the configuration has one.
    pub role: Option<String>,
    /// Its configuration there, a JSON object.
    pub config: Value,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SyncStats {
    /// Agents of the list that belong to the gateway now: created, updated and unchanged.
    pub synced: usize,
    /// Of these, unknown before.
    pub created: usize,
    /// Of these, changed.
    pub updated: usize,
    /// Agents of the list that were left alone: another gateway's or a CLI tool's agent has the name, or the name is
    /// unusable, or the list is too long.
    pub skipped: usize,
}

/// The main agent of a gateway (document 003), as it was found or made there.
#[derive(Debug, Clone, PartialEq)]
pub struct MainAgent {
    /// Its id on the gateway, as `agents.list` says it there; 1 to 200 characters.
    pub agent_id: String,
    /// What it is for; none for `gateway main`.
    pub role: Option<String>,
    /// What is known of it there, a JSON object: becomes the stored agent's configuration, but `gateway_config` stays ours.
    pub config: Value,
}
