//! One run: a message (or a command) and the process that works on it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::answer::Answer;
use crate::caller::ConnectionId;
use crate::effect::{ProcessOrder, RunId};
use crate::sessions::Usage;
use crate::turn::ReplyTo;

/// By which method it was asked for: decides how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `agent`: accepted at once, the outcome in a second reply.
    Agent,
    /// `agent` in the dialect that has no ids to tell two replies apart: the outcome alone.
    AgentOnce,
    /// `chat.send`: one reply at once.
    Chat,
    /// `sessions.send`: one reply at once.
    Session,
    /// `spawn`: one reply once it runs (or doesn't), and `spawn_result` events.
    Spawn,
    /// By the gateway itself (a webhook): nobody waits for a reply.
    Unasked,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Well.
    Completed,
    /// Badly: a sentence.
    Failed(String),
    /// On request: by which way, for instance `rpc`.
    Killed(String),
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    /// How.
    pub how: Ending,
    /// Wall ms.
    pub at: i64,
    /// Exit code of its process, where it ended by itself.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended its process.
    pub signal: Option<i32>,
    /// How long its process ran, in ms; none where it never did.
    pub duration_ms: Option<u64>,
    /// Processes that it had left behind.
    pub strays: u32,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunState {
    /// It waits for the run of its session before it.
    Queued,
    /// Its program is being executed.
    Starting,
    /// Its program runs.
    Running,
    /// Its process group is stopped.
    Paused,
    /// It is over.
    Ended(End),
}

impl RunState {
    /// The word on the wire.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Ended(End { how: Ending::Completed, .. }) => "completed",
            Self::Ended(End { how: Ending::Failed(_), .. }) => "failed",
            Self::Ended(End { how: Ending::Killed(_), .. }) => "killed",
        }
    }

    /// Whether it has a process, or is about to have one.
    pub(crate) fn has_process(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused)
    }

    /// Its end.
    pub(crate) fn end(&self) -> Option<&End> {
        match self {
            Self::Ended(end) => Some(end),
            _ => None,
        }
    }
}

/// Who waits for the end of a run (`agent.wait`).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Waiter {
    pub(super) reply: ReplyTo,
    pub(super) deadline: Instant,
}

/// Who waits for a signal to be delivered (`control`).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Controlled {
    pub(super) reply: ReplyTo,
    pub(super) action: ControlAction,
}

/// What `control` can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlAction {
    /// Stop the process group.
    Pause,
    /// Let it go on.
    Resume,
    /// End it.
    Kill,
}

impl ControlAction {
    /// The word on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Kill => "kill",
        }
    }
}

/// Everything about one run.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its id.
    pub id: RunId,
    /// The session that it belongs to.
    pub session_key: String,
    /// That session's id when the run was asked for.
    pub session_id: String,
    /// The agent that it runs for; the template where it runs a command.
    pub agent_id: String,
    /// Name of the entry of the configuration's `commands`.
    pub template: String,
    /// By which method.
    pub asked: Asked,
    /// Of the method and its parameters: the same idempotency key with another one is a mistake.
    pub(super) fingerprint: String,
    /// How far it is.
    pub state: RunState,
    /// Its process group.
    pub pid: Option<u32>,
    /// Wall ms of acceptance.
    pub accepted_at: i64,
    /// Wall ms of its execution.
    pub started_at: Option<i64>,
    /// Tokens so far.
    pub usage: Option<Usage>,
    /// The model that its agent named.
    pub model: Option<String>,
    /// The order of a run that waits.
    pub(super) order: Option<ProcessOrder>,
    pub(super) json_lines: bool,
    pub(super) timeout: Option<Duration>,
    /// Replies still due: the second ones of `agent`, the one of `spawn`.
    pub(super) replies: Vec<ReplyTo>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) controls: Vec<Controlled>,
    /// Who asked for `spawn`, and the id of that request: `spawn_result` events name it.
    pub(super) spawner: Option<(ConnectionId, String)>,
    pub(super) answer: Answer,
    /// An `error` line of its agent.
    pub(super) reported_error: Option<String>,
    /// The last line on standard error, for the sentence of a failure.
    pub(super) last_words: Option<String>,
    /// By which way it was asked to end.
    pub(super) kill_asked: Option<String>,
    /// Counter of its `agent` events.
    pub(super) seq: u64,
    pub(super) acknowledged: Option<Value>,
}

impl Run {
    /// Bytes that remembering it costs, about.
    pub(super) fn weight(&self) -> usize {
        512 + self.session_key.len() + self.id.0.len() + self.answer.text().len()
    }

    /// What is said of it in lists.
    pub(crate) fn to_value(&self) -> Value {
        let mut row = serde_json::json!({
            "runId": self.id.0,
            "sessionKey": self.session_key,
            "agentId": self.agent_id,
            "command": self.template,
            "status": self.state.as_str(),
            "pid": self.pid,
            "acceptedAt": self.accepted_at,
            "startedAt": self.started_at,
        });
        if let (Some(end), Some(fields)) = (self.state.end(), row.as_object_mut()) {
            fields.insert("endedAt".into(), end.at.into());
            fields.insert("exitCode".into(), end.exit_code.into());
            fields.insert("signal".into(), end.signal.into());
            fields.insert("durationMs".into(), end.duration_ms.into());
            if let Ending::Failed(error) = &end.how {
                fields.insert("error".into(), error.clone().into());
            }
        }
        row
    }
}
