//! Every metric of the daemon, declared once ([`catalogue`]). The tree and the HTTP front count here; the daemon only renders it.
//!
//! What belongs here: states that an alert can ask for, and counts that explain them. What doesn't: anything that a
//! stranger could make grow (names, URLs, error texts, session keys). The label `gateway` is the record's id; its name
//! is found in `gatewarden_gateway_info`.

mod catalogue;
mod exposition;
mod gateways;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use gatewarden_processes::Process;
use prometheus::{GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use self::exposition::{Exposition, as_f64, count, seconds};
use self::gateways::Gateways;
use crate::dialing::MemoryBudget;
use crate::event::EventKind;
use crate::gateway_record::GatewayRecord;
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;
use crate::machines::connection::Count;
use crate::processes::view::ProcessView;
use crate::spawn::SpawnState;

const POOLS: [&str; 2] = ["reader", "writer"];

gatewarden_protocol::named! {
    /// What became of a request that a node passed on.
    pub enum Forwarded {
        /// The node that acts has answered, whatever it was.
        Answered = "answered",
        /// That node was not reached; nothing was sent.
        Unreachable = "unreachable",
        /// The connection broke before the answer.
        Broken = "broken",
        /// The client broke off in its body.
        ClientLeft = "client_left",
    }
}

/// All metrics. Labels are bounded: `gateway` is the record's id, never a name, a URL or an error text.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    gateways: Gateways,
    http_requests: IntCounterVec,
    http_durations: HistogramVec,
    connections: Mutex<ConnectionFigures>,
    /// The log's own count.
    log_lines_lost: OnceLock<Arc<AtomicU64>>,
    notifications: IntCounterVec,
    notifications_pending: IntGaugeVec,
    notifications_delivered: GaugeVec,
    cluster: [GaugeVec; 4],
    forwarded: IntCounterVec,
    backup_interval: GaugeVec,
    backup_newest: GaugeVec,
    backups: IntCounterVec,
    store_queue: IntGaugeVec,
    store_jobs: HistogramVec,
    store_failures: IntCounterVec,
    /// Where the database is, so that its size can be told.
    database: OnceLock<PathBuf>,
    primary_changes: IntCounter,
    spawns: IntCounterVec,
    spawns_open: IntGauge,
    events: IntCounterVec,
    events_dropped: IntCounterVec,
    event_subscribers: IntGauge,
    config_reload: IntGauge,
    registry_mailbox: IntGaugeVec,
    log_watchers: IntGauge,
    /// What gateways make us hold; told by the dialer's budget itself.
    gateway_memory: OnceLock<MemoryBudget>,
    self_doubt: IntGauge,
    panics: IntCounter,
    clock_jumps: IntCounterVec,
    started_ms: AtomicI64,
}

/// What the front tells of its clients' connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionFigures {
    /// Open now.
    pub open: usize,
    /// Bytes held now for clients that don't read.
    pub unread_bytes: usize,
    /// Turned away since the start, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Ended by the daemon since the start, by reason.
    pub ended: Vec<(&'static str, u64)>,
}

