//! What is known of the gateway, and when to say so: breaker, status, health points and reports. The status that the outside sees is one
//! function of [`Facts`]: the first row of the table in `docs/architecture.md` that matches wins.

use std::time::{Duration, Instant};

use gatewarden_protocol::Dialect;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};

use super::{Connection, Effect, GatewayNotice, Moment, Permission, State, Verdict};
use crate::gateway_report::{BreakerState, BreakerView, GatewayReport, Phase, Problem, Status, StatusSource};
use crate::machines::latency_fold::LatencyFold;

/// Changes of mere numbers are told at most this often; a change of state is told at once.
const MIN_BETWEEN_MINOR_REPORTS: Duration = Duration::from_millis(200);

/// Heartbeat intervals after which knowledge that can go stale is not believed any more.
const DECAY_INTERVALS: u32 = 3;

/// Why a gateway is blocked, as far as the status cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BlockedAs {
    /// Not a gateway, TLS not trusted, protocol mismatch, forbidden address: nothing there to work with.
    Unreachable,
    /// Reached, but it refuses: credentials, pairing, scopes, origin, version.
    Refused,
}

/// How the last attempt to connect or probe ended, or the last connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LastAttempt {
    /// There was none yet.
    None,
    /// It reached the gateway.
    Answered,
    /// Refused, reset, unresolvable, or a connection that was cut.
    Refused,
    /// No answer in time.
    NoAnswer,
}

/// Everything that the status depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Facts {
    /// The actor died too often.
    pub(super) parked: bool,
    /// Blocked, and as what.
    pub(super) blocked: Option<BlockedAs>,
    /// Starting or restarting, within the grace.
    pub(super) in_grace: bool,
    /// State of the breaker.
    pub(super) breaker: BreakerState,
    /// How the last attempt ended.
    pub(super) last_attempt: LastAttempt,
    /// Authenticated.
    pub(super) ready: bool,
    /// The last heartbeat due got no answer and no other frame came.
    pub(super) heartbeat_missed: bool,
    /// The last heartbeat due got no answer, but other frames came.
    pub(super) heartbeat_late: bool,
    /// Last round trip.
    pub(super) latency: Option<Duration>,
    /// Above this a ready gateway is degraded.
    pub(super) degraded_latency: Duration,
    /// The gateway calls itself degraded.
    pub(super) calls_itself_degraded: bool,
    /// While an attempt is under way: when it has been without an answer for so long that this is to be said.
    pub(super) attempt_due: Option<Instant>,
    /// Found broken after a time in which the daemon itself got none, and dialled anew: what it was before, and until when it is
    /// taken for that.
    pub(super) kept: Option<(Status, Instant)>,
    /// When the knowledge was gained.
    pub(super) as_of: Instant,
    /// Interval of the heartbeat, for decay.
    pub(super) heartbeat_interval: Duration,
}

impl Facts {
    /// The status without regard to age, and whether it decays.
    fn fresh(&self, now: Instant) -> (Status, bool) {
        if self.parked {
            return (Status::Offline, false);
        }
        match self.blocked {
            Some(BlockedAs::Unreachable) => return (Status::Offline, false),
            Some(BlockedAs::Refused) => return (Status::Degraded, false),
            None => {}
        }
        if self.in_grace {
            return (Status::Degraded, false);
        }
        // Half-open is an attempt under way: until it tells, nothing is known that would be better than offline.
        if self.breaker != BreakerState::Closed {
            return (Status::Offline, false);
        }
        if let Some((status, until)) = self.kept
            && now < until
        {
            return (status, false);
        }
        if !self.ready {
            match self.last_attempt {
                LastAttempt::Refused => return (Status::Offline, false),
                // It stays so between attempts: nothing else is learned before the next one ends.
                LastAttempt::NoAnswer => return (Status::Timeout, false),
                LastAttempt::None | LastAttempt::Answered if self.attempt_due.is_some_and(|due| now >= due) => {
                    return (Status::Timeout, false);
                }
                LastAttempt::None | LastAttempt::Answered => return (Status::Unknown, false),
            }
        }
        if self.heartbeat_missed {
            return (Status::Timeout, false);
        }
        let slow = self.latency.is_some_and(|latency| latency > self.degraded_latency);
        if self.heartbeat_late || slow || self.calls_itself_degraded {
            return (Status::Degraded, true);
        }
        (Status::Online, true)
    }

