//! Runs that are stopped, let go on or waited for on request; and how a run ends: everybody who waits is answered, the session
//! gets the answer, the next message its turn.

use std::time::Duration;

use serde_json::{Value, json};

use super::events::EventEmitter;
use super::run::{Asked, ControlAction, Controlled, End, Ending, Run, RunState, Waiter};
use super::{Parts, Runs, WAITERS, log, replies, tell_agent_status};
use crate::call::{Answer, CallError, Outcome, ReplyTo};
use crate::effect::{Effect, LogLevel, ProcessSignal, RunId};
use crate::payload::joined_if;
use crate::sessions::{NewMessage, Role, RunEnd};
use crate::turn::Turn;

const CONTROLS: usize = 32;

impl Runs {
    /// Ends the run of a session and those that wait in it, or only the one that is named. Returns which: those that wait
    /// end at once, the one with a process when its process group is gone. `reason` is told as `stopReason` (`rpc` for a
    /// caller's wish).
    pub(crate) fn abort(
        &mut self,
        key: &str,
        only: Option<&RunId>,
        reason: &str,
        parts: &mut Parts<'_>,
        turn: &mut Turn<'_>,
    ) -> Vec<RunId> {
        let wanted: Vec<RunId> = self
            .of_session(key)
            .into_iter()
            .map(|run| run.id.clone())
            .filter(|id| only.is_none_or(|only| only == id))
            .collect();
        // Those that wait first, so that none of them is started by the end of the one before it.
        for id in wanted.iter().rev() {
            let Some(run) = self.by_id.get_mut(id) else { continue };
            run.kill_asked.get_or_insert_with(|| reason.to_owned());
            if run.state != RunState::Queued {
                turn.push(Effect::Signal { run: id.clone(), signal: ProcessSignal::Terminate });
                continue;
            }
            let bytes = run.order.as_ref().and_then(|order| order.stdin.as_ref()).map_or(0, String::len);
            self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
            let end = End::without_process(Ending::Killed(reason.to_owned()), turn.now.wall_ms);
            self.finish(id, end, parts, turn);
        }
        wanted
    }

    pub(super) fn finish(&mut self, id: &RunId, end: End, parts: &mut Parts<'_>, turn: &mut Turn<'_>) {
        let Some(run) = self.by_id.get_mut(id) else { return };
        let emitter = EventEmitter::new(parts.subscribers, turn);
        if let Some(piece) = run.answer.rest(turn.now.at) {
            emitter.piece(run, &piece, turn);
        }
        self.approvals.forget(id, parts.subscribers, turn);
        let ran = run.started_at.is_some();
        let how = end.how.clone();
        run.state = RunState::Ended(end);
        self.ended.push(id.clone());
        run.order = None;

        let key = run.session_key.clone();
        // A session that was begun anew meanwhile has nothing to do with it.
        let same = parts.sessions.get(&key).is_some_and(|session| session.session_id == run.session_id);
        if same && !run.answer.text().is_empty() {
            let message = NewMessage {
                role: Role::Assistant,
                text: run.answer.text().to_owned(),
                run: Some(id.clone()),
                model: run.model.clone(),
                usage: run.usage,
                stop_reason: match &how {
                    Ending::Completed => None,
                    Ending::Failed(_) => Some("error"),
                    Ending::Killed(_) => Some("aborted"),
                },
            };
            parts.sessions.append(&key, message, parts.subscribers, turn);
        }
        if same && !ran && matches!(how, Ending::Failed(_)) {
            // Its row shall tell of the failure, too.
            parts.sessions.begin_run(&key, id, parts.subscribers, turn);
        }
        let row_end = match &how {
            Ending::Completed => RunEnd::Done,
            Ending::Failed(error) => RunEnd::Failed(error.clone()),
            Ending::Killed(_) => RunEnd::Killed,
        };
        parts.sessions.end_run(&key, id, row_end, parts.subscribers, turn);
        // A spawn that never ran is refused before anybody hears that it failed: who asked may take it elsewhere.
        let owed = std::mem::take(&mut run.replies);
        let (spawns, others) = if run.asked == Asked::Spawn { (owed, Vec::new()) } else { (Vec::new(), owed) };
        for reply in spawns {
            let outcome = match &how {
                Ending::Failed(error) => {
                    let details = json!({"code": "SPAWN_FAILED", "runId": id.0});
                    Err(CallError::unavailable(error.clone()).with_details(details))
                }
                _ => Ok(replies::spawn_result_for(run, &reply)),
            };
            turn.respond(&reply, outcome);
        }
        emitter.ended(run, turn);

        for control in std::mem::take(&mut run.controls) {
            let outcome = match (control.action, &how) {
                (ControlAction::Kill, _) => Ok(controlled(run, control.action)),
                (action, _) => Err(CallError::unavailable(format!(
                    "{} of session {key} failed: its run has ended",
                    action.as_str()
                ))),
            };
            turn.respond(&control.reply, outcome);
        }
        for reply in others {
            turn.respond(&reply, replies::outcome(run));
        }
        for waiter in std::mem::take(&mut run.waiters) {
            turn.respond(&waiter.reply, Ok(replies::waited(run)));
        }
        let (level, said) = match &how {
            Ending::Completed => (LogLevel::Info, "completed".to_owned()),
            Ending::Failed(error) => (LogLevel::Warn, format!("failed: {error}")),
            Ending::Killed(reason) => (LogLevel::Info, format!("was killed on request ({reason})")),
        };
        if ran || !matches!(how, Ending::Failed(_)) {
            log(run, level, format!("run {} {said}", id.0), run.to_value(), turn);
        }
        let (status, activity) = match &how {
            Ending::Completed => ("idle", "Completed".to_owned()),
            Ending::Failed(error) => ("error", error.clone()),
            Ending::Killed(reason) => ("idle", format!("Killed on request ({reason})")),
        };
        let agent = run.agent_id.clone();
        if let Some(lane) = self.lanes.get_mut(&key) {
            if lane.active.as_ref() == Some(id) {
                lane.active = None;
            }
            lane.queue.retain(|queued| queued != id);
        }
        let busy = self.under_way().any(|other| other.agent_id == agent && other.state.has_process());
        if let Some(run) = self.by_id.get(id) {
            tell_agent_status(run, if busy { "busy" } else { status }, &activity, parts, turn);
        }
        self.remember(id.clone(), parts.config.limits.finished_runs);
        self.start_next(&key, parts, turn);
    }

