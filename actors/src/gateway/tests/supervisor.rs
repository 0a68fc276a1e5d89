//! What the registry does for one gateway: permits within the budget, device tokens kept; and everything written down.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use actix::prelude::*;

use crate::clock::Clock;
use crate::gateway::GatewayActor;
use crate::gateway::{FromGateway, GatewayCommand};
use crate::gateway_record::DeviceToken;
use crate::gateway_report::HealthPoint;
use crate::gateway_report::{GatewayReport, Phase};
use crate::machines::auth_budget::AuthBudget;
use crate::machines::connection::{AuthPermit, AuthResult, GatewayNotice};

/// What was heard so far; shared with the test.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) reports: Vec<GatewayReport>,
    pub(super) settled: Vec<(Instant, AuthResult)>,
    pub(super) points: Vec<HealthPoint>,
    pub(super) device_token: Option<DeviceToken>,
    pub(super) forgotten: u32,
}

impl Heard {
    pub(super) fn last(&self) -> GatewayReport {
        self.reports.last().cloned().expect("something was reported")
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.reports.last().map(|report| report.phase)
    }
}

pub(super) struct Supervisor {
    pub(super) heard: Rc<RefCell<Heard>>,
    pub(super) budget: AuthBudget,
    pub(super) clock: Clock,
    pub(super) gateway: Option<Addr<GatewayActor>>,
    /// What a permit was asked for before the actor was adopted.
    pub(super) waiting: Option<String>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Adopt(pub(super) Addr<GatewayActor>);

impl Actor for Supervisor {
    type Context = Context<Self>;
}

impl Handler<Adopt> for Supervisor {
    type Result = ();

    fn handle(&mut self, Adopt(gateway): Adopt, _ctx: &mut Self::Context) {
        self.gateway = Some(gateway);
        // The actor asks as soon as it starts, which may be before it was adopted.
        if let Some(address) = self.waiting.take() {
            self.answer(address);
        }
    }
}

impl Supervisor {
    fn answer(&mut self, address: String) {
        let Some(gateway) = &self.gateway else {
            self.waiting = Some(address);
            return;
        };
        gateway.do_send(GatewayCommand::Permit(match self.budget.reserve(self.clock.now()) {
            Ok(()) => AuthPermit::Granted { address, device_token: self.heard.borrow().device_token.clone() },
            Err(retry_at) => AuthPermit::Denied { address, retry_at },
        }));
    }
}

impl Handler<FromGateway> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: FromGateway, _ctx: &mut Self::Context) {
        assert_eq!((message.id.0, message.incarnation), (7, 1));
        let now = self.clock.now();
        if let GatewayNotice::PermitWanted { address } = message.notice {
            return self.answer(address);
        }
        let mut heard = self.heard.borrow_mut();
        match message.notice {
            GatewayNotice::Report(report) => heard.reports.push(*report),
            GatewayNotice::PermitWanted { .. }
            | GatewayNotice::Run(_)
            | GatewayNotice::Sessions(_)
            | GatewayNotice::Agents(_)
            | GatewayNotice::Count(_) => {}
            GatewayNotice::AuthSettled { result, .. } => {
                self.budget.settle(now, result);
                heard.settled.push((now, result));
            }
            GatewayNotice::DeviceTokenIssued { token, .. } => heard.device_token = Some(token),
            GatewayNotice::DeviceTokenRejected { .. } => {
                heard.device_token = None;
                heard.forgotten += 1;
            }
            GatewayNotice::Health(point) => heard.points.push(point),
        }
    }
}
