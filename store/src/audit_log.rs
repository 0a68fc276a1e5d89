//! Where audit entries are put: gathered and written in batches.
//!
//! No entry of a mutation goes without a trace:
//!
//! - A mutation calls [`AuditLogWriter::write`] and waits until its entry is on disk (many that wait at the same time share
//!   a transaction). Where that fails, the caller knows, and the entry stays in the buffer and is tried again.
//! - A refusal, an election and other things that nobody waits for call [`AuditLogWriter::push`]. Of these a power cut or
//!   `kill -9` may cost the last second.
//! - While the store can't write, 10,000 entries are kept. Beyond that the oldest go: each is written to the daemon's own
//!   log as an error at that moment, and as soon as the store works again the audit log itself gets an entry
//!   `audit.lost` of the actor `system` with how many are missing.

use serde_json::{Value, json};

use crate::batching::{Appending, Batched, Batcher};
use crate::handle::StoreHandle;
use crate::records::{AuditActor, AuditEntry, AuditResult};
use gatewarden_core::error::Failure;

/// The action of the entry that stands for lost ones.
pub const LOST: &str = "audit.lost";

/// Where everybody puts audit entries. Cheap to clone. When the last clone is dropped, the actor behind it ends: flush first.
#[derive(Clone, Debug)]
pub struct AuditLogWriter {
    batcher: Batcher<Entries>,
}

impl AuditLogWriter {
    /// Starts the writer on the current arbiter.
    pub fn start(store: StoreHandle) -> Self {
        let clock = store.clone();
        Self::start_with(
            move |entries| {
                let store = store.clone();
                Box::pin(async move { store.append_audit(entries).await })
            },
            move || clock.now_ms(),
        )
    }

    fn start_with(append: impl Fn(Vec<AuditEntry>) -> Appending + 'static, now_ms: impl Fn() -> i64 + 'static) -> Self {
        Self { batcher: Batcher::start(Entries { append: Box::new(append), now_ms: Box::new(now_ms) }) }
    }

    /// Takes one entry: written within a second or so while the store works. Never blocks, never fails.
    pub fn push(&self, entry: AuditEntry) {
        self.batcher.push(entry);
    }

    /// Takes one entry and answers once it is on disk. `store_unavailable`, `unavailable`: it is not there yet, and is tried
    /// again; see the module's documentation.
    pub async fn write(&self, entry: AuditEntry) -> Result<(), Failure> {
        self.batcher.write(entry).await
    }

    /// Answers once everything pushed before is written, or couldn't be at the first attempt: for the daemon's stop.
    pub async fn flush(&self) {
        self.batcher.flush().await;
    }
}

struct Entries {
    append: Box<dyn Fn(Vec<AuditEntry>) -> Appending>,
    now_ms: Box<dyn Fn() -> i64>,
}

impl Batched for Entries {
    type Row = AuditEntry;

    fn append(&self, rows: Vec<AuditEntry>) -> Appending {
        (self.append)(rows)
    }

    fn lost(entry: &AuditEntry) {
        tracing::error!(
            audit.at_ms = entry.at_ms,
            audit.actor = %entry.actor.name,
            audit.action = %entry.action,
            audit.target = entry.target.as_deref().unwrap_or_default(),
            audit.result = entry.result.as_str(),
            request.id = entry.request_id.as_deref().unwrap_or_default(),
            "an audit entry is lost to the audit log, which the store can't write"
        );
    }

    fn gap(&self, lost: u64) -> Option<AuditEntry> {
        Some(AuditEntry {
            at_ms: (self.now_ms)(),
            actor: AuditActor::system(),
            address: None,
            request_id: None,
            action: LOST.to_owned(),
            target: None,
            result: AuditResult::Failed,
            details: json!({ "entries": Value::from(lost) }),
        })
    }

    fn say_lost(lost: u64) {
        tracing::error!(entries.dropped = lost, "the audit log lacks {lost} entries; they are in this log as errors");
    }
}

#[cfg(test)]
mod tests;
