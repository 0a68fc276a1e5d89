//! Reading a section: each key is asked for once, by name and kind. What nobody asked for is unknown, so the code that reads
//! is the only list of keys that there is: the schema, and what may be shown of a file, are noted while it reads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewarden_protocol::Secret;
use serde_json::{Map, Value, json};

use super::inputs::{Inputs, Problem};
use super::schema::{ANY, ANY_ITEM, Schema};

pub(super) struct Findings<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) origin: String,
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Keys of real OpenClaw that mean nothing here.
    pub(super) ignored: RefCell<Vec<String>>,
    /// Odd, and no reason not to start.
    pub(super) warnings: RefCell<Vec<String>>,
    /// Paths of values that are no secrets, with all below them: what was read as anything else isn't shown to clients.
    pub(super) plain: RefCell<BTreeSet<String>>,
    /// Filled in by a reading that looks for all keys that there are.
    pub(super) schema: Option<RefCell<Schema>>,
    /// A secret is written out (not as `${NAME}`).
    pub(super) has_secret: Cell<bool>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Others {
    /// All are mistakes but these, which real OpenClaw knows and this gateway doesn't use (separated by spaces).
    RefusedBut(&'static str),
    /// They belong to real OpenClaw; only a slip of the pen of a key that is read here is a mistake.
    Ignored,
}

pub(super) struct Section<'a> {
    pub(super) findings: &'a Findings<'a>,
    /// `gateway.auth`
    pub(super) path: String,
    fields: Option<&'a Map<String, Value>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

const DURATION: &str = "a number of seconds or a text with a unit (500ms, 30s, 5m, 24h, 7d)";

pub(super) fn set<T>(field: &mut T, read: Option<T>) {
    if let Some(read) = read {
        *field = read;
    }
}

impl<'a> Section<'a> {
    /// The section at a path; a missing one is empty, anything but an object a mistake.
    pub(super) fn open(findings: &'a Findings<'a>, value: Option<&'a Value>, path: impl Into<String>) -> Self {
        let path = path.into();
        findings.kind(&path, || json!({"type": "object"}));
        let fields = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(fields),
            Some(other) => {
                findings.wrong(&path, Some(other), "must be a section with keys of its own");
                None
            }
        };
        Self { findings, path, fields, asked: RefCell::default() }
    }

    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn is_written(&self) -> bool {
        self.fields.is_some()
    }

    /// The value as written; `null` is as good as nothing.
    pub(super) fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        self.fields?.get(name).filter(|value| !value.is_null())
    }

    /// Notes a wrong value of a key, which is told where it is a number or a switch.
    pub(super) fn wrong(&self, name: &str, value: Option<&Value>, cure: impl Into<String>) {
        self.findings.wrong(&self.key(name), value, cure);
    }

    /// Notes that a key isn't written.
    pub(super) fn missing(&self, name: &str, cure: &str) {
        self.wrong(name, None, format!("is missing{cure}"));
    }

    pub(super) fn section(&self, name: &'static str) -> Section<'a> {
        Section::open(self.findings, self.value(name), self.key(name))
    }

    /// The sections within one whose keys are names that somebody chose.
    pub(super) fn entries(&self, name: &'static str) -> Vec<(&'a str, &'a Value)> {
        let fields = self.section(name).fields;
        if self.findings.schema.is_some() {
            return vec![(ANY, &Value::Null)];
        }
        fields.map(|fields| fields.iter().map(|(id, value)| (id.as_str(), value)).collect()).unwrap_or_default()
    }

    pub(super) fn items(&self, name: &'static str) -> &'a [Value] {
        self.findings.kind(&self.key(name), || json!({"type": "array"}));
        match self.value(name) {
            None if self.findings.schema.is_some() => &ANY_ITEM,
            None => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(name, Some(other), "must be a list");
                &[]
            }
        }
    }

    /// A text; `${NAME}` in it is replaced from the environment, as real OpenClaw does.
    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        self.findings.kind(&self.key(name), || json!({"type": "string"}));
        self.findings.text(&self.key(name), self.value(name)?)
    }

    /// A text that says something; the error is the cure.
    pub(super) fn parsed<T, E: Into<String>>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|cure| self.wrong(name, None, cure)).ok()
    }

    pub(super) fn list<T, E: Into<String>>(
        &self,
        name: &'static str,
        mut parse: impl FnMut(String) -> Result<T, E>,
    ) -> Vec<T> {
        let mut list = Vec::new();
        for (at, item) in self.items(name).iter().enumerate() {
            let path = format!("{}[{at}]", self.key(name));
            let Some(text) = self.findings.text(&path, item) else { continue };
            match parse(text) {
                Ok(one) => list.push(one),
                Err(cure) => self.findings.wrong(&path, None, cure),
            }
        }
        list
    }

    /// A text that is never shown.
    pub(super) fn secret(&self, name: &'static str) -> Option<Secret> {
        self.findings.kind(&self.key(name), || json!({"type": "string", "writeOnly": true}));
        let cure = match self.value(name)? {
            Value::String(text) if !text.is_empty() => {
                let is_literal = !text.starts_with("${");
                self.findings.has_secret.set(self.findings.has_secret.get() || is_literal);
                return self.findings.substituted(&self.key(name), text).map(Secret::new);
            }
            Value::String(_) => "is empty; write it, or leave it out",
            Value::Object(_) => "references to secret providers are not supported here; use \"${NAME}\"",
            _ => "must be a text in quotes",
        };
        self.wrong(name, None, cure);
        None
    }

    pub(super) fn switch(&self, name: &'static str) -> Option<bool> {
        self.findings.kind(&self.key(name), || json!({"type": "boolean"}));
        let value = self.value(name)?;
        value.as_bool().or_else(|| {
            self.wrong(name, Some(value), "must be true or false");
            None
        })
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, name: &'static str, range: RangeInclusive<u64>) -> Option<T> {
        let kind = || json!({"type": "integer", "minimum": range.start(), "maximum": range.end()});
        self.findings.kind(&self.key(name), kind);
        let value = self.value(name)?;
        self.findings.may_be_shown(&self.key(name));
        let number = value.as_u64().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).or_else(|| {
            let cure = format!("must be a whole number from {} to {}", range.start(), range.end());
            self.wrong(name, Some(value), cure);
            None
        })
    }

    /// A number of seconds, or a text with a unit such as `500ms`, `30s`, `5m`, `24h`, `7d`.
    pub(super) fn duration(&self, name: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.findings.kind(&self.key(name), || json!({"type": ["number", "string"], "description": DURATION}));
        let value = self.value(name)?;
        self.findings.may_be_shown(&self.key(name));
        let read = match value {
            Value::Number(number) => number.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            Value::String(text) => parse_duration(text),
            _ => None,
        };
        read.filter(|read| range.contains(read)).or_else(|| {
            let cure = format!("must be {DURATION}, from {:?} to {:?}", range.start(), range.end());
            self.wrong(name, Some(value), cure);
            None
        })
    }

    /// A path; `~` is expanded. Must be absolute then.
    pub(super) fn path_of(&self, name: &'static str) -> Option<PathBuf> {
        self.parsed(name, |text| self.findings.path(text))
    }

    pub(super) fn address(&self, name: &'static str) -> Option<IpAddr> {
        self.parsed(name, |text| text.parse().map_err(|_| "must be an IP address such as 127.0.0.1"))
    }

    /// Texts that clients are not shown: which of them are secret, nobody can tell.
    pub(super) fn untold_texts(&self, name: &'static str) -> Vec<String> {
        let items = self.items(name).iter().enumerate();
        items.filter_map(|(at, item)| self.findings.untold(&format!("{}[{at}]", self.key(name)), item)).collect()
    }

    /// What was asked for is known; the rest is judged.
    pub(super) fn close(self, others: Others) {
        let asked = self.asked.borrow();
        if let Some(schema) = &self.findings.schema {
            let is_closed = matches!(others, Others::RefusedBut(""));
            asked.iter().for_each(|name| schema.borrow_mut().put(&self.key(name), &json!({})));
            schema.borrow_mut().put(&self.path, &json!({"additionalProperties": !is_closed}));
        }
        let known: Vec<&str> = match others {
            Others::RefusedBut(known) => known.split_whitespace().collect(),
            Others::Ignored => Vec::new(),
        };
        let written = self.fields.into_iter().flat_map(Map::keys);
        // Their values are not shown: a slip of the pen may have made an unknown key of one for a secret.
        for name in written.filter(|name| !asked.contains(name.as_str())) {
            if known.contains(&name.as_str()) {
                self.findings.ignored.borrow_mut().push(self.key(name));
                continue;
            }
            match (others, closest(name, asked.iter().copied().chain(known.iter().copied()))) {
                (_, Some(meant)) => {
                    self.wrong(name, None, format!("unknown key; did you mean {}?", self.key(meant)));
                }
                (Others::RefusedBut(_), None) => {
                    let names = asked.iter().copied().collect::<Vec<_>>().join(", ");
                    self.wrong(name, None, format!("unknown key; known here: {names}"));
                }
                (Others::Ignored, None) => self.findings.ignored.borrow_mut().push(self.key(name)),
            }
        }
    }
}

