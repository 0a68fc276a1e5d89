//! Every family of metrics, declared once: name, kind, labels, help. Rendering takes them from here, and so does the
//! reference in `docs/metrics.md`, which a test makes, so that neither can say something that the other doesn't.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Upper bounds in seconds: from a loopback answer to a heartbeat that used up its time.
pub(super) const BOUNDS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.5, 10.0];

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    /// A count since the start of the process; its name ends in `_total`.
    Counter,
    /// Counts by upper bound, with sum and count.
    Histogram,
}

/// A label's name, and which values it takes or why there are not more of them.
pub(super) type Label = (&'static str, &'static str);

/// One family of metrics.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// In the order in which they are written.
    pub(super) labels: &'static [Label],
    /// One sentence: what it means, in the text format and in the reference.
    pub(super) help: &'static str,
}

impl Family {
    /// A counter without labels.
    pub(super) fn counter(&self, registry: &Registry) -> IntCounter {
        registered(registry, IntCounter::with_opts(self.options()))
    }

    /// Counters that are shown from the start for these values of the label.
    pub(super) fn counters<'a>(&self, registry: &Registry, shown: impl IntoIterator<Item = &'a str>) -> IntCounterVec {
        let counters = registered(registry, IntCounterVec::new(self.options(), &self.label_names()));
        shown.into_iter().for_each(|value| drop(counters.with_label_values(&[value])));
        counters
    }

    /// A gauge without labels.
    pub(super) fn gauge(&self, registry: &Registry) -> IntGauge {
        registered(registry, IntGauge::with_opts(self.options()))
    }

    /// Gauges that are shown from the start for these values of the label.
    pub(super) fn gauges<'a>(&self, registry: &Registry, shown: impl IntoIterator<Item = &'a str>) -> IntGaugeVec {
        let gauges = registered(registry, IntGaugeVec::new(self.options(), &self.label_names()));
        shown.into_iter().for_each(|value| drop(gauges.with_label_values(&[value])));
        gauges
    }

    /// Gauges that aren't shown before they are set.
    pub(super) fn optional(&self, registry: &Registry) -> GaugeVec {
        registered(registry, GaugeVec::new(self.options(), &self.label_names()))
    }

    /// Histograms of seconds.
    pub(super) fn durations(&self, registry: &Registry) -> HistogramVec {
        let options = HistogramOpts::new(self.name, self.help).buckets(BOUNDS.to_vec());
        registered(registry, HistogramVec::new(options, &self.label_names()))
    }

    fn options(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|(name, _)| *name).collect()
    }
}

fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = made(metric);
    made(registry.register(Box::new(metric.clone())));
    metric
}

#[expect(
    clippy::expect_used,
    reason = "names, labels and buckets are constants, and a test makes every metric that there is"
)]
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("a metric that is declared well, once")
}

const GATEWAY: Label = ("gateway", "the record's id; one for each registered gateway");
const ROUTE: Label = ("route", "the route's pattern, or `unmatched`");
const POOL: Label = ("pool", "`reader`, `writer`");
const DESTINATION: Label = ("destination", "the name in the configuration; 16 at most");

macro_rules! families {
    ($($group:literal { $($id:ident: $kind:ident $name:literal $([$($label:expr),* $(,)?])? $help:literal;)* })*) => {
        $($(pub(super) static $id: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($($label),*)?], help: $help };)*)*

        /// All families by topic, in the order of the reference.
        #[cfg(test)]
        pub(super) static GROUPS: &[(&str, &[&Family])] = &[$(($group, &[$(&$id),*])),*];
    };
}

