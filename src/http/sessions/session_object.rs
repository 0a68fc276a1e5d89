//! Sessions as the API shows them.

use gatewarden_protocol::sessions::SessionStatus;
use serde::Serialize;
use utoipa::ToSchema;

use super::known::Source;
use super::merge::Found;

/// A session. What its gateway doesn't tell is null.
#[derive(Debug, Serialize, ToSchema)]
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
    pub status: Option<&'static str>,
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

impl Session {
    /// One row of a merged list.
    pub fn of(found: &Found<'_>) -> Self {
        let (source, row) = (found.source, found.row);
        Self {
            key: row.key.clone(),
            agent: row.agent.clone(),
            model: row.model.clone(),
            status: row.status.map(SessionStatus::as_str),
            total_tokens: row.total_tokens,
            updated_at: row.updated_at_ms,
            gateway_id: source.id.0,
            gateway: source.name.to_owned(),
            kind: row.kind.clone(),
            context_tokens: row.context_tokens,
            message_count: row.message_count,
            cost: row.cost,
            label: row.label.clone(),
            as_of: source.as_of(),
        }
    }
}

/// How fresh the sessions of a gateway are.
#[derive(Debug, Serialize, ToSchema)]
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

impl GatewayAge {
    /// The age of one gateway's sessions.
    pub fn of(source: &Source<'_>) -> Self {
        Self {
            id: source.id.0,
            name: source.name.to_owned(),
            as_of: source.as_of(),
            complete: source.sessions.complete,
            reachable: source.reachable,
        }
    }
}

/// One page of the sessions of all gateways, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    /// The page.
    pub sessions: Vec<Session>,
    /// How many sessions pass the filter in all.
    pub total: usize,
    /// The gateways whose sessions were looked at, and how fresh these are; left out with `gateways=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<GatewayAge>>,
}
