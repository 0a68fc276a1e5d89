//! What is counted of notifications, by destination. Destinations come from the configuration alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::exposition::{Exposition, Labels};
use super::{as_f64, catalogue, seconds};

/// How an attempt to deliver a notification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The destination took it.
    Delivered,
    /// It didn't, and another attempt follows.
    Failed,
    /// No attempt follows: the notification is too old, or was tried too often.
    GivenUp,
}

/// All destinations.
#[derive(Debug, Default)]
pub(super) struct NotificationSeries(Mutex<BTreeMap<Box<str>, OfDestination>>);

#[derive(Debug, Default, Clone, Copy)]
struct OfDestination {
    delivered: u64,
    failed: u64,
    given_up: u64,
    pending: usize,
    delivered_at_ms: Option<i64>,
}

impl NotificationSeries {
    pub(super) fn set_pending(&self, destination: &str, pending: usize) {
        self.lock().entry(destination.into()).or_default().pending = pending;
    }

    pub(super) fn count(&self, destination: &str, attempt: Attempt, at_ms: i64) {
        let mut destinations = self.lock();
        let series = destinations.entry(destination.into()).or_default();
        match attempt {
            Attempt::Delivered => {
                series.delivered += 1;
                series.delivered_at_ms = Some(at_ms);
            }
            Attempt::Failed => series.failed += 1,
            Attempt::GivenUp => series.given_up += 1,
        }
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let destinations: Vec<_> = self.lock().iter().map(|(name, series)| (name.clone(), *series)).collect();
        let label = |name: &str| -> Labels { vec![("destination", name.to_owned())] };
        out.counters(
            &catalogue::NOTIFICATIONS,
            destinations.iter().flat_map(|(name, series)| {
                [("delivered", series.delivered), ("failed", series.failed), ("given_up", series.given_up)].map(
                    |(outcome, count)| {
                        let mut labels = label(name);
                        labels.push(("outcome", outcome.to_owned()));
                        (labels, count)
                    },
                )
            }),
        );
        out.gauges(
            &catalogue::NOTIFICATIONS_PENDING,
            destinations.iter().map(|(name, series)| (label(name), as_f64(series.pending))),
        );
        out.gauges(
            &catalogue::NOTIFICATION_DELIVERED,
            destinations.iter().filter_map(|(name, series)| Some((label(name), seconds(series.delivered_at_ms?)))),
        );
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, OfDestination>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
