//! Every metric of the daemon, declared once. The tree and the HTTP front count here; the daemon only renders it.
//!
//! What belongs here: states that an alert can ask for, and counts that explain them. What doesn't: anything that a
//! stranger could make grow (names, URLs, error texts, session keys). The label `gateway` is the record's id; its name
//! is found in `gatewarden_gateway_info`.
//!
//! The series of a gateway live in one small struct each rather than in one vector per metric: a report costs one
//! look-up, ten thousand gateways cost a few hundred bytes each, and a deleted gateway's series go in one step.

mod exposition;
mod gateway_series;
mod histogram;
mod http_series;
mod process;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;
use exposition::Exposition;
use gateway_series::GatewaySeries;
use http_series::HttpSeries;

/// How many deleted gateways are remembered, so that the last words of their actors don't bring series back.
const FORGOTTEN_KEPT: usize = 1024;

/// All metrics. Labels are bounded: `gateway` is the record's id, never a name, a URL or an error text.
#[derive(Debug, Default)]
pub struct Metrics {
    gateways: RwLock<Gateways>,
    http: HttpSeries,
    store_writer_jobs: AtomicUsize,
    store_reader_jobs: AtomicUsize,
    registry_notices: AtomicI64,
    registry_requests: AtomicUsize,
    log_watchers: AtomicUsize,
    self_doubt: AtomicBool,
    panics: AtomicU64,
    started_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Gateways {
    series: HashMap<GatewayId, Arc<GatewaySeries>>,
    /// The latest deleted ids, oldest first. Ids are never used again.
    forgotten: VecDeque<GatewayId>,
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes what a report says: state, breaker, sessions, agents, version, acting primary. By the registry.
    pub fn publish_gateway(&self, id: GatewayId, name: &str, report: &GatewayReport, acting_primary: bool) {
        if let Some(series) = self.gateway(id) {
            series.publish(name, report, acting_primary);
        }
    }

    /// Removes every series of a deleted gateway, for good: what its actor still says is not counted. By the registry.
    pub fn forget_gateway(&self, id: GatewayId) {
        let mut gateways = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        gateways.series.remove(&id);
        if gateways.forgotten.contains(&id) {
            return;
        }
        if gateways.forgotten.len() == FORGOTTEN_KEPT {
            gateways.forgotten.pop_front();
        }
        gateways.forgotten.push_back(id);
    }

    /// One heartbeat's or probe's round trip.
    pub fn observe_latency(&self, id: GatewayId, round_trip: Duration) {
        if let Some(series) = self.gateway(id) {
            series.observe_latency(round_trip);
        }
    }

    /// One attempt to connect after the first.
    pub fn count_reconnect(&self, id: GatewayId) {
        if let Some(series) = self.gateway(id) {
            series.count_reconnect();
        }
    }

    /// One refusal, by its stable code.
    pub fn count_refusal(&self, id: GatewayId, code: &str) {
        if let Some(series) = self.gateway(id) {
            series.count_refusal(code);
        }
    }

    /// One request to a gateway: its method (unknown ones count as `other`) and `ok`, `refused`, `timeout`, `lost`.
    pub fn count_rpc(&self, id: GatewayId, method: &str, outcome: &'static str) {
        if let Some(series) = self.gateway(id) {
            series.count_rpc(method, outcome);
        }
    }

    /// One frame that was dropped, by reason: `garbage`, `unmatched_reply`, `too_large`, `unknown_event`.
    pub fn count_dropped_frame(&self, id: GatewayId, reason: &'static str) {
        if let Some(series) = self.gateway(id) {
            series.count_dropped_frame(reason);
        }
    }

    /// Jobs admitted to the store and not finished: `writer` or `reader`.
    pub fn set_store_queue(&self, which: &'static str, depth: usize) {
        let gauge = if which == "writer" { &self.store_writer_jobs } else { &self.store_reader_jobs };
        gauge.store(depth, Ordering::Relaxed);
    }

    /// A `Gateway` actor has sent the registry a notice. By the sender.
    pub fn notice_sent(&self) {
        self.registry_notices.fetch_add(1, Ordering::Relaxed);
    }

    /// The registry has taken a notice out of its mailbox. By the registry.
    pub fn notice_taken(&self) {
        self.registry_notices.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that wait for the registry or for its answer. By the HTTP front, before it renders.
    pub fn set_registry_requests(&self, under_way: usize) {
        self.registry_requests.store(under_way, Ordering::Relaxed);
    }

    /// Somebody began to follow a gateway's log.
    pub fn log_watcher_came(&self) {
        self.log_watchers.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody who followed a gateway's log is gone.
    pub fn log_watcher_left(&self) {
        self.log_watchers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the daemon doubts its own network.
    pub fn set_self_doubt(&self, doubts: bool) {
        self.self_doubt.store(doubts, Ordering::Relaxed);
    }

    /// One `Gateway` actor was started again after its death.
    pub fn count_actor_restart(&self, id: GatewayId) {
        if let Some(series) = self.gateway(id) {
            series.count_actor_restart();
        }
    }

    /// One HTTP request, by route pattern.
    pub fn observe_http(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.http.observe(method, route, status, took);
    }

    /// One panic anywhere in the process. By the panic hook.
    pub fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// When the daemon started, wall ms. Once, at start.
    pub fn set_started(&self, wall_ms: i64) {
        self.started_ms.store(wall_ms, Ordering::Relaxed);
    }

    /// The text exposition, format 0.0.4. Gateways are sorted by id. Work grows with the number of gateways.
    pub fn render(&self) -> String {
        let mut out = Exposition::default();
        out.gauges(
            "gatewarden_build_info",
            "Always 1; the version of the daemon is in the label.",
            [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
        );
        let mut gateways: Vec<_> = {
            let known = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
            known.series.iter().map(|(id, series)| (*id, series.clone())).collect()
        };
        gateways.sort_unstable_by_key(|(id, _)| *id);
        gateway_series::render(&gateways, &mut out);
        let notices = self.registry_notices.load(Ordering::Relaxed);
        out.gauges(
            "gatewarden_registry_mailbox_messages",
            "Messages that wait for the registry: notices of gateways in its mailbox, requests until they are answered.",
            [
                (vec![("kind", "notice".to_owned())], as_f64(usize::try_from(notices).unwrap_or_default())),
                (vec![("kind", "request".to_owned())], as_f64(self.registry_requests.load(Ordering::Relaxed))),
            ],
        );
        out.gauges(
            "gatewarden_store_queue_jobs",
            "Jobs admitted to the store and not finished.",
            [
                (vec![("pool", "reader".to_owned())], as_f64(self.store_reader_jobs.load(Ordering::Relaxed))),
                (vec![("pool", "writer".to_owned())], as_f64(self.store_writer_jobs.load(Ordering::Relaxed))),
            ],
        );
        out.gauges(
            "gatewarden_log_watchers",
            "Those who follow a gateway's log; while there is one the gateway is asked for new lines each second.",
            [(vec![], as_f64(self.log_watchers.load(Ordering::Relaxed)))],
        );
        out.gauges(
            "gatewarden_self_doubt",
            "1 while so much of the fleet fails at once that the daemon doubts its own network.",
            [(vec![], f64::from(u8::from(self.self_doubt.load(Ordering::Relaxed))))],
        );
        out.counters(
            "gatewarden_panics_total",
            "Panics anywhere in the process; each cost at most one actor or one request.",
            [(vec![], self.panics.load(Ordering::Relaxed))],
        );
        self.http.render(&mut out);
        process::render(self.started_ms.load(Ordering::Relaxed), &mut out);
        out.into_text()
    }

    /// The series of a gateway, made at the first word about it; none once it is deleted.
    fn gateway(&self, id: GatewayId) -> Option<Arc<GatewaySeries>> {
        {
            let known = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(series) = known.series.get(&id) {
                return Some(series.clone());
            }
        }
        let mut gateways = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        if gateways.forgotten.contains(&id) {
            return None;
        }
        Some(gateways.series.entry(id).or_default().clone())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of things in memory are far below 2^53")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
