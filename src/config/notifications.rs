//! `[[notifications]]`: destinations of notifications.
//!
//! Secrets are looked for as elsewhere: the systemd credential `notification_<name>`, then `secret_file`, then the environment
//! (`GATEWARDEN_NOTIFICATION_<NAME>_SECRET`), then `secret` in a file that nobody else may read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use config::ValueKind;
use gatewarden_actors::gateway_record::TlsTrust;
use gatewarden_actors::machines::notification::{Condition, WatchSettings};
use gatewarden_actors::notifier::destination::{Destination, MAX_DESTINATIONS, WebhookUrl};
use gatewarden_protocol::Secret;

use super::effective::EffectiveValue;
use super::reader::{
    ConfigFile, Inputs, NOTIFICATION_VARIABLE, Problem, Reader, must_be_private, read_file, read_secret,
};
use super::table::TableReader;
use super::{DAY, SECOND};

const LIST: &str = "notifications";
const VARIABLE_END: &str = "_SECRET";
/// Names of gateways, and labels, of one destination.
const MAX_NAMES: usize = 1_000;
const MAX_LABELS: usize = 64;

/// The destinations that are enabled.
pub(super) fn destinations(reader: &mut Reader<'_>) -> Vec<Destination> {
    let inputs = reader.inputs;
    let ConfigFile { path: file, table } = &mut reader.file;
    let origin = file.display().to_string();
    let wrong = |expected: String| Problem::new(origin.clone(), LIST, expected);
    let tables = match table.remove(LIST).map(|value| value.kind) {
        None => Vec::new(),
        Some(ValueKind::Array(tables)) if tables.len() <= MAX_DESTINATIONS => tables,
        Some(ValueKind::Array(_)) => {
            reader.problems.push(wrong(format!("must be at most {MAX_DESTINATIONS} destinations")));
            Vec::new()
        }
        Some(_) => {
            let expected = "must be a list: write each destination below a line [[notifications]]";
            reader.problems.push(wrong(expected.to_owned()));
            Vec::new()
        }
    };
    let mut enabled = Vec::new();
    let mut names = BTreeSet::new();
    let mut content = String::new();
    for (index, table) in tables.into_iter().enumerate() {
        let table = match table.kind {
            ValueKind::Table(table) => table,
            _ => config::Map::new(),
        };
        let table = TableReader::new(format!("{LIST}[{index}]"), file, table, &mut reader.problems);
        let mut reading = Reading { table, inputs, hidden: String::new() };
        let is_enabled = reading.table.switch("enabled", true);
        let destination = reading.destination(&mut reader.warnings);
        reading.table.refuse_unknown("a destination");
        let Some(destination) = destination.filter(|_| !reading.table.failed) else { continue };
        content.push_str(&format!("{is_enabled} {destination:?} {}\n", reading.hidden));
        if !names.insert(destination.name.clone()) {
            reading.table.wrong("name", format!("\"{}\" is the name of two destinations", destination.name));
        }
        if is_enabled {
            enabled.push(destination);
        }
    }
    let variables = inputs.environment.keys().filter(|name| name.starts_with(NOTIFICATION_VARIABLE));
    let unknown = variables.filter(|variable| !names.iter().any(|name| variable_of(name) == **variable));
    reader.problems.extend(unknown.map(|name| {
        let example = format!("{NOTIFICATION_VARIABLE}OPS{VARIABLE_END}");
        Problem::of(
            format!("${name}"),
            format!("no destination of that name; {example} is the secret of [[notifications]] name = \"ops\""),
        )
    }));
    let names: Vec<String> = names.into_iter().collect();
    reader.effective.push(EffectiveValue::of_names(LIST, &names, file, &content));
    enabled
}

/// The environment variable with a destination's secret.
fn variable_of(name: &str) -> String {
    format!("{NOTIFICATION_VARIABLE}{}{VARIABLE_END}", name.replace('-', "_").to_uppercase())
}

/// One destination, while it is read.
struct Reading<'a> {
    table: TableReader<'a>,
    inputs: &'a Inputs,
    /// What a fingerprint must see and nobody else.
    hidden: String,
}

