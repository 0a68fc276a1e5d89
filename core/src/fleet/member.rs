//! One gateway of the fleet: what is stored of it, what its actor said last, and how it behaved lately; and what follows from what its
//! actor and its process say, and from the actor's death.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Effect, Fleet, Notice, Time};
use crate::error::Failure;
use crate::gateway_record::{GatewayChange, GatewayRecord, HeldDown, Observed, SharedRecord};
use crate::gateway_report::{GatewayReport, Phase, Problem, Status, Trace, unavailable};
use crate::ids::GatewayId;
use crate::machines::connection::{GatewayNotice, REDIAL_PATIENCE};
use crate::machines::election::Candidate;
use crate::machines::flap::FlapDamper;
use crate::machines::restart_intensity::{RestartDecision, RestartIntensity};
use crate::settings::RestartSettings;

/// See the module.
#[derive(Debug)]
pub struct Member {
    /// As stored.
    pub record: SharedRecord,
    /// What is known of it, for everybody alike: readers, events, metrics, the election. As its actor said last, unless its process on
    /// this machine doesn't run.
    pub report: GatewayReport,
    /// As its actor said last.
    pub heard: GatewayReport,
    /// Its process on this machine, while that doesn't run.
    pub(super) halted: Option<HaltedProcess>,
    /// The address in its canonical form.
    pub(super) address: String,
    /// Whether it has an actor: a parked one has none.
    pub(super) is_running: bool,
    /// Which start of the actor this is; late words of an earlier one are ignored.
    pub(super) incarnation: u64,
    /// The addresses of the attempts to log in that its actor was permitted and hasn't told the end of.
    pub(super) permits: Vec<String>,
    /// How often its actor died lately.
    intensity: RestartIntensity,
    flaps: FlapDamper,
    /// The latest hold-down.
    held: Option<HeldDown>,
    pub(super) ready_since: Option<Instant>,
    /// Until when an operator's reconnect or change, or our own silence, excuses that it isn't usable; over with the first outcome.
    pub(super) reconnect_until: Option<Instant>,
    /// An operator changed how it is dialled, and the outcome isn't known.
    pub(super) changed: bool,
    /// Orders that its actor was given; what it says without having heard them all is outdated.
    pub(super) orders: u64,
    /// Whether it counts as usable where failures are counted: it isn't one that an operator has it dialled anew.
    pub(super) counts_as_usable: bool,
    /// Whether it failed and nothing has told yet whether its host answers.
    pub(super) unexplained: bool,
    /// Whether it was ever usable: the first time is no transition.
    pub(super) was_usable: bool,
    /// Whether its first attempt has ended, either way.
    pub(super) outcome_known: bool,
    /// Whether observations changed since they were last stored.
    pub(super) unsaved: bool,
}

/// A process that is not going to run by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaltedProcess {
    /// Whether it ended too often; otherwise it was stopped.
    pub gave_up: bool,
    /// The supervision's words.
    pub reason: Option<String>,
}

impl Member {
    pub(super) fn new(record: GatewayRecord, restarts: &RestartSettings, time: Time) -> Self {
        let mut report = GatewayReport::unknown(time.wall_ms);
        report.last_seen_ms = record.observed.last_seen.map(|seconds| seconds.saturating_mul(1_000));
        report.dialect = record.dialect;
        let held = record.observed.held;
        let resumed =
            held.map(|held| FlapDamper::resume(time.now, held.until_ms.saturating_sub(time.wall_ms), held.length));
        Self {
            held,
            address: record.address_key(),
            record: Arc::new(record),
            heard: report.clone(),
            report,
            halted: None,
            is_running: false,
            incarnation: 0,
            permits: Vec::new(),
            intensity: RestartIntensity::new(restarts.max_restarts, restarts.window),
            flaps: resumed.unwrap_or_default(),
            ready_since: None,
            reconnect_until: None,
            changed: false,
            orders: 0,
            counts_as_usable: false,
            unexplained: false,
            was_usable: false,
            outcome_known: false,
            unsaved: false,
        }
    }

    /// Whether requests may be passed on to it.
    pub fn is_usable(&self) -> bool {
        self.is_running && self.report.is_usable()
    }

    /// Wall ms until which it is held down from acting as primary since it bounced, while it is.
    pub fn held_until_ms(&self, time: Time) -> Option<i64> {
        self.held_until(time.now).map(|until| time.wall_ms_at(until))
    }

