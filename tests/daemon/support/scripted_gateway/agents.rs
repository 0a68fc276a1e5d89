//! Agents and their files, as far as a scripted gateway keeps them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Shared;
use super::behaviour::{Behaviour, Form};
use super::lock;

/// Methods that are listed and answered besides by one that keeps agents and their files.
pub(super) const METHODS: [&str; 5] =
    ["agents.create", "agents.files.get", "agents.files.set", "sessions.reset", "device.token.rotate"];

/// What it keeps beyond the agents that its behaviour names.
#[derive(Debug, Default)]
pub(super) struct Workspaces {
    created: Vec<String>,
    files: BTreeMap<(String, String), String>,
}

impl Workspaces {
    pub(super) fn file(&self, agent: &str, name: &str) -> Option<String> {
        self.files.get(&(agent.to_owned(), name.to_owned())).cloned()
    }

    pub(super) fn put(&mut self, agent: &str, name: &str, content: &str) {
        self.files.insert((agent.to_owned(), name.to_owned()), content.to_owned());
    }
}

/// The file names that a release takes.
fn takes(form: &Form, name: &str) -> bool {
    match form {
        Form::Protocol4 => {
            ["AGENTS.md", "SOUL.md", "USER.md", "IDENTITY.md", "BOOTSTRAP.md", "MEMORY.md"].contains(&name)
        }
        _ => {
            ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md", "MEMORY.md"]
                .contains(&name)
        }
    }
}

/// Answers what is about agents, where the behaviour names some. None: it is about something else.
pub(super) fn take(shared: &Shared, behaviour: &Behaviour, request: &Value) -> Option<Result<Value, Value>> {
    let listed = behaviour.agents.as_ref()?;
    let method = request["method"].as_str()?;
    if let Some(error) = behaviour.errors.get(method) {
        return Some(Err(error.clone()));
    }
    let params = &request["params"];
    let mut kept = lock(&shared.workspaces);
    let ids = || listed.iter().cloned().chain(kept.created.iter().cloned());
    let (agent, name) = (params["agentId"].as_str().unwrap_or_default(), params["name"].as_str().unwrap_or_default());
    let refusal = |message: String| Some(Err(json!({"code": "INVALID_REQUEST", "message": message})));
    if method.starts_with("agents.files.") {
        if !ids().any(|id| id == agent) {
            return refusal(format!("agent \"{agent}\" not found"));
        }
        if !takes(&behaviour.form, name) {
            return refusal(format!("unsupported file \"{name}\""));
        }
    }
    Some(Ok(match method {
        "agents.list" => {
            let rows: Vec<Value> = ids().map(|id| json!({"id": id})).collect();
            json!({"defaultId": listed.first(), "mainKey": "main", "scope": "per-sender", "agents": rows})
        }
        "agents.create" => {
            let id = name.to_lowercase().replace(' ', "-");
            if ids().any(|known| known == id) {
                return refusal(format!("agent \"{id}\" already exists"));
            }
            kept.created.push(id.clone());
            json!({"ok": true, "agentId": id, "name": name, "workspace": params["workspace"]})
        }
        "agents.files.get" => match kept.file(agent, name) {
            Some(content) => json!({"agentId": agent, "file": {"name": name, "missing": false, "content": content}}),
            None => json!({"agentId": agent, "file": {"name": name, "missing": true}}),
        },
        "agents.files.set" => {
            kept.put(agent, name, params["content"].as_str().unwrap_or_default());
            json!({"ok": true, "agentId": agent})
        }
        "sessions.reset" => json!({"ok": true, "key": params["key"], "entry": {}}),
        "device.token.rotate" => {
            lock(&shared.issued).retain(|(device, _)| params["deviceId"] != json!(device));
            json!({"deviceId": params["deviceId"], "role": params["role"], "tokenDelivery": "withheld-cross-device"})
        }
        _ => return None,
    }))
}
