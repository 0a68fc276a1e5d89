//! Reading of settings: where a value is looked for, how it is checked, and everything that is wrong with it.
//!
//! A setting is declared where it is read, with its default and its range; what was written and has been read by nobody is unknown.
//! Later layers win: default, file, environment (older names, then `GATEWARDEN_*`), flags. Secrets are the exception: a systemd
//! credential comes first, then a file of their own, then the configuration file, and the environment last, because every child
//! process inherits that.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Environment, File, FileFormat, Map, Source, Value, ValueKind};
use gatewarden_actors::processes::TAG_VARIABLE;
use gatewarden_embedded_gateway::processes::PROGRAM_VARIABLES;
use gatewarden_protocol::Secret;

use super::effective::EffectiveValue;
use super::units;
use super::value::{DEFAULT, Raw, Setting};

/// Where the file is looked for unless `--config` names one.
pub(crate) const DEFAULT_FILE: &str = "/etc/gatewarden/gatewarden.toml";
/// Variables for the commands that talk to a daemon: where it is, and the key that it is shown. The daemon passes them over.
pub(crate) const URL_VARIABLE: &str = "GATEWARDEN_URL";
pub(crate) const API_KEY_VARIABLE: &str = "GATEWARDEN_API_KEY";
/// Environment variables that hold a destination's secret begin so: their names depend on the file.
pub(super) const NOTIFICATION_VARIABLE: &str = "GATEWARDEN_NOTIFICATION_";

/// Longest file of settings, and longest secret, bytes.
const MAX_FILE: u64 = 1024 * 1024;
const MAX_SECRET: u64 = 4096;

/// Everything that the configuration is made of. Tests fill it in by hand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// `--config`: must exist. Without it [`DEFAULT_FILE`] is read where it exists.
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) listen: Option<String>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) environment: BTreeMap<String, OsString>,
}

impl Inputs {
    /// The environment of this process; names that aren't Unicode can't be ours.
    pub(crate) fn of_process() -> Self {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        Self { environment, ..Self::default() }
    }

    /// A variable, where it is set, not empty and Unicode.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// Where systemd put this service's credentials.
    pub(super) fn credentials_dir(&self) -> Option<PathBuf> {
        self.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from)
    }

    fn flag(&self, path: &str) -> Option<Setting> {
        match path {
            "http.listen" => self.listen.as_ref().map(|listen| Setting::text(listen, "--listen")),
            "state_dir" => self.state_dir.as_ref().map(|dir| Setting::text(dir.display().to_string(), "--state-dir")),
            _ => None,
        }
    }
}

/// One wrong setting, said so that it can be put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stands: a file, an environment variable, a flag.
    pub(crate) origin: String,
    pub(crate) key: Option<String>,
    /// The offending value; none for a secret.
    pub(crate) value: Option<String>,
    pub(crate) expected: String,
}

impl Problem {
    pub(super) fn new(origin: impl Into<String>, key: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..Self::of(origin, expected) }
    }

    /// About a file or a variable as a whole.
    pub(super) fn of(origin: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { origin: origin.into(), key: None, value: None, expected: expected.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key} = {value:?}: ")?,
            (Some(key), None) => write!(f, "{key}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.expected)
    }
}

/// A configuration that can't be used: everything that is wrong with it, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// At least one.
    pub(crate) problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The configuration cannot be used:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// A setting's name in the file, and the environment variables of other programs that set it too; the first that is set wins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    path: &'static str,
    older: &'static [&'static str],
}

impl From<&'static str> for Key {
    fn from(path: &'static str) -> Self {
        Self { path, older: &[] }
    }
}

pub(super) const fn or(path: &'static str, older: &'static [&'static str]) -> Key {
    Key { path, older }
}

/// `GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL` for `gateway.heartbeat_interval`.
fn variable_of(path: &str) -> String {
    format!("GATEWARDEN_{}", path.replace('.', "__").to_uppercase())
}

/// The configuration file: what nobody has read of it yet.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) table: Map<String, Value>,
}

