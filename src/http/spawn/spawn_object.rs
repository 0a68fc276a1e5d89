//! A spawn as clients see it.

use gatewarden_actors::store::records::SpawnRecord;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A gateway, named.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayName {
    /// Its id; it may be gone by now.
    pub id: i64,
    /// Its name at the time.
    pub name: Option<String>,
}

impl GatewayName {
    /// The gateway of a spawn.
    pub fn of(record: &SpawnRecord) -> Option<Self> {
        record.gateway_id.map(|id| Self { id: id.0, name: record.gateway_name.clone() })
    }
}

/// One spawn. Times are Unix milliseconds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spawn {
    /// Its id.
    pub spawn_id: String,
    /// `recorded`, `sent`, `accepted`, `running`, `unknown`, or for good: `completed`, `failed`, `killed`, `lost`.
    #[schema(example = "running")]
    pub status: String,
    /// `task` or `command`.
    #[schema(example = "task")]
    pub kind: String,
    /// The beginning of the task or command.
    pub task: String,
    /// The agent.
    pub agent: Option<String>,
    /// The model asked for.
    pub model: Option<String>,
    /// The caller's label.
    pub label: Option<String>,
    /// Where it went.
    pub gateway: Option<GatewayName>,
    /// Why there.
    pub route: Option<String>,
    /// The session that it runs in.
    pub session_key: Option<String>,
    /// The run's id on the gateway.
    pub run_id: Option<String>,
    /// Process id on the gateway's host.
    pub pid: Option<i64>,
    /// What came of it.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// What went wrong, with the gateway's words.
    pub error: Option<String>,
    /// Stable code of what went wrong.
    pub error_code: Option<String>,
    /// Why it is in this state.
    pub reason: Option<String>,
    /// When it was asked for.
    pub created_at: i64,
    /// Its last change.
    pub updated_at: i64,
    /// When it ended.
    pub completed_at: Option<i64>,
}

impl From<SpawnRecord> for Spawn {
    fn from(record: SpawnRecord) -> Self {
        Self {
            gateway: GatewayName::of(&record),
            spawn_id: record.spawn_id,
            status: record.state.as_str().to_owned(),
            kind: record.kind.as_str().to_owned(),
            task: record.summary,
            agent: record.agent,
            model: record.model,
            label: record.label,
            route: record.route,
            session_key: record.session_key,
            run_id: record.run_id,
            pid: record.pid,
            result: record.result,
            error: record.error,
            error_code: record.error_code,
            reason: record.reason,
            created_at: record.created_at_ms,
            updated_at: record.updated_at_ms,
            completed_at: record.completed_at_ms,
        }
    }
}