    /// The status at `now`.
    pub(super) fn status(&self, now: Instant) -> Status {
        match self.fresh(now) {
            (_, true) if now >= self.decays_at() => Status::Unknown,
            (status, _) => status,
        }
    }

    /// When the present status turns into another if nothing new is learned.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let (_, decays) = self.fresh(now);
        let decay = decays.then(|| self.decays_at());
        [decay, self.attempt_due, self.kept.map(|(_, until)| until)].into_iter().flatten().filter(|at| *at > now).min()
    }

    fn decays_at(&self) -> Instant {
        self.as_of + self.heartbeat_interval * DECAY_INTERVALS
    }
}

/// The circuit breaker. Closed passes work, open blocks it, half-open means that one attempt is under way to find out.
///
/// closed -> open after some failures in a row; open -> half-open when the next attempt runs; half-open -> closed on success, -> open on
/// failure. A refusal is an answer: it neither counts as a failure nor closes anything. Times are wall milliseconds because they are
/// shown, not decided upon.
#[derive(Debug)]
pub(super) struct Breaker {
    threshold: u32,
    view: BreakerView,
}

impl Breaker {
    /// Opens after `threshold` failures in a row (at least 1).
    pub(super) fn new(threshold: u32) -> Self {
        let view = BreakerView { state: BreakerState::Closed, failures: 0, opened_at_ms: None, changed_at_ms: None };
        Self { threshold: threshold.max(1), view }
    }

    /// An attempt, a heartbeat or a probe starts.
    pub(super) fn on_attempt(&mut self, wall_ms: i64) {
        if self.view.state == BreakerState::Open {
            self.enter(BreakerState::HalfOpen, wall_ms);
        }
    }

    /// A dial, a heartbeat, a probe failed, or a connection was lost.
    pub(super) fn on_failure(&mut self, wall_ms: i64) {
        self.view.failures = self.view.failures.saturating_add(1);
        match self.view.state {
            BreakerState::Closed if self.view.failures >= self.threshold => self.enter(BreakerState::Open, wall_ms),
            BreakerState::HalfOpen => self.enter(BreakerState::Open, wall_ms),
            BreakerState::Closed | BreakerState::Open => {}
        }
    }

    /// The gateway let us in or answered.
    pub(super) fn on_success(&mut self, wall_ms: i64) {
        self.view.failures = 0;
        self.on_attempt(wall_ms);
        if self.view.state == BreakerState::HalfOpen {
            self.enter(BreakerState::Closed, wall_ms);
        }
    }

    /// The gateway answered with a refusal, or the attempt was given up before it told anything: a half-open breaker
    /// opens again, and the count stays.
    pub(super) fn on_no_verdict(&mut self, wall_ms: i64) {
        if self.view.state == BreakerState::HalfOpen {
            self.enter(BreakerState::Open, wall_ms);
        }
    }

    /// As shown.
    pub(super) fn view(&self) -> &BreakerView {
        &self.view
    }

    fn enter(&mut self, to: BreakerState, wall_ms: i64) {
        let legal = matches!(
            (self.view.state, to),
            (BreakerState::Closed, BreakerState::Open)
                | (BreakerState::Open, BreakerState::HalfOpen)
                | (BreakerState::HalfOpen, BreakerState::Open | BreakerState::Closed)
        );
        debug_assert!(legal, "breaker must not go from {:?} to {to:?}", self.view.state);
        match to {
            BreakerState::Open => self.view.opened_at_ms = Some(wall_ms),
            BreakerState::Closed => self.view.opened_at_ms = None,
            BreakerState::HalfOpen => {}
        }
        self.view.state = to;
        self.view.changed_at_ms = Some(wall_ms);
    }
}

