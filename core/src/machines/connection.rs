//! The life of one connection to one gateway, as a pure machine: attempts, handshake, heartbeat, requests, what is known.
//!
//! ```text
//! Idle --permit--> Dialing --> AwaitingChallenge --> Authenticating --> Ready
//!   ^                 |               |                    |              |
//!   |                 v               v                    v              v
//!   +------- Backoff | Starting | Restarting | Blocked  <-----------------+
//! ```
//!
//! Rules that hold whatever comes in (the property test throws everything at it):
//!
//! 1. One socket at a time. Each attempt has an [`Epoch`]; what an older one still says is ignored.
//! 2. No credential leaves without a permit, and every permit is settled once.
//! 3. Something is always due ([`Connection::next_deadline`]) until the connection is stopped: no state waits for good.
//! 4. `Ready` comes only from an accepted handshake (or, over HTTP, a health document and an accepted token).
//! 5. Every failure waits: no path leads from a failure to the next attempt without a delay or a permit.
//!
//! The shell calls a method for each input, with the [`Moment`] of it, and carries out what [`Connection::take_effects`] gives.

mod active;
mod attempt;
mod ending;
mod frames;
mod http_dialect;
mod log_following;
mod look_ups;
mod peer;
mod probes;
mod run_ends;
mod run_starts;
mod run_tracker;
mod run_words;
mod runs;
mod session_publisher;
mod status;
mod turn;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewarden_protocol::DeviceIdentity;
use gatewarden_protocol::Secret;
use gatewarden_protocol::address::GatewayAddress;
use gatewarden_protocol::health_document::HealthDocument;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, UpgradeAnswer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::active::ActiveConnection;
pub use self::attempt::{AuthPermit, AuthResult};
use self::attempt::{Handshaking, Login, Permission};
pub(crate) use self::ending::REDIAL_PATIENCE;
use self::ending::Verdict;
pub use self::http_dialect::{HttpAnswer, HttpOperation};
use self::log_following::LogFollowing;
pub use self::log_following::LogNews;
use self::peer::Peer;
use self::probes::Probes;
pub use self::probes::{MAX_PROBES, ProbeFinding};
use self::runs::Runs;
pub use self::session_publisher::AgentNews;
use self::session_publisher::SessionPublisher;
use self::status::{Breaker, StatusTracker};
pub use self::turn::{CallToken, Epoch, Moment, ProbeToken};
use self::turn::{Turn, Until};
use crate::dialing::{DialFailure, DialRequest};
use crate::error::Failure;
use crate::gateway_record::{DeviceToken, SharedRecord};
use crate::gateway_report::{GatewayReport, HealthPoint, Phase, ProbeOutcome, SharedSessions, Status};
use crate::machines::backoff::Backoff;
use crate::machines::log_tail::{Begin, WatchToken};
use crate::settings::GatewaySettings;
use crate::spawn::{ControlSession, LookUpRun, LookedUp, NotAccepted, RunNotice, SpawnRecord, SpawnRequest};

/// What is due at one deadline is bounded: each round does at least one thing, and none comes back within the same instant.
const MAX_ROUNDS: u32 = 8;

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
        /// [`Connection::on_run_unsent`].
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
    /// Tell whoever wanted a run started whether the gateway took it: its record, with what the acceptance tells; the result is the
    /// gateway's reply, cut to 64 KiB.
    AnswerRun(CallToken, Box<Result<SpawnRecord, NotAccepted>>),
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
    /// The gateway took this spawn, by this method: one log line.
    SpawnAccepted(String, &'static str),
    /// Something worth a line in the debug log; holds no secret and no unbounded text.
    Remark(String),
}

/// What a `Gateway` actor says.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Something to count, of a gateway that another node carries.
    Count(Count),
}

gatewarden_protocol::named! {
    /// What came of a request to a gateway.
    pub enum RpcOutcome {
        /// It was answered.
        Ok = "ok",
        /// The gateway refused it.
        Refused = "refused",
        /// No answer came in time.
        Timeout = "timeout",
        /// The connection ended before an answer.
        Lost = "lost",
    }
}

gatewarden_protocol::named! {
    /// Why a frame was dropped.
    pub enum DropReason {
        /// It is no frame.
        Garbage = "garbage",
        /// A reply to nothing that was asked.
        UnmatchedReply = "unmatched_reply",
        /// A request, or an event of a kind that nobody knows.
        UnknownEvent = "unknown_event",
    }
}

