//! Spawns: work that gateways were given.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A gateway took the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpawnAccepted {
    /// Always true; a failure has the error shape.
    pub success: bool,
    /// Follow it with `GET /api/spawn/{spawnId}` and `spawn_result` events.
    #[serde(rename = "spawnId")]
    pub spawn_id: String,
    /// `accepted` or `running`; for a replayed request what has become of it since.
    #[schema(example = "accepted")]
    pub status: String,
    /// The gateway that took it.
    pub gateway: Option<GatewayName>,
    /// Why that one: `preferred`, `requested`, `primary`, `acting_primary` or `least_loaded`.
    #[schema(example = "primary")]
    pub route: Option<String>,
    /// The session that it runs in, where known.
    #[serde(rename = "sessionInfo")]
    pub session_info: Option<String>,
    /// The run's id on the gateway.
    #[serde(rename = "runId")]
    pub run_id: Option<String>,
    /// Process id, where the gateway says.
    pub pid: Option<i64>,
    /// The gateway's reply.
    #[schema(value_type = Object)]
    pub result: Value,
    /// Whether this is the recorded answer to an earlier request with the same Idempotency-Key.
    pub replayed: bool,
}

/// Spawns, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpawnHistory {
    /// The page.
    pub history: Vec<Spawn>,
}

/// A gateway, named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayName {
    /// Its id; it may be gone by now.
    pub id: i64,
    /// Its name at the time.
    pub name: Option<String>,
}

/// One spawn. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
