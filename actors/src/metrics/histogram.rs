//! A histogram of durations with fixed buckets: a dozen counters, no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in seconds: from a loopback answer to a heartbeat that used up its time.
pub(super) const BOUNDS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.5, 10.0];

/// Counts per bucket; what exceeds the last bound is only in the total.
#[derive(Debug, Default)]
pub(super) struct DurationHistogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

/// What a histogram held at one time.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Upper bound and how many were at or below it.
    pub(super) cumulative: Vec<(f64, u64)>,
    /// All observations.
    pub(super) count: u64,
    /// Their sum.
    pub(super) sum_seconds: f64,
}

impl DurationHistogram {
    /// Adds one observation.
    pub(super) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some((bucket, _)) = self.buckets.iter().zip(BOUNDS).find(|(_, bound)| seconds <= *bound) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The present counts; none before the first observation.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        // The total is read first: an observation that comes in meanwhile may raise a bucket, so the total is lifted
        // to the last bucket and the buckets never exceed it.
        let total = self.count.load(Ordering::Relaxed);
        if total == 0 {
            return None;
        }
        let mut running = 0;
        let cumulative: Vec<_> = BOUNDS
            .into_iter()
            .zip(&self.buckets)
            .map(|(bound, bucket)| {
                running += bucket.load(Ordering::Relaxed);
                (bound, running)
            })
            .collect();
        Some(Snapshot {
            cumulative,
            count: total.max(running),
            sum_seconds: Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)).as_secs_f64(),
        })
    }
}
