//! A gateway's log, brought into one shape: the lines of `logs.tail` (JSON records of tslog) and document 002's `log` events.
//!
//! A line is shown whatever it holds; what can't be read of it is shown as it stands. Everything is bounded, and fit to be
//! printed: terminal sequences and control characters are removed, line ends and tabs of a message stay.

mod timestamp;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::decoding::{Allowance, decode, held_bytes, text_bytes};
use crate::fields;
use crate::limits::{
    MAX_DECODED_LOG_LINE, MAX_LOG_EXTRA, MAX_LOG_EXTRA_BYTES, MAX_LOG_LINES, MAX_LOG_LINES_BYTES, MAX_LOG_MESSAGE,
};
use crate::words;

/// How grave an entry is, gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// The gateway can't go on.
    Fatal,
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// What happens.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All, gravest first.
    pub const ALL: [Self; 6] = [Self::Fatal, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Reads a name as gateways and people write it, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "fatal" | "critical" | "panic" => Self::Fatal,
            "error" | "err" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "info" | "notice" | "log" => Self::Info,
            "debug" | "verbose" => Self::Debug,
            "trace" | "silly" => Self::Trace,
            _ => return None,
        })
    }
}

/// One entry of a gateway's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When, Unix ms; none where the gateway doesn't say.
    pub timestamp: Option<i64>,
    /// How grave; none where the gateway doesn't say.
    pub level: Option<LogLevel>,
    /// The part of the gateway, or the agent.
    pub source: Option<String>,
    /// The session that it is about, where named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The text, at most [`MAX_LOG_MESSAGE`] characters.
    pub message: String,
    /// Values beside the text: what the gateway attached, at most [`MAX_LOG_EXTRA`] bytes as JSON, else
    /// `{"left_out_bytes": n}`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::nested_json::deserialize")]
    pub extra: Option<Value>,
}

impl LogEntry {
    /// An entry that is only a text.
    pub fn plain(text: &str) -> Self {
        Self { timestamp: None, level: None, source: None, session: None, message: shown_text(text), extra: None }
    }

    /// Whether it is of this level or graver. An entry that doesn't say its level is worth seeing.
    pub fn is_at_least(&self, level: LogLevel) -> bool {
        self.level.is_none_or(|own| own <= level)
    }

    /// Roughly how much it takes to keep and to send, bytes.
    pub fn weight(&self) -> usize {
        let texts = [self.source.as_deref(), self.session.as_deref(), Some(self.message.as_str())];
        let extra = self.extra.as_ref().map_or(0, held_bytes);
        size_of::<Self>() + extra + texts.into_iter().flatten().map(text_bytes).sum::<usize>()
    }

    /// Leaves out the values beside the text.
    pub fn drop_extra(&mut self) {
        if let Some(extra) = self.extra.take() {
            self.extra = Some(left_out(&extra));
        }
    }
}

/// One reply to `logs.tail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTail {
    /// The file that was read; it changes at midnight.
    pub file: Option<String>,
    /// The place after the last line, as offset in the file.
    pub cursor: u64,
    /// As written, oldest first, without empty ones; at most [`MAX_LOG_LINES`].
    pub lines: Vec<String>,
    /// Whether the gateway says that it left older lines out. It doesn't always say so.
    pub truncated: bool,
    /// The cursor that was asked from is of no use (the file is shorter, or too much was written since): this is the end of
    /// the file instead.
    pub reset: bool,
}

/// Reads a reply to `logs.tail`; none where it has no lines or no cursor.
pub fn read_log_tail(mut payload: Value) -> Option<LogTail> {
    let cursor = fields::whole(&payload, &["cursor"])?;
    let file = payload.get("file").and_then(Value::as_str).map(|file| file.chars().take(4_096).collect());
    let (truncated, reset) =
        (fields::flag(&payload, &["truncated"]) == Some(true), fields::flag(&payload, &["reset"]) == Some(true));
    let Value::Array(raw) = payload.get_mut("lines")?.take() else { return None };
    let all = raw.len();
    let newest_first = raw.into_iter().rev().take(MAX_LOG_LINES).scan(MAX_LOG_LINES_BYTES, |left, line| {
        *left = left.checked_sub(line.as_str().map_or(0, line_bytes))?;
        Some(line)
    });
    let mut kept: Vec<Value> = newest_first.collect();
    let surplus = all > kept.len();
    kept.reverse();
    let lines = kept.into_iter().filter_map(|line| match line {
        Value::String(line) if !line.trim().is_empty() => Some(line),
        _ => None,
    });
    Some(LogTail { file, cursor, lines: lines.collect(), truncated: truncated || surplus, reset })
}

/// What a line takes to be kept, bytes.
pub fn line_bytes(line: &str) -> usize {
    size_of::<String>() + text_bytes(line)
}

