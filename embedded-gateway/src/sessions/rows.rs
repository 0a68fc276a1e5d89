//! Sessions and messages as they are worded on the wire: protocol 4 and 3 as real releases, document 002's `tick` rows.

use serde_json::{Map, Value, json};

use super::{Message, Role, Session, Sessions};

const TICK_SESSIONS: usize = 100;
const PREVIEW_CHARS: usize = 240;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageForm {
    Protocol4,
    Protocol3,
}

impl MessageForm {
    /// The form of a protocol.
    pub(crate) fn of(protocol: u32) -> Self {
        if protocol >= 4 { Self::Protocol4 } else { Self::Protocol3 }
    }
}

/// A session's row at wall time `now`.
pub(crate) fn row(session: &Session, protocol: u32, now: i64) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    };
    let (provider, model) = session.model_parts();
    put("key", session.key.clone().into());
    put("kind", session.kind.clone().into());
    put("label", session.label.clone().into());
    put("displayName", session.label.clone().into());
    put("agentId", session.agent_id.clone().into());
    put("updatedAt", session.updated_at.into());
    put("createdAt", session.created_at.into());
    put("sessionId", session.session_id.clone().into());
    put("parentSessionKey", session.parent_key.clone().into());
    put("thinkingLevel", session.thinking_level.clone().into());
    put("verboseLevel", session.verbose_level.clone().into());
    put("abortedLastRun", (session.status == Some(super::RowStatus::Killed)).into());
    put("totalTokensFresh", session.total_tokens.is_some().into());
    put("totalTokens", session.total_tokens.into());
    put("contextTokens", session.context_tokens.into());
    put("estimatedCostUsd", session.cost_usd.into());
    put("modelProvider", provider.into());
    put("model", model.into());
    put("status", session.status.map(super::RowStatus::as_str).into());
    put("startedAt", session.started_at.into());
    put("endedAt", session.ended_at.into());
    if let (Some(started), Some(ended)) = (session.started_at, session.ended_at) {
        put("runtimeMs", ended.saturating_sub(started).max(0).into());
    }
    if session.input_tokens > 0 || session.output_tokens > 0 {
        put("inputTokens", session.input_tokens.into());
        put("outputTokens", session.output_tokens.into());
    }
    // Ours: real rows have none of these three, and their readers skip what they don't know.
    put("messageCount", session.message_count.into());
    put("state", session.state().into());
    if session.is_paused() {
        put("paused", true.into());
    }
    // Said to all: without these an ended run could not be told from a stuck row on protocol 3, and over HTTP, where nothing
    // but rows tells of runs, not from another run of the session.
    put("hasActiveRun", session.is_busy().into());
    put("activeRunIds", session.active_runs.iter().map(|run| run.0.as_str()).collect::<Vec<_>>().into());
    put("lastRunId", session.last_run_id.clone().into());
    put("lastRunError", session.last_run_error.clone().into());
    if protocol >= 4 {
        put("visibility", "shared".into());
        put("createdVia", "operator".into());
        put("classification", if session.label.is_some() { "custom" } else { "direct" }.into());
        put("isMain", session.is_main().into());
        put("isBackground", false.into());
        put("chatType", "direct".into());
        put("archived", false.into());
        put("pinned", false.into());
        put("unread", false.into());
        put("lastInteractionAt", session.updated_at.into());
        put("sharingRole", "admin".into());
        put("snapshotAt", now.into());
    }
    Value::Object(fields)
}

pub(crate) fn message(message: &Message, form: MessageForm) -> Value {
    let plain = form == MessageForm::Protocol4 && message.role == Role::User;
    let content: Value =
        if plain { message.text.clone().into() } else { json!([{"type": "text", "text": message.text}]) };
    let mut value = json!({"role": message.role.as_str(), "content": content, "timestamp": message.timestamp});
    if let Some(fields) = value.as_object_mut() {
        if let Some(model) = &message.model {
            fields.insert("model".into(), model.clone().into());
        }
        if let Some(usage) = &message.usage {
            fields.insert(
                "usage".into(),
                json!({
                    "input": usage.input,
                    "output": usage.output,
                    "totalTokens": usage.input.saturating_add(usage.output),
                }),
            );
        }
        if message.role == Role::Assistant {
            fields.insert("stopReason".into(), "stop".into());
        }
        if let Some(run) = &message.run_id {
            fields.insert("runId".into(), run.clone().into());
        }
        fields.insert("__openclaw".into(), json!({"id": message.id, "seq": message.seq}));
    }
    value
}

/// The newest messages of a session in short, for `sessions.preview`.
pub(crate) fn preview(session: &Session, items: usize) -> Value {
    let skip = session.history().len().saturating_sub(items);
    session
        .history()
        .skip(skip)
        .map(|message| {
            let text: String = message.text.chars().take(PREVIEW_CHARS).collect();
            json!({"role": message.role.as_str(), "text": text})
        })
        .collect()
}

/// `payload.snapshot` of a `tick` (document 002): the newest sessions, each also with the fields by which protocol 4
/// tells the truth about its runs. `totalCount` tells how many there are in all.
pub(crate) fn tick_snapshot(sessions: &Sessions, now: i64) -> Value {
    let newest = sessions.newest_first();
    let rows: Vec<Value> = newest
        .iter()
        .take(TICK_SESSIONS)
        .map(|session| {
            let mut row = row(session, 3, now);
            if let Some(fields) = row.as_object_mut() {
                fields.insert("active".into(), (session.is_busy() && !session.is_paused()).into());
                fields.insert("totalTokens".into(), session.total_tokens.unwrap_or(0).into());
                fields.insert("contextTokens".into(), session.context_tokens.unwrap_or(0).into());
                fields.insert("cost".into(), session.cost_usd.unwrap_or(0.0).into());
            }
            row
        })
        .collect();
    json!({"count": rows.len(), "totalCount": newest.len(), "sessions": rows})
}
