//! How attempts and connections end, and what follows: backing off, waiting for a start or a restart, being blocked.

use std::time::{Duration, Instant};

use gatewarden_protocol::refusal::{Pairing, Refusal, RefusalClass, RefusalCode};

use super::status::LastAttempt;
use super::{AuthResult, Connection, Count, Effect, GatewayNotice, Machines, Moment, Permission, RpcOutcome, State};
use crate::gateway_report::{PairingView, Phase, Problem, SharedSessions, StatusSource};
use crate::machines::backoff::MAX_JITTER;
use crate::spawn::Certainty;

/// Between looks at a gateway that waits for approval: at first, for how long, and after that.
const PAIRING_RECHECK: Duration = Duration::from_secs(15);
const PAIRING_FAST_FOR: Duration = Duration::from_secs(600);
const PAIRING_SLOW_RECHECK: Duration = Duration::from_secs(60);
/// A gateway that was one before and now looks like something else (its proxy's error page) is looked at sooner.
const ESTRANGED_RECHECK: Duration = Duration::from_secs(60);
/// Wait of a rate-limited gateway that doesn't say how long.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);
/// Nothing that a gateway says makes us wait longer.
const MAX_WAIT: Duration = Duration::from_secs(3600);
/// Between attempts at a gateway that is starting and doesn't say when; and the bounds of what it may ask for.
const STARTING_WAIT: Duration = Duration::from_secs(1);
const STARTING_WAIT_BOUNDS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A gateway that went down without promising to return may refuse connections for so long, while its service manager starts it.
const STOPPED_PATIENCE: Duration = Duration::from_secs(8);
/// A restart may announce its length; more than this isn't believed.
const MAX_ANNOUNCED_RESTART: Duration = Duration::from_secs(600);

/// So long after a time in which we got none ourselves, a connection from before it may turn out to be broken.
const AFTER_OWN_SILENCE: Duration = Duration::from_secs(10);
/// How long a gateway that is dialled anew, by an operator's wish or after our own silence, is taken for what it was.
pub(crate) const REDIAL_PATIENCE: Duration = Duration::from_secs(10);

/// What the last outcome says of the gateway, until another one replaces it.
#[derive(Debug, Default)]
pub(super) enum Verdict {
    #[default]
    None,
    /// Refused for a reason that only a change can cure.
    Blocked(Box<Blocked>),
    /// It is still coming up.
    Starting(Grace),
    /// It announced a restart.
    Restarting(Grace),
}

#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) code: RefusalCode,
    pub(super) problem: Problem,
    pub(super) pairing: Option<PairingView>,
    /// When this reason was first met without another outcome in between.
    since: Instant,
}

/// What excuses failures for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grace {
    /// When patience ends.
    until: Instant,
    /// Whether it has ended and was counted as a failure.
    overdue: bool,
    /// Whether the gateway said that it comes back.
    promised: bool,
    /// What is said once it has ended.
    code: RefusalCode,
}

impl Grace {
    pub(super) fn holds(&self, now: Instant) -> bool {
        !self.overdue && now < self.until
    }
}

impl Verdict {
    pub(super) fn grace(&self) -> Option<&Grace> {
        match self {
            Self::Starting(grace) | Self::Restarting(grace) => Some(grace),
            Self::None | Self::Blocked(_) => None,
        }
    }

    pub(super) fn blocked(&self) -> Option<&Blocked> {
        match self {
            Self::Blocked(blocked) => Some(blocked),
            _ => None,
        }
    }

