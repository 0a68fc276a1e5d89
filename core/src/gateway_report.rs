//! What is known of a gateway right now, as its actor says and readers see.

use std::sync::Arc;
use std::time::Duration;

use gatewarden_protocol::Dialect;
use gatewarden_protocol::refusal::RefusalCode;
use gatewarden_protocol::sessions::SessionRow;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, Failure};

/// What a caller is told to wait at least and at most before it asks a gateway again that can't be asked now.
const TRY_AGAIN: Duration = Duration::from_secs(2);
const MAX_TRY_AGAIN: Duration = Duration::from_secs(30);

gatewarden_protocol::named! {
    /// The status that the outside sees, derived by one pure function (`machines/connection/status.rs`).
    pub enum Status {
        /// Authenticated and answering in time.
        Online = "online",
        /// Reachable, but not to be fully trusted: refused, slow, starting.
        Degraded = "degraded",
        /// The last attempt got no answer in time.
        Timeout = "timeout",
        /// Refused, unresolvable, not a gateway, or failed too often.
        Offline = "offline",
        /// Never checked, or the knowledge is too old.
        Unknown = "unknown",
    }
}

gatewarden_protocol::named! {
    /// The connection phase of a `Gateway` actor.
    pub enum Phase {
        /// Not started yet, or waiting for a permit to authenticate.
        Idle = "idle",
        /// TCP, TLS and upgrade under way.
        Dialing = "dialing",
        /// Upgraded; the gateway speaks first.
        AwaitingChallenge = "awaiting_challenge",
        /// The connect request is out.
        Authenticating = "authenticating",
        /// Authenticated.
        Ready = "ready",
        /// Waiting for the next attempt after a failure.
        Backoff = "backoff",
        /// The gateway says that it is still coming up.
        Starting = "starting",
        /// The gateway announced a restart.
        Restarting = "restarting",
        /// Refused for a reason that only a change can cure; re-checked slowly.
        Blocked = "blocked",
        /// The actor died too often and was not started again.
        Parked = "parked",
        /// Being stopped.
        Stopping = "stopping",
    }
}

impl Phase {
    /// Whether an attempt to connect is under way, or is about to be.
    pub(crate) fn is_attempt(self) -> bool {
        matches!(self, Self::Idle | Self::Dialing | Self::AwaitingChallenge | Self::Authenticating)
    }
}

gatewarden_protocol::named! {
    /// Where the last knowledge came from.
    pub enum StatusSource {
        /// A heartbeat's reply or miss.
        Heartbeat = "heartbeat",
        /// A health probe.
        Probe = "probe",
        /// A connection event: dial, handshake, close, refusal.
        Event = "event",
    }
}

/// What is wrong, for a machine (`code`) and for a person (`message`, `help`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable snake_case code.
    pub code: String,
    /// One sentence: what happened, to which gateway.
    pub message: String,
    /// What to change, and where.
    pub help: String,
}

impl Problem {
    /// The gateway has another name: the sentence is about the same gateway.
    pub(crate) fn rename_gateway(&mut self, from: &str, to: &str) {
        let (from, to) = (format!("ateway \"{from}\""), format!("ateway \"{to}\""));
        self.message = self.message.replace(&from, &to);
        self.help = self.help.replace(&from, &to);
    }
}

/// A gateway that can't be asked now: what is wrong, what to do, and after what `wait` it is tried again by itself.
pub(crate) fn unavailable(name: &str, phase: Phase, problem: Option<&Problem>, wait: Option<Duration>) -> Failure {
    let words = || format!("Gateway \"{name}\" cannot take requests (phase {})", phase.as_str());
    let again = wait.map_or_else(
        || "It is tried again by itself.".to_owned(),
        |wait| format!("It is tried again in {} s.", wait.as_millis().div_ceil(1000)),
    );
    let help = problem.filter(|problem| !problem.help.is_empty());
    let help = help.map_or_else(|| again.clone(), |problem| format!("{} {again}", problem.help));
    // Somebody may mend it before it is tried again by itself.
    let retry = wait.unwrap_or_default().clamp(TRY_AGAIN, MAX_TRY_AGAIN);
    Failure::new(ErrorCode::GatewayUnavailable, problem.map_or_else(words, |problem| problem.message.clone()))
        .with_help(help)
        .with_retry_after(retry)
}

gatewarden_protocol::named! {
    /// State of the circuit breaker.
    pub enum BreakerState {
        /// Passes work.
        Closed = "closed",
        /// Blocks work after too many failures in a row.
        Open = "open",
        /// One attempt is under way to find out.
        HalfOpen = "half_open",
    }
}

/// The breaker as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerView {
    /// Its state.
    pub state: BreakerState,
    /// Consecutive failures.
    pub failures: u32,
    /// Wall ms of the last opening, while not closed.
    pub opened_at_ms: Option<i64>,
    /// Wall ms of the last transition.
    pub changed_at_ms: Option<i64>,
}

/// A pairing request that waits for an operator on the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingView {
    /// What to approve, where the gateway said it.
    pub request_id: Option<String>,
    /// The command that approves it, on the gateway's machine.
    pub command: Option<String>,
    /// Our device id.
    pub device_id: String,
}

