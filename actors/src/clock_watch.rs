//! Watches the wall clock: says when it jumps, and remembers it over restarts, so that nothing is deleted for a jump, and knows when
//! the daemon did not run or was frozen, so that nothing is said of that time ([`gatewarden_protocol::steady_time`] decides).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::warn;

use crate::audit_trail::AuditTrail;
use crate::clock::Clock;
use crate::error::Failure;
use crate::metrics::Metrics;
use crate::store::handle::StoreHandle;
use crate::store::records::{AuditEntry, AuditResult};

/// How often the clocks are compared. Whatever deletes compares them itself, too: this only decides how soon a jump is said, and
/// how exactly is known since when the daemon was frozen.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After so many looks what is known is stored: every half a minute, for after a sudden end it is the last sign of life.
const STORE_AFTER: u32 = 15;

/// Watches `clock`, and with it all its clones, for as long as the daemon runs. `is_shared`: daemons on other machines use the store, too.
///
/// # Errors
/// `store_unavailable`: what the last run knew can't be read.
pub async fn start(
    clock: Clock,
    store: StoreHandle,
    is_shared: bool,
    audit: AuditTrail,
    metrics: Arc<Metrics>,
) -> Result<(), Failure> {
    // Where it can't be read, each start is a boot of its own: the time between two runs isn't known then.
    let boot = tokio::task::spawn_blocking(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id"));
    let boot = boot.await.ok().and_then(Result::ok).unwrap_or_default();
    let watch = ClockWatch { clock, store, audit, metrics };
    let stored = watch.store.load_steady_time().await?;
    if let Some(by_ms) = watch.clock.watch(stored.as_deref(), boot.trim(), is_shared) {
        watch.say(by_ms);
    }
    actix_rt::spawn(watch.run());
    Ok(())
}

struct ClockWatch {
    clock: Clock,
    store: StoreHandle,
    audit: AuditTrail,
    metrics: Arc<Metrics>,
}

impl ClockWatch {
    async fn run(self) {
        loop {
            self.remember().await;
            for _ in 0..STORE_AFTER {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Some(by_ms) = self.clock.look(LOOK_EVERY) {
                    self.say(by_ms);
                    break;
                }
            }
        }
    }

    /// Once a jump.
    fn say(&self, by_ms: i64) {
        let by_s = by_ms / 1_000;
        warn!(
            clock.jump_s = by_s,
            "the wall clock jumped; nothing is deleted for it: ages are judged by time that has really passed"
        );
        self.metrics.count_clock_jump(by_ms > 0);
        let (at_ms, details) = (self.clock.wall_ms(), json!({ "seconds": by_s }));
        self.audit.note(AuditEntry::by_system(at_ms, "clock.jump", None, AuditResult::Ok, details));
    }

    async fn remember(&self) {
        let Some(steady) = self.clock.stored() else { return };
        if let Err(failure) = self.store.save_steady_time(steady).await {
            warn!(%failure, "what is known of the wall clock could not be stored: tried again in half a minute");
        }
    }
}

/// Stores what is known by now; the daemon's stop does so last of all.
///
/// # Errors
/// `store_unavailable`.
pub async fn remember(clock: &Clock, store: &StoreHandle) -> Result<(), Failure> {
    clock.look(LOOK_EVERY);
    match clock.stored() {
        Some(steady) => store.save_steady_time(steady).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
