//! A gateway that one node alone may hold, while that one isn't there: nobody dials it, and that is what is said of it.

use std::sync::Arc;

use actix::prelude::*;
use gatewarden_protocol::refusal::RefusalCode;

use super::Placement;
use crate::clock::Clock;
use crate::error::{ErrorCode, Failure};
use crate::gateway::{FromGateway, GatewayCommand, GatewayHandle};
use crate::gateway_record::{GatewayRecord, SharedRecord};
use crate::gateway_report::{GatewayReport, Phase, ProbeOutcome, Problem, Status};
use crate::machines::connection::GatewayNotice;
use crate::machines::placement::HeldBy;
use crate::metrics::Metrics;
use crate::spawn::{Certainty, NotAccepted};

/// Stands in the place of a `Gateway` actor.
struct NobodyActor {
    record: SharedRecord,
    incarnation: u64,
    node: Arc<str>,
    supervisor: Recipient<FromGateway>,
    orders: u64,
    since_ms: i64,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Placement {
    pub(super) fn start_nobody(
        &self,
        node: Arc<str>,
        record: &SharedRecord,
        incarnation: u64,
        supervisor: Recipient<FromGateway>,
    ) -> GatewayHandle {
        let actor = NobodyActor {
            record: record.clone(),
            incarnation,
            node: node.clone(),
            supervisor,
            orders: 0,
            since_ms: self.clock.wall_ms(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        };
        GatewayHandle::new(actor.start().recipient(), HeldBy::Nobody(node))
    }
}

impl NobodyActor {
    fn problem(&self) -> Problem {
        let GatewayRecord { id, spec, .. } = &*self.record;
        Problem {
            code: RefusalCode::NodeMissing.as_str().to_owned(),
            message: format!(
                "Gateway \"{}\" is held by node {} alone, which is not there, of another release, or takes no part in the mesh",
                spec.name, self.node
            ),
            help: format!(
                "Start that node, with node.mesh_listen: GET /api/cluster lists those that are there. \
                 PUT /api/gateways/{id} {{\"node\": null}} lets any node hold it."
            ),
        }
    }

    fn report(&self) -> GatewayReport {
        let now_ms = self.clock.wall_ms();
        GatewayReport {
            status: Status::Offline,
            phase: Phase::Backoff,
            since_ms: self.since_ms,
            last_error: Some(self.problem()),
            last_failure_ms: Some(now_ms),
            orders: self.orders,
            ..GatewayReport::unknown(now_ms)
        }
    }

    fn failure(&self) -> Failure {
        let Problem { message, help, .. } = self.problem();
        Failure::new(ErrorCode::GatewayUnavailable, message).with_help(help)
    }

    fn tell(&self) {
        let notice = GatewayNotice::Report(Box::new(self.report()));
        self.metrics.notice_sent();
        self.supervisor.do_send(FromGateway { id: self.record.id, incarnation: self.incarnation, notice });
    }
}

impl Actor for NobodyActor {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        self.tell();
    }
}

impl Handler<GatewayCommand> for NobodyActor {
    type Result = ();

    fn handle(&mut self, command: GatewayCommand, ctx: &mut Self::Context) {
        // Whoever doesn't wait any more needs no answer.
        match command {
            GatewayCommand::Update(record) => {
                self.record = record;
                self.orders += 1;
                self.tell();
            }
            GatewayCommand::Reconnect => {
                self.orders += 1;
                self.tell();
            }
            GatewayCommand::Permit(_) | GatewayCommand::ForgetRun(_) => {}
            GatewayCommand::Probe { reply, .. } => {
                let failed_step = Some(("connect".to_owned(), self.problem().message));
                let (report, probed_at_ms) = (self.report(), self.clock.wall_ms());
                let _ = reply.send(ProbeOutcome { probed_at_ms, report, latency_ms: None, failed_step });
            }
            GatewayCommand::Call { reply, .. } | GatewayCommand::Control(_, reply) => {
                let _ = reply.send(Err(self.failure()));
            }
            GatewayCommand::StartRun(_, reply) => {
                let _ = reply.send(Err(NotAccepted { failure: self.failure(), certainty: Certainty::NotTaken }));
            }
            GatewayCommand::LookUpRun(_, reply) => {
                let _ = reply.send(Err(self.failure()));
            }
            GatewayCommand::WatchLogs(_, reply) => {
                let _ = reply.send(Err(self.failure()));
            }
            GatewayCommand::ShutDown(reply) => {
                let _ = reply.send(());
                ctx.stop();
            }
        }
    }
}
