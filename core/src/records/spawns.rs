//! Spawns: what was asked for, where it went and what became of it.

use gatewarden_protocol::Secret;
use serde::Serialize;
use serde_json::Value;

use crate::ids::GatewayId;
use crate::machines::spawn_state::SpawnState;

/// What a spawn runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnKind {
    /// An agent with a task.
    Task,
    /// A command with arguments.
    Command,
}

impl SpawnKind {
    /// The stable name, as shown in the API and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Command => "command",
        }
    }

    /// Reads a name back.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Task, Self::Command].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A spawn to be recorded. Its id and its times come from the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSpawn {
    /// What it runs.
    pub kind: SpawnKind,
    /// The request as JSON text, whole. Stored sealed, as values of its environment are secrets.
    pub request: Secret,
    /// What of the request may be shown in lists and stored in the clear: the task's or the command's beginning, no
    /// environment. At most 500 characters are kept.
    pub summary: String,
    /// The model asked for.
    pub model: Option<String>,
    /// The gateway that it is to go to, where that is known already.
    pub gateway_id: Option<GatewayId>,
    /// Its name at this time.
    pub gateway_name: Option<String>,
    /// Why that one: `preferred`, `requested`, `primary`, `acting_primary` or `least_loaded`.
    pub route: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The caller's label.
    pub label: Option<String>,
    /// The API key that asked; `None` for the key of the configuration.
    pub key_id: Option<i64>,
}

/// A recorded spawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SpawnRecord {
    /// A uuid, drawn when it was recorded.
    pub spawn_id: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds of the last change.
    pub updated_at_ms: i64,
    /// See [`NewSpawn::kind`].
    pub kind: SpawnKind,
    /// See [`NewSpawn::request`]. Only `record_spawn` and `find_spawn` answer with it; `None` too where it doesn't open.
    pub request: Option<Secret>,
    /// See [`NewSpawn::summary`].
    pub summary: String,
    /// See [`NewSpawn::model`].
    pub model: Option<String>,
    /// The gateway that it went to, or is to go to. That gateway may be gone.
    pub gateway_id: Option<GatewayId>,
    /// Its name at that time.
    pub gateway_name: Option<String>,
    /// See [`NewSpawn::route`].
    pub route: Option<String>,
    /// See [`NewSpawn::agent`].
    pub agent: Option<String>,
    /// See [`NewSpawn::label`].
    pub label: Option<String>,
    /// The session that it runs in, as the gateway said.
    pub session_key: Option<String>,
    /// The gateway's own name for the run, or the one by which it was asked about it.
    pub run_id: Option<String>,
    /// Where it is in its life.
    pub state: SpawnState,
    /// Process id at the gateway.
    pub pid: Option<i64>,
    /// The gateway's result; one above 64 KiB of JSON is left out, and says so.
    pub result: Option<Value>,
    /// Stable code of what went wrong.
    pub error_code: Option<String>,
    /// What went wrong, for a person, with the gateway's words. At most 4,000 characters are kept.
    pub error: Option<String>,
    /// Unix milliseconds; set exactly where the state is final.
    pub completed_at_ms: Option<i64>,
    /// Why it is in this state, for a person. At most 1,000 characters are kept.
    pub reason: Option<String>,
    /// See [`NewSpawn::key_id`].
    pub key_id: Option<i64>,
}

/// What becomes known with a step of a spawn: `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpawnChange {
    /// The gateway that it goes to now, by id and name.
    pub gateway: Option<(GatewayId, String)>,
    /// See [`NewSpawn::route`].
    pub route: Option<String>,
    /// See [`SpawnRecord::session_key`].
    pub session_key: Option<String>,
    /// See [`SpawnRecord::run_id`].
    pub run_id: Option<String>,
    /// See [`SpawnRecord::pid`].
    pub pid: Option<i64>,
    /// See [`SpawnRecord::result`].
    pub result: Option<Value>,
    /// See [`SpawnRecord::error_code`].
    pub error_code: Option<String>,
    /// See [`SpawnRecord::error`].
    pub error: Option<String>,
    /// See [`SpawnRecord::reason`].
    pub reason: Option<String>,
    /// When it ended as the gateway says, Unix milliseconds. Only looked at with a final state; now where it is left out.
    pub completed_at_ms: Option<i64>,
}

/// One step of one spawn, among others.
#[derive(Debug, Clone, PartialEq)]
pub struct SpawnStep {
    /// See [`SpawnRecord::spawn_id`].
    pub spawn_id: String,
    /// The state to go to.
    pub to: SpawnState,
    /// What becomes known with it.
    pub change: SpawnChange,
}

/// The `Idempotency-Key` of a request to spawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The API key that it belongs to; 0 for the key of the configuration.
    pub key_id: i64,
    /// What the client sent. Only its hash is stored.
    pub key: String,
    /// Hash of the request's body, made by the caller; the same for the same request.
    pub body_hash: String,
}

/// How a request to record a spawn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// Recorded; to be sent now.
    New(SpawnRecord),
    /// The same request was recorded before: this is what became of it. Nothing is to be sent.
    Replay(SpawnRecord),
    /// The idempotency key was used for another request. Nothing is recorded.
    Mismatch,
}
