//! Starting runs: what was asked, whether the gateway took it, and how certain that is.
//!
//! Certainty is the point of all this. Work may move to another gateway only if it certainly was not taken: it never
//! left, or the gateway refused it before acceptance. Once the frame was given to the socket, anything but a refusal
//! leaves it open.

use std::collections::HashMap;

use gatewarden_protocol::pending::ReplyMode;
use gatewarden_protocol::{Dialect, Event, Quirk, WireError, encode_request};
use serde_json::Value;

use super::calls::Waiter;
use super::look_up::LookUp;
use super::run_watch::RunWatch;
use super::run_words::{self, News, Progress, Weight, Word};
use super::work_request::{self, WorkRequest};
use super::{CallToken, Effect, HttpOperation, Link, Moment};
use crate::error::{ErrorCode, Failure};
use crate::gateway_report::Phase;
use crate::run::StartRun;
use crate::run::{Accepted, Certainty, NotAccepted, RunStage};

/// All about runs that outlives a connection, and what is asked over the present one.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) watch: RunWatch,
    starting: HashMap<CallToken, Starting>,
    /// Requests that went out under a spawn's id, by that id, with their own.
    own_ids: HashMap<String, String>,
    pub(super) look_ups: HashMap<CallToken, LookUp>,
    /// Kills under way and the sessions that they are for.
    pub(super) kills: HashMap<CallToken, String>,
}

/// A run whose acceptance is awaited.
#[derive(Debug)]
struct Starting {
    spawn_id: String,
    request: WorkRequest,
    deadline: std::time::Instant,
    /// Whether the request itself has been given to the socket.
    sent: bool,
}

impl Runs {
    /// The table's id of a request that went out under a spawn's id.
    pub(super) fn table_id(&self, id: &str) -> Option<String> {
        self.own_ids.get(id).cloned()
    }
}

impl Link {
    /// Somebody wants a run started. Answered once, with [`Effect::AnswerRun`].
    pub fn on_start_run(&mut self, moment: Moment, call: CallToken, start: StartRun) {
        let StartRun { spawn_id, work, timeout } = start;
        let deadline = moment.now + timeout.min(super::calls::MAX_CALL);
        match self.word_work(&spawn_id, &work) {
            Err(failure) => self.not_taken(call, failure),
            Ok(request) => {
                self.runs.starting.insert(call, Starting { spawn_id, request, deadline, sent: false });
                self.go_on_starting(moment, call);
            }
        }
        self.settle(moment);
    }

    fn word_work(&self, spawn_id: &str, work: &crate::run::Work) -> Result<WorkRequest, Failure> {
        let live = self.live.as_deref().filter(|_| self.phase == Phase::Ready);
        let live = live.ok_or_else(|| self.unavailable())?;
        work_request::word(&live.capabilities, live.agents.as_deref(), spawn_id, work)
            .map_err(|missing| self.not_supported(missing))
    }

    /// The next preparation, or the request itself.
    fn go_on_starting(&mut self, moment: Moment, call: CallToken) {
        if self.phase != Phase::Ready || self.live.is_none() {
            let failure = self.unavailable();
            return self.not_taken(call, failure);
        }
        let busy = self.busy();
        let epoch = self.epoch;
        let (Some(live), Some(starting)) = (&mut self.live, self.runs.starting.get_mut(&call)) else { return };
        if live.dialect == Dialect::Http {
            let operation = HttpOperation::Spawn(starting.request.params.clone());
            starting.sent = true;
            let (spawn_id, key) = (starting.spawn_id.clone(), starting.request.session_key.clone());
            let timeout = starting.deadline.saturating_duration_since(moment.now);
            if self.ask_http_for(moment, Waiter::Run(call), operation, timeout) {
                self.runs.watch.follow(&spawn_id, key.as_deref());
            } else {
                self.not_taken(call, busy);
            }
            return;
        }
        let preparation = starting.request.before.pop();
        let (method, params, waiter) = match &preparation {
            Some(preparation) => ("sessions.patch", &preparation.params, Waiter::Preparation(call, preparation.needed)),
            None => (starting.request.method, &starting.request.params, Waiter::Run(call)),
        };
        let Ok(id) = live.pending.insert(method, starting.deadline, waiter, ReplyMode::Single) else {
            return self.not_taken(call, busy);
        };
        if preparation.is_some() {
            let text = encode_request(live.dialect, &id, method, params);
            return self.push(Effect::Send { epoch, text });
        }
        starting.sent = true;
        let wire_id = if starting.request.under_spawn_id { starting.spawn_id.clone() } else { id.clone() };
        let text = encode_request(live.dialect, &wire_id, method, params);
        if wire_id != id {
            self.runs.own_ids.insert(wire_id, id);
        }
        let (spawn_id, key) = (starting.spawn_id.clone(), starting.request.session_key.clone());
        self.runs.watch.follow(&spawn_id, key.as_deref());
        self.push(Effect::SendRun { epoch, call, text });
    }

