//! What goes into a [`Connection`](super::Connection) and comes out of it, and the turn in which one becomes the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewarden_protocol::LogEntry;
use gatewarden_protocol::decoding::Meter;
use serde_json::Value;

use super::peer::Peer;
use super::probes::ProbeFinding;
use crate::dialing::{DialFailure, DialRequest, Health, HealthFailure, HttpReply, SocketError};
use crate::error::Failure;
use crate::gateway_notice::{GatewayNotice, GatewayOrder};
use crate::gateway_report::{Phase, ProbeOutcome, Problem, unavailable};
use crate::machines::log_tail::{Begin, LogCursor, LogGap, WatchToken};
use crate::run::{Accepted, ControlSession, LookUpRun, LookedUp, NotAccepted, StartRun};

/// Time and chance at one input.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic.
    pub now: Instant,
    /// Wall time in ms.
    pub wall_ms: i64,
    /// A random number in `[0, 1)`.
    pub jitter: f64,
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

/// What a [`Connection`](super::Connection) is told.
pub enum Input<'a> {
    /// Make the first attempt.
    Start,
    /// Stop for good: close the socket, answer whoever waits.
    ShutDown,
    /// What [`Connection::next_deadline`](super::Connection::next_deadline) said is due.
    Deadline,
    /// What the registry wants of it.
    Order(GatewayOrder),
    /// Something about the socket or the HTTP conversation of an attempt.
    Socket(Epoch, SocketInput<'a>),
    /// Somebody asks the gateway for something: method, parameters and how long the answer is waited for. Answered once, with
    /// [`Effect::Answer`].
    Call(CallToken, &'a str, &'a Value, Duration),
    /// Somebody wants a run started. Answered once, with [`Effect::AnswerRun`].
    StartRun(CallToken, StartRun),
    /// The socket refused the frame that was to start a run: it never left.
    RunUnsent(CallToken),
    /// Somebody wants to know what became of a run. Answered once, with [`Effect::AnswerFinding`].
    LookUpRun(CallToken, LookUpRun),
    /// Somebody wants a session paused, resumed or killed. Answered once, with [`Effect::Answer`].
    Control(CallToken, ControlSession),
    /// Somebody wants to know now how the gateway is. Answered once, within the time, with [`Effect::AnswerProbe`].
    Probe(ProbeToken, Duration),
    /// What the try beside the connection found, in the round of [`Effect::ProbeUnconnected`].
    ProbeFinding(u64, ProbeFinding),
    /// Somebody wants to follow the log. Answered once, with [`LogNews::Welcome`] or [`LogNews::Refused`].
    WatchLogs(WatchToken, Begin),
    /// A follower of the log is gone.
    UnwatchLogs(WatchToken),
}

/// What is heard of the socket or the HTTP conversation of one attempt.
pub enum SocketInput<'a> {
    /// It is open. Ask [`Connection::is_dialing`](super::Connection::is_dialing) first whether it is still wanted.
    Dialed,
    /// It could not be opened.
    DialFailed(&'a DialFailure),
    /// A text or binary message. What becomes of it is decoded at the expense of the meter.
    Message(&'a [u8], &'a mut dyn Meter),
    /// A ping, to be answered at once: a gateway drops a client that doesn't.
    Ping(Bytes),
    /// An answer to our ping, or a word of its own.
    Pong(&'a [u8]),
    /// The gateway said goodbye with a code, or just went.
    Closed(Option<u16>, &'a str),
    /// It is of no use any more.
    Failed(&'a SocketError),
    /// The answer to the HTTP request of this id, decoded at the expense of the meter.
    Http(&'a str, HttpAnswer, &'a mut dyn Meter),
}

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
        /// The run that it starts: if the socket's queue refuses the frame, say so with [`Input::RunUnsent`].
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
