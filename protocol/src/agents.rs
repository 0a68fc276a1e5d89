//! Agents as gateways list them, in one form.

use serde_json::Value;

use crate::decoding::text_bytes;
use crate::fields;
use crate::limits::{MAX_AGENTS, MAX_AGENTS_BYTES};
use crate::words;

/// One agent of a gateway.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentRow {
    /// The gateway's own key for it; equals the name where the gateway has only names.
    pub id: String,
    /// The name for people.
    pub name: Option<String>,
    /// What it is for (document 000's registration form).
    pub role: Option<String>,
    /// `provider/model`, or the model alone, as the gateway says.
    pub model: Option<String>,
    /// Its directory on the gateway's host.
    pub workspace: Option<String>,
    /// Whether the gateway uses it where none is named.
    pub is_default: bool,
}

impl AgentRow {
    /// The name for people, else the id.
    pub fn shown_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// What it takes to keep it, bytes: its texts (its name is kept apart a second time), and itself.
    pub fn held_bytes(&self) -> usize {
        let texts = [&self.role, &self.model, &self.workspace].into_iter().flatten();
        size_of::<Self>()
            + size_of::<String>()
            + 2 * (text_bytes(&self.id) + self.name.as_deref().map_or(0, text_bytes))
            + texts.map(|text| text_bytes(text)).sum::<usize>()
    }

    /// Reads one row of any form: an object, or a bare name. None where it names no agent.
    pub fn read(value: &Value) -> Option<Self> {
        if let Some(name) = value.as_str() {
            return words::name(name).map(|id| Self { id, ..Self::default() });
        }
        let id = fields::name(value, &["id", "agentId", "name"])?;
        Some(Self {
            name: fields::name(value, &["name"]).or_else(|| fields::name(value.get("identity")?, &["name"])),
            role: fields::name(value, &["role"]),
            model: model(value),
            workspace: fields::name(value, &["workspace"]),
            is_default: fields::flag(value, &["isDefault", "default"]).unwrap_or(false),
            id,
        })
    }
}

/// `model` is a name, or `{primary}` of newer releases.
fn model(value: &Value) -> Option<String> {
    fields::name(value, &["model"]).or_else(|| fields::name(value.get("model")?, &["primary"]))
}

/// Reads the reply of `agents.list`, or a document that has `agents` as an array or a map. None where it has neither.
pub fn read_agents(document: &Value) -> Option<Vec<AgentRow>> {
    let default = fields::name(document, &["defaultId", "defaultAgentId"]);
    read_roster(document.get("agents")?, default)
}

/// Reads agents out of a configuration: the reply of `config.get` (`config`, else `parsed`, else `resolved`) or of
/// `GET /config`, with `agents.list[]` (protocol 3) or `agents.entries{}` (protocol 4). A configuration that names no
/// agents has the one that every gateway has, `main`. None where this is no configuration.
pub fn read_config_agents(document: &Value) -> Option<Vec<AgentRow>> {
    let config = ["config", "parsed", "resolved"]
        .iter()
        .filter_map(|field| document.get(*field))
        .find(|config| config.is_object())
        .unwrap_or(document);
    if !config.is_object() {
        return None;
    }
    let main = || vec![AgentRow { id: "main".to_owned(), is_default: true, ..AgentRow::default() }];
    let Some(agents) = config.get("agents") else { return Some(main()) };
    let rows = read_roster(agents, None)?;
    Some(if rows.is_empty() { main() } else { rows })
}

/// As many of the agents as are kept of one gateway.
pub(crate) fn bounded(rows: impl Iterator<Item = AgentRow>) -> Vec<AgentRow> {
    let within = rows.take(MAX_AGENTS).scan(MAX_AGENTS_BYTES, |left, row| {
        *left = left.checked_sub(row.held_bytes())?;
        Some(row)
    });
    let mut rows: Vec<AgentRow> = within.collect();
    // They are kept for as long as the connection lives.
    rows.shrink_to_fit();
    rows
}

/// An array of rows, a map from id to row, or `{list}` / `{entries}` around either.
fn read_roster(agents: &Value, default: Option<String>) -> Option<Vec<AgentRow>> {
    let mut rows: Vec<AgentRow> = match agents {
        Value::Array(rows) => bounded(rows.iter().filter_map(AgentRow::read)),
        Value::Object(map) => {
            let inner = ["list", "entries"].iter().find_map(|field| map.get(*field));
            if let Some(inner) = inner.filter(|inner| inner.is_array() || inner.is_object()) {
                return read_entries(inner, default);
            }
            return if map.keys().all(|key| key == "defaults") {
                Some(Vec::new())
            } else {
                read_entries(agents, default)
            };
        }
        _ => return None,
    };
    mark_default(&mut rows, default);
    Some(rows)
}

fn read_entries(entries: &Value, default: Option<String>) -> Option<Vec<AgentRow>> {
    let Value::Object(map) = entries else { return read_roster(entries, default) };
    let named = map.iter().filter(|(key, row)| key.as_str() != "defaults" && row.is_object());
    let mut rows = bounded(named.filter_map(|(key, row)| {
        let id = words::name(key)?;
        let read = AgentRow::read(row).unwrap_or_default();
        Some(AgentRow { model: read.model.or_else(|| model(row)), id, ..read })
    }));
    mark_default(&mut rows, default);
    Some(rows)
}

/// A gateway with one agent, or with one called `main` and no other default, uses that.
fn mark_default(rows: &mut [AgentRow], default: Option<String>) {
    if let Some(default) = default {
        for row in rows.iter_mut() {
            row.is_default = row.id == default;
        }
    }
    if !rows.iter().any(|row| row.is_default) {
        let alone = rows.len() == 1;
        if let Some(row) = rows.iter_mut().find(|row| alone || row.id == "main") {
            row.is_default = true;
        }
    }
}

#[cfg(test)]
mod tests;
