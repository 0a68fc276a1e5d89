//! Spawns: route, record, send, answer. Never run twice.
//!
//! A spawn is recorded before it is sent, however long that takes: once it is recorded it is sent or has ended, whether or not
//! its client still waits. It moves to another gateway only where the first one certainly didn't take it
//! because it couldn't be reached; a refusal in the gateway's own words is the answer. What was on the wire without an
//! answer is `unknown` and is asked about later, never sent again. That it was sent is written down within moments of
//! the sending, not before it: whoever finds it `recorded` after a crash takes it for sent, and asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use super::{Effect, Fleet, Member, Notice, Time};
use crate::error::{ErrorCode, Failure};
use crate::gateway_report::Status;
use crate::ids::GatewayId;
use crate::machines::routing::{self, NoRoute, RouteCandidate, RouteReason, RouteRequest, TAKES_NO_WORK};
use crate::machines::spawn_tracker::{NOT_ACCEPTED, Question};
use crate::spawn::{
    Certainty, LookUpRun, LookedUp, NoAnswer, NotAccepted, RunFinding, RunNotice, SpawnDoubt, SpawnRecord,
    SpawnRequest, SpawnState,
};

/// Gateways that are tried for one spawn.
const MAX_ATTEMPTS: usize = 3;
/// How often doubtful spawns are looked at; O(open spawns), nothing where there is none.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a gateway may take to say what became of a run.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions sent in one look, so that a fleet that comes back isn't flooded.
const MAX_QUESTIONS: usize = 64;
/// How long a step that nobody waits for may be gathered. Short enough for a person, long against a commit (about 1 ms).
const GATHER: Duration = Duration::from_millis(20);
/// How long after a failure the store is tried again, unless somebody asks for something new.
const RETRY: Duration = Duration::from_secs(1);
/// Steps in one transaction.
const MAX_STEPS: usize = 500;

/// Gateways that a failure names.
const MAX_NAMED: usize = 8;

/// What follows once all that was decided about a spawn is stored.
#[derive(Debug)]
pub(super) enum OnceWritten {
    Send(Arc<SpawnRequest>),
    /// Stored or not: what couldn't be written is tried again, and the answer is true all the same.
    Answer(Box<Result<SpawnRecord, Failure>>),
}

impl Fleet {
    /// A client wants work done. Answered by [`Effect::AnswerSpawn`]. Its whole `text` is recorded sealed, as values of its
    /// environment are secrets.
    pub fn spawn(&mut self, time: Time, mut request: SpawnRequest, text: Secret, idempotency_key: Option<String>) {
        let spawn_id = request.record.spawn_id.clone();
        if self.stopping {
            return self.answer_spawn(spawn_id, Err(Failure::unavailable("daemon")));
        }
        let no_route = match self.assign(&mut request) {
            Ok(_) => None,
            Err(reason) if idempotency_key.is_none() => {
                return self.answer_spawn(spawn_id, Err(self.no_route(time, &reason)));
            }
            Err(reason) => Some(reason),
        };
        self.effects.push(Effect::RecordSpawn(Box::new(request.record.clone()), text, idempotency_key));
        self.recording.insert(spawn_id, (request, no_route));
    }

    /// Finds a gateway for it, and names that in its record.
    fn assign(&self, request: &mut SpawnRequest) -> Result<GatewayId, NoRoute> {
        let (gateway, reason) = self.route(&request.route)?;
        request.record.gateway_id = Some(gateway);
        request.record.gateway_name = Some(self.name_of(gateway));
        request.record.route = Some(reason.as_str().to_owned());
        Ok(gateway)
    }

