//! Reading a section: each key is asked for once, by name and kind. What nobody asked for is unknown, so the code that reads
//! is the only list of keys that there is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewarden_protocol::Secret;
use serde_json::{Map, Value};

use super::inputs::Inputs;
use super::problem::Problem;

pub(super) struct Reader<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) origin: String,
    pub(super) problems: Vec<Problem>,
    /// Keys of real OpenClaw that mean nothing here.
    pub(super) ignored: Vec<String>,
    /// Odd, and no reason not to start.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Others {
    /// All are mistakes but these, which real OpenClaw knows and this gateway doesn't use.
    RefusedBut(&'static [&'static str]),
    /// They belong to real OpenClaw; only a slip of the pen of a key that is read here is a mistake.
    Ignored,
}

pub(super) struct Section<'a> {
    path: String,
    fields: Option<&'a Map<String, Value>>,
    asked: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    /// The section at a path; a missing one is empty, anything but an object a mistake.
    pub(super) fn open(reader: &mut Reader<'_>, value: Option<&'a Value>, path: impl Into<String>) -> Self {
        let path = path.into();
        let fields = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(fields),
            Some(other) => {
                reader.wrong(&path, Some(other), "must be a section with keys of its own");
                None
            }
        };
        Self { path, fields, asked: BTreeSet::new() }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn is_written(&self) -> bool {
        self.fields.is_some()
    }

    /// The value as written; `null` is as good as nothing.
    pub(super) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.insert(name);
        self.fields?.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn section(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Section<'a> {
        let path = self.key(name);
        Section::open(reader, self.value(name), path)
    }

    pub(super) fn entries(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Vec<(&'a str, &'a Value)> {
        let path = self.key(name);
        let section = Section::open(reader, self.value(name), path);
        section.fields.map(|fields| fields.iter().map(|(id, value)| (id.as_str(), value)).collect()).unwrap_or_default()
    }

    pub(super) fn items(&mut self, reader: &mut Reader<'_>, name: &'static str) -> &'a [Value] {
        match self.value(name) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                reader.wrong(&self.key(name), Some(other), "must be a list");
                &[]
            }
        }
    }

    /// A text; `${NAME}` in it is replaced from the environment, as real OpenClaw does.
    pub(super) fn text(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<String> {
        let value = self.value(name)?;
        let path = self.key(name);
        reader.text(&path, value)
    }

    /// A text that is never shown.
    pub(super) fn secret(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<Secret> {
        let value = self.value(name)?;
        let path = self.key(name);
        match value {
            Value::String(text) if !text.is_empty() => reader.substituted(&path, text).map(Secret::new),
            Value::String(_) => {
                reader.wrong(&path, None, "is empty; write it, or leave it out");
                None
            }
            Value::Object(_) => {
                reader.wrong(&path, None, "references to secret providers are not supported here; use \"${NAME}\"");
                None
            }
            _ => {
                reader.wrong(&path, None, "must be a text in quotes");
                None
            }
        }
    }

    pub(super) fn switch(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(switch) => Some(*switch),
            other => {
                reader.wrong(&self.key(name), Some(other), "must be true or false");
                None
            }
        }
    }

    pub(super) fn number(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.value(name)?;
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            let cure = format!("must be a whole number from {} to {}", range.start(), range.end());
            reader.wrong(&self.key(name), Some(value), cure);
        }
        number
    }

    /// A number of seconds, or a text with a unit such as `500ms`, `30s`, `5m`, `24h`, `7d`.
    pub(super) fn duration(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.value(name)?;
        let read = match value {
            Value::Number(number) => number.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            Value::String(text) => parse_duration(text),
            _ => None,
        };
        let read = read.filter(|read| range.contains(read));
        if read.is_none() {
            let cure = format!(
                "must be a number of seconds or a text with a unit (500ms, 30s, 5m, 24h, 7d), from {:?} to {:?}",
                range.start(),
                range.end()
            );
            reader.wrong(&self.key(name), Some(value), cure);
        }
        read
    }

    /// A path; `~` is expanded. Must be absolute then.
    pub(super) fn path_of(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<PathBuf> {
        let text = self.text(reader, name)?;
        let path = self.key(name);
        reader.path(&path, &text)
    }

    pub(super) fn address(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<IpAddr> {
        let text = self.text(reader, name)?;
        let address = text.parse().ok();
        if address.is_none() {
            reader.wrong(&self.key(name), Some(&Value::String(text)), "must be an IP address such as 127.0.0.1");
        }
        address
    }

    pub(super) fn texts(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Vec<String> {
        let path = self.key(name);
        self.items(reader, name)
            .iter()
            .enumerate()
            .filter_map(|(at, item)| reader.text(&format!("{path}[{at}]"), item))
            .collect()
    }

    /// What was asked for is known; the rest is judged.
    pub(super) fn close(self, reader: &mut Reader<'_>, others: Others) {
        let Some(fields) = self.fields else { return };
        for (name, value) in fields.iter().filter(|(name, _)| !self.asked.contains(name.as_str())) {
            let path = self.key(name);
            let known = match others {
                Others::RefusedBut(known) => known,
                Others::Ignored => &[],
            };
            if known.contains(&name.as_str()) {
                reader.ignored.push(path);
                continue;
            }
            let meant = closest(name, self.asked.iter().copied().chain(known.iter().copied()));
            match (others, meant) {
                (_, Some(meant)) => {
                    let cure = format!("unknown key; did you mean {}?", self.key(meant));
                    reader.wrong(&path, scalar(value), cure);
                }
                (Others::RefusedBut(_), None) => {
                    let names = self.asked.iter().copied().collect::<Vec<_>>().join(", ");
                    reader.wrong(&path, scalar(value), format!("unknown key; known here: {names}"));
                }
                (Others::Ignored, None) => reader.ignored.push(path),
            }
        }
    }
}

impl Reader<'_> {
    /// Notes a wrong value. `value` none: a secret, or nothing is written.
    pub(super) fn wrong(&mut self, path: &str, value: Option<&Value>, cure: impl Into<String>) {
        self.problems.push(Problem {
            origin: self.origin.clone(),
            key: (!path.is_empty()).then(|| path.to_owned()),
            value: value.map(shown),
            cure: cure.into(),
        });
    }

    pub(super) fn text(&mut self, path: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => self.substituted(path, text),
            other => {
                self.wrong(path, Some(other), "must be a text in quotes");
                None
            }
        }
    }

    /// A path, `~` expanded; must be absolute then.
    pub(super) fn path(&mut self, path: &str, text: &str) -> Option<PathBuf> {
        let expanded = self.inputs.expand(Path::new(text));
        if expanded.is_absolute() {
            return Some(expanded);
        }
        self.wrong(path, Some(&Value::String(text.to_owned())), "must be an absolute path, or begin with ~/");
        None
    }

    /// `${NAME}` replaced from the environment; `$${NAME}` stays as `${NAME}`. Names are upper case, digits, underscores.
    fn substituted(&mut self, path: &str, text: &str) -> Option<String> {
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let name = after.split_once('}').map(|(name, _)| name).filter(|name| is_variable(name));
            match name {
                None => {
                    done.push_str(before);
                    done.push_str("${");
                    rest = after;
                    continue;
                }
                Some(name) if before.ends_with('$') => {
                    done.push_str(before);
                    done.push_str(&format!("{{{name}}}"));
                }
                Some(name) => match self.inputs.variable(name) {
                    Some(value) => {
                        done.push_str(before);
                        done.push_str(value);
                    }
                    None => {
                        self.wrong(path, None, format!("names the environment variable {name}, which is not set"));
                        return None;
                    }
                },
            }
            rest = after.split_once('}').map_or("", |(_, rest)| rest);
        }
        done.push_str(rest);
        Some(done)
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whole sections are not shown.
fn scalar(value: &Value) -> Option<&Value> {
    (!value.is_object() && !value.is_array()).then_some(value)
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}...", text.split_at(at).0),
        None => text,
    }
}

pub(super) fn closest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|key| (strsim::damerau_levenshtein(&name.to_lowercase(), &key.to_lowercase()), key))
        .filter(|(distance, key)| *distance <= 1 + key.len() / 6)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// `500ms`, `30s`, `5m`, `24h`, `7d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().ok()?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => None,
    }
}
