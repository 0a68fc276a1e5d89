//! All agents of a gateway, one after another: files, and where wanted a new main session.

use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_api::organization::{TemplatesSyncAnswer, TemplatesSyncError};
use gatewarden_protocol::AgentRow;
use serde_json::json;

use super::agent_files::{self, FilesDone};
use super::main_agent::{self, MainAgentFound};
use super::{GatewayCaller, GatewayFacts, Listed, Writing, list_agents};
use crate::templates::Templates;

/// Agents that are not reached within this time are told as such: somebody waits for the answer.
pub(crate) const BUDGET: Duration = Duration::from_secs(120);

/// What a sync is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SyncOptions {
    /// Also the gateway's main agent, which is made where there is none.
    pub(crate) include_main: bool,
    /// Also files that somebody else has written or changed.
    pub(crate) overwrite: bool,
    /// Begin each agent's main session anew.
    pub(crate) reset_sessions: bool,
    /// Rotate our device token on the gateway first; whoever calls [`sync`] has done that.
    pub(crate) rotate_tokens: bool,
}

/// Brings all agents of a gateway in line. `recorded`: the main agent as far as it was known; `known`: the names of the
/// agents that are recorded here as this gateway's. What is answered lacks the main agent's record alone; with it comes the main
/// agent, where it was asked for.
pub(crate) async fn sync(
    gateway: &impl GatewayCaller,
    facts: &GatewayFacts,
    recorded: Option<&str>,
    known: &[String],
    options: SyncOptions,
    templates: &Templates,
) -> Result<(TemplatesSyncAnswer, Option<MainAgentFound>), Failure> {
    let started = tokio::time::Instant::now();
    let writing = Writing { templates, overwrite: options.overwrite };
    let mut answer = TemplatesSyncAnswer {
        gateway_id: facts.id.clone(),
        include_main: options.include_main,
        reset_sessions: options.reset_sessions,
        overwrite: options.overwrite,
        tokens_rotated: options.rotate_tokens,
        ..TemplatesSyncAnswer::default()
    };
    let mut main = None;
    let mut listed = list_agents(gateway, &facts.name).await?;
    if options.include_main {
        let found = main_agent::find_or_create(gateway, facts, recorded, &listed).await?;
        if listed.find(&found.agent.id).is_none() {
            listed.agents.push(found.agent.clone());
        }
        answer.main_created = found.created;
        main = Some(found);
    }
    let main_id = match &main {
        Some(found) => Some(found.agent.id.clone()),
        None => main_agent::find(&listed, recorded, facts).map(|agent| agent.id.clone()),
    };
    answer.agents_skipped +=
        known.iter().filter(|name| listed.find(name).is_none() && !is_main_record(name, &main_id)).count();
    let trouble = |agent: &AgentRow, message| TemplatesSyncError { agent_name: agent.id.clone(), message };
    let mut lost: Option<String> = None;
    for agent in &listed.agents {
        let is_main = main_id.as_ref() == Some(&agent.id);
        if is_main && !options.include_main {
            answer.agents_skipped += 1;
            continue;
        }
        if let Some(why) = &lost {
            answer.errors.push(trouble(agent, why.clone()));
            continue;
        }
        let is_new = is_main && answer.main_created;
        match one(gateway, facts, &listed, agent, is_main, options, writing.of_new(is_new)).await {
            Ok(files) => count(&mut answer, is_main, &files),
            Err(failure) => {
                if matches!(failure.code, ErrorCode::GatewayUnavailable | ErrorCode::GatewayTimeout) {
                    lost = Some(format!("Not reached: {}", failure.message));
                }
                answer.errors.push(trouble(agent, failure.message));
            }
        }
        if lost.is_none() && started.elapsed() > BUDGET {
            lost = Some(format!("Not reached within {} s; sync again to go on", BUDGET.as_secs()));
        }
    }
    Ok((answer, main))
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
) -> Result<FilesDone, Failure> {
    let files = agent_files::write(gateway, facts, agent, is_main, writing).await?;
    if options.reset_sessions {
        let key = format!("agent:{}:{}", agent.id, listed.main_key);
        gateway.call("sessions.reset", json!({"key": key, "reason": "reset"})).await?;
    }
    Ok(files)
}

/// Counts an agent that all was done for.
fn count(answer: &mut TemplatesSyncAnswer, is_main: bool, files: &FilesDone) {
    if files.none_taken() && !answer.reset_sessions {
        answer.agents_skipped += 1;
    } else if is_main {
        answer.main_updated = true;
    } else {
        answer.agents_updated += 1;
    }
    answer.sessions_reset += usize::from(answer.reset_sessions);
    answer.files.written += files.written.len();
    answer.files.unchanged += files.unchanged.len();
    answer.files.kept += files.kept.len();
    answer.files.skipped += files.skipped.len();
}
