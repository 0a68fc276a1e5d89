//! What kinds of lines there are: the levels of the log, and the events of the audit log.

use serde::Serialize;

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only for those who look for it.
    Debug,
    /// The usual.
    Info,
    /// Should be looked at.
    Warn,
    /// Must be looked at.
    Error,
}

impl LogLevel {
    /// The word in log lines and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Events that the audit log knows: all that are ever written (`Turn::audit` sees to it). `*` at the end stands for any rest.
pub(crate) const AUDIT_EVENTS: &[&str] = &[
    "auth.success",
    "auth.failure",
    "device.registered",
    "device.revoked",
    "device.pairing_requested",
    "device.pairing_rejected",
    "device.widened",
    "device.token_rotated",
    "channel.pairing_approved",
    "channel.pairing_revoked",
    "spawn.accepted",
    "spawn.refused",
    "control",
    "config.changed",
    "exec.approval.resolved",
    "node.invoke",
    "node.pairing_requested",
    "node.pairing_approved",
    "node.pairing_rejected",
    "gateway.started",
    "gateway.stopped",
];