    /// The same, as an instant.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.flaps.held_until(now)
    }

    /// It became usable or ceased to be. The end of the hold-down that this begins, if it does.
    pub(super) fn on_turn(&mut self, time: Time) -> Option<Instant> {
        let until = self.flaps.on_transition(time.now).then(|| self.flaps.held_until(time.now)).flatten()?;
        self.held = Some(HeldDown { until_ms: time.wall_ms_at(until), length: self.flaps.hold(time.now) });
        Some(until)
    }

    /// The failure of a request for it while it isn't usable.
    pub fn unavailable(&self, wall_ms: i64) -> Failure {
        let report = &self.report;
        let ahead = report.next_attempt_ms.map(|at| at.saturating_sub(wall_ms));
        let wait = ahead.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
        unavailable(&self.record.name, report.phase, report.last_error.as_ref(), wait)
    }

    /// Since when it can be trusted with work; none while it can't.
    pub(super) fn usable_since(&self) -> Option<Instant> {
        self.ready_since.filter(|_| self.report.is_usable())
    }

    /// Takes over a report; the former one.
    pub(super) fn take_report(&mut self, time: Time, report: GatewayReport) -> GatewayReport {
        if (report.phase == Phase::Ready) != (self.report.phase == Phase::Ready) {
            self.ready_since = (report.phase == Phase::Ready).then_some(time.now);
        }
        if matches!(report.phase, Phase::Backoff | Phase::Blocked | Phase::Starting | Phase::Restarting)
            || (report.is_usable() && !self.report.is_usable())
        {
            (self.reconnect_until, self.changed) = (None, false);
        } else if self.heard.is_usable() && report.status == self.heard.status && report.phase.is_attempt() {
            // Its connection broke over our own silence.
            self.reconnect_until = Some(time.now + REDIAL_PATIENCE);
        }
        self.unsaved = true;
        let is_outcome = report.status != Status::Unknown
            || matches!(
                report.phase,
                Phase::Ready | Phase::Backoff | Phase::Blocked | Phase::Starting | Phase::Restarting | Phase::Parked
            );
        self.outcome_known |= is_outcome;
        self.hear(time, report)
    }

    /// Whether its process on this machine runs; the former report.
    pub(super) fn take_process(&mut self, time: Time, halted: Option<HaltedProcess>) -> GatewayReport {
        let was_halted = std::mem::replace(&mut self.halted, halted).is_some();
        let before = self.hear(time, self.heard.clone());
        if was_halted && self.report.status != before.status {
            self.report.since_ms = time.wall_ms;
        }
        before
    }

    /// What is shown of a gateway whose process doesn't run is the reason behind the refused connection. One that is connected all
    /// the same is served by something else; then the connection counts. The former report.
    fn hear(&mut self, time: Time, heard: GatewayReport) -> GatewayReport {
        let mut report = heard.clone();
        if let Some(HaltedProcess { gave_up, reason }) = self.halted.as_ref().filter(|_| heard.phase != Phase::Ready) {
            let name = &self.record.name;
            let (code, what) =
                if *gave_up { ("process_gave_up", "was given up") } else { ("process_stopped", "is stopped") };
            let reason = reason.as_deref().unwrap_or("nothing more is known");
            report.status = Status::Offline;
            report.since_ms = match self.report.status {
                Status::Offline => self.report.since_ms,
                _ => time.wall_ms,
            };
            report.last_error = Some(Problem {
                code: code.to_owned(),
                message: format!("The process of gateway \"{name}\" {what}: {reason}"),
                help: format!(
                    "POST /api/gateways/{}/process {{\"action\": \"diagnose\"}} shows what it said last; {{\"action\": \"start\"}} \
                     starts it.",
                    self.record.id
                ),
            });
        }
        self.heard = heard;
        std::mem::replace(&mut self.report, report)
    }

    /// Its actor died: what is known now, and whether it is started again.
    pub(super) fn on_death(&mut self, time: Time, restarts: &RestartSettings) -> (GatewayReport, RestartDecision) {
        self.is_running = false;
        self.ready_since = None;
        self.reconnect_until = None;
        let decision = self.intensity.on_death(time.now);
        let mut report = GatewayReport {
            last_seen_ms: self.report.last_seen_ms,
            last_failure_ms: Some(time.wall_ms),
            dialect: self.report.dialect,
            ..GatewayReport::unknown(time.wall_ms)
        };
        if decision == RestartDecision::Park {
            let (name, id) = (&self.record.name, self.record.id);
            let (deaths, seconds) = (restarts.max_restarts, restarts.window.as_secs());
            report.phase = Phase::Parked;
            report.status = Status::Offline;
            report.last_error = Some(Problem {
                code: "parked".to_owned(),
                message: format!(
                    "The supervision of gateway \"{name}\" crashed more than {deaths} times within {seconds} s and was parked"
                ),
                help: format!(
                    "This is a fault of gatewarden: please report it with the log. POST /api/gateways/{id}/reconnect starts \
                     it again."
                ),
            });
            self.outcome_known = true;
        }
        (self.hear(time, report), decision)
    }

    /// An operator wants it started again: the past is forgotten.
    pub(super) fn forgive(&mut self, time: Time) {
        self.intensity.forgive();
        let last_seen_ms = self.report.last_seen_ms;
        self.hear(time, GatewayReport { last_seen_ms, ..GatewayReport::unknown(time.wall_ms) });
    }

    /// What is kept across a restart of the daemon: the report, and where it doesn't tell what was stored before.
    pub(super) fn observed(&self) -> Observed {
        let (report, before) = (&self.report, &self.record.observed);
        Observed {
            status: Some(report.status.as_str().to_owned()),
            last_seen: report.last_seen_ms.map(|ms| ms / 1_000).or(before.last_seen),
            #[expect(clippy::cast_possible_truncation, reason = "latencies are small")]
            latency: report.latency_ms.map(|ms| ms.round() as i64).or(before.latency),
            sessions_count: report.sessions_count.map_or(before.sessions_count, i64::from),
            agents_count: report.agents_count.map_or(before.agents_count, i64::from),
            held: self.held,
        }
    }

    pub(super) fn candidate(&self, now: Instant) -> Candidate {
        Candidate {
            held_until: self.flaps.held_until(now),
            ready_since: self.ready_since,
            reconnect_until: self.reconnect_until,
            outcome_known: self.outcome_known,
            ..Candidate::of(&self.record, &self.report)
        }
    }

    /// Since when it can't be asked anything, wall ms; none of one that answers.
    pub(super) fn silent_since_ms(&self) -> Option<i64> {
        let is_silent = !self.is_usable() || self.report.status == Status::Timeout;
        is_silent.then_some(self.report.since_ms)
    }
}

