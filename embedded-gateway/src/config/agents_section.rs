//! Sections `agents` and `gatewarden.commands`: who can be spoken to, and which programs may run. Nothing that isn't named
//! here can be run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::forbidden_env::{is_env_name, is_forbidden_env};
use super::section::{Others, Reader, Section, closest};
use super::{ArgumentPattern, CommandTemplate, ConfiguredAgent, GatewayConfig};

/// Most entries of each kind.
const MOST_ENTRIES: usize = 1_000;
const LONGEST_RUN: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn commands(reader: &mut Reader<'_>, ours: &mut Section<'_>, config: &mut GatewayConfig) {
    for (name, value) in ours.entries(reader, "commands").into_iter().take(MOST_ENTRIES) {
        let path = format!("gatewarden.commands.{name}");
        if !is_name(name) {
            reader.wrong(&path, None, "a command's name is 1 to 64 letters, digits, dots, dashes or underscores");
            continue;
        }
        let section = Section::open(reader, Some(value), path);
        if let Some(command) = command(reader, section) {
            config.commands.insert(name.to_owned(), command);
        }
    }
}

fn command(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<CommandTemplate> {
    let program = section.path_of(reader, "program");
    if program.is_none() && section.value("program").is_none() {
        reader.wrong(&section.key("program"), None, "is missing; write the absolute path of the program");
    }
    if let Some(program) = &program
        && !is_executable(program)
    {
        let at = section.key("program");
        reader.warnings.push(format!("{at}: {} is not an executable file; runs of it will fail", program.display()));
    }
    if let Some(program) = &program
        && may_be_changed_by_anybody(program)
    {
        let at = section.key("program");
        reader.warnings.push(format!(
            "{at}: any user of this machine may change {}, and so what this gateway runs; run chmod o-w on it",
            program.display()
        ));
    }
    let args = section.texts(reader, "args");
    let allowed_args = allowed_args(reader, &mut section);
    let env = environment(reader, &mut section);
    let allowed_env = allowed_env(reader, &mut section);
    let working_dirs = working_dirs(reader, &mut section);
    let json_lines = section.switch(reader, "jsonLines").unwrap_or(false);
    let timeout = section.duration(reader, "timeout", Duration::from_secs(1)..=LONGEST_RUN);
    section.close(reader, Others::RefusedBut(&[]));
    Some(CommandTemplate { program: program?, args, allowed_args, env, allowed_env, working_dirs, json_lines, timeout })
}

fn is_executable(program: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(program).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The program itself (where a link leads), not its directory: those may be shared and guarded otherwise.
fn may_be_changed_by_anybody(program: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(program).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o002 != 0)
}

const PATTERNS: &str = "must be \"word\", \"number\", \"text\", {text: BYTES}, {exact: \"...\"} or {oneOf: [\"...\"]}";

fn allowed_args(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<ArgumentPattern> {
    let path = section.key("allowedArgs");
    let mut patterns = Vec::new();
    for (at, item) in section.items(reader, "allowedArgs").iter().enumerate() {
        match pattern(item) {
            Some(pattern) => patterns.push(pattern),
            None => reader.wrong(&format!("{path}[{at}]"), Some(item), PATTERNS),
        }
    }
    patterns
}

fn pattern(item: &Value) -> Option<ArgumentPattern> {
    match item {
        Value::String(kind) => match kind.as_str() {
            "word" => Some(ArgumentPattern::Word),
            "number" => Some(ArgumentPattern::Number),
            "text" => Some(ArgumentPattern::Text(4096)),
            _ => None,
        },
        Value::Object(fields) if fields.len() == 1 => match fields.iter().next()? {
            (kind, Value::String(exact)) if kind == "exact" => Some(ArgumentPattern::Exact(exact.clone())),
            (kind, Value::Number(most)) if kind == "text" => most
                .as_u64()
                .filter(|most| (1..=32_768).contains(most))
                .and_then(|most| usize::try_from(most).ok())
                .map(ArgumentPattern::Text),
            (kind, Value::Array(words)) if kind == "oneOf" && !words.is_empty() => words
                .iter()
                .map(|word| word.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .map(ArgumentPattern::OneOf),
            _ => None,
        },
        _ => None,
    }
}

fn environment(reader: &mut Reader<'_>, section: &mut Section<'_>) -> BTreeMap<String, String> {
    let path = section.key("env");
    let mut variables = BTreeMap::new();
    for (name, value) in section.entries(reader, "env") {
        let at = format!("{path}.{name}");
        if !is_env_name(name) {
            reader.wrong(
                &at,
                None,
                "an environment name is letters, digits and underscores, not beginning with a digit",
            );
        } else if let Some(text) = reader.text(&at, value) {
            variables.insert(name.to_owned(), text);
        }
    }
    variables
}

fn allowed_env(reader: &mut Reader<'_>, section: &mut Section<'_>) -> BTreeSet<String> {
    let path = section.key("allowedEnv");
    let mut names = BTreeSet::new();
    for (at, name) in section.texts(reader, "allowedEnv").into_iter().enumerate() {
        let cure = if !is_env_name(&name) {
            "an environment name is letters, digits and underscores, not beginning with a digit"
        } else if is_forbidden_env(&name) {
            "would let a caller run code of its own (program search, loader or interpreter options); set it in env where \
             the command needs it"
        } else {
            names.insert(name);
            continue;
        };
        reader.wrong(&format!("{path}[{at}]"), Some(&name.into()), cure);
    }
    names
}

/// Canonical where they exist; one that is missing is told by the run that needs it.
fn working_dirs(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<PathBuf> {
    let path = section.key("workingDirs");
    let mut dirs = Vec::new();
    for (at, text) in section.texts(reader, "workingDirs").into_iter().enumerate() {
        let at = format!("{path}[{at}]");
        let Some(dir) = reader.path(&at, &text) else { continue };
        match dir.canonicalize() {
            Ok(canonical) if canonical.is_dir() => dirs.push(canonical),
            Ok(_) => reader.wrong(&at, Some(&text.into()), "is not a directory"),
            Err(error) => {
                reader.warnings.push(format!("{at}: {} cannot be used: {error}; runs in it will fail", dir.display()));
                dirs.push(dir);
            }
        }
    }
    dirs
}

/// `agents.entries` (a map, protocol 4 releases) and `agents.list` (protocol 3 releases).
pub(super) fn agents(reader: &mut Reader<'_>, root: &mut Section<'_>, config: &mut GatewayConfig) {
    let mut section = root.section(reader, "agents");
    let entries = section.entries(reader, "entries");
    let list = section.items(reader, "list");
    let mut defaults = Vec::new();
    for (id, value) in entries.into_iter().take(MOST_ENTRIES) {
        let path = format!("agents.entries.{id}");
        let entry = Section::open(reader, Some(value), path);
        agent(reader, entry, Some(id), config, &mut defaults);
    }
    for (at, value) in list.iter().take(MOST_ENTRIES).enumerate() {
        let entry = Section::open(reader, Some(value), format!("agents.list[{at}]"));
        agent(reader, entry, None, config, &mut defaults);
    }
    if defaults.len() > 1 {
        reader.warnings.push(format!("several agents are marked as default; {} counts", defaults.join(", then ")));
    }
    config.default_agent = defaults
        .into_iter()
        .next()
        .or_else(|| config.agents.contains_key("main").then(|| "main".to_owned()))
        .or_else(|| config.agents.keys().next().cloned());
    section.close(reader, Others::Ignored);
}

fn agent(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
    id: Option<&str>,
    config: &mut GatewayConfig,
    defaults: &mut Vec<String>,
) {
    let own = if id.is_none() { section.text(reader, "id") } else { None };
    let Some(id) = id.map(str::to_owned).or(own) else {
        reader.wrong(&section.key("id"), None, "is missing; each agent has an id");
        return;
    };
    if !is_agent_id(&id) {
        let cure = "an agent's id is 1 to 64 lower-case letters, digits, dashes or underscores, such as main";
        reader.wrong(section.path(), Some(&Value::String(id)), cure);
        return;
    }
    let command = section.text(reader, "command");
    if let Some(name) = &command
        && !config.commands.contains_key(name)
    {
        let cure = match closest(name, config.commands.keys().map(String::as_str)) {
            Some(meant) => format!("there is no gatewarden.commands.{name}; did you mean {meant}?"),
            None => format!("there is no gatewarden.commands.{name}; describe the command there"),
        };
        reader.wrong(&section.key("command"), Some(&name.clone().into()), cure);
    }
    let model = match section.value("model") {
        Some(Value::Object(model)) => model.get("primary").and_then(Value::as_str).map(str::to_owned),
        _ => section.text(reader, "model"),
    };
    let workspace = section.path_of(reader, "workspace");
    let name = section.text(reader, "name");
    if section.switch(reader, "default") == Some(true) {
        defaults.push(id.clone());
    }
    let path = section.path().to_owned();
    section.close(reader, Others::Ignored);
    let agent = ConfiguredAgent {
        name: name.unwrap_or_else(|| id.clone()),
        command,
        workspace: workspace.unwrap_or_else(|| config.state_dir.join("workspaces").join(&id)),
        model,
    };
    if config.agents.insert(id.clone(), agent).is_some() {
        reader.wrong(&path, Some(&Value::String(id)), "is the id of an earlier agent");
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn is_agent_id(id: &str) -> bool {
    is_name(id) && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}
