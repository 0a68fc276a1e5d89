//! Gateways that are processes of this machine: their actors are told of records and connections, and what they say is shown.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;

use super::RegistryActor;
use crate::gateway_record::SharedRecord;
use crate::gateway_report::{GatewayReport, Phase, Problem, Status};
use crate::ids::GatewayId;
use crate::processes::ProcessesActor;
use crate::processes::messages::{JoinRegistry, LinkSeen, ProcessNotice, RecordSeen};
use crate::processes::view::{ProcessState, ProcessView};

/// What is known of processes, and what their actor was told. Only gateways whose records name a process are worth a word.
pub(super) struct LocalProcesses {
    actor: Option<Addr<ProcessesActor>>,
    views: HashMap<GatewayId, Arc<ProcessView>>,
    told: HashMap<GatewayId, (SharedRecord, LinkSeen)>,
}

impl LocalProcesses {
    pub(super) fn new(actor: Option<Addr<ProcessesActor>>) -> Self {
        Self { actor, views: HashMap::new(), told: HashMap::new() }
    }

    /// First of all, so that their notices have somewhere to go.
    pub(super) fn join(&self, ctx: &Context<RegistryActor>) {
        if let Some(actor) = &self.actor {
            let me = ctx.address();
            actor.do_send(JoinRegistry { notices: me.clone().recipient(), reconnect: me.recipient() });
        }
    }

    pub(super) fn view(&self, id: GatewayId) -> Option<Arc<ProcessView>> {
        self.views.get(&id).cloned()
    }

    /// Tells how a gateway is now: its record and its connection, each once a change.
    pub(super) fn tell(&mut self, record: &SharedRecord, report: &GatewayReport) {
        let Some(actor) = &self.actor else { return };
        let gateway = record.id;
        let told = self.told.get(&gateway);
        let seen = RecordSeen { gateway, record: Some(record.clone()) };
        if record.process.is_none() {
            if self.told.remove(&gateway).is_some() {
                actor.do_send(seen);
            }
            return;
        }
        let obstacle = report.last_error.as_ref().map(|problem| problem.message.clone());
        let link = LinkSeen {
            gateway,
            ready_since_ms: report.ready_since_ms,
            obstacle: obstacle.filter(|_| report.phase != Phase::Ready),
        };
        let is_same_record = told.is_some_and(|(known, _)| Arc::ptr_eq(known, record));
        if is_same_record && told.is_some_and(|(_, known)| *known == link) {
            return;
        }
        if !is_same_record {
            actor.do_send(seen);
        }
        actor.do_send(link.clone());
        self.told.insert(gateway, (record.clone(), link));
    }

    /// The gateway was deleted.
    pub(super) fn forget(&mut self, gateway: GatewayId) {
        self.views.remove(&gateway);
        if self.told.remove(&gateway).is_some()
            && let Some(actor) = &self.actor
        {
            actor.do_send(RecordSeen { gateway, record: None });
        }
    }
}

impl Handler<ProcessNotice> for RegistryActor {
    type Result = ();

    fn handle(&mut self, ProcessNotice { gateway, view }: ProcessNotice, _: &mut Self::Context) {
        let Some(member) = self.fleet.get(gateway) else { return };
        // A record may have named one until a moment ago.
        match view.filter(|_| member.record.process.is_some()) {
            Some(view) => self.processes.views.insert(gateway, view),
            None => self.processes.views.remove(&gateway),
        };
        self.publish(gateway);
    }
}

/// What is shown of a gateway whose process doesn't run: the reason behind the refused connection. One that is connected all the
/// same is served by something else; then the connection counts.
pub(super) fn with_process(report: &GatewayReport, process: Option<&ProcessView>, name: &str) -> GatewayReport {
    let mut shown = Cow::Borrowed(report);
    if let Some(process) = process.filter(|_| report.phase != Phase::Ready) {
        let (code, what) = match process.state {
            ProcessState::GaveUp => ("process_gave_up", "was given up"),
            ProcessState::Stopped => ("process_stopped", "is stopped"),
            _ => return shown.into_owned(),
        };
        let reason = process.reason.as_deref().unwrap_or("nothing more is known");
        let shown = shown.to_mut();
        shown.status = Status::Offline;
        shown.last_error = Some(Problem {
            code: code.to_owned(),
            message: format!("The process of gateway \"{name}\" {what}: {reason}"),
            help: "POST /api/gateways/{id}/process {\"action\": \"diagnose\"} shows what it said last; {\"action\": \"start\"} \
                   starts it."
                .to_owned(),
        });
    }
    shown.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway_record::ProcessSource;

    #[test]
    fn a_process_that_was_given_up_is_the_reason_unless_the_gateway_is_connected() {
        let mut report = GatewayReport::unknown(1);
        let mut process = ProcessView::unknown(ProcessSource::Command("x".into()), 1);
        assert_eq!(with_process(&report, Some(&process), "g"), report, "nothing known, nothing shown");
        process.state = ProcessState::GaveUp;
        process.reason = Some("process 7 exited with code 1".into());
        let shown = with_process(&report, Some(&process), "g");
        let problem = shown.last_error.unwrap();
        assert_eq!((shown.status, problem.code.as_str()), (Status::Offline, "process_gave_up"));
        assert!(problem.message.contains("process 7 exited"), "{}", problem.message);
        report.phase = Phase::Ready;
        assert_eq!(with_process(&report, Some(&process), "g"), report);
    }
}
