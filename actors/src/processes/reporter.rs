//! What the actor of a local process tells: its view to the registry, changes as events and log lines, figures to the metrics,
//! outcomes to operators who wait for them. The same for commands and for units.

use std::sync::Arc;
use std::time::Instant;

use gatewarden_api::events::GatewayProcessData;
use serde_json::json;
use tokio::sync::oneshot;

use super::Shared;
use super::messages::{JoinRegistry, LinkSeen, ProcessAction, ProcessAnswer, ProcessNotice};
use super::view::{ProcessState, ProcessView, Verified, findings};
use crate::error::{ErrorCode, Failure};
use crate::gateway_record::{ProcessSource, SharedRecord};
use crate::ids::GatewayId;
use crate::machines::process_verification::{Verdict, Verification};
use crate::registry::messages::ReconnectGateway;

/// Operators who wait for one process at one time.
const MAX_WAITING: usize = 16;

/// What has come of an order.
type Outcome = Result<ProcessAnswer, Failure>;
/// The place for it.
pub(super) type Answer = oneshot::Sender<Outcome>;

struct Waiting {
    action: ProcessAction,
    answer: Answer,
}

/// Reports of one process.
pub(super) struct ProcessReporter {
    shared: Arc<Shared>,
    registry: JoinRegistry,
    pub(super) record: SharedRecord,
    pub(super) view: ProcessView,
    published: Option<ProcessView>,
    link: LinkSeen,
    verification: Option<Verification>,
    waiting: Vec<Waiting>,
}

impl ProcessReporter {
    pub(super) fn new(
        shared: Arc<Shared>,
        registry: JoinRegistry,
        record: SharedRecord,
        source: ProcessSource,
    ) -> Self {
        let view = ProcessView::unknown(source, shared.clock.wall_ms());
        let link = LinkSeen { gateway: record.id, ready_since_ms: None, obstacle: None };
        Self { shared, registry, record, view, published: None, link, verification: None, waiting: Vec::new() }
    }

    pub(super) fn id(&self) -> GatewayId {
        self.record.id
    }

    /// Moves to a state; `since` follows only where it is another one.
    pub(super) fn set_state(&mut self, state: ProcessState) {
        if self.view.state != state {
            self.view.state = state;
            self.view.since_ms = self.shared.clock.wall_ms();
        }
    }

    /// Gives the registry what is to be shown, where that changed, and the metrics their figures.
    pub(super) fn publish(&mut self) {
        if self.published.as_ref() == Some(&self.view) {
            return;
        }
        self.published = Some(self.view.clone());
        self.shared.metrics.publish_process(self.id(), &self.view);
        let notice = ProcessNotice { gateway: self.id(), view: Some(Arc::new(self.view.clone())) };
        // One a change and one a sample.
        self.registry.notices.do_send(notice);
    }

    /// Says that something happened: `change` is a stable word, `message` a sentence.
    pub(super) fn report(&self, change: &'static str, message: &str) {
        let (id, name) = (self.id().0, &self.record.name);
        let (process, pid) = (self.view.source.name(), self.view.pid);
        match change {
            "gave_up" => {
                tracing::error!(gateway.id = id, gateway.name = %name, process, change, "{message}");
            }
            "exited" | "unverified" | "orphan_ended" | "start_failed" | "unknown" => {
                tracing::warn!(gateway.id = id, gateway.name = %name, process, pid, change, "{message}");
            }
            _ => tracing::info!(gateway.id = id, gateway.name = %name, process, pid, change, "{message}"),
        }
        self.shared.events.tell(&GatewayProcessData {
            gateway_id: id,
            gateway: name.clone(),
            kind: self.view.source.kind().to_owned(),
            process: process.to_owned(),
            change: change.to_owned(),
            state: self.view.state.as_str().to_owned(),
            pid,
            restarts: self.view.restarts,
            message: message.to_owned(),
        });
    }

    /// This is done now: those who wait for something that can't come any more are told.
    pub(super) fn take_back_contrary(&mut self, action: ProcessAction) {
        let contrary = |one: &Waiting| (one.action == ProcessAction::Stop) != (action == ProcessAction::Stop);
        let (gone, stay): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(contrary);
        self.waiting = stay;
        for one in gone {
            let words = format!("the {} was taken back by a {}", one.action.as_str(), action.as_str());
            let failure = self.failure(one.action, &[words]);
            let _ = one.answer.send(Err(failure));
        }
    }

    /// Somebody waits for the outcome of an action.
    pub(super) fn wait_for(&mut self, action: ProcessAction, answer: Answer) {
        if self.waiting.len() >= MAX_WAITING {
            let _ = answer.send(Err(Failure::unavailable("process")));
        } else {
            self.waiting.push(Waiting { action, answer });
        }
    }

    /// A start is to be verified from now on.
    pub(super) fn begin_verification(&mut self, now: Instant) {
        let within = self.shared.settings.verify_within;
        self.verification = Some(Verification::begin(now, within, self.link.ready_since_ms));
        self.view.verified = Some(Verified::Pending);
    }

