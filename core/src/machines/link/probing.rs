//! Probes: somebody wants to know now. A connected gateway is measured over the live connection; one that is being
//! connected is waited for; any other is tried beside, without credentials.

use std::time::{Duration, Instant};

use gatewarden_protocol::refusal::{Refusal, RefusalClass, RefusalCode};

use super::ending::last_attempt;
use super::knowledge::milliseconds;
use super::{Count, Effect, Link, Moment, ProbeToken};
use crate::gateway_report::ProbeOutcome;
use crate::gateway_report::{GatewayReport, Phase, StatusSource};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Waits for the reply to a heartbeat.
    Live,
    /// Waits for the attempt under way.
    Attempt,
    /// Waits for a try beside the connection.
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

impl Answered {
    fn failed(probe: ProbeToken, step: &str, words: impl Into<String>) -> Self {
        Self { probe, latency: None, failed_step: Some((step.to_owned(), words.into())) }
    }
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
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    fn answer(&mut self, which: impl Fn(&Waiting) -> bool, latency: Option<Duration>, failed: Option<(&str, &str)>) {
        let answered = &mut self.answered;
        self.waiting.retain(|waiting| {
            let hit = which(waiting);
            if hit {
                let failed_step = failed.map(|(step, words)| (step.to_owned(), words.to_owned()));
                answered.push(Answered { probe: waiting.probe, latency, failed_step });
            }
            !hit
        });
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
            effects.push(Effect::AnswerProbe { probe, outcome });
        }
    }
}

impl Link {
    /// Somebody wants to know now. Answered once, within `timeout`, with [`Effect::AnswerProbe`].
    pub fn on_probe(&mut self, moment: Moment, probe: ProbeToken, timeout: Duration) {
        let deadline = moment.now + timeout;
        let mode = match self.phase {
            Phase::Ready => Mode::Live,
            Phase::Dialing | Phase::AwaitingChallenge | Phase::Authenticating => Mode::Attempt,
            Phase::Idle | Phase::Backoff | Phase::Starting | Phase::Restarting | Phase::Blocked => Mode::Beside,
            Phase::Parked | Phase::Stopping => {
                self.probes.answered.push(Answered::failed(probe, "connect", "the gateway is being stopped"));
                return self.settle(moment);
            }
        };
        if self.probes.waiting.len() >= MAX_PROBES {
            let words = format!("{MAX_PROBES} probes of this gateway already wait");
            self.probes.answered.push(Answered::failed(probe, "request", words));
            return self.settle(moment);
        }
        self.probes.waiting.push(Waiting { probe, started: moment.now, deadline, mode });
        match mode {
            Mode::Live => {
                self.heartbeat.hasten(moment.now);
                self.run_heartbeat(moment);
            }
            Mode::Attempt => {}
            Mode::Beside => {
                if self.probes.round.is_none() {
                    self.probes.rounds += 1;
                    let round = self.probes.rounds;
                    self.probes.round = Some(round);
                    self.push(Effect::ProbeUnconnected { round, timeout });
                }
            }
        }
        self.settle(moment);
    }

    /// What the try beside the connection found.
    pub fn on_probe_finding(&mut self, moment: Moment, round: u64, finding: ProbeFinding) {
        if self.probes.round != Some(round) {
            return;
        }
        self.probes.round = None;
        let waiting = self.live.is_none() && !self.has_socket && self.phase != Phase::Stopping;
        match finding.failure {
            None => self.probe_found_it(moment, finding.latency, waiting),
            Some((step, refusal)) => self.probe_failed(moment, step, &refusal, waiting),
        }
        self.settle(moment);
    }

    fn probe_found_it(&mut self, moment: Moment, latency: Option<Duration>, waiting: bool) {
        if let Some(latency) = latency {
            self.push(Effect::Count(Count::Latency(latency)));
        }
        if let Some(blocked) = &self.blocked {
            // It is there, and refuses as before: only the slow re-check spends a login on finding out more.
            let message = blocked.problem.message.clone();
            self.probes.answer(|one| one.mode == Mode::Beside, latency, Some(("authenticate", &message)));
            return;
        }
        for one in &mut self.probes.waiting {
            if one.mode == Mode::Beside {
                one.mode = Mode::Attempt;
            }
        }
        if waiting && matches!(self.phase, Phase::Backoff | Phase::Starting | Phase::Restarting) {
            self.begin(moment, "probe_found_it");
        }
    }

    fn probe_failed(&mut self, moment: Moment, step: &'static str, refusal: &Refusal, waiting: bool) {
        let problem = self.problem(refusal);
        if waiting && self.phase == Phase::Backoff && refusal.class == RefusalClass::Retryable {
            self.knowledge.fail(moment, last_attempt(refusal.code), problem.clone(), StatusSource::Probe);
            self.breaker.on_attempt(moment.wall_ms);
            self.breaker.on_failure(moment.wall_ms);
        }
        self.probes.answer(|one| one.mode == Mode::Beside, None, Some((step, &problem.message)));
        // It used to refuse; now it isn't even there. The next attempt fails before any login, and says so.
        if waiting && self.phase == Phase::Blocked && refusal.class == RefusalClass::Retryable {
            self.begin(moment, "probe_found_it_gone");
        }
    }

    /// A connection is up: whoever waited for it now waits for its first heartbeat.
    pub(super) fn probes_go_live(&mut self, _moment: Moment) {
        for one in &mut self.probes.waiting {
            if one.mode == Mode::Attempt {
                one.mode = Mode::Live;
            }
        }
    }

    /// A heartbeat was answered.
    pub(super) fn probes_answered(&mut self, _moment: Moment, round_trip: std::time::Duration) {
        self.probes.answer(|one| one.mode == Mode::Live, Some(round_trip), None);
    }

    /// An attempt or a connection ended.
    pub(super) fn probes_after_ending(&mut self, _moment: Moment, refusal: &Refusal) {
        let message = self.problem(refusal).message;
        let step = step_of(refusal.code);
        self.probes.answer(|one| one.mode != Mode::Beside, None, Some((step, &message)));
    }

    /// All that wait are told why they get nothing.
    pub(super) fn fail_probes_by(&mut self, code: RefusalCode, words: &str) {
        self.probes.answer(|_| true, None, Some((step_of(code), words)));
        self.probes.round = None;
    }

    /// Probes whose time is up.
    pub(super) fn expire_probes(&mut self, moment: Moment) {
        let now = moment.now;
        let due = |one: &Waiting| now >= one.deadline;
        let silent_since =
            self.probes.waiting.iter().filter(|one| due(one) && one.mode == Mode::Live).map(|one| one.started).max();
        if let Some(since) = silent_since
            && self.live.is_some()
            && self.heartbeat.is_asking()
            && !self.knowledge.seen_since(since)
        {
            self.knowledge.missed(moment, StatusSource::Probe);
            self.knowledge.probe_silent = true;
            self.breaker.on_failure(moment.wall_ms);
        }
        let step = match self.phase {
            Phase::AwaitingChallenge => "challenge",
            Phase::Authenticating | Phase::Idle => "authenticate",
            Phase::Ready => "request",
            _ => "connect",
        };
        let words = format!("gateway \"{}\" gave no answer within the probe's time", self.record.name);
        self.probes.answer(due, None, Some((step, &words)));
    }
}

/// The step of a connection that a reason belongs to.
pub(super) fn step_of(code: RefusalCode) -> &'static str {
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
