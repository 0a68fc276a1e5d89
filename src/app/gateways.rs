//! Stands in until the `Gateway` actor lands: takes every message and reaches nobody.
use std::sync::Arc;

use actix::prelude::*;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway::messages::*;
use gatewarden_actors::gateway_report::GatewayReport;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::registry::{GatewayDoor, SpawnGateway};
use gatewarden_protocol::DeviceIdentity;

use crate::config::Config;

struct Silent;
impl Actor for Silent {
    type Context = Context<Self>;
}
impl Handler<UpdateRecord> for Silent {
    type Result = ();
    fn handle(&mut self, _: UpdateRecord, _: &mut Self::Context) {}
}
impl Handler<Reconnect> for Silent {
    type Result = ();
    fn handle(&mut self, _: Reconnect, _: &mut Self::Context) {}
}
impl Handler<AuthPermit> for Silent {
    type Result = ();
    fn handle(&mut self, _: AuthPermit, _: &mut Self::Context) {}
}
impl Handler<ShutDown> for Silent {
    type Result = ();
    fn handle(&mut self, _: ShutDown, c: &mut Self::Context) {
        c.stop()
    }
}
impl Handler<Probe> for Silent {
    type Result = MessageResult<Probe>;
    fn handle(&mut self, _: Probe, _: &mut Self::Context) -> Self::Result {
        MessageResult(ProbeOutcome {
            probed_at_ms: 0,
            report: GatewayReport::unknown(0),
            latency_ms: None,
            failed_step: None,
        })
    }
}
impl Handler<Call> for Silent {
    type Result = Result<serde_json::Value, Failure>;
    fn handle(&mut self, _: Call, _: &mut Self::Context) -> Self::Result {
        Err(Failure::unavailable("x"))
    }
}

pub(super) fn spawner(
    _config: &Config,
    _identity: Arc<DeviceIdentity>,
    _clock: &Clock,
    _metrics: &Arc<Metrics>,
) -> SpawnGateway {
    Box::new(|_record, _incarnation, _to| GatewayDoor::of(&Silent.start()))
}