#[derive(Debug)]
pub(super) struct StatusTracker {
    last_attempt: LastAttempt,
    as_of: Instant,
    as_of_ms: i64,
    source: StatusSource,
    pub(super) problem: Option<Problem>,
    last_failure_ms: Option<i64>,
    last_seen_ms: Option<i64>,
    heard: Option<Instant>,
    latency: Option<Duration>,
    /// A probe over the live connection got no answer, and nothing was heard since.
    probe_silent: bool,
    fold: LatencyFold,
    status: Status,
    since_ms: i64,
    /// As last told.
    report: GatewayReport,
    last_report: Instant,
    report_due: Option<Instant>,
    /// A new round trip is told even if it took as long as the last one.
    refresh: bool,
    /// Whether something changed that a report may tell, other than that a frame came.
    is_dirty: bool,
}

impl StatusTracker {
    pub(super) fn new(moment: Moment, probe_interval: Duration, dialect: Option<Dialect>) -> Self {
        let report = GatewayReport { dialect, ..GatewayReport::unknown(moment.wall_ms) };
        Self {
            last_attempt: LastAttempt::None,
            as_of: moment.now,
            as_of_ms: moment.wall_ms,
            source: StatusSource::Event,
            problem: None,
            last_failure_ms: None,
            last_seen_ms: None,
            heard: None,
            latency: None,
            probe_silent: false,
            fold: LatencyFold::new(probe_interval),
            status: report.status,
            since_ms: report.since_ms,
            report,
            last_report: moment.now,
            report_due: None,
            refresh: false,
            is_dirty: false,
        }
    }

    pub(super) fn report(&self) -> &GatewayReport {
        &self.report
    }

    /// Something changed that a report may tell.
    pub(super) fn mark(&mut self) {
        self.is_dirty = true;
    }

    /// Whether anything was heard after `when`.
    pub(super) fn seen_since(&self, when: Instant) -> bool {
        self.heard.is_some_and(|heard| heard > when)
    }

    /// Gives a reason where none is known.
    pub(super) fn explain(&mut self, problem: Problem) {
        self.problem.get_or_insert(problem);
    }

    /// Something was learned just now.
    pub(super) fn learn(&mut self, moment: Moment, source: StatusSource) {
        self.is_dirty = true;
        self.as_of = moment.now;
        self.as_of_ms = moment.wall_ms;
        self.source = source;
    }

    /// We got no time ourselves: what is known then ages from now on.
    pub(super) fn overslept(&mut self, moment: Moment) {
        self.as_of = moment.now;
    }

    /// An attempt, a connection or a probe failed.
    pub(super) fn fail(&mut self, moment: Moment, last: LastAttempt, problem: Problem, source: StatusSource) {
        self.excuse(moment, problem, source);
        self.last_attempt = last;
        self.last_failure_ms = Some(moment.wall_ms);
    }

    /// The gateway is away for a reason that isn't a failure yet.
    pub(super) fn excuse(&mut self, moment: Moment, problem: Problem, source: StatusSource) {
        self.learn(moment, source);
        self.problem = Some(problem);
    }

    /// A frame of the authenticated connection.
    pub(super) fn seen(&mut self, moment: Moment) {
        self.as_of = moment.now;
        self.as_of_ms = moment.wall_ms;
        self.last_seen_ms = Some(moment.wall_ms);
        self.heard = Some(moment.now);
        self.probe_silent = false;
    }

    /// A round trip was measured.
    pub(super) fn measured(&mut self, moment: Moment, round_trip: Duration, source: StatusSource) {
        self.learn(moment, source);
        self.seen(moment);
        self.latency = Some(round_trip);
        self.fold.on_latency(moment.now, milliseconds(round_trip));
        self.refresh = true;
    }

    /// A heartbeat got no answer.
    pub(super) fn missed(&mut self, moment: Moment, source: StatusSource) {
        self.learn(moment, source);
        self.last_failure_ms = Some(moment.wall_ms);
        self.fold.on_miss();
    }

    /// A probe over the live connection got no answer.
    pub(super) fn probe_missed(&mut self, moment: Moment) {
        self.missed(moment, StatusSource::Probe);
        self.probe_silent = true;
    }

    /// The gateway let us in.
    pub(super) fn connected(&mut self, moment: Moment) {
        self.learn(moment, StatusSource::Event);
        self.last_attempt = LastAttempt::Answered;
        self.problem = None;
        self.latency = None;
        self.seen(moment);
    }

