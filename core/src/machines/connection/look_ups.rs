//! What became of a run: asked of the gateway, never started again. `agent.wait` first where there is one, then the
//! session's row; where rows tell no ends the session's last words, and its errors in the gateway's log. What none tells is not
//! known.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatewarden_protocol::hello::HelloForm;
use gatewarden_protocol::{
    Dialect, Method, Quirk, RowRules, RunEnd, SessionRow, SessionStatus, Support, read_sessions,
};
use serde_json::{Value, json};

use super::Effect;
use super::active::ActiveConnection;
use super::run_tracker::RunTracker;
use super::run_words;
use super::turn::{CallToken, MAX_CALL, Outcome, PendingKind, Turn};
use crate::error::Failure;
use crate::spawn::{LookUpRun, LookedUp, RunFinding, RunStage, is_own_session};

/// The newest part of the gateway's log that is searched for a run's failure.
const LOG_LINES: u32 = 500;
const LOG_BYTES: u32 = 250_000;
/// After a look at a list without the run, until the list is read again.
const SOON: Duration = Duration::from_secs(1);
/// How long the gateway may wait for the run's end before it answers.
const WAIT_MS: u64 = 200;

/// A look-up under way.
#[derive(Debug)]
struct LookUp {
    run_id: String,
    session_key: Option<String>,
    deadline: Instant,
    step: LookUpStep,
    /// Whether `agent.wait` says that it ended well, where that may hide a failure.
    reads_as_ended_well: bool,
    /// What the rows tell where nothing else does. Of a release whose rows have no status they tell at most what was told of the run here.
    rows_tell: RunFinding,
    /// When the gateway says that it ended.
    ended_at_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LookUpStep {
    /// `agent.wait` is out.
    Wait,
    /// `chat.history` is out: is a run that reads as ended well a failed one?
    HistoryOfEnded,
    /// `chat.history` is out: does it tell of a failure at least?
    HistoryOfUnknown,
    /// `logs.tail` is out: the oldest releases write down there alone that a run failed before its agent began.
    Log,
    /// The list of sessions has not been read yet.
    Sessions,
    /// A list of sessions of its own is out, over HTTP.
    List,
}

impl LookUpStep {
    fn method(self) -> &'static str {
        match self {
            Self::Wait => "agent.wait",
            Self::HistoryOfEnded | Self::HistoryOfUnknown => "chat.history",
            Self::Log => "logs.tail",
            Self::Sessions | Self::List => "sessions.list",
        }
    }
}

/// The look-ups under way, in order, so that the same history always tells the same.
#[derive(Debug, Default)]
pub(super) struct LookUps(BTreeMap<CallToken, LookUp>);

impl LookUps {
    /// Begins one. What is found out is told to `runs` too.
    pub(super) fn begin(
        &mut self,
        turn: &mut Turn<'_>,
        active: &mut ActiveConnection,
        runs: &mut RunTracker,
        call: CallToken,
        wanted: LookUpRun,
    ) {
        let LookUpRun { run_id, session_key, timeout } = wanted;
        // Whose acceptance was lost has no session on record, though it was sent with one.
        let session_key = session_key.or_else(|| runs.session_of(&run_id));
        let deadline = turn.moment.now + timeout.min(MAX_CALL);
        let params = json!({ "runId": run_id, "timeoutMs": WAIT_MS });
        let step = LookUpStep::Wait;
        self.0.insert(
            call,
            LookUp {
                run_id,
                session_key,
                deadline,
                step,
                reads_as_ended_well: false,
                rows_tell: RunFinding::NotKnown,
                ended_at_ms: None,
            },
        );
        let waits = match active.capabilities.form() {
            HelloForm::Release => active.capabilities.may_have(Method::AgentWait),
            _ => active.capabilities.support(Method::AgentWait) == Support::Yes,
        };
        if active.dialect == Dialect::Http {
            self.ask(turn, active, runs, call, LookUpStep::List, &json!({}));
        } else if waits {
            self.ask(turn, active, runs, call, LookUpStep::Wait, &params);
        } else {
            self.look_at_rows(turn, active, runs, call);
        }
    }

    fn ask(
        &mut self,
        turn: &mut Turn<'_>,
        active: &mut ActiveConnection,
        runs: &mut RunTracker,
        call: CallToken,
        step: LookUpStep,
        params: &Value,
    ) {
        let Some(look_up) = self.0.get_mut(&call) else { return };
        look_up.step = step;
        let timeout = look_up.deadline.saturating_duration_since(turn.moment.now);
        if let Err(failure) = active.request(turn, step.method(), params, timeout, PendingKind::LookUp(call)) {
            self.found(turn, runs, call, Err(failure));
        }
    }