    /// The record of a spawn is stored, or not. Another spawn's record: its idempotency key stands for that, of the same request. None:
    /// for another request.
    pub fn on_spawn_recorded(&mut self, time: Time, spawn_id: &str, recorded: Result<Option<SpawnRecord>, Failure>) {
        let Some((mut request, no_route)) = self.recording.remove(spawn_id) else { return };
        let answer = match recorded {
            // It may be on record. Whoever finds it there after a crash would take it for sent: so it ends, as what was never sent.
            Err(failure) if failure.code == ErrorCode::OutcomeUnknown => {
                self.spawns.open(spawn_id, request.record.gateway());
                // Without its id, which may be of no record: a key may stand for an earlier spawn, as whose answer a client would take this.
                let failure = Failure::new(ErrorCode::StoreUnavailable, failure.message)
                    .with_help("It was not sent, and never will be. Send it again, with the same Idempotency-Key if it had one: that may stand for an earlier spawn.")
                    .with_retry_after(RETRY);
                self.spawns.fail(spawn_id, failure.code.as_str(), &failure.message);
                return self.once_written(time, spawn_id, OnceWritten::Answer(Box::new(Err(failure))));
            }
            Err(failure) => Err(failure),
            Ok(None) => {
                Err(Failure::new(ErrorCode::IdempotencyMismatch, "This Idempotency-Key was used for another request")
                    .with_help("Use a new key for a new request; the same key only for the very same one."))
            }
            Ok(Some(record)) if record.spawn_id != spawn_id => self.replay(record),
            Ok(Some(record)) => {
                request.record = record;
                self.spawns.open(spawn_id, request.record.gateway());
                let Some(reason) = no_route else { return self.send(time, Arc::new(request)) };
                // Only with an idempotency key: its answer is on record, so the same request gets the same one.
                let failure = self.no_route(time, &reason);
                self.spawns.fail(spawn_id, failure.code.as_str(), &failure.message);
                return self.answer_failure(time, failure, spawn_id);
            }
        };
        self.answer_spawn(spawn_id.to_owned(), answer);
    }

    /// Gives it to its gateway, which may have been lost meanwhile.
    fn send(&mut self, time: Time, request: Arc<SpawnRequest>) {
        let gateway = request.record.gateway();
        if self.stopping {
            let not_accepted = NotAccepted { failure: Failure::unavailable("daemon"), certainty: Certainty::NotTaken };
            return self.not_accepted(time, request, not_accepted);
        }
        if !self.get(gateway).is_some_and(Member::is_usable) {
            let not_accepted = NoAnswer::NotTaken.of_run(&self.name_of(gateway), request.timeout);
            return self.not_accepted(time, request, not_accepted);
        }
        self.effects.push(Effect::StartRun(gateway, Arc::clone(&request)));
        self.attempts.insert(request.record.spawn_id.clone(), request);
    }

    /// What came of [`Effect::StartRun`]: the record, as the acceptance tells.
    pub fn on_run_answered(&mut self, time: Time, spawn_id: &str, answer: Result<SpawnRecord, NotAccepted>) {
        let Some(request) = self.attempts.remove(spawn_id) else { return };
        match answer {
            Ok(record) => self.accepted(time, record),
            Err(not_accepted) => self.not_accepted(time, request, not_accepted),
        }
    }

    fn accepted(&mut self, time: Time, mut record: SpawnRecord) {
        let spawn_id = record.spawn_id.clone();
        self.spawns.accept(time.now, &record);
        record.state = self.spawns.get(&spawn_id).map_or(SpawnState::Accepted, |spawn| spawn.state);
        record.gateway_name = self.members.get(&record.gateway()).map(|member| member.record.name.clone());
        // A run under the spawn's own id is found again whatever happens; one under another id only if that is stored.
        if record.run_id.as_ref() == Some(&spawn_id) {
            self.answer_spawn(spawn_id, Ok(record));
        } else {
            self.once_written(time, &spawn_id, OnceWritten::Answer(Box::new(Ok(record))));
        }
    }

