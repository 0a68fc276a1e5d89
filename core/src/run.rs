//! A run: one piece of work that a gateway does for a spawn. Shared by the gateway's actor and the registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_protocol::Secret;
use gatewarden_protocol::sessions::SessionRow;
use serde_json::Value;

use crate::error::{ErrorCode, Failure};

/// What is to be run.
#[derive(Debug, Clone, PartialEq)]
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

/// The gateway took the work.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The run's id on the gateway.
    pub run_id: String,
    /// The session that it runs in, where known: what a kill needs.
    pub session_key: Option<String>,
    /// Process id, where the gateway says.
    pub pid: Option<i64>,
    /// Whether it already runs (else it is only accepted).
    pub running: bool,
    /// The method that took it.
    pub method: &'static str,
    /// The gateway's reply, cut to 64 KiB.
    pub reply: Value,
}

/// Whether a gateway can have taken work that it didn't acknowledge. Work may move elsewhere only if it is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It never reached the gateway, or the gateway refused it before acceptance.
    NotTaken,
    /// It was on the wire and the answer is lost.
    Unknown,
}

/// The gateway didn't acknowledge the work.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
pub enum RunStage {
    /// It runs.
    Running {
        /// Process id, where the gateway says.
        pid: Option<i64>,
    },
    /// It ended well.
    Completed {
        /// What came of it, cut to 64 KiB.
        result: Value,
    },
    /// It ended badly.
    Failed {
        /// The gateway's own words.
        error: String,
        /// What came of it, if anything.
        result: Value,
    },
    /// It was stopped on request.
    Killed {
        /// The gateway's own words.
        reason: String,
    },
}

/// What a gateway knows of a run when asked.
#[derive(Debug, Clone, PartialEq)]
pub enum RunFinding {
    /// It is under way.
    Running,
    /// It has ended.
    Ended(RunStage),
    /// The gateway knows nothing of it, or can't tell.
    NotKnown,
}

/// The answer to a question about a run.
#[derive(Debug, Clone, PartialEq)]
pub struct LookedUp {
    /// What the gateway knows.
    pub finding: RunFinding,
    /// The run's session, where it is known by now: an acceptance that was lost had told it.
    pub session_key: Option<String>,
    /// When it ended, Unix ms, where the gateway says so.
    pub ended_at_ms: Option<i64>,
}

gatewarden_protocol::named! {
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

/// The sessions of one gateway as last known. Replaced as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionSnapshot {
    /// Newest first.
    pub rows: Vec<Arc<SessionRow>>,
    /// Wall ms of the last news.
    pub as_of_ms: i64,
    /// Whether the list was ever read in full since the connection was made.
    pub complete: bool,
}

/// Shared with readers.
pub type SharedSessions = Arc<SessionSnapshot>;

/// From the registry, after a lost connection or a restart: what became of a run? Never starts anything.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub struct ControlSession {
    /// The session's key on this gateway.
    pub session_key: String,
    /// What to do.
    pub action: SessionAction,
    /// Deadline.
    pub timeout: Duration,
}

/// A run moved on, as the gateway said by a second reply or by events. Told once per stage; a final stage is the last.
#[derive(Debug, Clone, PartialEq)]
pub struct RunNotice {
    /// The run's id: the spawn's id on real gateways.
    pub run_id: String,
    /// Its session, where known.
    pub session_key: Option<String>,
    /// How it moved on.
    pub stage: RunStage,
}