/// Reads settings. A wrong value is noted and replaced by one that is never used: a configuration with problems is not handed out.
pub(super) struct Reader<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) file: ConfigFile,
    /// What nobody has read yet, by path.
    environment: BTreeMap<String, Value>,
    /// What was read, in this order.
    pub(super) effective: Vec<EffectiveValue>,
    pub(super) problems: Vec<Problem>,
    /// What is odd and no reason not to start.
    pub(super) warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(inputs: &'a Inputs) -> Self {
        let mut problems = Vec::new();
        Self {
            inputs,
            file: open_file(inputs, &mut problems),
            environment: environment(inputs, &mut problems),
            effective: Vec::new(),
            problems,
            warnings: Vec::new(),
        }
    }

    /// The value that counts of those that were written. Every layer is asked: what is left in the end is unknown.
    fn written(&mut self, key: Key) -> [Option<Setting>; 3] {
        let origin = self.file.path.display().to_string();
        let file = remove(&mut self.file.table, key.path).map(|value| Setting { raw: value.into(), origin });
        let ours = self.environment.remove(key.path);
        let ours = ours.map(|value| Setting { raw: value.into(), origin: format!("${}", variable_of(key.path)) });
        let older = key.older.iter().find_map(|name| Some((*name, self.inputs.variable(name)?)));
        let older = older.and_then(|(name, value)| match name {
            // The one variable that means the opposite of its setting.
            "MC_DISABLE_RATE_LIMIT" => ["1", "true", "yes", "on"]
                .contains(&value.to_ascii_lowercase().as_str())
                .then(|| Setting { raw: Raw::Switch(false), origin: format!("${name}") }),
            _ => Some(Setting::text(value, format!("${name}"))),
        });
        [self.inputs.flag(key.path), ours.or(older), file]
    }

    /// The value that counts, remembered with its origin.
    pub(super) fn take(&mut self, key: impl Into<Key>, default: Option<Setting>) -> Option<Raw> {
        let key = key.into();
        let [flag, environment, file] = self.written(key);
        let setting = flag.or(environment).or(file).or(default);
        self.effective.push(EffectiveValue::of(key.path, setting.as_ref(), false));
        setting.map(|setting| setting.raw)
    }

    fn take_or(&mut self, key: Key, default: impl Into<String>) -> Raw {
        self.take(key, Some(Setting::text(default, DEFAULT))).unwrap_or(Raw::Unusable)
    }

    /// A secret and the setting that names its file.
    pub(super) fn secret(&mut self, key: Key, file_key: &'static str, credential: &str) -> Option<Secret> {
        self.secret_where(key, file_key, credential, None, |_| true)
    }

    /// The same of what may be a secret or not; with a default, which is none.
    pub(super) fn secret_where(
        &mut self,
        key: Key,
        file_key: &'static str,
        credential: &str,
        default: Option<Setting>,
        is_secret: fn(&str) -> bool,
    ) -> Option<Secret> {
        let [_, environment, file] = self.written(key);
        if file.as_ref().is_some_and(|setting| setting.raw.as_text().is_none_or(is_secret)) {
            self.problems.extend(must_be_private(&self.file.path, key.path).err());
        }
        let mut setting = file.or(environment);
        let [_, environment, file] = self.written(file_key.into());
        let file_setting = environment.or(file);
        let named = file_setting.as_ref().and_then(|setting| setting.raw.as_text()).filter(|file| !file.is_empty());
        if let Some(file) = named.map(Path::new) {
            match must_be_private(file, key.path).and_then(|()| read_secret(file, key.path)) {
                Ok(text) => setting = Some(Setting::text(text, file.display().to_string())),
                Err(problem) => self.problems.push(problem),
            }
        }
        // systemd has already made it readable for this service alone.
        let credential_file = self.inputs.credentials_dir().map(|dir| dir.join(credential));
        if let Some(file) = credential_file.filter(|file| file.exists()) {
            match read_secret(&file, key.path) {
                Ok(text) => setting = Some(Setting::text(text, format!("systemd credential {credential}"))),
                Err(problem) => self.problems.push(problem),
            }
        }
        let setting = setting.or(default);
        let hidden = setting.as_ref().is_some_and(|setting| setting.raw.as_text().is_none_or(is_secret));
        self.effective.push(EffectiveValue::of(key.path, setting.as_ref(), hidden));
        self.effective.push(EffectiveValue::of(file_key, file_setting.as_ref(), false));
        setting.and_then(|setting| self.as_text(key.path, setting.raw)).map(Secret::new)
    }

    fn as_text(&mut self, path: &str, raw: Raw) -> Option<String> {
        match raw {
            Raw::Text(text) | Raw::Number(text) => Some(text).filter(|text| !text.is_empty()),
            Raw::Switch(_) | Raw::List(_) | Raw::Unusable => {
                self.wrong(path, "must be a text");
                None
            }
        }
    }

    /// A text that may stay unset.
    pub(super) fn optional_text(&mut self, key: impl Into<Key>) -> Option<String> {
        let key = key.into();
        let raw = self.take(key, None)?;
        self.as_text(key.path, raw)
    }

    pub(super) fn text(&mut self, key: impl Into<Key>, default: &'static str) -> String {
        let key = key.into();
        let raw = self.take_or(key, default);
        self.as_text(key.path, raw).unwrap_or_else(|| {
            self.wrong(key.path, "must not be empty");
            String::new()
        })
    }

    /// A value that one of our types reads.
    pub(super) fn parsed<T>(
        &mut self,
        key: impl Into<Key>,
        default: &'static str,
        fallback: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let key = key.into();
        let text = self.text(key, default);
        if text.is_empty() {
            return fallback;
        }
        let parsed = parse(&text);
        self.or_wrong(key.path, parsed, fallback)
    }

    /// What was read, or something that is never used.
    fn or_wrong<T>(&mut self, path: &str, read: Result<T, String>, fallback: T) -> T {
        read.unwrap_or_else(|expected| {
            self.wrong(path, expected);
            fallback
        })
    }

    pub(super) fn switch(&mut self, key: impl Into<Key>, default: bool) -> bool {
        let key = key.into();
        let read = match self.take_or(key, default.to_string()) {
            Raw::Switch(switch) => Some(switch),
            Raw::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        self.or_wrong(key.path, read.ok_or_else(|| "must be true or false".to_owned()), false)
    }

    pub(super) fn number(&mut self, key: impl Into<Key>, default: u32, range: RangeInclusive<u32>) -> u32 {
        let key = key.into();
        let read = match self.take_or(key, default.to_string()) {
            Raw::Text(text) | Raw::Number(text) => text.trim().parse().ok(),
            _ => None,
        };
        let read = read.filter(|number| range.contains(number));
        let expected = || format!("must be a whole number from {} to {}", range.start(), range.end());
        self.or_wrong(key.path, read.ok_or_else(expected), *range.start())
    }

    pub(super) fn count(&mut self, key: impl Into<Key>, default: u32, range: RangeInclusive<u32>) -> usize {
        usize::try_from(self.number(key, default, range)).unwrap_or(usize::MAX)
    }

    pub(super) fn positive(&mut self, key: impl Into<Key>, default: u32, max: u32) -> NonZeroU32 {
        NonZeroU32::new(self.number(key, default, 1..=max)).unwrap_or(NonZeroU32::MIN)
    }

    pub(super) fn duration(
        &mut self,
        key: impl Into<Key>,
        default: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let key = key.into();
        let raw = self.take_or(key, default);
        self.or_wrong(key.path, units::duration_in(raw.as_text(), &range), *range.start())
    }

    pub(super) fn bytes(&mut self, path: &'static str, default: &'static str, range: RangeInclusive<usize>) -> usize {
        let raw = self.take_or(path.into(), default);
        let read = raw.as_text().and_then(units::parse_size).filter(|read| range.contains(read));
        let expected = || {
            let (least, most) = (units::show_size(*range.start()), units::show_size(*range.end()));
            format!("must be a size such as 64MiB, from {least} to {most}")
        };
        self.or_wrong(path, read.ok_or_else(expected), *range.start())
    }

    /// A list of 1 to `most` durations.
    pub(super) fn durations(
        &mut self,
        path: &'static str,
        default: &'static str,
        range: RangeInclusive<Duration>,
        most: usize,
    ) -> Vec<Duration> {
        let items = self.list(path, default);
        let read: Option<Vec<_>> =
            items.iter().map(|item| units::parse_duration(item).filter(|read| range.contains(read))).collect();
        let read = read.filter(|read| (1..=most).contains(&read.len()));
        let expected =
            || format!("must be a list of 1 to {most} durations such as 1s,2s,4s; each {}", units::between(&range));
        self.or_wrong(path, read.ok_or_else(expected), Vec::new())
    }

    /// A list of texts: a list in the file, or one text with commas.
    pub(super) fn list(&mut self, key: impl Into<Key>, default: &'static str) -> Vec<String> {
        let key = key.into();
        let items: Vec<String> = match self.take_or(key, default) {
            Raw::List(items) => items,
            Raw::Text(text) => text.split(',').map(str::to_owned).collect(),
            Raw::Number(text) => vec![text],
            Raw::Switch(_) | Raw::Unusable => {
                self.wrong(key.path, "must be a list of texts");
                Vec::new()
            }
        };
        items.into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    }

    fn read(&self, path: &str) -> Option<&EffectiveValue> {
        self.effective.iter().find(|value| value.path == path)
    }

    /// Where a value came from that was read.
    pub(super) fn origin(&self, path: &str) -> &str {
        self.read(path).map_or(DEFAULT, |value| &value.origin)
    }

    /// Whether somebody set a value that was read.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.origin(path) != DEFAULT
    }

    /// Notes a wrong value, once a key.
    pub(super) fn wrong(&mut self, path: &str, expected: impl Into<String>) {
        if self.problems.iter().any(|problem| problem.key.as_deref() == Some(path)) {
            return;
        }
        let value = self.read(path).and_then(EffectiveValue::shown);
        self.problems.push(Problem { value, ..Problem::new(self.origin(path), path, expected) });
    }

    /// Notes what was written and read by nobody.
    pub(super) fn refuse_unknown(&mut self) {
        for path in std::mem::take(&mut self.environment).into_keys() {
            let advice = match self.closest(&path) {
                // The file's place is a flag, so that nothing hidden decides which file counts.
                _ if path == "config" => "use `--config FILE` to name the file".to_owned(),
                Some(meant) => format!("unknown setting; did you mean {}?", variable_of(meant)),
                None => "unknown setting; `gatewarden config check` lists all keys".to_owned(),
            };
            self.problems.push(Problem::of(format!("${}", variable_of(&path)), advice));
        }
        let mut unknown = Vec::new();
        self.collect_unknown("", &self.file.table, &mut unknown);
        unknown.sort();
        for path in unknown {
            let expected = if self.is_section(&path) {
                format!("this is a section; write its keys below a line [{path}]")
            } else {
                match self.closest(&path) {
                    Some(meant) => format!("unknown key; did you mean {meant}?"),
                    None => "unknown key; `gatewarden config check` lists all keys".to_owned(),
                }
            };
            self.problems.push(Problem::new(self.file.path.display().to_string(), path, expected));
        }
    }

    fn collect_unknown(&self, prefix: &str, table: &Map<String, Value>, unknown: &mut Vec<String>) {
        for (name, value) in table {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match &value.kind {
                ValueKind::Table(inner) if !inner.is_empty() => self.collect_unknown(&path, inner, unknown),
                // `[gateway]` without anything in it, or with nothing left to read, is no mistake.
                ValueKind::Table(_) if self.is_section(&path) => {}
                _ => unknown.push(path),
            }
        }
    }

    fn is_section(&self, path: &str) -> bool {
        self.effective.iter().any(|value| value.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
    }

    fn closest(&self, path: &str) -> Option<&'static str> {
        let name_of = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let wanted = name_of(path);
        let known = self.effective.iter().map(|value| value.path);
        let distances = known.filter_map(|known| {
            let most = 2 + known.len() / 12;
            // The right name in a wrong section, or in none, is as close as a slip of one letter.
            let name_alone = slips(&wanted, &name_of(known), most - 1).map(|distance| distance + 1);
            let whole = slips(path, known, most);
            Some((whole.into_iter().chain(name_alone).min()?, known))
        });
        distances.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
    }
}