    /// Goes on to another gateway where that is certainly harmless; else it is answered.
    fn not_accepted(&mut self, time: Time, mut request: Arc<SpawnRequest>, why: NotAccepted) {
        let NotAccepted { failure, certainty } = why;
        let (spawn_id, from) = (request.record.spawn_id.clone(), request.record.gateway());
        let unreachable = matches!(failure.code, ErrorCode::GatewayUnavailable | ErrorCode::GatewayBusy);
        let may_move = certainty == Certainty::NotTaken && unreachable && request.route.requested.is_none();
        // Its gateway may have been deleted meanwhile: then the record says that it is lost.
        if may_move && request.route.excluded.len() + 1 < MAX_ATTEMPTS && self.spawns.is_open(&spawn_id) {
            let moved = Arc::make_mut(&mut request);
            moved.route.excluded.push(from);
            if let Ok(to) = self.assign(moved) {
                let why = failure.message;
                self.effects.push(Effect::Notify(Notice::SpawnRerouted(spawn_id.clone(), from, to, why.clone())));
                self.spawns.reroute(&spawn_id, to, &self.name_of(to), why);
                // The record names the next gateway before that one hears of it: after a crash the right one is asked.
                return self.once_written(time, &spawn_id, OnceWritten::Send(request));
            }
        }
        let failure = match certainty {
            Certainty::NotTaken => {
                self.spawns.fail(&spawn_id, failure.code.as_str(), &failure.message);
                failure
            }
            Certainty::Unknown => {
                self.spawns.mark_unknown(time.now, &spawn_id, &failure.message);
                // However the answer was lost, it is a timeout to the client: nothing may invite it to send the work again.
                Failure::new(ErrorCode::GatewayTimeout, failure.message).with_help(format!(
                    "It may be under way: GET /api/spawn/{spawn_id} tells what became of it. It is never sent twice."
                ))
            }
        };
        self.answer_failure(time, failure, &spawn_id);
    }

    /// Answers that it wasn't accepted, or that nobody knows, once the record says so too.
    fn answer_failure(&mut self, time: Time, failure: Failure, spawn_id: &str) {
        let answer = Err(with_spawn_id(failure, spawn_id));
        self.once_written(time, spawn_id, OnceWritten::Answer(Box::new(answer)));
    }

    fn once_written(&mut self, time: Time, spawn_id: &str, then: OnceWritten) {
        if self.spawns.has_unwritten(spawn_id) {
            self.awaiting_write.insert(spawn_id.to_owned(), then);
            self.coalescer.hurry(time.now);
        } else {
            self.go_on(time, spawn_id.to_owned(), then, None);
        }
    }

    fn go_on(&mut self, time: Time, spawn_id: String, then: OnceWritten, not_stored: Option<Failure>) {
        match (then, not_stored) {
            (OnceWritten::Answer(answer), _) => self.answer_spawn(spawn_id, *answer),
            (OnceWritten::Send(request), None) => self.send(time, request),
            (OnceWritten::Send(request), Some(failure)) => {
                self.not_accepted(time, request, NotAccepted { failure, certainty: Certainty::NotTaken });
            }
        }
    }

    fn answer_spawn(&mut self, spawn_id: String, answer: Result<SpawnRecord, Failure>) {
        self.effects.push(Effect::AnswerSpawn(spawn_id, Box::new(answer)));
    }

