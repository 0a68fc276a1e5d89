//! What of the gateway's network the actor holds: the socket and the HTTP conversation of the present attempt, and tries
//! beside both. What an older attempt still says carries its epoch, and the connection ignores it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, UpgradeAnswer, classify_close};

use super::{GatewayActor, hear};
use crate::dialing::http_probe::HttpGateway;
use crate::dialing::unconnected_probe::{Findings, NoGreeting, probe_unconnected};
use crate::dialing::{DialFailure, DialRequest, DialStep, Dialed, FrameCap, HealthFailure, Outgoing};
use crate::machines::connection::{Connection, Epoch, HttpAnswer, HttpOperation, ProbeFinding};

/// What is open, or being opened.
#[derive(Default)]
pub(super) struct Network {
    dialing: Option<(Epoch, SpawnHandle)>,
    socket: Option<OpenSocket>,
    http: Option<(Epoch, HttpGateway)>,
    http_requests: HashMap<(Epoch, String), SpawnHandle>,
}

pub(super) struct OpenSocket {
    epoch: Epoch,
    pub(super) outgoing: Outgoing,
    frame_cap: FrameCap,
    reader: SpawnHandle,
}

impl Network {
    pub(super) fn socket(&self, epoch: Epoch) -> Option<&OpenSocket> {
        self.socket.as_ref().filter(|socket| socket.epoch == epoch)
    }
}

impl GatewayActor {
    pub(super) fn dial(&mut self, epoch: Epoch, request: DialRequest, ctx: &mut Context<Self>) {
        let dialing = self.dialer.dial(request, &self.memory).into_actor(self).map(move |outcome, actor, ctx| {
            actor.network.dialing.take_if(|(waiting, _)| *waiting == epoch);
            match outcome {
                Err(failure) => {
                    actor.feed(ctx, |connection, moment| connection.on_dial_failed(moment, epoch, &failure))
                }
                Ok(dialed) if actor.connection.is_dialing(epoch) => actor.open(epoch, dialed, ctx),
                Ok(_) => {}
            }
        });
        self.network.dialing = Some((epoch, ctx.spawn(dialing)));
    }

    fn open(&mut self, epoch: Epoch, dialed: Dialed, ctx: &mut Context<Self>) {
        let Dialed { incoming, outgoing, frame_cap, .. } = dialed;
        let reader = ctx.add_stream(hear(epoch, incoming));
        self.network.socket = Some(OpenSocket { epoch, outgoing, frame_cap, reader });
        self.feed(ctx, |connection, moment| connection.on_dialed(moment, epoch));
    }

    pub(super) fn raise_cap(&mut self, epoch: Epoch, bytes: usize) {
        if let Some(socket) = self.network.socket(epoch) {
            socket.frame_cap.set(bytes);
        }
    }

    /// Says goodbye and lets go of the attempt; what is queued is still written, and what is under way is given up.
    pub(super) fn close(&mut self, epoch: Epoch, code: u16, reason: &'static str, ctx: &mut Context<Self>) {
        let network = &mut self.network;
        if let Some((_, handle)) = network.dialing.take_if(|(waiting, _)| *waiting == epoch) {
            ctx.cancel_future(handle);
        }
        if let Some(socket) = network.socket.take_if(|socket| socket.epoch == epoch) {
            // A peer that is gone hears no goodbye.
            let _ = socket.outgoing.close(code, reason);
            ctx.cancel_future(socket.reader);
        }
        network.http.take_if(|(of, _)| *of == epoch);
        for (_, handle) in network.http_requests.extract_if(|(of, _), _| *of == epoch) {
            ctx.cancel_future(handle);
        }
    }

    pub(super) fn ask_http(
        &mut self,
        epoch: Epoch,
        id: String,
        operation: HttpOperation,
        timeout: Duration,
        ctx: &mut Context<Self>,
    ) {
        let key = (epoch, id.clone());
        let handle = if operation == HttpOperation::Detect {
            let Some(address) = self.connection.address().cloned() else { return };
            let (tls, token) = (self.connection.record().tls.clone(), self.connection.shared_credential());
            let opening =
                HttpGateway::open(Arc::clone(&self.dialer), address, tls, token, timeout, self.memory.clone());
            ctx.spawn(opening.into_actor(self).map(move |outcome, actor, ctx| {
                let health = outcome.map(|(gateway, health)| {
                    actor.network.http = Some((epoch, gateway));
                    health
                });
                actor.http_answered(epoch, id, HttpAnswer::Health(health), ctx);
            }))
        } else {
            let gateway = self.network.http.as_ref().filter(|(of, _)| *of == epoch).map(|(_, gateway)| gateway.clone());
            let asking = ask(gateway, operation, timeout);
            ctx.spawn(asking.into_actor(self).map(move |answer, actor, ctx| {
                actor.http_answered(epoch, id, answer, ctx);
            }))
        };
        self.network.http_requests.insert(key, handle);
    }