    /// The gateway is stopping: everything ends. The processes themselves are ended by their launcher.
    pub(crate) fn stop(&mut self, parts: &mut Parts<'_>, turn: &mut Turn<'_>) {
        let keys: Vec<String> = self.lanes.keys().cloned().collect();
        for key in keys {
            self.abort(&key, None, "shutdown", parts, turn);
        }
    }

    /// `control`: answered when the signal was delivered to the process group.
    pub(crate) fn control(
        &mut self,
        key: &str,
        action: ControlAction,
        reply: &ReplyTo,
        parts: &mut Parts<'_>,
        turn: &mut Turn<'_>,
    ) -> Outcome {
        let active = self.lanes.get(key).and_then(|lane| lane.active.clone());
        let Some(run) = active.and_then(|id| self.by_id.get_mut(&id)) else {
            if action == ControlAction::Kill {
                return Ok(json!({
                    "ok": true,
                    "sessionKey": key,
                    "action": action,
                    "status": "no-active-run",
                    "aborted": false,
                    "runIds": [],
                })
                .into());
            }
            return Err(CallError::invalid(format!("session {key} has no run to {}", action.as_str()))
                .with_details(json!({"code": "NO_ACTIVE_RUN"})));
        };
        match (action, &run.state) {
            (ControlAction::Pause, RunState::Paused) | (ControlAction::Resume, RunState::Running) => {
                return Ok(controlled(run, action).into());
            }
            _ if run.kill_asked.is_some() && action != ControlAction::Kill => {
                return Err(CallError::invalid(format!("the run of session {key} is being ended"))
                    .with_details(json!({"code": "RUN_ENDING"})));
            }
            _ if run.controls.len() >= CONTROLS => {
                return Err(
                    CallError::unavailable(format!("too many orders wait for session {key}")).retry_after(1_000)
                );
            }
            _ => {}
        }
        run.controls.push(Controlled { reply: reply.clone(), action });
        let (id, signal) = match action {
            ControlAction::Pause => (run.id.clone(), ProcessSignal::Pause),
            ControlAction::Resume => (run.id.clone(), ProcessSignal::Resume),
            ControlAction::Kill => {
                self.abort(key, None, "rpc", parts, turn);
                return Ok(Answer::Later);
            }
        };
        turn.push(Effect::Signal { run: id, signal });
        Ok(Answer::Later)
    }

    /// `agent.wait`: answered at the end of the run, or when the time is up. A run that isn't known reads as a timeout, as it does at
    /// real gateways.
    pub(crate) fn wait(&mut self, id: &RunId, timeout: Duration, reply: &ReplyTo, turn: &mut Turn<'_>) -> Outcome {
        let full = self.waiters() >= WAITERS;
        let Some(run) = self.by_id.get_mut(id) else { return Ok(replies::still_waiting(&id.0).into()) };
        if run.state.end().is_some() {
            return Ok(replies::waited(run).into());
        }
        let Some(deadline) = turn.now.at.checked_add(timeout).filter(|_| !timeout.is_zero()) else {
            return Ok(replies::still_waiting(&id.0).into());
        };
        if full {
            return Err(CallError::unavailable("too many callers wait for runs already").retry_after(1_000));
        }
        run.waiters.push(Waiter { reply: reply.clone(), deadline });
        Ok(Answer::Later)
    }
}

pub(super) fn controlled(run: &Run, action: ControlAction) -> Value {
    let kills = action == ControlAction::Kill;
    let status = if kills && run.state.end().is_none() { "ending" } else { run.state.as_str() };
    let reply = json!({
        "ok": true,
        "sessionKey": run.session_key,
        "action": action,
        "status": status,
        "runIds": [run.id.0],
        "runId": run.id.0,
        "pid": run.pid,
    });
    joined_if(reply, kills, || json!({"aborted": true}))
}
