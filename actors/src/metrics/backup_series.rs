//! What is told of the backups that the daemon makes by itself. Nothing where it makes none.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::exposition::Exposition;
use super::{catalogue, seconds};

/// One daemon's.
#[derive(Debug, Default)]
pub(super) struct BackupSeries {
    /// 0: none are made.
    interval_ms: AtomicI64,
    /// 0: there is none yet.
    newest_ms: AtomicI64,
    made: AtomicU64,
    failed: AtomicU64,
}

impl BackupSeries {
    pub(super) fn set_interval(&self, interval: Duration) {
        self.interval_ms.store(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    pub(super) fn set_newest(&self, at_ms: i64) {
        self.newest_ms.store(at_ms, Ordering::Relaxed);
    }

    pub(super) fn count(&self, made: bool) {
        let counter = if made { &self.made } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let interval_ms = self.interval_ms.load(Ordering::Relaxed);
        if interval_ms == 0 {
            return;
        }
        out.gauges(&catalogue::BACKUP_INTERVAL, [(vec![], seconds(interval_ms))]);
        let newest_ms = self.newest_ms.load(Ordering::Relaxed);
        out.gauges(&catalogue::BACKUP_NEWEST, (newest_ms != 0).then(|| (vec![], seconds(newest_ms))));
        out.counters(
            &catalogue::BACKUPS,
            [("made", &self.made), ("failed", &self.failed)]
                .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count.load(Ordering::Relaxed))),
        );
    }
}
