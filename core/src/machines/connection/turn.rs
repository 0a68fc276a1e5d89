//! What goes into a [`Connection`](super::Connection) and comes out of it; what the registry and it tell each other; the turn in which
//! one becomes the other, and the requests to the gateway that are made in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewarden_protocol::{LogEntry, WireError, words};
use serde_json::Value;

use super::peer::Peer;
use crate::dialing::{DialFailure, DialRequest, Health, HealthFailure, HttpReply};
use crate::error::Failure;
use crate::gateway_record::{DeviceToken, SharedRecord};
use crate::gateway_report::{GatewayReport, HealthPoint, Phase, ProbeOutcome, Problem, SharedSessions, unavailable};
use crate::machines::log_tail::{LogCursor, LogGap, WatchToken};
use crate::spawn::{Accepted, Certainty, LookedUp, NotAccepted, RunNotice};

/// Time and chance at one input.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic.
    pub now: Instant,
    /// Wall time in ms.
    pub wall_ms: i64,
    /// A random number in `[0, 1)`.
    pub jitter: f64,
    /// When the daemon last came back from a time in which it got none itself: the machine was suspended, or the process stopped.
    pub woke: Option<Instant>,
}

impl Moment {
    /// A later instant, and its wall time.
    pub(super) fn until(&self, at: Instant) -> Until {
        let ahead = i64::try_from(at.saturating_duration_since(self.now).as_millis()).unwrap_or(i64::MAX);
        Until { at, wall_ms: self.wall_ms.saturating_add(ahead) }
    }
}

/// A moment to come. Its wall time is computed once, so that what is shown of it stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Until {
    pub(super) at: Instant,
    pub(super) wall_ms: i64,
}

/// One socket or HTTP conversation. It grows with each attempt; what arrives for an older one is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Names a caller that waits in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallToken(pub u64);

/// Names a probe that waits in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeToken(pub u64);

/// What is asked over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpOperation {
    /// `GET /health` without the token, to find out whether this is a gateway; it opens the conversation.
    Detect,
    /// `GET /health` without the token.
    Health,
    /// `GET /sessions`.
    Sessions,
    /// `GET /config`.
    Config,
    /// `POST /spawn`.
    Spawn(Value),
    /// `POST /control`.
    Control(Value),
}

/// The answer to an HTTP request.
#[derive(Debug)]
pub enum HttpAnswer {
    /// To [`HttpOperation::Detect`] and [`HttpOperation::Health`].
    Health(Result<Health, HealthFailure>),
    /// To any other: any status is an answer.
    Reply(Result<HttpReply, DialFailure>),
}