families! {
    "Gateways" {
        GATEWAYS: Gauge "gatewarden_gateways" "Registered gateways.";
        GATEWAY_UP: Gauge "gatewarden_gateway_up" [GATEWAY]
            "1 while the gateway can be given work: authenticated and its circuit breaker closed.";
        GATEWAY_STATE: Gauge "gatewarden_gateway_state" [
            GATEWAY,
            ("state", "`online`, `degraded`, `timeout`, `offline`, `unknown`"),
        ]
            "1 for the state that the gateway is in, 0 for the others.";
        GATEWAY_SINCE: Gauge "gatewarden_gateway_state_changed_timestamp_seconds" [GATEWAY]
            "When the gateway's state took its present value.";
        GATEWAY_BLOCKED: Gauge "gatewarden_gateway_blocked" [GATEWAY]
            "1 while the gateway refuses the daemon for a reason that only a person can change.";
        GATEWAY_DRAINED: Gauge "gatewarden_gateway_drained" [GATEWAY]
            "1 while an operator keeps new work away from the gateway.";
        BREAKER_STATE: Gauge "gatewarden_breaker_state" [GATEWAY, ("state", "`closed`, `half_open`, `open`")]
            "1 for the state that the gateway's circuit breaker is in, 0 for the others.";
        GATEWAY_INFO: Gauge "gatewarden_gateway_info" [
            GATEWAY,
            ("name", "the record's; one a gateway"),
            ("version", "the gateway's; one a gateway"),
            ("protocol", "a number; one a gateway"),
            ("dialect", "`openclaw`, `rpc`, `http`; one a gateway"),
        ]
            "Always 1; the labels say what the gateway is.";
        ACTING_PRIMARY: Gauge "gatewarden_gateway_acting_primary" [GATEWAY]
            "1 for the gateway that acts as primary, 0 for the others.";
        PRIMARY_CHANGES: Counter "gatewarden_primary_changes_total"
            "How often the acting primary changed: failovers, failbacks and the choice at the start.";
        LAST_SEEN: Gauge "gatewarden_gateway_last_seen_timestamp_seconds" [GATEWAY]
            "When the gateway last answered; its age is that of the last sign of life.";
        LATENCY: Histogram "gatewarden_gateway_latency_seconds" [GATEWAY] "Round trips of heartbeats and probes.";
        SESSIONS: Gauge "gatewarden_sessions" [GATEWAY] "Active sessions of the gateway, while known.";
        AGENTS: Gauge "gatewarden_agents" [GATEWAY] "Agents of the gateway, while known.";
        RECONNECTS: Counter "gatewarden_reconnects_total" [GATEWAY] "Attempts to connect after the first.";
        REFUSALS: Counter "gatewarden_refusals_total" [
            GATEWAY,
            ("code", "the stable codes of `operations.md`"),
        ]
            "Refused connections, by the stable code of the reason.";
        RPCS: Counter "gatewarden_rpcs_total" [
            GATEWAY,
            ("method", "the 40 methods that the daemon knows, else `other`"),
            ("outcome", "`ok`, `refused`, `timeout`, `lost`"),
        ]
            "Requests to the gateway, by method and outcome (ok, refused, timeout, lost).";
        DROPPED_FRAMES: Counter "gatewarden_dropped_frames_total" [
            GATEWAY,
            ("reason", "`garbage`, `unmatched_reply`, `unknown_event`"),
        ]
            "Frames from the gateway that were dropped, by reason.";
        ACTOR_RESTARTS: Counter "gatewarden_actor_restarts_total" [GATEWAY]
            "How often the gateway's actor was started again after it died.";
        SELF_DOUBT: Gauge "gatewarden_self_doubt"
            "1 while so much of the fleet fails at once that the daemon doubts its own network.";
    }
    "Gateways on this machine" {
        LOCAL_PROCESS_STATE: Gauge "gatewarden_gateway_process_state" [
            GATEWAY,
            ("state", "`stopped`, `starting`, `running`, `stopping`, `waiting`, `gave_up`, `unknown`"),
        ]
            "1 for the state that the gateway's process on this machine is in, 0 for the others; left out for gateways that are none.";
        LOCAL_PROCESS_RESTARTS: Counter "gatewarden_gateway_process_restarts_total" [GATEWAY]
            "How often the gateway's process was started again without anybody's asking.";
        LOCAL_PROCESS_MEMORY: Gauge "gatewarden_gateway_process_resident_memory_bytes" [GATEWAY]
            "Resident memory of the gateway's process and all of its children, while it runs.";
        LOCAL_PROCESS_CPU: Gauge "gatewarden_gateway_process_cpu_seconds" [GATEWAY]
            "Processor time of the gateway's process and all of its children since its start, while it runs.";
    }
    "Work" {
        SPAWNS: Counter "gatewarden_spawns_total" [
            ("state", "`sent`, `accepted`, `running`, `unknown`, `completed`, `failed`, `killed`, `lost`"),
        ]
            "Spawns that reached this state since the start; the last four are how they end.";
        SPAWNS_OPEN: Gauge "gatewarden_spawns_open" "Spawns whose end is not known yet.";
        GATEWAY_MEMORY: Gauge "gatewarden_gateway_memory_bytes"
            "What all gateways together make the daemon hold: messages and answers under way, and rows that are kept.";
        GATEWAY_MEMORY_LIMIT: Gauge "gatewarden_gateway_memory_limit_bytes"
            "What all gateways together may make the daemon hold (gateway.memory_total).";
        LOG_WATCHERS: Gauge "gatewarden_log_watchers"
            "Those who follow a gateway's log; while there is one the gateway is asked for new lines each second.";
    }
    "Events and messages" {
        EVENTS: Counter "gatewarden_events_total" [("type", "the types of `events.md`")]
            "Events published to subscribers, by type.";
        EVENTS_DROPPED: Counter "gatewarden_events_dropped_total" [("reason", "`hub_full`, `slow_subscriber`")]
            "Events that somebody didn't get: the hub couldn't keep up, or a subscriber read too slowly.";
        EVENT_SUBSCRIBERS: Gauge "gatewarden_event_subscribers" "Open event streams, as of the last event.";
        REGISTRY_MAILBOX: Gauge "gatewarden_registry_mailbox_messages" [("kind", "`notice`, `request`")]
            "Messages that wait: notices of gateways in the registry's mailbox; requests to it or a gateway until they are answered.";
    }
    "Notifications" {
        NOTIFICATIONS: Counter "gatewarden_notifications_total" [
            DESTINATION,
            ("outcome", "`delivered`, `failed`, `given_up`"),
        ]
            "Attempts to deliver a notification that succeeded or failed, and notifications that were given up for good.";
        NOTIFICATIONS_PENDING: Gauge "gatewarden_notifications_pending" [DESTINATION]
            "Notifications that wait for delivery, or for the next attempt.";
        NOTIFICATION_DELIVERED: Gauge "gatewarden_notification_last_delivered_timestamp_seconds" [DESTINATION]
            "When the destination last took a notification.";
    }
    "Store" {
        STORE_QUEUE: Gauge "gatewarden_store_queue_jobs" [POOL] "Jobs admitted to the store and not finished.";
        STORE_JOBS: Histogram "gatewarden_store_job_duration_seconds" [POOL]
            "Time of a job on a thread of the store; a writer's includes its commit to disk.";
        STORE_FAILURES: Counter "gatewarden_store_failures_total" [POOL]
            "Jobs of the store that failed: disk full, database locked or read-only, or a fault of ours.";
        STORE_SIZE: Gauge "gatewarden_store_size_bytes" [("file", "`database`, `wal`")]
            "Size of the database and of its write-ahead log.";
        BACKUP_INTERVAL: Gauge "gatewarden_backup_interval_seconds"
            "How often the daemon makes a backup by itself; left out where it makes none.";
        BACKUP_NEWEST: Gauge "gatewarden_backup_last_success_timestamp_seconds"
            "When the newest backup in the state directory was made, by whomever, as of the last ten minutes; left out where there is none or the daemon makes none.";
        BACKUPS: Counter "gatewarden_backups_total" [("outcome", "`made`, `failed`")]
            "Attempts of the daemon to make a backup.";
        CLUSTER_ACTING: Gauge "gatewarden_cluster_acting"
            "1 while this node of a cluster acts, 0 while it stands by; this and the other figures of the cluster are left out where the database is a file.";
        CLUSTER_NODES: Gauge "gatewarden_cluster_nodes"
            "Nodes of the cluster that live, this one included, as it saw them last.";
        CLUSTER_EPOCH: Gauge "gatewarden_cluster_epoch"
            "How often a node began to act, as this node saw it last: grows by one with each takeover and each start.";
        CLUSTER_LOOK: Gauge "gatewarden_cluster_last_beat_timestamp_seconds"
            "When the database server last took this node's sign of life.";
        CLUSTER_FORWARDED: Counter "gatewarden_cluster_forwarded_requests_total" [("outcome", "`answered`, `unreachable`, `broken`, `client_left`")]
            "Requests that this node passed on to the one that acts; left out where it takes no connections of other nodes.";
        CLOCK_JUMPS: Counter "gatewarden_clock_jumps_total" [("direction", "`ahead`, `back`")]
            "Jumps of the wall clock that the daemon saw: more than two minutes against the machine's uptime.";
    }
    "HTTP" {
        HTTP_REQUESTS: Counter "gatewarden_http_requests_total" [
            ("method", "seven, else `other`"),
            ROUTE,
            ("status", "the status codes that the route answers"),
        ]
            "HTTP requests answered, by method, route pattern and status.";
        HTTP_DURATION: Histogram "gatewarden_http_request_duration_seconds" [ROUTE]
            "Time from a request's head to the head of its answer, by route pattern.";
        HTTP_CONNECTIONS: Gauge "gatewarden_http_connections" "Connections of clients that are open.";
        HTTP_UNREAD: Gauge "gatewarden_http_unread_bytes"
            "Memory for what clients were sent and don't read, the kernel's part estimated; its limit is http.connection_memory.";
        HTTP_REFUSED: Counter "gatewarden_http_connections_refused_total" [("reason", "`full`, `address_full`")]
            "Connections turned away because all places, or all of their address, were taken by clients that are served or known; at a node that stands by requests of strangers, too.";
        HTTP_ENDED: Counter "gatewarden_http_connections_ended_total" [
            ("reason", "`write_stalled`, `half_open`, `over_budget`, `head_too_long`, `replaced`"),
        ]
            "Connections ended by the daemon: nothing was read for 10 s, no request came of what was sent for 10 s, all together held too much, or the place was needed.";
    }
    "Process" {
        BUILD_INFO: Gauge "gatewarden_build_info" [("version", "one: the daemon's")]
            "Always 1; the version of the daemon is in the label.";
        CONFIG_RELOAD: Gauge "gatewarden_config_last_reload_successful"
            "1 unless the last reload of the configuration (SIGHUP) found it wrong.";
        PANICS: Counter "gatewarden_panics_total" "Panics anywhere in the process; each cost at most one actor or one request.";
        LOG_LINES_LOST: Counter "gatewarden_log_lines_lost_total"
            "Log lines that were dropped because standard error or the journal did not take them.";
        PROCESS_CPU: Counter "process_cpu_seconds_total" "Total user and system CPU time spent in seconds.";
        PROCESS_MEMORY: Gauge "process_resident_memory_bytes" "Resident memory size in bytes.";
        PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" "Virtual memory size in bytes.";
        PROCESS_THREADS: Gauge "process_threads" "Number of OS threads in the process.";
        PROCESS_FDS: Gauge "process_open_fds" "Number of open file descriptors.";
        PROCESS_MAX_FDS: Gauge "process_max_fds" "Maximum number of open file descriptors.";
        PROCESS_START: Gauge "process_start_time_seconds" "Start time of the process since unix epoch in seconds.";
    }
}
