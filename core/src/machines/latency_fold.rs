//! Folds heartbeats into points for the health log: one at every change of status, one every probe interval, and one soon after the
//! first round trip that follows a change, so that nobody waits an interval for the first number.

use std::time::{Duration, Instant};

use crate::gateway_report::HealthPoint;
use crate::gateway_report::Status;

/// Round trips that are kept of a point.
pub const MAX_SAMPLES: usize = 64;

/// At most [`MAX_SAMPLES`] of these, evenly.
pub fn thinned(samples: &[f64]) -> Vec<f64> {
    samples.iter().step_by(samples.len().div_ceil(MAX_SAMPLES).max(1)).copied().collect()
}

/// The first round trip after a change of status makes a point this soon.
const FIRST_SOON: Duration = Duration::from_secs(2);

/// What happened since the last point.
#[derive(Debug, Clone)]
pub struct LatencyFold {
    interval: Duration,
    due: Option<Instant>,
    last_status: Option<Status>,
    /// Whether the last point, if any, was one of a change.
    has_changed: bool,
    samples: u32,
    last_ms: Option<f64>,
    min_ms: f64,
    max_ms: f64,
    sum_ms: f64,
    /// Every `stride`-th round trip.
    kept: Vec<f64>,
    stride: u32,
    misses: u32,
}

impl LatencyFold {
    /// A point at least every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            due: None,
            last_status: None,
            has_changed: true,
            samples: 0,
            last_ms: None,
            min_ms: 0.0,
            max_ms: 0.0,
            sum_ms: 0.0,
            kept: Vec::new(),
            stride: 1,
            misses: 0,
        }
    }

    /// One round trip.
    pub fn on_latency(&mut self, now: Instant, round_trip_ms: f64) {
        if std::mem::take(&mut self.has_changed) {
            self.due = self.due.map(|due| due.min(now + FIRST_SOON));
        }
        self.min_ms = if self.samples == 0 { round_trip_ms } else { self.min_ms.min(round_trip_ms) };
        self.max_ms = if self.samples == 0 { round_trip_ms } else { self.max_ms.max(round_trip_ms) };
        self.sum_ms += round_trip_ms;
        if self.samples.is_multiple_of(self.stride) {
            if self.kept.len() >= MAX_SAMPLES {
                self.kept = self.kept.iter().step_by(2).copied().collect();
                self.stride = self.stride.saturating_mul(2);
            }
            self.kept.push(round_trip_ms);
        }
        self.samples = self.samples.saturating_add(1);
        self.last_ms = Some(round_trip_ms);
    }

    /// One heartbeat without an answer.
    pub fn on_miss(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    /// A point, if the status differs from the last point's or the interval is over. The very first point needs a
    /// status other than unknown: a gateway that was never checked has no history.
    pub fn on_status(
        &mut self,
        now: Instant,
        wall_ms: i64,
        status: Status,
        error: Option<&str>,
    ) -> Option<HealthPoint> {
        let due = *self.due.get_or_insert(now + self.interval);
        let changed = match self.last_status {
            None => status != Status::Unknown,
            Some(last) => last != status,
        };
        if !changed && now < due {
            return None;
        }
        let point = HealthPoint {
            at_ms: wall_ms,
            status,
            latency_ms: self.last_ms,
            latency_min_ms: (self.samples > 0).then_some(self.min_ms),
            latency_avg_ms: (self.samples > 0).then(|| self.sum_ms / f64::from(self.samples)),
            latency_max_ms: (self.samples > 0).then_some(self.max_ms),
            samples: std::mem::take(&mut self.kept),
            misses: self.misses,
            error: error.map(str::to_owned),
        };
        let due = Some(now + self.interval);
        *self = Self { due, last_status: Some(status), has_changed: changed, ..Self::new(self.interval) };
        Some(point)
    }

    /// When the next point is due, whatever the status.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn start() -> Instant {
        crate::any_instant()
    }

    #[test]
    fn heartbeats_between_two_points_fold_into_minimum_average_maximum_and_misses() {
        let begin = start();
        let mut fold = LatencyFold::new(5 * MINUTE);
        fold.on_status(begin, 0, Status::Online, None).unwrap();
        fold.on_latency(begin, 3.0);
        let first = fold.on_status(begin + FIRST_SOON, 0, Status::Online, None).unwrap();
        assert_eq!((first.latency_ms, fold.next_deadline()), (Some(3.0), Some(begin + FIRST_SOON + 5 * MINUTE)));
        for latency in [2.0, 4.0, 9.0] {
            fold.on_latency(begin, latency);
        }
        fold.on_miss();
        assert_eq!(fold.on_status(begin + MINUTE, 60_000, Status::Online, None), None);
        let point = fold.on_status(begin + 6 * MINUTE, 360_000, Status::Online, None).unwrap();
        assert_eq!(point.latency_ms, Some(9.0));
        assert_eq!(point.latency_min_ms, Some(2.0));
        assert_eq!(point.latency_avg_ms, Some(5.0));
        assert_eq!(point.latency_max_ms, Some(9.0));
        assert_eq!((point.misses, &point.samples[..]), (1, &[2.0, 4.0, 9.0][..]));
        let next = fold.on_status(begin + 11 * MINUTE, 660_000, Status::Online, None).unwrap();
        assert_eq!((next.latency_ms, next.misses), (None, 0));
    }

    #[test]
    fn of_very_many_round_trips_some_are_kept_from_the_whole_time() {
        let mut fold = LatencyFold::new(MINUTE);
        (0..1_000).for_each(|round_trip| fold.on_latency(start(), f64::from(round_trip)));
        let kept = fold.on_status(start(), 0, Status::Online, None).unwrap().samples;
        assert!((32..=MAX_SAMPLES).contains(&kept.len()), "{}", kept.len());
        assert!(kept[0] < 32.0 && kept[kept.len() / 2] > 300.0 && kept[kept.len() - 1] > 900.0, "{kept:?}");
        assert_eq!(thinned(&[1.0, 2.0]), [1.0, 2.0]);
        assert_eq!(thinned(&vec![1.0; 65]).len(), 33);
    }

    #[test]
    fn every_change_of_status_is_a_point_at_once_with_its_reason() {
        let now = start();
        let mut fold = LatencyFold::new(5 * MINUTE);
        assert!(fold.on_status(now, 1, Status::Online, None).is_some());
        assert_eq!(fold.on_status(now, 2, Status::Online, None), None);
        let point = fold.on_status(now, 3, Status::Offline, Some("refused")).unwrap();
        assert_eq!((point.at_ms, point.status, point.error.as_deref()), (3, Status::Offline, Some("refused")));
    }

    #[test]
    fn a_gateway_that_was_never_checked_has_no_point_at_once() {
        let now = start();
        let mut fold = LatencyFold::new(5 * MINUTE);
        assert_eq!(fold.on_status(now, 1, Status::Unknown, None), None);
        assert_eq!(fold.next_deadline(), Some(now + 5 * MINUTE));
    }
}
