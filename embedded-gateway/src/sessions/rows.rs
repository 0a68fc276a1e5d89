//! Sessions and messages as they are worded on the wire: protocol 4 and 3 as real releases, document 002's `tick` rows.

use serde_json::{Value, json};

use super::{Message, Role, RowStatus, Session, Sessions};
use crate::payload::{joined, joined_if, without_nulls};

const TICK_SESSIONS: usize = 100;
const PREVIEW_CHARS: usize = 240;

/// A session's row at wall time `now`.
pub(crate) fn row(session: &Session, protocol: u32, now: i64) -> Value {
    let (provider, model) = session.model_parts();
    let ran_ms = session.started_at.zip(session.ended_at).map(|(started, ended)| ended.saturating_sub(started).max(0));
    let counts = (session.input_tokens > 0 || session.output_tokens > 0).then_some(session);
    let row = json!({
        "key": session.key,
        "kind": session.kind,
        "label": session.label,
        "displayName": session.label,
        "agentId": session.agent_id,
        "updatedAt": session.updated_at,
        "createdAt": session.created_at,
        "sessionId": session.session_id,
        "parentSessionKey": session.parent_key,
        "thinkingLevel": session.thinking_level,
        "verboseLevel": session.verbose_level,
        "abortedLastRun": session.status == Some(RowStatus::Killed),
        "totalTokensFresh": session.total_tokens.is_some(),
        "totalTokens": session.total_tokens,
        "contextTokens": session.context_tokens,
        "estimatedCostUsd": session.cost_usd,
        "modelProvider": provider,
        "model": model,
        "status": session.status,
        "startedAt": session.started_at,
        "endedAt": session.ended_at,
        "runtimeMs": ran_ms,
        "inputTokens": counts.map(|session| session.input_tokens),
        "outputTokens": counts.map(|session| session.output_tokens),
        // Ours: real rows have none of these three, and their readers skip what they don't know.
        "messageCount": session.message_count,
        "state": session.state(),
        "paused": session.is_paused().then_some(true),
        // Said to all: without these an ended run could not be told from a stuck row on protocol 3, and over HTTP, where nothing
        // but rows tells of runs, not from another run of the session.
        "hasActiveRun": session.is_busy(),
        "activeRunIds": session.active_runs.iter().map(|run| run.0.as_str()).collect::<Vec<_>>(),
        "lastRunId": session.last_run_id,
        "lastRunError": session.last_run_error,
    });
    joined_if(without_nulls(row), protocol >= 4, || {
        json!({
            "visibility": "shared",
            "createdVia": "operator",
            "classification": if session.label.is_some() { "custom" } else { "direct" },
            "isMain": session.is_main(),
            "isBackground": false,
            "chatType": "direct",
            "archived": false,
            "pinned": false,
            "unread": false,
            "lastInteractionAt": session.updated_at,
            "sharingRole": "admin",
            "snapshotAt": now,
        })
    })
}

/// A message. On protocol 4 a person's text is a plain string; else all text is in parts.
pub(crate) fn message(message: &Message, protocol: u32) -> Value {
    let plain = protocol >= 4 && message.role == Role::User;
    let usage = message.usage.map(|usage| {
        let total = usage.input.saturating_add(usage.output);
        json!({"input": usage.input, "output": usage.output, "totalTokens": total})
    });
    without_nulls(json!({
        "role": message.role,
        "content": if plain { json!(message.text) } else { json!([{"type": "text", "text": message.text}]) },
        "timestamp": message.timestamp,
        "model": message.model,
        "usage": usage,
        "stopReason": (message.role == Role::Assistant).then(|| message.stop_reason.as_deref().unwrap_or("stop")),
        "runId": message.run_id,
        "__openclaw": {"id": message.id, "seq": message.seq},
    }))
}

/// The newest messages of a session in short, for `sessions.preview`.
pub(crate) fn preview(session: &Session, items: usize) -> Value {
    let skip = session.history().len().saturating_sub(items);
    session
        .history()
        .skip(skip)
        .map(|message| {
            let text: String = message.text.chars().take(PREVIEW_CHARS).collect();
            json!({"role": message.role, "text": text})
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
            let more = json!({
                "active": session.is_busy() && !session.is_paused(),
                "totalTokens": session.total_tokens.unwrap_or(0),
                "contextTokens": session.context_tokens.unwrap_or(0),
                "cost": session.cost_usd.unwrap_or(0.0),
            });
            joined(row(session, 3, now), more)
        })
        .collect();
    json!({"count": rows.len(), "totalCount": newest.len(), "sessions": rows})
}
