//! What became of a run: asked of the gateway, never started again. `agent.wait` first where there is one, then the
//! session's row; what neither tells is not known.

use std::time::Instant;

use gatewarden_protocol::capabilities::SessionsList;
use gatewarden_protocol::hello::HelloForm;
use gatewarden_protocol::pending::ReplyMode;
use gatewarden_protocol::{
    Dialect, Method, Quirk, RowRules, RunEnd, SessionRow, SessionStatus, Support, WireError, encode_request,
    read_sessions,
};
use serde_json::{Value, json};

use super::calls::Waiter;
use super::run_words;
use super::work_request::is_own_session;
use super::{CallToken, Effect, HttpOperation, Link, Moment};
use crate::error::Failure;
use crate::gateway_report::Phase;
use crate::run::LookUpRun;
use crate::run::{LookedUp, RunFinding, RunStage};

/// How long the gateway may wait for the run's end before it answers.
const WAIT_MS: u64 = 200;

/// A look-up under way.
#[derive(Debug)]
pub(super) struct LookUp {
    run_id: String,
    session_key: Option<String>,
    pub(super) deadline: Instant,
    step: Step,
    /// Whether `agent.wait` says that it ended well, where that may hide a failure.
    reads_as_ended_well: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// `agent.wait` is out.
    Wait,
    /// `chat.history` is out: is a run that reads as ended well a failed one?
    HistoryOfEnded,
    /// `chat.history` is out: does it tell of a failure at least?
    HistoryOfUnknown,
    /// The list of sessions has not been read yet.
    Sessions,
    /// `GET /sessions` is out.
    Http,
}

impl Link {
    /// Somebody wants to know what became of a run. Answered once, with [`Effect::AnswerFinding`].
    pub fn on_look_up_run(&mut self, moment: Moment, call: CallToken, wanted: LookUpRun) {
        let LookUpRun { run_id, session_key, timeout } = wanted;
        let deadline = moment.now + timeout.min(super::calls::MAX_CALL);
        // Whose acceptance was lost has no session on record, though it was sent with one.
        let session_key = session_key.or_else(|| self.runs.watch.session_of(&run_id));
        let Some(live) = self.live.as_deref().filter(|_| self.phase == Phase::Ready) else {
            let failure = self.unavailable();
            self.push(Effect::AnswerFinding { call, result: Err(failure) });
            return self.settle(moment);
        };
        let waits = match live.capabilities.form() {
            HelloForm::Release => live.capabilities.may_have(Method::AgentWait),
            _ => live.capabilities.support(Method::AgentWait) == Support::Yes,
        };
        let over_http = live.dialect == Dialect::Http;
        let step = if over_http { Step::Http } else { Step::Wait };
        let params = json!({ "runId": run_id, "timeoutMs": WAIT_MS });
        self.runs.look_ups.insert(call, LookUp { run_id, session_key, deadline, step, reads_as_ended_well: false });
        if over_http {
            if !self.ask_http_for(moment, Waiter::LookUp(call), HttpOperation::Sessions, timeout) {
                let failure = self.busy();
                self.found(call, Err(failure));
            }
        } else if waits {
            self.ask_for_look_up(call, Step::Wait, "agent.wait", &params);
        } else {
            self.look_at_rows(call);
        }
        self.settle(moment);
    }

    fn ask_for_look_up(&mut self, call: CallToken, step: Step, method: &'static str, params: &Value) {
        let epoch = self.epoch;
        let busy = self.busy();
        let (Some(live), Some(look_up)) = (&mut self.live, self.runs.look_ups.get_mut(&call)) else { return };
        look_up.step = step;
        match live.pending.insert(method, look_up.deadline, Waiter::LookUp(call), ReplyMode::Single) {
            Ok(id) => {
                let text = encode_request(live.dialect, &id, method, params);
                self.push(Effect::Send { epoch, text });
            }
            Err(_) => self.found(call, Err(busy)),
        }
    }

