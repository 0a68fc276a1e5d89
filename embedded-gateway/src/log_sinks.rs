//! Where the core actor's lines go: log and audit log, opened once a process and shared with whoever else writes lines (the
//! binary's tracing layer does).

use std::time::Duration;

use crate::audit_log::AuditLog;
use crate::config::GatewayConfig;
use crate::effect::{AuditEntry, LogLine};
use crate::log_file::LogFile;

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
