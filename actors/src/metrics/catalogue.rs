//! Every family of metrics, declared once: name, kind, labels, help. Rendering takes them from here, and so does the
//! reference in `docs/metrics.md`, so that neither can say something that the other doesn't.

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A count since the start of the process; its name ends in `_total`.
    Counter,
    /// Counts by upper bound, with sum and count.
    Histogram,
}

impl Kind {
    /// The name in the text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A label, and what bounds the number of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Which values it takes, and why there are not more of them.
    pub values: &'static str,
}

/// One family of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What its samples are.
    pub kind: Kind,
    /// Its labels, in the order in which they are written.
    pub labels: &'static [Label],
    /// One sentence: what it means, in the text format and in the reference.
    pub help: &'static str,
}

/// A part of the reference: its title, and its families in the order in which they are written.
pub type Group = (&'static str, &'static [&'static Family]);

const GATEWAY: Label = Label { name: "gateway", values: "the record's id; one for each registered gateway" };
const ROUTE: Label = Label { name: "route", values: "the route's pattern; 256 at most, then `other`" };
const POOL: Label = Label { name: "pool", values: "`reader`, `writer`" };
const DESTINATION: Label = Label { name: "destination", values: "the name in the configuration; 16 at most" };

const fn family(name: &'static str, kind: Kind, labels: &'static [Label], help: &'static str) -> Family {
    Family { name, kind, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    family(name, Kind::Gauge, labels, help)
}

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    family(name, Kind::Counter, labels, help)
}

const fn histogram(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    family(name, Kind::Histogram, labels, help)
}

macro_rules! label {
    ($name:literal, $values:literal) => {
        Label { name: $name, values: $values }
    };
}

pub(super) static BUILD_INFO: Family = gauge(
    "gatewarden_build_info",
    &[label!("version", "one: the daemon's")],
    "Always 1; the version of the daemon is in the label.",
);
pub(super) static GATEWAYS: Family = gauge("gatewarden_gateways", &[], "Registered gateways.");
pub(super) static GATEWAY_UP: Family = gauge(
    "gatewarden_gateway_up",
    &[GATEWAY],
    "1 while the gateway can be given work: authenticated and its circuit breaker closed.",
);
pub(super) static GATEWAY_STATE: Family = gauge(
    "gatewarden_gateway_state",
    &[GATEWAY, label!("state", "`online`, `degraded`, `timeout`, `offline`, `unknown`")],
    "1 for the state that the gateway is in, 0 for the others.",
);
pub(super) static GATEWAY_SINCE: Family = gauge(
    "gatewarden_gateway_state_changed_timestamp_seconds",
    &[GATEWAY],
    "When the gateway's state took its present value.",
);
pub(super) static GATEWAY_BLOCKED: Family = gauge(
    "gatewarden_gateway_blocked",
    &[GATEWAY],
    "1 while the gateway refuses the daemon for a reason that only a person can change.",
);
pub(super) static GATEWAY_DRAINED: Family =
    gauge("gatewarden_gateway_drained", &[GATEWAY], "1 while an operator keeps new work away from the gateway.");
pub(super) static BREAKER_STATE: Family = gauge(
    "gatewarden_breaker_state",
    &[GATEWAY, label!("state", "`closed`, `half_open`, `open`")],
    "1 for the state that the gateway's circuit breaker is in, 0 for the others.",
);
pub(super) static GATEWAY_INFO: Family = gauge(
    "gatewarden_gateway_info",
    &[
        GATEWAY,
        label!("name", "the record's; one a gateway"),
        label!("version", "the gateway's; one a gateway"),
        label!("protocol", "a number; one a gateway"),
        label!("dialect", "`openclaw`, `rpc`, `http`; one a gateway"),
    ],
    "Always 1; the labels say what the gateway is.",
);
pub(super) static ACTING_PRIMARY: Family =
    gauge("gatewarden_gateway_acting_primary", &[GATEWAY], "1 for the gateway that acts as primary, 0 for the others.");
pub(super) static PRIMARY_CHANGES: Family = counter(
    "gatewarden_primary_changes_total",
    &[],
    "How often the acting primary changed: failovers, failbacks and the choice at the start.",
);
pub(super) static SESSIONS: Family =
    gauge("gatewarden_sessions", &[GATEWAY], "Active sessions of the gateway, while known.");
pub(super) static AGENTS: Family = gauge("gatewarden_agents", &[GATEWAY], "Agents of the gateway, while known.");
pub(super) static LAST_SEEN: Family = gauge(
    "gatewarden_gateway_last_seen_timestamp_seconds",
    &[GATEWAY],
    "When the gateway last answered; its age is that of the last sign of life.",
);
pub(super) static LATENCY: Family =
    histogram("gatewarden_gateway_latency_seconds", &[GATEWAY], "Round trips of heartbeats and probes.");
pub(super) static RECONNECTS: Family =
    counter("gatewarden_reconnects_total", &[GATEWAY], "Attempts to connect after the first.");
pub(super) static ACTOR_RESTARTS: Family = counter(
    "gatewarden_actor_restarts_total",
    &[GATEWAY],
    "How often the gateway's actor was started again after it died.",
);
pub(super) static LOCAL_PROCESS_STATE: Family = gauge(
    "gatewarden_gateway_process_state",
    &[GATEWAY, label!("state", "`stopped`, `starting`, `running`, `stopping`, `waiting`, `gave_up`, `unknown`")],
    "1 for the state that the gateway's process on this machine is in, 0 for the others; left out for gateways that are none.",
);
pub(super) static LOCAL_PROCESS_RESTARTS: Family = counter(
    "gatewarden_gateway_process_restarts_total",
    &[GATEWAY],
    "How often the gateway's process was started again without anybody's asking.",
);
pub(super) static LOCAL_PROCESS_MEMORY: Family = gauge(
    "gatewarden_gateway_process_resident_memory_bytes",
    &[GATEWAY],
    "Resident memory of the gateway's process and all of its children, while it runs.",
);
pub(super) static LOCAL_PROCESS_CPU: Family = gauge(
    "gatewarden_gateway_process_cpu_seconds",
    &[GATEWAY],
    "Processor time of the gateway's process and all of its children since its start, while it runs.",
);
pub(super) static REFUSALS: Family = counter(
    "gatewarden_refusals_total",
    &[GATEWAY, label!("code", "the stable codes of `operations.md`; 64 a gateway at most, then `other`")],
    "Refused connections, by the stable code of the reason.",
);
pub(super) static RPCS: Family = counter(
    "gatewarden_rpcs_total",
    &[
        GATEWAY,
        label!("method", "the 40 methods that the daemon knows, else `other`"),
        label!("outcome", "`ok`, `refused`, `timeout`, `lost`"),
    ],
    "Requests to the gateway, by method and outcome (ok, refused, timeout, lost).",
);
pub(super) static DROPPED_FRAMES: Family = counter(
    "gatewarden_dropped_frames_total",
    &[GATEWAY, label!("reason", "`garbage`, `unmatched_reply`, `too_large`, `unknown_event`")],
    "Frames from the gateway that were dropped, by reason.",
);
pub(super) static SELF_DOUBT: Family = gauge(
    "gatewarden_self_doubt",
    &[],
    "1 while so much of the fleet fails at once that the daemon doubts its own network.",
);
pub(super) static SPAWNS: Family = counter(
    "gatewarden_spawns_total",
    &[label!("state", "`sent`, `accepted`, `running`, `unknown`, `completed`, `failed`, `killed`, `lost`")],
    "Spawns that reached this state since the start; the last four are how they end.",
);
pub(super) static SPAWNS_OPEN: Family = gauge("gatewarden_spawns_open", &[], "Spawns whose end is not known yet.");
pub(super) static GATEWAY_MEMORY: Family = gauge(
    "gatewarden_gateway_memory_bytes",
    &[],
    "What all gateways together make the daemon hold: messages and answers under way, and rows that are kept.",
);
pub(super) static GATEWAY_MEMORY_LIMIT: Family = gauge(
    "gatewarden_gateway_memory_limit_bytes",
    &[],
    "What all gateways together may make the daemon hold (gateway.memory_total).",
);
pub(super) static LOG_WATCHERS: Family = gauge(
    "gatewarden_log_watchers",
    &[],
    "Those who follow a gateway's log; while there is one the gateway is asked for new lines each second.",
);
pub(super) static EVENTS: Family = counter(
    "gatewarden_events_total",
    &[label!("type", "the types of `events.md`")],
    "Events published to subscribers, by type.",
);
pub(super) static EVENTS_DROPPED: Family = counter(
    "gatewarden_events_dropped_total",
    &[label!("reason", "`hub_full`, `slow_subscriber`")],
    "Events that somebody didn't get: the hub couldn't keep up, or a subscriber read too slowly.",
);
pub(super) static EVENT_SUBSCRIBERS: Family =
    gauge("gatewarden_event_subscribers", &[], "Open event streams, as of the last event.");
pub(super) static REGISTRY_MAILBOX: Family = gauge(
    "gatewarden_registry_mailbox_messages",
    &[label!("kind", "`notice`, `request`")],
    "Messages that wait for the registry: notices of gateways in its mailbox, requests until they are answered.",
);
pub(super) static STORE_QUEUE: Family =
    gauge("gatewarden_store_queue_jobs", &[POOL], "Jobs admitted to the store and not finished.");
pub(super) static STORE_JOBS: Family = histogram(
    "gatewarden_store_job_duration_seconds",
    &[POOL],
    "Time of a job on a thread of the store; a writer's includes its commit to disk.",
);
pub(super) static STORE_FAILURES: Family = counter(
    "gatewarden_store_failures_total",
    &[POOL],
    "Jobs of the store that failed: disk full, database locked or read-only, or a fault of ours.",
);
pub(super) static STORE_SIZE: Family = gauge(
    "gatewarden_store_size_bytes",
    &[label!("file", "`database`, `wal`")],
    "Size of the database and of its write-ahead log.",
);
pub(super) static BACKUP_INTERVAL: Family = gauge(
    "gatewarden_backup_interval_seconds",
    &[],
    "How often the daemon makes a backup by itself; left out where it makes none.",
);
pub(super) static BACKUP_NEWEST: Family = gauge(
    "gatewarden_backup_last_success_timestamp_seconds",
    &[],
    "When the newest backup in the state directory was made, by whomever, as of the last ten minutes; left out where there is none or the daemon makes none.",
);
pub(super) static BACKUPS: Family = counter(
    "gatewarden_backups_total",
    &[label!("outcome", "`made`, `failed`")],
    "Attempts of the daemon to make a backup.",
);
pub(super) static CLOCK_JUMPS: Family = counter(
    "gatewarden_clock_jumps_total",
    &[label!("direction", "`ahead`, `back`")],
    "Jumps of the wall clock that the daemon saw: more than two minutes against the machine's uptime.",
);
pub(super) static HTTP_REQUESTS: Family = counter(
    "gatewarden_http_requests_total",
    &[label!("method", "seven, else `other`"), ROUTE, label!("status", "the status codes that the route answers")],
    "HTTP requests answered, by method, route pattern and status.",
);
pub(super) static HTTP_DURATION: Family = histogram(
    "gatewarden_http_request_duration_seconds",
    &[ROUTE],
    "Time from a request's head to the head of its answer, by route pattern.",
);
pub(super) static HTTP_CONNECTIONS: Family =
    gauge("gatewarden_http_connections", &[], "Connections of clients that are open.");
pub(super) static HTTP_UNREAD: Family = gauge(
    "gatewarden_http_unread_bytes",
    &[],
    "Memory for what clients were sent and don't read, the kernel's part estimated; its limit is http.connection_memory.",
);
pub(super) static HTTP_REFUSED: Family = counter(
    "gatewarden_http_connections_refused_total",
    &[label!("reason", "`full`, `address_full`")],
    "Connections turned away because all places, or all of their address, were taken by clients that are served or known.",
);
pub(super) static HTTP_ENDED: Family = counter(
    "gatewarden_http_connections_ended_total",
    &[label!("reason", "`write_stalled`, `half_open`, `over_budget`, `head_too_long`, `replaced`")],
    "Connections ended by the daemon: nothing was read for 10 s, no request came of what was sent for 10 s, all together held too \
     much, or the place was needed.",
);
pub(super) static LOG_LINES_LOST: Family = counter(
    "gatewarden_log_lines_lost_total",
    &[],
    "Log lines that were dropped because standard error or the journal did not take them.",
);
pub(super) static NOTIFICATIONS: Family = counter(
    "gatewarden_notifications_total",
    &[DESTINATION, label!("outcome", "`delivered`, `failed`, `given_up`")],
    "Attempts to deliver a notification that succeeded or failed, and notifications that were given up for good.",
);
pub(super) static NOTIFICATIONS_PENDING: Family = gauge(
    "gatewarden_notifications_pending",
    &[DESTINATION],
    "Notifications that wait for delivery, or for the next attempt.",
);
pub(super) static NOTIFICATION_DELIVERED: Family = gauge(
    "gatewarden_notification_last_delivered_timestamp_seconds",
    &[DESTINATION],
    "When the destination last took a notification.",
);
pub(super) static CONFIG_RELOAD: Family = gauge(
    "gatewarden_config_last_reload_successful",
    &[],
    "1 unless the last reload of the configuration (SIGHUP) found it wrong.",
);
pub(super) static PANICS: Family = counter(
    "gatewarden_panics_total",
    &[],
    "Panics anywhere in the process; each cost at most one actor or one request.",
);
pub(super) static PROCESS_MEMORY: Family =
    gauge("process_resident_memory_bytes", &[], "Resident memory size in bytes.");
pub(super) static PROCESS_VIRTUAL: Family = gauge("process_virtual_memory_bytes", &[], "Virtual memory size in bytes.");
pub(super) static PROCESS_CPU: Family =
    counter("process_cpu_seconds_total", &[], "Total user and system CPU time spent in seconds.");
pub(super) static PROCESS_THREADS: Family = gauge("process_threads", &[], "Number of OS threads in the process.");
pub(super) static PROCESS_FDS: Family = gauge("process_open_fds", &[], "Number of open file descriptors.");
pub(super) static PROCESS_MAX_FDS: Family = gauge("process_max_fds", &[], "Maximum number of open file descriptors.");
pub(super) static PROCESS_START: Family =
    gauge("process_start_time_seconds", &[], "Start time of the process since unix epoch in seconds.");

/// All families, by topic.
pub static GROUPS: [Group; 8] = [
    (
        "Gateways",
        &[
            &GATEWAYS,
            &GATEWAY_UP,
            &GATEWAY_STATE,
            &GATEWAY_SINCE,
            &GATEWAY_BLOCKED,
            &GATEWAY_DRAINED,
            &BREAKER_STATE,
            &GATEWAY_INFO,
            &ACTING_PRIMARY,
            &PRIMARY_CHANGES,
            &LAST_SEEN,
            &LATENCY,
            &SESSIONS,
            &AGENTS,
            &RECONNECTS,
            &REFUSALS,
            &RPCS,
            &DROPPED_FRAMES,
            &ACTOR_RESTARTS,
            &SELF_DOUBT,
        ],
    ),
    (
        "Gateways on this machine",
        &[&LOCAL_PROCESS_STATE, &LOCAL_PROCESS_RESTARTS, &LOCAL_PROCESS_MEMORY, &LOCAL_PROCESS_CPU],
    ),
    ("Work", &[&SPAWNS, &SPAWNS_OPEN, &GATEWAY_MEMORY, &GATEWAY_MEMORY_LIMIT, &LOG_WATCHERS]),
    ("Events and messages", &[&EVENTS, &EVENTS_DROPPED, &EVENT_SUBSCRIBERS, &REGISTRY_MAILBOX]),
    ("Notifications", &[&NOTIFICATIONS, &NOTIFICATIONS_PENDING, &NOTIFICATION_DELIVERED]),
    (
        "Store",
        &[
            &STORE_QUEUE,
            &STORE_JOBS,
            &STORE_FAILURES,
            &STORE_SIZE,
            &BACKUP_INTERVAL,
            &BACKUP_NEWEST,
            &BACKUPS,
            &CLOCK_JUMPS,
        ],
    ),
    ("HTTP", &[&HTTP_REQUESTS, &HTTP_DURATION, &HTTP_CONNECTIONS, &HTTP_UNREAD, &HTTP_REFUSED, &HTTP_ENDED]),
    (
        "Process",
        &[
            &BUILD_INFO,
            &CONFIG_RELOAD,
            &PANICS,
            &LOG_LINES_LOST,
            &PROCESS_CPU,
            &PROCESS_MEMORY,
            &PROCESS_VIRTUAL,
            &PROCESS_THREADS,
            &PROCESS_FDS,
            &PROCESS_MAX_FDS,
            &PROCESS_START,
        ],
    ),
];

/// All families.
pub fn families() -> impl Iterator<Item = &'static Family> {
    GROUPS.iter().flat_map(|(_, families)| families.iter().copied())
}
