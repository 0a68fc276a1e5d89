//! An agent as the API shows it.

use gatewarden_actors::store::records::AgentRecord;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// An agent.
#[derive(Debug, Clone, Serialize, ToSchema)]
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
    pub status: &'static str,
    /// The gateway that it belongs to.
    pub gateway_id: Option<i64>,
    /// Who made it known: `manual`, `gateway`, `cli` or `sync`.
    #[schema(example = "sync")]
    pub source: &'static str,
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

impl From<AgentRecord> for Agent {
    fn from(record: AgentRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            role: record.role,
            status: record.status.as_str(),
            gateway_id: record.gateway_id.map(|gateway| gateway.0),
            source: record.source.as_str(),
            config: record.config,
            is_gateway_main: record.is_gateway_main,
            last_seen: record.last_seen,
            last_activity: record.last_activity,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}