/// Something to count.
#[derive(Debug, Clone, PartialEq)]
pub enum Count {
    /// A heartbeat's or probe's round trip.
    Latency(Duration),
    /// An attempt to connect after the first.
    Reconnect,
    /// A refusal, by its stable code.
    Refusal(&'static str),
    /// A request: method and outcome.
    Rpc(String, &'static str),
    /// A frame that was dropped, and why.
    DroppedFrame(&'static str),
}

/// What followers of the gateway's log are told.
#[derive(Debug, Clone)]
pub enum LogNews {
    /// A follower is in, with what it begins with.
    Welcome {
        /// Who.
        watch: WatchToken,
        /// Its first entries.
        entries: Vec<Arc<LogEntry>>,
        /// The place after them, where the log has places.
        cursor: Option<LogCursor>,
        /// Why entries may be missing before them.
        gap: Option<LogGap>,
    },
    /// A follower could not be let in.
    Refused(WatchToken, Failure),
    /// New entries for all, except for those who have the first of them already.
    Entries {
        /// The entries.
        entries: Vec<Arc<LogEntry>>,
        /// The place after them, where the log has places.
        cursor: Option<LogCursor>,
        /// Who has how many of them.
        known: Vec<(WatchToken, usize)>,
    },
    /// Entries may be missing here, for all.
    Gap(LogGap),
    /// Nothing comes for now, for all.
    Interrupted,
    /// It goes on, for all.
    Resumed,
    /// The gateway gives out no log: it is over for all.
    Over(Failure),
}

/// What the shell is asked to do, in order.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Tell the registry.
    Notify(GatewayNotice),
    /// Open a socket.
    Dial(Epoch, Box<DialRequest>),
    /// Send a text frame.
    Send {
        /// The socket.
        epoch: Epoch,
        /// The frame.
        text: String,
        /// The run that it starts: if the socket's queue refuses the frame, say so with
        /// [`Connection::on_run_unsent`](super::Connection::on_run_unsent).
        starts: Option<CallToken>,
    },
    /// Send a ping; its payload comes back in the pong.
    Ping(Epoch, Bytes),
    /// Answer a ping with its payload.
    Pong(Epoch, Bytes),
    /// Send an HTTP request.
    Http {
        /// The attempt.
        epoch: Epoch,
        /// Names it in its answer.
        id: String,
        /// What is asked.
        operation: HttpOperation,
        /// Budget.
        timeout: Duration,
    },
    /// Let the gateway send frames up to so many bytes.
    RaiseCap(Epoch, usize),
    /// Close the socket, or give up the dial that would open it.
    Close {
        /// The socket.
        epoch: Epoch,
        /// The close code.
        code: u16,
        /// The reason.
        reason: &'static str,
    },
    /// Answer a caller with the gateway's answer, or why there is none.
    Answer(CallToken, Result<Value, Failure>),
    /// Tell whoever wanted a run started whether the gateway took it.
    AnswerRun(CallToken, Result<Accepted, NotAccepted>),
    /// Tell whoever wanted to know what became of a run.
    AnswerFinding(CallToken, Result<LookedUp, Failure>),
    /// Answer a probe.
    AnswerProbe(ProbeToken, Box<ProbeOutcome>),
    /// Probe the gateway beside the connection: without credentials, all steps within the timeout.
    ProbeUnconnected {
        /// Names the round in its answer.
        round: u64,
        /// Budget.
        timeout: Duration,
    },
    /// Something for those who follow the gateway's log.
    Logs(LogNews),
    /// Count something.
    Count(Count),
    /// The phase changed: one log line.
    PhaseChanged {
        /// Before.
        from: Phase,
        /// Now.
        to: Phase,
        /// Why, as a stable code.
        reason: &'static str,
    },
    /// Something worth a line in the debug log; holds no secret and no unbounded text.
    Remark(String),
}

/// What a `Gateway` actor says.
#[derive(Debug, Clone)]
pub enum GatewayNotice {
    /// The report changed (any field).
    Report(Box<GatewayReport>),
    /// One authentication is wanted for `address`; answered with [`AuthPermit`].
    PermitWanted {
        /// The address in its canonical form.
        address: String,
    },
    /// The permitted authentication has ended.
    AuthSettled {
        /// The address in its canonical form.
        address: String,
        /// How.
        result: AuthResult,
    },
    /// The gateway issued a device token: keep it for this address.
    DeviceTokenIssued {
        /// The address in its canonical form.
        address: String,
        /// The token.
        token: DeviceToken,
    },
    /// The gateway rejected the device token: forget it.
    DeviceTokenRejected {
        /// The address in its canonical form.
        address: String,
    },
    /// One point for the health log.
    Health(HealthPoint),
    /// A run that this gateway took moved on.
    Run(RunNotice),
    /// The sessions changed; at most a few times a second.
    Sessions(SharedSessions),
    /// What it says its agents are doing; at most a few times a second, each agent once.
    Agents(Vec<AgentNews>),
}

/// What a gateway says of one of its agents (`agent.status` of document 002).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentNews {
    /// The agent's name there.
    pub name: String,
    /// What it is doing, in the gateway's word.
    pub status: String,
    /// Unix seconds of its last sign of life, where told.
    pub last_seen: Option<i64>,
    /// What it did last, where told.
    pub last_activity: Option<String>,
}

impl AgentNews {
    /// Reads the event's payload; none where it names no agent or no status.
    pub fn read(payload: &Value) -> Option<Self> {
        let text = |name: &str| payload.get(name)?.as_str().map(words::shown).filter(|text| !text.is_empty());
        Some(Self {
            name: text("name")?,
            status: text("status")?,
            last_seen: payload.get("last_seen").and_then(Value::as_i64).filter(|at| *at > 0),
            last_activity: text("last_activity"),
        })
    }
}

/// What the registry tells a gateway's actor, and that its connection.
#[derive(Debug, Clone)]
pub enum GatewayOrder {
    /// The stored record changed. A change of address, credentials, transport, trust or pairing mode reconnects at once; any
    /// other is only taken over.
    Record(SharedRecord),
    /// For an operator: drop the connection and dial now, whatever is waited for.
    Reconnect,
    /// In answer to [`GatewayNotice::PermitWanted`]. One is under way per gateway, so this never piles up.
    Permit(AuthPermit),
    /// The spawn of this run was given up: nothing more is wanted of it.
    ForgetRun(String),
}

/// From the registry, in answer to [`GatewayNotice::PermitWanted`]: whether one authentication may be tried now.
#[derive(Debug, Clone)]
pub enum AuthPermit {
    /// Dial and authenticate; the outcome must be told with [`GatewayNotice::AuthSettled`].
    Granted {
        /// The device token kept for this address, if any.
        device_token: Option<DeviceToken>,
    },
    /// The address has used up its failed authentications; ask again then.
    Denied {
        /// When a permit may be had.
        retry_at: Instant,
    },
}

/// How a permitted authentication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthResult {
    /// The gateway let us in.
    Accepted,
    /// Nothing was tried: the attempt ended before any credential was sent, or with a refusal that is not about them.
    NotFailed,
    /// The gateway refused the credentials.
    Failed,
    /// Credentials were sent and the answer never came: counts as failed, to be safe, until one is accepted.
    Unknown,
}

