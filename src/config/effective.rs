//! The configuration as it counts, for people: what each setting is, where that came from, and what a reload would change.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::value::{DEFAULT, Setting};

/// What can change while the daemon runs.
const LIVE: [&str; 1] = ["log.level"];
const NOT_SET: &str = "(not set)";
const REDACTED: &str = "(redacted)";

/// One setting as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EffectiveValue {
    /// Section and name, as in the file.
    pub(crate) path: &'static str,
    /// Its value; a secret only says whether it is set.
    pub(crate) value: String,
    /// `default`, a file, `$NAME`, a flag, a credential.
    pub(crate) origin: String,
    /// Tells whether the value changed, where it can't be shown. Never shown itself.
    fingerprint: Option<[u8; 32]>,
}

impl EffectiveValue {
    pub(super) fn of(path: &'static str, setting: Option<&Setting>, is_secret: bool) -> Self {
        let written = setting.map(|setting| setting.raw.to_string());
        Self {
            path,
            value: match &written {
                Some(text) if is_secret => if text.is_empty() { NOT_SET } else { REDACTED }.to_owned(),
                Some(text) => without_secrets(text),
                None => NOT_SET.to_owned(),
            },
            origin: setting.map_or(DEFAULT, |setting| &setting.origin).to_owned(),
            fingerprint: written.map(|text| Sha256::digest(text.as_bytes()).into()),
        }
    }

    /// A list or section of things with names. Only the names are shown, because what is in them may be secret; `content` has all.
    pub(super) fn of_names(path: &'static str, names: &[String], file: &std::path::Path, content: &str) -> Self {
        let is_set = !names.is_empty();
        Self {
            path,
            value: if is_set { names.join(",") } else { "(none)".to_owned() },
            origin: if is_set { file.display().to_string() } else { DEFAULT.to_owned() },
            fingerprint: Some(Sha256::digest(content.as_bytes()).into()),
        }
    }

    /// The value, where there is one that may be shown.
    pub(super) fn shown(&self) -> Option<String> {
        self.fingerprint.filter(|_| self.value != REDACTED).map(|_| self.value.clone())
    }
}

/// URLs lose what may be a secret in them.
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (address, query) = rest.split_once('?').map_or((rest, ""), |(address, _)| (address, "?(redacted)"));
    let (user, host) = address.rsplit_once('@').map_or(("", address), |(_, host)| ("(redacted)@", host));
    format!("{scheme}://{user}{host}{query}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Live,
    AtRestart,
}

/// A setting that another reading of the configuration has changed. Secrets are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The setting, or the section of names.
    pub(crate) path: &'static str,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) effect: Effect,
}

impl super::Config {
    /// What differs in a newer reading from what counts now.
    pub(crate) fn changes_to(&self, newer: &Self) -> Vec<Change> {
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
    pub(crate) fn take_live(&mut self, newer: Self) {
        self.log.filter = newer.log.filter;
        for (now, newer) in self.effective.iter_mut().zip(newer.effective) {
            if LIVE.contains(&newer.path) {
                *now = newer;
            }
        }
    }

    /// Every setting with its value and source, a line each: for `gatewarden config check`.
    pub(crate) fn describe(&self) -> String {
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
