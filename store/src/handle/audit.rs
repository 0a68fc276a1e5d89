//! The audit log: append, list, forget what is old. Who has entries to write uses
//! [`crate::audit_log::AuditLogWriter`], which gathers them.

use std::time::Duration;

use super::{StoreHandle, span_ms, whole};
use crate::records::{AuditEntry, AuditRecord};
use crate::tables::audit_log;
use gatewarden_core::error::Failure;

/// Entries in one answer.
const MOST_LISTED: usize = 1_000;

impl StoreHandle {
    /// Appends entries, all or none; on disk when it answers. Texts are cut and details left out as
    /// [`AuditEntry`] says.
    pub async fn append_audit(&self, entries: Vec<AuditEntry>) -> Result<(), Failure> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write("append to the audit log", move |connection, _| audit_log::append(connection, &entries)).await
    }

    /// Entries newest first: at most `limit` (1 to 1,000), not older than `since_ms`, with ids below `before_id` (the last
    /// id of the page before).
    pub async fn list_audit(
        &self,
        limit: usize,
        since_ms: Option<i64>,
        before_id: Option<i64>,
    ) -> Result<Vec<AuditRecord>, Failure> {
        let limit = whole(limit.clamp(1, MOST_LISTED));
        self.read("read the audit log", move |connection, _| audit_log::list(connection, limit, since_ms, before_id))
            .await
    }

    /// Forgets entries older than `keep`; how many there were. Works in short transactions, so that other writes get their
    /// turn.
    pub async fn thin_audit(&self, now_ms: i64, keep: Duration) -> Result<usize, Failure> {
        let before = now_ms.saturating_sub(span_ms(keep));
        self.write_in_turns("forget old audit entries", move |connection| audit_log::remove(connection, before)).await
    }
}