    /// The connection is gone: a round trip over it says nothing any more.
    pub(super) fn lost(&mut self, moment: Moment) {
        self.learn(moment, StatusSource::Event);
        self.probe_silent = false;
        self.latency = None;
    }

    /// Another address or other credentials: nothing of the old knowledge holds.
    pub(super) fn forget(&mut self, moment: Moment) {
        self.lost(moment);
        self.last_attempt = LastAttempt::None;
        self.problem = None;
        self.last_failure_ms = None;
        self.last_seen_ms = None;
    }

    /// An operator wants a new attempt: old reasons are done with.
    pub(super) fn clear_problem(&mut self) {
        self.problem = None;
    }

    /// Whether a report may say something that the last one didn't.
    pub(super) fn has_news(&self, moment: Moment, status: Status) -> bool {
        let due = [self.report_due, self.fold.next_deadline()].into_iter().flatten().any(|due| moment.now >= due);
        self.is_dirty || status != self.status || due
    }

    /// Tells what is new.
    pub(super) fn publish(&mut self, moment: Moment, next: GatewayReport, effects: &mut Vec<Effect>) {
        self.is_dirty = false;
        (self.status, self.since_ms) = (next.status, next.since_ms);
        let sentence = next.last_error.as_ref().map(|problem| problem.message.as_str());
        if let Some(point) = self.fold.on_status(moment.now, moment.wall_ms, next.status, sentence) {
            effects.push(Effect::Notify(GatewayNotice::Health(point)));
        }
        let urgent = state_of(&next) != state_of(&self.report);
        if !urgent && (self.refresh || numbers_of(&next) != numbers_of(&self.report)) {
            self.report_due.get_or_insert((self.last_report + MIN_BETWEEN_MINOR_REPORTS).max(moment.now));
        }
        if urgent || self.report_due.is_some_and(|due| moment.now >= due) {
            self.report_due = None;
            self.refresh = false;
            self.last_report = moment.now;
            self.report = next.clone();
            effects.push(Effect::Notify(GatewayNotice::Report(Box::new(next))));
        }
    }

    /// When there is something to say without anything new coming in.
    pub(super) fn next_deadline(&self, facts: &Facts, now: Instant) -> Option<Instant> {
        [self.report_due, self.fold.next_deadline(), facts.next_deadline(now)].into_iter().flatten().min()
    }
}

/// What readers must know at once.
fn state_of(report: &GatewayReport) -> impl PartialEq + '_ {
    (
        (report.status, report.phase, &report.last_error, &report.breaker),
        (&report.pairing, report.ready_since_ms, report.next_attempt_ms, report.reconnect_attempts),
        (&report.version, report.protocol, report.dialect, &report.scopes, report.orders),
    )
}

/// What may be told a moment later. Ages (as of, last seen, uptime) change with every frame and are told with the rest.
fn numbers_of(report: &GatewayReport) -> impl PartialEq + '_ {
    (
        report.latency_ms,
        report.sessions_count,
        report.agents_count,
        &report.agent_names,
        report.source,
        report.last_failure_ms,
    )
}