    pub(super) fn problem_mut(&mut self) -> Option<&mut Problem> {
        match self {
            Self::Blocked(blocked) => Some(&mut blocked.problem),
            _ => None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.grace().filter(|grace| !grace.overdue).map(|grace| grace.until)
    }

    /// The phase of a connection that waits for its next attempt.
    pub(super) fn waiting_phase(&self) -> Phase {
        match self {
            Self::Blocked(_) => Phase::Blocked,
            Self::Starting(grace) if !grace.overdue => Phase::Starting,
            Self::Restarting(grace) if !grace.overdue => Phase::Restarting,
            _ => Phase::Backoff,
        }
    }
}

impl Connection {
    /// Ends what is under way for a reason, whatever it is: the one way from any live state to a waiting one.
    pub(super) fn end(&mut self, moment: Moment, refusal: Refusal) {
        let used_device_token = match &self.state {
            State::Handshaking(handshaking) => handshaking.offers_device_token,
            _ => false,
        };
        if self.is_own_silence(moment, &refusal) {
            return self.find_out_anew(moment, &refusal);
        }
        self.kept = None;
        self.push(Effect::Count(Count::Refusal(refusal.code)));
        self.hang_up(moment, close_code(&refusal), "done", Some(&refusal));
        if matches!(refusal.code, RefusalCode::MemoryExceeded | RefusalCode::MemorySpent) {
            // Its sessions go, too, so that it costs nothing while it is away.
            self.publisher.forget();
            self.push(Effect::Notify(GatewayNotice::Sessions(SharedSessions::default())));
        }
        if let Some(reason) = self.correct_login(&refusal, used_device_token) {
            return self.begin(moment, reason);
        }
        match refusal.class {
            RefusalClass::Starting => self.wait_for_start(moment, &refusal),
            RefusalClass::Restarting => self.wait_for_restart(moment, &refusal),
            RefusalClass::Retryable => self.back_off(moment, &refusal),
            RefusalClass::Blocked | RefusalClass::PairingRequired | RefusalClass::RateLimited => {
                self.block(moment, &refusal);
            }
        }
        self.probes_after_ending(&refusal);
    }

    /// Whether what ends began before a time in which we got none ourselves, and is found broken right after it: gateways drop a
    /// client that is silent, so this says nothing of the gateway. Each attempt is excused once, since the next begins later.
    fn is_own_silence(&self, moment: Moment, refusal: &Refusal) -> bool {
        let woke_between = |woke: Instant| self.attempt_since < woke && moment.now < woke + AFTER_OWN_SILENCE;
        let is_said_by_silence = !matches!(
            refusal.code,
            RefusalCode::MemoryExceeded
                | RefusalCode::MemorySpent
                | RefusalCode::FrameTooLarge
                | RefusalCode::Garbage
                | RefusalCode::LocalFault
        );
        is_said_by_silence
            && refusal.class == RefusalClass::Retryable
            && self.has_socket()
            && moment.woke.is_some_and(woke_between)
    }

    /// Dials at once; until that has failed, or has taken too long, a connected gateway is what it was.
    fn find_out_anew(&mut self, moment: Moment, refusal: &Refusal) {
        if matches!(self.state, State::Live(_)) {
            let status = self.facts(moment).status(moment.now);
            self.kept = Some((status, moment.now + REDIAL_PATIENCE));
        }
        self.hang_up(moment, close_code(refusal), "done", Some(refusal));
        self.breaker.on_no_verdict(moment.wall_ms);
        self.begin(moment, "own_silence");
    }

    fn wait(&mut self, moment: Moment, delay: Duration, code: RefusalCode) {
        self.enter(State::Waiting(moment.until(moment.now + delay)), code.as_str());
    }

    /// A failure: it counts for the breaker, and whatever excused others is over.
    fn fail(&mut self, moment: Moment, refusal: &Refusal, last: LastAttempt) {
        self.tracker.fail(moment, last, self.peer.problem(refusal), StatusSource::Event);
        // Each miss of a lost heartbeat was counted when it happened.
        if refusal.code != RefusalCode::HeartbeatLost {
            self.breaker.on_failure(moment.wall_ms);
        }
    }

    fn back_off(&mut self, moment: Moment, refusal: &Refusal) {
        let delay = self.backoff.on_failure(moment.now, moment.jitter);
        if matches!(&self.verdict, Verdict::Restarting(grace) if grace.holds(moment.now)) {
            self.tracker.learn(moment, StatusSource::Event);
            self.breaker.on_no_verdict(moment.wall_ms);
            if let Verdict::Restarting(grace) = &mut self.verdict
                && !grace.promised
                && refusal.code == RefusalCode::ConnectionRefused
            {
                grace.until = grace.until.min(moment.now + STOPPED_PATIENCE);
                grace.code = refusal.code;
            }
        } else {
            self.verdict = Verdict::None;
            self.fail(moment, refusal, last_attempt(refusal.code));
        }
        self.wait(moment, delay, refusal.code);
    }

