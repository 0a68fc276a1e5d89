//! Spawns: work that gateways were given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use gatewarden_protocol::Secret;

use crate::names::{RouteReason, SpawnKind, SpawnState};
use crate::pages::Part;
use crate::request::{Rule, request};
use crate::rules::{as_text, by, id, small, text, texts, texts_by_name};
use crate::sessions::session_key;

/// A gateway took the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpawnAccepted {
    /// Always true; a failure has the error shape.
    pub success: bool,
    /// Follow it with `GET /api/spawn/{spawnId}` and `spawn_result` events.
    #[serde(rename = "spawnId")]
    pub spawn_id: String,
    /// `accepted` or `running`; for a replayed request what has become of it since.
    #[schema(value_type = SpawnState, example = "accepted")]
    pub status: String,
    /// The gateway that took it.
    pub gateway: Option<GatewayName>,
    /// Why that one: `preferred`, `requested`, `primary`, `acting_primary` or `least_loaded`.
    #[schema(value_type = Option<RouteReason>, example = "primary")]
    pub route: Option<String>,
    /// The session that it runs in, where known.
    #[serde(rename = "sessionKey", default)]
    pub session_key: Option<String>,
    /// The same, by another name.
    #[serde(rename = "sessionInfo")]
    pub session_info: Option<String>,
    /// The run's id on the gateway.
    #[serde(rename = "runId")]
    pub run_id: Option<String>,
    /// Process id, where the gateway says.
    pub pid: Option<i64>,
    /// The gateway's reply, in its form; null in a replayed answer where it isn't known.
    #[schema(value_type = Option<Object>, required = true)]
    pub result: Value,
    /// Whether this is the recorded answer to an earlier request with the same Idempotency-Key.
    pub replayed: bool,
}

/// Spawns, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpawnHistory {
    /// The page.
    pub history: Vec<Spawn>,
    /// Which part it is.
    #[serde(flatten)]
    pub part: Part,
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
    #[schema(value_type = SpawnState, example = "running")]
    pub status: String,
    /// `task` or `command`.
    #[schema(value_type = SpawnKind, example = "task")]
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
    #[schema(value_type = Option<RouteReason>)]
    pub route: Option<String>,
    /// The session that it runs in.
    pub session_key: Option<String>,
    /// The run's id on the gateway.
    pub run_id: Option<String>,
    /// Process id on the gateway's host.
    pub pid: Option<i64>,
    /// What came of it, in the gateway's form.
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
    /// When it ended, as the gateway says; where it doesn't, when that was heard or found out (`reason` says the latter).
    pub completed_at: Option<i64>,
    /// Why what is said of it may not be true any more; null where nothing speaks against it.
    #[serde(default)]
    pub doubt: Option<SpawnDoubt>,
}

/// Why the state of a spawn is in doubt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpawnDoubt {
    /// One sentence.
    #[schema(example = "Gateway \"prod\" is offline: it is asked what became of this as soon as it is back")]
    pub message: String,
    /// Since when there is doubt without a break, whatever the message said meanwhile.
    pub since: i64,
    /// When the gateway is asked again; null while it can't be.
    pub asked_again_at: Option<i64>,
}

/// Longest task, in bytes.
const MAX_TASK: usize = 256 * 1024;
/// Longest argument or value, in bytes.
const MAX_PART: usize = 32 * 1024;
/// Arguments and environment variables of a command.
const MAX_PARTS: usize = 256;

request! {
    /// A spawn: exactly one of `task` and `command`.
    SpawnBody {
        /// What an agent is to do.
        task: Option<String> = task() => "Summarise the open issues";
        /// The agent; the gateway's default agent where left out. A registered agent's preferred gateway is honoured.
        agent: Option<String> = text(1..=200);
        /// Model, as the gateway names it.
        model: Option<String> = text(1..=200);
        /// A label for people.
        label: Option<String> = text(1..=200);
        /// The session to run in; a new one where left out.
        session_key "sessionKey": Option<String> = session_key();
        /// After so many seconds the gateway should give up.
        timeout_seconds "timeoutSeconds": Option<u32> = small::<u32>(1..=604_800);
        /// The gateway that must take it.
        gateway_id: Option<i64> = id();
        /// Labels that the gateway must have.
        selector: Option<BTreeMap<String, String>> =
            texts_by_name::<String>(64, is_part, "must be an object of at most 64 texts by name");
        /// A program on the gateway's host.
        command: Option<String> = text(1..=4_096);
        /// Its arguments.
        args: Option<Vec<String>> = texts(
            MAX_PARTS,
            |text| text.len() <= MAX_PART && !text.contains('\0'),
            "must be at most 256 texts of at most 32768 bytes each",
        );
        /// Its environment; the values are kept sealed.
        env: Option<BTreeMap<String, Secret>> =
            texts_by_name::<Secret>(MAX_PARTS, is_part, "must be an object of at most 256 texts by name");
        /// Its working directory.
        cwd: Option<String> = text(1..=4_096);
    }
}

/// A text that may have several lines.
fn task() -> impl Rule<Out = String> {
    by(|fields, name| {
        match (fields.value(name).is_some(), fields.value("command").is_some()) {
            (false, false) => fields.wrong(name, "is missing (or command, for a program)"),
            (true, true) => fields.wrong(name, "and command exclude each other"),
            _ => {}
        }
        fields.value(name)?;
        let text = as_text(fields, name)?;
        if text.trim().is_empty() || text.len() > MAX_TASK {
            fields.wrong(name, format_args!("must have 1 to {MAX_TASK} bytes and not be blank"));
        } else if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t')) {
            fields.wrong(name, "must not contain control characters other than line ends and tabs");
        }
        Some(text.to_owned())
    })
}

fn is_part(name: &str, value: &str) -> bool {
    (1..=200).contains(&name.len()) && !name.contains(['=', '\0']) && value.len() <= MAX_PART && !value.contains('\0')
}