impl<'a> Findings<'a> {
    /// Nothing is found yet. `origin`: the file, for problems.
    pub(super) fn new(inputs: &'a Inputs, origin: String) -> Self {
        Self {
            inputs,
            origin,
            problems: Default::default(),
            ignored: Default::default(),
            warnings: Default::default(),
            plain: Default::default(),
            schema: None,
            has_secret: Cell::default(),
        }
    }

    pub(super) fn wrong(&self, path: &str, value: Option<&Value>, cure: impl Into<String>) {
        let key = (!path.is_empty()).then(|| path.to_owned());
        let problem = Problem { origin: self.origin.clone(), key, value: value.and_then(shown), cure: cure.into() };
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn warn(&self, warning: impl Into<String>) {
        self.warnings.borrow_mut().push(warning.into());
    }

    /// Notes of what kind a key's value is, for the schema.
    pub(super) fn kind(&self, path: &str, kind: impl FnOnce() -> Value) {
        if let Some(schema) = &self.schema {
            schema.borrow_mut().put(path, &kind());
        }
    }

    /// Notes that clients may see the value of a key, and what is below it.
    pub(super) fn may_be_shown(&self, path: &str) {
        self.plain.borrow_mut().insert(path.to_owned());
    }

    pub(super) fn text(&self, path: &str, value: &Value) -> Option<String> {
        self.may_be_shown(path);
        self.untold(path, value)
    }

    /// A text that clients are not shown.
    pub(super) fn untold(&self, path: &str, value: &Value) -> Option<String> {
        self.kind(path, || json!({"type": "string"}));
        match value {
            Value::String(text) => self.substituted(path, text),
            _ => {
                // As clients are not shown it.
                self.wrong(path, None, "must be a text in quotes");
                None
            }
        }
    }

    /// A path, `~` expanded; must be absolute then.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, &'static str> {
        let expanded = self.inputs.expand(Path::new(text));
        if expanded.is_absolute() { Ok(expanded) } else { Err("must be an absolute path, or begin with ~/") }
    }

    /// `${NAME}` replaced from the environment; `$${NAME}` stays as `${NAME}`. Names are upper case, digits, underscores.
    fn substituted(&self, path: &str, text: &str) -> Option<String> {
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            done.push_str(before);
            let named = after.split_once('}').filter(|(name, _)| is_variable(name));
            rest = match named {
                None => {
                    done.push_str("${");
                    after
                }
                Some((name, after)) if before.ends_with('$') => {
                    done.push_str(&format!("{{{name}}}"));
                    after
                }
                Some((name, after)) => {
                    let Some(value) = self.inputs.variable(name) else {
                        self.wrong(path, None, format!("names the environment variable {name}, which is not set"));
                        return None;
                    };
                    done.push_str(value);
                    after
                }
            };
        }
        done.push_str(rest);
        Some(done)
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A value for people: numbers and switches alone, as anything else may be or hold a secret, or the value of a variable.
fn shown(value: &Value) -> Option<String> {
    (value.is_number() || value.is_boolean()).then(|| value.to_string())
}

pub(super) fn closest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        // A distance is at least the difference of lengths, and takes time with their product: nobody waits for that of a giant name.
        .filter(|key| name.len().abs_diff(key.len()) <= 1 + key.len() / 6)
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
