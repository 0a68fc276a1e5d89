//! `agent`, `agent.wait`, `chat.send`, `chat.abort`, `sessions.send`, `sessions.abort`: messages to agents, and their ends.

use std::time::Duration;

use gatewarden_protocol::Dialect;
use serde_json::{Value, json};

use super::Method;
use crate::agents::Agent;
use crate::call::{Answer, Call, CallError, Outcome};
use crate::caller::Scope;
use crate::effect::RunId;
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::processes::command_templates::{SpawnWish, allow, allow_acp};
use crate::runs::{Asked, NewRun, RunRequest, fingerprint, is_of_gateway};
use crate::sessions::{Opening, SessionKey};
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "agent", scope: Scope::Write, run: agent },
    Method { name: "agent.wait", scope: Scope::Write, run: agent_wait },
    Method { name: "chat.send", scope: Scope::Write, run: chat_send },
    Method { name: "chat.abort", scope: Scope::Write, run: chat_abort },
    Method { name: "sessions.send", scope: Scope::Write, run: sessions_send },
    Method { name: "sessions.abort", scope: Scope::Write, run: sessions_abort },
];

/// Longest idempotency key, in bytes.
const KEY_BYTES: usize = 256;
/// Longest that a caller may wait or let a run last, in ms: a day.
const LONGEST_MS: u64 = 24 * 3_600 * 1_000;

pub(crate) struct AgentMessage<'a> {
    pub(crate) session: SessionKey,
    pub(crate) opening: Opening,
    pub(crate) agent: Agent,
    pub(crate) text: String,
    pub(crate) cwd: Option<&'a str>,
}

pub(crate) fn deliver(
    machine: &mut GatewayMachine,
    request: RunRequest,
    message: AgentMessage<'_>,
    turn: &mut Turn<'_>,
) -> Outcome {
    let AgentMessage { session, opening, agent, text, cwd } = message;
    let command = match (&agent.acp, &agent.command) {
        (Some(acp), _) => allow_acp(&agent.id, acp, cwd)?,
        (None, Some(name)) => {
            allow(&machine.config.commands, SpawnWish { command: name, cwd, ..SpawnWish::default() })?
        }
        (None, None) => {
            return Err(CallError::unavailable(format!(
                "agent \"{}\" has no command, so nothing can run for it: give it one (agents.entries.{}.command or .acp, or \
                 the agent's command in agents.list) in the gateway's configuration",
                agent.id, agent.id
            ))
            .with_details(json!({"code": "AGENT_HAS_NO_COMMAND", "agentId": agent.id})));
        }
    };
    let new = NewRun {
        request,
        session,
        opening: Opening { model: opening.model.or(agent.model), ..opening },
        agent_id: agent.id,
        // Without a directory of its own the program works in the agent's folder, which is the gateway's to make.
        make_cwd: command.cwd.is_none(),
        cwd: command.cwd.clone().unwrap_or(agent.workspace),
        command,
        message: Some(text),
    };
    let (runs, mut parts) = machine.runs();
    runs.begin(new, &mut parts, turn)
}

/// Starts a run for a message that no caller waits for (a webhook, `sessions.create` with a message). The payload names the
/// run. An error means that nothing was begun. `delivery` is the run's id, where the sender may send the same once more: that
/// begins nothing.
pub(super) fn send_unasked(
    machine: &mut GatewayMachine,
    agent_id: &str,
    session: SessionKey,
    text: String,
    from: &str,
    delivery: Option<RunId>,
    turn: &mut Turn<'_>,
) -> Result<Value, CallError> {
    let agent = machine.agents.resolve(Some(agent_id))?;
    let can_come_again = delivery.is_some();
    let fingerprint = delivery.as_ref().map(|_| fingerprint(from, &Value::from(text.as_str()))).unwrap_or_default();
    let id = delivery.unwrap_or_else(|| RunId(turn.uuid()));
    let request = RunRequest { fingerprint, ..RunRequest::unasked(id, from.to_owned()) };
    let replayed = if can_come_again { machine.runs.replay(&request, turn)? } else { None };
    let answer = match replayed {
        Some(answer) => answer,
        None => {
            let message = AgentMessage { session, opening: Opening::default(), agent, text, cwd: None };
            deliver(machine, request, message, turn)?
        }
    };
    // What nobody waits for has been answered at once.
    Ok(match answer {
        Answer::Payload(payload) => payload,
        Answer::Later => Value::Null,
    })
}

