//! Gathering of settings: each key's winning value and where it came from.
//!
//! Later wins: defaults, file, environment (older names, then `GATEWARDEN_*`), flags. Secrets are the exception: a systemd
//! credential comes first, then a file, then the environment, because every child process inherits the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat, Source, Value, ValueKind};

use super::keys::{self, KEYS};
use super::notifications::{self, Written};
use super::problem::Problem;
use super::secrets;
use crate::cli::CLIENT_VARIABLES;

/// Where the file is looked for unless `--config` names one.
pub const DEFAULT_FILE: &str = "/etc/gatewarden/gatewarden.toml";

/// A configuration file is at most this long.
const MAX_FILE: u64 = 1024 * 1024;

/// Everything that the configuration is made of. Tests fill it in by hand.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// `--config`: must exist. Without it [`DEFAULT_FILE`] is read where it exists.
    pub config_file: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// The process's environment.
    pub environment: BTreeMap<String, OsString>,
}

impl Inputs {
    /// The environment of this process; names that aren't Unicode can't be ours.
    pub fn of_process() -> Self {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        Self { environment, ..Self::default() }
    }

    /// A variable, where it is set, not empty and Unicode.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name)?.to_str().filter(|value| !value.is_empty())
    }
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    /// A text, from anywhere.
    Text(String),
    /// A number of a file.
    Number(String),
    /// A switch of a file.
    Switch(bool),
    /// A list of a file.
    List(Vec<String>),
    /// A table, a list of tables or nothing, where a value belongs.
    Unusable,
}

/// The winning value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) raw: Raw,
    /// `default`, a file, `$NAME`, a flag.
    pub(crate) origin: String,
}

/// Winning values by path.
pub(crate) type Settings = BTreeMap<&'static str, Setting>;

/// Sections of the file whose keys are names that its writer chose. They have no place in the environment and on the command
/// line: only the file defines them.
pub(crate) const NAMED_SECTIONS: [&str; 1] = ["commands"];

/// Named sections as they were written, each by its own name, and the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct NamedSections {
    pub(crate) origin: PathBuf,
    pub(crate) tables: BTreeMap<&'static str, BTreeMap<String, Value>>,
}

/// Gathers all layers, and beside them the list of notifications and the sections of names. What can't be read or isn't known is
/// said in `problems`.
pub(crate) fn gather(inputs: &Inputs, problems: &mut Vec<Problem>) -> (Settings, Written, NamedSections) {
    let mut settings = Settings::new();
    for key in KEYS {
        if let Some(default) = key.default {
            put(&mut settings, key.path, Raw::Text(default.to_owned()), "default");
        }
    }
    if let Some((dir, origin)) = default_state_dir(inputs) {
        put(&mut settings, "state_dir", Raw::Text(dir), &origin);
    }
    let from_environment = environment(inputs, problems);
    let is_secret = |path: &str| keys::find(path).is_some_and(|key| key.secret);
    let (secret, plain): (Vec<_>, Vec<_>) = from_environment.into_iter().partition(|(path, ..)| is_secret(path));
    for (path, raw, origin) in secret {
        put(&mut settings, path, raw, &origin);
    }
    let (notifications, named) = file(inputs, &mut settings, problems);
    for (path, raw, origin) in plain {
        put(&mut settings, path, raw, &origin);
    }
    if let Some(listen) = &inputs.listen {
        put(&mut settings, "http.listen", Raw::Text(listen.clone()), "--listen");
    }
    if let Some(dir) = &inputs.state_dir {
        put(&mut settings, "state_dir", Raw::Text(dir.display().to_string()), "--state-dir");
    }
    secrets::put_files(inputs, &mut settings, problems);
    (settings, notifications, named)
}

pub(crate) fn put(settings: &mut Settings, path: &'static str, raw: Raw, origin: &str) {
    settings.insert(path, Setting { raw, origin: origin.to_owned() });
}

