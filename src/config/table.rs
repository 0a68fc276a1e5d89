//! Tables of the configuration file that stand for one thing each: `[[notifications]]` and `[commands.NAME]`. They have no place in
//! the environment and on the command line: only the file defines them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use config::{Map, Value, ValueKind};

use super::reader::{Problem, slips};
use super::units;

/// Reads one table. What is wrong is noted, and so is what was read by nobody.
pub(super) struct TableReader<'a> {
    /// `commands.openclaw`, to stand before the names of keys.
    pub(super) path: String,
    pub(super) file: &'a Path,
    table: Map<String, Value>,
    /// What was asked for, in this order.
    known: Vec<&'static str>,
    pub(super) problems: &'a mut Vec<Problem>,
    pub(super) failed: bool,
}

impl<'a> TableReader<'a> {
    pub(super) fn new(path: String, file: &'a Path, table: Map<String, Value>, problems: &'a mut Vec<Problem>) -> Self {
        Self { path, file, table, known: Vec::new(), problems, failed: false }
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<ValueKind> {
        self.known.push(key);
        self.table.remove(key).map(|value| value.kind)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            ValueKind::String(text) => Some(text),
            _ => {
                self.wrong(key, "must be a text");
                None
            }
        }
    }

    pub(super) fn switch(&mut self, key: &'static str, default: bool) -> bool {
        match self.take(key) {
            None => default,
            Some(ValueKind::Boolean(switch)) => switch,
            Some(_) => {
                self.wrong(key, "must be true or false");
                default
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let text = self.text(key).unwrap_or_else(|| default.to_owned());
        units::duration_in(Some(&text), &range).unwrap_or_else(|expected| {
            self.wrong(key, expected);
            *range.start()
        })
    }

    /// A list of texts, each read by `text`; none where the key is not there.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        most: usize,
        text: fn(&ValueKind) -> Option<String>,
    ) -> Option<Vec<String>> {
        let items = match self.take(key)? {
            ValueKind::Array(items) if items.len() <= most => items.iter().map(|item| text(&item.kind)).collect(),
            _ => None,
        };
        items.or_else(|| {
            self.wrong(key, format!("must be a list of at most {most} texts"));
            Some(Vec::new())
        })
    }

    /// Texts by name. Err: this is no table.
    pub(super) fn names(&mut self, key: &'static str) -> Result<BTreeMap<String, ValueKind>, ()> {
        match self.take(key) {
            None => Ok(BTreeMap::new()),
            Some(ValueKind::Table(table)) => Ok(table.into_iter().map(|(name, value)| (name, value.kind)).collect()),
            Some(_) => Err(()),
        }
    }

    pub(super) fn wrong(&mut self, key: &str, expected: impl Into<String>) {
        let key = format!("{}.{key}", self.path);
        self.note(Problem::new(self.file.display().to_string(), key, expected));
    }

    pub(super) fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
        self.failed = true;
    }

    /// Notes what nobody asked for. `what` is what the table stands for: `a command`.
    pub(super) fn refuse_unknown(&mut self, what: &str) {
        for key in std::mem::take(&mut self.table).into_keys() {
            let near = self.known.iter().filter_map(|known| Some((slips(known, &key, 2)?, known)));
            let expected = match near.min_by_key(|(distance, _)| *distance) {
                Some((_, known)) => format!("unknown key; did you mean {known}?"),
                None => format!("unknown key; {what} has {}", self.known.join(", ")),
            };
            self.wrong(&key, expected);
        }
    }
}
