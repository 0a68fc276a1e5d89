//! How a piece of work is worded on a gateway: method and parameters, by what the gateway can do. Real releases refuse a
//! property that they don't know, so each form sends only what it is known to take.

use gatewarden_protocol::capabilities::{SpawnCommand, SpawnTask};
use gatewarden_protocol::{AgentRow, Capabilities};
use serde_json::{Map, Value, json};

use crate::run::Work;

/// A request that starts a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WorkRequest {
    /// The method on the wire; over HTTP, `spawn` stands for `POST /spawn`.
    pub(super) method: &'static str,
    pub(super) params: Value,
    /// The session that it will run in, as far as we choose it.
    pub(super) session_key: Option<String>,
    /// What is to be set on the session first, since the method itself can't say it; the next one last.
    pub(super) before: Vec<Preparation>,
    /// Whether the request goes out under the spawn's id: document 002 knows a run by the id of its request.
    pub(super) under_spawn_id: bool,
}

/// A `sessions.patch` ahead of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Preparation {
    pub(super) params: Value,
    /// Whether the run makes no sense without it. A label is only for people.
    pub(super) needed: bool,
}

/// The words for `work`, or the method that the gateway lacks for it. `agents` are the gateway's, where known.
pub(super) fn word(
    capabilities: &Capabilities,
    agents: Option<&[AgentRow]>,
    spawn_id: &str,
    work: &Work,
) -> Result<WorkRequest, &'static str> {
    match work {
        Work::Command { .. } => match capabilities.spawn_command() {
            SpawnCommand::Spawn => Ok(documented(command_params(work), None)),
            SpawnCommand::Http => Ok(over_http(command_params(work), None, spawn_id)),
            SpawnCommand::Impossible => Err("spawn"),
        },
        Work::Task { session_key, .. } => match capabilities.spawn_task() {
            SpawnTask::Spawn => Ok(documented(task_params(work), session_key.clone())),
            SpawnTask::Http => Ok(over_http(task_params(work), session_key.clone(), spawn_id)),
            SpawnTask::AgentOneReply => Ok(agent_of_rpc(work)),
            SpawnTask::AgentTwoReplies => Ok(agent(work, agents, spawn_id)),
            SpawnTask::ChatSend => Ok(chat(work, agents, spawn_id)),
            SpawnTask::Impossible => Err("agent"),
        },
    }
}

fn plain(method: &'static str, params: Map<String, Value>, session_key: Option<String>) -> WorkRequest {
    WorkRequest { method, params: Value::Object(params), session_key, before: Vec::new(), under_spawn_id: false }
}

fn documented(params: Map<String, Value>, session_key: Option<String>) -> WorkRequest {
    WorkRequest { under_spawn_id: true, ..plain("spawn", params, session_key) }
}

fn over_http(mut params: Map<String, Value>, session_key: Option<String>, spawn_id: &str) -> WorkRequest {
    params.insert("idempotencyKey".to_owned(), spawn_id.into());
    plain("spawn", params, session_key)
}

/// `command`, `args`, `env` and `cwd` of document 002.
fn command_params(work: &Work) -> Map<String, Value> {
    let mut params = Map::new();
    if let Work::Command { command, args, env, cwd } = work {
        let env: Map<String, Value> =
            env.iter().map(|(name, value)| (name.clone(), Value::from(value.expose()))).collect();
        params.insert("command".to_owned(), command.clone().into());
        params.insert("args".to_owned(), args.clone().into());
        params.insert("env".to_owned(), env.into());
        put(&mut params, "cwd", cwd.clone());
    }
    params
}

/// A task in the words of our own API, since document 002 has none.
fn task_params(work: &Work) -> Map<String, Value> {
    let mut params = Map::new();
    if let Work::Task { task, agent, session_key, model, label, timeout_seconds } = work {
        params.insert("task".to_owned(), task.clone().into());
        put(&mut params, "agent", agent.clone());
        put(&mut params, "sessionKey", session_key.clone());
        put(&mut params, "model", model.clone());
        put(&mut params, "label", label.clone());
        put(&mut params, "timeoutSeconds", *timeout_seconds);
    }
    params
}

