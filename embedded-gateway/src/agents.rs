//! The agents: those of the configuration, and those that were created over the wire (`agents.json`). A created agent has no
//! command, so nothing runs for it until the configuration names it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::CallError;
use crate::config::{AcpAgent, GatewayConfig, is_agent_id};
use crate::effect::FileChange;
use crate::payload::{joined_if, without_nulls};
use crate::turn::Turn;

/// The agent that is there where none is configured.
pub(crate) const MAIN: &str = "main";
/// Where created agents are kept, relative to the state directory.
pub(crate) const FILE: &str = "agents.json";
pub(crate) const CREATED: usize = 200;
/// Longest name, model, emoji or avatar, in bytes.
const TEXT_BYTES: usize = 512;

/// What may be said of an agent in `agents.create` and `agents.update`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// A folder below the state directory's `workspaces`; `workspaces/<id>` where none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) workspace: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) emoji: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) avatar: Option<String>,
}

/// An agent that was created over the wire, as kept in `agents.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedAgent {
    #[serde(flatten)]
    fields: AgentFields,
    /// Wall ms.
    created_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The entry of the configuration's `commands` that runs for it; none: nothing can run.
    pub(crate) command: Option<String>,
    /// The agent that speaks ACP and runs instead.
    pub(crate) acp: Option<AcpAgent>,
    pub(crate) workspace: PathBuf,
    pub(crate) model: Option<String>,
    emoji: Option<String>,
    avatar: Option<String>,
    /// Wall ms; none for configured ones.
    pub(crate) created_at: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Agents {
    config: Arc<GatewayConfig>,
    created: BTreeMap<String, CreatedAgent>,
}

impl Agents {
    /// Those of the configuration, and the created ones. A configured agent hides a created one of the same id.
    pub(crate) fn new(config: Arc<GatewayConfig>, created: BTreeMap<String, CreatedAgent>) -> Self {
        Self { config, created }
    }

    pub(crate) fn configure(&mut self, config: Arc<GatewayConfig>) {
        self.config = config;
    }

    /// The agent that is meant where none is named.
    pub(crate) fn default_id(&self) -> &str {
        self.config.default_agent.as_deref().unwrap_or(MAIN)
    }

    /// All, the configured ones first.
    pub(crate) fn list(&self) -> Vec<Agent> {
        let mut ids: Vec<&str> = self.config.agents.keys().map(String::as_str).collect();
        if ids.is_empty() {
            ids.push(MAIN);
        }
        ids.extend(self.created.keys().map(String::as_str).filter(|id| !self.is_configured(id)));
        ids.into_iter().filter_map(|id| self.find(id)).collect()
    }

    pub(crate) fn find(&self, id: &str) -> Option<Agent> {
        let id = id.to_owned();
        if let Some(agent) = self.config.agents.get(&id) {
            let (name, command, acp) = (agent.name.clone(), agent.command.clone(), agent.acp.clone());
            let (workspace, model) = (agent.workspace.clone(), agent.model.clone());
            return Some(Agent { id, name, command, acp, workspace, model, ..Agent::default() });
        }
        if self.is_configured(&id) {
            return Some(Agent { name: id.clone(), workspace: self.workspace_of(&id), id, ..Agent::default() });
        }
        let CreatedAgent { fields, created_at } = self.created.get(&id)?.clone();
        Some(Agent {
            name: fields.name.unwrap_or_else(|| id.clone()),
            command: None,
            acp: None,
            workspace: fields.workspace.unwrap_or_else(|| self.workspace_of(&id)),
            model: fields.model,
            emoji: fields.emoji,
            avatar: fields.avatar,
            created_at: Some(created_at),
            id,
        })
    }

    /// The agent with this id, or the default one where none is named; the error names the one that is missing.
    pub(crate) fn resolve(&self, id: Option<&str>) -> Result<Agent, CallError> {
        let id = id.unwrap_or_else(|| self.default_id());
        self.find(id).ok_or_else(|| {
            let known: Vec<String> = self.list().into_iter().take(LISTED).map(|agent| agent.id).collect();
            CallError::invalid(format!("Unknown agent id \"{}\"; known: {}", shown(id), known.join(", ")))
        })
    }

    pub(crate) fn create(&mut self, fields: AgentFields, turn: &mut Turn<'_>) -> Result<Agent, CallError> {
        let name = fields.name.clone().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let Some(name) = name else { return Err(CallError::invalid("agent name required")) };
        let Some(id) = slug(&name).filter(|id| is_agent_id(id)) else {
            return Err(CallError::invalid(format!(
                "agent name \"{}\" makes no id: use at least one letter or digit of a-z and 0-9",
                shown(&name)
            )));
        };
        if id == MAIN {
            return Err(CallError::invalid(format!("\"{MAIN}\" is reserved")));
        }
        if self.find(&id).is_some() {
            return Err(CallError::invalid(format!("agent \"{id}\" already exists")));
        }
        if self.created.len() >= CREATED {
            return Err(CallError::unavailable(format!(
                "too many agents: {CREATED} were created already; delete one with agents.delete"
            )));
        }
        let fields = AgentFields { name: Some(name.to_owned()), ..fields };
        let agent = CreatedAgent { fields: self.checked(fields)?, created_at: turn.now.wall_ms };
        self.created.insert(id.clone(), agent);
        self.write(turn);
        self.resolve(Some(&id))
    }

