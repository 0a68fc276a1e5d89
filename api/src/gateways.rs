//! Gateways: what is known of them, checks of their health, their logs and their processes on this machine.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use gatewarden_protocol::LogLevel;

use crate::names::{self, BreakerState, GapReason, HealthStatus, ProbeOutcome, ProcessKind, ProcessState};
use crate::request::{Fields, Rule, request};
use crate::rules::{action, capped, flag, id, integer, raw, rule, small, text, word};

/// State of the circuit breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    #[schema(value_type = BreakerState)]
    pub state: String,
    /// Failures in a row.
    pub failures: u32,
    /// When it opened, while it is not closed.
    pub opened_at: Option<i64>,
    /// When its state last changed.
    pub changed_at: Option<i64>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    /// Stable code.
    #[schema(example = "token_mismatch")]
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to change, and where.
    pub help: String,
}

/// A pairing request that waits on the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pairing {
    /// What to approve, where the gateway said it.
    pub request_id: Option<String>,
    /// This installation's device.
    pub device_id: String,
    /// The command that approves it, to be run on the gateway's machine.
    pub command: Option<String>,
}

/// The gateways that were found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiscoveredGateways {
    /// By name; at most 256.
    pub gateways: Vec<DiscoveredGateway>,
    /// How many are listed.
    pub total: usize,
    /// Names of gateways that are not listed: an answer about them was refused, got lost or came too late, they have no address that
    /// may be connected to, or the domain has more than are listed.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// A gateway that announces itself over mDNS, or that a domain names. Nobody vouches for what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiscoveredGateway {
    /// The name that it gives itself.
    #[schema(example = "studio")]
    pub name: String,
    /// Where it takes connections, as `host` of a new gateway.
    #[schema(example = "ws://192.0.2.7:18789")]
    pub address: String,
    /// The name of its machine.
    #[schema(example = "studio.local")]
    pub host: String,
    /// Whether it says that it takes TLS only.
    #[schema(example = false)]
    pub tls: bool,
    /// SHA-256 of its certificate as it says, hexadecimal: to be compared, not to be trusted.
    pub tls_sha256: Option<String>,
    /// The registered gateway with this address.
    pub gateway_id: Option<i64>,
    /// Whether there is one.
    #[schema(example = false)]
    pub already_registered: bool,
}

/// Whether there was something to delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// False where there was none.
    pub deleted: bool,
}

/// What a browser needs.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayAddressAnswer {
    /// The gateway.
    pub id: i64,
    /// Where to connect.
    #[schema(example = "wss://gateway.example.com")]
    pub ws_url: String,
    /// The gateway's token, for operators and admins; else empty.
    pub token: String,
    /// Whether `token` holds one.
    pub token_set: bool,
}

/// What a check of one gateway found, or of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum HealthAnswer {
    /// One gateway was named.
    One(OneHealth),
    /// None was named.
    All(AllHealth),
}

/// What a check of one gateway found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OneHealth {
    /// Whether it is authenticated and answering.
    pub healthy: bool,
    /// Round trip, where it answered.
    pub latency_ms: Option<f64>,
    /// What is known of it.
    pub details: HealthDetails,
}

/// What is known of a checked gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthDetails {
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[schema(value_type = HealthStatus)]
    pub status: String,
    /// Release.
    pub version: Option<String>,
    /// Protocol.
    pub protocol: Option<u32>,
    /// Seconds since its start.
    pub uptime: Option<u64>,
    /// Active sessions.
    pub sessions: Option<u32>,
    /// Agents.
    pub agents: Option<u32>,
    /// The step that failed, for instance `connect` or `authenticate`.
    pub failed_step: Option<String>,
    /// What it said.
    pub error: Option<String>,
    /// Stable code of what is wrong.
    pub code: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// What a check of all gateways found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AllHealth {
    /// In the order of the list of gateways.
    pub results: Vec<HealthResult>,
    /// Wall milliseconds at the end of the check.
    pub probed_at: i64,
    /// The same: in milliseconds wherever this name is used.
    #[serde(default)]
    pub probed_at_ms: i64,
}

/// One gateway of a check of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthResult {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `online`, `offline` (no answer) or `error` (reachable, but refused or not a gateway).
    #[schema(value_type = ProbeOutcome, example = "online")]
    pub status: String,
    /// Milliseconds.
    pub latency: Option<i64>,
    /// Names.
    pub agents: Vec<String>,
    /// Active sessions.
    pub sessions_count: u32,
    /// Release.
    pub gateway_version: Option<String>,
    /// Where its protocol is not ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_warning: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The health log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthHistory {
    /// One element for each gateway.
    pub history: Vec<GatewayHistory>,
    /// When the daemon observed no gateway, oldest first: a point says nothing of such a time.
    #[serde(default)]
    pub not_observed: Vec<NotObserved>,
}

/// A time in which the daemon observed no gateway. Whether it was online then isn't known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotObserved {
    /// Its begin, Unix seconds.
    #[schema(example = 1_795_190_000)]
    pub from: i64,
    /// Its end.
    #[schema(example = 1_795_190_600)]
    pub to: i64,
    /// `stopped` or `frozen`.
    #[schema(value_type = GapReason, example = "stopped")]
    pub reason: String,
}

