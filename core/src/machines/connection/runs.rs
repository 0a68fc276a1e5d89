//! What becomes of runs: who asks of them is answered, what gateways say of them is told, and sessions are paused and killed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gatewarden_protocol::capabilities::{Kill, PauseResume, RunKind};
use gatewarden_protocol::hello::HelloForm;
use gatewarden_protocol::{Dialect, Event, Quirk, Settled, WireError};
use serde_json::{Value, json};

use super::active::{ActiveConnection, ready};
use super::look_ups::{LookUps, find};
use super::run_starts::StartingRun;
use super::run_tracker::RunTracker;
use super::run_words::{self, Confidence};
use super::turn::{CallToken, MAX_CALL, NoAnswer, Outcome, PendingKind, Turn};
use super::{Effect, GatewayNotice};
use crate::error::Failure;
use crate::spawn::{Certainty, ControlSession, LookUpRun, NotAccepted, RunFinding, RunNotice, RunStage, SessionAction};

/// Between looks at the list of sessions while runs are open that only the list tells of.
const LIST_EVERY: Duration = Duration::from_secs(15);

/// All about runs that outlives a connection, and what is asked over the present one.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) tracker: RunTracker,
    /// Runs whose acceptance is awaited.
    pub(super) starting: HashMap<CallToken, StartingRun>,
    look_ups: LookUps,
    /// Kills under way and the sessions that they are for.
    kills: HashMap<CallToken, String>,
}

impl Runs {
    /// Somebody wants to know what became of a run.
    pub(super) fn look_up(
        &mut self,
        turn: &mut Turn<'_>,
        active: Option<&mut ActiveConnection>,
        call: CallToken,
        wanted: LookUpRun,
    ) {
        match ready(turn, active) {
            Ok(active) => self.look_ups.begin(turn, active, &mut self.tracker, call, wanted),
            Err(failure) => turn.push(Effect::AnswerFinding(call, Err(failure))),
        }
    }

    /// What came of a request for a run, a look-up or a kill.
    pub(super) fn answered(
        &mut self,
        turn: &mut Turn<'_>,
        active: &mut ActiveConnection,
        Settled { id, method, waiter: kind }: Settled<PendingKind>,
        outcome: Outcome,
    ) {
        match (kind, outcome) {
            (kind, Err(NoAnswer::Lost(failure, certainty))) => self.unanswered(turn, kind, failure, certainty),
            (PendingKind::Preparation(call, true), Err(no_answer)) => {
                self.not_taken(turn, call, no_answer.failure(turn.peer, &method));
            }
            // A label is only for people.
            (PendingKind::Preparation(call, _), _) => self.go_on_starting(turn, active, call),
            (PendingKind::Run(call), Ok(payload)) => self.taken(turn, active, call, id, payload),
            (PendingKind::Run(call), Err(no_answer)) => self.refused(turn, call, no_answer),
            (PendingKind::LookUp(call), outcome) => {
                self.look_ups.answered(turn, active, &mut self.tracker, call, outcome);
            }
            (PendingKind::Kill(call), outcome) => self.kill_answered(turn, call, &method, outcome),
            _ => {}
        }
    }

    /// No answer came, or will come. What was never sent was never taken.
    pub(super) fn unanswered(
        &mut self,
        turn: &mut Turn<'_>,
        kind: PendingKind,
        failure: Failure,
        certainty: Certainty,
    ) {
        match kind {
            PendingKind::Run(call) | PendingKind::Preparation(call, _) => match self.starting.get(&call) {
                Some(starting) if starting.sent && certainty == Certainty::Unknown => {
                    self.starting.remove(&call);
                    turn.push(Effect::AnswerRun(call, Box::new(Err(NotAccepted { failure, certainty }))));
                }
                Some(_) => self.not_taken(turn, call, failure),
                None => {}
            },
            PendingKind::LookUp(call) => self.look_ups.found(turn, &mut self.tracker, call, Err(failure)),
            PendingKind::Caller(call) | PendingKind::Kill(call) => {
                self.kills.remove(&call);
                turn.push(Effect::Answer(call, Err(failure)));
            }
            // Their own machines see the end of the connection.
            _ => {}
        }
    }

    /// Somebody wants a session paused, resumed or killed, by what the gateway can do.
    pub(super) fn control(
        &mut self,
        turn: &mut Turn<'_>,
        active: Option<&mut ActiveConnection>,
        call: CallToken,
        ControlSession { session_key, action, timeout }: ControlSession,
    ) {
        let sent = ready(turn, active).and_then(|active| {
            let (method, params) = order(active, &session_key, action).map_err(|missing| match action {
                SessionAction::Kill => turn.peer.not_supported(missing),
                SessionAction::Pause | SessionAction::Resume => turn.peer.cannot_pause(missing),
            })?;
            if action == SessionAction::Kill {
                // An end that comes before the answer is the kill's all the same.
                self.tracker.kill_asked(&session_key, turn.moment.now);
            }
            let aborts = method != "control";
            let kind = if aborts { PendingKind::Kill(call) } else { PendingKind::Caller(call) };
            active.request(turn, method, &params, timeout.min(MAX_CALL), kind)?;
            if aborts {
                self.kills.insert(call, session_key);
            }
            Ok(())
        });
        if let Err(failure) = sent {
            turn.push(Effect::Answer(call, Err(failure)));
        }
    }

