//! Gateways: what is known of them, checks of their health, their logs and their processes on this machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use gatewarden_protocol::{LogLevel, Secret};

use crate::request::{Fields, Rule, request};
use crate::rules::{
    action, as_array, by, capped, check_text, clearable, flag, id, integer, kind_of, long, nested, nested_list, over,
    raw, secret, small, text, text_or_nothing, word,
};

/// A gateway as readers see it. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gateway {
    /// Never used again after a delete.
    #[schema(example = 1)]
    pub id: i64,
    /// The stable id of the organization API.
    pub uuid: String,
    /// Unique.
    #[schema(example = "production")]
    pub name: String,
    /// Host name, address or URL, as given.
    #[schema(example = "gateway.example.com")]
    pub host: String,
    /// Port.
    #[schema(example = 18789)]
    pub port: u16,
    /// `--------` where a token is set, else empty; never the token.
    #[schema(example = "--------")]
    pub token: String,
    /// Whether a token is set.
    pub token_set: bool,
    /// The configured primary; at most one.
    pub is_primary: bool,
    /// Whether it acts as primary right now.
    pub acting_primary: bool,
    /// Higher is preferred when a primary is elected.
    pub priority: i32,
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[schema(example = "online")]
    pub status: String,
    /// When the status took its present value.
    pub since: i64,
    /// Of the knowledge behind the status.
    pub as_of: i64,
    /// `heartbeat`, `probe`, `event` or `external`.
    pub source: String,
    /// Since when it has been connected and authenticated without a break.
    pub healthy_since: Option<i64>,
    /// When anything last failed.
    pub last_failure: Option<i64>,
    /// When it last answered.
    pub last_seen: Option<i64>,
    /// Last round trip in milliseconds.
    pub latency: Option<i64>,
    /// Active sessions.
    pub sessions_count: i64,
    /// Agents.
    pub agents_count: i64,
    /// The gateway's release.
    #[schema(example = "2026.9.6")]
    pub version: Option<String>,
    /// The protocol that was agreed on.
    #[schema(example = 4)]
    pub protocol: Option<u32>,
    /// `openclaw`, `rpc` or `http`.
    pub dialect: Option<String>,
    /// Phase of the connection.
    #[schema(example = "ready")]
    pub phase: String,
    /// Circuit breaker.
    pub breaker: Breaker,
    /// Why the status is not online.
    pub last_error: Option<LastError>,
    /// Attempts since the last stable connection.
    pub reconnect_attempts: u32,
    /// When the next attempt is due, while waiting for one.
    pub next_attempt: Option<i64>,
    /// Present while the gateway waits for somebody to approve this installation.
    pub pairing: Option<Pairing>,
    /// Scopes that the gateway granted, where it says so.
    pub scopes: Vec<String>,
    /// No new work is routed here.
    pub drained: bool,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// `auto`, `ws` or `http`.
    pub transport: String,
    /// Whom to trust on TLS.
    pub tls: Tls,
    /// Control-UI mode without a device.
    pub disable_device_pairing: bool,
    /// The system unit that runs it on this machine.
    pub unit: Option<String>,
    /// The command of the configuration that runs it on this machine.
    pub command: Option<String>,
    /// Its process on this machine, where it names a unit or a command.
    pub process: Option<Process>,
    /// Of the record.
    pub created_at: i64,
    /// Of the record.
    pub updated_at: i64,
}

/// State of the circuit breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
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

/// Whom to trust on TLS. There is nothing secret in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tls {
    /// `system`, `ca`, `pins` or `none`.
    pub trust: String,
    /// Certificate authorities, where `trust` is `ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// SHA-256 of leaf certificates, where `trust` is `pins`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pins: Option<Vec<String>>,
}

/// A list of gateways: the configured primary first, then by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayList {
    /// All of them, or the part that was asked for.
    pub gateways: Vec<Gateway>,
    /// How many there are; only where a part was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// Largest size of the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many come before the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayAnswer {
    /// The gateway.
    pub gateway: Gateway,
    /// How many agents were registered with it; only for a new gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents_registered: Option<usize>,
    /// Worth knowing: for instance that other gateways have the same address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
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
}

/// One gateway of a check of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthResult {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `online`, `offline` (no answer) or `error` (reachable, but refused or not a gateway).
    #[schema(example = "online")]
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
    #[schema(example = "online")]
    pub status: String,
    /// Milliseconds.
    pub latency: Option<i64>,
    /// Unix seconds.
    pub probed_at: i64,
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
    /// `fatal`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Option<String>,
    /// Part of the gateway, or an agent.
    pub source: Option<String>,
    /// The session that it is about, where the gateway says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The text, cut to 4,000 characters.
    pub message: String,
    /// Values that the gateway attached; `{"left_out_bytes": n}` where they are larger than 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
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
    #[schema(example = "command")]
    pub kind: String,
    /// The unit's or the command's name.
    #[schema(example = "openclaw")]
    pub name: String,
    /// `stopped`, `starting`, `running`, `stopping`, `waiting` (ended, and started again soon), `gave_up` (ended too often, or as
    /// only a person can put right) or `unknown`.
    #[schema(example = "running")]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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

