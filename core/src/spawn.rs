//! Spawns: what was asked for, where it went and what became of it, and the run that a gateway does for it. Which state may follow
//! which:
//!
//! ```text
//! recorded -> sent -> accepted -> running -> completed | failed | killed | lost
//!               \---------\----------\--> unknown --> any later one, never sent again
//! ```
//!
//! The rule behind the table: a spawn is never run twice. Only the daemon that recorded it sends it: one that finds it
//! `recorded` at its start takes it for sent. Once it may be on the wire nothing leads back to `recorded`, and
//! once nobody knows whether it was taken (`unknown`) nothing leads back to `sent`. `sent` may follow `sent`: another
//! gateway is tried after the first one certainly did not take it. A step may be skipped where a gateway says more than was
//! asked, as a result that overtakes the acceptance. A final state never changes.

use std::collections::BTreeMap;
use std::time::Duration;

use gatewarden_protocol::{Secret, named};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ErrorCode, Failure};
use crate::ids::GatewayId;
use crate::machines::routing::RouteRequest;

named! {
    /// What a spawn runs.
    #[derive(Default)]
    pub enum SpawnKind {
        /// An agent with a task.
        #[default]
        Task = "task",
        /// A command with arguments.
        Command = "command",
    }
}

named! {
    /// Where a spawn is in its life.
    #[derive(Default)]
    pub enum SpawnState {
        /// Written down, with the gateway that it is about to be given to. Durable before the request is given to a connection.
        #[default]
        Recorded = "recorded",
        /// Given to a connection. Written down within moments of it: whoever finds `recorded` after a crash can't tell whether it was
        /// sent, asks that gateway, and never sends it.
        Sent = "sent",
        /// The gateway took it.
        Accepted = "accepted",
        /// It runs.
        Running = "running",
        /// It was or may have been on the wire, and what became of it is not known for the time being.
        Unknown = "unknown",
        /// Ended well. Final, as all that follow.
        Completed = "completed",
        /// Refused, or ended badly.
        Failed = "failed",
        /// Ended because somebody asked for it.
        Killed = "killed",
        /// What became of it will not be known any more.
        Lost = "lost",
    }
}

impl SpawnState {
    /// The states that can still change.
    pub const OPEN: [Self; 5] = [Self::Recorded, Self::Sent, Self::Accepted, Self::Running, Self::Unknown];

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        match self {
            Self::Recorded | Self::Sent | Self::Accepted | Self::Running | Self::Unknown => false,
            Self::Completed | Self::Failed | Self::Killed | Self::Lost => true,
        }
    }

    /// Whether this state may come after `earlier`. An open state may follow itself: more became known about it.
    pub fn may_follow(self, earlier: Self) -> bool {
        match earlier {
            Self::Completed | Self::Failed | Self::Killed | Self::Lost => false,
            // That it was sent is written first: only then can it have been accepted, run, be in doubt, or have ended well.
            Self::Recorded => matches!(self, Self::Recorded | Self::Sent | Self::Failed | Self::Killed | Self::Lost),
            Self::Sent => self != Self::Recorded,
            Self::Accepted => !matches!(self, Self::Recorded | Self::Sent),
            Self::Running => !matches!(self, Self::Recorded | Self::Sent | Self::Accepted),
            Self::Unknown => !matches!(self, Self::Recorded | Self::Sent),
        }
    }
}

/// A piece of work for some gateway, from the client's request to its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpawnRequest {
    /// What is recorded of it. Its id is drawn by whoever asks; where it goes is filled in by the fleet.
    pub record: SpawnRecord,
    /// Where it should go.
    pub route: RouteRequest,
    /// What to run.
    pub work: Work,
    /// Deadline of the acceptance.
    pub timeout: Duration,
}