    /// The start that was to be verified was refused.
    pub(super) fn give_verification_up(&mut self) {
        self.verification = None;
        self.view.verified = None;
        self.waiting.retain(|one| one.action == ProcessAction::Stop);
    }

    /// When the verification under way will be decided at the latest.
    pub(super) fn verification_deadline(&self) -> Option<Instant> {
        self.verification.as_ref().map(Verification::deadline)
    }

    /// There is a new process. A gateway that isn't connected is dialled at once.
    pub(super) fn on_process(&mut self, pid: i32) {
        if let Some(verification) = &mut self.verification {
            verification.on_process(pid);
        }
        if self.link.ready_since_ms.is_none() {
            self.registry.reconnect.do_send(ReconnectGateway(self.id()));
        }
    }

    /// It ended.
    pub(super) fn on_process_end(&mut self) {
        if let Some(verification) = &mut self.verification {
            verification.on_process_end();
        }
    }

    /// The connection changed.
    pub(super) fn on_link(&mut self, link: LinkSeen) {
        if let Some(verification) = &mut self.verification {
            verification.on_link(link.ready_since_ms, link.obstacle.clone());
        }
        self.link = link;
    }

    /// What is wrong with it, a sentence each.
    pub(super) fn findings(&self) -> Vec<String> {
        findings(&self.view, self.link.ready_since_ms.is_some(), self.link.obstacle.as_deref())
    }

    /// Looks whether a verification is decided, and tells everybody who waits for what has come.
    pub(super) fn settle(&mut self, now: Instant) {
        let stuck = matches!(self.view.state, ProcessState::GaveUp | ProcessState::Stopped);
        if stuck && self.verification.take().is_some() {
            // A stop is no failure of the start before it.
            self.view.verified = (self.view.state == ProcessState::GaveUp).then(|| Verified::No(vec![self.why_not()]));
        }
        match self.verification.as_ref().map(|verification| verification.verdict(now)) {
            Some(Verdict::Verified) => {
                self.verification = None;
                self.view.verified = Some(Verified::Yes);
                self.report("verified", "verified: a new process, and a new connection to the gateway in it");
            }
            Some(Verdict::Failed(missing)) => {
                self.verification = None;
                self.report("unverified", &format!("the start could not be verified: {}", missing.join("; ")));
                self.view.verified = Some(Verified::No(missing));
            }
            Some(Verdict::Pending) | None => {}
        }
        self.answer_waiting();
    }

    fn answer_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for one in waiting {
            match self.outcome_of(one.action) {
                Some(outcome) => {
                    let _ = one.answer.send(outcome);
                }
                None => self.waiting.push(one),
            }
        }
    }

    /// What has come of an action; none while that is open.
    fn outcome_of(&self, action: ProcessAction) -> Option<Outcome> {
        let done = || Some(Ok(self.answer()));
        let failed = |missing: &[String]| Some(Err(self.failure(action, missing)));
        if action == ProcessAction::Stop {
            return match self.view.state {
                ProcessState::Stopped => done(),
                ProcessState::GaveUp if self.view.pid.is_none() => done(),
                _ => None,
            };
        }
        match (&self.view.state, &self.view.verified) {
            (ProcessState::GaveUp, _) => failed(&[self.why_not()]),
            (ProcessState::Stopped, _) => failed(&["it was stopped meanwhile".to_owned()]),
            (_, Some(Verified::Yes)) => done(),
            (_, Some(Verified::No(missing))) => failed(missing),
            (_, Some(Verified::Pending) | None) => None,
        }
    }

    fn why_not(&self) -> String {
        self.view.reason.clone().unwrap_or_else(|| format!("it is {}", self.view.state.as_str()))
    }

    /// Answers with the process as it is now.
    pub(super) fn show_to(&self, answer: Answer) {
        let _ = answer.send(Ok(self.answer()));
    }

    /// The process as it is now.
    pub(super) fn answer(&self) -> ProcessAnswer {
        ProcessAnswer { view: self.view.clone(), diagnosis: None }
    }

    /// An action that failed: what is missing, in one answer.
    pub(super) fn failure(&self, action: ProcessAction, missing: &[String]) -> Failure {
        let (name, id) = (&self.record.name, self.id());
        let said = format!("The {} of gateway \"{name}\" failed: {}", action.as_str(), missing.join("; "));
        Failure::new(ErrorCode::ProcessActionFailed, said)
            .with_help(format!(
                "POST /api/gateways/{id}/process {{\"action\": \"diagnose\"}} shows what the process said last and what is \
                 wrong."
            ))
            .with_details(json!({
                "missing": missing,
                "kind": self.view.source.kind(),
                "process": self.view.source.name(),
                "state": self.view.state,
                "pid": self.view.pid,
            }))
    }

    /// A token in what the process said is not shown.
    pub(super) fn without_secrets(&self, text: String) -> String {
        match self.record.token.as_ref().filter(|token| token.expose().len() >= 8) {
            Some(token) if text.contains(token.expose()) => text.replace(token.expose(), "--------"),
            _ => text,
        }
    }
}