gatewarden_protocol::named! {
    /// How an attempt to deliver a notification ended.
    pub enum Attempt {
        /// The destination took it.
        Delivered = "delivered",
        /// It didn't, and another attempt follows.
        Failed = "failed",
        /// No attempt follows: the notification is too old, or was tried too often.
        GivenUp = "given_up",
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric that is counted here. What others count is asked for at each rendering.
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            gateways: Gateways::default(),
            http_requests: catalogue::HTTP_REQUESTS.counters(&registry, []),
            http_durations: catalogue::HTTP_DURATION.durations(&registry),
            connections: Mutex::default(),
            log_lines_lost: OnceLock::new(),
            notifications: catalogue::NOTIFICATIONS.counters(&registry, []),
            notifications_pending: catalogue::NOTIFICATIONS_PENDING.gauges(&registry, []),
            notifications_delivered: catalogue::NOTIFICATION_DELIVERED.optional(&registry),
            cluster: [
                catalogue::CLUSTER_ACTING.optional(&registry),
                catalogue::CLUSTER_NODES.optional(&registry),
                catalogue::CLUSTER_EPOCH.optional(&registry),
                catalogue::CLUSTER_LOOK.optional(&registry),
            ],
            forwarded: catalogue::CLUSTER_FORWARDED.counters(&registry, []),
            backup_interval: catalogue::BACKUP_INTERVAL.optional(&registry),
            backup_newest: catalogue::BACKUP_NEWEST.optional(&registry),
            backups: catalogue::BACKUPS.counters(&registry, []),
            store_queue: catalogue::STORE_QUEUE.gauges(&registry, POOLS),
            store_jobs: catalogue::STORE_JOBS.durations(&registry),
            store_failures: catalogue::STORE_FAILURES.counters(&registry, POOLS),
            database: OnceLock::new(),
            primary_changes: catalogue::PRIMARY_CHANGES.counter(&registry),
            // That it was recorded is no news to anybody: `sent` follows at once, or `failed`.
            spawns: catalogue::SPAWNS.counters(
                &registry,
                SpawnState::ALL.into_iter().filter(|state| *state != SpawnState::Recorded).map(SpawnState::as_str),
            ),
            spawns_open: catalogue::SPAWNS_OPEN.gauge(&registry),
            events: catalogue::EVENTS.counters(&registry, EventKind::ALL.map(EventKind::as_str)),
            events_dropped: catalogue::EVENTS_DROPPED.counters(&registry, ["hub_full", "slow_subscriber"]),
            event_subscribers: catalogue::EVENT_SUBSCRIBERS.gauge(&registry),
            config_reload: catalogue::CONFIG_RELOAD.gauge(&registry),
            registry_mailbox: catalogue::REGISTRY_MAILBOX.gauges(&registry, ["notice", "request"]),
            log_watchers: catalogue::LOG_WATCHERS.gauge(&registry),
            gateway_memory: OnceLock::new(),
            self_doubt: catalogue::SELF_DOUBT.gauge(&registry),
            panics: catalogue::PANICS.counter(&registry),
            clock_jumps: catalogue::CLOCK_JUMPS.counters(&registry, ["ahead", "back"]),
            started_ms: AtomicI64::new(0),
            registry,
        };
        metrics.config_reload.set(1);
        metrics
    }

    /// Publishes what a report says: state, breaker, sessions, agents, version, acting primary. By the registry.
    pub fn publish_gateway(&self, record: &GatewayRecord, report: &GatewayReport, acting_primary: bool) {
        self.gateways.change(record.id, |series| series.publish(record, report, acting_primary));
    }

    /// Publishes what is known of a gateway's process on this machine. By its actor.
    pub fn publish_process(&self, id: GatewayId, view: &ProcessView) {
        self.gateways.change(id, |series| series.publish_process(Some(view)));
    }

    /// The gateway is no process of this machine any more.
    pub fn forget_process(&self, id: GatewayId) {
        self.gateways.change(id, |series| series.publish_process(None));
    }

    /// Removes every series of a deleted gateway, for good: what its actor still says is not counted. By the registry.
    pub fn forget_gateway(&self, id: GatewayId) {
        self.gateways.forget(id);
    }

    /// What a gateway's connection counts.
    pub fn count(&self, id: GatewayId, count: &Count) {
        self.gateways.change(id, |series| series.count(count));
    }

    /// One `Gateway` actor was started again after its death.
    pub fn count_actor_restart(&self, id: GatewayId) {
        self.gateways.change(id, gateways::GatewaySeries::count_actor_restart);
    }

    /// Says where it is counted what gateways make us hold.
    pub fn set_gateway_memory(&self, memory: MemoryBudget) {
        let _ = self.gateway_memory.set(memory);
    }

    /// Another gateway acts as primary, or none. By the registry.
    pub fn count_primary_change(&self) {
        self.primary_changes.inc();
    }

    /// A spawn has reached this state, and so it is stored. By the registry.
    pub fn count_spawn(&self, state: SpawnState) {
        if state != SpawnState::Recorded {
            self.spawns.with_label_values(&[state.as_str()]).inc();
        }
    }

    /// Spawns whose end is not known. By the registry.
    pub fn set_spawns_open(&self, open: usize) {
        self.spawns_open.set(whole(open));
    }

    /// One event was handed to the subscribers, of whom there are so many; these lost so many older ones because they
    /// read too slowly. By the hub.
    pub fn count_event(&self, kind: EventKind, subscribers: usize, dropped: u64) {
        self.events.with_label_values(&[kind.as_str()]).inc();
        self.event_subscribers.set(whole(subscribers));
        self.events_dropped.with_label_values(&["slow_subscriber"]).inc_by(dropped);
    }

    /// Events that never reached the hub, because it couldn't keep up. By the hub.
    pub fn count_events_lost(&self, lost: u64) {
        self.events_dropped.with_label_values(&["hub_full"]).inc_by(lost);
    }

    /// Whether the last reload of the configuration went well.
    pub fn set_config_reload(&self, went_well: bool) {
        self.config_reload.set(i64::from(went_well));
    }

    /// Notifications that wait for this destination. By the notifier.
    pub fn set_notifications_pending(&self, destination: &str, pending: usize) {
        self.show_destination(destination);
        self.notifications_pending.with_label_values(&[destination]).set(whole(pending));
    }

    /// How an attempt at this destination ended, at this wall time in ms. By the notifier.
    pub fn count_notification(&self, destination: &str, attempt: Attempt, at_ms: i64) {
        self.show_destination(destination);
        self.notifications.with_label_values(&[destination, attempt.as_str()]).inc();
        if attempt == Attempt::Delivered {
            self.notifications_delivered.with_label_values(&[destination]).set(seconds(at_ms));
        }
    }

    /// All of its series, from the first word about it on.
    fn show_destination(&self, destination: &str) {
        for attempt in Attempt::ALL {
            self.notifications.with_label_values(&[destination, attempt.as_str()]);
        }
        self.notifications_pending.with_label_values(&[destination]);
    }

    /// What this node of a cluster sees: whether it acts, how many live, the epoch, and when (wall ms).
    pub fn set_cluster(&self, acts: bool, nodes: usize, epoch: i64, seen_ms: i64) {
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let figures = [f64::from(u8::from(acts)), nodes as f64, epoch as f64, seen_ms as f64 / 1000.0];
        for (gauge, figure) in self.cluster.iter().zip(figures) {
            gauge.with_label_values::<&str>(&[]).set(figure);
        }
    }

    /// This node passes requests on. Once, at start: nothing is told of that before.
    pub fn show_forwarded(&self) {
        for outcome in Forwarded::ALL {
            self.forwarded.with_label_values(&[outcome.as_str()]);
        }
    }

    /// A request was passed on to the node that acts.
    pub fn count_forwarded(&self, outcome: Forwarded) {
        self.forwarded.with_label_values(&[outcome.as_str()]).inc();
    }

    /// The daemon makes backups by itself, one each interval. Once, at start: nothing is told of backups before.
    pub fn set_backup_interval(&self, interval: Duration) {
        self.backup_interval.with_label_values::<&str>(&[]).set(interval.as_secs_f64());
        for outcome in ["made", "failed"] {
            self.backups.with_label_values(&[outcome]);
        }
    }

    /// When the newest backup was made, wall ms; 0 where there is none.
    pub fn set_newest_backup(&self, at_ms: i64) {
        if at_ms == 0 {
            self.backup_newest.reset();
        } else {
            self.backup_newest.with_label_values::<&str>(&[]).set(seconds(at_ms));
        }
    }

    /// One attempt at a backup, and whether it was made.
    pub fn count_backup(&self, made: bool) {
        self.backups.with_label_values(&[if made { "made" } else { "failed" }]).inc();
    }

    /// The wall clock jumped. By the one who watches it.
    pub fn count_clock_jump(&self, ahead: bool) {
        self.clock_jumps.with_label_values(&[if ahead { "ahead" } else { "back" }]).inc();
    }

    /// A `Gateway` actor has sent the registry a notice. By the sender.
    pub fn notice_sent(&self) {
        self.registry_mailbox.with_label_values(&["notice"]).inc();
    }

    /// The registry has taken a notice out of its mailbox. By the registry.
    pub fn notice_taken(&self) {
        self.registry_mailbox.with_label_values(&["notice"]).dec();
    }

    /// Requests that wait for the registry or for its answer. By the HTTP front, before it renders.
    pub fn set_registry_requests(&self, under_way: usize) {
        self.registry_mailbox.with_label_values(&["request"]).set(whole(under_way));
    }

    /// What there is to tell of clients' connections. By the HTTP front, before it renders.
    pub fn set_connections(&self, figures: ConnectionFigures) {
        *self.connections.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// Where the log counts the lines that it dropped. Once, at start.
    pub fn set_log_lines_lost(&self, lost: Arc<AtomicU64>) {
        let _ = self.log_lines_lost.set(lost);
    }

    /// Somebody began to follow a gateway's log.
    pub fn log_watcher_came(&self) {
        self.log_watchers.inc();
    }

    /// Somebody who followed a gateway's log is gone.
    pub fn log_watcher_left(&self) {
        self.log_watchers.dec();
    }

    /// Whether the daemon doubts its own network.
    pub fn set_self_doubt(&self, doubts: bool) {
        self.self_doubt.set(i64::from(doubts));
    }

    /// One HTTP request, by route pattern. Of methods and routes, which are labels, the caller has few.
    pub fn observe_http(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.http_requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.http_durations.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// One panic anywhere in the process. By the panic hook.
    pub fn count_panic(&self) {
        self.panics.inc();
    }

    /// When the daemon started, wall ms. Once, at start.
    pub fn set_started(&self, wall_ms: i64) {
        self.started_ms.store(wall_ms, Ordering::Relaxed);
    }

    /// The text exposition, format 0.0.4. Gateways are sorted by id. Work grows with the number of gateways.
    pub fn render(&self) -> String {
        let mut out = Exposition::default();
        out.samples(&catalogue::BUILD_INFO, [([env!("CARGO_PKG_VERSION").to_owned()], 1.0)]);
        self.gateways.render(&mut out);
        out.families(&self.registry.gather());
        let memory = self.gateway_memory.get();
        out.value(&catalogue::GATEWAY_MEMORY, memory.map(|memory| count(memory.used())));
        out.value(&catalogue::GATEWAY_MEMORY_LIMIT, memory.map(|memory| count(memory.limit())));
        self.render_connections(&mut out);
        let lost = self.log_lines_lost.get().map_or(0, |lost| lost.load(Ordering::Relaxed));
        out.value(&catalogue::LOG_LINES_LOST, as_f64(lost));
        self.render_database(&mut out);
        self.render_process(&mut out);
        out.into_text()
    }

    fn render_connections(&self, out: &mut Exposition) {
        let figures = self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
        out.value(&catalogue::HTTP_CONNECTIONS, count(figures.open));
        out.value(&catalogue::HTTP_UNREAD, count(figures.unread_bytes));
        for (family, counts) in [(&catalogue::HTTP_REFUSED, figures.refused), (&catalogue::HTTP_ENDED, figures.ended)] {
            out.samples(family, counts.into_iter().map(|(reason, count)| ([reason.to_owned()], as_f64(count))));
        }
    }

    fn render_database(&self, out: &mut Exposition) {
        let Some(database) = self.database.get() else { return };
        let mut log = database.clone().into_os_string();
        log.push("-wal");
        let files = [("database", database.clone()), ("wal", PathBuf::from(log))];
        let size =
            |(file, path): (&str, PathBuf)| Some(([file.to_owned()], as_f64(std::fs::metadata(path).ok()?.len())));
        out.samples(&catalogue::STORE_SIZE, files.into_iter().filter_map(size));
    }

    /// What the operating system says about the process. Absent where `/proc` is.
    fn render_process(&self, out: &mut Exposition) {
        let own = Process::own();
        out.value(&catalogue::PROCESS_CPU, own.map(|own| own.cpu_time().as_secs_f64()));
        out.value(&catalogue::PROCESS_MEMORY, own.map(|own| as_f64(own.resident_bytes())));
        out.value(&catalogue::PROCESS_VIRTUAL, own.map(|own| as_f64(own.virtual_bytes)));
        out.value(&catalogue::PROCESS_THREADS, own.map(|own| as_f64(own.threads)));
        // The directory itself is open while it is read.
        let files = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1));
        out.value(&catalogue::PROCESS_FDS, files.map(count));
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        out.value(&catalogue::PROCESS_MAX_FDS, most.map(as_f64));
        let started_ms = self.started_ms.load(Ordering::Relaxed);
        out.value(&catalogue::PROCESS_START, (started_ms > 0).then(|| seconds(started_ms)));
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl gatewarden_store::StoreMetrics for Metrics {
    fn set_database(&self, path: &Path) {
        let _ = self.database.set(path.to_owned());
    }

    fn set_store_queue(&self, which: &'static str, depth: usize) {
        self.store_queue.with_label_values(&[which]).set(whole(depth));
    }

    fn observe_store_job(&self, which: &'static str, took: Duration, done: bool) {
        self.store_jobs.with_label_values(&[which]).observe(took.as_secs_f64());
        if !done {
            self.store_failures.with_label_values(&[which]).inc();
        }
    }
}
