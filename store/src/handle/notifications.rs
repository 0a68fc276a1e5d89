//! What was announced to destinations, and what waits for them.

use super::StoreHandle;
use crate::records::{EpisodeRecord, NotificationMove, OutboxRecord};
use crate::tables::notifications;
use gatewarden_core::error::Failure;

impl StoreHandle {
    /// Announced episodes, and notifications that wait, oldest first.
    pub async fn load_notifications(&self) -> Result<(Vec<EpisodeRecord>, Vec<OutboxRecord>), Failure> {
        self.read("read the notifications", |connection, _| notifications::load(connection)).await
    }

    /// Carries out decisions, all or none: each moves an episode from the state on which it was made, and stores the
    /// notification that tells of it. The outbox rows, in the same order. Fails where an episode is not in that state: then
    /// read anew.
    pub async fn announce(&self, moves: Vec<NotificationMove>) -> Result<Vec<Option<i64>>, Failure> {
        let now_ms = self.now_ms();
        self.write("store the notifications", move |connection, _| notifications::carry_out(connection, &moves, now_ms))
            .await
    }

    /// Takes notifications out of the outbox: delivered, or given up. Rows that are gone already do no harm.
    pub async fn settle_notifications(&self, rows: Vec<i64>) -> Result<(), Failure> {
        self.write("settle the notifications", move |connection, _| notifications::settle(connection, &rows)).await?;
        Ok(())
    }

    /// Notes an attempt at delivery that failed: how many there were, and the wall ms before which none follows.
    pub async fn note_notification_attempt(&self, row: i64, attempts: u32, next_ms: i64) -> Result<(), Failure> {
        self.write("note the attempt at a notification", move |connection, _| {
            notifications::note_attempt(connection, row, attempts, next_ms)
        })
        .await?;
        Ok(())
    }

    /// Forgets what belongs to other destinations than these; how many notifications were dropped by that.
    pub async fn keep_notifications_of(&self, destinations: Vec<String>) -> Result<usize, Failure> {
        self.write("forget notifications of former destinations", move |connection, _| {
            notifications::keep_only(connection, &destinations)
        })
        .await
    }

    /// Forgets an announced episode without a word.
    pub async fn forget_episode(&self, episode: EpisodeRecord) -> Result<(), Failure> {
        self.write("forget an announcement", move |connection, _| {
            notifications::forget_episode(connection, &episode.destination, &episode.subject, &episode.condition)
        })
        .await?;
        Ok(())
    }
}