    /// What was to be set first is set, or not.
    pub(super) fn prepared(
        &mut self,
        moment: Moment,
        call: CallToken,
        needed: bool,
        outcome: Result<Value, WireError>,
        unknown: bool,
    ) {
        match outcome {
            Err(_) if needed && unknown => {
                let failure = self.not_supported("sessions.patch");
                self.not_taken(call, failure);
            }
            Err(error) if needed => {
                let failure = self.refused("sessions.patch", &error);
                self.not_taken(call, failure);
            }
            _ => self.go_on_starting(moment, call),
        }
    }

    /// The gateway answered the request itself: by its reply, or by a first `spawn_result`.
    pub(super) fn run_answered(
        &mut self,
        moment: Moment,
        call: CallToken,
        wire_id: &str,
        outcome: Result<Value, WireError>,
        unknown: bool,
    ) {
        let Some(starting) = self.runs.starting.get(&call) else { return };
        match outcome {
            Ok(payload) => self.taken(moment, call, wire_id, payload),
            // It was heard of already: then it was taken, and this is how it ended.
            Err(error) if self.runs.watch.heard_of(&starting.spawn_id) => {
                let run_id = starting.spawn_id.clone();
                self.accept(call, Value::Null, run_id.clone(), false);
                let stage = run_words::read_outcome(Err(error));
                self.word(moment, run_id, News::Ended { stage, weight: Weight::Certain });
            }
            Err(error) => {
                let method = starting.request.method;
                let failure = if unknown { self.not_supported(method) } else { self.refused(method, &error) };
                self.not_taken(call, failure);
            }
        }
    }

    pub(super) fn taken(&mut self, moment: Moment, call: CallToken, wire_id: &str, payload: Value) {
        let Some(starting) = self.runs.starting.get(&call) else { return };
        let spawn_id = starting.spawn_id.clone();
        let progress = run_words::progress(&payload);
        let dialect = self.live.as_ref().map_or(Dialect::Openclaw, |live| live.dialect);
        let ended = match progress {
            Some(Progress::Accepted | Progress::Running) => None,
            Some(_) => Some(end_in(&payload, starting.request.method)),
            // Dialect `rpc` answers once, with the agent's answer; elsewhere a plain yes is an acceptance.
            None if dialect == Dialect::Rpc => Some(end_in(&payload, starting.request.method)),
            None => None,
        };
        // What has ended is not looked up any more: its own id spares everybody a second one.
        let named = run_words::run_id(&payload).filter(|_| ended.is_none() && !starting.request.under_spawn_id);
        let run_id = named.unwrap_or_else(|| spawn_id.clone());
        if run_id != spawn_id {
            self.runs.watch.forget(&spawn_id);
        }
        let running = progress == Some(Progress::Running);
        let second_reply_due = starting.request.method == "agent" && ended.is_none();
        if second_reply_due && let Some(live) = &mut self.live {
            live.outcomes.expect(wire_id.to_owned(), Some(run_id.clone()));
        }
        self.accept(call, payload, run_id.clone(), running);
        self.runs.watch.accepted(&run_id, running, second_reply_due);
        if let Some(stage) = ended {
            self.word(moment, run_id, News::Ended { stage, weight: Weight::Certain });
        } else if dialect == Dialect::Http {
            // So that its session can be steered at once.
            if let Some(live) = &mut self.live {
                live.reading.want_sessions_soon(moment.now);
            }
            self.watch_http_runs(moment);
        }
    }

    /// Answers the caller with the acceptance.
    fn accept(&mut self, call: CallToken, payload: Value, run_id: String, running: bool) {
        let Some(starting) = self.end_starting(call) else { return };
        let told = run_words::session_key(&payload);
        // A session that nobody named is the run's own.
        let alone = starting.request.session_key.is_none() && told.is_some();
        let session_key = told.or(starting.request.session_key);
        self.runs.watch.follow(&run_id, session_key.as_deref());
        if alone {
            self.runs.watch.has_own_session(&run_id);
        }
        let accepted = Accepted {
            run_id,
            session_key,
            pid: run_words::pid(&payload),
            running,
            method: starting.request.method,
            reply: run_words::cut(payload),
        };
        self.push(Effect::AnswerRun { call, result: Ok(accepted) });
    }

