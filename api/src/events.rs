//! The data of events, by type (`docs/events.md`). Which type an event with such data has is said where it is published
//! (`actors/src/event_data.rs`).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::gateway_record::{FleetFigures, FleetRow};
use crate::gateways::{LastError, LogEntry, Pairing};
use crate::names::{
    AgentState, AuditResult, ConnectionEnd, ConnectionPhase, HealthStatus, ProcessChange, ProcessKind, ProcessState,
    RestOfSessions, Role, SessionChange, SessionState, SpawnState, StatusSource,
};
use crate::spawn::GatewayName;

/// A gateway's status changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayStatusData {
    /// Which.
    pub gateway_id: i64,
    /// Its name.
    pub gateway: String,
    /// The status before.
    #[schema(value_type = HealthStatus)]
    pub from: String,
    /// The status now.
    #[schema(value_type = HealthStatus)]
    pub to: String,
    /// Phase of the connection.
    #[schema(value_type = ConnectionPhase)]
    pub phase: String,
    /// Where the status came from.
    #[schema(value_type = StatusSource)]
    pub source: String,
    /// Last round trip in milliseconds.
    pub latency: Option<f64>,
    /// Why it is not online.
    pub error: Option<LastError>,
}

/// What of the rows of `GET /api/fleet` is different since the event before. It has no number.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct GatewayVitalsData {
    /// Gateways of which only figures are new: all figures of each.
    pub figures: Vec<FleetFigures>,
    /// New gateways, and those of which more is new: whole rows.
    pub rows: Vec<FleetRow>,
    /// Gateways that are gone.
    pub removed: Vec<i64>,
    /// Why the daemon doubts its own network; null while it doesn't.
    pub self_doubt: Option<String>,
}

/// Another gateway acts as primary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayPrimaryData {
    /// Who acted before; null for nobody.
    pub from: Option<GatewayName>,
    /// Who acts now; null for nobody.
    pub to: Option<GatewayName>,
    /// Why, for people.
    pub reason: String,
}

/// A gateway refuses the daemon until something is changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayBlockedData {
    /// Which.
    pub gateway_id: i64,
    /// Its name.
    pub gateway: String,
    /// Its status.
    #[schema(value_type = HealthStatus)]
    pub status: String,
    /// Why it refuses.
    pub error: Option<LastError>,
    /// Present while it waits for somebody to approve this installation.
    pub pairing: Option<Pairing>,
}

/// A gateway's process on this machine changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayProcessData {
    /// Whose.
    pub gateway_id: i64,
    /// That gateway's name.
    pub gateway: String,
    /// What runs it.
    #[schema(value_type = ProcessKind)]
    pub kind: String,
    /// The unit's or the command's name.
    pub process: String,
    /// What happened.
    #[schema(value_type = ProcessChange)]
    pub change: String,
    /// Where it is now.
    #[schema(value_type = ProcessState)]
    pub state: String,
    /// The main process.
    pub pid: Option<i32>,
    /// Restarts that nobody asked for.
    pub restarts: u64,
    /// What happened, for people.
    pub message: String,
}

/// A session was created, changed or ended; of very many changes at once, the number of the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SessionUpdateData {
    /// One session.
    One(SessionChanged),
    /// The rest of very many.
    Rest(SessionsLeftOut),
}

/// A session changed. What its gateway doesn't tell is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionChanged {
    /// The gateway that holds it.
    pub gateway_id: i64,
    /// That gateway's name.
    pub gateway: String,
    /// What happened; `ended` means that its run ended.
    #[schema(value_type = SessionChange)]
    pub change: String,
    /// The gateway's own key; two gateways may use the same.
    pub key: String,
    /// The agent's name on the gateway.
    pub agent: Option<String>,
    /// Whether it is at work.
    #[schema(value_type = Option<SessionState>)]
    pub status: Option<String>,
    /// The model, without its provider.
    pub model: Option<String>,
    /// `direct`, `group` and so on, in the gateway's words.
    pub kind: Option<String>,
    /// The name that people gave it.
    pub label: Option<String>,
    /// Tokens.
    #[serde(rename = "totalTokens")]
    pub total_tokens: Option<u64>,
    /// Unix milliseconds of the last change.
    #[serde(rename = "updatedAt")]
    pub updated_at: Option<i64>,
}

