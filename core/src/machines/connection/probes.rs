//! Probes: somebody wants to know now. A connected gateway is measured over the live connection; one that is being
//! connected is waited for; any other is tried beside, without credentials.

use std::time::{Duration, Instant};

use gatewarden_protocol::refusal::{Refusal, RefusalClass, RefusalCode};

use super::ending::last_attempt;
use super::status::milliseconds;
use super::{Connection, Count, Effect, Moment, ProbeToken, State};
use crate::gateway_report::{GatewayReport, Phase, ProbeOutcome, StatusSource};

/// Probes that may wait for one gateway at the same time.
pub const MAX_PROBES: usize = 64;

/// What a try beside the connection found.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeFinding {
    /// From the start to the answer that proved a gateway; none where nothing did.
    pub latency: Option<Duration>,
    /// What failed, in which step; none where a gateway answered.
    pub failure: Option<(&'static str, Refusal)>,
}

/// What a probe waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The reply to a heartbeat.
    Live,
    /// The attempt under way.
    Attempt,
    /// A try beside the connection.
    Beside,
}

#[derive(Debug)]
struct Waiting {
    probe: ProbeToken,
    started: Instant,
    deadline: Instant,
    mode: Mode,
}

#[derive(Debug)]
struct Answered {
    probe: ProbeToken,
    latency: Option<Duration>,
    failed_step: Option<(String, String)>,
}

/// Probes that wait, and those that have their answer.
#[derive(Debug, Default)]
pub(super) struct Probes {
    waiting: Vec<Waiting>,
    answered: Vec<Answered>,
    /// The try under way beside the connection.
    round: Option<u64>,
    rounds: u64,
}

impl Probes {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.answered.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    fn answer(&mut self, which: impl Fn(&Waiting) -> bool, latency: Option<Duration>, failed: Option<(&str, &str)>) {
        for Waiting { probe, .. } in self.waiting.extract_if(.., |waiting| which(waiting)) {
            let failed_step = failed.map(|(step, words)| (step.to_owned(), words.to_owned()));
            self.answered.push(Answered { probe, latency, failed_step });
        }
    }

    fn refuse(&mut self, probe: ProbeToken, step: &str, words: String) {
        self.answered.push(Answered { probe, latency: None, failed_step: Some((step.to_owned(), words)) });
    }

    /// Whoever waits for one thing waits for another from now on.
    fn shift(&mut self, from: Mode, to: Mode) {
        self.waiting.iter_mut().filter(|waiting| waiting.mode == from).for_each(|waiting| waiting.mode = to);
    }

    /// A connection is up: whoever waited for it now waits for its first heartbeat.
    pub(super) fn go_live(&mut self) {
        self.shift(Mode::Attempt, Mode::Live);
    }

    /// A heartbeat was answered.
    pub(super) fn answered(&mut self, round_trip: Duration) {
        self.answer(|one| one.mode == Mode::Live, Some(round_trip), None);
    }

    pub(super) fn has_answers(&self) -> bool {
        !self.answered.is_empty()
    }

    /// The answers, with the report that they are part of.
    pub(super) fn flush(&mut self, wall_ms: i64, report: &GatewayReport, effects: &mut Vec<Effect>) {
        for Answered { probe, latency, failed_step } in self.answered.drain(..) {
            let outcome = Box::new(ProbeOutcome {
                probed_at_ms: wall_ms,
                report: report.clone(),
                latency_ms: latency.map(milliseconds),
                failed_step,
            });
            effects.push(Effect::AnswerProbe(probe, outcome));
        }
    }
}

impl Connection {
    /// Somebody wants to know now how the gateway is. Answered once, within the time, with [`Effect::AnswerProbe`].
    pub fn probe(&mut self, moment: Moment, probe: ProbeToken, timeout: Duration) {
        self.tracker.mark();
        let mode = match &self.state {
            State::Live(_) if self.phase == Phase::Ready => Mode::Live,
            State::Dialing { .. } | State::Handshaking(_) | State::HttpLogin { .. } => Mode::Attempt,
            State::Idle(_) | State::Waiting(_) | State::Live(_) => Mode::Beside,
            State::Stopped => {
                return self.probes.refuse(probe, "connect", "the gateway is being stopped".to_owned());
            }
        };
        if self.probes.waiting.len() >= MAX_PROBES {
            let words = format!("{MAX_PROBES} probes of this gateway already wait");
            return self.probes.refuse(probe, "request", words);
        }
        self.probes.waiting.push(Waiting { probe, started: moment.now, deadline: moment.now + timeout, mode });
        if mode == Mode::Beside && self.probes.round.is_none() {
            self.probes.rounds += 1;
            let round = self.probes.rounds;
            self.probes.round = Some(round);
            self.push(Effect::ProbeUnconnected { round, timeout });
        }
        if let State::Live(active) = &mut self.state
            && mode == Mode::Live
        {
            active.heartbeat.hasten(moment.now);
            self.run_heartbeat(moment);
        }
    }

