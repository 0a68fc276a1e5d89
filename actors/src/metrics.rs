//! Every metric of the daemon, declared once. The tree and the HTTP front count here; the daemon only renders it.
//!
//! What belongs here: states that an alert can ask for, and counts that explain them. What doesn't: anything that a
//! stranger could make grow (names, URLs, error texts, session keys). The label `gateway` is the record's id; its name
//! is found in `gatewarden_gateway_info`.
//!
//! The series of a gateway live in one small struct each rather than in one vector per metric: a report costs one
//! look-up, ten thousand gateways cost a few hundred bytes each, and a deleted gateway's series go in one step.

mod backup_series;
pub mod catalogue;
mod connection_series;
mod exposition;
mod gateway_series;
mod histogram;
mod http_series;
mod local_process_series;
mod notification_series;
mod process;
mod reference;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::dialing::MemoryBudget;
use crate::event::EventKind;
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;
use crate::machines::spawn_state::SpawnState;
use crate::processes::view::ProcessView;
use backup_series::BackupSeries;
use connection_series::ConnectionSeries;
use exposition::Exposition;
use gateway_series::GatewaySeries;
use histogram::DurationHistogram;
use http_series::HttpSeries;
use notification_series::NotificationSeries;

pub use connection_series::ConnectionFigures;
pub use notification_series::Attempt;
pub use reference::{reference, series_names};

/// How many deleted gateways are remembered, so that the last words of their actors don't bring series back.
const FORGOTTEN_KEPT: usize = 1024;

/// All metrics. Labels are bounded: `gateway` is the record's id, never a name, a URL or an error text.
#[derive(Debug, Default)]
pub struct Metrics {
    gateways: RwLock<Gateways>,
    http: HttpSeries,
    connections: ConnectionSeries,
    /// The log's own count.
    log_lines_lost: OnceLock<Arc<AtomicU64>>,
    notifications: NotificationSeries,
    backups: BackupSeries,
    writer: PoolSeries,
    readers: PoolSeries,
    /// Where the database is, so that its size can be told.
    database: OnceLock<PathBuf>,
    primary_changes: AtomicU64,
    spawns: [AtomicU64; SpawnState::ALL.len()],
    spawns_open: AtomicUsize,
    events: [AtomicU64; EventKind::ALL.len()],
    events_hub_full: AtomicU64,
    events_slow_subscriber: AtomicU64,
    event_subscribers: AtomicUsize,
    reload_failed: AtomicBool,
    registry_notices: AtomicI64,
    registry_requests: AtomicUsize,
    log_watchers: AtomicUsize,
    /// What gateways make us hold; told by the dialer's budget itself.
    gateway_memory: OnceLock<MemoryBudget>,
    self_doubt: AtomicBool,
    panics: AtomicU64,
    clock_jumps_ahead: AtomicU64,
    clock_jumps_back: AtomicU64,
    started_ms: AtomicI64,
}

/// What is counted of the store's threads of one kind.
#[derive(Debug, Default)]
struct PoolSeries {
    queued: AtomicUsize,
    took: DurationHistogram,
    failures: AtomicU64,
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
    pub fn publish_gateway(
        &self,
        id: GatewayId,
        name: &str,
        report: &GatewayReport,
        drained: bool,
        acting_primary: bool,
    ) {
        if let Some(series) = self.gateway(id) {
            series.publish(name, report, drained, acting_primary);
        }
    }

    /// Publishes what is known of a gateway's process on this machine. By its actor.
    pub fn publish_process(&self, id: GatewayId, view: &ProcessView) {
        if let Some(series) = self.gateway(id) {
            series.publish_process(Some(view));
        }
    }