/// The health log of one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayHistory {
    /// Which.
    pub gateway_id: i64,
    /// Its name.
    pub name: String,
    /// Newest first.
    pub entries: Vec<HealthHistoryEntry>,
}

/// One point: a change of status, or what a probe interval came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthHistoryEntry {
    /// `online`, `offline` or `error`.
    #[schema(value_type = ProbeOutcome, example = "online")]
    pub status: String,
    /// The status that the gateway had: `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[serde(default)]
    #[schema(value_type = HealthStatus, example = "online")]
    pub state: String,
    /// Milliseconds.
    pub latency: Option<i64>,
    /// Unix seconds.
    pub probed_at: i64,
    /// The same in milliseconds.
    #[serde(default)]
    pub probed_at_ms: i64,
    /// What was wrong.
    pub error: Option<String>,
    /// Smallest latency of the interval, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_min: Option<f64>,
    /// Average latency of the interval, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_avg: Option<f64>,
    /// Largest latency of the interval, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_max: Option<f64>,
    /// Heartbeats missed in the interval.
    pub misses: u32,
}

/// Entries of a gateway's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayLogs {
    /// Oldest first.
    pub logs: Vec<LogEntry>,
    /// The gateway.
    pub gateway_id: i64,
    /// Place in the gateway's log after the last entry.
    pub cursor: Option<u64>,
    /// Whether the gateway left older entries out.
    pub truncated: bool,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogEntry {
    /// When the gateway wrote it, Unix ms.
    pub timestamp: Option<i64>,
    /// How grave it is, where the gateway says so.
    #[schema(value_type = Option<names::LogLevel>)]
    pub level: Option<String>,
    /// Part of the gateway, or an agent.
    pub source: Option<String>,
    /// The session that it is about, where the gateway says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The text, cut to 4,000 characters.
    pub message: String,
    /// Values that the gateway attached, in its form; `{"left_out_bytes": n}` where they are larger than 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

impl From<gatewarden_protocol::LogEntry> for LogEntry {
    fn from(entry: gatewarden_protocol::LogEntry) -> Self {
        Self {
            timestamp: entry.timestamp,
            level: entry.level.map(|level| level.as_str().to_owned()),
            source: entry.source,
            session: entry.session,
            message: entry.message,
            extra: entry.extra,
        }
    }
}

/// The process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProcessAnswer {
    /// As it is now.
    pub process: Process,
}

/// A gateway's process on this machine. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Process {
    /// `unit` or `command`.
    #[schema(value_type = ProcessKind, example = "command")]
    pub kind: String,
    /// The unit's or the command's name.
    #[schema(example = "openclaw")]
    pub name: String,
    /// `stopped`, `starting`, `running`, `stopping`, `waiting` (ended, and started again soon), `gave_up` (ended too often, or as
    /// only a person can put right) or `unknown`.
    #[schema(value_type = ProcessState, example = "running")]
    pub state: String,
    /// When the state took its present value.
    pub since: i64,
    /// The main process.
    pub pid: Option<i32>,
    /// When that started.
    pub started_at: Option<i64>,
    /// Restarts that nobody asked for.
    pub restarts: u64,
    /// How it last ended.
    pub last_end: Option<LastEnd>,
    /// When it is started again, while it waits for that.
    pub next_start: Option<i64>,
    /// Why it doesn't run, and what to do.
    pub reason: Option<String>,
    /// Whether the last start was verified by a new process and a new connection: `pending`, `yes`, `no`; none where there was
    /// no start.
    pub verified: Option<String>,
    /// What the verification missed.
    pub missing: Vec<String>,
    /// Resident memory of all its processes.
    pub memory_bytes: Option<u64>,
    /// Share of one processor lately.
    pub cpu_percent: Option<f64>,
    /// Processor time since the start.
    pub cpu_seconds: Option<f64>,
    /// How many processes it is.
    pub processes: Option<u32>,
    /// Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastEnd {
    /// When.
    pub at: i64,
    /// In words.
    #[schema(example = "exited with code 1")]
    pub message: String,
    /// The exit code, where it exited.
    pub code: Option<i32>,
    /// The signal, where that ended it.
    pub signal: Option<i32>,
}

/// A closer look.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Diagnosis {
    /// What is wrong and what to do, a sentence each.
    pub findings: Vec<String>,
    /// What is executed.
    pub program: Option<String>,
    /// The processes that belong to it.
    pub members: Vec<Member>,
    /// What it said last, oldest first. Empty for a unit: that is in the journal.
    pub output: Vec<OutputLine>,
    /// Lines that it said before.
    pub output_dropped: u64,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// The program's name.
    pub name: String,
    /// As in `ps`.
    #[schema(example = "S")]
    pub state: String,
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutputLine {
    /// When it was read, Unix milliseconds.
    pub timestamp: i64,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Its text.
    pub text: String,
}

/// Lengths of a bucket.
pub const BUCKETS: [&str; 4] = ["5m", "15m", "1h", "6h"];