    /// What was answered before is answered again: a refusal as a refusal, anything else with what has become of it.
    fn replay(&self, mut record: SpawnRecord) -> Result<SpawnRecord, Failure> {
        // What was decided may not be written yet.
        if let Some(spawn) = self.spawns.get(&record.spawn_id) {
            record.state = spawn.state;
            record.run_id.get_or_insert_with(|| spawn.run_id.clone());
            record.session_key = record.session_key.or_else(|| spawn.session_key.clone());
        } else if record.state == SpawnState::Recorded {
            // Stored and about to be sent, by whoever came first: there is nothing to replay.
            let failure = Failure::new(
                ErrorCode::Unavailable,
                "The first request with this Idempotency-Key has not been answered yet",
            )
            .with_help("Send the same again in a second: it is answered as the first one.")
            .with_retry_after(Duration::from_secs(1));
            return Err(with_spawn_id(failure, &record.spawn_id));
        }
        if let Some(last) = self.spawns.last_unwritten(&record.spawn_id) {
            record.reason.clone_from(&last.reason);
            record.error.clone_from(&last.error);
            record.error_code.clone_from(&last.error_code);
        }
        let refused = record.state == SpawnState::Failed && record.reason.as_deref() == Some(NOT_ACCEPTED);
        let code = record.error_code.as_deref().and_then(ErrorCode::from_name).filter(|_| refused);
        let Some(code) = code else {
            // The gateway's reply isn't kept.
            record.result = None;
            return Ok(record);
        };
        let words = record.error.clone().unwrap_or_else(|| "The spawn was not accepted".to_owned());
        let failure = Failure::new(code, words)
            .with_help("This is the recorded answer to this Idempotency-Key. Use a new key to try again.");
        Err(with_spawn_id(failure, &record.spawn_id))
    }

    pub(super) fn route(&self, request: &RouteRequest) -> Result<(GatewayId, RouteReason), NoRoute> {
        let routing = &self.settings.routing;
        let candidates: Vec<_> = self
            .members
            .iter()
            .map(|(id, member)| {
                let (record, report, in_flight) = (&member.record, &member.report, self.spawns.in_flight(*id));
                // One that leaves a heartbeat unanswered is given no new work until it answers: what it was sent would be in doubt.
                let usable = member.is_usable() && report.status != Status::Timeout;
                let full = in_flight >= routing.max_in_flight;
                RouteCandidate { usable, full, ..RouteCandidate::of(record, report, in_flight) }
            })
            .collect();
        routing::choose(request, routing.policy, self.acting(), &candidates)
    }

    /// Why nobody takes a piece of work, for a person.
    fn no_route(&self, time: Time, reason: &NoRoute) -> Failure {
        let bound = self.settings.routing.max_in_flight;
        let (code, message, help) = match reason {
            NoRoute::UnknownGateway(id) => return Failure::gateway_not_found(id),
            NoRoute::NotUsable(id) => {
                return self
                    .members
                    .get(id)
                    .map_or_else(|| Failure::gateway_not_found(id), |member| member.unavailable(time.wall_ms));
            }
            NoRoute::Drained(id) => (
                ErrorCode::GatewayUnavailable,
                format!("Gateway \"{}\" {TAKES_NO_WORK}", self.name_of(*id)),
                format!("POST /api/gateways/{id}/undrain, or leave out gateway_id."),
            ),
            NoRoute::Full(id) => (
                ErrorCode::GatewayBusy,
                format!("Gateway \"{}\" already has {bound} spawns under way", self.name_of(*id)),
                "Wait for one to end, or raise routing.max_in_flight.".to_owned(),
            ),
            NoRoute::NotSelected(id) => (
                ErrorCode::InvalidRequest,
                format!("Gateway \"{}\" does not have the labels that the selector asks for", self.name_of(*id)),
                "Leave out gateway_id or selector.".to_owned(),
            ),
            NoRoute::NothingSelected => (
                ErrorCode::InvalidRequest,
                "No gateway has the labels that the selector asks for".to_owned(),
                "GET /api/gateways shows each gateway's labels.".to_owned(),
            ),
            NoRoute::AllFull => (
                ErrorCode::NoUsableGateway,
                "Every usable gateway is at its bound of spawns under way".to_owned(),
                "Wait for one to end, or raise routing.max_in_flight.".to_owned(),
            ),
            NoRoute::NoneUsable(kept) => {
                let kept: Vec<String> = kept.iter().take(MAX_NAMED).map(|id| self.name_of(*id)).collect();
                let (message, help) = routing::none_usable(&kept);
                (ErrorCode::NoUsableGateway, message, help)
            }
        };
        let failure = Failure::new(code, message).with_help(help);
        match reason {
            // None passes by itself.
            NoRoute::Drained(_) | NoRoute::NotSelected(_) | NoRoute::NothingSelected => failure,
            _ => failure.with_retry_after(Duration::from_secs(5)),
        }
    }

