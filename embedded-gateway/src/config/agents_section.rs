//! Sections `agents` and `gatewarden.commands`: who can be spoken to, and which programs may run. Nothing that isn't named
//! here can be run.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::forbidden_env::{is_env_name, is_forbidden_env};
use super::section::{Others, Section, closest};
use super::{AcpAgent, ArgumentPattern, CommandTemplate, ConfiguredAgent, GatewayConfig, Permissions};

/// Most entries of each kind.
const MAX_ENTRIES: usize = 1_000;
const MAX_RUN: Duration = Duration::from_secs(30 * 86_400);
/// An agent may build and test a whole project in one turn, but not be forgotten at it.
const ACP_TIMEOUT: Duration = Duration::from_secs(3_600);
const ACP_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
const ENV_NAME: &str = "an environment name is letters, digits and underscores, not beginning with a digit";

/// `gatewarden.commands`.
pub(super) fn commands(ours: &Section<'_>, config: &mut GatewayConfig) {
    let commands = ours.entries("commands");
    if commands.len() > MAX_ENTRIES {
        ours.wrong("commands", None, format!("has more than {MAX_ENTRIES} entries"));
    }
    for (name, value) in commands.into_iter().take(MAX_ENTRIES) {
        let path = format!("gatewarden.commands.{name}");
        if !is_name(name) {
            let cure = "a command's name is 1 to 64 letters, digits, dots, dashes or underscores";
            ours.findings.wrong(&path, None, cure);
            continue;
        }
        let command = command(Section::open(ours.findings, Some(value), path));
        config.commands.insert(name.to_owned(), command);
    }
}

fn command(section: Section<'_>) -> CommandTemplate {
    let template = CommandTemplate {
        program: program(&section),
        args: section.untold_texts("args"),
        allowed_args: allowed_args(&section),
        env: environment(&section),
        allowed_env: section
            .list("allowedEnv", |name| match (is_env_name(&name), is_forbidden_env(&name)) {
                (false, _) => Err(ENV_NAME),
                (true, true) => Err(
                    "would let a caller run code of its own (program search, loader or interpreter options); set it in env \
                    where the command needs it",
                ),
                (true, false) => Ok(name),
            })
            .into_iter()
            .collect(),
        working_dirs: working_dirs(&section),
        json_lines: section.switch("jsonLines").unwrap_or(false),
        timeout: section.duration("timeout", Duration::from_secs(1)..=MAX_RUN),
    };
    section.close(Others::RefusedBut(""));
    template
}

/// `agents.entries.NAME.acp`.
fn acp(section: Section<'_>) -> Option<AcpAgent> {
    let command = CommandTemplate {
        program: program(&section),
        args: section.untold_texts("args"),
        allowed_args: Vec::new(),
        env: environment(&section),
        allowed_env: BTreeSet::new(),
        working_dirs: working_dirs(&section),
        json_lines: true,
        timeout: section.duration("timeout", Duration::from_secs(1)..=MAX_RUN).or(Some(ACP_TIMEOUT)),
    };
    let permissions = section.parsed("permissions", |word| match word {
        "deny" => Ok(Permissions::Deny),
        "allow" => Ok(Permissions::Allow),
        "ask" => Ok(Permissions::Ask),
        _ => Err("must be deny, allow or ask"),
    });
    let idle_timeout = section.duration("idleTimeout", Duration::from_secs(1)..=MAX_RUN).unwrap_or(ACP_IDLE_TIMEOUT);
    section.close(Others::RefusedBut(""));
    let is_named = !command.program.as_os_str().is_empty();
    is_named.then_some(AcpAgent { command, permissions: permissions.unwrap_or_default(), idle_timeout })
}

/// Empty where none is named, which is a mistake.
fn program(section: &Section<'_>) -> PathBuf {
    let program = section.path_of("program");
    if program.is_none() && section.value("program").is_none() {
        section.missing("program", "; write the absolute path of the program");
    }
    if let Some(program) = &program {
        warn_of(section, program);
    }
    program.unwrap_or_default()
}

/// The program itself (where a link leads) is looked at, not its directory: those may be shared and guarded otherwise.
fn warn_of(section: &Section<'_>, program: &Path) {
    let file = std::fs::metadata(program).ok().filter(std::fs::Metadata::is_file);
    let mode = file.map_or(0, |file| file.permissions().mode());
    let at = section.key("program");
    if mode & 0o111 == 0 {
        section.findings.warn(format!("{at}: it is not an executable file; runs of it will fail"));
    }
    if mode & 0o002 != 0 {
        section.findings.warn(format!(
            "{at}: any user of this machine may change this file, and so what this gateway runs; run chmod o-w on it"
        ));
    }
}

fn allowed_args(section: &Section<'_>) -> Vec<ArgumentPattern> {
    let mut patterns = Vec::new();
    for (at, item) in section.items("allowedArgs").iter().enumerate() {
        match pattern(item) {
            Some(pattern) => {
                section.findings.may_be_shown(&format!("{}[{at}]", section.key("allowedArgs")));
                patterns.push(pattern);
            }
            None => {
                let cure =
                    "must be \"word\", \"number\", \"text\", {text: BYTES}, {exact: \"...\"} or {oneOf: [\"...\"]}";
                section.wrong(&format!("allowedArgs[{at}]"), Some(item), cure);
            }
        }
    }
    patterns
}

