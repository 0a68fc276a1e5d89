//! How attempts and connections end, and what follows: backing off, waiting for a start or a restart, being blocked.

use std::time::{Duration, Instant};

use gatewarden_protocol::refusal::{Pairing, Refusal, RefusalClass, RefusalCode};

use super::{Count, Effect, Link, Moment, Permit, Stage};
use crate::error::{ErrorCode, Failure};
use crate::gateway_notice::AuthResult;
use crate::gateway_report::{PairingView, Phase, Problem, StatusSource};
use crate::machines::status::LastAttempt;

/// Between looks at a gateway that waits for approval, at first.
const PAIRING_RECHECK: Duration = Duration::from_secs(15);
/// How long that lasts.
const PAIRING_FAST_FOR: Duration = Duration::from_secs(600);
/// And after it.
const PAIRING_SLOW_RECHECK: Duration = Duration::from_secs(60);
/// A gateway that was one before and now looks like something else (its proxy's error page) is looked at sooner.
const ESTRANGED_RECHECK: Duration = Duration::from_secs(60);
/// Wait of a rate-limited gateway that doesn't say how long.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);
/// Nothing that a gateway says makes us wait longer.
const MAX_WAIT: Duration = Duration::from_secs(3600);
/// Between attempts at a gateway that is starting and doesn't say when.
const STARTING_WAIT: Duration = Duration::from_secs(1);
/// Bounds of what a starting gateway may ask for.
const STARTING_WAIT_BOUNDS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A restart may announce its length; more than this isn't believed.
const MAX_ANNOUNCED_RESTART: Duration = Duration::from_secs(600);

/// Why the link is blocked, kept until an outcome replaces it.
#[derive(Debug, Clone)]
pub(super) struct Blocked {
    pub(super) code: RefusalCode,
    pub(super) problem: Problem,
    pub(super) pairing: Option<PairingView>,
    /// When this reason was first met without another outcome in between.
    since: Instant,
}

/// What excuses a failure for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grace {
    pub(super) kind: GraceKind,
    /// When patience ends.
    pub(super) until: Instant,
    /// Whether it has ended and was counted as a failure.
    pub(super) overdue: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GraceKind {
    Starting,
    Restarting,
}

impl Link {
    /// Ends what is under way for a reason, whatever it is: the one way from any live phase to a waiting one.
    pub(super) fn end(&mut self, moment: Moment, refusal: Refusal) {
        let used_device_token = self.handshaking.as_ref().is_some_and(|handshaking| handshaking.offers_device_token);
        self.push(Effect::Count(Count::Refusal(refusal.code.as_str())));
        self.settle_permit(Some(&refusal));
        self.hang_up(moment, close_code(&refusal), "done");
        if matches!(refusal.code, RefusalCode::MemoryExceeded | RefusalCode::MemorySpent) {
            self.untell_sessions();
        }

        if refusal.drop_device_token && self.device_token.take().is_some() {
            self.push(Effect::ForgetToken { address: self.key.clone() });
        }
        if refusal.drop_device_token && used_device_token && !self.without_device_token {
            self.without_device_token = true;
            self.begin(moment, "retry_without_device_token");
            return;
        }
        if let Some(build_id) = refusal.gateway_build_id.clone()
            && self.record.disable_device_pairing
            && self.build_id.as_ref() != Some(&build_id)
        {
            let first = self.build_id.is_none();
            self.build_id = Some(build_id);
            if first {
                self.begin(moment, "retry_with_build_id");
                return;
            }
        }
        match refusal.class {
            RefusalClass::Starting => self.wait_for_start(moment, &refusal),
            RefusalClass::Restarting => self.wait_for_restart(moment, &refusal),
            RefusalClass::Retryable => self.back_off(moment, &refusal),
            RefusalClass::Blocked | RefusalClass::PairingRequired | RefusalClass::RateLimited => {
                self.block(moment, &refusal);
            }
        }
        self.probes_after_ending(moment, &refusal);
    }

    /// The sentence and the help of a refusal, for this gateway.
    pub(super) fn problem(&self, refusal: &Refusal) -> Problem {
        Problem {
            code: refusal.code.as_str().to_owned(),
            message: refusal.for_gateway(&self.record.name, &self.place()),
            help: refusal.help(),
        }
    }

