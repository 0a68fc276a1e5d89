//! Runs and sessions, as the registry asks for them.

use actix::prelude::*;
use serde_json::Value;
use tokio::sync::oneshot;

use super::GatewayActor;
use super::messages::{Control, LookUp, Start};
use crate::dialing::Held;
use crate::error::Failure;
use crate::machines::link::CallToken;
use crate::run::{Accepted, Certainty, LookedUp, NotAccepted};

impl Handler<Start> for GatewayActor {
    type Result = ResponseFuture<Result<Accepted, NotAccepted>>;

    fn handle(&mut self, Start(start): Start, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let call = CallToken(self.next_token());
        self.starters.insert(call, answer);
        self.feed(ctx, |link, moment| link.on_start_run(moment, call, start));
        Box::pin(async move {
            // The actor ended, and nobody knows how far it had come.
            let lost = || NotAccepted { failure: supervision_ended(), certainty: Certainty::Unknown };
            answered.await.unwrap_or_else(|_| Err(lost()))
        })
    }
}

impl Handler<LookUp> for GatewayActor {
    type Result = ResponseFuture<Result<LookedUp, Failure>>;

    fn handle(&mut self, LookUp(wanted): LookUp, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let call = CallToken(self.next_token());
        self.seekers.insert(call, answer);
        self.feed(ctx, |link, moment| link.on_look_up_run(moment, call, wanted));
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(supervision_ended())) })
    }
}

impl Handler<Control> for GatewayActor {
    type Result = ResponseFuture<Result<Held<Value>, Failure>>;

    fn handle(&mut self, Control(control): Control, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let call = CallToken(self.next_token());
        self.callers.insert(call, answer);
        self.feed(ctx, |link, moment| link.on_control(moment, call, control));
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(supervision_ended())) })
    }
}

fn supervision_ended() -> Failure {
    Failure::unavailable("supervision of this gateway")
}