    /// The last words of the session tell whether the run failed.
    fn ask_history(
        &mut self,
        turn: &mut Turn<'_>,
        active: &mut ActiveConnection,
        runs: &mut RunTracker,
        call: CallToken,
        step: LookUpStep,
        session_key: &str,
    ) {
        self.ask(turn, active, runs, call, step, &json!({ "sessionKey": session_key, "limit": 4 }));
    }

    /// The gateway answered a step of a look-up.
    pub(super) fn answered(
        &mut self,
        turn: &mut Turn<'_>,
        active: &mut ActiveConnection,
        runs: &mut RunTracker,
        call: CallToken,
        outcome: Outcome,
    ) {
        let Some(look_up) = self.0.get_mut(&call) else { return };
        let (step, key) = (look_up.step, look_up.session_key.clone());
        let named = outcome.as_ref().ok().filter(|_| step == LookUpStep::Wait).and_then(run_words::run_id);
        if named.is_some_and(|named| named != look_up.run_id) {
            // The end of another run tells nothing of this one's.
            return self.look_at_rows(turn, active, runs, call);
        }
        look_up.ended_at_ms = match (step, &outcome) {
            (LookUpStep::Wait, Ok(payload)) => payload.get("endedAt").and_then(Value::as_i64),
            (LookUpStep::Log, Ok(log)) => key.as_ref().and_then(|key| run_words::failure_in_log(log, key)?.1),
            _ => look_up.ended_at_ms,
        };
        let may_hide_failure = active.capabilities.has(Quirk::FailedChatReadsAsFinal);
        match (step, outcome) {
            (LookUpStep::Wait, Ok(payload)) => match (run_words::read_wait(&payload), key) {
                (Some(RunStage::Completed { .. }), Some(key)) if may_hide_failure => {
                    self.ask_history(turn, active, runs, call, LookUpStep::HistoryOfEnded, &key);
                }
                // Only the list of sessions tells which one is the run's own.
                (Some(RunStage::Completed { .. }), None) if may_hide_failure => {
                    look_up.reads_as_ended_well = true;
                    self.look_at_rows(turn, active, runs, call);
                }
                (Some(stage), _) => self.found(turn, runs, call, Ok(RunFinding::Ended(stage))),
                (None, _) => self.look_at_rows(turn, active, runs, call),
            },
            (LookUpStep::Wait, Err(_)) => self.look_at_rows(turn, active, runs, call),
            (LookUpStep::HistoryOfEnded | LookUpStep::HistoryOfUnknown, outcome) => {
                // A run that goes on may try again, and in another session it may have been another's try.
                let is_its_last = step == LookUpStep::HistoryOfEnded
                    && key.as_ref().is_some_and(|key| is_own_session(key, &look_up.run_id));
                let failed = outcome.ok().and_then(|history| {
                    let failed_try = || run_words::failed_try_in_history(&history).filter(|_| is_its_last);
                    run_words::failure_in_history(&history).or_else(failed_try)
                });
                if failed.is_none()
                    && step == LookUpStep::HistoryOfUnknown
                    && active.capabilities.has(Quirk::RowsHaveNoStatus)
                {
                    let params = json!({ "limit": LOG_LINES, "maxBytes": LOG_BYTES });
                    return self.ask(turn, active, runs, call, LookUpStep::Log, &params);
                }
                let otherwise = match step {
                    LookUpStep::HistoryOfEnded => RunFinding::Ended(RunStage::Completed { result: Value::Null }),
                    _ => look_up.rows_tell.clone(),
                };
                self.found(turn, runs, call, Ok(failed.map_or(otherwise, RunFinding::Ended)));
            }
            (LookUpStep::Log, outcome) => {
                let failed = key
                    .zip(outcome.ok())
                    .and_then(|(key, log)| run_words::failure_in_log(&log, &key))
                    .map(|found| found.0);
                let otherwise = look_up.rows_tell.clone();
                self.found(turn, runs, call, Ok(failed.map_or(otherwise, RunFinding::Ended)));
            }
            (LookUpStep::List, Ok(document)) => {
                let rules = RowRules { now_ms: turn.moment.wall_ms, ..RowRules::default() };
                let rows = read_sessions(&document, rules).map(|page| page.rows).unwrap_or_default();
                let finding = find(rows.iter(), &look_up.run_id, key.as_deref(), false);
                self.found(turn, runs, call, Ok(finding));
            }
            (LookUpStep::List, Err(no_answer)) => {
                self.found(turn, runs, call, Err(no_answer.failure(turn.peer, "sessions.list")));
            }
            (LookUpStep::Sessions, _) => {}
        }
    }

