//! What is known of the gateway, and when to say so: status, health points and reports.

use std::time::{Duration, Instant};

use gatewarden_protocol::Dialect;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};

use super::{Effect, Link, Moment};
use crate::gateway_report::{GatewayReport, Phase, Problem, Status, StatusSource};
use crate::machines::latency_fold::LatencyFold;
use crate::machines::status::{BlockedAs, Facts, LastAttempt};

/// Changes of mere numbers are told at most this often; a change of state is told at once.
const MIN_BETWEEN_MINOR_REPORTS: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(super) struct Knowledge {
    last_attempt: LastAttempt,
    as_of: Instant,
    as_of_ms: i64,
    source: StatusSource,
    problem: Option<Problem>,
    last_failure_ms: Option<i64>,
    last_seen_ms: Option<i64>,
    heard: Option<Instant>,
    latency: Option<Duration>,
    /// A probe over the live connection got no answer, and nothing was heard since.
    pub(super) probe_silent: bool,
    /// Wall ms of the next attempt, while waiting for one.
    pub(super) next_attempt_ms: Option<i64>,
    /// The dialect in use or last used.
    pub(super) dialect: Option<Dialect>,
    version: Option<String>,
    protocol: Option<u32>,
    fold: LatencyFold,
    /// As last told.
    report: GatewayReport,
    /// As of the last input.
    current: GatewayReport,
    last_report: Instant,
    report_due: Option<Instant>,
    refresh: bool,
}

impl Knowledge {
    pub(super) fn new(moment: Moment, probe_interval: Duration, dialect: Option<Dialect>) -> Self {
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
            next_attempt_ms: None,
            dialect,
            version: None,
            protocol: None,
            fold: LatencyFold::new(probe_interval),
            report: GatewayReport { dialect, ..GatewayReport::unknown(moment.wall_ms) },
            current: GatewayReport { dialect, ..GatewayReport::unknown(moment.wall_ms) },
            last_report: moment.now,
            report_due: None,
            refresh: false,
        }
    }

    pub(super) fn report(&self) -> &GatewayReport {
        &self.report
    }

    pub(super) fn current(&self) -> &GatewayReport {
        &self.current
    }

    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether anything was heard after `when`.
    pub(super) fn seen_since(&self, when: Instant) -> bool {
        self.heard.is_some_and(|heard| heard > when)
    }

    /// Gives a reason where none is known.
    pub(super) fn explain_if_silent(&mut self, problem: Problem) {
        self.problem.get_or_insert(problem);
    }

    /// Something was learned just now.
    pub(super) fn learn(&mut self, moment: Moment, source: StatusSource) {
        self.as_of = moment.now;
        self.as_of_ms = moment.wall_ms;
        self.source = source;
    }

    /// An attempt, a connection or a probe failed.
    pub(super) fn fail(&mut self, moment: Moment, last: LastAttempt, problem: Problem, source: StatusSource) {
        self.learn(moment, source);
        self.last_attempt = last;
        self.last_failure_ms = Some(moment.wall_ms);
        self.problem = Some(problem);
    }

    /// The gateway is away for a reason that isn't a failure yet.
    pub(super) fn excuse(&mut self, moment: Moment, problem: Problem, source: StatusSource) {
        self.learn(moment, source);
        self.problem = Some(problem);
    }

    /// A frame of the authenticated connection, or a healthy probe.
    pub(super) fn seen(&mut self, moment: Moment) {
        self.as_of = moment.now;
        self.as_of_ms = moment.wall_ms;
        self.last_seen_ms = Some(moment.wall_ms);
        self.heard = Some(moment.now);
        self.probe_silent = false;
    }

    /// A round trip was measured.
    pub(super) fn measured(&mut self, moment: Moment, round_trip: Duration, source: StatusSource) {
        self.seen(moment);
        self.source = source;
        self.latency = Some(round_trip);
        self.fold.on_latency(milliseconds(round_trip));
        self.refresh = true;
    }

    /// A heartbeat or a probe over the live connection got no answer.
    pub(super) fn missed(&mut self, moment: Moment, source: StatusSource) {
        self.learn(moment, source);
        self.last_failure_ms = Some(moment.wall_ms);
        self.fold.on_miss();
    }

    /// The gateway let us in.
    pub(super) fn connected(&mut self, moment: Moment, dialect: Dialect) {
        self.last_attempt = LastAttempt::Answered;
        self.problem = None;
        self.dialect = Some(dialect);
        self.latency = None;
        self.source = StatusSource::Event;
        self.seen(moment);
    }

    /// Which release it is.
    pub(super) fn identify(&mut self, version: Option<String>, protocol: Option<u32>) {
        if version.is_some() {
            self.version = version;
        }
        if protocol.is_some() {
            self.protocol = protocol;
        }
    }

    /// The connection is gone: a round trip over it says nothing any more.
    pub(super) fn lost(&mut self, moment: Moment) {
        self.learn(moment, StatusSource::Event);
        self.probe_silent = false;
        self.latency = None;
    }

    /// Another address or other credentials: nothing of the old knowledge holds.
    pub(super) fn forget(&mut self, moment: Moment, dialect: Option<Dialect>) {
        let fresh = GatewayReport { dialect, ..GatewayReport::unknown(moment.wall_ms) };
        self.last_attempt = LastAttempt::None;
        self.learn(moment, StatusSource::Event);
        self.problem = None;
        self.last_failure_ms = None;
        self.last_seen_ms = None;
        self.latency = None;
        self.probe_silent = false;
        self.dialect = dialect;
        self.version = fresh.version;
        self.protocol = fresh.protocol;
    }

    /// An operator wants a new attempt: old reasons are done with.
    pub(super) fn pardon(&mut self) {
        self.problem = None;
    }

    /// Derives the status and says what is new.
    pub(super) fn publish(&mut self, moment: Moment, facts: Facts, view: GatewayReport, effects: &mut Vec<Effect>) {
        let status = facts.status(moment.now);
        let since_ms = if status == self.current.status { self.current.since_ms } else { moment.wall_ms };
        let last_error = if status == Status::Online { None } else { view.last_error };
        let next = GatewayReport { status, since_ms, last_error, ..view };
        let sentence = next.last_error.as_ref().map(|problem| problem.message.as_str());
        if let Some(point) = self.fold.on_status(moment.now, moment.wall_ms, status, sentence) {
            effects.push(Effect::Health(point));
        }
        self.current = next.clone();
        let urgent = state_of(&next) != state_of(&self.report);
        if !urgent && (self.refresh || numbers_of(&next) != numbers_of(&self.report)) {
            self.report_due.get_or_insert((self.last_report + MIN_BETWEEN_MINOR_REPORTS).max(moment.now));
        }
        if urgent || self.report_due.is_some_and(|due| moment.now >= due) {
            self.report_due = None;
            self.refresh = false;
            self.last_report = moment.now;
            self.report = next.clone();
            effects.push(Effect::Report(Box::new(next)));
        }
    }

    /// When [`Knowledge::publish`] has something to say without anything new coming in.
    pub(super) fn next_deadline(&self, facts: &Facts, now: Instant) -> Option<Instant> {
        [self.report_due, self.fold.next_deadline(), facts.decay_deadline(now)].into_iter().flatten().min()
    }
}

