//! Agents on a gateway: its main agent is found or made, and agents are given their files.
//!
//! Which agent is the main one: the gateway's own default agent (`defaultId` of `agents.list`, normally `main`). That is the
//! one that gets work for which no agent was named, every release has it, and it can't be deleted; a second agent beside it
//! would be one that nobody talks to. Only a gateway that names no default gets a new one. What was recorded before goes
//! first as long as the gateway still has it.
//!
//! Everything here may be done again: an agent that is there is found and not made, a file that is right is not written.
//! Nothing here knows actors: requests go through [`GatewayCaller`], so that the tests can script the gateway.

pub(crate) mod agent_files;
pub(crate) mod creation;
pub(crate) mod main_agent;
pub(crate) mod registry_caller;
pub(crate) mod sync;

use std::future::Future;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::GatewayRecord;
use gatewarden_protocol::{AgentRow, read_agents};
use serde_json::{Value, json};

use crate::templates::Templates;
use crate::templates::text::Facts;

pub(crate) trait GatewayCaller {
    /// One request and its reply. It may be sent again where the connection broke before the reply came.
    fn call(&self, method: &str, params: Value) -> impl Future<Output = Result<Value, Failure>>;

    /// The same for what must not be done twice: sent once, whatever happens.
    fn call_once(&self, method: &str, params: Value) -> impl Future<Output = Result<Value, Failure>>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayFacts {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) organization_id: String,
    /// Where its host keeps the workspaces of agents, where that was told.
    pub(crate) workspace_root: Option<String>,
}

impl GatewayFacts {
    pub(crate) fn of(record: &GatewayRecord, organization_id: &str) -> Self {
        Self {
            id: record.uuid.clone(),
            name: record.name.clone(),
            url: record.address().map(|address| address.dial_url()).unwrap_or_default(),
            organization_id: organization_id.to_owned(),
            workspace_root: record.workspace_root.clone(),
        }
    }

    /// Whether a gateway has a main agent of ours: one that was registered without a root for workspaces has none.
    pub(crate) fn has_main_agent(record: &GatewayRecord) -> bool {
        record.workspace_root.is_some()
    }

    /// Where an agent of this name works, where the root of the workspaces was told.
    pub(crate) fn workspace_of(&self, agent: &str) -> Option<String> {
        self.workspace_root.as_ref().map(|root| format!("{}/{agent}", root.trim_end_matches('/')))
    }

    /// What the templates of one agent are filled with.
    pub(crate) fn for_agent<'a>(&'a self, agent: &'a AgentRow, is_main: bool) -> Facts<'a> {
        Facts {
            agent_id: &agent.id,
            agent_name: agent.shown_name(),
            agent_role: agent.role.as_deref().unwrap_or(if is_main { "gateway main" } else { "agent" }),
            gateway_id: &self.id,
            gateway_name: &self.name,
            gateway_url: &self.url,
            organization_id: &self.organization_id,
            workspace_root: self.workspace_root.as_deref().unwrap_or("(where the gateway puts them)"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing<'a> {
    pub(crate) templates: &'a Templates,
    /// Whether files go too that somebody else has written or changed.
    pub(crate) overwrite: bool,
}

impl Writing<'_> {
    /// The same for an agent that was made just now: what stands in its files are the gateway's own beginnings, nobody's words.
    pub(crate) fn of_new(self, is_new: bool) -> Self {
        Self { overwrite: self.overwrite || is_new, ..self }
    }
}

/// The gateway's own list of agents, and what it calls their main sessions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listed {
    pub(crate) agents: Vec<AgentRow>,
    /// The last part of the key of an agent's main session.
    pub(crate) main_key: String,
}

impl Listed {
    pub(crate) fn find(&self, id: &str) -> Option<&AgentRow> {
        self.agents.iter().find(|agent| agent.id == id)
    }
}

pub(crate) async fn list_agents(gateway: &impl GatewayCaller, name: &str) -> Result<Listed, Failure> {
    let reply = gateway.call("agents.list", json!({})).await.map_err(|failure| step("list_agents", failure))?;
    let Some(agents) = read_agents(&reply) else {
        let failure = Failure::new(
            ErrorCode::GatewayRefused,
            format!("Gateway \"{name}\" answered agents.list with something that is no list of agents"),
        );
        return Err(step("list_agents", failure.with_help("Look at its version and its log; nothing was changed.")));
    };
    let main_key = reply.get("mainKey").and_then(Value::as_str).filter(|key| !key.is_empty()).unwrap_or("main");
    Ok(Listed { agents, main_key: main_key.to_owned() })
}

/// The same failure, which tells the step that it belongs to: in words, and as `details.step`.
fn step(step: &'static str, mut failure: Failure) -> Failure {
    let words = match step {
        "list_agents" => "listing the gateway's agents",
        "create_agent" => "making its main agent",
        "rotate_token" => "rotating the device token",
        _ => "writing the agent's files",
    };
    failure.message = format!("{} (while {words})", failure.message);
    let mut details = match failure.details.take() {
        Some(Value::Object(details)) => details,
        _ => serde_json::Map::new(),
    };
    details.insert("step".to_owned(), step.into());
    failure.details = Some(Value::Object(details));
    failure
}

/// Parameters with one more, where there is a value for it.
fn with(mut params: Value, name: &str, value: Option<&str>) -> Value {
    if let (Some(params), Some(value)) = (params.as_object_mut(), value) {
        params.insert(name.to_owned(), value.into());
    }
    params
}

#[cfg(test)]
mod tests;