/// Everything that a `Gateway` actor says about its gateway. Replaced as a whole; readers never see a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayReport {
    /// Derived status.
    pub status: Status,
    /// Connection phase.
    pub phase: Phase,
    /// Wall ms at which the status took its present value.
    pub since_ms: i64,
    /// Wall ms of the knowledge behind the status.
    pub as_of_ms: i64,
    /// Where it came from.
    pub source: StatusSource,
    /// The reason for a status other than online; kept while it holds.
    pub last_error: Option<Problem>,
    /// Wall ms of the last failure of any kind.
    pub last_failure_ms: Option<i64>,
    /// Wall ms of the last success (any frame of an authenticated connection, a healthy probe).
    pub last_seen_ms: Option<i64>,
    /// Round trip of the last heartbeat or probe, ms with fraction.
    pub latency_ms: Option<f64>,
    /// Active sessions; none while unknown.
    pub sessions_count: Option<u32>,
    /// Agents; none while unknown.
    pub agents_count: Option<u32>,
    /// Names of agents, for the health sweep.
    pub agent_names: Arc<[String]>,
    /// Server version.
    pub version: Option<String>,
    /// Negotiated protocol.
    pub protocol: Option<u32>,
    /// Dialect in use or last used.
    pub dialect: Option<Dialect>,
    /// Gateway uptime in ms as of `as_of_ms`.
    pub uptime_ms: Option<u64>,
    /// Circuit breaker.
    pub breaker: BreakerView,
    /// Attempts since the last stable connection.
    pub reconnect_attempts: u32,
    /// Wall ms of the next attempt, while waiting for one.
    pub next_attempt_ms: Option<i64>,
    /// Present while pairing is required.
    pub pairing: Option<PairingView>,
    /// Scopes granted, where the gateway says.
    pub scopes: Arc<[String]>,
    /// Wall ms at which `Ready` was reached, while ready.
    pub ready_since_ms: Option<i64>,
    /// How many orders of the registry the connection had heard.
    pub orders: u64,
}

impl GatewayReport {
    /// What is known before the first attempt: nothing.
    pub fn unknown(now_ms: i64) -> Self {
        Self {
            status: Status::Unknown,
            phase: Phase::Idle,
            since_ms: now_ms,
            as_of_ms: now_ms,
            source: StatusSource::Event,
            last_error: None,
            last_failure_ms: None,
            last_seen_ms: None,
            latency_ms: None,
            sessions_count: None,
            agents_count: None,
            agent_names: Arc::default(),
            version: None,
            protocol: None,
            dialect: None,
            uptime_ms: None,
            breaker: BreakerView { state: BreakerState::Closed, failures: 0, opened_at_ms: None, changed_at_ms: None },
            reconnect_attempts: 0,
            next_attempt_ms: None,
            pairing: None,
            scopes: Arc::default(),
            ready_since_ms: None,
            orders: 0,
        }
    }

    /// Whether work may be sent: authenticated, and the breaker passes.
    pub fn is_usable(&self) -> bool {
        self.phase == Phase::Ready && self.breaker.state == BreakerState::Closed
    }
}

/// What a failure says of the way to the gateway's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// Nothing at all came back: the fault may as well be here.
    Silence,
    /// The connection broke: the next attempt tells.
    Open,
    /// The host answered, be it by refusing the connection.
    Answer,
}

impl GatewayReport {
    /// What the last failure says of the way to the host.
    pub(crate) fn trace(&self) -> Trace {
        use RefusalCode::{
            Closed, ConnectTimeout, ConnectionReset, DialTimeout, HeartbeatLost, HeartbeatMissed, HostUnreachable,
            NameNotResolved, NodeMissing,
        };
        let is_one_of = |codes: &[RefusalCode]| {
            self.last_error.as_ref().is_none_or(|problem| codes.iter().any(|code| code.as_str() == problem.code))
        };
        if is_one_of(&[Closed, ConnectionReset, NodeMissing]) {
            Trace::Open
        } else if is_one_of(&[
            DialTimeout,
            ConnectTimeout,
            HeartbeatLost,
            HeartbeatMissed,
            HostUnreachable,
            NameNotResolved,
        ]) {
            Trace::Silence
        } else {
            Trace::Answer
        }
    }
}

/// The sessions of one gateway as last known. Replaced as a whole.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// Newest first.
    pub rows: Vec<Arc<SessionRow>>,
    /// Wall ms of the last news.
    pub as_of_ms: i64,
    /// Whether the list was ever read in full since the connection was made.
    pub complete: bool,
}

/// Shared with readers.
pub type SharedSessions = Arc<SessionSnapshot>;

/// One entry of the health log: a status change, or a fold of the heartbeats of one probe interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthPoint {
    /// Wall ms.
    pub at_ms: i64,
    /// Status at that time.
    pub status: Status,
    /// Last latency, ms.
    pub latency_ms: Option<f64>,
    /// Minimum since the previous point.
    pub latency_min_ms: Option<f64>,
    /// Average since the previous point.
    pub latency_avg_ms: Option<f64>,
    /// Maximum since the previous point.
    pub latency_max_ms: Option<f64>,
    /// Round trips since the previous point, for percentiles: all of them, or of very many every so-manieth.
    pub samples: Vec<f64>,
    /// Heartbeats missed since the previous point.
    pub misses: u32,
    /// The sentence of the problem, if any.
    pub error: Option<String>,
}

/// What a probe found. It also feeds the gateway's status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// Wall ms at the end of the probe.
    pub probed_at_ms: i64,
    /// The report after this probe was taken into account.
    pub report: GatewayReport,
    /// Round trip in ms, where the gateway answered.
    pub latency_ms: Option<f64>,
    /// The step that failed (`resolve`, `connect`, `tls`, `upgrade`, `challenge`, `authenticate`, `request`,
    /// `health_document`), with its words.
    pub failed_step: Option<(String, String)>,
}
