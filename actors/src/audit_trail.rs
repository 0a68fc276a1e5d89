//! Where everything that was done or refused is told: to the audit log, and to the admins who follow events.

use crate::error::Failure;
use crate::event_data;
use crate::event_hub::EventPublisher;
use crate::store::batching::AuditLogWriter;
use crate::store::records::AuditEntry;

/// The way to both. Cheap to clone.
#[derive(Clone)]
pub struct AuditTrail {
    log: AuditLogWriter,
    events: EventPublisher,
}

impl AuditTrail {
    /// A trail to this log and these subscribers.
    pub fn new(log: AuditLogWriter, events: EventPublisher) -> Self {
        Self { log, events }
    }

    /// Takes an entry that nobody waits for: on disk within a second or so. Never blocks, never fails.
    pub fn note(&self, entry: AuditEntry) {
        self.tell(&entry);
        self.log.push(entry);
    }

    /// Takes an entry and answers once it is on disk.
    ///
    /// # Errors
    /// `store_unavailable`, `unavailable`: it is not there yet, and is tried again.
    pub async fn record(&self, entry: AuditEntry) -> Result<(), Failure> {
        self.tell(&entry);
        self.log.write(entry).await
    }

    /// Answers once everything noted before is on disk, or couldn't be at the first attempt: for the daemon's stop.
    pub async fn flush(&self) {
        self.log.flush().await;
    }

    fn tell(&self, entry: &AuditEntry) {
        self.events.tell(&event_data::audit(entry.clone()));
    }
}
