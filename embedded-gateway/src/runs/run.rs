//! One run: a message (or a command) and the process that works on it.

use std::time::{Duration, Instant};

use gatewarden_protocol::named;
use serde_json::{Value, json};

use super::answer::Answer;
use crate::call::ReplyTo;
use crate::caller::ConnectionId;
use crate::effect::{ProcessOrder, RunId};
use crate::payload::joined;
use crate::sessions::Usage;

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
    /// By the gateway itself (a webhook, a job): nobody waits for a reply.
    Unasked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Completed,
    Failed(String),
    Killed(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    pub how: Ending,
    /// Wall ms.
    pub at: i64,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// How long its process ran, in ms; none where it never did.
    pub duration_ms: Option<u64>,
    pub strays: u32,
}

impl End {
    /// Of a run that never had one.
    pub(super) fn without_process(how: Ending, at: i64) -> Self {
        Self { how, at, exit_code: None, signal: None, duration_ms: None, strays: 0 }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunState {
    /// It waits for the run of its session before it.
    Queued,
    Starting,
    Running,
    Paused,
    Ended(End),
}

impl RunState {
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

named! {
    pub(crate) enum ControlAction {
        Pause = "pause",
        Resume = "resume",
        Kill = "kill",
    }
}

#[derive(Debug)]
pub(crate) struct Run {
    pub id: RunId,
    pub session_key: String,
    pub session_id: String,
    /// The agent that it runs for; the template where it runs a command.
    pub agent_id: String,
    pub template: String,
    pub asked: Asked,
    /// Of the method and its parameters: the same idempotency key with another one is a mistake.
    pub(super) fingerprint: String,
    pub state: RunState,
    pub pid: Option<u32>,
    /// Wall ms of acceptance.
    pub accepted_at: i64,
    /// Wall ms of its execution.
    pub started_at: Option<i64>,
    pub usage: Option<Usage>,
    pub model: Option<String>,
    pub(super) order: Option<ProcessOrder>,
    pub(super) json_lines: bool,
    pub(super) timeout: Option<Duration>,
    /// Replies still due: the second ones of `agent`, the one of `spawn`.
    pub(super) replies: Vec<ReplyTo>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) controls: Vec<Controlled>,
    /// Who asked for `spawn`, and the id of that request: `spawn_result` events name it.
    pub(super) spawner: Option<(ConnectionId, String)>,
    /// Who asked in document 004's dialect, and the session's key as it was written there.
    pub(super) written_key: Option<(ConnectionId, String)>,
    pub(super) answer: Answer,
    pub(super) reported_error: Option<String>,
    /// The last line on standard error, for the sentence of a failure.
    pub(super) last_words: Option<String>,
    pub(super) kill_asked: Option<String>,
    pub(super) seq: u64,
    pub(super) acknowledged: Option<Value>,
}

impl Run {
    /// What the agent has said so far, without blank ends.
    pub(crate) fn text(&self) -> &str {
        self.answer.text()
    }

    /// Bytes that remembering it costs, about.
    pub(super) fn weight(&self) -> usize {
        512 + self.session_key.len() + self.id.0.len() + self.answer.text().len()
    }

    pub(crate) fn to_value(&self) -> Value {
        let row = json!({
            "runId": self.id.0,
            "sessionKey": self.session_key,
            "agentId": self.agent_id,
            "command": self.template,
            "status": self.state.as_str(),
            "pid": self.pid,
            "acceptedAt": self.accepted_at,
            "startedAt": self.started_at,
        });
        let Some(End { how, at, exit_code, signal, duration_ms, .. }) = self.state.end() else { return row };
        let end = json!({"endedAt": at, "exitCode": exit_code, "signal": signal, "durationMs": duration_ms});
        let row = joined(row, end);
        match how {
            Ending::Failed(error) => joined(row, json!({"error": error})),
            Ending::Completed | Ending::Killed(_) => row,
        }
    }
}