    /// The session's row tells, once the list is read.
    fn look_at_rows(
        &mut self,
        turn: &mut Turn<'_>,
        active: &mut ActiveConnection,
        runs: &mut RunTracker,
        call: CallToken,
    ) {
        let Some(look_up) = self.0.get_mut(&call) else { return };
        if !active.knows_sessions() {
            look_up.step = LookUpStep::Sessions;
            return;
        }
        let rows = active.sessions.newest_first();
        if look_up.session_key.is_none() {
            let own = rows.iter().find(|row| is_own_session(&row.key, &look_up.run_id));
            look_up.session_key = own.map(|row| row.key.clone());
        }
        let key = look_up.session_key.clone();
        if look_up.reads_as_ended_well {
            return match key {
                Some(key) => self.ask_history(turn, active, runs, call, LookUpStep::HistoryOfEnded, &key),
                None => {
                    self.found(turn, runs, call, Ok(RunFinding::Ended(RunStage::Completed { result: Value::Null })))
                }
            };
        }
        let finding = find(rows.into_iter().map(|row| &**row), &look_up.run_id, key.as_deref(), false);
        let is_told = match finding {
            RunFinding::NotKnown => false,
            RunFinding::Running => !active.capabilities.has(Quirk::RowsHaveNoStatus),
            RunFinding::Ended(_) => true,
        };
        look_up.rows_tell = finding.clone();
        if finding == RunFinding::NotKnown {
            // What told of the run may have been missed: the next question finds a list that is younger than this one.
            active.want_sessions_by(turn.moment.now + SOON);
        }
        match key.filter(|key| is_own_session(key, &look_up.run_id)) {
            Some(own) if !is_told && active.capabilities.has(Quirk::FailedChatReadsAsFinal) => {
                self.ask_history(turn, active, runs, call, LookUpStep::HistoryOfUnknown, &own);
            }
            _ => self.found(turn, runs, call, Ok(finding)),
        }
    }

    /// The list of sessions has been read: who waited for it looks now.
    pub(super) fn after_list(&mut self, turn: &mut Turn<'_>, active: &mut ActiveConnection, runs: &mut RunTracker) {
        for call in self.waiting_for_list(|_| true) {
            self.look_at_rows(turn, active, runs, call);
        }
    }

    /// Look-ups that waited for a list that didn't come.
    pub(super) fn on_deadline(&mut self, turn: &mut Turn<'_>, runs: &mut RunTracker) {
        let now = turn.moment.now;
        for call in self.waiting_for_list(|look_up| now >= look_up.deadline) {
            self.found(turn, runs, call, Ok(RunFinding::NotKnown));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|look_up| look_up.step == LookUpStep::Sessions);
        waiting.map(|look_up| look_up.deadline).min()
    }

    /// The connection is gone: whoever waits is told so, for a reply or for a list.
    pub(super) fn connection_lost(&mut self, turn: &mut Turn<'_>, runs: &mut RunTracker) {
        let calls: Vec<CallToken> = self.0.keys().copied().collect();
        for call in calls {
            let failure = turn.peer.connection_ended();
            self.found(turn, runs, call, Err(failure));
        }
    }

    fn waiting_for_list(&self, which: impl Fn(&LookUp) -> bool) -> Vec<CallToken> {
        let waiting = self.0.iter().filter(|(_, look_up)| look_up.step == LookUpStep::Sessions && which(look_up));
        waiting.map(|(call, _)| *call).collect()
    }

    /// Answers a look-up. A run that goes on is followed from here; one that has ended has been told of.
    pub(super) fn found(
        &mut self,
        turn: &mut Turn<'_>,
        runs: &mut RunTracker,
        call: CallToken,
        result: Result<RunFinding, Failure>,
    ) {
        let Some(LookUp { run_id, session_key, deadline, ended_at_ms, .. }) = self.0.remove(&call) else { return };
        match &result {
            Ok(RunFinding::Running) => {
                runs.follow(&run_id, session_key.as_deref());
                runs.accepted(&run_id, true, false);
            }
            Ok(RunFinding::Ended(_)) => runs.settle(&run_id, session_key.as_deref(), deadline),
            _ => {}
        }
        turn.push(Effect::AnswerFinding(call, result.map(|finding| LookedUp { finding, session_key, ended_at_ms })));
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
    let stage = match (row.status, row.run_end) {
        (Some(SessionStatus::Active | SessionStatus::Paused), _) => return RunFinding::Running,
        (Some(SessionStatus::Completed), Some(RunEnd::Done)) => RunStage::Completed { result: Value::Null },
        (Some(SessionStatus::Completed), Some(RunEnd::Failed)) => RunStage::Failed {
            error: row.run_error.clone().unwrap_or_else(|| "the session says only that it failed".to_owned()),
            result: Value::Null,
        },
        (Some(SessionStatus::Completed), Some(RunEnd::Killed)) => {
            RunStage::Killed { reason: "the session says that it was killed".to_owned() }
        }
        (Some(SessionStatus::Completed) | None, _) => return RunFinding::NotKnown,
    };
    RunFinding::Ended(stage)
}