    fn wait_for_start(&mut self, moment: Moment, refusal: &Refusal) {
        let grace = match self.verdict {
            Verdict::Starting(grace) => grace,
            _ => Grace {
                until: moment.now + self.peer.settings.starting_grace,
                overdue: false,
                promised: true,
                code: RefusalCode::StartingOverdue,
            },
        };
        let asked = refusal.retry_after_ms.map_or(STARTING_WAIT, Duration::from_millis);
        let delay = asked.clamp(STARTING_WAIT_BOUNDS.0, STARTING_WAIT_BOUNDS.1);
        if grace.holds(moment.now) {
            self.verdict = Verdict::Starting(grace);
            self.excuse(moment, refusal);
            return self.wait(moment, delay, refusal.code);
        }
        self.verdict = Verdict::Starting(Grace { overdue: true, ..grace });
        let overdue = Refusal::new(RefusalCode::StartingOverdue, &refusal.words);
        self.fail(moment, &overdue, LastAttempt::Refused);
        let delay = self.backoff.on_failure(moment.now, moment.jitter).max(delay);
        self.wait(moment, delay, overdue.code);
    }

    fn wait_for_restart(&mut self, moment: Moment, refusal: &Refusal) {
        self.announce_restart(moment, None);
        if self.verdict.grace().is_some_and(|grace| !grace.holds(moment.now)) {
            return self.back_off(moment, refusal);
        }
        self.excuse(moment, refusal);
        let delay = self.backoff.on_failure(moment.now, moment.jitter);
        self.wait(moment, delay, refusal.code);
    }

    /// The gateway is away for a reason that isn't a failure yet.
    fn excuse(&mut self, moment: Moment, refusal: &Refusal) {
        self.breaker.on_no_verdict(moment.wall_ms);
        self.tracker.excuse(moment, self.peer.problem(refusal), StatusSource::Event);
    }

    /// The gateway said that it goes down; `expected` is how long it thinks a restart takes, none where it didn't promise to come
    /// back. Said twice, the first counts.
    pub(super) fn announce_restart(&mut self, moment: Moment, expected: Option<Duration>) {
        if !matches!(self.verdict, Verdict::Restarting(_)) {
            let length = expected.unwrap_or_default().min(MAX_ANNOUNCED_RESTART);
            let until = moment.now + length + self.peer.settings.restarting_grace;
            let (promised, code) = (expected.is_some(), RefusalCode::RestartOverdue);
            self.verdict = Verdict::Restarting(Grace { until, overdue: false, promised, code });
        }
    }

    /// Patience with a start or a restart is over: from now on it is a failure.
    pub(super) fn grace_over(&mut self, moment: Moment) {
        let (Verdict::Starting(grace) | Verdict::Restarting(grace)) = &mut self.verdict else { return };
        if grace.overdue || moment.now < grace.until {
            return;
        }
        grace.overdue = true;
        let code = grace.code;
        if self.active().is_some() {
            return self.end(moment, Refusal::new(code, ""));
        }
        self.fail(moment, &Refusal::new(code, ""), LastAttempt::Refused);
        self.note_phase(code.as_str());
    }

    fn block(&mut self, moment: Moment, refusal: &Refusal) {
        self.breaker.on_no_verdict(moment.wall_ms);
        let since = match &self.verdict {
            Verdict::Blocked(blocked) if blocked.code == refusal.code => blocked.since,
            _ => moment.now,
        };
        let problem = self.peer.problem(refusal);
        let pairing = (refusal.class == RefusalClass::PairingRequired).then(|| PairingView {
            request_id: refusal.pairing.as_ref().and_then(|pairing| pairing.request_id.clone()),
            command: refusal.pairing.as_ref().and_then(Pairing::command),
            device_id: self.login.device_id().to_owned(),
        });
        self.tracker.fail(moment, LastAttempt::Answered, problem.clone(), StatusSource::Event);
        self.verdict = Verdict::Blocked(Box::new(Blocked { code: refusal.code, problem, pairing, since }));
        let pause = self.pause_while_blocked(moment, refusal, since);
        self.wait(moment, pause, refusal.code);
    }

