//! How turns and processes are stopped and ended: on request, in time, or because the agent did.

use std::time::Instant;

use gatewarden_processes::{Ended, Order};
use serde_json::json;

use super::{ANSWER_WITHIN, Cancelled, Conversation, Stage, Step, wire};
use crate::effect::{ProcessNews, ProcessSignal};

impl Conversation {
    pub(in crate::acp) fn signal(&mut self, signal: ProcessSignal, now: Instant) {
        let running = self.turn.is_some() && self.stage != Stage::Ending;
        match signal {
            _ if self.turn.is_none() => {
                let failed = Some("the run has ended".to_owned());
                self.tell(ProcessNews::Signalled { signal, failed });
            }
            ProcessSignal::Pause => {
                self.paused = true;
                self.steps.push(Step::Order(Order::Pause));
            }
            ProcessSignal::Resume => {
                self.paused = false;
                self.steps.push(Step::Order(Order::Resume));
            }
            ProcessSignal::Terminate => {
                self.tell(ProcessNews::Signalled { signal, failed: None });
                if running {
                    self.cancel(Cancelled::OnRequest, now);
                }
            }
        }
    }

    fn cancel(&mut self, why: Cancelled, now: Instant) {
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.cancelled.is_none()) else { return };
        let kill_at = now.checked_add(turn.order.kill_grace).unwrap_or(now);
        turn.cancelled = Some((why, kill_at));
        if std::mem::take(&mut self.paused) {
            self.steps.push(Step::Order(Order::Resume));
        }
        if self.stage == Stage::Prompting {
            self.write(wire::notification("session/cancel", &json!({"sessionId": self.id})));
            for (id, _) in std::mem::take(&mut self.questions).into_values() {
                self.permit(&id, None);
            }
        } else {
            self.stop();
        }
    }

    /// A signal was delivered, or could not be.
    pub(in crate::acp) fn ordered(&mut self, order: Order, outcome: Result<(), String>) {
        let signal = match order {
            Order::Pause => ProcessSignal::Pause,
            Order::Resume => ProcessSignal::Resume,
            // Told when it was asked for.
            Order::Terminate | Order::Kill => return,
        };
        let wanted = self.turn.as_ref().is_some_and(|turn| turn.cancelled.is_none());
        if wanted {
            self.tell(ProcessNews::Signalled { signal, failed: outcome.err() });
        }
    }

    pub(in crate::acp) fn on_time(&mut self, now: Instant) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let turn = self.turn.as_ref();
        if is_due(self.rests_since.and_then(|since| since.checked_add(self.acp.idle_timeout))) {
            self.steps.push(Step::Rest);
            // Asked again later, where somebody has just given it a prompt.
            self.rests_since = Some(now);
        } else if is_due(self.asked.and_then(|(_, until)| until)) {
            let what = match self.stage {
                Stage::Initializing => "initialize",
                Stage::Opening(how) => how.unwrap_or("session/new"),
                _ => "the choice of its model or thinking level",
            };
            let cure = if self.stage == Stage::Initializing {
                format!(": is it an ACP agent? Check program and args of {}", self.entry())
            } else {
                String::new()
            };
            self.end(format!("did not answer {what} within {} s{cure}", ANSWER_WITHIN.as_secs()));
        } else if is_due(turn.and_then(|turn| turn.cancelled).map(|(_, kill_at)| kill_at))
            && self.stage == Stage::Prompting
        {
            self.stop();
        } else if is_due(turn.filter(|turn| turn.cancelled.is_none()).and_then(|turn| turn.timeout_at)) {
            self.cancel(Cancelled::OutOfTime, now);
        }
    }

    /// The process is gone. Whether that was a failure of the agent, whichever session asks it: it couldn't be spoken to.
    pub(in crate::acp) fn ended(&mut self, ended: Ended, now: Instant) -> bool {
        let asked_for = self.stage == Stage::Ending && self.fault.is_none();
        self.stage = Stage::Ending;
        (self.asked, self.rests_since) = (None, None);
        let Some(turn) = self.turn.take() else { return false };
        let words = self.last_words.take().map_or_else(String::new, |words| format!(": {}", words.trim()));
        match (turn.cancelled, self.fault.take()) {
            (Some((Cancelled::OnRequest, _)), _) => {}
            (Some((Cancelled::OutOfTime, _)), _) => self.fail(&self.out_of_time(&turn)),
            (None, Some(did)) => self.fail(&format!("{did}{words}")),
            (None, None) => {
                let how = match (ended.code, ended.signal) {
                    (Some(code), _) => format!("exit code {code}"),
                    (None, Some(signal)) => format!("signal {signal}"),
                    (None, None) => "no exit code".to_owned(),
                };
                let did = if self.id.is_none() {
                    format!(
                        "ended before it could be spoken to ({how}; check program and args of {}){words}",
                        self.entry()
                    )
                } else {
                    format!("ended in the midst of its work ({how}){words}")
                };
                self.fail(&did);
            }
        }
        self.exited(&turn, (ended.code, ended.signal, ended.left_behind), now);
        !asked_for && turn.cancelled.is_none() && !self.speaks
    }

    /// It isn't told anything any more: the gateway is stopping, or something else needs its place.
    pub(in crate::acp) fn stop(&mut self) {
        self.stage = Stage::Ending;
        self.asked = None;
        self.rests_since = None;
        self.steps.push(Step::Order(Order::Terminate));
    }

    /// It did what no agent may do, or nothing: its process is ended, and the run fails with that.
    pub(in crate::acp) fn end(&mut self, did: String) {
        if self.stage != Stage::Ending {
            self.fault = Some(did);
            self.stop();
        }
    }
}
