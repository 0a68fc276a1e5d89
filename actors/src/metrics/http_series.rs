//! Counts and durations of HTTP requests by route pattern.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::catalogue;
use super::exposition::Exposition;
use super::histogram::DurationHistogram;

/// Route patterns kept; the daemon has a few dozen. A caller that passes paths instead ends in `other`.
const MAX_ROUTES: usize = 256;

/// Method and status of a request.
type Kind = (&'static str, u16);

/// All routes.
#[derive(Debug, Default)]
pub(super) struct HttpSeries {
    routes: RwLock<HashMap<Box<str>, Arc<RouteSeries>>>,
}

#[derive(Debug, Default)]
struct RouteSeries {
    took: DurationHistogram,
    /// A short list: a route has few methods and few statuses, and a request only reads it.
    counts: RwLock<Vec<(Kind, AtomicU64)>>,
}

impl HttpSeries {
    pub(super) fn observe(&self, method: &str, route: &str, status: u16, took: Duration) {
        let series = self.route(route);
        series.took.observe(took);
        series.count((known_method(method), status));
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let mut routes: Vec<(Box<str>, Arc<RouteSeries>)> = {
            let known = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            known.iter().map(|(route, series)| (route.clone(), series.clone())).collect()
        };
        routes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        out.counters(
            &catalogue::HTTP_REQUESTS,
            routes.iter().flat_map(|(route, series)| {
                let mut counts = series.snapshot();
                counts.sort_unstable();
                counts.into_iter().map(|((method, status), count)| {
                    let labels = vec![
                        ("method", method.to_owned()),
                        ("route", route.to_string()),
                        ("status", status.to_string()),
                    ];
                    (labels, count)
                })
            }),
        );
        out.histograms(
            &catalogue::HTTP_DURATION,
            routes
                .iter()
                .filter_map(|(route, series)| Some((vec![("route", route.to_string())], series.took.snapshot()?))),
        );
    }

    fn route(&self, route: &str) -> Arc<RouteSeries> {
        {
            let known = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(series) = known.get(route) {
                return series.clone();
            }
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let key = if routes.len() < MAX_ROUTES { route } else { "other" };
        routes.entry(key.into()).or_default().clone()
    }
}

impl RouteSeries {
    fn count(&self, kind: Kind) {
        {
            let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, count)) = counts.iter().find(|(known, _)| *known == kind) {
                count.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let mut counts = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = counts.iter().find(|(known, _)| *known == kind) {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.push((kind, AtomicU64::new(1)));
        }
    }

    fn snapshot(&self) -> Vec<(Kind, u64)> {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(kind, count)| (*kind, count.load(Ordering::Relaxed))).collect()
    }
}

/// A request's method comes from outside, so only the usual ones are labels.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}
