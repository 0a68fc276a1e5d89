//! The gateway's own log: JSON lines in the form of real releases (tslog), so that `logs.tail` and their readers understand
//! it, kept in bounds by size.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use gatewarden_line_writer::{Keeping, LineWriter, Lost, standard_error};
use gatewarden_protocol::wall_time;
use serde_json::{Value, json};

use crate::config::Log;
use crate::effect::{LogLevel, LogLine};
use crate::payload::{joined, without_nulls};

const KEPT: u32 = 3;

/// A handle to the log.
#[derive(Debug, Clone)]
pub struct LogFile {
    writer: LineWriter,
    /// [`level_id`] of the lowest level that is written; of all handles together.
    level: Arc<AtomicU8>,
    stderr: Option<StderrForm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StderrForm {
    People,
    Programs,
}

impl LogFile {
    /// Opens the file and starts its thread.
    ///
    /// # Errors
    /// The file can't be opened for writing.
    pub fn open(log: &Log) -> std::io::Result<Self> {
        let writer = LineWriter::open(Keeping {
            file: log.file.clone(),
            max_bytes: log.max_bytes,
            kept: KEPT,
            sync: false,
            lost: Lost::Line(|lost| {
                let line = LogLine {
                    level: LogLevel::Warn,
                    source: "gateway/log".to_owned(),
                    session: None,
                    message: format!("{lost} lines of this log were lost: more came than could be written"),
                    extra: Value::Null,
                };
                record(&line, crate::clock::Now::read().wall_ms)
            }),
        })?;
        let form = if std::io::stderr().is_terminal() { StderrForm::People } else { StderrForm::Programs };
        let level = Arc::new(AtomicU8::new(level_id(log.level)));
        Ok(Self { writer, level, stderr: log.stderr.then_some(form) })
    }

    /// Whether lines of this level are written at all.
    pub fn takes(&self, level: LogLevel) -> bool {
        level_id(level) >= self.level.load(Ordering::Relaxed)
    }

    pub(crate) fn set_level(&self, level: LogLevel) {
        self.level.store(level_id(level), Ordering::Relaxed);
    }

    /// Queues a line. Never waits for the disk.
    pub fn write(&self, line: &LogLine, wall_ms: i64) {
        if !self.takes(line.level) {
            return;
        }
        self.writer.write(record(line, wall_ms));
        let text = match self.stderr {
            None => return,
            Some(StderrForm::People) => for_people(line, wall_ms),
            Some(StderrForm::Programs) => for_programs(line, wall_ms),
        };
        // Where standard error doesn't take it, the file has the line.
        if let Some(standard_error) = standard_error() {
            standard_error.write(text);
        }
    }