fn agent(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let known = [
        "message",
        "idempotencyKey",
        "agentId",
        "sessionKey",
        "sessionId",
        "thinking",
        "thinkingLevel",
        "deliver",
        "timeout",
        "label",
        "lane",
        "extraSystemPrompt",
        "channel",
        "to",
        "attachments",
        "provider",
        "model",
        "cwd",
    ];
    let params = Params::read(call, &known)?;
    let text = text_of(&params, "message")?;
    refuse_what_cannot_be_passed_on(&params)?;
    let asked = if call.caller.dialect == Dialect::Rpc { Asked::AgentOnce } else { Asked::Agent };
    let timeout = seconds(&params, "timeout")?;
    let request = RunRequest::of(call, required_key(&params, call, turn)?, asked, timeout);
    if let Some(answer) = machine.runs.replay(&request, turn)? {
        return Ok(answer);
    }
    let (session, agent) = addressee(machine, &params, call, &request.id)?;
    let model = request.model.clone();
    let opening = Opening { label: params.name("label")?.map(str::to_owned), model, ..Opening::default() };
    let cwd = params.name("cwd")?;
    deliver(machine, request, AgentMessage { session, opening, agent, text, cwd }, turn)
}

/// The idempotency key. Document 004 knows no such key, and neither does HTTP; real gateways insist on it.
fn required_key(params: &Params<'_>, call: &Call, turn: &mut Turn<'_>) -> Result<RunId, CallError> {
    match key_of(params)? {
        Some(id) => Ok(id),
        None if call.caller.dialect != Dialect::Openclaw => Ok(RunId(turn.uuid())),
        None => Err(params.missing("idempotencyKey")),
    }
}

/// A time limit in seconds; 0 is none.
pub(super) fn seconds(params: &Params<'_>, name: &str) -> Result<Option<Duration>, CallError> {
    Ok(params.whole(name, 0, LONGEST_MS / 1_000)?.filter(|seconds| *seconds > 0).map(Duration::from_secs))
}

/// Session and agent of an `agent` call: by session key, by session id, by agent, else the default agent.
fn addressee(
    machine: &GatewayMachine,
    params: &Params<'_>,
    call: &Call,
    id: &RunId,
) -> Result<(SessionKey, Agent), CallError> {
    let named = params.name("agentId")?;
    let default = named.unwrap_or_else(|| machine.agents.default_id()).to_owned();
    let session = match (params.name("sessionKey")?, params.name("sessionId")?) {
        (Some(key), _) => SessionKey::read(key, &default)?,
        (None, Some(session_id)) => match machine.sessions.by_id(session_id) {
            Some(session) => SessionKey::read(&session.key, &default)?,
            None => return Err(CallError::invalid(format!("session not found: {session_id}"))),
        },
        (None, None) if named.is_some() || call.caller.protocol < 4 => SessionKey::main_of(&default),
        // Protocol 4 gives such a message a session of its own.
        (None, None) => SessionKey::of(&default, &format!("explicit:{}", in_a_key(&id.0))),
    };
    let agent = machine.agents.resolve(Some(&session.agent()))?;
    if named.is_some_and(|named| named != agent.id) {
        return Err(CallError::invalid(format!(
            "agentId \"{}\" doesn't fit session key {session}, which belongs to agent \"{}\"",
            named.unwrap_or_default(),
            agent.id
        )));
    }
    Ok((session, agent))
}

/// A run's id as the last part of a session key: lower case, bounded.
pub(super) fn in_a_key(id: &str) -> String {
    id.chars().take(100).flat_map(char::to_lowercase).collect()
}

fn agent_wait(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["runId", "timeoutMs"])?;
    let id = RunId(params.required("runId")?.to_owned());
    let timeout = params.whole("timeoutMs", 0, LONGEST_MS)?.unwrap_or(30_000);
    machine.runs.wait(&id, Duration::from_millis(timeout), &call.reply_to(), turn)
}

fn chat_send(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let known =
        ["sessionKey", "message", "idempotencyKey", "thinking", "deliver", "attachments", "timeoutMs", "sessionId"];
    let params = Params::read(call, &known)?;
    if call.caller.protocol >= 4 && params.value("sessionKey").is_none() {
        return Err(CallError::invalid("session mutation target is unavailable")
            .with_details(json!({"code": "SESSION_MUTATION_TARGET_REQUIRED", "method": "chat.send"})));
    }
    let key = SessionKey::read(params.required("sessionKey")?, machine.agents.default_id())?;
    let id = required_key(&params, call, turn)?;
    send(machine, call, &params, key, (id, Asked::Chat), turn)
}

