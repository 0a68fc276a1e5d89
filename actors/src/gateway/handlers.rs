//! The messages of [`super::messages`], in their order.

use actix::prelude::*;
use serde_json::Value;
use tokio::sync::oneshot;

use super::GatewayActor;
use super::messages::{Call, Permit, Probe, Reconnect, ShutDown, UpdateRecord};
use crate::dialing::Held;
use crate::error::Failure;
use crate::gateway_report::ProbeOutcome;
use crate::machines::link::{CallToken, Link, ProbeToken};

impl Handler<UpdateRecord> for GatewayActor {
    type Result = ();

    fn handle(&mut self, UpdateRecord(record): UpdateRecord, ctx: &mut Self::Context) {
        self.feed(ctx, |link, moment| link.update_record(moment, record));
    }
}

impl Handler<Reconnect> for GatewayActor {
    type Result = ();

    fn handle(&mut self, Reconnect: Reconnect, ctx: &mut Self::Context) {
        self.feed(ctx, Link::reconnect);
    }
}

impl Handler<Probe> for GatewayActor {
    type Result = ResponseFuture<ProbeOutcome>;

    fn handle(&mut self, Probe { timeout }: Probe, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let token = ProbeToken(self.next_token());
        self.probers.insert(token, answer);
        self.feed(ctx, |link, moment| link.on_probe(moment, token, timeout));
        let unanswered = ProbeOutcome {
            probed_at_ms: self.clock.wall_ms(),
            report: self.link.report().clone(),
            latency_ms: None,
            failed_step: Some(("request".to_owned(), "the supervision of this gateway ended meanwhile".to_owned())),
        };
        Box::pin(async move { answered.await.map_or(unanswered, |outcome| *outcome) })
    }
}

impl Handler<Call> for GatewayActor {
    type Result = ResponseFuture<Result<Held<Value>, Failure>>;

    fn handle(&mut self, Call { method, params, timeout }: Call, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let token = CallToken(self.next_token());
        self.callers.insert(token, answer);
        self.feed(ctx, |link, moment| link.on_call(moment, token, &method, &params, timeout));
        Box::pin(
            async move { answered.await.unwrap_or_else(|_| Err(Failure::unavailable("supervision of this gateway"))) },
        )
    }
}

impl Handler<ShutDown> for GatewayActor {
    type Result = ();

    fn handle(&mut self, ShutDown: ShutDown, ctx: &mut Self::Context) {
        self.feed(ctx, Link::shut_down);
        // The close frame is queued; the socket's own task writes it after this actor is gone.
        ctx.stop();
    }
}

impl Handler<Permit> for GatewayActor {
    type Result = ();

    fn handle(&mut self, Permit(permit): Permit, ctx: &mut Self::Context) {
        self.feed(ctx, |link, moment| link.on_permit(moment, permit));
    }
}

/// Lets tests kill an actor as a fault would.
#[cfg(test)]
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) struct InducePanic;

#[cfg(test)]
impl Handler<InducePanic> for GatewayActor {
    type Result = ();

    fn handle(&mut self, InducePanic: InducePanic, _ctx: &mut Self::Context) {
        panic!("induced by a test");
    }
}
