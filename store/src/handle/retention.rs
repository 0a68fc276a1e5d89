//! What is old goes: one call for all logs and histories.

use super::{StoreHandle, whole};
use crate::tables::{audit_log, spawns as spawns_table, token_usage};
use gatewarden_core::error::Failure;
use gatewarden_core::settings::RetentionSettings;

impl StoreHandle {
    /// Most entries of the audit log, and most reports of token usage, however young: 1,000,000.
    pub const MOST_LOGGED: usize = 1_000_000;
    /// Most spawns that have ended, however young: 500,000.
    pub const MOST_SPAWNS: usize = 500_000;

    /// Thins the health log and forgets old audit entries, spawns, idempotency keys, direct connections and token usage, each
    /// in short transactions, by the clock's judgement of each span ([`gatewarden_clock::clock::Clock::judged_ms`]). One that fails doesn't keep the
    /// others from it; the answer is the first failure, and the next run goes on from there.
    pub async fn forget_old(&self, retention: &RetentionSettings) -> Result<(), Failure> {
        let judged = |kept| self.shared.clock.judged_ms(kept);
        let outcomes = [
            self.thin_health(judged(retention.thinned.max(retention.full)), retention.full, retention.thinned)
                .await
                .map(|_| ()),
            self.thin_audit(judged(retention.audit), retention.audit).await.map(|_| ()),
            self.purge_idempotency_keys(judged(Self::IDEMPOTENCY_KEPT)).await.map(|_| ()),
            self.thin_spawns(judged(retention.spawns), retention.spawns).await.map(|_| ()),
            self.thin_connections(judged(Self::CONNECTIONS_KEPT), Self::CONNECTIONS_KEPT).await.map(|_| ()),
            self.thin_tokens(judged(Self::TOKENS_KEPT), Self::TOKENS_KEPT).await.map(|_| ()),
            self.cut_logs(Self::MOST_LOGGED, Self::MOST_SPAWNS).await.map(|_| ()),
            self.tidy().await,
        ];
        outcomes.into_iter().collect()
    }

    /// Forgets the oldest entries of the audit log and reports of token usage beyond `logged`, and the oldest ended spawns
    /// beyond `spawns`; how many there were. So a flood costs history, and never the disk.
    pub async fn cut_logs(&self, logged: usize, spawns: usize) -> Result<usize, Failure> {
        let (logged, spawns) = (whole(logged), whole(spawns));
        let audit =
            self.write_in_turns("cut the audit log", move |connection| audit_log::remove_beyond(connection, logged));
        let audit = audit.await?;
        let tokens = self
            .write_in_turns("cut the token usage", move |connection| token_usage::remove_beyond(connection, logged));
        let tokens = tokens.await?;
        let ended = self
            .write_in_turns("cut the ended spawns", move |connection| spawns_table::remove_beyond(connection, spawns));
        Ok(audit + tokens + ended.await?)
    }
}
