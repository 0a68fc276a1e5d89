//! Gateways that are processes of this machine: their actors are told of records and connections, and what they say is shown.

use std::borrow::Cow;

use actix::prelude::*;

use super::RegistryActor;
use super::entry::Entry;
use crate::gateway_record::SharedRecord;
use crate::gateway_report::{GatewayReport, Phase, Problem, Status};
use crate::ids::GatewayId;
use crate::processes::messages::{JoinRegistry, LinkSeen, ProcessNotice, RecordSeen};
use crate::processes::view::{ProcessState, ProcessView};

impl RegistryActor {
    /// First of all, so that nothing is said into the void.
    pub(super) fn join_processes(&self, ctx: &Context<Self>) {
        if let Some(processes) = &self.processes {
            let me = ctx.address();
            processes.do_send(JoinRegistry { notices: me.clone().recipient(), reconnect: me.recipient() });
        }
    }

    /// A record was loaded, created or changed. Only those that name a process, or did, are worth a word.
    pub(super) fn tell_processes_of_record(&self, id: GatewayId) {
        let (Some(processes), Some(entry)) = (&self.processes, self.entries.get(&id)) else { return };
        if entry.record.process.is_none() && entry.process.is_none() {
            return;
        }
        processes.do_send(RecordSeen { gateway: id, record: Some(entry.record.clone()) });
        if entry.record.process.is_some() {
            processes.do_send(link_of(id, &entry.report));
        }
    }

    pub(super) fn tell_processes_of_removal(&self, record: &SharedRecord) {
        if let Some(processes) = self.processes.as_ref().filter(|_| record.process.is_some()) {
            processes.do_send(RecordSeen { gateway: record.id, record: None });
        }
    }

    /// The connection of a gateway changed: once a change, not once a report.
    pub(super) fn tell_processes_of_link(&self, entry: &Entry, before: &GatewayReport) {
        let Some(processes) = self.processes.as_ref().filter(|_| entry.record.process.is_some()) else { return };
        let id = entry.record.id;
        let (now, before) = (link_of(id, &entry.report), link_of(id, before));
        if now != before {
            processes.do_send(now);
        }
    }
}

fn link_of(gateway: GatewayId, report: &GatewayReport) -> LinkSeen {
    let obstacle = report.last_error.as_ref().map(|problem| problem.message.clone());
    LinkSeen {
        gateway,
        ready_since_ms: report.ready_since_ms,
        obstacle: obstacle.filter(|_| report.phase != Phase::Ready),
    }
}

impl Handler<ProcessNotice> for RegistryActor {
    type Result = ();

    fn handle(&mut self, notice: ProcessNotice, _: &mut Self::Context) {
        if let Some(entry) = self.entries.get_mut(&notice.gateway) {
            // Of a record that named one until a moment ago.
            entry.process = notice.view.filter(|_| entry.record.process.is_some());
            self.publish(notice.gateway);
        }
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
