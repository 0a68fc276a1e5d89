//! How a piece of work is worded on a gateway: method and parameters, by what the gateway can do. Real releases refuse a
//! property that they don't know, so each form sends only what it is known to take.

use std::time::Instant;

use gatewarden_protocol::capabilities::{SpawnCommand, SpawnTask};
use gatewarden_protocol::{AgentRow, Capabilities};
use serde_json::{Map, Value, json};

use super::turn::MAX_CALL;
use crate::spawn::{SpawnRequest, Work, own_session};

/// A request that starts a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WorkRequest {
    pub(super) spawn_id: String,
    /// When its acceptance is awaited no more.
    pub(super) deadline: Instant,
    /// Whether it has been given to the socket.
    pub(super) sent: bool,
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

/// The words for a spawn's work, or the method that the gateway lacks for it. `agents` are the gateway's, where known.
pub(super) fn word(
    capabilities: &Capabilities,
    agents: Option<&[AgentRow]>,
    SpawnRequest { record, work, timeout, .. }: &SpawnRequest,
    now: Instant,
) -> Result<WorkRequest, &'static str> {
    let spawn_id = record.spawn_id.as_str();
    let plain = |method, params, session_key| WorkRequest {
        spawn_id: spawn_id.to_owned(),
        deadline: now + (*timeout).min(MAX_CALL),
        sent: false,
        method,
        params: Value::Object(params),
        session_key,
        before: Vec::new(),
        under_spawn_id: false,
    };
    let documented = |params, key| WorkRequest { under_spawn_id: true, ..plain("spawn", params, key) };
    let over_http = |params, key| plain("spawn", with_key(params, spawn_id), key);
    match work {
        Work::Command { .. } => match capabilities.spawn_command() {
            SpawnCommand::Spawn => Ok(documented(command_params(work), None)),
            SpawnCommand::Http => Ok(over_http(command_params(work), None)),
            SpawnCommand::Impossible => Err("spawn"),
        },
        Work::Task { session_key, .. } => {
            let named = || session_key.clone();
            match capabilities.spawn_task() {
                SpawnTask::Spawn => Ok(documented(task_params(&DOCUMENTED, work, named()), named())),
                SpawnTask::Http => Ok(over_http(task_params(&DOCUMENTED, work, named()), named())),
                SpawnTask::AgentOneReply => Ok(plain("agent", task_params(&RELEASE, work, named()), named())),
                SpawnTask::AgentTwoReplies => {
                    let key = session_of(work, agents, spawn_id);
                    Ok(plain("agent", agent_params(work, &key, spawn_id), Some(key)))
                }
                SpawnTask::ChatSend => {
                    let key = session_of(work, agents, spawn_id);
                    let (params, before) = chat_params(work, &key, spawn_id);
                    Ok(WorkRequest { before, ..plain("chat.send", params, Some(key)) })
                }
                SpawnTask::Impossible => Err("agent"),
            }
        }
    }
}

fn with_key(mut params: Map<String, Value>, spawn_id: &str) -> Map<String, Value> {
    params.insert("idempotencyKey".to_owned(), spawn_id.into());
    params
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
fn agent_params(work: &Work, key: &str, spawn_id: &str) -> Map<String, Value> {
    let mut params = with_key(task_params(&RELEASE, work, Some(key.to_owned())), spawn_id);
    params.insert("deliver".to_owned(), false.into());
    params
}

/// `chat.send` of real releases: it takes neither model nor label, which belong to the session there.
fn chat_params(work: &Work, key: &str, spawn_id: &str) -> (Map<String, Value>, Vec<Preparation>) {
    let mut params = agent_params(work, key, spawn_id);
    params.remove("agentId");
    let mut take = |name: &str| params.remove(name);
    let (label, model, timeout) = (take("label"), take("model"), take("timeout"));
    put(&mut params, "timeoutMs", timeout.and_then(|seconds| seconds.as_u64()).map(|seconds| seconds * 1_000));
    let prepare = |params, needed| Preparation { params, needed };
    let label = label.map(|label| prepare(json!({ "key": key, "label": label }), false));
    let model = model.map(|model| prepare(json!({ "key": key, "model": model }), true));
    (params, label.into_iter().chain(model).collect())
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