/// `agent` as document 004 has it, with the real releases' names for what it leaves out.
fn agent_of_rpc(work: &Work) -> WorkRequest {
    let mut params = Map::new();
    let mut key = None;
    if let Work::Task { task, agent, session_key, model, label, timeout_seconds } = work {
        params.insert("message".to_owned(), task.clone().into());
        put(&mut params, "agentId", agent.clone());
        put(&mut params, "sessionKey", session_key.clone());
        put(&mut params, "model", model.clone());
        put(&mut params, "label", label.clone());
        put(&mut params, "timeout", *timeout_seconds);
        key = session_key.clone();
    }
    plain("agent", params, key)
}

/// `agent` of real releases. Without a session of its own it would run in the agent's main one and take over its label.
fn agent(work: &Work, agents: Option<&[AgentRow]>, spawn_id: &str) -> WorkRequest {
    let key = session_of(work, agents, spawn_id);
    let mut params = Map::new();
    if let Work::Task { task, agent, model, label, timeout_seconds, .. } = work {
        params.insert("message".to_owned(), task.clone().into());
        put(&mut params, "agentId", agent.clone());
        params.insert("sessionKey".to_owned(), key.clone().into());
        put(&mut params, "model", model.clone());
        put(&mut params, "label", label.clone());
        put(&mut params, "timeout", *timeout_seconds);
    }
    params.insert("idempotencyKey".to_owned(), spawn_id.into());
    params.insert("deliver".to_owned(), false.into());
    plain("agent", params, Some(key))
}

/// `chat.send` of real releases: it takes neither model nor label, which belong to the session there.
fn chat(work: &Work, agents: Option<&[AgentRow]>, spawn_id: &str) -> WorkRequest {
    let key = session_of(work, agents, spawn_id);
    let mut params = Map::new();
    let mut before = Vec::new();
    if let Work::Task { task, model, label, timeout_seconds, .. } = work {
        params.insert("message".to_owned(), task.clone().into());
        put(&mut params, "timeoutMs", timeout_seconds.map(|seconds| u64::from(seconds) * 1_000));
        let prepare = |params, needed| Preparation { params, needed };
        before.extend(label.iter().map(|label| prepare(json!({ "key": key, "label": label }), false)));
        before.extend(model.iter().map(|model| prepare(json!({ "key": key, "model": model }), true)));
    }
    params.insert("sessionKey".to_owned(), key.clone().into());
    params.insert("idempotencyKey".to_owned(), spawn_id.into());
    params.insert("deliver".to_owned(), false.into());
    WorkRequest { before, ..plain("chat.send", params, Some(key)) }
}

/// The session that was named, else a new one whose key tells which spawn it is for.
fn session_of(work: &Work, agents: Option<&[AgentRow]>, spawn_id: &str) -> String {
    let Work::Task { session_key, agent, .. } = work else { return String::new() };
    session_key.clone().unwrap_or_else(|| {
        let default = || agents.into_iter().flatten().find(|agent| agent.is_default).map(|agent| agent.id.clone());
        let agent = agent.clone().or_else(default).unwrap_or_else(|| "main".to_owned());
        own_session(&agent, spawn_id)
    })
}

/// The key of a session made for one spawn. Gateways keep keys in lower case.
pub(super) fn own_session(agent: &str, spawn_id: &str) -> String {
    format!("agent:{agent}:gatewarden-{spawn_id}").to_lowercase()
}

/// Whether a session was made for this one spawn: then what its row tells is told of the run.
pub(super) fn is_own_session(key: &str, spawn_id: &str) -> bool {
    key.ends_with(&format!(":gatewarden-{}", spawn_id.to_lowercase()))
}

fn put(params: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        params.insert(name.to_owned(), value.into());
    }
}