    /// What the gateway said to an abort: passed on as it is, with a note where there was nothing to end.
    fn kill_answered(&mut self, turn: &mut Turn<'_>, call: CallToken, method: &str, outcome: Outcome) {
        let session_key = self.kills.remove(&call).unwrap_or_default();
        let result = outcome.map_err(|no_answer| no_answer.failure(turn.peer, method)).map(|mut payload| {
            if found_nothing(&payload) {
                self.tracker.kill_found_nothing(&session_key);
                if let Some(fields) = payload.as_object_mut() {
                    fields.insert("note".to_owned(), "nothing was running".into());
                }
            } else {
                self.tracker.kill_confirmed(&session_key, &aborted_runs(&payload), turn.moment.now);
            }
            payload
        });
        turn.push(Effect::Answer(call, result));
    }

    /// The second reply to a request that started a run.
    pub(super) fn second_reply(&mut self, turn: &mut Turn<'_>, run_id: String, outcome: Result<Value, WireError>) {
        if outcome.as_ref().is_ok_and(|payload| self.tracker.names_another(&run_id, payload)) {
            return turn.push(Effect::Remark("ignored a reply: one that tells of another run".to_owned()));
        }
        self.ended(turn, run_id, run_words::read_outcome(outcome));
    }

    /// An event that may be about a run of ours.
    pub(super) fn event(&mut self, turn: &mut Turn<'_>, active: &ActiveConnection, event: &Event) {
        if self.tracker.has_open()
            && let Some((said, confidence)) =
                run_words::read_event(event, active.capabilities.has(Quirk::FailedChatReadsAsFinal))
        {
            tell(turn, self.tracker.on_notice(said, confidence, turn.moment.now));
        }
    }

    /// A `spawn_result` after the first one.
    pub(super) fn spawn_moved_on(&mut self, turn: &mut Turn<'_>, run_id: &str, payload: &Value) {
        let (session_key, stage) = (run_words::session_key(payload), run_words::read_spawn_result(payload));
        let said = RunNotice { run_id: run_id.to_owned(), session_key, stage };
        tell(turn, self.tracker.on_notice(said, Confidence::Certain, turn.moment.now));
    }

    /// A run ended so, and nothing better will be heard of it.
    pub(super) fn ended(&mut self, turn: &mut Turn<'_>, run_id: String, stage: RunStage) {
        let said = RunNotice { run_id, session_key: None, stage };
        tell(turn, self.tracker.on_notice(said, Confidence::Certain, turn.moment.now));
    }

    /// The list of sessions has been read: who waited for it looks now, and over HTTP it is all that tells of runs.
    pub(super) fn after_list(&mut self, turn: &mut Turn<'_>, active: &mut ActiveConnection) {
        self.look_ups.after_list(turn, active, &mut self.tracker);
        if active.dialect != Dialect::Http {
            return;
        }
        let rows = active.sessions.newest_first();
        let ends: Vec<(String, RunStage)> = self
            .tracker
            .open_runs()
            .filter_map(|(run_id, key, own)| match find(rows.iter().map(|row| &***row), run_id, key, own) {
                RunFinding::Ended(stage) => Some((run_id.to_owned(), stage)),
                RunFinding::Running | RunFinding::NotKnown => None,
            })
            .collect();
        for (run_id, stage) in ends {
            self.ended(turn, run_id, stage);
        }
        if self.tracker.has_open() {
            active.want_sessions_by(turn.moment.now + LIST_EVERY);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.starting.len() + self.kills.len() + self.look_ups.len() + self.tracker.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.tracker.next_deadline(), self.look_ups.next_deadline()].into_iter().flatten().min()
    }

    /// Look-ups that waited in vain, and ends that nothing bettered in time.
    pub(super) fn on_deadline(&mut self, turn: &mut Turn<'_>) {
        self.look_ups.on_deadline(turn, &mut self.tracker);
        for notice in self.tracker.on_deadline(turn.moment.now) {
            tell(turn, Some(notice));
        }
    }

    pub(super) fn connection_lost(&mut self, turn: &mut Turn<'_>) {
        self.look_ups.connection_lost(turn, &mut self.tracker);
        self.tracker.connection_lost();
    }
}

fn tell(turn: &mut Turn<'_>, notice: Option<RunNotice>) {
    if let Some(notice) = notice {
        turn.notify(GatewayNotice::Run(notice));
    }
}

/// How an action is asked for, or the method that the gateway lacks for it.
fn order(
    active: &ActiveConnection,
    session_key: &str,
    action: SessionAction,
) -> Result<(&'static str, Value), &'static str> {
    let capabilities = &active.capabilities;
    let control = || Ok(("control", json!({ "sessionKey": session_key, "action": action.as_str() })));
    match action {
        SessionAction::Pause | SessionAction::Resume => match capabilities.pause_resume() {
            PauseResume::Control | PauseResume::Http => control(),
            PauseResume::Impossible => Err("control"),
        },
        // Runs of ours are started so that they can be killed; what others started is worth the try.
        SessionAction::Kill => match capabilities.kill(RunKind::Unknown) {
            Kill::SessionsAbort => Ok(("sessions.abort", json!({ "key": session_key }))),
            Kill::ChatAbort => Ok(("chat.abort", json!({ "sessionKey": session_key }))),
            Kill::Control | Kill::Http => control(),
            Kill::Impossible if capabilities.form() == HelloForm::Release => Err("sessions.abort"),
            Kill::Impossible => Err("control"),
        },
    }
}

/// `aborted: false`, or `status: "no-active-run"`.
fn found_nothing(payload: &Value) -> bool {
    payload.get("aborted").and_then(Value::as_bool) == Some(false)
        || payload.get("status").and_then(Value::as_str) == Some("no-active-run")
}

/// The runs that an abort names. None where it ended something that had no id yet.
fn aborted_runs(payload: &Value) -> Vec<String> {
    let one = payload.get("abortedRunId").and_then(Value::as_str).map(str::to_owned);
    let several = payload.get("runIds").and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(several.filter_map(Value::as_str).map(str::to_owned)).collect()
}
