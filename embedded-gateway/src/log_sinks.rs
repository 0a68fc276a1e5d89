//! Where the core actor's lines go: log and audit log, opened once a process and shared with whoever else writes lines (the
//! binary's tracing layer does).

use std::collections::BTreeSet;
use std::time::Duration;

use gatewarden_line_writer::{Keeping, LineWriter, Lost};
use gatewarden_protocol::wall_time;
use serde_json::json;

use crate::clock::Now;
use crate::config::{Audit, GatewayConfig};
use crate::effect::{AuditEntry, LogLevel, LogLine};
use crate::log_file::LogFile;
use crate::payload::joined;

/// Log and audit log. Without them (tests) lines go nowhere.
#[derive(Debug, Clone, Default)]
pub struct LogSinks {
    /// The gateway's own log.
    pub log: Option<LogFile>,
    /// The audit log.
    pub audit: Option<AuditLog>,
}

/// A log that can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be opened for writing at {}: {source}. Check the directory, or name another file with {key}.", .path.display())]
pub struct LogSinkError {
    /// Which one.
    pub what: &'static str,
    /// Where.
    pub path: std::path::PathBuf,
    /// The setting that says where.
    pub key: &'static str,
    /// Why.
    pub source: std::io::Error,
}

impl LogSinks {
    /// Opens what the configuration wants.
    ///
    /// # Errors
    /// A file can't be opened for writing.
    pub fn open(config: &GatewayConfig) -> Result<Self, LogSinkError> {
        let log = LogFile::open(&config.log).map_err(|source| LogSinkError {
            what: "The gateway's log",
            path: config.log.file.clone(),
            key: "logging.file",
            source,
        })?;
        let audit = AuditLog::open(&config.audit).map_err(|source| LogSinkError {
            what: "The audit log",
            path: config.audit.file.clone(),
            key: "audit.logFile",
            source,
        })?;
        Ok(Self { log: Some(log), audit })
    }

    /// From now on the log takes lines of this level and above.
    pub(crate) fn set_level(&self, level: LogLevel) {
        if let Some(log) = &self.log {
            log.set_level(level);
        }
    }

    /// Writes a line of the log.
    pub fn log(&self, line: &LogLine, wall_ms: i64) {
        if let Some(log) = &self.log {
            log.write(line, wall_ms);
        }
    }

    /// Writes an entry of the audit log.
    pub fn audit(&self, entry: &AuditEntry, wall_ms: i64) {
        if let Some(audit) = &self.audit {
            audit.write(entry, wall_ms);
        }
    }

    /// Waits until everything queued is written; false where a file took longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        let log = self.log.as_ref().is_none_or(|log| log.flush(limit));
        let audit = self.audit.as_ref().is_none_or(|audit| audit.flush(limit));
        log && audit
    }
}

/// Size at which the file is set aside, in bytes: refused strangers must not fill the disk.
const AUDIT_BYTES: u64 = 64 * 1024 * 1024;
const AUDIT_FILES: u32 = 8;

/// The audit log (document 002, "Audit Logs"): who was let in, refused, registered, revoked. JSON lines, filtered by
/// `audit.events`, synced to disk.
#[derive(Debug, Clone)]
pub struct AuditLog {
    writer: LineWriter,
    events: BTreeSet<String>,
}

impl AuditLog {
    /// Opens the file; none where the configuration has it off.
    fn open(audit: &Audit) -> std::io::Result<Option<Self>> {
        if !audit.enabled {
            return Ok(None);
        }
        let writer = LineWriter::open(Keeping {
            file: audit.file.clone(),
            max_bytes: AUDIT_BYTES,
            kept: AUDIT_FILES,
            sync: true,
            lost: Lost::Line(|lost| {
                let entry = AuditEntry { event: "audit.lost", fields: json!({"entries": lost}) };
                record(&entry, Now::read().wall_ms)
            }),
        })?;
        Ok(Some(Self { writer, events: audit.events.clone() }))
    }

    fn write(&self, entry: &AuditEntry, wall_ms: i64) {
        if wanted(&self.events, entry.event) {
            self.writer.write(record(entry, wall_ms));
        }
    }

    /// Waits until everything queued is on disk; false where that took too long.
    fn flush(&self, limit: Duration) -> bool {
        self.writer.flush(limit)
    }
}

fn wanted(events: &BTreeSet<String>, event: &str) -> bool {
    events.is_empty()
        || events.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => event.starts_with(prefix),
            None => event == wanted,
        })
}

fn record(entry: &AuditEntry, wall_ms: i64) -> String {
    joined(entry.fields.clone(), json!({"time": wall_time::of_millis(wall_ms), "event": entry.event})).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_wanted_events_are_written_and_none_listed_means_all() {
        for (events, expected) in [
            (vec!["auth.failure"], vec!["auth.failure"]),
            (vec!["auth.*"], vec!["auth.success", "auth.failure"]),
            (vec![], vec!["auth.success", "auth.failure", "device.revoked"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let events = events.into_iter().map(str::to_owned).collect();
            let audit = Audit { enabled: true, file: dir.path().join("audit.log"), events };
            let log = AuditLog::open(&audit).unwrap().unwrap();
            for event in ["auth.success", "auth.failure", "device.revoked"] {
                log.write(&AuditEntry { event, fields: json!({"remote": "127.0.0.1", "time": "not this"}) }, 0);
            }
            assert!(log.flush(Duration::from_secs(20)));
            let text = std::fs::read_to_string(&audit.file).unwrap();
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.iter().map(|line| line["event"].as_str().unwrap()).collect::<Vec<_>>(), expected);
            assert!(
                lines.iter().all(|line| line["time"] == "1970-01-01T00:00:00.000Z" && line["remote"] == "127.0.0.1")
            );
        }
    }

    #[test]
    fn where_it_is_off_no_file_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit { enabled: false, file: dir.path().join("audit.log"), events: BTreeSet::new() };
        assert!(AuditLog::open(&audit).unwrap().is_none());
        assert!(!audit.file.exists());
    }
}