/// Something to count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Count {
    /// A heartbeat's or probe's round trip.
    Latency(Duration),
    /// An attempt to connect after the first.
    Reconnect,
    /// A refusal.
    Refusal(RefusalCode),
    /// A request: method and outcome.
    Rpc(String, RpcOutcome),
    /// A frame that was dropped, and why.
    DroppedFrame(DropReason),
}

/// What a connection is made of.
#[derive(Debug, Clone)]
pub struct ConnectionParts {
    /// The stored record.
    pub record: SharedRecord,
    /// Times and bounds.
    pub settings: Arc<GatewaySettings>,
    /// Who we are.
    pub identity: Arc<DeviceIdentity>,
    /// Our version, told to gateways.
    pub version: String,
    /// Names this run of the daemon to gateways.
    pub instance_id: String,
}

#[derive(Debug)]
enum State {
    /// Not started, or waiting for a permit to authenticate.
    Idle(Permission),
    /// A socket is being opened. Over HTTP a health document is awaited instead: without one, it is this refusal.
    Dialing {
        due: Instant,
        http: Option<Refusal>,
    },
    /// The socket is open; the login isn't done.
    Handshaking(Box<Handshaking>),
    /// The health document is there; whether the token is taken isn't known.
    HttpLogin {
        due: Instant,
        document: HealthDocument,
        token_sent: bool,
    },
    /// Authenticated.
    Live(Box<ActiveConnection>),
    /// Waiting for the next attempt.
    Waiting(Until),
    Stopped,
}

/// One connection to one gateway.
#[derive(Debug)]
pub struct Connection {
    peer: Peer,
    login: Login,
    state: State,
    /// What `state` and `verdict` come to; kept to tell each change of it.
    phase: Phase,
    verdict: Verdict,
    epoch: Epoch,
    /// Changes and reconnects that were ordered.
    orders: u64,
    /// Whether there was an attempt before: the next one is a reconnect.
    attempted: bool,
    /// When the latest attempt began to dial.
    attempt_since: Instant,
    backoff: Backoff,
    breaker: Breaker,
    tracker: StatusTracker,
    /// The status from before a time of our own silence, until the attempt that finds out anew has told something.
    kept: Option<(Status, Instant)>,
    probes: Probes,
    runs: Runs,
    publisher: SessionPublisher,
    logs: LogFollowing,
    effects: Vec<Effect>,
}

/// The machines within a connection, and the turn that they are handed.
struct Machines<'a> {
    turn: Turn<'a>,
    active: Option<&'a mut ActiveConnection>,
    runs: &'a mut Runs,
    publisher: &'a mut SessionPublisher,
    logs: &'a mut LogFollowing,
}

impl Connection {
    /// A connection that waits for [`Connection::start`].
    pub fn new(parts: ConnectionParts, moment: Moment) -> Self {
        let ConnectionParts { record, settings, identity, version, instance_id } = parts;
        Self {
            backoff: Backoff::new(settings.backoff.clone(), settings.stable_after),
            breaker: Breaker::new(settings.breaker_failures),
            tracker: StatusTracker::new(moment, settings.probe_interval, record.dialect),
            login: Login::new(identity, version, instance_id),
            peer: Peer::new(record, settings),
            kept: None,
            state: State::Idle(Permission::NotAsked),
            phase: Phase::Idle,
            verdict: Verdict::None,
            epoch: Epoch(0),
            orders: 0,
            attempted: false,
            attempt_since: moment.now,
            probes: Probes::default(),
            runs: Runs::default(),
            publisher: SessionPublisher::default(),
            logs: LogFollowing::default(),
            effects: Vec::new(),
        }
    }

    /// Makes the first attempt.
    pub fn start(&mut self, moment: Moment) {
        self.tracker.mark();
        if matches!(self.state, State::Idle(Permission::NotAsked)) {
            self.begin(moment, "start");
        }
    }

    /// Somebody asks the gateway for something. Answered once, with [`Effect::Answer`].
    pub fn call(&mut self, moment: Moment, call: CallToken, method: &str, params: &Value, timeout: Duration) {
        self.tracker.mark();
        let Machines { mut turn, active, .. } = self.machines(moment);
        active::call(&mut turn, active, call, method, params, timeout);
    }

    /// Somebody wants a run started. Answered once, with [`Effect::AnswerRun`].
    pub fn start_run(&mut self, moment: Moment, call: CallToken, request: &Arc<SpawnRequest>) {
        self.tracker.mark();
        let Machines { mut turn, active, runs, .. } = self.machines(moment);
        runs.start(&mut turn, active, call, request);
    }