impl Fleet {
    /// A notice of a gateway's actor. Of a deleted or replaced one only the budget of its address still matters.
    pub fn on_notice(&mut self, time: Time, id: GatewayId, incarnation: u64, notice: GatewayNotice) {
        if let GatewayNotice::AuthSettled { address, result } = notice {
            return self.on_auth_settled(time, id, incarnation, &address, result);
        }
        if self.dialled(id).is_none_or(|member| member.incarnation != incarnation) {
            return;
        }
        match notice {
            // What it says next tells what came of the order.
            GatewayNotice::Report(report) if self.dialled(id).is_some_and(|member| report.orders < member.orders) => {}
            GatewayNotice::Report(report) => self.on_report(time, id, *report),
            GatewayNotice::PermitWanted { address } => self.on_login_wanted(id, incarnation, address),
            GatewayNotice::DeviceTokenIssued { address, token } => {
                if self.addresses.set_token(&address, Some(token.clone())) {
                    self.effects.push(Effect::StoreToken(address, Some(token)));
                }
            }
            GatewayNotice::DeviceTokenRejected { address } => {
                self.addresses.set_token(&address, None);
                self.effects.push(Effect::StoreToken(address, None));
            }
            GatewayNotice::Sessions(sessions) => match self.trials.get_mut(&id) {
                Some(trial) => trial.sessions = Some(sessions),
                None => self.effects.push(Effect::PublishSessions(id, sessions)),
            },
            GatewayNotice::Health(point) if !self.is_on_trial(id) => self.effects.push(Effect::Health(id, point)),
            GatewayNotice::Agents(news) if !self.is_on_trial(id) => {
                self.effects.push(Effect::NoteAgents(id, news));
            }
            GatewayNotice::Health(_)
            | GatewayNotice::Agents(_)
            | GatewayNotice::AuthSettled { .. }
            | GatewayNotice::Count(_) => {}
            GatewayNotice::Run(run) => self.spawns.on_stage(time.now, id, run),
        }
    }