/// A spawn as it is recorded, without its request's text. One step of it is a record, too: of the id, the state to go to, and what
/// becomes known with that. What is `None` there stays as it is, but for the reason of an earlier state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SpawnRecord {
    /// A uuid: the idempotency key on the wire, and the run's id on real gateways.
    pub spawn_id: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds of the last change.
    pub updated_at_ms: i64,
    /// What it runs.
    pub kind: SpawnKind,
    /// What of the request may be shown in lists and stored in the clear: the task's or the command's beginning, no
    /// environment. At most 500 characters are kept.
    pub summary: String,
    /// The model asked for.
    pub model: Option<String>,
    /// The gateway that it went to, or is to go to; `None` where none could take it. That gateway may be gone.
    pub gateway_id: Option<GatewayId>,
    /// Its name at that time.
    pub gateway_name: Option<String>,
    /// Why that one: `preferred`, `requested`, `primary`, `acting_primary` or `least_loaded`.
    pub route: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The caller's label.
    pub label: Option<String>,
    /// The API key that asked; `None` for the key of the configuration.
    pub key_id: Option<i64>,
    /// The session that it runs in, as the gateway said.
    pub session_key: Option<String>,
    /// The gateway's own name for the run, or the one by which it was asked about it.
    pub run_id: Option<String>,
    /// Where it is in its life.
    pub state: SpawnState,
    /// Process id at the gateway.
    pub pid: Option<i64>,
    /// The gateway's result; one above 64 KiB of JSON is left out, and says so.
    #[serde(default, deserialize_with = "gatewarden_protocol::nested_json::deserialize")]
    pub result: Option<Value>,
    /// Stable code of what went wrong.
    pub error_code: Option<String>,
    /// What went wrong, for a person, with the gateway's words. At most 4,000 characters are kept.
    pub error: Option<String>,
    /// Unix milliseconds; set exactly where the state is final.
    pub completed_at_ms: Option<i64>,
    /// Why it is in this state, for a person. At most 1,000 characters are kept.
    pub reason: Option<String>,
}

impl SpawnRecord {
    /// The gateway that it is for; 0, which none has, where none could take it.
    pub(crate) fn gateway(&self) -> GatewayId {
        self.gateway_id.unwrap_or(GatewayId(0))
    }

    /// Whose steps these are, each once: the steps of one spawn follow each other.
    pub fn ids(steps: &[Self]) -> Vec<String> {
        let mut spawn_ids: Vec<String> = steps.iter().map(|step| step.spawn_id.clone()).collect();
        spawn_ids.dedup();
        spawn_ids
    }
}

/// Why what is said of an open spawn may not be true any more: its gateway is silent or away, or has not said what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnDoubt {
    /// Since when without a break, wall ms.
    pub since_ms: i64,
    /// When the gateway is asked, wall ms; none while it can't be.
    pub ask_at_ms: Option<i64>,
}

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// A task for an agent.
    Task {
        /// What to do, in words.
        task: String,
        /// The agent's id on the gateway; the gateway's default agent where none is named.
        agent: Option<String>,
        /// The session to run in; a new one where none is named.
        session_key: Option<String>,
        /// Model, as the gateway names it.
        model: Option<String>,
        /// A label for people.
        label: Option<String>,
        /// Seconds after which the gateway should give up.
        timeout_seconds: Option<u32>,
    },
    /// A command of the gateway's host.
    Command {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Environment variables; their values are treated as secrets.
        #[serde(with = "gatewarden_protocol::secret::exposed")]
        env: BTreeMap<String, Secret>,
        /// Working directory.
        cwd: Option<String>,
    },
}

/// The key of a session made for one spawn. Gateways keep keys in lower case.
pub(crate) fn own_session(agent: &str, spawn_id: &str) -> String {
    format!("agent:{agent}:gatewarden-{spawn_id}").to_lowercase()
}

/// Whether a session was made for this one spawn: then what its row tells is told of the run.
pub(crate) fn is_own_session(key: &str, spawn_id: &str) -> bool {
    spawn_of_session(key).is_some_and(|id| id.eq_ignore_ascii_case(spawn_id))
}

/// The id of the spawn that a session was made for, where the key says so.
pub fn spawn_of_session(key: &str) -> Option<&str> {
    key.rsplit_once(":gatewarden-").map(|(_, id)| id)
}