/// With microseconds as a fraction.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl Connection {
    /// What the status depends on now.
    pub(super) fn facts(&self, moment: Moment) -> Facts {
        let active = self.active();
        let ready = self.phase == Phase::Ready;
        Facts {
            // A parked gateway has no actor: the registry says so itself.
            parked: false,
            blocked: self.verdict.blocked().map(|blocked| match blocked.code.means_offline() {
                true => BlockedAs::Unreachable,
                false => BlockedAs::Refused,
            }),
            in_grace: !ready && self.verdict.grace().is_some_and(|grace| grace.holds(moment.now)),
            breaker: self.breaker.view().state,
            last_attempt: self.tracker.last_attempt,
            ready,
            heartbeat_missed: active.is_some_and(|active| active.heartbeat.misses() > 0) || self.tracker.probe_silent,
            heartbeat_late: active.is_some_and(|active| active.heartbeat.is_late()),
            latency: self.tracker.latency,
            degraded_latency: self.peer.settings.degraded_latency,
            calls_itself_degraded: active.is_some_and(|active| active.degraded.is_some()),
            attempt_due: self.attempt_due(),
            kept: self.kept,
            // While we got no time ourselves, nothing aged.
            as_of: moment.woke.map_or(self.tracker.as_of, |woke| woke.max(self.tracker.as_of)),
            heartbeat_interval: self.peer.settings.heartbeat_interval,
        }
    }

    /// When the attempt under way has been without an answer for so long that this is to be said: before three heartbeats would
    /// have gone by.
    fn attempt_due(&self) -> Option<Instant> {
        let is_under_way = self.has_socket() && self.active().is_none();
        is_under_way.then(|| self.attempt_since + self.peer.settings.heartbeat_interval * 2)
    }

    /// The report as of now. After a stop it is the last one that was told.
    pub(super) fn current(&self, moment: Moment) -> GatewayReport {
        if self.is_stopped() {
            return self.tracker.report.clone();
        }
        self.report_as(moment, self.facts(moment).status(moment.now))
    }

    pub(super) fn report_as(&self, moment: Moment, status: Status) -> GatewayReport {
        let (tracker, peer) = (&self.tracker, &self.peer);
        let active = self.active();
        let agents = active.and_then(|active| active.agents.as_ref());
        GatewayReport {
            status,
            phase: self.phase,
            since_ms: if status == tracker.status { tracker.since_ms } else { moment.wall_ms },
            as_of_ms: tracker.as_of_ms,
            source: tracker.source,
            last_error: if status == Status::Online { None } else { self.present_problem(moment) },
            last_failure_ms: tracker.last_failure_ms,
            last_seen_ms: tracker.last_seen_ms,
            latency_ms: tracker.latency.map(milliseconds),
            sessions_count: active.and_then(|active| active.active_sessions),
            agents_count: agents.map(|agents| u32::try_from(agents.len()).unwrap_or(u32::MAX)),
            agent_names: active.map(|active| active.agent_names.clone()).unwrap_or_default(),
            version: peer.version.clone(),
            protocol: peer.protocol,
            dialect: peer.dialect,
            uptime_ms: active.and_then(|active| active.uptime_at(tracker.as_of_ms)),
            breaker: self.breaker.view().clone(),
            reconnect_attempts: self.backoff.attempts(),
            next_attempt_ms: match &self.state {
                State::Waiting(until) | State::Idle(Permission::Denied(until)) => Some(until.wall_ms),
                _ => None,
            },
            pairing: self.verdict.blocked().and_then(|blocked| blocked.pairing.clone()),
            scopes: active.map(|active| active.scopes.clone()).unwrap_or_default(),
            ready_since_ms: active.map(|active| active.since_ms),
            orders: self.orders,
        }
    }

    /// The reason for a status other than online, the strongest first.
    fn present_problem(&self, moment: Moment) -> Option<Problem> {
        if let Verdict::Blocked(blocked) = &self.verdict {
            return Some(blocked.problem.clone());
        }
        let Some(active) = self.active().filter(|_| self.phase == Phase::Ready) else {
            let unanswered = match self.phase {
                _ if self.attempt_due().is_none_or(|due| moment.now < due) => None,
                Phase::AwaitingChallenge => Some(RefusalCode::ChallengeTimeout),
                Phase::Authenticating => Some(RefusalCode::ConnectTimeout),
                _ => Some(RefusalCode::DialTimeout),
            };
            let unanswered = unanswered.map(|code| Problem {
                help: "The attempt is still under way: wait for its end, which tells more.".to_owned(),
                ..self.peer.problem(&Refusal::new(code, ""))
            });
            return self.tracker.problem.clone().or(unanswered);
        };
        let facts = self.facts(moment);
        let (code, words) = if facts.status(moment.now) == Status::Unknown {
            (RefusalCode::Stale, "")
        } else if facts.heartbeat_missed || facts.heartbeat_late {
            (RefusalCode::HeartbeatMissed, "")
        } else if facts.latency.is_some_and(|latency| latency > facts.degraded_latency) {
            (RefusalCode::HighLatency, "")
        } else {
            (RefusalCode::GatewayDegraded, active.degraded.as_deref()?)
        };
        Some(self.peer.problem(&Refusal::new(code, words)))
    }
}

#[cfg(test)]
mod breaker_tests;
#[cfg(test)]
mod tests;
