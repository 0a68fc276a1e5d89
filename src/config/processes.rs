//! Sections `processes` and `commands`: what may be run on this machine as a gateway, and how that is supervised.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Value, ValueKind};
use gatewarden_actors::machines::process_supervision::SupervisionSettings;
use gatewarden_actors::settings::{CommandDefinition, ProcessSettings};
use gatewarden_protocol::Secret;

use super::layers::NamedSections;
use super::problem::Problem;
use super::reading::Reader;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const SHORTEST: Duration = Duration::from_millis(10);
/// Commands that may be defined.
const MAX_COMMANDS: usize = 256;
/// Arguments and variables of a command.
const MAX_ITEMS: usize = 128;
const KEYS: [&str; 4] = ["program", "args", "env", "directory"];

/// Section `processes`, together with the commands.
pub(super) fn settings(reader: &mut Reader<'_>, commands: BTreeMap<String, CommandDefinition>) -> ProcessSettings {
    let units = reader.list("processes.units");
    if let Some(odd) = units.iter().find(|unit| !unit.ends_with(".service")) {
        let odd = odd.clone();
        reader
            .wrong("processes.units", format!("must be names of units with their suffix .service; \"{odd}\" is none"));
    }
    ProcessSettings {
        commands,
        units,
        supervision: SupervisionSettings {
            max_restarts: reader.number("processes.max_restarts", 0..=1000),
            window: reader.duration("processes.window", SHORTEST..=24 * HOUR),
            backoff: reader.durations("processes.backoff", SHORTEST..=HOUR, 32),
            stable_after: reader.duration("processes.stable_after", SHORTEST..=24 * HOUR),
            stop_grace: reader.duration("processes.stop_grace", Duration::from_millis(100)..=300 * SECOND),
        },
        verify_within: reader.duration("processes.verify_within", SECOND..=900 * SECOND),
        sample_interval: reader.duration("processes.sample_interval", Duration::from_millis(100)..=HOUR),
    }
}

/// Every `[commands.NAME]`.
pub(super) fn commands(named: &NamedSections, problems: &mut Vec<Problem>) -> BTreeMap<String, CommandDefinition> {
    let Some(tables) = named.tables.get("commands").filter(|tables| !tables.is_empty()) else { return BTreeMap::new() };
    let mut notes = Notes { origin: named.origin.display().to_string(), problems };
    if tables.len() > MAX_COMMANDS {
        notes.add("commands", format!("at most {MAX_COMMANDS} commands may be defined"));
    }
    // Whoever may write the file may run anything as the daemon's user.
    if let Some(mode) = writable_by_others(&named.origin) {
        notes.add(
            "commands",
            format!("other users may write this file (mode {mode:04o}), which says what is run; run chmod go-w on it"),
        );
    }
    let mut commands = BTreeMap::new();
    for (name, value) in tables {
        if let Some(definition) = command(name, value, &mut notes) {
            commands.insert(name.clone(), definition);
        }
    }
    commands
}

struct Notes<'a> {
    origin: String,
    problems: &'a mut Vec<Problem>,
}

impl Notes<'_> {
    fn add(&mut self, key: &str, expected: String) {
        self.problems.push(Problem { origin: self.origin.clone(), key: Some(key.to_owned()), value: None, expected });
    }
}

fn writable_by_others(file: &Path) -> Option<u32> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    (mode & 0o022 != 0).then_some(mode)
}

fn command(name: &str, value: &Value, notes: &mut Notes<'_>) -> Option<CommandDefinition> {
    let path = format!("commands.{name}");
    let legal = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '_');
    if !(1..=64).contains(&name.len()) || !name.chars().all(legal) {
        notes.add(&path, "a command's name has 1 to 64 lowercase letters, digits, \"-\" and \"_\"".to_owned());
        return None;
    }
    let ValueKind::Table(table) = &value.kind else {
        notes.add(&path, format!("this is a section: write [{path}] and its keys {} below it", KEYS.join(", ")));
        return None;
    };
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        notes.add(&format!("{path}.{key}"), format!("unknown key; a command has {}", KEYS.join(", ")));
    }
    let program = absolute(&path, "program", table.get("program"), notes);
    if program.is_none() && !table.contains_key("program") {
        notes.add(&format!("{path}.program"), "is missing: the absolute path of the program".to_owned());
    }
    Some(CommandDefinition {
        args: args(&path, table.get("args"), notes),
        env: env(&path, table.get("env"), notes),
        directory: absolute(&path, "directory", table.get("directory"), notes),
        program: program?,
    })
}

fn absolute(path: &str, key: &str, value: Option<&Value>, notes: &mut Notes<'_>) -> Option<PathBuf> {
    match &value?.kind {
        ValueKind::String(text) if text.starts_with('/') && !text.contains('\0') => Some(PathBuf::from(text)),
        _ => {
            notes.add(&format!("{path}.{key}"), "must be an absolute path, such as \"/usr/bin/openclaw\"".to_owned());
            None
        }
    }
}

fn args(path: &str, value: Option<&Value>, notes: &mut Notes<'_>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let texts = match &value.kind {
        ValueKind::Array(items) if items.len() <= MAX_ITEMS => items.iter().map(text).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    texts.unwrap_or_else(|| {
        notes.add(
            &format!("{path}.args"),
            format!("must be a list of at most {MAX_ITEMS} texts, one for each argument"),
        );
        Vec::new()
    })
}

fn env(path: &str, value: Option<&Value>, notes: &mut Notes<'_>) -> BTreeMap<String, Secret> {
    let Some(value) = value else { return BTreeMap::new() };
    let ValueKind::Table(table) = &value.kind else {
        notes.add(
            &format!("{path}.env"),
            format!("this is a section: write [{path}.env] and NAME = \"value\" below it"),
        );
        return BTreeMap::new();
    };
    let mut env = BTreeMap::new();
    for (name, value) in table {
        let legal = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let named =
            !name.is_empty() && name.chars().all(legal) && !name.starts_with(|char: char| char.is_ascii_digit());
        match text(value).filter(|_| named && !name.starts_with("GATEWARDEN_LOCAL_")) {
            Some(value) if env.len() < MAX_ITEMS => {
                env.insert(name.clone(), Secret::new(value));
            }
            _ => notes.add(
                &format!("{path}.env.{name}"),
                format!("must be the name of a variable with a text as value (at most {MAX_ITEMS} of them)"),
            ),
        }
    }
    env
}

fn text(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) if !text.contains('\0') => Some(text.clone()),
        ValueKind::I64(number) => Some(number.to_string()),
        ValueKind::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}
