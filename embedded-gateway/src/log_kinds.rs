//! What kinds of lines there are: the levels of the log, and the events of the audit log.

use gatewarden_protocol::named;

named! {
    /// How loud a log line is.
    pub enum LogLevel {
        /// Only for those who look for it.
        Debug = "debug",
        /// The usual.
        Info = "info",
        /// Should be looked at.
        Warn = "warn",
        /// Must be looked at.
        Error = "error",
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
