//! HTTP conversations: one opened gateway per attempt, one future per request.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;

use super::GatewayActor;
use crate::dialing::HealthFailure;
use crate::dialing::http_probe::HttpGateway;
use crate::dialing::{DialFailure, DialStep};
use crate::machines::link::{Epoch, HttpAnswer, HttpAsk, HttpOperation};

/// The opened gateway of the present attempt and the requests under way.
#[derive(Default)]
pub(super) struct HttpConversation {
    opened: Option<(Epoch, HttpGateway)>,
    under_way: HashMap<(Epoch, u64), SpawnHandle>,
}

impl GatewayActor {
    pub(super) fn ask_http(&mut self, epoch: Epoch, ask: HttpAsk, ctx: &mut Context<Self>) {
        let HttpAsk { number, operation, timeout } = ask;
        let handle = if operation == HttpOperation::Detect {
            let Some(address) = self.link.address().cloned() else { return };
            let (tls, token) = (self.link.record().tls.clone(), self.link.shared_token());
            let opening =
                HttpGateway::open(Arc::clone(&self.dialer), address, tls, token, timeout, self.memory.clone());
            ctx.spawn(opening.into_actor(self).map(move |outcome, actor, ctx| {
                let health = outcome.map(|(gateway, health)| {
                    actor.http.opened = Some((epoch, gateway));
                    health
                });
                actor.http_answered(epoch, number, HttpAnswer::Health(health), ctx);
            }))
        } else {
            let gateway = self.http.opened.as_ref().filter(|(of, _)| *of == epoch).map(|(_, gateway)| gateway.clone());
            let asking = async move {
                let Some(gateway) = gateway else { return unopened(&operation) };
                match operation {
                    HttpOperation::Detect | HttpOperation::Health => HttpAnswer::Health(gateway.health(timeout).await),
                    HttpOperation::Sessions => HttpAnswer::Reply(gateway.sessions(timeout).await),
                    HttpOperation::Config => HttpAnswer::Reply(gateway.config(timeout).await),
                    HttpOperation::Spawn(params) => HttpAnswer::Reply(gateway.spawn(&params, timeout).await),
                    HttpOperation::Control(params) => HttpAnswer::Reply(gateway.control(&params, timeout).await),
                }
            };
            ctx.spawn(asking.into_actor(self).map(move |answer, actor, ctx| {
                actor.http_answered(epoch, number, answer, ctx);
            }))
        };
        self.http.under_way.insert((epoch, number), handle);
    }

    fn http_answered(&mut self, epoch: Epoch, number: u64, answer: HttpAnswer, ctx: &mut Context<Self>) {
        self.http.under_way.remove(&(epoch, number));
        self.feed_decoding(ctx, None, |link, moment, meter| link.on_http(moment, epoch, number, answer, meter));
    }

    /// The attempt is over: what is still under way is given up.
    pub(super) fn forget_http(&mut self, epoch: Epoch, ctx: &mut Context<Self>) {
        self.http.opened.take_if(|(of, _)| *of == epoch);
        self.http.under_way.retain(|(of, _), handle| {
            if *of == epoch {
                ctx.cancel_future(*handle);
            }
            *of != epoch
        });
    }
}

/// The link asks only after it has seen a health document; should it not, nothing is sent.
fn unopened(operation: &HttpOperation) -> HttpAnswer {
    let failure = || DialFailure::Other { step: DialStep::Request, reason: "no health document was seen".to_owned() };
    match operation {
        HttpOperation::Detect | HttpOperation::Health => HttpAnswer::Health(Err(HealthFailure::Unreached(failure()))),
        _ => HttpAnswer::Reply(Err(failure())),
    }
}
