//! Agents, the tools that connect as one, and the tokens that they use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One page of agents, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    /// The page.
    pub agents: Vec<Agent>,
    /// How many agents pass the filter in all.
    pub total: usize,
    /// Which page this is, from 1.
    pub page: usize,
    /// Agents in a page.
    pub limit: usize,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentAnswer {
    /// The agent.
    pub agent: Agent,
    /// Worth knowing: for instance that its preferred gateway is not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Never used again after a delete.
    pub id: i64,
    /// Unique.
    #[schema(example = "researcher")]
    pub name: String,
    /// What it is for.
    #[schema(example = "agent")]
    pub role: String,
    /// `offline`, `online`, `idle`, `busy` or `error`, as last heard.
    #[schema(example = "online")]
    pub status: String,
    /// The gateway that it belongs to.
    pub gateway_id: Option<i64>,
    /// Who made it known: `manual`, `gateway`, `cli` or `sync`.
    #[schema(example = "sync")]
    pub source: String,
    /// Its configuration. `gateway_config.preferred_gateway` (an id or a name) says where its work goes first.
    #[schema(value_type = Object)]
    pub config: Value,
    /// Whether it is the main agent of its gateway.
    pub is_gateway_main: bool,
    /// Unix seconds of the last sign of life.
    pub last_seen: Option<i64>,
    /// What it did last, in its own words.
    pub last_activity: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub updated_at: i64,
}

/// The agent was heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// Always `HEARTBEAT_OK`.
    #[schema(example = "HEARTBEAT_OK")]
    pub status: String,
    /// The agent's name.
    pub agent: String,
    /// Unix seconds.
    pub checked_at: i64,
    /// Whether the tokens are stored; false where none were told, or the store could not take them.
    pub token_recorded: bool,
    /// The connection that was kept alive, if the agent has one.
    pub connection_id: Option<String>,
    /// Whether the connection had been given up for silence and is open again.
    pub revived: bool,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SyncAnswer {
    /// Agents of the list that belong to the gateway now: created, updated and unchanged.
    pub synced: usize,
    /// Of these, unknown before.
    pub created: usize,
    /// Of these, changed.
    pub updated: usize,
    /// Agents of the list that were left alone: another gateway's or a CLI tool's agent has the name, or it is unusable.
    pub skipped: usize,
    /// The gateway that was read.
    pub gateway_id: i64,
}

/// A tool that is connected now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectAnswer {
    /// What the tool names its connection by, in heartbeats and when it leaves.
    #[schema(example = "conn-0123456789abcdef0123456789abcdef")]
    pub connection_id: String,
    /// The agent that it works as.
    pub agent_id: i64,
    /// That agent's name.
    pub agent_name: String,
    /// Always `connected`.
    #[schema(example = "connected")]
    pub status: String,
    /// Where events are followed.
    #[schema(example = "/api/events")]
    pub sse_url: String,
    /// Where heartbeats go.
    #[schema(example = "/api/agents/7/heartbeat")]
    pub heartbeat_url: String,
    /// Where token usage may be reported besides.
    #[schema(example = "/api/tokens")]
    pub token_report_url: String,
    /// Seconds without a heartbeat after which the tool counts as gone.
    pub heartbeat_timeout_s: u64,
}

/// Direct connections, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionList {
    /// All of them, or the part that was asked for.
    pub connections: Vec<Connection>,
    /// How many there are; only where a part was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// Largest size of the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many come before the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
}

/// A connection that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Disconnected {
    /// Always `disconnected`.
    #[schema(example = "disconnected")]
    pub status: String,
    /// Which.
    pub connection_id: String,
}

/// A direct connection of a CLI tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    pub status: String,
    /// Unix seconds of the last heartbeat, at first of the connection itself.
    pub last_heartbeat: Option<i64>,
    /// What the tool told of itself: a JSON object, as text.
    pub metadata: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Of its agent, now.
    pub agent_name: String,
    /// Of its agent, now.
    pub agent_status: String,
    /// Of its agent, now.
    pub agent_role: String,
    /// Unix seconds; none while it is connected.
    pub disconnected_at: Option<i64>,
    /// `closed`, `replaced` or `silent`; none while it is connected.
    pub end_reason: Option<String>,
}

/// A stored report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenReport {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The agent, by name.
    pub agent: String,
    /// The model.
    pub model: String,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Both together.
    pub total_tokens: i64,
    /// In US dollars, where it was reported.
    pub cost: Option<f64>,
    /// The session, where it was reported.
    pub session_key: Option<String>,
    /// How the report came: `heartbeat` or `api`.
    #[schema(example = "api")]
    pub source: String,
}

/// A report that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// Always true.
    pub success: bool,
    /// As stored.
    pub record: TokenReport,
}

/// With `action=list`: reports. With `action=agent-costs`: sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokensAnswer {
    /// Reports, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Vec<TokenReport>>,
    /// Sums by the agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<BTreeMap<String, AgentCosts>>,
    /// The time that is looked at; none for all that is kept.
    pub timeframe: Option<String>,
}

/// What one agent used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentCosts {
    /// The sums.
    pub stats: CostStats,
}

/// Sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostStats {
    /// Both kinds together.
    pub total_tokens: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// In US dollars, of the reports that named a cost.
    pub total_cost: f64,
    /// Reports.
    pub request_count: i64,
}