    /// After each input: what is to be written is written, now or soon, and doubtful spawns are looked at.
    pub(super) fn settle_spawns(&mut self, time: Time) {
        if let Some(max) = self.coalescer.begin(time.now, self.spawns.has_line()) {
            let steps = self.spawns.take_batch(max);
            self.effects.push(Effect::WriteSpawns(steps));
        }
        self.spawns.forget_early();
        for (gateway, run_id) in self.spawns.take_given_up() {
            self.effects.push(Effect::ForgetRun(gateway, run_id));
        }
        if self.spawns.is_empty() {
            self.look_at = None;
            self.publish_checks(time);
        } else {
            self.look_at.get_or_insert(time.now + LOOK_INTERVAL);
        }
    }

    /// For the daemon's stop, once its gateways are closed: whether nothing more becomes of any spawn, and all that did is written, and
    /// so are failed logins where that can be.
    pub fn has_settled(&self) -> bool {
        let is_settled = self.recording.is_empty() && self.attempts.is_empty() && self.awaiting_write.is_empty();
        is_settled && !self.spawns.has_any_unwritten() && self.addresses.are_stored()
    }

    /// What came of [`Effect::WriteSpawns`] for these spawns: the records as they are stored now.
    pub fn on_spawns_written(&mut self, time: Time, spawn_ids: &[String], written: Result<Vec<SpawnRecord>, Failure>) {
        let done = written.is_ok();
        let mut waited = Vec::new();
        for spawn_id in spawn_ids {
            self.spawns.written(spawn_id, done);
            if (!done || !self.spawns.has_unwritten(spawn_id))
                && let Some(then) = self.awaiting_write.remove(spawn_id)
            {
                waited.push((spawn_id.clone(), then));
            }
        }
        let failure = match written {
            Ok(records) => {
                let notices = records.into_iter().map(|record| Effect::Notify(Notice::SpawnStored(Box::new(record))));
                self.effects.extend(notices);
                None
            }
            Err(failure) => {
                self.effects.push(Effect::Notify(Notice::SpawnsNotStored(spawn_ids.to_vec(), failure.clone())));
                Some(failure)
            }
        };
        self.coalescer.ended(time.now, spawn_ids.len(), done);
        for (spawn_id, then) in waited {
            self.go_on(time, spawn_id, then, failure.clone());
        }
    }

    /// Asks about doubtful spawns.
    pub(super) fn look_at_spawns(&mut self, time: Time) {
        let members = &self.members;
        let usable_since = |id: GatewayId| members.get(&id).and_then(|member| member.usable_since());
        let due = self.spawns.due(time.now, MAX_QUESTIONS, usable_since);
        for Question { spawn_id, gateway, run_id, session_key } in due {
            let question = LookUpRun { run_id, session_key, timeout: QUESTION_TIMEOUT };
            self.effects.push(Effect::LookUpRun(spawn_id, gateway, question));
        }
        self.look_at = None;
        self.publish_checks(time);
    }

    fn publish_checks(&mut self, time: Time) {
        let mut checks = BTreeMap::new();
        for (spawn_id, spawn) in self.spawns.all_open() {
            let member = self.get(spawn.gateway);
            let silent_ms = member.and_then(Member::silent_since_ms);
            let doubted = spawn.doubt().map(|(since, ask_at)| (time.wall_ms_ago(since), ask_at));
            let Some(since_ms) = doubted.map(|(since_ms, _)| since_ms).into_iter().chain(silent_ms).min() else {
                continue;
            };
            // What the doubt is about may change meanwhile: it is the same doubt.
            let since_ms = self.checks.get(spawn_id).map_or(since_ms, |(known_ms, _)| *known_ms);
            let ask_at = doubted.and_then(|(_, ask_at)| ask_at).filter(|_| member.is_some_and(Member::is_usable));
            checks.insert(spawn_id.clone(), (since_ms, ask_at.map(|at| at.max(time.now))));
        }
        if checks == self.checks {
            return;
        }
        let published = |(id, (since_ms, ask_at)): (&String, &(i64, Option<Instant>))| {
            let ask_at_ms = ask_at.map(|at| time.wall_ms_at(at));
            (id.clone(), SpawnDoubt { since_ms: *since_ms, ask_at_ms })
        };
        self.effects.push(Effect::PublishChecks(checks.iter().map(published).collect()));
        self.checks = checks;
    }