fn pattern(item: &Value) -> Option<ArgumentPattern> {
    if let Some(kind) = item.as_str() {
        return match kind {
            "word" => Some(ArgumentPattern::Word),
            "number" => Some(ArgumentPattern::Number),
            "text" => Some(ArgumentPattern::Text(4096)),
            _ => None,
        };
    }
    let fields = item.as_object().filter(|fields| fields.len() == 1)?;
    match fields.iter().next().map(|(kind, value)| (kind.as_str(), value))? {
        ("exact", Value::String(exact)) => Some(ArgumentPattern::Exact(exact.clone())),
        ("text", Value::Number(most)) => {
            let most = most.as_u64().filter(|most| (1..=32_768).contains(most))?;
            usize::try_from(most).ok().map(ArgumentPattern::Text)
        }
        ("oneOf", Value::Array(words)) if !words.is_empty() => {
            let words = words.iter().map(|word| word.as_str().map(str::to_owned));
            words.collect::<Option<Vec<_>>>().map(ArgumentPattern::OneOf)
        }
        _ => None,
    }
}

fn environment(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in section.entries("env") {
        let at = section.key(&format!("env.{name}"));
        if !is_env_name(name) {
            section.findings.wrong(&at, None, ENV_NAME);
        } else if let Some(text) = section.findings.untold(&at, value) {
            variables.insert(name.to_owned(), text);
        }
    }
    variables
}

/// Canonical where they exist; one that is missing is told by the run that needs it.
fn working_dirs(section: &Section<'_>) -> Vec<PathBuf> {
    let mut places = 0..;
    section.list("workingDirs", |text| {
        let at = format!("{}[{}]", section.key("workingDirs"), places.next().unwrap_or_default());
        let dir = section.findings.path(&text)?;
        match dir.canonicalize() {
            Ok(canonical) if canonical.is_dir() => Ok(canonical),
            Ok(_) => Err("is not a directory"),
            Err(error) => {
                section.findings.warn(format!("{at}: this directory cannot be used: {error}; runs in it will fail"));
                Ok(dir)
            }
        }
    })
}

/// `agents.entries` (a map, protocol 4 releases) and `agents.list` (protocol 3 releases).
pub(super) fn agents(root: &Section<'_>, config: &mut GatewayConfig) {
    let section = root.section("agents");
    let mut defaults = Vec::new();
    let entries = section.entries("entries");
    let list = section.items("list");
    for (key, count) in [("entries", entries.len()), ("list", list.len())] {
        if count > MAX_ENTRIES {
            section.wrong(key, None, format!("has more than {MAX_ENTRIES} agents"));
        }
    }
    for (id, value) in entries.into_iter().take(MAX_ENTRIES) {
        let entry = Section::open(section.findings, Some(value), format!("agents.entries.{id}"));
        agent(entry, Some(id), config, &mut defaults);
    }
    for (at, value) in list.iter().take(MAX_ENTRIES).enumerate() {
        let entry = Section::open(section.findings, Some(value), format!("agents.list[{at}]"));
        agent(entry, None, config, &mut defaults);
    }
    if defaults.len() > 1 {
        section.findings.warn(format!("several agents are marked as default; {} counts", defaults.join(", then ")));
    }
    config.default_agent = defaults
        .into_iter()
        .next()
        .or_else(|| config.agents.contains_key("main").then(|| "main".to_owned()))
        .or_else(|| config.agents.keys().next().cloned());
    section.close(Others::Ignored);
}

fn agent(section: Section<'_>, id: Option<&str>, config: &mut GatewayConfig, defaults: &mut Vec<String>) {
    let own = if id.is_none() { section.text("id") } else { None };
    let Some(id) = id.map(str::to_owned).or(own) else {
        section.missing("id", "; each agent has an id");
        return;
    };
    let path = section.path.clone();
    if !is_agent_id(&id) {
        let cure = "an agent's id is 1 to 64 lower-case letters, digits, dashes or underscores, such as main";
        section.findings.wrong(&path, None, cure);
        return;
    }
    let command = section.text("command");
    if let Some(name) = &command
        && !config.commands.contains_key(name)
    {
        let cure = match closest(name, config.commands.keys().map(String::as_str)) {
            Some(meant) => format!("gatewarden.commands has no command of this name; did you mean {meant}?"),
            None => "gatewarden.commands has no command of this name; describe it there".to_owned(),
        };
        section.wrong("command", None, cure);
    }
    let acp = section.section("acp");
    let acp = if acp.is_written() || acp.findings.schema.is_some() { self::acp(acp) } else { None };
    if acp.is_some() && command.is_some() {
        section.wrong("command", None, "and acp exclude each other: one of the two runs for the agent");
    }
    let model = match section.value("model") {
        Some(Value::Object(model)) => {
            section.findings.may_be_shown(&section.key("model"));
            model.get("primary").and_then(Value::as_str).map(str::to_owned)
        }
        _ => section.text("model"),
    };
    section.findings.kind(&section.key("model"), || json!({"type": ["string", "object"]}));
    if section.switch("default") == Some(true) {
        defaults.push(id.clone());
    }
    let agent = ConfiguredAgent {
        name: section.text("name").unwrap_or_else(|| id.clone()),
        command,
        acp,
        workspace: section.path_of("workspace").unwrap_or_else(|| config.state_dir.join("workspaces").join(&id)),
        model,
    };
    let findings = section.findings;
    section.close(Others::Ignored);
    if config.agents.insert(id.clone(), agent).is_some() {
        findings.wrong(&path, None, "is the id of an earlier agent");
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// Whether a text may be the id of an agent.
pub(crate) fn is_agent_id(id: &str) -> bool {
    is_name(id) && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}
