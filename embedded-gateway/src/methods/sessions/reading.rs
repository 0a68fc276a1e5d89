//! What is read of sessions.

use serde_json::{Value, json};

use super::{key, not_found};
use crate::call::Call;
use crate::call::{CallError, Outcome};
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::sessions::{self, MessageForm, Session, SessionKey, message, row};
use crate::turn::Turn;

/// Rows where the caller names no number, as on protocol 4.
const ROWS: u64 = 100;
const MOST_ROWS: u64 = 1_000;
const MESSAGES: u64 = 200;
const MOST_MESSAGES: u64 = 1_000;
/// Text of the messages at a time, in bytes: well below what a client may leave unread.
const MESSAGES_BYTES: usize = 1024 * 1024;
/// Sessions whose messages one connection may follow, and previews at a time.
const MOST_KEYS: usize = 200;

/// `sessions.list`: newest first. What callers may narrow the list by is what rows have.
pub(super) fn list(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let known = [
        "limit",
        "offset",
        "activeMinutes",
        "agentId",
        "label",
        "search",
        "spawnedBy",
        "includeGlobal",
        "includeUnknown",
        "includeDerivedTitles",
        "includeLastMessage",
    ];
    let params = Params::read(call, &known)?;
    let (protocol, now) = (call.caller.protocol, turn.now.wall_ms);
    let limit = params.whole("limit", 1, u64::MAX)?.map(|limit| limit.min(MOST_ROWS));
    // Protocol 3 gives all that it has where no number is named.
    let limit = limit.unwrap_or(if protocol >= 4 { ROWS } else { MOST_ROWS });
    let offset = params.whole("offset", 0, u64::MAX)?.unwrap_or(0);
    let (limit, offset) = (to_usize(limit), to_usize(offset));
    let since = params.whole("activeMinutes", 1, 1_000_000)?.map(|minutes| {
        let ms = i64::try_from(minutes).unwrap_or(i64::MAX).saturating_mul(60_000);
        now.saturating_sub(ms)
    });
    let (agent, label) = (params.name("agentId")?, params.name("label")?);
    let search = params.text("search")?.map(str::to_lowercase);
    let parent = params.name("spawnedBy")?;
    let mut rows = machine.sessions.newest_first();
    rows.retain(|session| {
        since.is_none_or(|since| session.updated_at >= since)
            && agent.is_none_or(|agent| session.agent_id == agent)
            && label.is_none_or(|label| session.label.as_deref() == Some(label))
            && parent.is_none_or(|parent| session.parent_key.as_deref() == Some(parent))
            && search.as_deref().is_none_or(|search| {
                session.key.to_lowercase().contains(search)
                    || session.label.as_deref().is_some_and(|label| label.to_lowercase().contains(search))
            })
    });
    let total = rows.len();
    let shown: Vec<Value> =
        rows.into_iter().skip(offset).take(limit).map(|session| row(session, protocol, now)).collect();
    let end = offset.saturating_add(shown.len());
    let mut payload = json!({
        "ts": now,
        "path": sessions::transcript::FOLDER,
        "count": shown.len(),
        "defaults": {"modelProvider": null, "model": null, "contextTokens": null},
        "sessions": shown,
    });
    if let Some(fields) = payload.as_object_mut()
        && (protocol >= 4 || end < total)
    {
        fields.insert("totalCount".into(), total.into());
        fields.insert("limitApplied".into(), limit.into());
        fields.insert("hasMore".into(), (end < total).into());
        fields.insert("nextOffset".into(), if end < total { end.into() } else { Value::Null });
        fields.insert("owners".into(), json!([]));
    }
    Ok(payload.into())
}

/// `sessions.get`: the row's fields, and the newest messages.
pub(super) fn get(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey", "limit"])?;
    let key = key(machine, &params)?;
    let limit = params.whole("limit", 1, MOST_MESSAGES)?.unwrap_or(MESSAGES);
    let session = machine.sessions.get(key.as_str()).ok_or_else(|| not_found(&key))?;
    let protocol = call.caller.protocol;
    let mut payload = row(session, protocol, turn.now.wall_ms);
    let (messages, has_more) = newest(session, to_usize(limit), protocol);
    if let Some(fields) = payload.as_object_mut() {
        fields.insert("session".into(), row(session, protocol, turn.now.wall_ms));
        fields.insert("sessionKey".into(), session.key.clone().into());
        fields.insert("messages".into(), messages.into());
        fields.insert("hasMore".into(), has_more.into());
    }
    Ok(payload.into())
}