    /// The spawn of this run was given up: nothing more is wanted of it.
    pub fn forget_run(&mut self, run_id: &str) {
        self.runs.tracker.forget(run_id);
    }

    /// The socket refused the frame that was to start a run: it never left.
    pub fn on_run_unsent(&mut self, moment: Moment, call: CallToken) {
        self.tracker.mark();
        let Machines { mut turn, runs, .. } = self.machines(moment);
        runs.unsent(&mut turn, call);
    }

    /// Somebody wants to know what became of a run. Answered once, with [`Effect::AnswerFinding`].
    pub fn look_up_run(&mut self, moment: Moment, call: CallToken, wanted: LookUpRun) {
        self.tracker.mark();
        let Machines { mut turn, active, runs, .. } = self.machines(moment);
        runs.look_up(&mut turn, active, call, wanted);
    }

    /// Somebody wants a session paused, resumed or killed. Answered once, with [`Effect::Answer`].
    pub fn control(&mut self, moment: Moment, call: CallToken, control: ControlSession) {
        self.tracker.mark();
        let Machines { mut turn, active, runs, .. } = self.machines(moment);
        runs.control(&mut turn, active, call, control);
    }

    /// Somebody wants to follow the log. Answered once, with [`LogNews::Welcome`] or [`LogNews::Refused`].
    pub fn watch_logs(&mut self, moment: Moment, watch: WatchToken, begin: Begin) {
        self.tracker.mark();
        let Machines { mut turn, active, logs, .. } = self.machines(moment);
        logs.join(&mut turn, active, watch, begin);
    }

    /// A follower of the log is gone.
    pub fn unwatch_logs(&mut self, watch: WatchToken) {
        self.logs.leave(watch);
    }

