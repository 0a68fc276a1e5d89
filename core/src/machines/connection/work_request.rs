//! How a piece of work is worded on a gateway: method and parameters, by what the gateway can do. Real releases refuse a
//! property that they don't know, so each form sends only what it is known to take.

use gatewarden_protocol::capabilities::{SpawnCommand, SpawnTask};
use gatewarden_protocol::{AgentRow, Capabilities};
use serde_json::{Map, Value, json};

use crate::run::{Work, own_session};

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

/// What a form calls the fields of a task.
struct TaskNames {
    task: &'static str,
    agent: &'static str,
    timeout: &'static str,
}

/// The words of our own API, since document 002 has none.
const DOCUMENTED: TaskNames = TaskNames { task: "task", agent: "agent", timeout: "timeoutSeconds" };
/// Those of real releases, and of document 004 as far as it names any.
const RELEASE: TaskNames = TaskNames { task: "message", agent: "agentId", timeout: "timeout" };

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
        Work::Task { session_key, .. } => {
            let named = || session_key.clone();
            match capabilities.spawn_task() {
                SpawnTask::Spawn => Ok(documented(task_params(&DOCUMENTED, work, named()), named())),
                SpawnTask::Http => Ok(over_http(task_params(&DOCUMENTED, work, named()), named(), spawn_id)),
                SpawnTask::AgentOneReply => Ok(plain("agent", task_params(&RELEASE, work, named()), named())),
                SpawnTask::AgentTwoReplies => Ok(agent(work, agents, spawn_id)),
                SpawnTask::ChatSend => Ok(chat(work, agents, spawn_id)),
                SpawnTask::Impossible => Err("agent"),
            }
        }
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

fn task_params(names: &TaskNames, work: &Work, session_key: Option<String>) -> Map<String, Value> {
    let mut params = Map::new();
    if let Work::Task { task, agent, model, label, timeout_seconds, .. } = work {
        params.insert(names.task.to_owned(), task.clone().into());
        put(&mut params, names.agent, agent.clone());
        put(&mut params, "sessionKey", session_key);
        put(&mut params, "model", model.clone());
        put(&mut params, "label", label.clone());
        put(&mut params, names.timeout, *timeout_seconds);
    }
    params
}

/// `agent` of real releases. Without a session of its own it would run in the agent's main one and take over its label.
fn agent(work: &Work, agents: Option<&[AgentRow]>, spawn_id: &str) -> WorkRequest {
    let key = session_of(work, agents, spawn_id);
    let mut params = task_params(&RELEASE, work, Some(key.clone()));
    params.insert("idempotencyKey".to_owned(), spawn_id.into());
    params.insert("deliver".to_owned(), false.into());
    plain("agent", params, Some(key))
}

/// `chat.send` of real releases: it takes neither model nor label, which belong to the session there.
fn chat(work: &Work, agents: Option<&[AgentRow]>, spawn_id: &str) -> WorkRequest {
    let WorkRequest { params: Value::Object(mut params), session_key: Some(key), .. } = agent(work, agents, spawn_id)
    else {
        return plain("chat.send", Map::new(), None);
    };
    params.remove("agentId");
    let mut take = |name: &str| params.remove(name);
    let (label, model, timeout) = (take("label"), take("model"), take("timeout"));
    put(&mut params, "timeoutMs", timeout.and_then(|seconds| seconds.as_u64()).map(|seconds| seconds * 1_000));
    let prepare = |params, needed| Preparation { params, needed };
    let label = label.map(|label| prepare(json!({ "key": key, "label": label }), false));
    let model = model.map(|model| prepare(json!({ "key": key, "model": model }), true));
    let before = label.into_iter().chain(model).collect();
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

fn put(params: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        params.insert(name.to_owned(), value.into());
    }
}