    /// The gateway answered a step of a look-up.
    pub(super) fn look_up_answered(&mut self, moment: Moment, call: CallToken, outcome: Result<Value, WireError>) {
        let Some(look_up) = self.runs.look_ups.get_mut(&call) else { return };
        let step = look_up.step;
        let history = look_up.session_key.as_ref().map(|key| json!({ "sessionKey": key, "limit": 4 }));
        let reads_as_ended =
            self.live.as_ref().is_some_and(|live| live.capabilities.has(Quirk::FailedChatReadsAsFinal));
        match (step, outcome) {
            (Step::Wait, Ok(payload)) => match (run_words::read_wait(&payload), history) {
                (Some(RunStage::Completed { .. }), Some(history)) if reads_as_ended => {
                    self.ask_for_look_up(call, Step::HistoryOfEnded, "chat.history", &history);
                }
                // Only the list of sessions tells which one is the run's own.
                (Some(RunStage::Completed { .. }), None) if reads_as_ended => {
                    look_up.reads_as_ended_well = true;
                    self.look_at_rows(call);
                }
                (Some(stage), _) => self.found(call, Ok(RunFinding::Ended(stage))),
                (None, _) => self.look_at_rows(call),
            },
            (Step::Wait, Err(_)) => self.look_at_rows(call),
            (Step::HistoryOfEnded, outcome) => {
                let failed = outcome.ok().and_then(|history| run_words::failure_in_history(&history));
                let stage = failed.unwrap_or(RunStage::Completed { result: Value::Null });
                self.found(call, Ok(RunFinding::Ended(stage)));
            }
            (Step::HistoryOfUnknown, outcome) => {
                let failed = outcome.ok().and_then(|history| run_words::failure_in_history(&history));
                self.found(call, Ok(failed.map_or(RunFinding::NotKnown, RunFinding::Ended)));
            }
            (Step::Http, Ok(document)) => {
                let rows = read_sessions(&document, RowRules { now_ms: moment.wall_ms, ..RowRules::default() });
                let rows = rows.map(|page| page.rows).unwrap_or_default();
                let finding = find(rows.iter(), &look_up.run_id, look_up.session_key.as_deref(), false);
                self.found(call, Ok(finding));
            }
            (Step::Http, Err(error)) => {
                let failure = self.refused("sessions.list", &error);
                self.found(call, Err(failure));
            }
            (Step::Sessions, _) => {}
        }
    }

    /// The session's row tells, once the list is read.
    fn look_at_rows(&mut self, call: CallToken) {
        let (Some(live), Some(look_up)) = (&self.live, self.runs.look_ups.get_mut(&call)) else { return };
        if !live.sessions.is_known() && live.capabilities.sessions_list() != SessionsList::Events {
            look_up.step = Step::Sessions;
            return;
        }
        let rows = live.sessions.newest_first();
        if look_up.session_key.is_none() {
            let own = rows.iter().find(|row| is_own_session(&row.key, &look_up.run_id));
            look_up.session_key = own.map(|row| row.key.clone());
        }
        let key = look_up.session_key.clone();
        if look_up.reads_as_ended_well {
            return match key {
                Some(key) => {
                    let params = json!({ "sessionKey": key, "limit": 4 });
                    self.ask_for_look_up(call, Step::HistoryOfEnded, "chat.history", &params);
                }
                None => self.found(call, Ok(RunFinding::Ended(RunStage::Completed { result: Value::Null }))),
            };
        }
        let finding = find(rows.into_iter().map(|row| &**row), &look_up.run_id, key.as_deref(), false);
        let own = key.as_deref().is_some_and(|key| is_own_session(key, &look_up.run_id));
        match (finding, key) {
            (RunFinding::NotKnown, Some(key)) if own && live.capabilities.has(Quirk::FailedChatReadsAsFinal) => {
                let params = json!({ "sessionKey": key, "limit": 4 });
                self.ask_for_look_up(call, Step::HistoryOfUnknown, "chat.history", &params);
            }
            (finding, _) => self.found(call, Ok(finding)),
        }
    }