    /// What the shell must do now, in order. Tells what changed in the report since the last time.
    pub fn take_effects(&mut self, moment: Moment) -> Vec<Effect> {
        let Machines { mut turn, mut active, runs, publisher, .. } = self.machines(moment);
        let told = runs.tracker.take_session_events();
        if active.as_mut().is_some_and(|active| active.take_own_runs(told, moment)) {
            publisher.note(moment.wall_ms);
        }
        publisher.publish(&mut turn, active);
        // Stopping says nothing about the gateway: what was last known stays as it was told.
        let status = self.facts(moment).status(moment.now);
        if !self.is_stopped() && self.tracker.has_news(moment, status) {
            let report = self.report_as(moment, status);
            self.tracker.publish(moment, report, &mut self.effects);
        }
        if self.probes.has_answers() {
            let report = self.current(moment);
            self.probes.flush(moment.wall_ms, &report, &mut self.effects);
        }
        std::mem::take(&mut self.effects)
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The attempt whose socket counts.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the socket of this attempt is awaited.
    pub fn is_dialing(&self, epoch: Epoch) -> bool {
        self.epoch == epoch && matches!(self.state, State::Dialing { http: None, .. })
    }

    /// The last report that was given out.
    pub fn report(&self) -> &GatewayReport {
        self.tracker.report()
    }

    /// The record that the connection works from.
    pub fn record(&self) -> &SharedRecord {
        &self.peer.record
    }

    /// The address that dials go to, if the stored host is one.
    pub fn address(&self) -> Option<&GatewayAddress> {
        self.peer.address.as_ref()
    }

    /// What an HTTP request shows the gateway.
    pub fn shared_credential(&self) -> Option<Secret> {
        self.peer.record.shared_credential().cloned()
    }

    /// What a failed dial means for this gateway.
    pub fn read_dial_failure(&self, failure: &DialFailure) -> UpgradeAnswer {
        failure.classify(self.peer.dialect.is_some())
    }

    /// Something that isn't a gateway's answer: from an address that never was a gateway it says that there is none,
    /// from a known gateway it is a fault that may pass.
    pub fn strange_code(&self) -> RefusalCode {
        self.peer.strange_code()
    }

    /// What is kept of this gateway between two messages, bytes.
    pub fn held_bytes(&self) -> usize {
        self.active().map_or(0, ActiveConnection::held_bytes) + self.publisher.held_bytes() + self.logs.held_bytes()
    }

    /// What is under way or remembered of it: requests, runs, questions, probes. Nothing once all has been quiet for eleven minutes.
    pub fn waiting(&self) -> usize {
        let active = self.active().map_or(0, |active| active.pending.len());
        let asked = usize::from(matches!(self.state, State::Idle(Permission::Asked { .. })));
        asked + self.probes.waiting() + self.runs.waiting() + active
    }

    /// When [`Connection::on_deadline`] is due. There is always such a time until the connection is stopped.
    pub fn next_deadline(&self, moment: Moment) -> Option<Instant> {
        if self.is_stopped() {
            return None;
        }
        let telling = [
            self.tracker.next_deadline(&self.facts(moment), moment.now),
            self.publisher.next_deadline(self.active(), moment.now),
        ];
        telling.into_iter().flatten().chain(self.own_deadline()).min()
    }

    /// When there is more to do than to tell what is known.
    fn own_deadline(&self) -> Option<Instant> {
        let logs = (self.phase == Phase::Ready).then(|| self.logs.next_deadline()).flatten();
        let own = [
            self.state_due(),
            self.backoff.stable_at(),
            self.verdict.next_deadline(),
            self.probes.next_deadline(),
            self.runs.next_deadline(),
            logs,
            self.active().and_then(ActiveConnection::next_deadline),
        ];
        own.into_iter().flatten().min()
    }

    /// What [`Connection::next_deadline`] said is due.
    pub fn on_deadline(&mut self, moment: Moment) {
        self.tracker.mark();
        for _ in 0..MAX_ROUNDS {
            self.run_due(moment);
            if self.is_stopped() || self.own_deadline().is_none_or(|next| next > moment.now) {
                break;
            }
        }
    }

    fn run_due(&mut self, moment: Moment) {
        self.expire_requests(moment);
        let Machines { mut turn, runs, .. } = self.machines(moment);
        runs.on_deadline(&mut turn);
        self.run_heartbeat(moment);
        self.expire_probes(moment);
        self.grace_over(moment);
        self.backoff.on_tick(moment.now);
        let Machines { mut turn, active, logs, .. } = self.machines(moment);
        if let Some(active) = active {
            active.on_deadline(&mut turn);
            logs.ask(&mut turn, active);
        }
        self.state_over(moment);
    }

    fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    fn has_socket(&self) -> bool {
        matches!(self.state, State::Dialing { .. } | State::Handshaking(_) | State::HttpLogin { .. } | State::Live(_))
    }

    fn active(&self) -> Option<&ActiveConnection> {
        match &self.state {
            State::Live(active) => Some(active),
            _ => None,
        }
    }

    fn machines(&mut self, moment: Moment) -> Machines<'_> {
        let turn = Turn {
            moment,
            epoch: self.epoch,
            peer: &self.peer,
            phase: self.phase,
            problem: self.verdict.blocked().map(|blocked| &blocked.problem).or(self.tracker.problem.as_ref()),
            next_attempt: match &self.state {
                State::Waiting(until) | State::Idle(Permission::Denied(until)) => Some(until.at),
                _ => None,
            },
            effects: &mut self.effects,
        };
        let active = match &mut self.state {
            State::Live(active) => Some(&mut **active),
            _ => None,
        };
        Machines { turn, active, runs: &mut self.runs, publisher: &mut self.publisher, logs: &mut self.logs }
    }

    /// The only way to another state. `reason` is a stable code, for the log.
    fn enter(&mut self, state: State, reason: &'static str) {
        self.state = state;
        self.note_phase(reason);
    }

    /// Tells the phase if the state or the verdict has changed it.
    fn note_phase(&mut self, reason: &'static str) {
        self.tracker.mark();
        let to = match &self.state {
            State::Idle(_) => Phase::Idle,
            State::Dialing { .. } => Phase::Dialing,
            State::Handshaking(handshaking) if handshaking.login.is_authenticating() => Phase::Authenticating,
            State::Handshaking(_) => Phase::AwaitingChallenge,
            State::HttpLogin { .. } => Phase::Authenticating,
            // Still connected while the restart is only announced.
            State::Live(_) if matches!(self.verdict, Verdict::Restarting(_)) => Phase::Restarting,
            State::Live(_) => Phase::Ready,
            State::Waiting(_) => self.verdict.waiting_phase(),
            State::Stopped => Phase::Stopping,
        };
        let from = std::mem::replace(&mut self.phase, to);
        if from != to {
            self.push(Effect::PhaseChanged { from, to, reason });
        }
    }

    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}

#[cfg(test)]
mod tests;
