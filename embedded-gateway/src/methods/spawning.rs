//! `spawn` and `control` (document 002, "Spawn Agents"; document 000, `POST /spawn` and `POST /control`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Method;
use super::messages::{AgentMessage, deliver, in_a_key, key_of, seconds, text_of};
use crate::agents::slug;
use crate::call::{Call, CallError, Outcome};
use crate::caller::{Caller, Scope};
use crate::effect::RunId;
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::payload::joined;
use crate::processes::command_templates::{SpawnWish, allow};
use crate::runs::{Asked, ControlAction, NewRun, RunRequest, is_of_gateway};
use crate::sessions::{Opening, SessionKey};
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "spawn", scope: Scope::Write, run: spawn },
    Method { name: "control", scope: Scope::Write, run: control },
];

/// A request's id that is at least this long is taken for unique, and becomes the run's.
const UNIQUE_FROM: usize = 16;

/// Who had what run, or tried to: arguments and variables may hold secrets and aren't written.
fn spawn(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let outcome = begin(machine, call, turn);
    let word = |name: &str| call.params.get(name).and_then(Value::as_str).map(shortened);
    let (event, reason) = match &outcome {
        Ok(_) => ("spawn.accepted", None),
        Err(error) => ("spawn.refused", Some(error.code)),
    };
    let what = json!({
        "command": word("command"),
        "agentId": word("agentId").or_else(|| word("agent")),
        "sessionKey": word("sessionKey"),
        "reason": reason,
    });
    audit(event, call, what, turn);
    outcome
}

/// A caller's word for the audit log, at a length that fills no disk.
fn shortened(text: &str) -> String {
    text.chars().take(256).collect()
}

fn audit(event: &'static str, call: &Call, what: Value, turn: &mut Turn<'_>) {
    let Caller { client_id, device_id, remote, .. } = &*call.caller;
    turn.audit(event, joined(json!({"clientId": client_id, "deviceId": device_id, "remote": remote}), what));
}

fn begin(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(
        call,
        &[
            "command",
            "args",
            "env",
            "cwd",
            "task",
            "message",
            "agent",
            "agentId",
            "sessionKey",
            "model",
            "thinking",
            "thinkingLevel",
            "label",
            "timeoutSeconds",
            "idempotencyKey",
        ],
    )?;
    let key = key_of(&params)?;
    let can_come_again = key.is_some();
    let id = key.or_else(|| unique_request(machine, call)).unwrap_or_else(|| RunId(turn.uuid()));
    let request = RunRequest::of(call, id, Asked::Spawn, seconds(&params, "timeoutSeconds")?);
    if can_come_again && let Some(answer) = machine.runs.replay(&request, turn)? {
        return Ok(answer);
    }
    let opening = Opening {
        kind: Some("spawn".to_owned()),
        label: params.name("label")?.map(str::to_owned),
        model: request.model.clone(),
        parent_key: None,
    };
    match (params.name("command")?, params.value("task").is_some()) {
        (Some(_), true) => Err(params.wrong("'command' and 'task' exclude each other")),
        (Some(command), false) => {
            let args: Vec<String> =
                params.texts("args", 256)?.unwrap_or_default().into_iter().map(str::to_owned).collect();
            let env = env_of(&params)?;
            let wish = SpawnWish { command, args: &args, env: env.as_ref(), cwd: params.name("cwd")? };
            let command = allow(&machine.config.commands, wish)?;
            let owner = slug(&command.template).unwrap_or_else(|| "command".to_owned());
            let new = NewRun {
                session: session_of(&params, &owner, &request.id)?,
                request,
                opening,
                agent_id: owner,
                cwd: command.cwd.clone().unwrap_or_else(|| PathBuf::from("/")),
                make_cwd: false,
                command,
                message: params.text("message")?.map(str::to_owned),
            };
            let (runs, mut parts) = machine.runs();
            runs.begin(new, &mut parts, turn)
        }
        (None, _) => {
            let name = if params.value("task").is_some() { "task" } else { "message" };
            if params.value(name).is_none() {
                return Err(params.wrong("must have required property 'command' or 'task'"));
            }
            if let Some(only) = ["args", "env"].into_iter().find(|only| params.value(only).is_some()) {
                return Err(params.wrong(&format!("'{only}' needs 'command': an agent's command takes its own alone")));
            }
            let named = params.name("agent")?.or(params.name("agentId")?);
            let mut agent = machine.agents.resolve(named)?;
            let session = session_of(&params, &agent.id, &request.id)?;
            if session.agent() != agent.id {
                if named.is_some() {
                    return Err(CallError::invalid(format!(
                        "agent \"{}\" doesn't fit session key {session}, which belongs to another agent",
                        agent.id
                    )));
                }
                agent = machine.agents.resolve(Some(&session.agent()))?;
            }
            let (text, cwd) = (text_of(&params, name)?, params.name("cwd")?);
            deliver(machine, request, AgentMessage { session, opening, agent, text, cwd }, turn)
        }
    }
}

