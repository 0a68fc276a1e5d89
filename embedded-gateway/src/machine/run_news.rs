//! What the machine does about runs between calls: news of processes, and deadlines.

use std::time::Instant;

use serde_json::Value;

use super::GatewayMachine;
use crate::call::CallError;
use crate::effect::{LogLevel, ProcessNews, RunId};
use crate::methods::send_delivery;
use crate::runs::{Parts, Runs};
use crate::sessions::SessionKey;
use crate::turn::Turn;

impl GatewayMachine {
    pub(crate) fn runs(&mut self) -> (&mut Runs, Parts<'_>) {
        let parts = Parts {
            sessions: &mut self.sessions,
            agents: &self.agents,
            subscribers: &self.subscribers,
            config: &self.config,
        };
        (&mut self.runs, parts)
    }

    pub(crate) fn process_news(&mut self, run: &RunId, news: ProcessNews, turn: &mut Turn<'_>) {
        let (runs, mut parts) = self.runs();
        runs.on_news(run, news, &mut parts, turn);
    }

    /// A webhook was called by somebody who may. Each has a session of its own with its agent.
    pub(crate) fn triggered(
        &mut self,
        webhook: &str,
        agent_id: &str,
        text: String,
        delivery: Option<String>,
        turn: &mut Turn<'_>,
    ) -> Result<Value, CallError> {
        if self.stopping {
            return Err(CallError::unavailable("the gateway is stopping").retry_after(super::STOPPING_RETRY_MS));
        }
        let session = SessionKey::read(&format!("agent:{agent_id}:hook:{webhook}"), agent_id)?;
        let delivery = delivery.map(|delivery| RunId(format!("hook:{webhook}:{delivery}")));
        send_delivery(self, agent_id, session, text, &format!("webhook:{webhook}"), delivery, turn)
    }

    /// Says in the log what a gateway that crashed left running.
    pub(crate) fn report_orphans(&mut self, turn: &mut Turn<'_>) {
        for orphan in &self.orphans {
            turn.log(LogLevel::Warn, "processes", None, orphan.sentence());
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.runs.next_deadline(), self.presence.deadline()].into_iter().flatten().min()
    }

    pub(crate) fn on_time(&mut self, turn: &mut Turn<'_>) {
        let (runs, parts) = self.runs();
        runs.on_time(&parts, turn);
        self.tell_presence(turn);
    }
}