/// `chat.history`: of a session that isn't there, nothing.
pub(super) fn history(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["sessionKey", "limit", "maxChars"])?;
    let key = SessionKey::read(params.required("sessionKey")?, machine.agents.default_id())?;
    let limit = params.whole("limit", 1, MOST_MESSAGES)?.unwrap_or(MESSAGES);
    let Some(session) = machine.sessions.get(key.as_str()) else {
        return Ok(json!({"sessionKey": key.as_str(), "messages": [], "thinkingLevel": null}).into());
    };
    let protocol = call.caller.protocol;
    let (messages, has_more) = newest(session, to_usize(limit), protocol);
    let mut payload = json!({
        "sessionKey": session.key,
        "sessionId": session.session_id,
        "messages": messages,
        "thinkingLevel": session.thinking_level,
    });
    if protocol >= 4
        && let Some(fields) = payload.as_object_mut()
    {
        fields.insert("hasMore".into(), has_more.into());
        fields.insert("totalMessages".into(), session.history().len().into());
        fields.insert("pendingInputs".into(), json!({"items": [], "total": 0}));
        fields.insert("sessionInfo".into(), row(session, protocol, turn.now.wall_ms));
    }
    Ok(payload.into())
}

/// The newest messages within the bounds, oldest first, and whether there are older ones.
fn newest(session: &Session, limit: usize, protocol: u32) -> (Vec<Value>, bool) {
    let mut bytes = 0_usize;
    let mut messages: Vec<Value> = session
        .history()
        .rev()
        .take(limit)
        .take_while(|one| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(one.text.len().max(1));
            first || bytes <= MESSAGES_BYTES
        })
        .map(|one| message(one, MessageForm::of(protocol)))
        .collect();
    messages.reverse();
    let has_more = messages.len() < session.history().len();
    (messages, has_more)
}

pub(super) fn preview(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["keys", "limit", "maxChars"])?;
    let keys = params.texts("keys", MOST_KEYS)?.ok_or_else(|| params.missing("keys"))?;
    let limit = to_usize(params.whole("limit", 1, 50)?.unwrap_or(10));
    let previews: Vec<Value> = keys
        .iter()
        .map(|given| {
            let session = SessionKey::read(given, machine.agents.default_id())
                .ok()
                .and_then(|key| machine.sessions.get(key.as_str()));
            match session {
                None => json!({"key": given, "status": "missing", "items": []}),
                Some(session) => {
                    let status = if session.history().len() == 0 { "empty" } else { "ok" };
                    json!({"key": given, "status": status, "items": sessions::preview(session, limit)})
                }
            }
        })
        .collect();
    Ok(json!({"ts": turn.now.wall_ms, "previews": previews}).into())
}

pub(super) fn subscribe(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    let subscribed = machine.subscribers.follow_sessions(call.caller.connection, true);
    Ok(json!({"subscribed": subscribed}).into())
}

pub(super) fn unsubscribe(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    machine.subscribers.follow_sessions(call.caller.connection, false);
    Ok(json!({"subscribed": false}).into())
}

pub(super) fn messages_subscribe(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey"])?;
    let key = key(machine, &params)?;
    if !machine.subscribers.follow_messages(call.caller.connection, key.as_str(), true, MOST_KEYS) {
        return Err(CallError::unavailable(format!(
            "this connection can't follow one more session: at most {MOST_KEYS}; use sessions.subscribe to follow all"
        )));
    }
    Ok(json!({"subscribed": true, "key": key.as_str()}).into())
}

pub(super) fn messages_unsubscribe(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey"])?;
    let key = key(machine, &params)?;
    machine.subscribers.follow_messages(call.caller.connection, key.as_str(), false, MOST_KEYS);
    Ok(json!({"subscribed": false, "key": key.as_str()}).into())
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