fn unique_request(machine: &GatewayMachine, call: &Call) -> Option<RunId> {
    let request = call.request.as_ref()?;
    let fits = (UNIQUE_FROM..=256).contains(&request.len()) && !request.chars().any(char::is_control);
    let id = RunId(request.clone());
    (fits && !is_of_gateway(&id) && machine.runs.get(&id).is_none()).then_some(id)
}

/// The session that is named, else one of the run's own.
fn session_of(params: &Params<'_>, owner: &str, id: &RunId) -> Result<SessionKey, CallError> {
    match params.name("sessionKey")? {
        Some(key) => SessionKey::read(key, owner),
        None => Ok(SessionKey::of(owner, &format!("spawn:{}", in_a_key(&id.0)))),
    }
}

fn env_of(params: &Params<'_>) -> Result<Option<BTreeMap<String, String>>, CallError> {
    let Some(value) = params.value("env") else { return Ok(None) };
    let Some(fields) = value.as_object() else { return Err(params.wrong("at /env: must be object")) };
    let mut env = BTreeMap::new();
    for (name, value) in fields {
        let Value::String(value) = value else {
            return Err(params.wrong("at /env: each value must be string"));
        };
        env.insert(name.clone(), value.clone());
    }
    Ok(Some(env))
}

fn control(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["sessionKey", "key", "action"])?;
    let given = match params.name("sessionKey")? {
        Some(key) => key,
        None => params.name("key")?.ok_or_else(|| params.missing("sessionKey"))?,
    };
    let words = ["pause", "resume", "kill", "terminate", "monitor"];
    let action = match params.one_of("action", &words)? {
        Some("pause") => Some(ControlAction::Pause),
        Some("resume") => Some(ControlAction::Resume),
        Some("kill" | "terminate") => Some(ControlAction::Kill),
        Some(_) => None,
        None => return Err(params.missing("action")),
    };
    let key = SessionKey::read(given, machine.agents.default_id())?;
    if machine.sessions.get(key.as_str()).is_none() {
        return Err(CallError::invalid(format!("session not found: {given}")));
    }
    let (runs, mut parts) = machine.runs();
    if action.is_some() {
        let what = json!({"action": call.params.get("action"), "sessionKey": key.as_str()});
        audit("control", call, what, turn);
    }
    match action {
        Some(action) => runs.control(key.as_str(), action, &call.reply_to(), &mut parts, turn),
        None => {
            let of_session: Vec<Value> = runs.of_session(key.as_str()).into_iter().map(|run| run.to_value()).collect();
            let status = runs.of_session(key.as_str()).first().map_or("idle", |run| run.state.as_str());
            Ok(json!({
                "ok": true,
                "sessionKey": key.as_str(),
                "action": "monitor",
                "status": status,
                "runs": of_session,
            })
            .into())
        }
    }
}