fn default_state_dir(inputs: &Inputs) -> Option<(String, String)> {
    if let Some(dirs) = inputs.variable("STATE_DIRECTORY") {
        // systemd gives a list where a unit has several; ours has one.
        let first = dirs.split(':').next().unwrap_or(dirs);
        return Some((first.to_owned(), "$STATE_DIRECTORY".to_owned()));
    }
    if let Some(home) = inputs.variable("XDG_STATE_HOME").filter(|home| home.starts_with('/')) {
        return Some((format!("{home}/gatewarden"), "default ($XDG_STATE_HOME)".to_owned()));
    }
    let home = inputs.variable("HOME").filter(|home| home.starts_with('/'))?;
    Some((format!("{}/.local/state/gatewarden", home.trim_end_matches('/')), "default ($HOME)".to_owned()))
}

/// Older names first, so that `GATEWARDEN_*` wins.
fn environment(inputs: &Inputs, problems: &mut Vec<Problem>) -> Vec<(&'static str, Raw, String)> {
    let mut found = Vec::new();
    for key in KEYS {
        let legacy = key.legacy.iter().find_map(|name| Some((*name, inputs.variable(name)?)));
        match legacy {
            Some(("MC_DISABLE_RATE_LIMIT", value)) => {
                let disabled = ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str());
                if disabled {
                    found.push((key.path, Raw::Switch(false), "$MC_DISABLE_RATE_LIMIT".to_owned()));
                }
            }
            Some((name, value)) => found.push((key.path, Raw::Text(value.to_owned()), format!("${name}"))),
            None => {}
        }
    }
    // The prefix separator must be given: with a separator of its own the crate would take that one for both.
    let ours = Environment::with_prefix("GATEWARDEN").prefix_separator("_").separator("__").source(Some(
        inputs
            .environment
            .iter()
            .filter(|(name, _)| name.starts_with("GATEWARDEN_") && !CLIENT_VARIABLES.contains(&name.as_str()))
            // Secrets of destinations have no fixed names.
            .filter(|(name, _)| !name.starts_with(notifications::VARIABLE_PREFIX))
            .filter_map(|(name, value)| match value.to_str() {
                Some(value) => Some((name.clone(), value.to_owned())),
                None => {
                    problems.push(not_unicode(name));
                    None
                }
            })
            .collect(),
    ));
    let values = match ours.collect() {
        Ok(values) => values,
        Err(error) => {
            problems.push(Problem {
                origin: "the environment".to_owned(),
                key: None,
                value: None,
                expected: error.to_string(),
            });
            return found;
        }
    };
    // Sorted, so that problems come in the same order each time.
    for (path, value) in values.into_iter().collect::<BTreeMap<_, _>>() {
        let variable = keys::variable_of(&path);
        match keys::find(&path) {
            Some(key) => found.push((key.path, raw_of(value), format!("${variable}"))),
            None if path == "config" => {
                // The file's place is a flag, so that nothing hidden decides which file counts.
                problems.push(unknown(&format!("${variable}"), "use `--config FILE` to name the file".to_owned()));
            }
            None => {
                let advice = match keys::closest(&path) {
                    Some(meant) => format!("unknown setting; did you mean {}?", meant.variable()),
                    None => "unknown setting; `gatewarden config check` lists all keys".to_owned(),
                };
                problems.push(unknown(&format!("${variable}"), advice));
            }
        }
    }
    found
}

fn unknown(origin: &str, expected: String) -> Problem {
    Problem { origin: origin.to_owned(), key: None, value: None, expected }
}

fn not_unicode(name: &str) -> Problem {
    unknown(&format!("${name}"), "the value is not valid UTF-8".to_owned())
}