fn sessions_send(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "message", "idempotencyKey", "thinking", "attachments", "timeoutMs"])?;
    let given = params.required("key")?;
    let key = SessionKey::read(given, machine.agents.default_id())?;
    if machine.sessions.get(key.as_str()).is_none() {
        return Err(CallError::invalid(format!("session not found: {given}")));
    }
    let id = key_of(&params)?.unwrap_or_else(|| RunId(turn.uuid()));
    send(machine, call, &params, key, (id, Asked::Session), turn)
}

fn send(
    machine: &mut GatewayMachine,
    call: &Call,
    params: &Params<'_>,
    session: SessionKey,
    (id, asked): (RunId, Asked),
    turn: &mut Turn<'_>,
) -> Outcome {
    let text = text_of(params, "message")?;
    refuse_what_cannot_be_passed_on(params)?;
    let timeout = params.whole("timeoutMs", 0, LONGEST_MS)?.filter(|ms| *ms > 0).map(Duration::from_millis);
    let request = RunRequest::of(call, id, asked, timeout);
    if let Some(answer) = machine.runs.replay(&request, turn)? {
        return Ok(answer);
    }
    let agent = machine.agents.resolve(Some(&session.agent()))?;
    let message = AgentMessage { session, opening: Opening::default(), agent, text, cwd: None };
    deliver(machine, request, message, turn)
}

fn chat_abort(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["sessionKey", "runId", "agentId"])?;
    let key = SessionKey::read(params.required("sessionKey")?, machine.agents.default_id())?;
    let only = params.name("runId")?.map(|id| RunId(id.to_owned()));
    let (runs, mut parts) = machine.runs();
    let ended = runs.abort(key.as_str(), only.as_ref(), "rpc", &mut parts, turn);
    let ids: Vec<String> = ended.into_iter().map(|run| run.0).collect();
    Ok(json!({"ok": true, "aborted": !ids.is_empty(), "runIds": ids}).into())
}

fn sessions_abort(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["key", "runId"])?;
    let only = params.name("runId")?.map(|id| RunId(id.to_owned()));
    let key = match (params.name("key")?, &only) {
        (Some(key), _) => SessionKey::read(key, machine.agents.default_id())?.to_string(),
        (None, Some(id)) => machine.runs.get(id).map(|run| run.session_key.clone()).unwrap_or_default(),
        (None, None) => return Err(CallError::invalid("key required")),
    };
    let (runs, mut parts) = machine.runs();
    let ended = runs.abort(&key, only.as_ref(), "rpc", &mut parts, turn);
    let first = ended.into_iter().next().map(|run| run.0);
    let status = if first.is_some() { "aborted" } else { "no-active-run" };
    Ok(json!({"ok": true, "abortedRunId": first, "status": status}).into())
}

pub(super) fn key_of(params: &Params<'_>) -> Result<Option<RunId>, CallError> {
    let Some(key) = params.name("idempotencyKey")? else { return Ok(None) };
    if key.len() > KEY_BYTES || key.chars().any(char::is_control) {
        return Err(
            params.wrong(&format!("at /idempotencyKey: must be at most {KEY_BYTES} bytes without control characters"))
        );
    }
    let id = RunId(key.to_owned());
    if is_of_gateway(&id) {
        return Err(params.wrong(
            "at /idempotencyKey: keys of this form name the gateway's own runs (jobs, webhooks, channels); use another one, \
             such as a UUID",
        ));
    }
    Ok(Some(id))
}

pub(super) fn text_of(params: &Params<'_>, name: &str) -> Result<String, CallError> {
    let text = params.required(name)?;
    if text.trim().is_empty() {
        return Err(CallError::invalid(format!("{name} must not be blank")));
    }
    Ok(text.to_owned())
}

/// What a process can't be told on its standard input is refused, not lost.
fn refuse_what_cannot_be_passed_on(params: &Params<'_>) -> Result<(), CallError> {
    let is_empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    };
    for name in ["attachments", "extraSystemPrompt"] {
        if params.value(name).is_some_and(|value| !is_empty(value)) {
            return Err(CallError::invalid(format!(
                "{name} is not supported by this gateway: its agents get the message alone, on standard input"
            )));
        }
    }
    Ok(())
}
