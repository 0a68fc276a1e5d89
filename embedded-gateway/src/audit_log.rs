//! The audit log (document 002, "Audit Logs"): who was let in, refused, registered, revoked. JSON lines, filtered by
//! `audit.events`, synced to disk.

use std::collections::BTreeSet;
use std::time::Duration;

use gatewarden_line_writer::{Keeping, LineWriter, Lost};
use gatewarden_protocol::wall_time;
use serde_json::{Map, Value};

use crate::config::Audit;
use crate::effect::AuditEntry;

/// Size at which the file is set aside, in bytes: refused strangers must not fill the disk.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
const KEPT: u32 = 8;

#[derive(Debug, Clone)]
pub struct AuditLog {
    writer: LineWriter,
    events: BTreeSet<String>,
}

impl AuditLog {
    /// Opens the file; none where the configuration has it off.
    ///
    /// # Errors
    /// The file can't be opened for writing.
    pub fn open(audit: &Audit) -> std::io::Result<Option<Self>> {
        if !audit.enabled {
            return Ok(None);
        }
        let writer = LineWriter::open(Keeping {
            file: audit.file.clone(),
            max_bytes: MAX_BYTES,
            kept: KEPT,
            sync: true,
            lost: Lost::Line(|lost| {
                let entry = AuditEntry { event: "audit.lost", fields: serde_json::json!({"entries": lost}) };
                record(&entry, crate::clock::Now::read().wall_ms)
            }),
        })?;
        Ok(Some(Self { writer, events: audit.events.clone() }))
    }

    pub fn write(&self, entry: &AuditEntry, wall_ms: i64) {
        if wanted(&self.events, entry.event) {
            self.writer.write(record(entry, wall_ms));
        }
    }

    /// Waits until everything queued is on disk; false where that took too long.
    pub fn flush(&self, limit: Duration) -> bool {
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
    let mut fields = Map::new();
    fields.insert("time".to_owned(), wall_time::of_millis(wall_ms).into());
    fields.insert("event".to_owned(), entry.event.into());
    if let Value::Object(more) = &entry.fields {
        for (key, value) in more {
            fields.entry(key).or_insert_with(|| value.clone());
        }
    }
    Value::Object(fields).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