    /// The list of sessions has been read: who waited for it looks now.
    pub(super) fn look_ups_after_list(&mut self) {
        let waiting: Vec<CallToken> = self
            .runs
            .look_ups
            .iter()
            .filter(|(_, look_up)| look_up.step == Step::Sessions)
            .map(|(call, _)| *call)
            .collect();
        for call in waiting {
            self.look_at_rows(call);
        }
    }

    /// Look-ups that waited for a list that didn't come.
    pub(super) fn expire_look_ups(&mut self, now: Instant) {
        let overdue: Vec<CallToken> = self
            .runs
            .look_ups
            .iter()
            .filter(|(_, look_up)| look_up.step == Step::Sessions && now >= look_up.deadline)
            .map(|(call, _)| *call)
            .collect();
        for call in overdue {
            self.found(call, Ok(RunFinding::NotKnown));
        }
    }

    /// When [`Link::expire_look_ups`] has something to do.
    pub(super) fn look_up_deadline(&self) -> Option<Instant> {
        let waiting = self.runs.look_ups.values().filter(|look_up| look_up.step == Step::Sessions);
        waiting.map(|look_up| look_up.deadline).min()
    }

    /// The connection is gone: look-ups that wait for a list are told so too.
    pub(super) fn abandon_look_ups(&mut self) {
        let calls: Vec<CallToken> = self.runs.look_ups.keys().copied().collect();
        for call in calls {
            let failure = self.connection_ended();
            self.found(call, Err(failure));
        }
    }

    /// Answers a look-up. A run that goes on is followed from here; one that has ended has been told of.
    pub(super) fn found(&mut self, call: CallToken, result: Result<RunFinding, Failure>) {
        let Some(look_up) = self.runs.look_ups.remove(&call) else { return };
        match &result {
            Ok(RunFinding::Running) => {
                self.runs.watch.follow(&look_up.run_id, look_up.session_key.as_deref());
                self.runs.watch.accepted(&look_up.run_id, true, false);
            }
            Ok(RunFinding::Ended(_)) => self.runs.watch.settle(&look_up.run_id, look_up.deadline),
            _ => {}
        }
        let session_key = look_up.session_key;
        let result = result.map(|finding| LookedUp { finding, session_key });
        self.push(Effect::AnswerFinding { call, result });
    }
}

/// What rows tell of a run. A row counts if it names the run, or if its session is the run's own.
pub(super) fn find<'a>(
    mut rows: impl Iterator<Item = &'a SessionRow>,
    run_id: &str,
    session_key: Option<&str>,
    own_session: bool,
) -> RunFinding {
    let told_of = |row: &SessionRow| {
        let own = session_key == Some(row.key.as_str()) && (own_session || is_own_session(&row.key, run_id));
        row.run_id.as_deref() == Some(run_id) || (own && row.run_id.is_none())
    };
    let Some(row) = rows.find(|row| told_of(row)) else { return RunFinding::NotKnown };
    match (row.status, row.run_end) {
        (Some(SessionStatus::Active | SessionStatus::Paused), _) => RunFinding::Running,
        (Some(SessionStatus::Completed), Some(RunEnd::Done)) => {
            RunFinding::Ended(RunStage::Completed { result: Value::Null })
        }
        (Some(SessionStatus::Completed), Some(RunEnd::Failed)) => {
            let error = row.run_error.clone().unwrap_or_else(|| "the session says only that it failed".to_owned());
            RunFinding::Ended(RunStage::Failed { error, result: Value::Null })
        }
        (Some(SessionStatus::Completed), Some(RunEnd::Killed)) => {
            RunFinding::Ended(RunStage::Killed { reason: "the session says that it was killed".to_owned() })
        }
        (Some(SessionStatus::Completed) | None, _) => RunFinding::NotKnown,
    }
}
