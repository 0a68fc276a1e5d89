//! Runs that are stopped, let go on, ended or waited for on request.

use std::time::Duration;

use serde_json::{Value, json};

use super::run::{ControlAction, Controlled, End, Ending, Run, RunState, Waiter};
use super::{Parts, Runs, WAITERS, replies};
use crate::call::ReplyTo;
use crate::call::{Answer, CallError, Outcome};
use crate::effect::{Effect, ProcessSignal, RunId};
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
            let end = End {
                how: Ending::Killed(reason.to_owned()),
                at: turn.now.wall_ms,
                exit_code: None,
                signal: None,
                duration_ms: None,
                strays: 0,
            };
            self.finish(id, end, parts, turn);
        }
        wanted
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
                    "action": action.as_str(),
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
    let mut reply = json!({
        "ok": true,
        "sessionKey": run.session_key,
        "action": action.as_str(),
        "status": run.state.as_str(),
        "runIds": [run.id.0],
        "runId": run.id.0,
        "pid": run.pid,
    });
    if let Some(fields) = reply.as_object_mut().filter(|_| action == ControlAction::Kill) {
        fields.insert("aborted".into(), true.into());
        if run.state.end().is_none() {
            fields.insert("status".into(), "ending".into());
        }
    }
    reply
}
