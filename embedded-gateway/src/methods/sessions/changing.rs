//! What is changed of sessions.

use serde_json::{Map, Value, json};

use super::{key, not_found};
use crate::call::Call;
use crate::call::{CallError, Outcome};
use crate::caller::Scope;
use crate::machine::GatewayMachine;
use crate::methods::messages::send_unasked;
use crate::params::Params;
use crate::sessions::{Opening, Patch, Session, SessionKey, transcript};
use crate::turn::Turn;

/// Messages that stay after `sessions.compact` where the caller names no number.
const KEPT: u64 = 50;

/// `sessions.create`: the same key again is the same session.
pub(super) fn create(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
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
    let mut payload = json!({
        "ok": true,
        "key": session.key,
        "sessionId": session.session_id,
        "entry": entry(session),
        "runStarted": false,
    });
    if protocol >= 4
        && let Some(fields) = payload.as_object_mut()
    {
        fields.insert("resolved".into(), resolved(session));
    }
    let text = params.name("message")?.or(params.name("task")?).map(str::to_owned);
    if let Some(text) = text {
        // A failure is told in the answer: the session is there all the same.
        let from = call.caller.client_id.clone();
        let started = send_unasked(machine, &key.agent(), key.clone(), text, &from, turn);
        let told = match started {
            Ok(run) => json!({"runStarted": true, "runId": run.get("runId"), "status": "started"}),
            Err(error) => json!({"runStarted": false, "runError": error.to_value()}),
        };
        if let (Some(fields), Value::Object(told)) = (payload.as_object_mut(), told) {
            fields.extend(told);
        }
    }
    Ok(payload.into())
}

/// `sessions.patch`: a missing session is made. On protocol 4 label, model and thinking level ask for `operator.write` only.
pub(super) fn patch(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
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

pub(super) fn reset(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
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
pub(super) fn delete(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
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
pub(super) fn compact(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "sessionKey", "maxLines", "keep"])?;
    let key = key(machine, &params)?;
    let keep = params.whole("keep", 1, 100_000)?.or(params.whole("maxLines", 1, 100_000)?).unwrap_or(KEPT);
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let (dropped, kept) =
        machine.sessions.compact(key.as_str(), keep, &machine.subscribers, turn).ok_or_else(|| not_found(&key))?;
    let mut payload = json!({"ok": true, "key": key.as_str(), "compacted": dropped > 0, "kept": kept});
    // Protocol 4 says within a good answer that there was nothing to do.
    if dropped == 0
        && call.caller.protocol >= 4
        && let Some(fields) = payload.as_object_mut()
    {
        fields.insert("ok".into(), false.into());
        fields.insert("reason".into(), "Nothing to compact (session too small)".into());
    }
    Ok(payload.into())
}

/// Ends the runs of a session that is going to be reset or deleted.
fn end_runs(machine: &mut GatewayMachine, key: &SessionKey, turn: &mut Turn<'_>) {
    let (runs, mut parts) = machine.runs();
    runs.abort(key.as_str(), None, "rpc", &mut parts, turn);
}

/// The stored entry, as replies of real gateways show it.
fn entry(session: &Session) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            entry.insert(name.to_owned(), value);
        }
    };
    let (provider, model) = session.model_parts();
    put("sessionId", session.session_id.clone().into());
    put("updatedAt", session.updated_at.into());
    put("createdAt", session.created_at.into());
    put("label", session.label.clone().into());
    put("thinkingLevel", session.thinking_level.clone().into());
    put("verboseLevel", session.verbose_level.clone().into());
    put("parentSessionKey", session.parent_key.clone().into());
    put("modelProvider", provider.into());
    put("model", model.into());
    put("inputTokens", session.input_tokens.into());
    put("outputTokens", session.output_tokens.into());
    put("totalTokens", session.total_tokens.into());
    put("totalTokensFresh", session.total_tokens.is_some().into());
    put("compactionCount", session.compactions.into());
    Value::Object(entry)
}

fn resolved(session: &Session) -> Value {
    let (provider, model) = session.model_parts();
    json!({"modelProvider": provider, "model": model})
}