    /// The gateway is no process of this machine any more.
    pub fn forget_process(&self, id: GatewayId) {
        if let Some(series) = self.gateway(id) {
            series.publish_process(None);
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

    /// Says where it is counted what gateways make us hold.
    pub fn set_gateway_memory(&self, memory: MemoryBudget) {
        let _ = self.gateway_memory.set(memory);
    }

    fn pool(&self, which: &'static str) -> &PoolSeries {
        if which == "writer" { &self.writer } else { &self.readers }
    }

    /// Another gateway acts as primary, or none. By the registry.
    pub fn count_primary_change(&self) {
        self.primary_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// A spawn has reached this state, and so it is stored. By the registry.
    pub fn count_spawn(&self, state: SpawnState) {
        if let Some(count) =
            SpawnState::ALL.iter().zip(&self.spawns).find_map(|(of, count)| (*of == state).then_some(count))
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Spawns whose end is not known. By the registry.
    pub fn set_spawns_open(&self, open: usize) {
        self.spawns_open.store(open, Ordering::Relaxed);
    }

    /// One event was handed to the subscribers, of whom there are so many; these lost so many older ones because they
    /// read too slowly. By the hub.
    pub fn count_event(&self, kind: EventKind, subscribers: usize, dropped: u64) {
        if let Some(count) =
            EventKind::ALL.iter().zip(&self.events).find_map(|(of, count)| (*of == kind).then_some(count))
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.event_subscribers.store(subscribers, Ordering::Relaxed);
        self.events_slow_subscriber.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Events that never reached the hub, because it couldn't keep up. By the hub.
    pub fn count_events_lost(&self, lost: u64) {
        self.events_hub_full.fetch_add(lost, Ordering::Relaxed);
    }

    /// Whether the last reload of the configuration went well.
    pub fn set_config_reload(&self, went_well: bool) {
        self.reload_failed.store(!went_well, Ordering::Relaxed);
    }

    /// Notifications that wait for this destination. By the notifier.
    pub fn set_notifications_pending(&self, destination: &str, pending: usize) {
        self.notifications.set_pending(destination, pending);
    }

    /// How an attempt at this destination ended, at this wall time in ms. By the notifier.
    pub fn count_notification(&self, destination: &str, attempt: Attempt, at_ms: i64) {
        self.notifications.count(destination, attempt, at_ms);
    }

    /// The daemon makes backups by itself, one each interval. Once, at start.
    pub fn set_backup_interval(&self, interval: Duration) {
        self.backups.set_interval(interval);
    }

    /// When the newest backup was made, wall ms; 0 where there is none.
    pub fn set_newest_backup(&self, at_ms: i64) {
        self.backups.set_newest(at_ms);
    }

    /// The wall clock jumped. By the one who watches it.
    pub fn count_clock_jump(&self, ahead: bool) {
        let counter = if ahead { &self.clock_jumps_ahead } else { &self.clock_jumps_back };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// One attempt at a backup, and whether it was made.
    pub fn count_backup(&self, made: bool) {
        self.backups.count(made);
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

    /// What there is to tell of clients' connections. By the HTTP front, before it renders.
    pub fn set_connections(&self, figures: ConnectionFigures) {
        self.connections.set(figures);
    }

    /// Where the log counts the lines that it dropped. Once, at start.
    pub fn set_log_lines_lost(&self, lost: Arc<AtomicU64>) {
        let _ = self.log_lines_lost.set(lost);
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
        out.gauges(&catalogue::BUILD_INFO, [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)]);
        let mut gateways: Vec<_> = {
            let known = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
            known.series.iter().map(|(id, series)| (*id, series.clone())).collect()
        };
        gateways.sort_unstable_by_key(|(id, _)| *id);
        gateway_series::render(&gateways, &mut out);
        let notices = self.registry_notices.load(Ordering::Relaxed);
        out.gauges(
            &catalogue::REGISTRY_MAILBOX,
            [
                (vec![("kind", "notice".to_owned())], as_f64(usize::try_from(notices).unwrap_or_default())),
                (vec![("kind", "request".to_owned())], as_f64(self.registry_requests.load(Ordering::Relaxed))),
            ],
        );
        self.render_work(&mut out);
        self.render_store(&mut out);
        self.notifications.render(&mut out);
        self.backups.render(&mut out);
        out.counters(
            &catalogue::CLOCK_JUMPS,
            [("ahead", &self.clock_jumps_ahead), ("back", &self.clock_jumps_back)]
                .map(|(direction, count)| (vec![("direction", direction.to_owned())], count.load(Ordering::Relaxed))),
        );
        let memory =
            |of: fn(&MemoryBudget) -> usize| self.gateway_memory.get().map(|memory| (vec![], as_f64(of(memory))));
        out.gauges(&catalogue::GATEWAY_MEMORY, memory(MemoryBudget::used));
        out.gauges(&catalogue::GATEWAY_MEMORY_LIMIT, memory(MemoryBudget::limit));
        out.gauges(&catalogue::LOG_WATCHERS, [(vec![], as_f64(self.log_watchers.load(Ordering::Relaxed)))]);
        out.gauges(&catalogue::SELF_DOUBT, [(vec![], f64::from(u8::from(self.self_doubt.load(Ordering::Relaxed))))]);
        out.counters(&catalogue::PANICS, [(vec![], self.panics.load(Ordering::Relaxed))]);
        self.http.render(&mut out);
        self.connections.render(&mut out);
        out.counters(
            &catalogue::LOG_LINES_LOST,
            [(vec![], self.log_lines_lost.get().map_or(0, |lost| lost.load(Ordering::Relaxed)))],
        );
        process::render(self.started_ms.load(Ordering::Relaxed), &mut out);
        out.into_text()
    }

    fn render_work(&self, out: &mut Exposition) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        out.counters(&catalogue::PRIMARY_CHANGES, [(vec![], count(&self.primary_changes))]);
        out.counters(
            &catalogue::SPAWNS,
            // That it was recorded is no news to anybody: `sent` follows at once, or `failed`.
            (SpawnState::ALL.iter().zip(&self.spawns))
                .filter(|(state, _)| **state != SpawnState::Recorded)
                .map(|(state, counter)| (vec![("state", state.as_str().to_owned())], count(counter))),
        );
        out.gauges(&catalogue::SPAWNS_OPEN, [(vec![], as_f64(self.spawns_open.load(Ordering::Relaxed)))]);
        out.counters(
            &catalogue::EVENTS,
            (EventKind::ALL.iter().zip(&self.events))
                .map(|(kind, counter)| (vec![("type", kind.as_str().to_owned())], count(counter))),
        );
        out.counters(
            &catalogue::EVENTS_DROPPED,
            [
                (vec![("reason", "hub_full".to_owned())], count(&self.events_hub_full)),
                (vec![("reason", "slow_subscriber".to_owned())], count(&self.events_slow_subscriber)),
            ],
        );
        out.gauges(&catalogue::EVENT_SUBSCRIBERS, [(vec![], as_f64(self.event_subscribers.load(Ordering::Relaxed)))]);
        let reload_failed = self.reload_failed.load(Ordering::Relaxed);
        out.gauges(&catalogue::CONFIG_RELOAD, [(vec![], f64::from(u8::from(!reload_failed)))]);
    }

    fn render_store(&self, out: &mut Exposition) {
        let pools = [("reader", &self.readers), ("writer", &self.writer)];
        let label = |pool: &'static str| vec![("pool", pool.to_owned())];
        out.gauges(
            &catalogue::STORE_QUEUE,
            pools.map(|(name, pool)| (label(name), as_f64(pool.queued.load(Ordering::Relaxed)))),
        );
        out.histograms(
            &catalogue::STORE_JOBS,
            pools.into_iter().filter_map(|(name, pool)| Some((label(name), pool.took.snapshot()?))),
        );
        out.counters(
            &catalogue::STORE_FAILURES,
            pools.map(|(name, pool)| (label(name), pool.failures.load(Ordering::Relaxed))),
        );
        let sizes = self.database.get().map(|database| {
            let mut log = database.clone().into_os_string();
            log.push("-wal");
            [("database", database.clone()), ("wal", PathBuf::from(log))]
        });
        out.gauges(
            &catalogue::STORE_SIZE,
            sizes.into_iter().flatten().filter_map(|(file, path)| {
                let size = usize::try_from(std::fs::metadata(path).ok()?.len()).ok()?;
                Some((vec![("file", file.to_owned())], as_f64(size)))
            }),
        );
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

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double exactly")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

impl gatewarden_store::StoreMetrics for Metrics {
    fn set_database(&self, path: &Path) {
        let _ = self.database.set(path.to_owned());
    }

    fn set_store_queue(&self, which: &'static str, depth: usize) {
        self.pool(which).queued.store(depth, Ordering::Relaxed);
    }

    fn observe_store_job(&self, which: &'static str, took: Duration, done: bool) {
        let pool = self.pool(which);
        pool.took.observe(took);
        if !done {
            pool.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}