/// What readers must know at once.
fn state_of(report: &GatewayReport) -> impl PartialEq + '_ {
    (
        (report.status, report.phase, &report.last_error, &report.breaker),
        (&report.pairing, report.ready_since_ms, report.next_attempt_ms, report.reconnect_attempts),
        (&report.version, report.protocol, report.dialect, &report.scopes),
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

impl Link {
    /// What the status depends on now.
    pub(super) fn facts(&self, moment: Moment) -> Facts {
        let ready = self.live.is_some() && self.phase == Phase::Ready;
        Facts {
            // A parked gateway has no actor: the registry says so itself.
            parked: false,
            blocked: self
                .blocked
                .as_ref()
                .map(|blocked| if blocked.code.means_offline() { BlockedAs::Unreachable } else { BlockedAs::Refused }),
            in_grace: !ready && self.grace.is_some_and(|grace| !grace.overdue && moment.now < grace.until),
            breaker: self.breaker.view().state,
            last_attempt: self.knowledge.last_attempt,
            ready,
            heartbeat_missed: self.heartbeat.misses() > 0 || self.knowledge.probe_silent,
            heartbeat_late: self.heartbeat.is_late(),
            latency: self.knowledge.latency,
            degraded_latency: self.settings.degraded_latency,
            calls_itself_degraded: self.live.as_ref().is_some_and(|live| live.degraded.is_some()),
            as_of: self.knowledge.as_of,
            heartbeat_interval: self.settings.heartbeat_interval,
        }
    }

    /// The report as of now, except for status and since.
    pub(super) fn view(&self, moment: Moment) -> GatewayReport {
        let knowledge = &self.knowledge;
        let live = self.live.as_deref();
        GatewayReport {
            status: Status::Unknown,
            phase: self.phase,
            since_ms: moment.wall_ms,
            as_of_ms: knowledge.as_of_ms,
            source: knowledge.source,
            last_error: self.present_problem(moment),
            last_failure_ms: knowledge.last_failure_ms,
            last_seen_ms: knowledge.last_seen_ms,
            latency_ms: knowledge.latency.map(milliseconds),
            sessions_count: live.and_then(|live| live.sessions_count()),
            agents_count: live.and_then(|live| live.agents_count()),
            agent_names: live.map(|live| live.agent_names()).unwrap_or_default(),
            version: knowledge.version.clone(),
            protocol: knowledge.protocol,
            dialect: knowledge.dialect,
            uptime_ms: live.and_then(|live| live.uptime_at(knowledge.as_of_ms)),
            breaker: self.breaker.view(),
            reconnect_attempts: self.backoff.attempts(),
            next_attempt_ms: knowledge.next_attempt_ms,
            pairing: self.blocked.as_ref().and_then(|blocked| blocked.pairing.clone()),
            scopes: live.map(|live| live.scopes.clone()).unwrap_or_default(),
            ready_since_ms: live.map(|live| live.since_ms),
        }
    }

    /// The reason for a status other than online, the strongest first.
    fn present_problem(&self, moment: Moment) -> Option<Problem> {
        if let Some(blocked) = &self.blocked {
            return Some(blocked.problem.clone());
        }
        let Some(live) = self.live.as_deref().filter(|_| self.phase == Phase::Ready) else {
            return self.knowledge.problem.clone();
        };
        let facts = self.facts(moment);
        let (code, words) = if facts.status(moment.now) == Status::Unknown {
            (RefusalCode::Stale, String::new())
        } else if facts.heartbeat_missed || facts.heartbeat_late {
            (RefusalCode::HeartbeatMissed, String::new())
        } else if facts.latency.is_some_and(|latency| latency > facts.degraded_latency) {
            (RefusalCode::HighLatency, String::new())
        } else if let Some(reasons) = &live.degraded {
            (RefusalCode::GatewayDegraded, reasons.clone())
        } else {
            return None;
        };
        Some(self.problem(&Refusal::new(code, &words)))
    }
}