    pub(crate) fn update(&mut self, id: &str, fields: AgentFields, turn: &mut Turn<'_>) -> Result<Agent, CallError> {
        self.refuse_configured(id, "changed")?;
        let new = self.checked(fields)?;
        let Some(CreatedAgent { fields: old, created_at }) = self.created.get(id).cloned() else {
            return Err(not_found(id));
        };
        let fields = AgentFields {
            name: new.name.or(old.name),
            workspace: new.workspace.or(old.workspace),
            model: new.model.or(old.model),
            emoji: new.emoji.or(old.emoji),
            avatar: new.avatar.or(old.avatar),
        };
        let agent = CreatedAgent { fields, created_at };
        self.created.insert(id.to_owned(), agent);
        self.write(turn);
        self.resolve(Some(id))
    }

    /// `agents.delete`. Its files are left; its sessions are up to the caller. Returns what was removed.
    pub(crate) fn delete(&mut self, id: &str, turn: &mut Turn<'_>) -> Result<Agent, CallError> {
        if id == MAIN {
            return Err(CallError::invalid(format!("\"{MAIN}\" cannot be deleted")));
        }
        self.refuse_configured(id, "deleted")?;
        let agent = self.find(id).ok_or_else(|| not_found(id))?;
        self.created.remove(id);
        self.write(turn);
        Ok(agent)
    }

    pub(crate) fn as_file(&self) -> FileChange {
        let text = serde_json::to_string_pretty(&self.created).unwrap_or_default();
        FileChange::Replace { file: PathBuf::from(FILE), text: text + "\n" }
    }

    fn write(&self, turn: &mut Turn<'_>) {
        turn.write(self.as_file());
    }

    fn is_configured(&self, id: &str) -> bool {
        self.config.agents.contains_key(id) || (self.config.agents.is_empty() && id == MAIN)
    }

    fn refuse_configured(&self, id: &str, done: &str) -> Result<(), CallError> {
        if !self.is_configured(id) {
            return Ok(());
        }
        Err(CallError::invalid(match &self.config.file {
            Some(file) => format!(
                "agent \"{id}\" is configured in {} and can't be {done} over the wire; change it there, or with config.patch",
                file.display()
            ),
            None => format!("agent \"{id}\" is built in and can't be {done}"),
        }))
    }

    fn workspace_of(&self, id: &str) -> PathBuf {
        self.config.state_dir.join("workspaces").join(id)
    }

    fn checked(&self, fields: AgentFields) -> Result<AgentFields, CallError> {
        let AgentFields { name, workspace, model, emoji, avatar } = &fields;
        for (what, text) in [("name", name), ("model", model), ("emoji", emoji), ("avatar", avatar)] {
            if text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES || text.chars().any(char::is_control)) {
                return Err(CallError::invalid(format!(
                    "agent {what} must be at most {TEXT_BYTES} bytes, without control characters"
                )));
            }
        }
        if let Some(workspace) = workspace {
            self.check_workspace(workspace)?;
        }
        Ok(fields)
    }

    /// A caller must not make the gateway write just anywhere: its workspaces are below `workspaces`. (Links in it are found
    /// out when files are opened.)
    fn check_workspace(&self, path: &Path) -> Result<(), CallError> {
        let root = self.config.state_dir.join("workspaces");
        let inside = path.is_absolute()
            && path.starts_with(&root)
            && path != root
            && path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        if inside {
            Ok(())
        } else {
            Err(CallError::invalid(format!(
                "workspace must be a folder below {}; leave it out to get one there, or configure the agent in the gateway's configuration file",
                root.display()
            )))
        }
    }
}

impl Agent {
    pub(crate) fn row(&self, protocol: u32) -> Value {
        let identity = without_nulls(json!({"name": self.name, "emoji": self.emoji, "avatar": self.avatar}));
        let row = json!({"id": self.id, "name": self.name, "identity": identity});
        joined_if(row, protocol >= 4, || {
            without_nulls(json!({
                "workspace": self.workspace.display().to_string(),
                "model": self.model.as_ref().map(|model| json!({"primary": model})),
                "createdVia": if self.created_at.is_some() { "operator" } else { "config" },
                "createdAt": self.created_at,
                // Ours: whether a message to it starts anything.
                "runnable": self.command.is_some() || self.acp.is_some(),
            }))
        })
    }
}

/// The error of methods about an agent that isn't there.
pub(crate) fn not_found(id: &str) -> CallError {
    CallError::invalid(format!("agent \"{}\" not found", shown(id)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(80).collect()
}

const MAX_ID: usize = 64;

/// Lower-case letters and digits; everything else becomes one dash. None where nothing is left.
pub(crate) fn slug(name: &str) -> Option<String> {
    let mut id = String::new();
    for character in name.chars().flat_map(char::to_lowercase) {
        if id.len() >= MAX_ID {
            break;
        }
        if character.is_ascii_alphanumeric() || character == '_' {
            id.push(character);
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    let id = id.trim_matches(|edge| edge == '-' || edge == '_').to_owned();
    (!id.is_empty()).then_some(id)
}

/// Most agents that an error about an unknown one lists.
const LISTED: usize = 20;
/// Largest content that is taken or shown, in bytes.
pub(crate) const FILE_BYTES: u64 = 1024 * 1024;

/// The names that protocol 3 knows.
pub(crate) const WORKSPACE_FILES: &[&str] =
    &["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md", "MEMORY.md"];

/// The name as on the list, where it is on it.
pub(crate) fn workspace_file(name: &str) -> Option<&'static str> {
    WORKSPACE_FILES.iter().copied().find(|known| *known == name)
}
