//! `sessions.*` and `chat.history`: conversations, without the runs in them.

use serde_json::{Value, json};

use super::Method;
use super::messages::send_unasked;
use crate::call::{Call, CallError, Outcome};
use crate::caller::Scope;
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::payload::{joined, joined_if, without_nulls};
use crate::sessions::{self, Opening, Patch, Session, SessionKey, message, row, transcript};
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "sessions.list", scope: Scope::Read, run: list },
    Method { name: "sessions.get", scope: Scope::Read, run: get },
    Method { name: "sessions.describe", scope: Scope::Read, run: describe },
    Method { name: "sessions.preview", scope: Scope::Read, run: preview },
    Method { name: "chat.history", scope: Scope::Read, run: history },
    Method { name: "sessions.subscribe", scope: Scope::Read, run: subscribe },
    Method { name: "sessions.unsubscribe", scope: Scope::Read, run: unsubscribe },
    Method { name: "sessions.messages.subscribe", scope: Scope::Read, run: messages_subscribe },
    Method { name: "sessions.messages.unsubscribe", scope: Scope::Read, run: messages_unsubscribe },
    Method { name: "sessions.create", scope: Scope::Write, run: create },
    Method { name: "sessions.patch", scope: Scope::Write, run: patch },
    Method { name: "sessions.reset", scope: Scope::Admin, run: reset },
    Method { name: "sessions.delete", scope: Scope::Admin, run: delete },
    Method { name: "sessions.compact", scope: Scope::Admin, run: compact },
];

/// The session that is named as `key` (real releases) or `sessionKey` (document 004).
fn key(machine: &GatewayMachine, params: &Params<'_>) -> Result<SessionKey, CallError> {
    let given = match params.name("key")? {
        Some(key) => key,
        None => params.name("sessionKey")?.ok_or_else(|| params.missing("key"))?,
    };
    SessionKey::read(given, machine.agents.default_id())
}

fn not_found(key: &SessionKey) -> CallError {
    CallError::invalid(format!("session not found: {key}"))
}

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
fn list(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
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
    let payload = json!({
        "ts": now,
        "path": transcript::FOLDER,
        "count": shown.len(),
        "defaults": {"modelProvider": null, "model": null, "contextTokens": null},
        "sessions": shown,
    });
    let payload = joined_if(payload, protocol >= 4 || end < total, || {
        json!({
            "totalCount": total,
            "limitApplied": limit,
            "hasMore": end < total,
            "nextOffset": (end < total).then_some(end),
            "owners": [],
        })
    });
    Ok(payload.into())
}

/// `sessions.get`: the row's fields, and the newest messages.
fn get(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey", "limit"])?;
    let key = key(machine, &params)?;
    let limit = params.whole("limit", 1, MOST_MESSAGES)?.unwrap_or(MESSAGES);
    let session = machine.sessions.get(key.as_str()).ok_or_else(|| not_found(&key))?;
    let protocol = call.caller.protocol;
    let row = row(session, protocol, turn.now.wall_ms);
    let (messages, has_more) = newest(session, to_usize(limit), None, protocol);
    let more = json!({"session": row, "sessionKey": session.key, "messages": messages, "hasMore": has_more});
    Ok(joined(row, more).into())
}

/// `sessions.describe`: the row alone, null where there is no such session.
fn describe(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "agentId", "includeDerivedTitles", "includeLastMessage"])?;
    let session = machine.sessions.get(key(machine, &params)?.as_str());
    Ok(json!({"session": session.map(|session| row(session, call.caller.protocol, turn.now.wall_ms))}).into())
}

/// `chat.history`: of a session that isn't there, nothing.
fn history(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["sessionKey", "limit", "maxChars", "beforeSeq"])?;
    let key = SessionKey::read(params.required("sessionKey")?, machine.agents.default_id())?;
    let limit = params.whole("limit", 1, MOST_MESSAGES)?.unwrap_or(MESSAGES);
    // Ours: the way to what is older than the newest messages.
    let before = params.whole("beforeSeq", 1, u64::MAX)?;
    let Some(session) = machine.sessions.get(key.as_str()) else {
        return Ok(json!({"sessionKey": key.as_str(), "messages": [], "thinkingLevel": null}).into());
    };
    let protocol = call.caller.protocol;
    let (messages, has_more) = newest(session, to_usize(limit), before, protocol);
    let payload = json!({
        "sessionKey": session.key,
        "sessionId": session.session_id,
        "messages": messages,
        "thinkingLevel": session.thinking_level,
    });
    let payload = joined_if(payload, protocol >= 4, || {
        json!({
            "hasMore": has_more,
            "totalMessages": session.history().len(),
            "pendingInputs": {"items": [], "total": 0},
            "sessionInfo": row(session, protocol, turn.now.wall_ms),
        })
    });
    Ok(payload.into())
}

