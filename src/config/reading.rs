//! Turning written values into typed ones, and gathering what is wrong on the way.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::byte_size;
use super::duration;
use super::keys;
use super::layers::{Raw, Setting, Settings};
use super::problem::Problem;

/// Reads settings. A wrong value is noted and replaced by one that is never used: a configuration with problems is not
/// handed out.
pub(crate) struct Reader<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) problems: &'a mut Vec<Problem>,
    /// What is odd and no reason not to start.
    pub(crate) warnings: Vec<String>,
}

impl Reader<'_> {
    /// The text of a key, where it is set and not empty.
    pub(crate) fn optional_text(&mut self, path: &str) -> Option<String> {
        match &self.settings.get(path)?.raw {
            Raw::Text(text) | Raw::Number(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Raw::Switch(_) | Raw::List(_) | Raw::Unusable => {
                self.wrong(path, "must be a text");
                None
            }
        }
    }

    /// The text of a key that always has one.
    pub(crate) fn text(&mut self, path: &str) -> String {
        let Some(text) = self.optional_text(path) else {
            self.wrong(path, "must not be empty");
            return String::new();
        };
        text
    }

    /// Where a key's value came from.
    pub(crate) fn origin(&self, path: &str) -> &str {
        self.settings.get(path).map_or("default", |setting| &setting.origin)
    }

    /// Whether somebody set the key.
    pub(crate) fn is_set(&self, path: &str) -> bool {
        self.settings.get(path).is_some_and(|setting| setting.origin != "default")
    }

    /// `true` or `false`.
    pub(crate) fn switch(&mut self, path: &str) -> bool {
        match self.settings.get(path).map(|setting| &setting.raw) {
            Some(Raw::Switch(switch)) => return *switch,
            Some(Raw::Text(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => return true,
                "false" | "0" | "no" | "off" => return false,
                _ => {}
            },
            _ => {}
        }
        self.wrong(path, "must be true or false");
        false
    }

    /// A whole number in a range.
    pub(crate) fn number(&mut self, path: &str, range: RangeInclusive<u32>) -> u32 {
        let number = match self.settings.get(path).map(|setting| &setting.raw) {
            Some(Raw::Text(text) | Raw::Number(text)) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                self.wrong(path, format!("must be a whole number from {} to {}", range.start(), range.end()));
                *range.start()
            }
        }
    }

    /// A whole number above 0.
    pub(crate) fn positive(&mut self, path: &str, max: u32) -> NonZeroU32 {
        NonZeroU32::new(self.number(path, 1..=max)).unwrap_or(NonZeroU32::MIN)
    }

    /// A duration in a range.
    pub(crate) fn duration(&mut self, path: &str, range: RangeInclusive<Duration>) -> Duration {
        let read = match self.settings.get(path).map(|setting| &setting.raw) {
            Some(Raw::Text(text)) => duration::parse(text),
            _ => None,
        };
        match read.filter(|read| range.contains(read)) {
            Some(read) => read,
            None => {
                self.wrong(path, duration_expected(&range));
                *range.start()
            }
        }
    }

    /// A size in a range, bytes.
    pub(crate) fn bytes(&mut self, path: &str, range: RangeInclusive<usize>) -> usize {
        let read = match self.settings.get(path).map(|setting| &setting.raw) {
            Some(Raw::Text(text)) => byte_size::parse(text),
            _ => None,
        };
        match read.filter(|read| range.contains(read)) {
            Some(read) => read,
            None => {
                let (least, most) = (byte_size::show(*range.start()), byte_size::show(*range.end()));
                self.wrong(path, format!("must be a size such as 64MiB, from {least} to {most}"));
                *range.start()
            }
        }
    }

    /// A list of durations in a range.
    pub(crate) fn durations(&mut self, path: &str, range: RangeInclusive<Duration>, most: usize) -> Vec<Duration> {
        let items = self.list(path);
        let read: Option<Vec<_>> =
            items.iter().map(|item| duration::parse(item).filter(|read| range.contains(read))).collect();
        match read.filter(|read| (1..=most).contains(&read.len())) {
            Some(read) => read,
            None => {
                let expected =
                    format!("must be a list of 1 to {most} durations such as 1s,2s,4s; each {}", between(&range));
                self.wrong(path, &expected);
                Vec::new()
            }
        }
    }

    /// A list of texts: a list in the file, or one text with commas.
    pub(crate) fn list(&mut self, path: &str) -> Vec<String> {
        let items: Vec<String> = match self.settings.get(path).map(|setting| &setting.raw) {
            Some(Raw::List(items)) => items.clone(),
            Some(Raw::Text(text)) => text.split(',').map(str::to_owned).collect(),
            Some(Raw::Number(text)) => vec![text.clone()],
            Some(Raw::Switch(_) | Raw::Unusable) => {
                self.wrong(path, "must be a list of texts");
                Vec::new()
            }
            None => Vec::new(),
        };
        items.into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    }

    /// A value that one of our types reads.
    pub(crate) fn parsed<T>(&mut self, path: &str, fallback: T, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        let text = self.text(path);
        if text.is_empty() {
            return fallback;
        }
        match parse(&text) {
            Ok(value) => value,
            Err(expected) => {
                self.wrong(path, expected);
                fallback
            }
        }
    }

    /// Notes a wrong value, once a key.
    pub(crate) fn wrong(&mut self, path: &str, expected: impl Display) {
        if self.problems.iter().any(|problem| problem.key.as_deref() == Some(path)) {
            return;
        }
        let setting = self.settings.get(path);
        let secret = keys::find(path).is_some_and(|key| key.secret);
        self.problems.push(Problem {
            origin: setting.map_or("default", |setting| &setting.origin).to_owned(),
            key: Some(path.to_owned()),
            value: setting.filter(|_| !secret).map(shown),
            expected: expected.to_string(),
        });
    }
}

/// A value as one text.
pub(crate) fn written(setting: &Setting) -> String {
    match &setting.raw {
        Raw::Text(text) | Raw::Number(text) => text.clone(),
        Raw::Switch(switch) => switch.to_string(),
        Raw::List(items) => items.join(","),
        Raw::Unusable => "(a table or an empty value)".to_owned(),
    }
}

/// A value as it may be shown to a person: URLs lose what may be a secret in them.
pub(crate) fn shown(setting: &Setting) -> String {
    let text = written(setting);
    let Some((scheme, rest)) = text.split_once("://") else { return text };
    let (address, query) = rest.split_once('?').map_or((rest, ""), |(address, _)| (address, "?(redacted)"));
    let (user, host) = address.rsplit_once('@').map_or(("", address), |(_, host)| ("(redacted)@", host));
    format!("{scheme}://{user}{host}{query}")
}

fn duration_expected(range: &RangeInclusive<Duration>) -> String {
    format!("must be a duration with a unit, such as 500ms, 5s, 5m, 24h or 7d; {}", between(range))
}

fn between(range: &RangeInclusive<Duration>) -> String {
    format!("from {} to {}", duration::show(*range.start()), duration::show(*range.end()))
}