/// How many slips of a letter are between two names; none when there are more than `most`. What takes time with the product of both
/// lengths isn't done for a giant name.
pub(super) fn slips(one: &str, other: &str, most: usize) -> Option<usize> {
    let near = one.len().abs_diff(other.len()) <= most;
    near.then(|| strsim::damerau_levenshtein(one, other)).filter(|distance| *distance <= most)
}

/// Takes `section.name` out of a table of sections.
fn remove(table: &mut Map<String, Value>, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => table.remove(path),
        Some((section, rest)) => match &mut table.get_mut(section)?.kind {
            ValueKind::Table(inner) => remove(inner, rest),
            _ => None,
        },
    }
}

fn open_file(inputs: &Inputs, problems: &mut Vec<Problem>) -> ConfigFile {
    let named = inputs.config_file.as_deref();
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE)).to_owned();
    let read = match read_file(&path) {
        Ok(text) => File::from_str(&text, FileFormat::Toml)
            .collect()
            .map_err(|error| format!("not a valid TOML file: {}", without_source(&error.to_string()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(Map::new()),
        Err(error) => Err(format!("the configuration file cannot be read: {error}")),
    };
    let table = read.unwrap_or_else(|expected| {
        problems.push(Problem::of(path.display().to_string(), expected));
        Map::new()
    });
    ConfigFile { path, table }
}

/// An error without the lines that it shows of its source: there may be a secret in them.
fn without_source(error: &str) -> String {
    let is_source = |line: &&str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    error.lines().filter(|line| !is_source(line)).map(str::trim).collect::<Vec<_>>().join(": ")
}

/// Variables of ours by path; those of destinations have no fixed names.
fn environment(inputs: &Inputs, problems: &mut Vec<Problem>) -> BTreeMap<String, Value> {
    // A command that runs within a local gateway, or as an agent of the embedded one, inherits the marks of its process.
    let passed_over = |name: &str| {
        [URL_VARIABLE, API_KEY_VARIABLE, TAG_VARIABLE].contains(&name) || PROGRAM_VARIABLES.contains(&name)
    };
    let ours = inputs.environment.iter().filter(|(name, _)| {
        name.starts_with("GATEWARDEN_") && !name.starts_with(NOTIFICATION_VARIABLE) && !passed_over(name)
    });
    let mut source = Map::new();
    for (name, value) in ours {
        match value.to_str() {
            Some(value) => drop(source.insert(name.clone(), value.to_owned())),
            None => problems.push(Problem::of(format!("${name}"), "the value is not valid UTF-8")),
        }
    }
    // The prefix separator must be given: with a separator of its own the crate would take that one for both.
    let layer = Environment::with_prefix("GATEWARDEN").prefix_separator("_").separator("__").source(Some(source));
    match layer.collect() {
        Ok(values) => values.into_iter().collect(),
        Err(error) => {
            problems.push(Problem::of("the environment", error.to_string()));
            BTreeMap::new()
        }
    }
}

/// A file of settings, up to a size that no such file has.
pub(super) fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// A file with a secret must be readable by its owner alone.
pub(crate) fn must_be_private(file: &Path, key: &str) -> Result<(), Problem> {
    let Ok(metadata) = std::fs::metadata(file) else { return Ok(()) };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let expected = format!(
        "other users may read this secret (mode {mode:04o}); run chmod 600 on the file, or pass the secret as a systemd \
         credential"
    );
    Err(Problem::new(file.display().to_string(), key, expected))
}

/// The secret in a file, without the line's end.
pub(super) fn read_secret(file: &Path, key: &str) -> Result<String, Problem> {
    let problem = |expected: String| Problem::new(file.display().to_string(), key, expected);
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_SECRET).read_to_string(&mut text))
        .map_err(|error| problem(format!("the secret cannot be read: {error}")))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(problem("the file is empty; put the secret into it, or take the file away".to_owned()));
    }
    Ok(secret.to_owned())
}