/// The newest messages within the bounds, before that number where one is given, oldest first, and whether there are older ones.
fn newest(session: &Session, limit: usize, before: Option<u64>, protocol: u32) -> (Vec<Value>, bool) {
    let mut bytes = 0_usize;
    let wanted = || session.history().filter(|one| before.is_none_or(|before| one.seq < before));
    let mut messages: Vec<Value> = wanted()
        .rev()
        .take(limit)
        .take_while(|one| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(one.text.len().max(1));
            first || bytes <= MESSAGES_BYTES
        })
        .map(|one| message(one, protocol))
        .collect();
    messages.reverse();
    let has_more = wanted().nth(messages.len()).is_some();
    (messages, has_more)
}

fn preview(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
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

fn subscribe(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    let subscribed = machine.subscribers.follow_sessions(call.caller.connection, true);
    Ok(json!({"subscribed": subscribed}).into())
}

fn unsubscribe(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    machine.subscribers.follow_sessions(call.caller.connection, false);
    Ok(json!({"subscribed": false}).into())
}

fn messages_subscribe(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey"])?;
    let key = key(machine, &params)?;
    if !machine.subscribers.follow_messages(call.caller.connection, key.as_str(), true, MOST_KEYS) {
        return Err(CallError::unavailable(format!(
            "this connection can't follow one more session: at most {MOST_KEYS}; use sessions.subscribe to follow all"
        )));
    }
    Ok(json!({"subscribed": true, "key": key.as_str()}).into())
}

fn messages_unsubscribe(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey"])?;
    let key = key(machine, &params)?;
    machine.subscribers.follow_messages(call.caller.connection, key.as_str(), false, MOST_KEYS);
    Ok(json!({"subscribed": false, "key": key.as_str()}).into())
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Messages that stay after `sessions.compact` where the caller names no number.
const KEPT: u64 = 50;

/// `sessions.create`: the same key again is the same session.
fn create(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "agentId", "label", "model", "parentSessionKey", "task", "message"])?;
    let agent = machine.agents.resolve(params.name("agentId")?)?;
    let key = match params.name("key")? {
        Some(given) => SessionKey::read(given, &agent.id)?,
        None => SessionKey::of(&agent.id, &format!("dashboard:{}", turn.uuid())),
    };
    if params.name("agentId")?.is_some() && key.agent() != agent.id {
        return Err(CallError::invalid(format!("session key {key} isn't of agent \"{}\"", agent.id)));
    }
    let agent = machine.agents.resolve(Some(&key.agent()))?;
    let label = params.name("label")?;
    if let Some(label) = label {
        machine.sessions.check_label(label, key.as_str())?;
    }
    let opening = Opening {
        kind: None,
        label: label.map(str::to_owned),
        model: params.name("model")?.map(str::to_owned).or(agent.model),
        parent_key: params.name("parentSessionKey")?.map(str::to_owned),
    };
    let protocol = call.caller.protocol;
    let session = machine.sessions.open(&key, opening, &machine.subscribers, turn)?;
    let payload = json!({
        "ok": true,
        "key": session.key,
        "sessionId": session.session_id,
        "entry": entry(session),
        "runStarted": false,
    });
    let payload = joined_if(payload, protocol >= 4, || json!({"resolved": resolved(session)}));
    let Some(text) = params.name("message")?.or(params.name("task")?).map(str::to_owned) else {
        return Ok(payload.into());
    };
    let from = &call.caller.client_id;
    let more = match send_unasked(machine, &key.agent(), key.clone(), text, from, None, turn) {
        Ok(run) => json!({"runStarted": true, "runId": run.get("runId"), "status": "started"}),
        // The session is there all the same.
        Err(error) => json!({"runStarted": false, "runError": error.to_value()}),
    };
    Ok(joined(payload, more).into())
}