/// Whether a gateway can have taken work that it didn't acknowledge. Work may move elsewhere only if it is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Certainty {
    /// It never reached the gateway, or the gateway refused it before acceptance.
    NotTaken,
    /// It was on the wire and the answer is lost.
    Unknown,
}

/// The gateway didn't acknowledge the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotAccepted {
    /// What happened.
    pub failure: Failure,
    /// Whether it can be under way all the same.
    pub certainty: Certainty,
}

/// Why a gateway's actor didn't answer what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is none, it is gone, or more waits for it than it will ever work through in time: it never saw the question.
    NotTaken,
    /// It ended with the question in hand: nobody knows what came of it.
    Ended,
    /// The time was over.
    Late,
}

impl NoAnswer {
    /// What this says of work that the actor of the gateway of this name was given for so long.
    pub fn of_run(self, name: &str, timeout: Duration) -> NotAccepted {
        match self {
            Self::NotTaken => NotAccepted {
                failure: Failure::new(ErrorCode::GatewayUnavailable, format!("Gateway \"{name}\" is not connected"))
                    .with_help("Try again in a second.")
                    .with_retry_after(Duration::from_secs(1)),
                certainty: Certainty::NotTaken,
            },
            Self::Ended | Self::Late => {
                let ms = timeout.as_millis();
                let words = format!("Gateway \"{name}\" did not say within {ms} ms whether it took the work");
                NotAccepted { failure: Failure::new(ErrorCode::GatewayTimeout, words), certainty: Certainty::Unknown }
            }
        }
    }
}

/// How a run moved on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RunStage {
    /// It runs.
    Running {
        /// Process id, where the gateway says.
        pid: Option<i64>,
    },
    /// It ended well.
    Completed {
        /// What came of it, cut to 64 KiB.
        #[serde(deserialize_with = "gatewarden_protocol::nested_json::deserialize")]
        result: Value,
    },
    /// It ended badly.
    Failed {
        /// The gateway's own words.
        error: String,
        /// What came of it, if anything.
        #[serde(deserialize_with = "gatewarden_protocol::nested_json::deserialize")]
        result: Value,
    },
    /// It was stopped on request.
    Killed {
        /// The gateway's own words.
        reason: String,
    },
}

/// What a gateway knows of a run when asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RunFinding {
    /// It is under way.
    Running,
    /// It has ended.
    Ended(RunStage),
    /// The gateway knows nothing of it, or can't tell.
    NotKnown,
}

/// The answer to a question about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LookedUp {
    /// What the gateway knows.
    pub finding: RunFinding,
    /// The run's session, where it is known by now: an acceptance that was lost had told it.
    pub session_key: Option<String>,
    /// When it ended, Unix ms, where the gateway says so.
    pub ended_at_ms: Option<i64>,
}

named! {
    /// What may be done to a session.
    pub enum SessionAction {
        /// Suspend it.
        Pause = "pause",
        /// Go on.
        Resume = "resume",
        /// End what runs in it.
        Kill = "kill",
    }
}

/// From the registry, after a lost connection or a restart: what became of a run? Never starts anything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookUpRun {
    /// The run's id.
    pub run_id: String,
    /// Its session, where known.
    pub session_key: Option<String>,
    /// Deadline.
    pub timeout: Duration,
}

/// From the registry: pause, resume or kill what runs in a session. Replies with what the gateway said.
/// `not_supported_by_gateway` names gateway, version and missing method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ControlSession {
    /// The session's key on this gateway.
    pub session_key: String,
    /// What to do.
    pub action: SessionAction,
    /// Deadline.
    pub timeout: Duration,
}

/// A run moved on, as the gateway said by a second reply or by events. Told once per stage; a final stage is the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunNotice {
    /// The run's id: the spawn's id on real gateways.
    pub run_id: String,
    /// Its session, where known.
    pub session_key: Option<String>,
    /// How it moved on.
    pub stage: RunStage,
}

#[cfg(test)]
mod tests;