    fn pause_while_blocked(&self, moment: Moment, refusal: &Refusal, since: Instant) -> Duration {
        let asked = refusal.retry_after_ms.map(Duration::from_millis);
        match refusal.class {
            RefusalClass::RateLimited => asked.unwrap_or(RATE_LIMIT_WAIT).clamp(Duration::from_secs(1), MAX_WAIT),
            RefusalClass::PairingRequired if moment.now.saturating_duration_since(since) < PAIRING_FAST_FOR => {
                PAIRING_RECHECK
            }
            RefusalClass::PairingRequired => PAIRING_SLOW_RECHECK,
            _ => {
                let recheck = self.peer.settings.blocked_recheck;
                let estranged = refusal.code == RefusalCode::NotAGateway && self.peer.dialect.is_some();
                let plain = if estranged { ESTRANGED_RECHECK.min(recheck) } else { recheck };
                // Spread, so that gateways that were blocked together aren't looked at together.
                let spread = plain.mul_f64(1.0 - MAX_JITTER * moment.jitter.clamp(0.0, 1.0));
                spread.max(asked.unwrap_or_default().min(MAX_WAIT))
            }
        }
    }

    /// Settles the permit, closes the socket, answers everything that waits for it, and forgets the conversation.
    pub(super) fn hang_up(&mut self, moment: Moment, code: u16, reason: &'static str, refusal: Option<&Refusal>) {
        self.settle_permit(refusal);
        if !self.has_socket() {
            return;
        }
        self.push(Effect::Close { epoch: self.epoch, code, reason });
        let state = std::mem::replace(&mut self.state, State::Idle(Permission::NotAsked));
        if let State::Live(mut active) = state {
            let Machines { mut turn, runs, publisher, logs, .. } = self.machines(moment);
            for settled in active.pending.drain_all() {
                turn.push(Effect::Count(Count::Rpc(settled.method, RpcOutcome::Lost)));
                let failure = turn.peer.connection_ended();
                runs.unanswered(&mut turn, settled.waiter, failure, Certainty::Unknown);
            }
            runs.connection_lost(&mut turn);
            publisher.connection_lost();
            logs.lost(&mut turn);
            self.tracker.lost(moment);
        }
    }

    /// Tells the registry how the permitted authentication went; without a refusal it went well.
    pub(super) fn settle_permit(&mut self, refusal: Option<&Refusal>) {
        let sent = match &self.state {
            State::Dialing { .. } => false,
            State::Handshaking(handshaking) => handshaking.login.credentials_sent(),
            State::HttpLogin { token_sent, .. } => *token_sent,
            State::Idle(_) | State::Live(_) | State::Waiting(_) | State::Stopped => return,
        };
        let result = match (sent, refusal) {
            (true, None) => AuthResult::Accepted,
            (false, _) => AuthResult::NotFailed,
            (true, Some(refusal)) if refusal.counts_as_failed_auth => AuthResult::Failed,
            // A timeout or a close without a word: the gateway may have counted it.
            (true, Some(refusal)) if refusal.class == RefusalClass::Retryable => AuthResult::Unknown,
            (true, Some(_)) => AuthResult::NotFailed,
        };
        let address = self.peer.key.clone();
        self.push(Effect::Notify(GatewayNotice::AuthSettled { address, result }));
    }
}

/// The close code that we end a socket with.
fn close_code(refusal: &Refusal) -> u16 {
    match refusal.code {
        RefusalCode::FrameTooLarge | RefusalCode::MemoryExceeded => 1009,
        RefusalCode::Garbage => 1002,
        _ => 1000,
    }
}

/// What a failure says about the way to the gateway.
pub(super) fn last_attempt(code: RefusalCode) -> LastAttempt {
    match code {
        RefusalCode::DialTimeout
        | RefusalCode::ChallengeTimeout
        | RefusalCode::ConnectTimeout
        | RefusalCode::HeartbeatLost => LastAttempt::NoAnswer,
        _ => LastAttempt::Refused,
    }
}