/// `sessions.patch`: a missing session is made. On protocol 4 label, model and thinking level ask for `operator.write` only.
fn patch(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let known = ["key", "sessionKey", "label", "model", "thinkingLevel", "verboseLevel"];
    let params = Params::read(call, &known)?;
    let patch = Patch {
        label: params.clearable("label")?,
        model: params.clearable("model")?,
        thinking_level: params.clearable("thinkingLevel")?,
        verbose_level: params.clearable("verboseLevel")?,
    };
    if (call.caller.protocol < 4 || patch.verbose_level.is_some()) && !call.caller.holds(Scope::Admin) {
        return Err(CallError::missing_scope(Scope::Admin));
    }
    let key = key(machine, &params)?;
    let agent = machine.agents.resolve(Some(&key.agent()))?;
    if let Some(Some(label)) = &patch.label {
        machine.sessions.check_label(label, key.as_str())?;
    }
    let opening = Opening { model: agent.model, ..Opening::default() };
    machine.sessions.open(&key, opening, &machine.subscribers, turn)?;
    let session =
        machine.sessions.patch(key.as_str(), patch, &machine.subscribers, turn).ok_or_else(|| not_found(&key))?;
    Ok(json!({
        "ok": true,
        "path": transcript::FOLDER,
        "key": session.key,
        "entry": entry(session),
        "resolved": resolved(session),
    })
    .into())
}

fn reset(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey", "reason"])?;
    let reason = params.one_of("reason", &["new", "reset"])?.unwrap_or("reset");
    let key = key(machine, &params)?;
    machine.agents.resolve(Some(&key.agent()))?;
    end_runs(machine, &key, turn);
    if machine.sessions.get(key.as_str()).is_none() {
        machine.sessions.open(&key, Opening::default(), &machine.subscribers, turn)?;
    } else {
        machine.sessions.reset(key.as_str(), reason, &machine.subscribers, turn);
    }
    let session = machine.sessions.get(key.as_str()).ok_or_else(|| not_found(&key))?;
    Ok(json!({"ok": true, "key": session.key, "entry": entry(session), "resolved": resolved(session)}).into())
}

/// `sessions.delete`: the transcript goes with the session, also where `deleteTranscript` is false; nothing is archived.
fn delete(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey", "deleteTranscript", "emitLifecycleHooks"])?;
    params.flag("deleteTranscript")?;
    params.flag("emitLifecycleHooks")?;
    let key = key(machine, &params)?;
    if key == SessionKey::main_of(machine.agents.default_id()) {
        return Err(CallError::invalid(format!("Cannot delete the main session ({key}).")));
    }
    end_runs(machine, &key, turn);
    let deleted = machine.sessions.delete(key.as_str(), &machine.subscribers, turn);
    Ok(json!({"ok": true, "key": key.as_str(), "deleted": deleted, "archived": []}).into())
}

/// `sessions.compact`: drops all but the newest messages.
fn compact(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey", "maxLines", "keep"])?;
    let key = key(machine, &params)?;
    let keep = params.whole("keep", 1, 100_000)?.or(params.whole("maxLines", 1, 100_000)?).unwrap_or(KEPT);
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let (dropped, kept) =
        machine.sessions.compact(key.as_str(), keep, &machine.subscribers, turn).ok_or_else(|| not_found(&key))?;
    let payload = json!({"ok": true, "key": key.as_str(), "compacted": dropped > 0, "kept": kept});
    // Protocol 4 says within a good answer that there was nothing to do.
    let payload = joined_if(
        payload,
        dropped == 0 && call.caller.protocol >= 4,
        || json!({"ok": false, "reason": "Nothing to compact (session too small)"}),
    );
    Ok(payload.into())
}

/// Ends the runs of a session that is going to be reset or deleted.
fn end_runs(machine: &mut GatewayMachine, key: &SessionKey, turn: &mut Turn<'_>) {
    let (runs, mut parts) = machine.runs();
    runs.abort(key.as_str(), None, "rpc", &mut parts, turn);
}

/// The stored entry, as replies of real gateways show it.
fn entry(session: &Session) -> Value {
    let (provider, model) = session.model_parts();
    without_nulls(json!({
        "sessionId": session.session_id,
        "updatedAt": session.updated_at,
        "createdAt": session.created_at,
        "label": session.label,
        "thinkingLevel": session.thinking_level,
        "verboseLevel": session.verbose_level,
        "parentSessionKey": session.parent_key,
        "modelProvider": provider,
        "model": model,
        "inputTokens": session.input_tokens,
        "outputTokens": session.output_tokens,
        "totalTokens": session.total_tokens,
        "totalTokensFresh": session.total_tokens.is_some(),
        "compactionCount": session.compactions,
    }))
}

fn resolved(session: &Session) -> Value {
    let (provider, model) = session.model_parts();
    json!({"modelProvider": provider, "model": model})
}