fn file(inputs: &Inputs, settings: &mut Settings, problems: &mut Vec<Problem>) -> (Written, NamedSections) {
    let named = inputs.config_file.as_deref();
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let origin = path.display().to_string();
    let mut sections = NamedSections { origin: path.to_owned(), tables: BTreeMap::new() };
    let mut problem = |expected: String| problems.push(unknown(&origin, expected));
    let text = match read_file(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return (Written::default(), sections);
        }
        Err(error) => {
            problem(format!("the configuration file cannot be read: {error}"));
            return (Written::default(), sections);
        }
    };
    let mut table = match File::from_str(&text, FileFormat::Toml).collect() {
        Ok(table) => table,
        Err(error) => {
            problem(format!("not a valid TOML file: {}", error.to_string().trim_end()));
            return (Written::default(), sections);
        }
    };
    let written = Written { value: table.remove(notifications::LIST), file: path.to_owned() };
    for section in NAMED_SECTIONS {
        match table.remove(section).map(|value| value.kind) {
            None => {}
            Some(ValueKind::Table(entries)) => {
                sections.tables.insert(section, entries.into_iter().collect());
            }
            Some(_) => problem(format!("{section} must be a section: write [{section}.NAME]")),
        }
    }
    let mut flat = BTreeMap::new();
    flatten("", Value::from(table), &mut flat);
    for (path_in_file, raw) in flat {
        match keys::find(&path_in_file) {
            Some(key) => {
                if key.secret
                    && let Err(problem) = secrets::must_be_private(path, key.path)
                {
                    problems.push(problem);
                }
                put(settings, key.path, raw, &origin);
            }
            None => {
                let expected = unknown_key(&path_in_file);
                problems.push(Problem { origin: origin.clone(), key: Some(path_in_file), value: None, expected });
            }
        }
    }
    (written, sections)
}

fn unknown_key(path: &str) -> String {
    if is_section(path) {
        return format!("this is a section; write its keys below a line [{path}]");
    }
    match keys::closest(path) {
        Some(meant) => format!("unknown key; did you mean {}?", meant.path),
        None => "unknown key; `gatewarden config check` lists all keys".to_owned(),
    }
}

/// Reads a file of settings, up to a size that no such file has.
pub(crate) fn read_file(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

fn flatten(prefix: &str, value: Value, flat: &mut BTreeMap<String, Raw>) {
    if let ValueKind::Table(table) = value.kind.clone()
        && (keys::find(prefix).is_none() && !table.is_empty())
    {
        for (name, inner) in table {
            let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            flatten(&path, inner, flat);
        }
    } else if !(prefix.is_empty() || is_empty_section(prefix, &value)) {
        flat.insert(prefix.to_owned(), raw_of(value));
    }
}

/// `[gateway]` without anything in it is no mistake.
fn is_empty_section(prefix: &str, value: &Value) -> bool {
    matches!(&value.kind, ValueKind::Table(table) if table.is_empty()) && is_section(prefix)
}

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn raw_of(value: Value) -> Raw {
    match value.kind {
        ValueKind::String(text) => Raw::Text(text),
        ValueKind::Boolean(switch) => Raw::Switch(switch),
        ValueKind::I64(number) => Raw::Number(number.to_string()),
        ValueKind::U64(number) => Raw::Number(number.to_string()),
        ValueKind::I128(number) => Raw::Number(number.to_string()),
        ValueKind::U128(number) => Raw::Number(number.to_string()),
        ValueKind::Float(number) => Raw::Number(number.to_string()),
        ValueKind::Array(items) => {
            let mut texts = Vec::with_capacity(items.len());
            for item in items {
                match raw_of(item) {
                    Raw::Text(text) | Raw::Number(text) => texts.push(text),
                    Raw::Switch(_) | Raw::List(_) | Raw::Unusable => return Raw::Unusable,
                }
            }
            Raw::List(texts)
        }
        ValueKind::Table(_) | ValueKind::Nil => Raw::Unusable,
    }
}

/// A value with all that is in it, in one order: to tell whether it changed.
pub(crate) fn as_text(name: &str, value: &Value) -> String {
    match &value.kind {
        ValueKind::Table(table) => {
            let sorted: BTreeMap<_, _> = table.iter().collect();
            let inner: Vec<String> = sorted.into_iter().map(|(name, value)| as_text(name, value)).collect();
            format!("{name:?}:{{{}}}", inner.join(","))
        }
        ValueKind::Array(items) => {
            format!("{name:?}:[{}]", items.iter().map(|item| as_text("", item)).collect::<Vec<_>>().join(","))
        }
        other => format!("{name:?}:{other:?}"),
    }
}