    /// What came of [`Effect::LookUpRun`]; none where the gateway couldn't be asked.
    pub fn on_run_found(
        &mut self,
        time: Time,
        spawn_id: &str,
        gateway: GatewayId,
        run_id: &str,
        answer: Option<LookedUp>,
    ) {
        let now = time.now;
        let back = self.get(gateway).and_then(Member::usable_since);
        match answer {
            Some(LookedUp { finding: RunFinding::Running, session_key, .. }) => {
                self.spawns.found_running(now, spawn_id, session_key);
            }
            Some(LookedUp { finding: RunFinding::Ended(stage), session_key, ended_at_ms }) => {
                self.spawns.answered(spawn_id);
                let notice = RunNotice { run_id: run_id.to_owned(), session_key, stage };
                self.spawns.on_stage_found(now, gateway, notice, ended_at_ms);
            }
            Some(LookedUp { finding: RunFinding::NotKnown, .. }) => self.spawns.found_nothing(now, spawn_id, back),
            // It couldn't be asked: that says nothing about the run, however long the gateway has been back.
            None => self.spawns.found_nothing(now, spawn_id, None),
        }
    }
}

fn with_spawn_id(failure: Failure, spawn_id: &str) -> Failure {
    let mut details = failure.details.clone().filter(Value::is_object).unwrap_or_else(|| json!({}));
    if let Some(details) = details.as_object_mut() {
        details.insert("spawnId".to_owned(), Value::from(spawn_id));
    }
    failure.with_details(details)
}

/// When steps of spawns are written, and how many at once: one write at a time. Each commit waits for the disk, and the next spawn's
/// record waits behind it. So steps that nobody waits for are gathered for a moment and written in one transaction; what somebody
/// waits for is written at once, with all that is there. After a batch has failed its spawns are tried one by one: one that can
/// never be written must not hold up the others.
#[derive(Debug, Default)]
pub(super) struct WriteCoalescer {
    writing: bool,
    write_at: Option<Instant>,
    one_by_one: usize,
}

impl WriteCoalescer {
    /// Somebody waits for what is in line or in the write under way.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.write_at = Some(now);
    }

    /// To be asked after each input: how many steps may be written now, if a batch is due. `waiting`: whether steps are in line.
    pub(super) fn begin(&mut self, now: Instant, waiting: bool) -> Option<usize> {
        if self.writing {
            return None;
        }
        if !waiting {
            (self.write_at, self.one_by_one) = (None, 0);
            return None;
        }
        if *self.write_at.get_or_insert(now + GATHER) > now {
            return None;
        }
        (self.writing, self.write_at) = (true, None);
        if self.one_by_one == 0 {
            return Some(MAX_STEPS);
        }
        self.one_by_one -= 1;
        Some(1)
    }

    /// The batch, of so many spawns, was written or not.
    pub(super) fn ended(&mut self, now: Instant, spawns: usize, done: bool) {
        self.writing = false;
        if !done {
            self.one_by_one = if spawns > 1 { spawns } else { self.one_by_one };
            // However urgent it is: the store can't write now.
            self.write_at = Some(now + RETRY);
        } else if self.one_by_one > 0 {
            self.write_at = Some(now);
        }
    }

    /// When a batch is due, if none is under way.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.write_at.filter(|_| !self.writing)
    }
}

#[cfg(test)]
mod tests;
