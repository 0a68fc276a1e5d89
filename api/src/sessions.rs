//! Sessions of all gateways.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One page of the sessions of all gateways, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionList {
    /// The page.
    pub sessions: Vec<Session>,
    /// How many sessions pass the filter in all.
    pub total: usize,
    /// The gateways whose sessions were looked at, and how fresh these are; left out with `gateways=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<GatewayAge>>,
}

/// A session. What its gateway doesn't tell is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The gateway's own key; two gateways may use the same.
    #[schema(example = "agent:main:main")]
    pub key: String,
    /// The agent's name on the gateway.
    pub agent: Option<String>,
    /// The model, without its provider.
    #[schema(example = "claude-sonnet-4")]
    pub model: Option<String>,
    /// `active` (a run is under way), `paused` or `completed` (the last run has ended); null where the gateway doesn't tell.
    pub status: Option<String>,
    /// Tokens: real releases tell the size of the last prompt.
    #[serde(rename = "totalTokens")]
    pub total_tokens: Option<u64>,
    /// Unix milliseconds of the last change.
    #[serde(rename = "updatedAt")]
    pub updated_at: Option<i64>,
    /// The gateway that holds it.
    pub gateway_id: i64,
    /// That gateway's name.
    pub gateway: String,
    /// `direct`, `group` and so on, in the gateway's words.
    pub kind: Option<String>,
    /// Size of the context window.
    #[serde(rename = "contextTokens")]
    pub context_tokens: Option<u64>,
    /// Messages in it.
    #[serde(rename = "messageCount")]
    pub message_count: Option<u64>,
    /// US dollars so far.
    pub cost: Option<f64>,
    /// The name that people gave it.
    pub label: Option<String>,
    /// Unix seconds of the gateway's last news about its sessions.
    pub as_of: Option<i64>,
}

/// How fresh the sessions of a gateway are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayAge {
    /// The gateway.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Unix seconds of its last news about sessions; null where it never told any.
    pub as_of: Option<i64>,
    /// Whether its whole list was read since the connection was made.
    pub complete: bool,
    /// Whether the connection is up. Where it isn't, its sessions are as they were at `as_of`.
    pub reachable: bool,
}

/// What a gateway did with one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionDone {
    /// Always true: what the gateway refuses is an error.
    pub success: bool,
    /// What was done.
    #[schema(example = "kill")]
    pub action: String,
    /// The session's key.
    #[schema(example = "agent:main:main")]
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
    /// What the gateway answered.
    #[schema(value_type = Object)]
    pub result: Value,
}

/// What became of a delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionDeleted {
    /// Whether the gateway deleted a session; false where it had none of this key any more.
    pub deleted: bool,
    /// The rest of the answer.
    #[serde(flatten)]
    pub done: SessionDone,
}

/// The newest entries of a session, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionHistory {
    /// Oldest first, as gateways tell it.
    pub history: Vec<HistoryEntry>,
    /// The session's key.
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// `user`, `assistant`, `system` or what else the gateway calls it.
    #[schema(example = "assistant")]
    pub role: String,
    /// The text; empty where there is none, for instance with a bare call of a tool.
    pub content: String,
    /// Unix milliseconds, as gateways tell it.
    pub timestamp: Option<i64>,
    /// Tools that were called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// The model that said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why it ended there, in the gateway's words.
    #[serde(rename = "stopReason", skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What went wrong, in the gateway's words.
    #[serde(rename = "errorMessage", skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Present and true where the text was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Tokens of one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Both together.
    pub total_tokens: Option<u64>,
    /// US dollars.
    pub cost: Option<f64>,
}

/// The gateway took the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageTaken {
    /// Always true.
    pub success: bool,
    /// The run that the message starts, where the gateway says.
    #[serde(rename = "runId", skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// In the gateway's words, for instance `started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What the gateway knows the message by: the same again is not said twice.
    pub idempotency_key: String,
    /// The session's key.
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
}
