//! The agents: those of the configuration, and those that were created over the wire (`agents.json`). A created agent has no
//! command, so nothing runs for it until the configuration names it.

pub(crate) mod slug;
#[cfg(test)]
mod tests;
pub(crate) mod workspace_files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::CallError;
use crate::config::GatewayConfig;
use crate::effect::FileChange;
use crate::sessions::is_agent_id;
use crate::turn::Turn;

/// The agent that is there where none is configured.
pub(crate) const MAIN: &str = "main";
/// Where created agents are kept, relative to the state directory.
pub(crate) const FILE: &str = "agents.json";
pub(crate) const CREATED: usize = 200;
/// Longest name, model, emoji or avatar, in bytes.
const TEXT_BYTES: usize = 512;

/// An agent that was created over the wire, as kept in `agents.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedAgent {
    pub name: String,
    /// `workspaces/<id>` of the state directory where none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// Wall ms.
    pub created_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    pub id: String,
    pub name: String,
    /// The entry of the configuration's `commands` that runs for it; none: nothing can run.
    pub command: Option<String>,
    pub workspace: PathBuf,
    pub model: Option<String>,
    pub emoji: Option<String>,
    pub avatar: Option<String>,
    /// Wall ms; none for configured ones.
    pub created_at: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AgentFields {
    pub name: Option<String>,
    /// An absolute path below the state directory's `workspaces`.
    pub workspace: Option<PathBuf>,
    pub model: Option<String>,
    pub emoji: Option<String>,
    pub avatar: Option<String>,
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
        if let Some(agent) = self.config.agents.get(id) {
            return Some(Agent {
                id: id.to_owned(),
                name: agent.name.clone(),
                command: agent.command.clone(),
                workspace: agent.workspace.clone(),
                model: agent.model.clone(),
                emoji: None,
                avatar: None,
                created_at: None,
            });
        }
        if let Some(agent) = self.created.get(id).filter(|_| !self.is_configured(id)) {
            return Some(Agent {
                id: id.to_owned(),
                name: agent.name.clone(),
                command: None,
                workspace: agent.workspace.clone().unwrap_or_else(|| self.workspace_of(id)),
                model: agent.model.clone(),
                emoji: agent.emoji.clone(),
                avatar: agent.avatar.clone(),
                created_at: Some(agent.created_at),
            });
        }
        self.is_configured(id).then(|| Agent {
            id: id.to_owned(),
            name: id.to_owned(),
            command: None,
            workspace: self.workspace_of(id),
            model: None,
            emoji: None,
            avatar: None,
            created_at: None,
        })
    }

    /// The agent with this id, or the default one where none is named; the error names the one that is missing.
    pub(crate) fn resolve(&self, id: Option<&str>) -> Result<Agent, CallError> {
        let id = id.unwrap_or_else(|| self.default_id());
        self.find(id).ok_or_else(|| CallError::invalid(format!("Unknown agent id \"{}\"", shown(id))))
    }

    pub(crate) fn create(&mut self, fields: AgentFields, turn: &mut Turn<'_>) -> Result<Agent, CallError> {
        let name = fields.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let Some(name) = name else { return Err(CallError::invalid("agent name required")) };
        let Some(id) = slug::slug(name).filter(|id| is_agent_id(id)) else {
            return Err(CallError::invalid(format!(
                "agent name \"{}\" makes no id: use at least one letter or digit of a-z and 0-9",
                shown(name)
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
        let agent = CreatedAgent {
            name: bounded("name", name.to_owned())?,
            workspace: fields.workspace.map(|path| self.checked_workspace(&path)).transpose()?,
            model: fields.model.map(|text| bounded("model", text)).transpose()?,
            emoji: fields.emoji.map(|text| bounded("emoji", text)).transpose()?,
            avatar: fields.avatar.map(|text| bounded("avatar", text)).transpose()?,
            created_at: turn.now.wall_ms,
        };
        self.created.insert(id.clone(), agent);
        self.write(turn);
        self.resolve(Some(&id))
    }

    pub(crate) fn update(&mut self, id: &str, fields: AgentFields, turn: &mut Turn<'_>) -> Result<Agent, CallError> {
        self.refuse_configured(id, "changed")?;
        let workspace = fields.workspace.map(|path| self.checked_workspace(&path)).transpose()?;
        let Some(mut agent) = self.created.get(id).cloned() else { return Err(not_found(id)) };
        if let Some(name) = fields.name {
            agent.name = bounded("name", name)?;
        }
        agent.workspace = workspace.or(agent.workspace);
        if let Some(model) = fields.model {
            agent.model = Some(bounded("model", model)?);
        }
        if let Some(emoji) = fields.emoji {
            agent.emoji = Some(bounded("emoji", emoji)?);
        }
        if let Some(avatar) = fields.avatar {
            agent.avatar = Some(bounded("avatar", avatar)?);
        }
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
                "agent \"{id}\" is configured in {} and can't be {done} over the wire; change the file and restart the gateway",
                file.display()
            ),
            None => format!("agent \"{id}\" is built in and can't be {done}"),
        }))
    }

    fn workspace_of(&self, id: &str) -> PathBuf {
        self.config.state_dir.join("workspaces").join(id)
    }

    /// A caller must not make the gateway write just anywhere: its workspaces are below `workspaces`. (Links in it are found
    /// out when files are opened.)
    fn checked_workspace(&self, path: &Path) -> Result<PathBuf, CallError> {
        let root = self.config.state_dir.join("workspaces");
        let inside = path.is_absolute()
            && path.starts_with(&root)
            && path != root
            && path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        if inside {
            Ok(path.to_owned())
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
        let mut row = json!({"id": self.id, "name": self.name});
        let Some(fields) = row.as_object_mut() else { return row };
        let mut identity = json!({"name": self.name});
        if let Some(known) = identity.as_object_mut() {
            if let Some(emoji) = &self.emoji {
                known.insert("emoji".into(), emoji.clone().into());
            }
            if let Some(avatar) = &self.avatar {
                known.insert("avatar".into(), avatar.clone().into());
            }
        }
        fields.insert("identity".into(), identity);
        if protocol >= 4 {
            fields.insert("workspace".into(), self.workspace.display().to_string().into());
            if let Some(model) = &self.model {
                fields.insert("model".into(), json!({"primary": model}));
            }
            fields.insert("createdVia".into(), if self.created_at.is_some() { "operator" } else { "config" }.into());
            if let Some(created_at) = self.created_at {
                fields.insert("createdAt".into(), created_at.into());
            }
            // Ours: whether a message to it starts anything.
            fields.insert("runnable".into(), self.command.is_some().into());
        }
        row
    }
}

/// The error of methods about an agent that isn't there.
pub(crate) fn not_found(id: &str) -> CallError {
    CallError::invalid(format!("agent \"{}\" not found", shown(id)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(80).collect()
}

fn bounded(what: &str, text: String) -> Result<String, CallError> {
    if text.len() > TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(CallError::invalid(format!(
            "agent {what} must be at most {TEXT_BYTES} bytes, without control characters"
        )));
    }
    Ok(text)
}