/// What the machines within a connection are handed: when it is, what gateway it is about, and where their effects go.
pub(super) struct Turn<'a> {
    pub(super) moment: Moment,
    pub(super) epoch: Epoch,
    pub(super) peer: &'a Peer,
    pub(super) phase: Phase,
    pub(super) problem: Option<&'a Problem>,
    /// When it is dialled again by itself.
    pub(super) next_attempt: Option<Instant>,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn notify(&mut self, notice: GatewayNotice) {
        self.push(Effect::Notify(notice));
    }

    /// Why nothing can be asked now.
    pub(super) fn unavailable(&self) -> Failure {
        let wait = self.next_attempt.map(|at| at.saturating_duration_since(self.moment.now));
        unavailable(&self.peer.record.name, self.phase, self.problem, wait)
    }
}

/// No caller waits longer than this.
pub(super) const MAX_CALL: Duration = Duration::from_secs(600);

/// What a reply is awaited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PendingKind {
    Caller(CallToken),
    Heartbeat,
    /// What a gateway that calls itself degraded says of itself by now.
    Health,
    Agents,
    AgentsFromConfig,
    Subscribe,
    Sessions,
    Run(CallToken),
    /// What must be set before a run is started, and whether that makes no sense without.
    Preparation(CallToken, bool),
    LookUp(CallToken),
    Kill(CallToken),
    Logs,
}

impl PendingKind {
    pub(super) fn is_read(self) -> bool {
        matches!(self, Self::Agents | Self::AgentsFromConfig | Self::Subscribe | Self::Sessions)
    }
}

/// Why a request wasn't answered as it was meant to be.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The gateway said no.
    Refused(WireError),
    /// The gateway doesn't know the method.
    NotOffered(WireError),
    /// Nothing came back, or nothing that tells; and whether the gateway may be carrying the request out.
    Lost(Failure, Certainty),
}

impl NoAnswer {
    pub(super) fn failure(self, peer: &Peer, method: &str) -> Failure {
        match self {
            Self::Refused(error) => peer.refused(method, &error),
            Self::NotOffered(_) => peer.not_supported(method),
            Self::Lost(failure, _) => failure,
        }
    }
}

pub(super) type Outcome = Result<Value, NoAnswer>;
