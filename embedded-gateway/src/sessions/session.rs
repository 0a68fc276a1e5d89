//! One session and its messages, as they are kept in memory and in the session's transcript.

use std::collections::VecDeque;
use std::fmt;

use gatewarden_protocol::sessions::agent_of_key;
use serde::{Deserialize, Serialize};

use crate::call::CallError;
use crate::config::is_agent_id;
use crate::effect::RunId;

/// Longest text of one message, in bytes; the rest is cut off and said so.
pub(crate) const MESSAGE_BYTES: usize = 256 * 1024;
pub(crate) const CUT_MARK: &str = "\n[cut]";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunEnd {
    Done,
    /// Badly; a sentence for people.
    Failed(String),
    Killed,
}

/// What a session's row says in `status`. A session that never ran has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RowStatus {
    Running,
    Done,
    Failed,
    Killed,
}

/// Tokens that an agent reports. All counts are of this report alone; they are added to the session's sums.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    #[serde(default)]
    pub input: u64,
    #[serde(default)]
    pub output: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// US dollars, where told; negative and infinite values are ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
    System,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewMessage {
    pub role: Role,
    pub text: String,
    pub run: Option<RunId>,
    /// The model that made it, where known.
    pub model: Option<String>,
    /// Tokens that it cost, where known. Not added to the session's sums: that is [`super::Sessions::count_tokens`].
    pub usage: Option<Usage>,
    /// See [`Message::stop_reason`].
    pub stop_reason: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    pub id: String,
    /// Counts from 1 within the session; never used twice, also when older messages are dropped.
    pub seq: u64,
    pub role: Role,
    pub text: String,
    /// Wall ms.
    pub timestamp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The model that made it, where known; of the agent's messages only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why the agent's message isn't whole: `aborted` or `error`; none where it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
}

/// One conversation with one agent. Changed through [`super::Sessions`] alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub key: String,
    /// A UUID; new after each reset. Names the transcript.
    pub session_id: String,
    pub agent_id: String,
    /// Higher than that of the transcript which it replaced (reset).
    #[serde(default)]
    pub generation: u64,
    pub kind: String,
    /// The name that people gave it; unique among all sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// As patched; for its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<String>,
    /// As patched; the gateway only keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose_level: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_key: Option<String>,
    /// What an agent that speaks ACP calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// Wall ms.
    pub created_at: i64,
    /// Wall ms of the last change.
    pub updated_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RowStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_id: Option<String>,
    /// Wall ms of the last run's begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// Wall ms of the last run's end; none while one is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
    /// Sum of all reports since the last reset.
    #[serde(default)]
    pub input_tokens: u64,
    /// Sum of all reports since the last reset.
    #[serde(default)]
    pub output_tokens: u64,
    /// Size of the last prompt (`totalTokens` of real rows); none until reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// US dollars so far; none until reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    #[serde(default)]
    pub message_count: u64,
    #[serde(default)]
    pub compactions: u64,
    /// The runs under way, oldest first.
    #[serde(skip)]
    pub active_runs: Vec<RunId>,
    #[serde(skip)]
    pub paused_runs: Vec<RunId>,
    /// The messages that are kept, oldest first.
    #[serde(skip)]
    pub(super) history: VecDeque<Message>,
    /// Bytes of text in `history`.
    #[serde(skip)]
    pub(super) history_bytes: usize,
    #[serde(skip)]
    pub(super) lines: usize,
}

impl Session {
    pub(crate) fn is_busy(&self) -> bool {
        !self.active_runs.is_empty()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_busy() && self.active_runs.iter().all(|run| self.paused_runs.contains(run))
    }

    /// Whether it is the main session of its agent. That of the default agent can be reset but not deleted.
    pub(crate) fn is_main(&self) -> bool {
        self.key == SessionKey::main_of(&self.agent_id).as_str()
    }

    /// The messages that are kept, oldest first.
    pub(crate) fn history(&self) -> impl DoubleEndedIterator<Item = &Message> + ExactSizeIterator {
        self.history.iter()
    }

    /// `active`, `paused` or `completed`; none where it never ran.
    pub(crate) fn state(&self) -> Option<&'static str> {
        match (self.is_busy(), self.is_paused()) {
            (true, true) => Some("paused"),
            (true, false) => Some("active"),
            (false, _) => self.status.map(|_| "completed"),
        }
    }

    pub(crate) fn model_parts(&self) -> (Option<&str>, Option<&str>) {
        model_parts(self.model.as_deref())
    }
}

/// Provider and model of `provider/model`, or of a model alone.
pub(crate) fn model_parts(model: Option<&str>) -> (Option<&str>, Option<&str>) {
    match model.map(|model| model.split_once('/').ok_or(model)) {
        Some(Ok((provider, model))) => (Some(provider), Some(model)),
        Some(Err(model)) => (None, Some(model)),
        None => (None, None),
    }
}

/// Cuts a text at `most` bytes, on a character's boundary.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(CUT_MARK.len())));
        text.push_str(CUT_MARK);
    }
    text
}

pub(crate) const KEY_BYTES: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey(String);

impl SessionKey {
    /// Reads what a caller names. `main` and everything else that doesn't begin with `agent:` belongs to `default_agent`.
    pub(crate) fn read(given: &str, default_agent: &str) -> Result<Self, CallError> {
        let given = given.trim();
        if given.is_empty() {
            return Err(CallError::invalid("session key required"));
        }
        if given.len() > KEY_BYTES || given.chars().any(char::is_control) {
            return Err(CallError::invalid(format!(
                "invalid session key: at most {KEY_BYTES} bytes, without control characters"
            )));
        }
        let Some(rest) = given.strip_prefix("agent:") else {
            return Ok(Self(format!("agent:{default_agent}:{given}")));
        };
        match rest.split_once(':') {
            Some((agent, rest)) if is_agent_id(agent) && !rest.is_empty() => Ok(Self(given.to_owned())),
            _ => Err(CallError::invalid(format!("invalid session key: {given} (form: agent:<agentId>:<name>)"))),
        }
    }

    pub(crate) fn main_of(agent: &str) -> Self {
        Self(format!("agent:{agent}:main"))
    }

    pub(crate) fn of(agent: &str, rest: &str) -> Self {
        Self(format!("agent:{agent}:{rest}"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn agent(&self) -> String {
        agent_of_key(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_keys_belong_to_the_default_agent() {
        for (given, whole) in [
            ("main", "agent:coder:main"),
            (" main ", "agent:coder:main"),
            ("agent1:chat", "agent:coder:agent1:chat"),
            ("agent:main:main", "agent:main:main"),
            ("agent:main:telegram:default:user123", "agent:main:telegram:default:user123"),
        ] {
            assert_eq!(SessionKey::read(given, "coder").map(|key| key.to_string()).as_deref(), Ok(whole));
        }
    }

    #[test]
    fn keys_that_name_no_session_are_refused() {
        let long = "k".repeat(KEY_BYTES + 1);
        for given in ["", "  ", "agent:", "agent:main", "agent:main:", "agent::x", "agent:../x:main", "a\nb", &long] {
            assert!(SessionKey::read(given, "main").is_err(), "{given:?}");
        }
    }

    #[test]
    fn the_agent_of_a_key_is_its_second_part() {
        assert_eq!(SessionKey::of("worker-one", "a:b").agent(), "worker-one");
        assert_eq!(SessionKey::main_of("main").as_str(), "agent:main:main");
    }
}
