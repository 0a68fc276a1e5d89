//! The configuration as it counts, for people: what each key is, where that came from, and what a reload would change.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::keys::KEYS;
use super::layers::{NAMED_SECTIONS, NamedSections, Settings};
use super::notifications;
use super::reading::{shown, written};
use super::store::default_path;

/// One key as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveValue {
    /// The key.
    pub path: &'static str,
    /// Its value; a secret only says whether it is set.
    pub value: String,
    /// `default`, a file, `$NAME`, a flag, a credential.
    pub origin: String,
    /// Tells whether the value changed, where it can't be shown. Never shown itself.
    fingerprint: Option<[u8; 32]>,
}

/// All keys, in the order of the table.
pub(super) fn values(
    settings: &Settings,
    named: &NamedSections,
    state_dir: &Path,
    destinations: &notifications::Read,
    file: &Path,
) -> Vec<EffectiveValue> {
    let sections = NAMED_SECTIONS.iter().map(|section| named_section(section, named));
    let is_set = !destinations.shown.is_empty();
    let notifications = EffectiveValue {
        path: notifications::LIST,
        value: if is_set { destinations.shown.clone() } else { "(none)".to_owned() },
        origin: if is_set { file.display().to_string() } else { "default".to_owned() },
        fingerprint: Some(destinations.fingerprint),
    };
    KEYS.iter()
        .map(|key| {
            let setting = settings.get(key.path);
            let value = match setting {
                Some(setting) if key.secret => {
                    if shown(setting).is_empty() { "(not set)" } else { "(redacted)" }.to_owned()
                }
                Some(setting) => shown(setting),
                None if key.path == "store.url" => format!("sqlite://{}", default_path(state_dir).display()),
                None => "(not set)".to_owned(),
            };
            EffectiveValue {
                path: key.path,
                value,
                origin: setting.map_or("default", |setting| &setting.origin).to_owned(),
                fingerprint: setting.map(|setting| Sha256::digest(written(setting).as_bytes()).into()),
            }
        })
        .chain([notifications])
        .chain(sections)
        .collect()
}

/// A section of names: only the names are shown, because what is in them may be secret.
fn named_section(section: &'static str, named: &NamedSections) -> EffectiveValue {
    let table = named.tables.get(section).filter(|table| !table.is_empty());
    let names = |table: &std::collections::BTreeMap<String, _>| table.keys().cloned().collect::<Vec<_>>().join(",");
    EffectiveValue {
        path: section,
        value: table.map_or_else(|| "(none)".to_owned(), names),
        origin: table.map_or_else(|| "default".to_owned(), |_| named.origin.display().to_string()),
        // The tables of a file come in no order of their own; their text does.
        fingerprint: table.map(|table| {
            let mut lines: Vec<String> =
                table.iter().map(|(name, value)| super::layers::as_text(name, value)).collect();
            lines.sort();
            Sha256::digest(lines.join("\n").as_bytes()).into()
        }),
    }
}

/// When a changed key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At once.
    Live,
    /// At the next start.
    AtRestart,
}

/// A key that another reading of the configuration has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, or the section of names.
    pub path: &'static str,
    /// As it counts now; a secret is not shown.
    pub before: String,
    /// As it was read; a secret is not shown.
    pub after: String,
    /// When that counts.
    pub effect: Effect,
}

/// What can change while the daemon runs.
const LIVE: [&str; 1] = ["log.level"];

impl super::Config {
    /// What differs in a newer reading from what counts now, in the order of the table.
    pub fn changes_to(&self, newer: &Self) -> Vec<Change> {
        let pairs = self.effective.iter().zip(&newer.effective);
        pairs
            .filter(|(before, after)| before.fingerprint != after.fingerprint)
            .map(|(before, after)| Change {
                path: after.path,
                before: before.value.clone(),
                after: after.value.clone(),
                effect: if LIVE.contains(&after.path) { Effect::Live } else { Effect::AtRestart },
            })
            .collect()
    }

    /// Takes over what takes effect at once. The rest stays as it counts, so that the next reading names it again.
    pub fn take_live(&mut self, newer: Self) {
        self.log.filter = newer.log.filter;
        for (now, newer) in self.effective.iter_mut().zip(newer.effective) {
            if LIVE.contains(&newer.path) {
                *now = newer;
            }
        }
    }

    /// Every key with its value and source, a line each: for `gatewarden config check`.
    pub fn describe(&self) -> String {
        let width = |of: fn(&EffectiveValue) -> usize| self.effective.iter().map(of).max().unwrap_or(0);
        let (paths, values) = (width(|key| key.path.len()), width(|key| key.value.len()).min(40));
        let mut text = String::new();
        for key in &self.effective {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{:paths$} = {:values$}  # {}", key.path, key.value, key.origin);
        }
        text
    }
}
