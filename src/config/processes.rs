//! Sections `processes` and `commands`: what may be run on this machine as a gateway, and how that is supervised.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Map, Value, ValueKind};
use gatewarden_actors::machines::process_supervision::SupervisionSettings;
use gatewarden_actors::settings::{CommandDefinition, ProcessSettings};
use gatewarden_protocol::Secret;

use super::effective::EffectiveValue;
use super::reader::{ConfigFile, Problem, Reader};
use super::table::TableReader;
use super::{DAY, HOUR, SECOND, SHORTEST};

const SECTION: &str = "commands";
const MAX_COMMANDS: usize = 256;
const MAX_ITEMS: usize = 128;

/// Section `processes`, without the commands.
pub(super) fn settings(reader: &mut Reader<'_>) -> ProcessSettings {
    let units = reader.list("processes.units", "");
    if let Some(odd) = units.iter().find(|unit| !unit.ends_with(".service")) {
        let expected = format!("must be names of units with their suffix .service; \"{odd}\" is none");
        reader.wrong("processes.units", expected);
    }
    let fraction = Duration::from_millis(100);
    ProcessSettings {
        units,
        supervision: SupervisionSettings {
            max_restarts: reader.number("processes.max_restarts", 5, 0..=1000),
            window: reader.duration("processes.window", "5m", SHORTEST..=DAY),
            backoff: reader.durations("processes.backoff", "1s,2s,4s,8s,16s,30s", SHORTEST..=HOUR, 32),
            stable_after: reader.duration("processes.stable_after", "60s", SHORTEST..=DAY),
            stop_grace: reader.duration("processes.stop_grace", "10s", fraction..=300 * SECOND),
        },
        verify_within: reader.duration("processes.verify_within", "90s", SECOND..=900 * SECOND),
        sample_interval: reader.duration("processes.sample_interval", "5s", fraction..=HOUR),
        commands: BTreeMap::new(),
    }
}

/// Every `[commands.NAME]`.
pub(super) fn commands(reader: &mut Reader<'_>) -> BTreeMap<String, CommandDefinition> {
    let ConfigFile { path: file, table } = &mut reader.file;
    let origin = file.display().to_string();
    let tables = match table.remove(SECTION).map(|value| value.kind) {
        None => BTreeMap::new(),
        Some(ValueKind::Table(tables)) => tables.into_iter().collect::<BTreeMap<String, Value>>(),
        Some(_) => {
            let expected = format!("{SECTION} must be a section: write [{SECTION}.NAME]");
            reader.problems.push(Problem::of(origin.clone(), expected));
            BTreeMap::new()
        }
    };
    let mut problem = |expected| reader.problems.push(Problem::new(origin.clone(), SECTION, expected));
    if tables.len() > MAX_COMMANDS {
        problem(format!("at most {MAX_COMMANDS} commands may be defined"));
    }
    // Whoever may write the file may run anything as the daemon's user.
    if let Some(mode) = writable_by_others(file).filter(|_| !tables.is_empty()) {
        let cure = "run chmod go-w on it";
        problem(format!("other users may write this file (mode {mode:04o}), which says what is run; {cure}"));
    }
    let names: Vec<String> = tables.keys().cloned().collect();
    let mut commands = BTreeMap::new();
    for (name, value) in tables {
        if let Some(definition) = command(&name, value, file, &mut reader.problems) {
            commands.insert(name, definition);
        }
    }
    let content: Vec<String> = commands
        .iter()
        .map(|(name, command)| {
            let env: Vec<_> = command.env.iter().map(|(name, value)| (name, value.expose())).collect();
            format!("{name} {:?} {:?} {:?} {env:?}", command.program, command.args, command.directory)
        })
        .collect();
    reader.effective.push(EffectiveValue::of_names(SECTION, &names, file, &content.join("\n")));
    commands
}

fn writable_by_others(file: &Path) -> Option<u32> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    (mode & 0o022 != 0).then_some(mode)
}

fn command(name: &str, value: Value, file: &Path, problems: &mut Vec<Problem>) -> Option<CommandDefinition> {
    let path = format!("{SECTION}.{name}");
    let legal = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '_');
    let named = (1..=64).contains(&name.len()) && name.chars().all(legal);
    let table: Map<String, Value> = match value.kind {
        ValueKind::Table(table) if named => table,
        _ => {
            let expected = if named {
                format!("this is a section: write [{path}] and its keys program, args, env, directory below it")
            } else {
                "a command's name has 1 to 64 lowercase letters, digits, \"-\" and \"_\"".to_owned()
            };
            problems.push(Problem::new(file.display().to_string(), path, expected));
            return None;
        }
    };
    let mut table = TableReader::new(path, file, table, problems);
    let program = absolute(&mut table, "program");
    let args = table.list("args", MAX_ITEMS, as_text).unwrap_or_default();
    let env = environment(&mut table);
    let directory = absolute(&mut table, "directory");
    table.refuse_unknown("a command");
    let program = match program {
        Some(program) => program?,
        None => {
            table.wrong("program", "is missing: the absolute path of the program");
            return None;
        }
    };
    Some(CommandDefinition { program, args, env, directory: directory.flatten() })
}

/// None: not there. Some(None): there, and wrong.
fn absolute(table: &mut TableReader<'_>, key: &'static str) -> Option<Option<PathBuf>> {
    Some(match table.take(key)? {
        ValueKind::String(text) if text.starts_with('/') && !text.contains('\0') => Some(PathBuf::from(text)),
        _ => {
            table.wrong(key, "must be an absolute path, such as \"/usr/bin/openclaw\"");
            None
        }
    })
}

fn environment(table: &mut TableReader<'_>) -> BTreeMap<String, Secret> {
    let Ok(variables) = table.names("env") else {
        let expected = format!("this is a section: write [{}.env] and NAME = \"value\" below it", table.path);
        table.wrong("env", expected);
        return BTreeMap::new();
    };
    let mut env = BTreeMap::new();
    for (name, value) in variables {
        let legal = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let named =
            !name.is_empty() && name.chars().all(legal) && !name.starts_with(|char: char| char.is_ascii_digit());
        match as_text(&value).filter(|_| named && !name.starts_with("GATEWARDEN_LOCAL_")) {
            Some(value) if env.len() < MAX_ITEMS => drop(env.insert(name, Secret::new(value))),
            _ => {
                let expected =
                    format!("must be the name of a variable with a text as value (at most {MAX_ITEMS} of them)");
                table.wrong(&format!("env.{name}"), expected);
            }
        }
    }
    env
}

fn as_text(value: &ValueKind) -> Option<String> {
    match value {
        ValueKind::String(text) if !text.contains('\0') => Some(text.clone()),
        ValueKind::I64(number) => Some(number.to_string()),
        ValueKind::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}