/// What reads show in place of a token: sent back, it means "as it is".
pub const REDACTED: &str = "--------";
/// Longest token, characters.
pub const MAX_TOKEN: usize = 4_096;
/// The last second of the year 9999.
pub const MAX_TIME: i64 = 253_402_300_799;
/// Longest list of certificates, bytes.
const MAX_CA_PEM: usize = 256 * 1024;
/// How gateways are spoken to.
pub const TRANSPORTS: [&str; 3] = ["auto", "ws", "http"];
/// What is known of a gateway.
pub const STATUSES: [&str; 5] = ["online", "degraded", "timeout", "offline", "unknown"];

request! {
    /// A new gateway.
    NewGatewayBody {
        /// Unique; 1 to 200 characters.
        name: String = text(1..=200) => "production";
        /// Host name, IP address, or a ws, wss, http or https URL. A port in the URL wins; user info is refused. Link-local and
        /// cloud metadata addresses are refused.
        host: String = long(2048, host()) => "gateway.example.com";
        /// May be left out where host is a URL.
        port: Option<u16> = small::<u16>(1..=65_535) => 18_789;
        /// Sealed at rest, never shown.
        token: Option<Option<Secret>> = new_token();
        /// Makes this the configured primary and unsets the other. 1 and 0 work too.
        is_primary: Option<bool> = flag();
        /// Higher is preferred when a primary is elected; 0 by default.
        priority: Option<i32> = small::<i32>(-10_000..=10_000);
        /// At most 64.
        labels: Option<BTreeMap<String, String>> = labels();
        /// `auto`, `ws` or `http`.
        transport: Option<String> = word(&TRANSPORTS) => "auto";
        /// Whom to trust on TLS.
        tls: Option<TlsBody> = nested::<TlsBody>();
        /// Control-UI mode without a device.
        disable_device_pairing: Option<bool> = flag();
        /// The system unit that runs it on this machine: an instance of `gatewarden-gateway@.service`, or one that the configuration
        /// lists. Not together with `command`.
        unit: Option<Option<String>> = clearable(text_or_nothing(255)) => "gatewarden-gateway@main.service";
        /// The command of the configuration (`[commands.NAME]`) that runs it on this machine, by its name: it is started at once.
        command: Option<Option<String>> = clearable(text_or_nothing(255)) => "openclaw";
        /// Agents to register with it; at most 50 are used.
        agents: Option<Vec<AgentBody>> = nested_list::<AgentBody>(50, "must be an object with a name");
    }
    /// Whom to trust on TLS.
    TlsBody {
        /// `system`, `ca`, `pins` or `none` (development only).
        trust: String = word(&["system", "ca", "pins", "none"]) => "system";
        /// Needed with `ca`: one or more certificates.
        ca_pem: Option<String> = ca_pem();
        /// Needed with `pins`: SHA-256 of leaf certificates, 64 hex digits each.
        pins: Option<Vec<String>> = pins();
    }
    /// An agent of a new gateway.
    AgentBody {
        /// Unique.
        name: String = text(1..=200) => "researcher";
        /// In the owner's words.
        role: Option<String> = text_or_nothing(200);
    }
    /// What can be changed of a gateway; what is left out stays as it is.
    GatewayFields {
        /// New name.
        name: Option<String> = text(1..=200);
        /// New host.
        host: Option<String> = text(1..=2048);
        /// New port.
        port: Option<u16> = small::<u16>(1..=65_535);
        /// New token; empty or null clears it, `--------` leaves it.
        token: Option<Option<Secret>> = token();
        /// True moves the primary here. 1 and 0 work too.
        is_primary: Option<bool> = flag();
        /// New priority.
        priority: Option<i32> = small::<i32>(-10_000..=10_000);
        /// All labels anew.
        labels: Option<BTreeMap<String, String>> = labels();
        /// `auto`, `ws` or `http`.
        transport: Option<String> = word(&TRANSPORTS);
        /// New trust.
        tls: Option<TlsBody> = nested::<TlsBody>();
        /// New pairing mode.
        disable_device_pairing: Option<bool> = flag();
        /// New unit; null or empty for none. It takes the place of a command.
        unit: Option<Option<String>> = clearable(text_or_nothing(255));
        /// New command; null or empty for none. It takes the place of a unit.
        command: Option<Option<String>> = clearable(text_or_nothing(255));
        /// No new work is routed here.
        drained: Option<bool> = flag();
        /// Observation of an external health checker, until our next own one.
        status: Option<String> = word(&STATUSES);
        /// Observation: Unix seconds.
        last_seen: Option<i64> = integer(0..=MAX_TIME);
        /// Observation: milliseconds.
        latency: Option<i64> = integer(0..=86_400_000);
        /// Observation.
        sessions_count: Option<i64> = integer(0..=1_000_000_000);
        /// Observation.
        agents_count: Option<i64> = integer(0..=1_000_000_000);
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

/// Which gateway to change, and what.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
pub struct ChangeGatewayBody {
    /// Which.
    #[schema(example = 2, minimum = 1)]
    pub id: i64,
    /// What.
    #[serde(flatten)]
    pub fields: GatewayFields,
}

fn host() -> impl Rule<Out = String> {
    by(|fields, name| {
        let host = fields.value(name)?.as_str();
        if host.is_none() {
            fields.wrong(name, "must be a text: a host name, an IP address or a URL");
        }
        host.map(str::to_owned)
    })
}

/// A gateway's token: `Some(None)` where it is to be cleared, and nothing where it is to stay.
pub fn token() -> impl Rule<Out = Option<Secret>> {
    over(clearable(secret(MAX_TOKEN)), |token, fields, name| {
        let stays = fields.value(name).and_then(Value::as_str) == Some(REDACTED);
        if stays { None } else { token.read(fields, name) }
    })
}

/// The same of a new gateway, which has none that could stay.
pub fn new_token() -> impl Rule<Out = Option<Secret>> {
    over(token(), |token, fields, name| {
        if fields.value(name).and_then(Value::as_str) == Some(REDACTED) {
            fields.wrong(name, "is the placeholder that reads show, not a token");
        }
        token.read(fields, name)
    })
}

fn labels() -> impl Rule<Out = BTreeMap<String, String>> {
    const MAX_LABELS: usize = 64;
    by(|fields, name| {
        let value = fields.value(name)?;
        let Some(object) = value.as_object() else {
            fields.wrong(name, format_args!("must be an object, not {}", kind_of(value)));
            return None;
        };
        if object.len() > MAX_LABELS {
            fields.wrong(name, format_args!("must have at most {MAX_LABELS} entries"));
            return None;
        }
        let mut labels = BTreeMap::new();
        for (key, value) in object {
            let shown: String = key.chars().filter(|character| !character.is_control()).take(40).collect();
            if let Err(what) = check_text(key, 1..=100) {
                fields.wrong(name, format_args!("has a key \"{shown}\" that {what}"));
                continue;
            }
            match value.as_str().map(|text| (text, check_text(text, 0..=1000))) {
                Some((text, Ok(()))) => {
                    labels.insert(key.clone(), text.to_owned());
                }
                Some((_, Err(what))) => fields.wrong(name, format_args!("has a value of \"{shown}\" that {what}")),
                None => fields.wrong(name, format_args!("must have texts as values, and \"{shown}\" has none")),
            }
        }
        Some(labels)
    })
}

fn is_trust(fields: &Fields<'_>, trust: &str) -> bool {
    fields.value("trust").and_then(Value::as_str) == Some(trust)
}

/// Whether the certificates can be read is for the daemon to say.
fn ca_pem() -> impl Rule<Out = String> {
    by(|fields, name| {
        if !is_trust(fields, "ca") {
            return None;
        }
        let Some(value) = fields.value(name) else {
            fields.wrong(name, "is missing: with trust \"ca\" it holds the certificates of the authorities");
            return None;
        };
        let text = value.as_str().filter(|text| text.len() <= MAX_CA_PEM);
        if text.is_none() {
            fields.wrong(name, format_args!("must be a text of at most {MAX_CA_PEM} bytes"));
        }
        text.map(str::to_owned)
    })
}

fn pins() -> impl Rule<Out = Vec<String>> {
    const MAX_PINS: usize = 16;
    by(|fields, name| {
        if !is_trust(fields, "pins") {
            return None;
        }
        if fields.value(name).is_none() {
            fields.wrong(name, "is missing: with trust \"pins\" it lists SHA-256 fingerprints of certificates");
            return None;
        }
        let array = as_array(fields, name)?;
        if array.is_empty() || array.len() > MAX_PINS {
            fields.wrong(name, format_args!("must have 1 to {MAX_PINS} entries"));
            return None;
        }
        let mut pins = Vec::with_capacity(array.len());
        for (place, value) in array.iter().enumerate() {
            match value.as_str().and_then(pin) {
                Some(pin) => pins.push(pin),
                None => fields.wrong(&format!("{name}[{place}]"), "must be a SHA-256 fingerprint: 64 hex digits"),
            }
        }
        Some(pins)
    })
}

/// Takes the spellings that tools print: upper case, and colons between bytes.
fn pin(text: &str) -> Option<String> {
    // Longer than any spelling of a fingerprint: not worth a copy.
    if text.len() > 128 {
        return None;
    }
    let digits: String = text.chars().filter(|character| *character != ':').collect::<String>().to_ascii_lowercase();
    (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

fn level() -> impl Rule<Out = String> {
    by(|fields, name| {
        let level = LogLevel::from_name(fields.value(name)?.as_str().unwrap_or_default());
        if level.is_none() {
            let known = LogLevel::ALL.map(LogLevel::as_str).join(", ");
            fields.wrong(name, format_args!("must be one of {known}"));
        }
        level.map(|level| level.as_str().to_owned())
    })
}
