//! What is old goes: one call for all logs and histories.

use super::StoreHandle;
use crate::error::Failure;
use crate::settings::RetentionSettings;

impl StoreHandle {
    /// Thins the health log and forgets old audit entries, spawns, idempotency keys, direct connections and token usage, each
    /// in short transactions. One that fails doesn't keep the others from it; the answer is the first failure, and the next
    /// run goes on from there.
    pub async fn forget_old(&self, now_ms: i64, retention: &RetentionSettings) -> Result<(), Failure> {
        let outcomes = [
            self.thin_health(now_ms, retention.full, retention.thinned).await.map(|_| ()),
            self.thin_audit(now_ms, retention.audit).await.map(|_| ()),
            self.purge_idempotency_keys(now_ms).await.map(|_| ()),
            self.thin_spawns(now_ms, retention.spawns).await.map(|_| ()),
            self.thin_connections(now_ms, Self::CONNECTIONS_KEPT).await.map(|_| ()),
            self.thin_tokens(now_ms, Self::TOKENS_KEPT).await.map(|_| ()),
        ];
        outcomes.into_iter().collect()
    }
}