    pub(super) fn on_report(&mut self, time: Time, id: GatewayId, report: GatewayReport) {
        let now = time.now;
        if let Some(trial) = self.trials.get_mut(&id) {
            trial.member.take_report(time, report.clone());
            self.effects.push(Effect::TrialReport(id, Box::new(report)));
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let outcome_was_known = member.outcome_known;
        let reconnect_was = member.reconnect_until;
        let changed = member.changed;
        let before = member.take_report(time, report);
        let reconnected = reconnect_was != member.reconnect_until;
        let report = &member.report;
        let usable = report.is_usable();
        let turned = usable != before.is_usable();
        let first_outcome = member.outcome_known && !outcome_was_known;
        let dialect =
            report.dialect.filter(|dialect| report.phase == Phase::Ready && member.record.dialect != Some(*dialect));
        let counts = usable || (member.counts_as_usable && member.reconnect_until.is_some_and(|until| now < until));
        let change = if counts == std::mem::replace(&mut member.counts_as_usable, counts) {
            None
        } else {
            let first = !std::mem::replace(&mut member.was_usable, true);
            if !first
                && !changed
                && let Some(until) = member.on_turn(time)
            {
                self.held_down.insert((until, id));
                let held = until.saturating_duration_since(now);
                self.effects.push(Effect::Notify(Notice::HeldDown(member.record.clone(), held)));
            }
            member.unexplained = !counts;
            if counts { self.self_doubt.on_usable(now, id) } else { self.self_doubt.on_lost(now, id) }
        };
        let trace = if counts { Trace::Open } else { member.report.trace() };
        let learned = match trace {
            Trace::Silence if std::mem::take(&mut member.unexplained) => self.self_doubt.on_silence(now, id),
            Trace::Answer => {
                member.unexplained = false;
                self.self_doubt.on_answer(now, id)
            }
            Trace::Silence | Trace::Open => None,
        };
        match (turned, usable) {
            (true, true) => self.spawns.on_gateway_back(now, id),
            (true, false) => self.spawns.on_gateway_lost(now, id),
            (false, _) => {}
        }
        self.on_doubt_change(time, change);
        self.on_doubt_change(time, learned);
        self.announce_report(id, &before);
        self.publish(id);
        if turned || first_outcome || reconnected {
            self.consider_election(time, id);
        }
        if dialect.is_some() {
            // So that the next start needn't detect it.
            self.remember_dialect(id, GatewayChange { dialect, ..GatewayChange::default() });
        }
    }

    pub(super) fn remember_dialect(&mut self, id: GatewayId, change: GatewayChange) {
        self.effects.push(Effect::StoreChange(id, Box::new(change)));
    }

    /// What is news between two reports of a gateway.
    pub(super) fn announce_report(&mut self, id: GatewayId, before: &GatewayReport) {
        let Some(Member { record, report: after, .. }) = self.members.get(&id).map(Box::as_ref) else { return };
        let same_status = after.status == before.status;
        if !same_status {
            let notice = Notice::StatusChanged(record.clone(), before.status, Box::new(after.clone()));
            self.effects.push(Effect::Notify(notice));
        }
        if after.phase != Phase::Blocked {
            return;
        }
        let code = after.last_error.as_ref().map(|problem| &problem.code);
        // The reason is kept while a blocked gateway is re-checked: finding it again is no news.
        if code.is_some() && code != before.last_error.as_ref().map(|problem| &problem.code) {
            let notice = Notice::Blocked(record.clone(), Box::new(after.clone()), same_status);
            self.effects.push(Effect::Notify(notice));
        }
    }

    /// A gateway's process on this machine doesn't run and isn't going to, or does. What else is told of it is published, too.
    pub fn on_process(&mut self, time: Time, id: GatewayId, halted: Option<HaltedProcess>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let before = member.take_process(time, halted);
        self.announce_report(id, &before);
        self.publish(id);
    }

    /// The node that held a gateway's connection is gone, or it is to be held elsewhere: it is dialled anew, as when an operator has it
    /// reconnected. A gateway that is to move and has work under way, or is logging in, stays for now: then false.
    pub fn on_moved(&mut self, time: Time, id: GatewayId, is_lost: bool) -> bool {
        let open = self.spawns.in_flight(id);
        let Some(member) = self.members.get(&id).filter(|member| member.is_running) else { return false };
        // What is open at one that can't be asked is not disturbed: it is asked about once that one is held where it is to be.
        let is_at_work = open > 0 && member.is_usable();
        if !is_lost && (is_at_work || !member.permits.is_empty()) {
            return false;
        }
        self.settle_permits(time, id);
        if !is_lost {
            self.effects.push(Effect::Stop(id));
        }
        self.start_actor(id);
        self.begin_anew(time, id, false);
        self.publish(id);
        true
    }

    /// A gateway's actor is gone though nobody stopped it. It is started again from its record; one that dies too often is
    /// parked, and says so.
    pub fn on_actor_died(&mut self, time: Time, id: GatewayId) {
        self.settle_permits(time, id);
        if let Some(trial) = self.trials.get_mut(&id) {
            // Whoever waits for it learns that it ended; a trial is not started again.
            trial.member.on_death(time, &self.settings.restarts);
            let report = GatewayReport { phase: Phase::Parked, ..trial.member.report.clone() };
            self.effects.push(Effect::TrialReport(id, Box::new(report)));
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let (before, decision) = member.on_death(time, &self.settings.restarts);
        let notice = Notice::ActorDied(member.record.clone(), before.phase, decision);
        let counted = std::mem::take(&mut member.counts_as_usable);
        self.effects.push(Effect::Notify(notice));
        if decision == RestartDecision::Restart {
            self.start_actor(id);
        }
        self.spawns.on_gateway_lost(time.now, id);
        if counted {
            let change = self.self_doubt.on_lost(time.now, id);
            self.on_doubt_change(time, change);
        }
        self.announce_report(id, &before);
        self.publish(id);
        self.consider_election(time, id);
    }
}
