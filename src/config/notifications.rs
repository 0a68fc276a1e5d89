//! `[[notifications]]`: destinations of notifications. A list of tables, so it stands beside the table of single keys.
//!
//! Secrets are looked for as elsewhere: the systemd credential `notification_<name>`, then `secret_file`, then the environment
//! (`GATEWARDEN_NOTIFICATION_<NAME>_SECRET`), then `secret` in a file that nobody else may read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Value, ValueKind};
use gatewarden_actors::gateway_record::TlsTrust;
use gatewarden_actors::machines::notification::{Condition, WatchSettings};
use gatewarden_actors::notifier::destination::{Destination, MOST_DESTINATIONS, WebhookUrl};
use gatewarden_protocol::Secret;
use sha2::{Digest as _, Sha256};

use super::duration;
use super::layers::{Inputs, read_file};
use super::problem::Problem;
use super::secrets;

/// The name of the list in the file.
pub(super) const LIST: &str = "notifications";

/// Environment variables that hold a destination's secret begin so, and end in [`VARIABLE_END`].
pub(super) const VARIABLE_PREFIX: &str = "GATEWARDEN_NOTIFICATION_";
const VARIABLE_END: &str = "_SECRET";

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Names of gateways, and labels, of one destination.
const MOST_NAMES: usize = 1_000;

/// The keys of a destination.
pub(super) const KEYS: [&str; 14] = [
    "name",
    "url",
    "url_file",
    "secret",
    "secret_file",
    "ca_file",
    "kinds",
    "gateways",
    "labels",
    "after",
    "remind_every",
    "give_up_after",
    "timeout",
    "enabled",
];

/// The list as it was written, and where.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    pub(super) value: Option<Value>,
    pub(super) file: PathBuf,
}

/// Everything about notifications that the configuration says.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) destinations: Vec<Destination>,
    pub(super) warnings: Vec<String>,
    /// The destinations' names, for people.
    pub(super) shown: String,
    /// Tells whether anything changed, secrets included.
    pub(super) fingerprint: [u8; 32],
}

/// Reads and checks the list.
pub(super) fn read(inputs: &Inputs, written: &Written, problems: &mut Vec<Problem>) -> Read {
    let mut result = Read::default();
    let mut variables: BTreeSet<&String> =
        inputs.environment.keys().filter(|name| name.starts_with(VARIABLE_PREFIX)).collect();
    let Some(value) = &written.value else {
        problems.extend(variables.into_iter().map(|name| unknown_variable(name)));
        return result;
    };
    let origin = written.file.display().to_string();
    let ValueKind::Array(tables) = &value.kind else {
        problems.push(problem(&origin, LIST, "must be a list: write each destination below a line [[notifications]]"));
        return result;
    };
    if tables.len() > MOST_DESTINATIONS {
        problems.push(problem(&origin, LIST, format!("must be at most {MOST_DESTINATIONS} destinations")));
        return result;
    }
    let mut hash = Sha256::new();
    let mut names = BTreeSet::new();
    for (index, table) in tables.iter().enumerate() {
        let mut table = Table::new(index, table, inputs, written, problems);
        let is_enabled = table.switch("enabled", true);
        let Some(destination) = table.destination() else { continue };
        hash.update(format!("{is_enabled} {destination:?}").as_bytes());
        hash.update(table.hidden.as_bytes());
        result.warnings.append(&mut table.warnings);
        if !names.insert(destination.name.clone()) {
            table.wrong("name", format!("\"{}\" is the name of two destinations", destination.name));
        }
        if is_enabled {
            result.destinations.push(destination);
        }
    }
    variables.retain(|variable| !names.iter().any(|name| variable_of(name) == **variable));
    problems.extend(variables.into_iter().map(|name| unknown_variable(name)));
    result.shown = names.into_iter().collect::<Vec<_>>().join(",");
    result.fingerprint = hash.finalize().into();
    result
}

fn problem(origin: &str, key: &str, expected: impl Into<String>) -> Problem {
    Problem { origin: origin.to_owned(), key: Some(key.to_owned()), value: None, expected: expected.into() }
}

/// The environment variable with a destination's secret.
fn variable_of(name: &str) -> String {
    format!("{VARIABLE_PREFIX}{}{VARIABLE_END}", name.replace('-', "_").to_uppercase())
}

fn unknown_variable(name: &str) -> Problem {
    Problem {
        origin: format!("${name}"),
        key: None,
        value: None,
        expected: format!(
            "no destination of that name; {VARIABLE_PREFIX}OPS{VARIABLE_END} is the secret of [[notifications]] name = \"ops\""
        ),
    }
}