    /// The gateway certainly hasn't taken it.
    pub(super) fn not_taken(&mut self, call: CallToken, failure: Failure) {
        if let Some(starting) = self.end_starting(call) {
            self.runs.watch.forget(&starting.spawn_id);
        }
        let result = Err(NotAccepted { failure, certainty: Certainty::NotTaken });
        self.push(Effect::AnswerRun { call, result });
    }

    /// No answer came, or will come. What was never sent was never taken; anything else may be under way.
    pub(super) fn run_unanswered(&mut self, call: CallToken, failure: Failure) {
        match self.runs.starting.get(&call) {
            Some(starting) if starting.sent => {
                self.end_starting(call);
                let result = Err(NotAccepted { failure, certainty: Certainty::Unknown });
                self.push(Effect::AnswerRun { call, result });
            }
            Some(_) => self.not_taken(call, failure),
            None => {}
        }
    }

    /// The socket refused the frame that was to start a run: it never left.
    pub fn on_run_unsent(&mut self, moment: Moment, call: CallToken) {
        if self.runs.starting.contains_key(&call) {
            let failure = self.unavailable();
            self.not_taken(call, failure);
        }
        self.settle(moment);
    }

    fn end_starting(&mut self, call: CallToken) -> Option<Starting> {
        let starting = self.runs.starting.remove(&call)?;
        self.runs.own_ids.remove(&starting.spawn_id);
        Some(starting)
    }

    /// The second reply to a request that started a run.
    pub(super) fn second_reply(&mut self, moment: Moment, run_id: String, outcome: Result<Value, WireError>) {
        let stage = run_words::read_outcome(outcome);
        self.word(moment, run_id, News::Ended { stage, weight: Weight::Certain });
    }

    /// An event that may be about a run of ours.
    pub(super) fn run_event(&mut self, moment: Moment, event: &Event) {
        if !self.runs.watch.has_open() {
            return;
        }
        let final_may_be_failure =
            self.live.as_ref().is_some_and(|live| live.capabilities.has(Quirk::FailedChatReadsAsFinal));
        if let Some(word) = run_words::read_event(event, final_may_be_failure) {
            let notice = self.runs.watch.on_word(word, moment.now);
            self.tell_of_run(notice);
        }
    }

    /// A `spawn_result` after the first one.
    pub(super) fn spawn_moved_on(&mut self, moment: Moment, run_id: &str, payload: &Value) {
        let word = Word {
            run_id: run_id.to_owned(),
            session_key: run_words::session_key(payload),
            news: run_words::read_spawn_result(payload),
        };
        let notice = self.runs.watch.on_word(word, moment.now);
        self.tell_of_run(notice);
    }

    pub(super) fn word(&mut self, moment: Moment, run_id: String, news: News) {
        let notice = self.runs.watch.on_word(Word { run_id, session_key: None, news }, moment.now);
        self.tell_of_run(notice);
    }

    fn tell_of_run(&mut self, notice: Option<crate::run::RunNotice>) {
        if let Some(notice) = notice {
            self.push(Effect::RunMoved(Box::new(notice)));
        }
    }

    /// Ends that nothing bettered in time.
    pub(super) fn expire_runs(&mut self, moment: Moment) {
        for notice in self.runs.watch.on_deadline(moment.now) {
            self.tell_of_run(Some(notice));
        }
    }

    /// Too many requests wait already.
    pub(super) fn busy(&self) -> Failure {
        Failure::new(
            ErrorCode::GatewayBusy,
            format!("{} requests already wait for gateway \"{}\"", self.settings.max_pending, self.record.name),
        )
        .with_help("Try again in a moment; if it stays so, the gateway doesn't answer what it is asked.")
        .with_retry_after(std::time::Duration::from_secs(1))
    }
}

/// The end that an answer already tells.
fn end_in(payload: &Value, method: &str) -> RunStage {
    if method == "spawn"
        && let News::Ended { stage, .. } = run_words::read_spawn_result(payload)
    {
        return stage;
    }
    run_words::read_outcome(Ok(payload.clone()))
}
