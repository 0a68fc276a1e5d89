//! The health log: append, read, thin.

use std::time::Duration;

use super::{StoreHandle, span_ms};
use crate::records::{HealthEntry, Thinned};
use crate::tables::health_log;
use gatewarden_core::error::Failure;
use gatewarden_core::gateway_report::HealthPoint;
use gatewarden_core::ids::GatewayId;

impl StoreHandle {
    /// Appends points, all at once. Points of gateways that are gone are dropped.
    pub async fn append_health(&self, points: Vec<(GatewayId, HealthPoint)>) -> Result<(), Failure> {
        if points.is_empty() {
            return Ok(());
        }
        self.write("append to the health log", move |connection, _| health_log::append(connection, &points)).await
    }

    /// Points since `since_ms` (wall ms) of one gateway, or of all: grouped by gateway, newest first in each, at most
    /// `limit` a gateway. For all gateways together no more than 200,000 points are read: a large fleet gets a smaller
    /// limit, the same for each.
    pub async fn health_history(
        &self,
        only: Option<GatewayId>,
        since_ms: i64,
        limit: usize,
    ) -> Result<Vec<HealthEntry>, Failure> {
        self.read("read the health log", move |connection, _| health_log::history(connection, only, since_ms, limit))
            .await
    }

    /// Keeps full points for `full`, then one point an hour until `thinned`, then nothing; both are rounded up to whole hours.
    ///
    /// An hourly point has the hour's start as its time, the worst status seen in it, the average, minimum and maximum of
    /// its latencies, the sum of its misses and the last error. Works in short transactions, so that other writes get their
    /// turn; stops at the first failure, and the next run goes on from there.
    pub async fn thin_health(&self, now_ms: i64, full: Duration, thinned: Duration) -> Result<Thinned, Failure> {
        let full_before = health_log::hour_start(now_ms.saturating_sub(span_ms(full)));
        let drop_before = health_log::hour_start(now_ms.saturating_sub(span_ms(thinned.max(full))));
        let removed = self
            .write_in_turns("forget old health points", move |connection| health_log::remove(connection, drop_before))
            .await?;
        let folded = self
            .write_in_turns("thin the health log", move |connection| health_log::fold_some(connection, full_before))
            .await?;
        Ok(Thinned { folded, removed })
    }
}