/// One destination's table, while it is read.
struct Table<'a> {
    keys: BTreeMap<String, ValueKind>,
    /// `notifications.ops`, or `notifications[0]` while it has no name.
    path: String,
    origin: String,
    file: &'a Path,
    inputs: &'a Inputs,
    problems: &'a mut Vec<Problem>,
    warnings: Vec<String>,
    failed: bool,
    /// What a fingerprint must see and nobody else.
    hidden: String,
}

impl<'a> Table<'a> {
    fn new(
        index: usize,
        table: &Value,
        inputs: &'a Inputs,
        written: &'a Written,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        let keys: BTreeMap<String, ValueKind> = match &table.kind {
            ValueKind::Table(table) => table.iter().map(|(key, value)| (key.clone(), value.kind.clone())).collect(),
            _ => BTreeMap::new(),
        };
        let mut this = Self {
            keys,
            path: format!("{LIST}[{index}]"),
            origin: written.file.display().to_string(),
            file: &written.file,
            inputs,
            problems,
            warnings: Vec::new(),
            failed: false,
            hidden: String::new(),
        };
        let unknown: Vec<String> = this.keys.keys().filter(|key| !KEYS.contains(&key.as_str())).cloned().collect();
        for key in unknown {
            let meant = KEYS.iter().min_by_key(|known| strsim::damerau_levenshtein(known, &key));
            let meant = meant.filter(|known| strsim::damerau_levenshtein(known, &key) <= 2);
            this.wrong(
                &key,
                match meant {
                    Some(known) => format!("unknown key; did you mean {known}?"),
                    None => format!("unknown key; a destination has {}", KEYS.join(", ")),
                },
            );
        }
        this
    }

    fn destination(&mut self) -> Option<Destination> {
        let name = self.name();
        let url = self.url();
        let kinds = self.kinds();
        let destination = Destination {
            tls: self.trust(),
            secret: self.secret(&name),
            conditions: kinds.iter().filter_map(|kind| Condition::from_name(kind)).collect(),
            gateways: self.list("gateways").into_iter().collect(),
            labels: self.labels(),
            timing: WatchSettings {
                after: self.duration("after", "30s", Duration::ZERO..=DAY),
                remind_every: self.reminders(),
                recovered: kinds.contains("recovered"),
            },
            give_up_after: self.duration("give_up_after", "24h", 60 * SECOND..=30 * DAY),
            timeout: self.duration("timeout", "10s", SECOND..=60 * SECOND),
            url: url?,
            name,
        };
        if destination.conditions.is_empty() {
            self.wrong("kinds", "must name something that is announced, not recovered alone");
        }
        let plain = !destination.url.address().is_tls() && !destination.url.address().is_loopback();
        if destination.secret.is_none() {
            self.warnings.push(format!(
                "{} has no secret: its notifications are not signed, so whoever knows the URL can send such ones too",
                self.path
            ));
        } else if plain {
            self.warnings.push(format!("{} sends over http: others on the way can read the notifications", self.path));
        }
        (!self.failed).then_some(destination)
    }

    fn name(&mut self) -> String {
        let name = self.text("name").unwrap_or_default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
            self.wrong("name", "must be 1 to 40 lower-case letters, digits, - and _; it is a label of metrics");
        } else {
            self.path = format!("{LIST}.{name}");
        }
        name
    }

    /// The URL may be a secret itself, so it may stand in a file of its own.
    fn url(&mut self) -> Option<WebhookUrl> {
        let text = match (self.text("url"), self.text("url_file")) {
            (Some(_), Some(_)) => {
                self.wrong("url_file", "must not stand beside url");
                return None;
            }
            (Some(url), None) => url,
            (None, Some(file)) => self.file("url_file", &file, true)?,
            (None, None) => {
                self.wrong("url", "is missing: where notifications go, or url_file with a file that says so");
                return None;
            }
        };
        self.hidden.push_str(&text);
        match WebhookUrl::parse(&text) {
            Ok(url) => Some(url),
            Err(expected) => {
                self.wrong("url", expected);
                None
            }
        }
    }

    fn secret(&mut self, name: &str) -> Option<Secret> {
        let variable = variable_of(name);
        let credential = secrets::credentials_dir(self.inputs)
            .map(|dir| dir.join(format!("notification_{name}")))
            .filter(|file| !name.is_empty() && file.exists());
        let text = if let Some(credential) = credential {
            self.file("secret", &credential.display().to_string(), false)
        } else if let Some(file) = self.text("secret_file") {
            self.file("secret_file", &file, true)
        } else if let Some(secret) = self.inputs.variable(&variable) {
            Some(secret.to_owned())
        } else {
            let written = self.text("secret");
            if written.is_some()
                && let Err(mut found) = secrets::must_be_private(self.file, &format!("{}.secret", self.path))
            {
                found.key = Some(format!("{}.secret", self.path));
                self.problems.push(found);
                self.failed = true;
            }
            written
        }?;
        if text.len() < 16 {
            self.wrong("secret", "must be at least 16 characters, or others can guess it: try openssl rand -hex 32");
        }
        self.hidden.push_str(&text);
        Some(Secret::new(text))
    }

    fn trust(&mut self) -> TlsTrust {
        let Some(file) = self.text("ca_file") else { return TlsTrust::System };
        match read_file(Path::new(&file)) {
            Ok(ca_pem) if ca_pem.contains("BEGIN CERTIFICATE") => TlsTrust::Ca { ca_pem },
            Ok(_) => {
                self.wrong("ca_file", "must hold certificates in PEM form");
                TlsTrust::System
            }
            Err(error) => {
                self.wrong("ca_file", format!("cannot be read: {error}"));
                TlsTrust::System
            }
        }
    }

    fn kinds(&mut self) -> BTreeSet<String> {
        let known: BTreeSet<String> =
            Condition::ALL.iter().map(|condition| condition.as_str()).chain(["recovered"]).map(str::to_owned).collect();
        if !self.keys.contains_key("kinds") {
            return known;
        }
        let kinds: BTreeSet<String> = self.list("kinds").into_iter().collect();
        if !kinds.is_subset(&known) {
            let known: Vec<_> = known.into_iter().collect();
            self.wrong("kinds", format!("must be a list of some of {}", known.join(", ")));
        }
        kinds
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let labels: Option<BTreeMap<String, String>> = match self.keys.get("labels") {
            None => return BTreeMap::new(),
            Some(ValueKind::Table(table)) => table
                .iter()
                .map(|(name, value)| match &value.kind {
                    ValueKind::String(text) => Some((name.clone(), text.clone())),
                    _ => None,
                })
                .collect(),
            Some(_) => None,
        };
        match labels.filter(|labels| labels.len() <= 64) {
            Some(labels) => labels,
            None => {
                self.wrong("labels", "must be texts by name, such as { environment = \"production\" }");
                BTreeMap::new()
            }
        }
    }

    fn reminders(&mut self) -> Option<Duration> {
        if matches!(self.text("remind_every").as_deref(), Some("never" | "off" | "")) {
            return None;
        }
        Some(self.duration("remind_every", "4h", 60 * SECOND..=30 * DAY))
    }

    fn duration(&mut self, key: &str, default: &str, range: std::ops::RangeInclusive<Duration>) -> Duration {
        let text = self.text(key).unwrap_or_else(|| default.to_owned());
        match duration::parse(&text).filter(|read| range.contains(read)) {
            Some(read) => read,
            None => {
                let (least, most) = (duration::show(*range.start()), duration::show(*range.end()));
                self.wrong(key, format!("must be a duration with a unit, such as 30s or 5m; from {least} to {most}"));
                *range.start()
            }
        }
    }

    fn switch(&mut self, key: &str, default: bool) -> bool {
        match self.keys.get(key) {
            None => default,
            Some(ValueKind::Boolean(switch)) => *switch,
            Some(_) => {
                self.wrong(key, "must be true or false");
                default
            }
        }
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        let items: Option<Vec<String>> = match self.keys.get(key) {
            None => return Vec::new(),
            Some(ValueKind::Array(items)) => items
                .iter()
                .map(|item| match &item.kind {
                    ValueKind::String(text) if !text.is_empty() => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            Some(_) => None,
        };
        match items.filter(|items| items.len() <= MOST_NAMES) {
            Some(items) => items,
            None => {
                self.wrong(key, format!("must be a list of at most {MOST_NAMES} texts"));
                Vec::new()
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.keys.get(key)? {
            ValueKind::String(text) => Some(text.clone()),
            _ => {
                self.wrong(key, "must be a text");
                None
            }
        }
    }

    /// The text of a file with a secret in it.
    fn file(&mut self, key: &str, file: &str, must_be_private: bool) -> Option<String> {
        let (file, key) = (Path::new(file), format!("{}.{key}", self.path));
        let checked = if must_be_private { secrets::must_be_private(file, &key) } else { Ok(()) };
        match checked.and_then(|()| secrets::read(file, &key)) {
            Ok(text) => Some(text),
            Err(found) => {
                self.problems.push(found);
                self.failed = true;
                None
            }
        }
    }

    fn wrong(&mut self, key: &str, expected: impl Into<String>) {
        self.problems.push(problem(&self.origin, &format!("{}.{key}", self.path), expected));
        self.failed = true;
    }
}