    /// What the try beside the connection found, in the round of [`Effect::ProbeUnconnected`].
    pub fn on_probe_finding(&mut self, moment: Moment, round: u64, finding: ProbeFinding) {
        self.tracker.mark();
        if self.probes.round != Some(round) {
            return;
        }
        self.probes.round = None;
        match finding.failure {
            None => self.probe_found_it(moment, finding.latency),
            Some((step, refusal)) => self.probe_failed(moment, step, &refusal),
        }
    }

    fn probe_found_it(&mut self, moment: Moment, latency: Option<Duration>) {
        if let Some(latency) = latency {
            self.push(Effect::Count(Count::Latency(latency)));
        }
        // A gateway where there was none, or none to be trusted, is news; any other reason only shows at a login.
        let shows_at_login = |code: RefusalCode| !code.means_offline() || code == RefusalCode::ProtocolMismatch;
        if let Some(blocked) = self.verdict.blocked().filter(|blocked| shows_at_login(blocked.code)) {
            // It is there, and refuses as before: only the slow re-check spends a login on finding out more.
            let failed = Some(("authenticate", blocked.problem.message.as_str()));
            return self.probes.answer(|one| one.mode == Mode::Beside, latency, failed);
        }
        self.probes.shift(Mode::Beside, Mode::Attempt);
        if matches!(self.state, State::Waiting(_)) {
            self.begin(moment, "probe_found_it");
        }
    }

    fn probe_failed(&mut self, moment: Moment, step: &'static str, refusal: &Refusal) {
        let problem = self.peer.problem(refusal);
        let is_away = matches!(self.state, State::Waiting(_)) && refusal.class == RefusalClass::Retryable;
        if is_away && self.phase == Phase::Backoff {
            self.tracker.fail(moment, last_attempt(refusal.code), problem.clone(), StatusSource::Probe);
            self.breaker.on_attempt(moment.wall_ms);
            self.breaker.on_failure(moment.wall_ms);
        }
        self.probes.answer(|one| one.mode == Mode::Beside, None, Some((step, &problem.message)));
        // It used to refuse; now it isn't even there. The next attempt fails before any login, and says so.
        if is_away && self.phase == Phase::Blocked {
            self.begin(moment, "probe_found_it_gone");
        }
    }

    /// An attempt or a connection ended.
    pub(super) fn probes_after_ending(&mut self, refusal: &Refusal) {
        let message = self.peer.problem(refusal).message;
        self.probes.answer(|one| one.mode != Mode::Beside, None, Some((step_of(refusal.code), &message)));
    }

    /// All that wait are told why they get nothing.
    pub(super) fn fail_probes(&mut self, code: RefusalCode, words: &str) {
        self.probes.answer(|_| true, None, Some((step_of(code), words)));
        self.probes.round = None;
    }

    /// Probes whose time is up.
    pub(super) fn expire_probes(&mut self, moment: Moment) {
        let now = moment.now;
        let due = |one: &Waiting| now >= one.deadline;
        let mut overdue = self.probes.waiting.iter().filter(|one| due(one)).peekable();
        if overdue.peek().is_none() {
            return;
        }
        let silent_since = overdue.filter(|one| one.mode == Mode::Live).map(|one| one.started).max();
        if let Some(since) = silent_since
            && self.active().is_some_and(|active| active.heartbeat.is_asking())
            && !self.tracker.seen_since(since)
        {
            self.tracker.probe_missed(moment);
            self.breaker.on_failure(moment.wall_ms);
        }
        let step = match self.phase {
            Phase::AwaitingChallenge => "challenge",
            Phase::Authenticating | Phase::Idle => "authenticate",
            Phase::Ready => "request",
            _ => "connect",
        };
        let words = format!("Gateway \"{}\" gave no answer within the probe's time", self.peer.record.name);
        self.probes.answer(due, None, Some((step, &words)));
    }
}

/// The step of a connection that a reason belongs to.
fn step_of(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NameNotResolved | RefusalCode::AddressForbidden => "resolve",
        RefusalCode::ConnectionRefused
        | RefusalCode::ConnectionReset
        | RefusalCode::HostUnreachable
        | RefusalCode::DialTimeout
        | RefusalCode::LocalFault => "connect",
        RefusalCode::TlsNotTrusted | RefusalCode::TlsTrustUnusable | RefusalCode::TlsFailed => "tls",
        RefusalCode::NotAGateway
        | RefusalCode::Redirected
        | RefusalCode::UpgradeForbidden
        | RefusalCode::ProxyAttributionRequired => "upgrade",
        RefusalCode::ChallengeTimeout | RefusalCode::ClosedInHandshake | RefusalCode::Garbage => "challenge",
        RefusalCode::HeartbeatLost
        | RefusalCode::HeartbeatMissed
        | RefusalCode::Closed
        | RefusalCode::FrameTooLarge
        | RefusalCode::MemoryExceeded
        | RefusalCode::MemorySpent => "request",
        _ => "authenticate",
    }
}