    /// Waits until everything queued is in the file; false where that took too long.
    pub fn flush(&self, limit: Duration) -> bool {
        let said = self.stderr.is_none() || standard_error().is_none_or(|writer| writer.flush(limit));
        self.writer.flush(limit) && said
    }
}

/// A line of the file, without its end.
pub fn record(line: &LogLine, wall_ms: i64) -> String {
    let time = wall_time::of_millis(wall_ms);
    let name = json!({"subsystem": line.source}).to_string();
    let level = line.level.as_str().to_uppercase();
    let record = json!({
        "0": name,
        "1": line.message,
        "2": line.extra,
        "_meta": {"name": name, "logLevelName": level, "logLevelId": level_id(line.level), "date": time},
        "time": time,
        "message": line.message,
        "session": line.session,
    });
    without_nulls(record).to_string()
}

fn level_id(level: LogLevel) -> u8 {
    match level {
        LogLevel::Debug => 2,
        LogLevel::Info => 3,
        LogLevel::Warn => 4,
        LogLevel::Error => 5,
    }
}

/// `2026-11-21T15:20:16.123Z INFO  [gateway] text`
fn for_people(line: &LogLine, wall_ms: i64) -> String {
    let level = line.level.as_str().to_uppercase();
    let mut text = format!("{} {level:<5} [{}] {}", wall_time::of_millis(wall_ms), line.source, visible(&line.message));
    if let Some(session) = &line.session {
        text.push_str(&format!(" session={session}"));
    }
    if !line.extra.is_null() {
        text.push_str(&format!(" {}", visible(&line.extra.to_string())));
    }
    text
}

/// A record of the file for people; the line itself where it is none.
pub fn record_for_people(text: &str) -> String {
    let Ok(record) = serde_json::from_str::<Value>(text) else { return visible(text) };
    let at = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let source = serde_json::from_str::<Value>(at("/0"))
        .ok()
        .and_then(|name| name.get("subsystem").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_default();
    let mut shown = format!("{} {:<5} [{source}] {}", at("/time"), at("/_meta/logLevelName"), at("/1"));
    shown = visible(&shown);
    if let Some(session) = record.get("session").and_then(Value::as_str) {
        shown.push_str(&format!(" session={}", visible(session)));
    }
    if let Some(extra) = record.get("2") {
        shown.push_str(&format!(" {}", visible(&extra.to_string())));
    }
    shown
}

/// The level of a record of the file.
pub fn record_level(text: &str) -> Option<LogLevel> {
    let record: Value = serde_json::from_str(text).ok()?;
    match record.pointer("/_meta/logLevelName")?.as_str()? {
        "SILLY" | "TRACE" | "DEBUG" => Some(LogLevel::Debug),
        "INFO" => Some(LogLevel::Info),
        "WARN" => Some(LogLevel::Warn),
        "ERROR" | "FATAL" => Some(LogLevel::Error),
        _ => None,
    }
}

/// Output of children ends up in the log: nothing of it may steer a terminal.
fn visible(text: &str) -> String {
    text.chars().map(|char| if char.is_control() && char != '\t' { '\u{fffd}' } else { char }).collect()
}

/// Document 002's form ("Logs"): `{"level":"info","msg":"..."}` and more.
fn for_programs(line: &LogLine, wall_ms: i64) -> String {
    let record = without_nulls(json!({
        "level": line.level,
        "msg": line.message,
        "time": wall_time::of_millis(wall_ms),
        "source": line.source,
        "session": line.session,
    }));
    if line.extra.is_object() { joined(line.extra.clone(), record).to_string() } else { record.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: LogLevel, message: &str) -> LogLine {
        LogLine {
            level,
            source: "gateway/ws".to_owned(),
            session: Some("agent:main:main".to_owned()),
            message: message.to_owned(),
            extra: json!({"pid": 7}),
        }
    }

    #[test]
    fn a_line_has_the_form_of_real_releases() {
        let text = record(&line(LogLevel::Warn, "two\nlines"), 0);
        assert_eq!(text.lines().count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["0"], r#"{"subsystem":"gateway/ws"}"#);
        assert_eq!((value["1"].as_str(), value["_meta"]["logLevelName"].as_str()), (Some("two\nlines"), Some("WARN")));
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(record_level(&text), Some(LogLevel::Warn));
    }

    #[test]
    fn people_get_one_line_that_cannot_steer_their_terminal() {
        let line = line(LogLevel::Error, "red \u{1b}[31m and\nnext");
        let shown = record_for_people(&record(&line, 0));
        assert_eq!(shown, for_people(&line, 0));
        assert!(shown.starts_with("1970-01-01T00:00:00.000Z ERROR [gateway/ws] red \u{fffd}[31m and\u{fffd}next"));
        assert!(shown.ends_with("session=agent:main:main {\"pid\":7}"));
        assert_eq!(record_for_people("not json \u{1b}"), "not json \u{fffd}");
    }

    #[test]
    fn not_even_its_fields_can_steer_a_terminal() {
        // JSON escapes the control characters of ASCII alone.
        let mut line = line(LogLevel::Warn, "x");
        line.extra = json!({"scopes": ["\u{9b}31m\u{7f}"]});
        let shown = record_for_people(&record(&line, 0));
        assert_eq!(shown, for_people(&line, 0));
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }

    #[test]
    fn programs_get_document_002s_form() {
        let value: Value = serde_json::from_str(&for_programs(&line(LogLevel::Info, "x"), 0)).unwrap();
        assert_eq!(
            (value["level"].as_str(), value["msg"].as_str(), value["pid"].as_i64()),
            (Some("info"), Some("x"), Some(7))
        );
    }

    #[test]
    fn quieter_lines_than_wanted_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log { file: dir.path().join("log"), level: LogLevel::Warn, max_bytes: 1 << 20, stderr: false };
        let file = LogFile::open(&log).unwrap();
        for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
            file.write(&line(level, level.as_str()), 0);
        }
        assert!(file.flush(Duration::from_secs(20)));
        let text = std::fs::read_to_string(&log.file).unwrap();
        assert_eq!(
            text.lines().map(|line| record_level(line).unwrap()).collect::<Vec<_>>(),
            [LogLevel::Warn, LogLevel::Error]
        );
    }
}
