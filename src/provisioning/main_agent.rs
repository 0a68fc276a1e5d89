//! A gateway's main agent: found, or made where there is none.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_protocol::AgentRow;
use serde_json::{Map, Value, json};

use super::agent_files::{self, FilesDone};
use super::{GatewayCaller, GatewayFacts, Listed, Writing, list_agents, step, with};

/// The main agent as it is on the gateway now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MainAgentFound {
    pub(crate) agent: AgentRow,
    /// Whether it was made just now.
    pub(crate) created: bool,
}

/// What the record of an agent here keeps of its row there. Only what is known to be no secret.
pub(crate) fn config_of(agent: &AgentRow) -> Value {
    let mut config = Map::new();
    config.insert("id".to_owned(), Value::from(agent.id.clone()));
    for (key, value) in [("name", &agent.name), ("model", &agent.model), ("workspace", &agent.workspace)] {
        if let Some(value) = value {
            config.insert(key.to_owned(), Value::from(value.clone()));
        }
    }
    if agent.is_default {
        config.insert("default".to_owned(), Value::from(true));
    }
    Value::Object(config)
}

/// Finds or makes the main agent and gives it its files. `recorded`: its id on the gateway as far as it was known before.
/// May be repeated at will; what fails leaves an agent that the next try finds.
pub(crate) async fn provision(
    gateway: &impl GatewayCaller,
    facts: &GatewayFacts,
    recorded: Option<&str>,
    writing: Writing<'_>,
) -> Result<(MainAgentFound, FilesDone), Failure> {
    let listed = list_agents(gateway, &facts.name).await?;
    let found = find_or_create(gateway, facts, recorded, &listed).await?;
    let files = agent_files::write(gateway, facts, &found.agent, true, writing.of_new(found.created))
        .await
        .map_err(|failure| step("write_files", failure))?;
    Ok((found, files))
}

/// The main agent among those listed; made where there is none.
pub(crate) async fn find_or_create(
    gateway: &impl GatewayCaller,
    facts: &GatewayFacts,
    recorded: Option<&str>,
    listed: &Listed,
) -> Result<MainAgentFound, Failure> {
    if let Some(agent) = find(listed, recorded, facts) {
        return Ok(MainAgentFound { agent: agent.clone(), created: false });
    }
    let name = own_name(facts);
    let workspace = facts.workspace_of(&slug(&name));
    let params = with(json!({"name": name}), "workspace", workspace.as_deref());
    let outcome = gateway.call_once("agents.create", params).await;
    // The gateway may have restarted over its changed configuration before it could answer, or somebody else was faster: what
    // it lists now counts.
    let listed = match list_agents(gateway, &facts.name).await {
        Ok(listed) => listed,
        Err(failure) => return Err(outcome.err().map_or(failure, |refused| step("create_agent", refused))),
    };
    let made = outcome.as_ref().ok().and_then(|reply| reply.get("agentId")).and_then(Value::as_str);
    if let Some(agent) = find(&listed, made, facts) {
        // Refused and there all the same: somebody else has made it. Anything else is an answer that got lost.
        let created = outcome.as_ref().err().is_none_or(|failure| failure.code != ErrorCode::GatewayRefused);
        return Ok(MainAgentFound { agent: agent.clone(), created });
    }
    let failure = outcome.err().unwrap_or_else(|| {
        Failure::new(
            ErrorCode::GatewayRefused,
            format!("Gateway \"{}\" said that it made the agent \"{name}\", and does not list it", facts.name),
        )
        .with_help("Look at the gateway's log and at its own list of agents, then try again.")
    });
    Err(step("create_agent", failure))
}

/// What was recorded, else the gateway's default agent, else the one that we would make.
pub(crate) fn find<'a>(listed: &'a Listed, recorded: Option<&str>, facts: &GatewayFacts) -> Option<&'a AgentRow> {
    let name = own_name(facts);
    let own_id = slug(&name);
    recorded
        .and_then(|id| listed.find(id))
        .or_else(|| listed.agents.iter().find(|agent| agent.is_default))
        .or_else(|| listed.agents.iter().find(|agent| agent.id == own_id || agent.name.as_ref() == Some(&name)))
}

fn own_name(facts: &GatewayFacts) -> String {
    format!("Gateway Agent {}", facts.name)
}

/// The id that gateways make of a name: letters and digits in lower case, everything else one hyphen.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.chars().take(64).collect::<String>().trim_end_matches('-').to_owned()
}