impl Reading<'_> {
    fn destination(&mut self, warnings: &mut Vec<String>) -> Option<Destination> {
        let name = self.name();
        let url = self.url();
        let secret = self.secret(&name);
        let tls = self.trust();
        let kinds = self.kinds();
        let conditions: BTreeSet<_> = kinds.iter().filter_map(|kind| Condition::from_name(kind)).collect();
        if conditions.is_empty() {
            self.table.wrong("kinds", "must name something that is announced, not recovered alone");
        }
        let destination = Destination {
            conditions,
            gateways: self.list("gateways").into_iter().flatten().collect(),
            labels: self.labels(),
            timing: WatchSettings {
                after: self.table.duration("after", "30s", Duration::ZERO..=DAY),
                remind_every: self.reminders(),
                recovered: kinds.contains("recovered"),
            },
            give_up_after: self.table.duration("give_up_after", "24h", 60 * SECOND..=30 * DAY),
            timeout: self.table.duration("timeout", "10s", SECOND..=60 * SECOND),
            tls,
            secret,
            url: url?,
            name,
        };
        let path = &self.table.path;
        let plain = !destination.url.address().is_tls() && !destination.url.address().is_loopback();
        if destination.secret.is_none() {
            let odd =
                "has no secret: its notifications are not signed, so whoever knows the URL can send such ones too";
            warnings.push(format!("{path} {odd}"));
        } else if plain {
            warnings.push(format!("{path} sends over http: others on the way can read the notifications"));
        }
        Some(destination)
    }

    fn name(&mut self) -> String {
        let name = self.table.text("name").unwrap_or_default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
            let expected = "must be 1 to 40 lower-case letters, digits, - and _; it is a label of metrics";
            self.table.wrong("name", expected);
        } else {
            self.table.path = format!("{LIST}.{name}");
        }
        name
    }

    /// The URL may be a secret itself, so it may stand in a file of its own.
    fn url(&mut self) -> Option<WebhookUrl> {
        let text = match (self.table.text("url"), self.table.text("url_file")) {
            (Some(_), Some(_)) => {
                self.table.wrong("url_file", "must not stand beside url");
                return None;
            }
            (Some(url), None) => url,
            (None, Some(file)) => self.file("url_file", Path::new(&file), true)?,
            (None, None) => {
                let expected = "is missing: where notifications go, or url_file with a file that says so";
                self.table.wrong("url", expected);
                return None;
            }
        };
        self.hidden.push_str(&text);
        WebhookUrl::parse(&text).map_err(|expected| self.table.wrong("url", expected)).ok()
    }

    fn secret(&mut self, name: &str) -> Option<Secret> {
        let written = self.table.text("secret");
        let named_file = self.table.text("secret_file");
        let credential = self.inputs.credentials_dir().map(|dir| dir.join(format!("notification_{name}")));
        let credential = credential.filter(|file| !name.is_empty() && file.exists());
        let text = if let Some(credential) = credential {
            self.file("secret", &credential, false)
        } else if let Some(file) = named_file {
            self.file("secret_file", Path::new(&file), true)
        } else if let Some(secret) = self.inputs.variable(&variable_of(name)) {
            Some(secret.to_owned())
        } else {
            if written.is_some()
                && let Err(problem) = must_be_private(self.table.file, &format!("{}.secret", self.table.path))
            {
                self.table.note(problem);
            }
            written
        }?;
        if text.len() < 16 {
            let expected = "must be at least 16 characters, or others can guess it: try openssl rand -hex 32";
            self.table.wrong("secret", expected);
        }
        self.hidden.push_str(&text);
        Some(Secret::new(text))
    }

    fn trust(&mut self) -> TlsTrust {
        let Some(file) = self.table.text("ca_file") else { return TlsTrust::System };
        let wrong = match read_file(Path::new(&file)) {
            Ok(ca_pem) if ca_pem.contains("BEGIN CERTIFICATE") => return TlsTrust::Ca { ca_pem },
            Ok(_) => "must hold certificates in PEM form".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        self.table.wrong("ca_file", wrong);
        TlsTrust::System
    }

    fn kinds(&mut self) -> BTreeSet<String> {
        let known: BTreeSet<String> =
            Condition::ALL.iter().map(|condition| condition.as_str()).chain(["recovered"]).map(str::to_owned).collect();
        let Some(kinds) = self.list("kinds") else { return known };
        let kinds: BTreeSet<String> = kinds.into_iter().collect();
        if !kinds.is_subset(&known) {
            let known: Vec<_> = known.into_iter().collect();
            self.table.wrong("kinds", format!("must be a list of some of {}", known.join(", ")));
        }
        kinds
    }

    fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.table.list(key, MAX_NAMES, |item| text(item).filter(|text| !text.is_empty()))
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let labels = self.table.names("labels").ok().filter(|labels| labels.len() <= MAX_LABELS);
        let labels: Option<BTreeMap<_, _>> =
            labels.and_then(|labels| labels.into_iter().map(|(name, value)| Some((name, text(&value)?))).collect());
        labels.unwrap_or_else(|| {
            self.table.wrong("labels", "must be texts by name, such as { environment = \"production\" }");
            BTreeMap::new()
        })
    }

    fn reminders(&mut self) -> Option<Duration> {
        let written = self.table.text("remind_every");
        if matches!(written.as_deref(), Some("never" | "off" | "")) {
            return None;
        }
        let range = 60 * SECOND..=30 * DAY;
        let every = super::units::duration_in(Some(written.as_deref().unwrap_or("4h")), &range);
        every.map_err(|expected| self.table.wrong("remind_every", expected)).ok()
    }

    /// The text of a file with a secret in it.
    fn file(&mut self, key: &str, file: &Path, private: bool) -> Option<String> {
        let key = format!("{}.{key}", self.table.path);
        let checked = if private { must_be_private(file, &key) } else { Ok(()) };
        checked.and_then(|()| read_secret(file, &key)).map_err(|problem| self.table.note(problem)).ok()
    }
}

fn text(value: &ValueKind) -> Option<String> {
    match value {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}
