//! What is kept of observations across a restart, and how long the health log is kept.

use std::time::Duration;

use actix::prelude::*;
use tracing::warn;

use super::RegistryActor;
use crate::gateway_record::Observed;
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;

/// How often changed observations are stored; a crash loses at most this much of them, never a record.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// How often logs and histories are thinned.
const THIN_INTERVAL: Duration = Duration::from_secs(600);

impl RegistryActor {
    pub(super) fn schedule_housekeeping(&self, ctx: &mut Context<Self>) {
        ctx.run_interval(SAVE_INTERVAL, |registry, ctx| {
            registry.addresses.prune(registry.clock.now());
            registry.save_observations(ctx);
        });
        ctx.run_interval(THIN_INTERVAL, |registry, ctx| registry.forget_old(ctx));
    }

    /// The observations that changed since they were last taken. Bounded by the roster.
    pub(super) fn take_unsaved(&mut self) -> Vec<(GatewayId, Observed)> {
        self.entries
            .iter_mut()
            .filter(|(_, entry)| !entry.is_hidden())
            .filter_map(|(id, entry)| std::mem::take(&mut entry.unsaved).then(|| (*id, observed(&entry.report))))
            .collect()
    }

    fn save_observations(&mut self, ctx: &mut Context<Self>) {
        let changed = self.take_unsaved();
        if changed.is_empty() {
            return;
        }
        let store = self.store.clone();
        let ids: Vec<GatewayId> = changed.iter().map(|(id, _)| *id).collect();
        let write = async move { store.save_observed(changed).await };
        ctx.spawn(write.into_actor(self).map(move |saved, registry, _| {
            if let Err(failure) = saved {
                warn!(%failure, "observations could not be stored: tried again in a minute");
                for id in ids {
                    if let Some(entry) = registry.entries.get_mut(&id) {
                        entry.unsaved = true;
                    }
                }
            }
        }));
    }

    fn forget_old(&self, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let retention = self.retention.clone();
        let thin = async move {
            if let Err(failure) = store.forget_old(&retention).await {
                warn!(%failure, "old logs and histories could not be forgotten: tried again in ten minutes");
            }
        };
        ctx.spawn(thin.into_actor(self));
    }
}

fn observed(report: &GatewayReport) -> Observed {
    Observed {
        status: Some(report.status.as_str().to_owned()),
        last_seen: report.last_seen_ms.map(|ms| ms / 1_000),
        #[expect(clippy::cast_possible_truncation, reason = "latencies are small")]
        latency: report.latency_ms.map(|ms| ms.round() as i64),
        sessions_count: report.sessions_count.map_or(0, i64::from),
        agents_count: report.agents_count.map_or(0, i64::from),
    }
}