/// More sessions of a gateway changed at once than are told singly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionsLeftOut {
    /// The gateway that holds them.
    pub gateway_id: i64,
    /// That gateway's name.
    pub gateway: String,
    /// Always `more`.
    #[schema(value_type = RestOfSessions)]
    pub change: String,
    /// How many.
    pub sessions: usize,
}

/// A gateway wrote a log entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogData {
    /// Which.
    pub gateway_id: i64,
    /// Its name.
    pub gateway: String,
    /// The entry.
    #[serde(flatten)]
    pub entry: LogEntry,
}

/// An agent's status changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentStatusData {
    /// Which.
    pub agent_id: i64,
    /// Its name.
    pub agent: String,
    /// The status before.
    #[schema(value_type = AgentState)]
    pub from: String,
    /// The status now.
    #[schema(value_type = AgentState)]
    pub to: String,
    /// The gateway that it belongs to.
    pub gateway_id: Option<i64>,
    /// Unix seconds of the last sign of life.
    pub last_seen: Option<i64>,
}

/// A spawn changed its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpawnResultData {
    /// The same as `spawnId`.
    pub id: String,
    /// Its id.
    pub spawn_id: String,
    /// Its state.
    #[schema(value_type = SpawnState)]
    pub status: String,
    /// Where it went.
    pub gateway: GatewayOrNone,
    /// The agent.
    pub agent: Option<String>,
    /// The session that it runs in.
    pub session_key: Option<String>,
    /// Process id on the gateway's host.
    pub pid: Option<i64>,
    /// Unix milliseconds of its end.
    pub completed_at: Option<i64>,
    /// What came of it, in the gateway's form.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// What went wrong, with the gateway's words.
    pub error: Option<String>,
    /// Why it is in this state.
    pub reason: Option<String>,
}

/// A gateway, named. Both fields are null where there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayOrNone {
    /// Its id; it may be gone by now.
    pub id: Option<i64>,
    /// Its name at the time.
    pub name: Option<String>,
}

/// A CLI tool connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionCreatedData {
    /// Which connection.
    pub connection_id: String,
    /// The agent that the tool works as.
    pub agent_id: i64,
    /// That agent's name.
    pub agent: String,
    /// Such as `claude-code` or `codex`.
    pub tool_name: String,
    /// Its version.
    pub tool_version: Option<String>,
    /// Whether the connection had been given up for silence and is open again.
    pub revived: bool,
}

/// A CLI tool disconnected or stopped sending heartbeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionDisconnectedData {
    /// Which connection.
    pub connection_id: String,
    /// The agent that the tool worked as.
    pub agent_id: i64,
    /// That agent's name.
    pub agent: String,
    /// Such as `claude-code` or `codex`.
    pub tool_name: String,
    /// How it ended.
    #[schema(value_type = ConnectionEnd)]
    pub reason: String,
    /// Unix seconds of the last heartbeat.
    pub last_heartbeat: i64,
}

/// Something was done or refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditData {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Who did it.
    pub actor: AuditedBy,
    /// The client's address; none for the daemon's own doings.
    pub address: Option<String>,
    /// The request's id, as in its `X-Request-Id`.
    pub request_id: Option<String>,
    /// What was done.
    #[schema(example = "gateway.update")]
    pub action: String,
    /// To what.
    #[schema(example = "gateway 3")]
    pub target: Option<String>,
    /// `ok`, `refused` (nothing happened), `failed` (it didn't work) or `unknown` (the daemon was stopped in the middle).
    #[schema(value_type = AuditResult, example = "ok")]
    pub result: String,
    /// By action: of a request method, route, status, error code, and which fields were sent, never their secrets.
    #[schema(value_type = Object)]
    pub details: Value,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditedBy {
    /// The key; null for the one of the configuration, for nobody, and for the daemon itself.
    pub key_id: Option<i64>,
    /// The key's name, `anonymous` without a good key, `system` for the daemon itself.
    pub name: String,
    /// What the key may do.
    #[schema(value_type = Option<Role>)]
    pub role: Option<String>,
}