    /// Where the gateway is, for people.
    fn place(&self) -> String {
        self.address.as_ref().map_or_else(|| format!("{}:{}", self.record.host, self.record.port), ToString::to_string)
    }

    fn back_off(&mut self, moment: Moment, refusal: &Refusal) {
        let restarting = self
            .grace
            .filter(|grace| grace.kind == GraceKind::Restarting && !grace.overdue && moment.now < grace.until);
        self.blocked = None;
        let delay = self.backoff.on_failure(moment.now, moment.chance);
        let waiting = Stage::Waiting { until: moment.now + delay };
        if restarting.is_some() {
            self.knowledge.learn(moment, StatusSource::Event);
            self.breaker.on_no_verdict(moment.wall_ms);
            self.enter(moment, Phase::Restarting, waiting, refusal.code.as_str());
            return;
        }
        self.grace = None;
        let problem = self.problem(refusal);
        self.knowledge.fail(moment, last_attempt(refusal.code), problem, StatusSource::Event);
        // Each miss of a lost heartbeat was counted when it happened.
        if refusal.code != RefusalCode::HeartbeatLost {
            self.breaker.on_failure(moment.wall_ms);
        }
        self.enter(moment, Phase::Backoff, waiting, refusal.code.as_str());
    }

    fn wait_for_start(&mut self, moment: Moment, refusal: &Refusal) {
        self.blocked = None;
        let grace = match self.grace {
            Some(grace) if grace.kind == GraceKind::Starting => grace,
            _ => Grace { kind: GraceKind::Starting, until: moment.now + self.settings.starting_grace, overdue: false },
        };
        let asked = refusal.retry_after_ms.map_or(STARTING_WAIT, Duration::from_millis);
        let delay = asked.clamp(STARTING_WAIT_BOUNDS.0, STARTING_WAIT_BOUNDS.1);
        if grace.overdue || moment.now >= grace.until {
            let overdue = Refusal::new(RefusalCode::StartingOverdue, &refusal.words);
            let problem = self.problem(&overdue);
            self.grace = Some(Grace { overdue: true, ..grace });
            self.knowledge.fail(moment, LastAttempt::Refused, problem, StatusSource::Event);
            self.breaker.on_failure(moment.wall_ms);
            let backed_off = self.backoff.on_failure(moment.now, moment.chance);
            self.enter(
                moment,
                Phase::Backoff,
                Stage::Waiting { until: moment.now + backed_off.max(delay) },
                "starting_overdue",
            );
            return;
        }
        self.grace = Some(grace);
        self.breaker.on_no_verdict(moment.wall_ms);
        let problem = self.problem(refusal);
        self.knowledge.excuse(moment, problem, StatusSource::Event);
        self.enter(moment, Phase::Starting, Stage::Waiting { until: moment.now + delay }, refusal.code.as_str());
    }

    fn wait_for_restart(&mut self, moment: Moment, refusal: &Refusal) {
        self.announce_restart(moment, None);
        if self.grace.is_some_and(|grace| grace.overdue || moment.now >= grace.until) {
            self.back_off(moment, refusal);
            return;
        }
        self.blocked = None;
        self.breaker.on_no_verdict(moment.wall_ms);
        let problem = self.problem(refusal);
        self.knowledge.excuse(moment, problem, StatusSource::Event);
        let delay = self.backoff.on_failure(moment.now, moment.chance);
        self.enter(moment, Phase::Restarting, Stage::Waiting { until: moment.now + delay }, refusal.code.as_str());
    }

    /// The gateway said that it restarts; `expected` is how long it thinks that takes. Said twice, the first counts.
    pub(super) fn announce_restart(&mut self, moment: Moment, expected: Option<Duration>) {
        if self.grace.is_some_and(|grace| grace.kind == GraceKind::Restarting) {
            return;
        }
        let expected = expected.unwrap_or_default().min(MAX_ANNOUNCED_RESTART);
        self.grace = Some(Grace {
            kind: GraceKind::Restarting,
            until: moment.now + expected + self.settings.restarting_grace,
            overdue: false,
        });
    }