    fn http_answered(&mut self, epoch: Epoch, id: String, answer: HttpAnswer, ctx: &mut Context<Self>) {
        let key = (epoch, id);
        self.network.http_requests.remove(&key);
        self.feed_decoding(ctx, None, |connection, moment, meter| {
            connection.on_http(moment, epoch, &key.1, answer, meter);
        });
    }

    /// Tries the gateway beside the connection.
    pub(super) fn probe_beside(&mut self, round: u64, timeout: Duration, ctx: &mut Context<Self>) {
        let Some(address) = self.connection.address().cloned() else {
            let refusal = Refusal::new(RefusalCode::AddressForbidden, "");
            let finding = ProbeFinding { latency: None, failure: Some(("resolve", refusal)) };
            return self.tell_connection(|connection, moment| connection.on_probe_finding(moment, round, finding));
        };
        let (tls, transport) = (self.connection.record().tls.clone(), self.connection.record().transport);
        let dialer = Arc::clone(&self.dialer);
        let probing = async move { probe_unconnected(&*dialer, &address, &tls, transport, timeout).await };
        ctx.spawn(probing.into_actor(self).map(move |findings, actor, ctx| {
            let finding = read_findings(&actor.connection, &findings);
            actor.feed(ctx, |connection, moment| connection.on_probe_finding(moment, round, finding));
        }));
    }
}

async fn ask(gateway: Option<HttpGateway>, operation: HttpOperation, timeout: Duration) -> HttpAnswer {
    let Some(gateway) = gateway else {
        // The connection asks only after it has seen a health document; should it not, nothing is sent.
        let failure = DialFailure::Other { step: DialStep::Request, reason: "no health document was seen".to_owned() };
        return match operation {
            HttpOperation::Detect | HttpOperation::Health => HttpAnswer::Health(Err(failure.into())),
            _ => HttpAnswer::Reply(Err(failure)),
        };
    };
    gateway.ask(operation, timeout).await
}

fn read_findings(connection: &Connection, findings: &Findings) -> ProbeFinding {
    let silent_but_well = matches!(findings.socket, Some(Err(NoGreeting::Silent))) && findings.health.is_ok();
    match findings.failed_step() {
        // A gateway of the `rpc` dialect waits for our first word, and its health document vouches for it.
        Some((step, words)) if !silent_but_well => {
            let refusal =
                refusal_of(connection, findings).unwrap_or_else(|| Refusal::new(RefusalCode::NotAGateway, &words));
            ProbeFinding { latency: None, failure: Some((step, refusal)) }
        }
        _ => ProbeFinding { latency: findings.took(), failure: None },
    }
}

/// The reason behind the first failed step.
fn refusal_of(connection: &Connection, findings: &Findings) -> Option<Refusal> {
    let dial = |failure| match connection.read_dial_failure(failure) {
        UpgradeAnswer::TryHttp(refusal) | UpgradeAnswer::Refused(refusal) => refusal,
    };
    match (&findings.socket, &findings.health) {
        (Some(Err(NoGreeting::NotDialled(failure))), _) => Some(dial(failure)),
        (Some(Err(NoGreeting::Silent)), _) => Some(Refusal::new(RefusalCode::ChallengeTimeout, "")),
        (Some(Err(NoGreeting::OtherWord)), _) => Some(Refusal::new(connection.strange_code(), "")),
        (Some(Err(NoGreeting::Closed { code, reason })), _) => Some(classify_close(*code, reason, false)),
        (Some(Err(NoGreeting::Broke(error))), _) => {
            Some(Refusal::new(RefusalCode::ConnectionReset, &error.to_string()))
        }
        (_, Err(HealthFailure::Unreached(failure))) => Some(dial(failure)),
        _ => None,
    }
}