/// Round trips and outages of gateways by time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencyAnswer {
    /// Where the first bucket begins.
    pub from: i64,
    /// Now.
    pub to: i64,
    /// Seconds of a bucket.
    #[schema(example = 900)]
    pub bucket_s: i64,
    /// In the order of the request.
    pub gateways: Vec<GatewayLatency>,
    /// When the daemon observed no gateway, oldest first: neither online time nor an outage.
    #[serde(default)]
    pub not_observed: Vec<NotObserved>,
}

/// Round trips and outages of one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayLatency {
    /// The gateway.
    pub gateway_id: i64,
    /// Its name.
    pub name: String,
    /// Buckets in which something was measured, oldest first.
    pub buckets: Vec<LatencyBucket>,
    /// When it was known not to be online, oldest first.
    pub outages: Vec<Outage>,
}

/// Round trips within a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencyBucket {
    /// Its begin.
    pub at: i64,
    /// Round trips that the percentiles are of.
    pub count: usize,
    /// Median, in milliseconds.
    pub p50: Option<f64>,
    /// 95th percentile, in milliseconds.
    pub p95: Option<f64>,
    /// Heartbeats without an answer.
    pub misses: u32,
}

/// A time in which a gateway was not online.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Outage {
    /// Its begin.
    pub from: i64,
    /// Its end, or when it was last looked at; null while it lasts.
    pub to: Option<i64>,
    /// `degraded`, `timeout` or `offline`.
    #[schema(value_type = HealthStatus, example = "offline")]
    pub status: String,
}

request! {
    /// How finely and how far back round trips are wanted.
    LatencyQuery {
        /// 5m, 15m, 1h or 6h; 15m by default
        bucket: Option<String> = word(&BUCKETS);
        /// How far back; 24 by default
        hours: Option<u32> = small::<u32>(1..=168);
    }
    /// The same of several gateways.
    LatencyIdsQuery {
        /// Up to 100 ids of gateways, separated by commas
        ids: String = raw() => "1,2,3";
        /// 5m, 15m, 1h or 6h; 15m by default
        bucket: Option<String> = word(&BUCKETS);
        /// How far back; 24 by default
        hours: Option<u32> = small::<u32>(1..=168);
    }
    /// A gateway by its id.
    GatewayIdBody {
        /// Which.
        id: i64 = id() => 2;
    }
    /// A gateway by its id, where the query may have it instead.
    GatewayChoiceBody {
        /// Which.
        id: Option<i64> = id() => 2;
    }
    /// Which gateway to check; without one all are checked.
    HealthBody {
        /// Which.
        gateway_id: Option<i64> = id() => 1;
    }
    /// Where to look for gateways.
    DiscoverBody {
        /// How long, in milliseconds; without it 2000, with a domain 5000.
        timeout_ms: Option<i64> = integer(1_000..=10_000) => 2000;
        /// The DNS domain that is asked for gateways, such as openclaw.internal, of at most 171 characters; without it the daemon
        /// listens in its network.
        domain: Option<String> = text(1..=171) => "openclaw.internal";
    }
    /// What is to be done.
    ProcessBody {
        /// `start`, `stop`, `restart`, `diagnose` or `status`.
        action: String = action(
            &["start", "stop", "restart", "diagnose", "status"],
            "Invalid action: it must be start, stop, restart, diagnose or status",
        ) => "restart";
        /// Whether to wait for the outcome of a start, stop or restart; true by default.
        wait: Option<bool> = flag();
    }
    /// Which gateway to delete.
    GatewayChoiceQuery {
        /// Instead of a body
        id: Option<i64> = integer(1..=i64::MAX);
    }
    /// Which part of the health log is wanted.
    HistoryQuery {
        /// One gateway; else all
        gateway_id: Option<i64> = id();
        /// How far back; 24 by default
        hours: Option<u32> = small::<u32>(1..=168);
        /// Entries a gateway; 300 by default, more than 3000 is capped
        limit: Option<usize> = capped(3000);
    }
    /// What of a gateway's log is wanted.
    LogsQuery {
        /// Newest entries; 200 by default, more than 5000 is capped
        limit: Option<usize> = capped(gatewarden_protocol::limits::MAX_LOG_LINES);
        /// This level and graver ones: fatal, error, warn, info, debug or trace
        level: Option<String> = level();
        /// Whether the answer goes on with what the gateway writes
        follow: Option<bool> = flag();
        /// With follow: go on after this id, for clients that cannot set headers
        last_event_id: Option<String> = raw();
    }
}

fn level() -> impl Rule<Out = String> {
    let read = |fields: &mut Fields<'_>, name: &str| {
        let level = LogLevel::from_name(fields.value(name)?.as_str().unwrap_or_default());
        if level.is_none() {
            let known = LogLevel::ALL.map(LogLevel::as_str).join(", ");
            fields.wrong(name, format_args!("must be one of {known}"));
        }
        level.map(|level| level.as_str().to_owned())
    };
    rule(read, |schema| schema.enum_values = Some(LogLevel::ALL.map(|level| Value::from(level.as_str())).to_vec()))
}
