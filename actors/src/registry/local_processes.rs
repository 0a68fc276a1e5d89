//! Gateways that are processes of this machine: their actors are told of records and connections, and what they say is shown.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;
use gatewarden_core::fleet::HaltedProcess;

use super::RegistryActor;
use crate::gateway_record::SharedRecord;
use crate::gateway_report::{GatewayReport, Phase};
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

    fn handle(&mut self, ProcessNotice { gateway, view }: ProcessNotice, ctx: &mut Self::Context) {
        let Some(member) = self.fleet.get(gateway) else { return };
        // A record may have named one until a moment ago.
        let view = view.filter(|_| member.record.process.is_some());
        let halted = view.as_deref().and_then(halted);
        match view {
            Some(view) => self.processes.views.insert(gateway, view),
            None => self.processes.views.remove(&gateway),
        };
        self.feed(ctx, |fleet, time| fleet.on_process(time, gateway, halted));
    }
}

/// What keeps a process from running until somebody starts it.
fn halted(process: &ProcessView) -> Option<HaltedProcess> {
    let gave_up = match process.state {
        ProcessState::GaveUp => true,
        ProcessState::Stopped => false,
        _ => return None,
    };
    Some(HaltedProcess { gave_up, reason: process.reason.clone() })
}