    /// Patience with a start or a restart is over: from now on it is a failure.
    pub(super) fn grace_over(&mut self, moment: Moment) {
        let Some(grace) = &mut self.grace else { return };
        if grace.overdue || moment.now < grace.until {
            return;
        }
        grace.overdue = true;
        if self.live.is_some() {
            self.end(moment, Refusal::new(RefusalCode::RestartOverdue, ""));
            return;
        }
        let code = match grace.kind {
            GraceKind::Starting => RefusalCode::StartingOverdue,
            GraceKind::Restarting => RefusalCode::RestartOverdue,
        };
        let problem = self.problem(&Refusal::new(code, ""));
        self.knowledge.fail(moment, LastAttempt::Refused, problem, StatusSource::Event);
        self.breaker.on_failure(moment.wall_ms);
        if let (Phase::Starting | Phase::Restarting, Stage::Waiting { until }) = (self.phase, &self.stage) {
            let until = *until;
            self.enter(moment, Phase::Backoff, Stage::Waiting { until }, code.as_str());
        }
    }

    fn block(&mut self, moment: Moment, refusal: &Refusal) {
        self.grace = None;
        self.breaker.on_no_verdict(moment.wall_ms);
        let since = match &self.blocked {
            Some(blocked) if blocked.code == refusal.code => blocked.since,
            _ => moment.now,
        };
        let problem = self.problem(refusal);
        let pairing = (refusal.class == RefusalClass::PairingRequired).then(|| PairingView {
            request_id: refusal.pairing.as_ref().and_then(|pairing| pairing.request_id.clone()),
            command: refusal.pairing.as_ref().and_then(Pairing::command),
            device_id: self.identity.device_id().to_owned(),
        });
        self.knowledge.fail(moment, LastAttempt::Answered, problem.clone(), StatusSource::Event);
        self.blocked = Some(Blocked { code: refusal.code, problem, pairing, since });
        let pause = self.pause_while_blocked(moment, refusal, since);
        self.enter(moment, Phase::Blocked, Stage::Waiting { until: moment.now + pause }, refusal.code.as_str());
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
                let plain = if refusal.code == RefusalCode::NotAGateway && self.dialect.is_some() {
                    ESTRANGED_RECHECK.min(self.settings.blocked_recheck)
                } else {
                    self.settings.blocked_recheck
                };
                // Spread, so that gateways that were blocked together aren't looked at together.
                let spread = plain.mul_f64(1.0 + 0.2 * moment.chance.clamp(0.0, 1.0));
                spread.max(asked.unwrap_or_default().min(MAX_WAIT))
            }
        }
    }

    /// Closes the socket, answers everything that waits for it, and forgets the conversation.
    pub(super) fn hang_up(&mut self, moment: Moment, code: u16, reason: &'static str) {
        if self.has_socket {
            self.has_socket = false;
            let epoch = self.epoch;
            self.push(Effect::Close { epoch, code, reason });
        }
        self.handshaking = None;
        self.abandon_http();
        self.heartbeat.stop();
        if let Some(live) = self.live.take() {
            self.abandon(*live);
            self.knowledge.lost(moment);
        }
    }

    /// Tells the registry how the permitted authentication went; without a refusal it went well.
    pub(super) fn settle_permit(&mut self, refusal: Option<&Refusal>) {
        let Permit::Held { spent } = std::mem::replace(&mut self.permit, Permit::None) else { return };
        let result = match (spent, refusal) {
            (true, None) => AuthResult::Accepted,
            (false, _) => AuthResult::NotFailed,
            (true, Some(refusal)) if refusal.counts_as_failed_auth => AuthResult::Failed,
            // A timeout or a close without a word: the gateway may have counted it.
            (true, Some(refusal)) if refusal.class == RefusalClass::Retryable => AuthResult::Unknown,
            (true, Some(_)) => AuthResult::NotFailed,
        };
        self.push(Effect::SettleAuth { address: self.key.clone(), result });
    }

    /// What a caller hears while there is no connection.
    pub(super) fn unavailable(&self) -> Failure {
        let name = &self.record.name;
        let state = match &self.blocked {
            Some(blocked) => blocked.problem.message.clone(),
            None => format!("Gateway \"{name}\" is not connected (phase {})", self.phase.as_str()),
        };
        let help = match &self.blocked {
            Some(blocked) => blocked.problem.help.clone(),
            None => "It is reconnected by itself; try again when its status is online.".to_owned(),
        };
        Failure::new(ErrorCode::GatewayUnavailable, state).with_help(help).with_retry_after(Duration::from_secs(2))
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
