//! What a [`super::Link`] asks its shell to do, and the small types that travel in and out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewarden_protocol::LogEntry;
use serde_json::Value;

use crate::dialing::{DialFailure, DialRequest, HttpReply};
use crate::dialing::{Health, HealthFailure};
use crate::error::Failure;
use crate::gateway_notice::AuthResult;
use crate::gateway_record::DeviceToken;
use crate::gateway_report::{GatewayReport, Phase};
use crate::gateway_report::{HealthPoint, ProbeOutcome};
use crate::machines::log_tail::{LogCursor, LogGap, WatchToken};
use crate::run::RunNotice;
use crate::run::{Accepted, LookedUp, NotAccepted, SharedSessions};

/// Time and chance at one input.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic.
    pub now: Instant,
    /// Wall time in ms.
    pub wall_ms: i64,
    /// A random number in `[0, 1)`, for jitter.
    pub chance: f64,
}

impl Moment {
    /// Wall time of a later instant, ms.
    pub fn wall_of(&self, later: Instant) -> i64 {
        let ahead = later.saturating_duration_since(self.now).as_millis();
        self.wall_ms.saturating_add(i64::try_from(ahead).unwrap_or(i64::MAX))
    }
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

/// One HTTP request of the `http` dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpAsk {
    /// Names it in its answer; counted up within an attempt.
    pub number: u64,
    /// What is asked.
    pub operation: HttpOperation,
    /// Budget.
    pub timeout: Duration,
}

/// The answer to an [`HttpAsk`].
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
    /// A frame that was dropped.
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
    Refused {
        /// Who.
        watch: WatchToken,
        /// Why.
        failure: Failure,
    },
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
    /// Ask the registry for one authentication at this address.
    WantPermit {
        /// The address in its canonical form.
        address: String,
    },
    /// Tell the registry how the permitted authentication ended.
    SettleAuth {
        /// The address in its canonical form.
        address: String,
        /// How.
        result: AuthResult,
    },
    /// Have the device token kept.
    IssueToken {
        /// The address in its canonical form.
        address: String,
        /// The token.
        token: DeviceToken,
    },
    /// Have the device token forgotten.
    ForgetToken {
        /// The address in its canonical form.
        address: String,
    },
    /// Open a socket.
    Dial {
        /// The attempt.
        epoch: Epoch,
        /// What to open.
        request: Box<DialRequest>,
    },
    /// Send one HTTP request.
    Http {
        /// The attempt.
        epoch: Epoch,
        /// What to send.
        ask: HttpAsk,
    },
    /// Send a text frame.
    Send {
        /// The socket.
        epoch: Epoch,
        /// The frame.
        text: String,
    },
    /// Send the frame that starts a run; if the socket's queue refuses it, say so with
    /// [`Link::on_run_unsent`](super::Link::on_run_unsent).
    SendRun {
        /// The socket.
        epoch: Epoch,
        /// Who waits for the acceptance.
        call: CallToken,
        /// The frame.
        text: String,
    },
    /// Send a ping.
    Ping {
        /// The socket.
        epoch: Epoch,
        /// What comes back in the pong.
        payload: Bytes,
    },
    /// Answer a ping.
    Pong {
        /// The socket.
        epoch: Epoch,
        /// What came in the ping.
        payload: Bytes,
    },
    /// Let the gateway send frames up to this size.
    RaiseCap {
        /// The socket.
        epoch: Epoch,
        /// Bytes.
        bytes: usize,
    },
    /// Close the socket, or give up the dial that would open it.
    Close {
        /// The socket.
        epoch: Epoch,
        /// The close code.
        code: u16,
        /// The reason.
        reason: &'static str,
    },
    /// Answer a caller.
    Answer {
        /// The caller.
        call: CallToken,
        /// The gateway's answer, or why there is none.
        result: Result<Value, Failure>,
    },
    /// Answer whoever wanted a run started.
    AnswerRun {
        /// The caller.
        call: CallToken,
        /// Whether the gateway took it.
        result: Result<Accepted, NotAccepted>,
    },
    /// Answer whoever wanted to know what became of a run.
    AnswerFinding {
        /// The caller.
        call: CallToken,
        /// What the gateway knows.
        result: Result<LookedUp, Failure>,
    },
    /// A run moved on.
    RunMoved(Box<RunNotice>),
    /// The sessions changed.
    Sessions(SharedSessions),
    /// Something for those who follow the gateway's log.
    Logs(LogNews),
    /// Answer a probe.
    AnswerProbe {
        /// Who asked.
        probe: ProbeToken,
        /// What was found.
        outcome: Box<ProbeOutcome>,
    },
    /// Probe the gateway beside the connection: without credentials, all steps within the timeout.
    ProbeUnconnected {
        /// Names the round in its answer.
        round: u64,
        /// Budget.
        timeout: Duration,
    },
    /// The report changed.
    Report(Box<GatewayReport>),
    /// A point for the health log.
    Health(HealthPoint),
    /// Count something.
    Count(Count),
    /// The connection phase changed: one log line.
    StateChanged {
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
