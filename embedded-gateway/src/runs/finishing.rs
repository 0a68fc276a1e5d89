//! How a run ends: everybody who waits is answered, the session gets the answer, the next message its turn.

use serde_json::json;

use super::events::Herald;
use super::run::{Asked, End, Ending, RunState};
use super::{Parts, Runs, log, replies, steering, tell_agent_status};
use crate::call::CallError;
use crate::effect::{LogLevel, RunId};
use crate::sessions::{NewMessage, Role, RunEnd};
use crate::turn::Turn;

impl Runs {
    pub(super) fn finish(&mut self, id: &RunId, end: End, parts: &mut Parts<'_>, turn: &mut Turn<'_>) {
        let Some(run) = self.by_id.get_mut(id) else { return };
        let herald = Herald::new(parts.subscribers, turn);
        if let Some(piece) = run.answer.rest(turn.now.at) {
            herald.piece(run, &piece, turn);
        }
        let ran = run.started_at.is_some();
        let how = end.how.clone();
        run.state = RunState::Ended(end);
        run.order = None;

        let key = run.session_key.clone();
        // A session that was begun anew meanwhile has nothing to do with it.
        let same = parts.sessions.get(&key).is_some_and(|session| session.session_id == run.session_id);
        if same && !run.answer.text().is_empty() {
            let message = NewMessage {
                role: Role::Assistant,
                text: run.answer.text().to_owned(),
                run: Some(id.clone()),
                usage: run.usage,
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
                _ => Ok(replies::spawn_result(run, reply.request.as_deref().unwrap_or(&id.0))),
            };
            turn.respond(&reply, outcome);
        }
        herald.ended(run, turn);

        for control in std::mem::take(&mut run.controls) {
            let outcome = match (control.action, &how) {
                (super::ControlAction::Kill, _) => Ok(steering::controlled(run, control.action)),
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
        self.start_next(&key, turn);
    }
}
