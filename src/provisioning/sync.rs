//! All agents of a gateway, one after another: files, and where wanted a new main session.

use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_protocol::AgentRow;
use serde_json::json;

use super::agent_files::{self, FilesDone};
use super::main_agent::{self, MainAgentFound};
use super::{GatewayCaller, GatewayFacts, Listed, Writing, list_agents};

/// Agents that are not reached within this time are told as such: somebody waits for the answer.
pub(crate) const BUDGET: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SyncOptions {
    /// Also the gateway's main agent, which is made where there is none.
    pub(crate) include_main: bool,
    /// Begin each agent's main session anew.
    pub(crate) reset_sessions: bool,
}

/// One agent that was not brought in line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentTrouble {
    pub(crate) agent: String,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Synced {
    /// Agents besides the main one that are in line now.
    pub(crate) updated: usize,
    /// Agents that were left alone: the gateway takes none of their files or doesn't have them, or it was not asked for.
    pub(crate) skipped: usize,
    /// Whether the main agent is in line now.
    pub(crate) main_updated: bool,
    /// The main agent, where it was asked for.
    pub(crate) main: Option<MainAgentFound>,
    /// Main sessions that were begun anew.
    pub(crate) sessions_reset: usize,
    /// Files by what became of them: written, unchanged, kept, skipped.
    pub(crate) files: [usize; 4],
    /// Who was not brought in line, and why.
    pub(crate) troubles: Vec<AgentTrouble>,
}

/// Brings all agents of a gateway in line. `recorded`: the main agent as far as it was known; `known`: the names of the
/// agents that are recorded here as this gateway's.
pub(crate) async fn sync(
    gateway: &impl GatewayCaller,
    facts: &GatewayFacts,
    recorded: Option<&str>,
    known: &[String],
    options: SyncOptions,
    writing: Writing<'_>,
) -> Result<Synced, Failure> {
    let started = tokio::time::Instant::now();
    let mut synced = Synced::default();
    let mut listed = list_agents(gateway, &facts.name).await?;
    if options.include_main {
        let found = main_agent::find_or_create(gateway, facts, recorded, &listed).await?;
        if listed.find(&found.agent.id).is_none() {
            listed.agents.push(found.agent.clone());
        }
        synced.main = Some(found);
    }
    let main_id = match &synced.main {
        Some(found) => Some(found.agent.id.clone()),
        None => main_agent::find(&listed, recorded, facts).map(|agent| agent.id.clone()),
    };
    synced.skipped +=
        known.iter().filter(|name| listed.find(name).is_none() && !is_main_record(name, &main_id)).count();
    let mut lost: Option<String> = None;
    for agent in &listed.agents {
        let is_main = main_id.as_ref() == Some(&agent.id);
        if is_main && !options.include_main {
            synced.skipped += 1;
            continue;
        }
        if let Some(why) = &lost {
            synced.troubles.push(AgentTrouble { agent: agent.id.clone(), message: why.clone() });
            continue;
        }
        let is_new = is_main && synced.main.as_ref().is_some_and(|main| main.created);
        match one(gateway, facts, &listed, agent, is_main, options, writing.of_new(is_new)).await {
            Ok((files, reset)) => synced.count(is_main, &files, reset),
            Err(failure) => {
                if matches!(failure.code, ErrorCode::GatewayUnavailable | ErrorCode::GatewayTimeout) {
                    lost = Some(format!("Not reached: {}", failure.message));
                }
                let message = failure.message;
                synced.troubles.push(AgentTrouble { agent: agent.id.clone(), message });
            }
        }
        if lost.is_none() && started.elapsed() > BUDGET {
            lost = Some(format!("Not reached within {} s; sync again to go on", BUDGET.as_secs()));
        }
    }
    Ok(synced)
}

/// The main agent may be recorded under a name that tells the gateway too, where two gateways have agents of one id.
fn is_main_record(name: &str, main_id: &Option<String>) -> bool {
    main_id.as_ref().is_some_and(|id| name.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('-')))
}

async fn one(
    gateway: &impl GatewayCaller,
    facts: &GatewayFacts,
    listed: &Listed,
    agent: &AgentRow,
    is_main: bool,
    options: SyncOptions,
    writing: Writing<'_>,
) -> Result<(FilesDone, bool), Failure> {
    let files = agent_files::write(gateway, facts, agent, is_main, writing).await?;
    if options.reset_sessions {
        let key = format!("agent:{}:{}", agent.id, listed.main_key);
        gateway.call("sessions.reset", json!({"key": key, "reason": "reset"})).await?;
    }
    Ok((files, options.reset_sessions))
}

impl Synced {
    fn count(&mut self, is_main: bool, files: &FilesDone, reset: bool) {
        if files.none_taken() && !reset {
            self.skipped += 1;
        } else if is_main {
            self.main_updated = true;
        } else {
            self.updated += 1;
        }
        self.sessions_reset += usize::from(reset);
        let these = [&files.written, &files.unchanged, &files.kept, &files.skipped];
        for (sum, files) in self.files.iter_mut().zip(these) {
            *sum += files.len();
        }
    }
}