/// Reads one line of a log file. A line that is no record is a message.
pub fn read_log_line(line: &str) -> LogEntry {
    match decode(line.as_bytes(), &mut Allowance(MAX_DECODED_LOG_LINE.max(2 * line.len()))) {
        Ok(Value::Object(record)) => read_record(&record).unwrap_or_else(|| LogEntry::plain(line)),
        _ => LogEntry::plain(line),
    }
}

/// Reads the payload of a `log` event (document 002); none where it has no message.
pub fn read_log_event(payload: &Value) -> Option<LogEntry> {
    let message = match payload {
        Value::String(text) => return Some(LogEntry::plain(text)),
        Value::Object(payload) => payload.get("message").or_else(|| payload.get("text"))?,
        _ => return None,
    };
    Some(LogEntry {
        timestamp: fields::time_ms(payload, &["timestamp", "ts"])
            .or_else(|| payload.get("timestamp").and_then(Value::as_str).and_then(timestamp::unix_ms)),
        level: payload.get("level").and_then(Value::as_str).and_then(LogLevel::from_name),
        source: fields::shown(payload, &["source", "subsystem"]),
        session: fields::name(payload, &["session", "sessionKey"]),
        message: message.as_str().map_or_else(|| shown_text(&message.to_string()), shown_text),
        extra: payload.get("extra").filter(|extra| !extra.is_null()).cloned().map(bounded),
    })
}

/// A record: numbered arguments of the logging call, of which the first may be the logger's own name as JSON, and what the
/// logger adds.
fn read_record(record: &Map<String, Value>) -> Option<LogEntry> {
    let meta = record.get("_meta");
    let of_meta = |field: &str| meta.and_then(|meta| meta.get(field)).and_then(Value::as_str);
    let of_record = |field: &str| record.get(field).and_then(Value::as_str);
    let logger = record.get("0").and_then(Value::as_str).and_then(logger_name);
    let first = usize::from(logger.is_some());
    let (mut texts, mut values) = (Vec::new(), Vec::new());
    for argument in (first..16).map_while(|place| record.get(&place.to_string())) {
        match argument {
            Value::String(text) => texts.push(text.clone()),
            Value::Object(_) | Value::Array(_) => values.push(argument.clone()),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => texts.push(argument.to_string()),
        }
    }
    let message = match (texts.is_empty(), of_record("message"), values.first()) {
        (false, _, _) => texts.join(" "),
        (true, Some(message), _) => message.to_owned(),
        (true, None, Some(value)) => value.to_string(),
        (true, None, None) => return None,
    };
    let level = of_meta("logLevelName").or_else(|| of_record("level")).and_then(LogLevel::from_name);
    let time = [of_meta("date"), of_record("time"), of_record("timestamp")];
    let source = logger.as_ref().and_then(|logger| fields::shown(logger, &["subsystem", "module", "name"]));
    let session = values.iter().chain(&logger).find_map(|value| fields::name(value, &["sessionKey", "session"]));
    let extra = if values.len() > 1 { Some(Value::Array(values)) } else { values.pop() };
    Some(LogEntry {
        timestamp: time.into_iter().flatten().find_map(timestamp::unix_ms),
        level,
        source: source.or_else(|| of_record("subsystem").map(words::shown)).filter(|source| !source.is_empty()),
        session,
        message: shown_text(&message),
        extra: extra.map(bounded),
    })
}

/// A logger's name is a JSON object in a text, such as `{"subsystem":"gateway/ws"}`.
fn logger_name(text: &str) -> Option<Value> {
    let looks_so = text.starts_with('{') && text.len() <= MAX_LOG_EXTRA;
    let read = || decode(text.as_bytes(), &mut Allowance(MAX_LOG_EXTRA_BYTES)).ok();
    looks_so.then(read).flatten().filter(Value::is_object)
}

/// Small texts can be large values: both count.
fn bounded(extra: Value) -> Value {
    let fits = held_bytes(&extra) <= MAX_LOG_EXTRA_BYTES && extra.to_string().len() <= MAX_LOG_EXTRA;
    if fits { extra } else { left_out(&extra) }
}

fn left_out(extra: &Value) -> Value {
    serde_json::json!({ "left_out_bytes": extra.to_string().len() })
}

/// A message fit to be shown on a terminal and in a page: control characters and terminal sequences removed, lines kept.
pub fn shown_text(text: &str) -> String {
    let mut shown = String::new();
    let mut length = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            if characters.next_if_eq(&'[').is_some() {
                while characters.next().is_some_and(|part| !('@'..='~').contains(&part)) {}
            }
            continue;
        }
        if words::is_unfit(character) && !matches!(character, '\n' | '\t') {
            continue;
        }
        if length >= MAX_LOG_MESSAGE {
            shown.push('…');
            break;
        }
        shown.push(character);
        length += 1;
    }
    shown.truncate(shown.trim_end().len());
    shown
}

#[cfg(test)]
mod tests;
