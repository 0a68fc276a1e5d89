//! Requests that go to gateways: probe, call, reconnect; and the end of all.

use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;
use serde_json::Value;
use tracing::{info, warn};

use super::RegistryActor;
use super::entry::Entry;
use super::messages::{CallGateway, Drain, Ping, ProbeGateways, ReconnectGateway};
use super::roster::GatewayView;
use crate::dialing::Held;
use crate::error::{ErrorCode, Failure};
use crate::gateway::messages::{Call, Probe, Reconnect, ShutDown};
use crate::gateway_report::ProbeOutcome;
use crate::gateway_report::{GatewayReport, Phase};
use crate::ids::GatewayId;
use std::sync::Arc;

/// What a `Gateway` actor may take beyond a request's own deadline before the registry answers for it.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// How long gateways may take to close their sockets when the daemon stops.
const CLOSE_BUDGET: Duration = Duration::from_millis(1_500);

impl Handler<ProbeGateways> for RegistryActor {
    type Result = ResponseFuture<Result<Vec<(GatewayId, ProbeOutcome)>, Failure>>;

    fn handle(&mut self, message: ProbeGateways, _: &mut Self::Context) -> Self::Result {
        let ids: Vec<GatewayId> = match message.only {
            Some(id) if self.entries.get(&id).is_none_or(Entry::is_hidden) => {
                return Box::pin(async move { Err(Failure::gateway_not_found(id)) });
            }
            Some(id) => vec![id],
            None => self.roster.reader().list().iter().map(|view| view.record.id).collect(),
        };
        // All at the same time: the answer takes one probe's timeout, however many gateways there are.
        let probes: Vec<_> = ids
            .into_iter()
            .filter_map(|id| {
                let entry = self.entries.get(&id)?;
                let sent = entry.door.as_ref().map(|door| door.probe.send(Probe { timeout: message.timeout }));
                Some((id, entry.report.clone(), sent))
            })
            .collect();
        let clock = self.clock.clone();
        Box::pin(async move {
            let outcomes = join_all(probes.into_iter().map(|(id, report, sent)| {
                let clock = clock.clone();
                async move {
                    let answered = match sent {
                        Some(sent) => {
                            tokio::time::timeout(message.timeout + GRACE, sent).await.ok().and_then(Result::ok)
                        }
                        None => None,
                    };
                    let outcome = answered.unwrap_or_else(|| unanswered(report, clock.wall_ms()));
                    (id, outcome)
                }
            }))
            .await;
            Ok(outcomes)
        })
    }
}

/// The outcome where the actor itself couldn't answer: what was last known, and that this is all.
fn unanswered(report: GatewayReport, probed_at_ms: i64) -> ProbeOutcome {
    let words = if report.phase == Phase::Parked {
        "its supervision is parked after repeated crashes"
    } else {
        "its supervisor did not answer in time"
    };
    ProbeOutcome { probed_at_ms, report, latency_ms: None, failed_step: Some(("request".to_owned(), words.to_owned())) }
}

impl Handler<CallGateway> for RegistryActor {
    type Result = ResponseFuture<Result<(GatewayId, Held<Value>), Failure>>;

    fn handle(&mut self, message: CallGateway, _: &mut Self::Context) -> Self::Result {
        let CallGateway { target, method, params, timeout } = message;
        let Some(id) = target.or(self.election.acting()) else {
            let failure = Failure::new(ErrorCode::NoUsableGateway, "No gateway can take the request: none is usable")
                .with_help("GET /api/gateways shows each gateway's state and what to do about it.")
                .with_retry_after(Duration::from_secs(5));
            return Box::pin(async { Err(failure) });
        };
        let Some(entry) = self.entries.get(&id) else {
            return Box::pin(async move { Err(Failure::gateway_not_found(id)) });
        };
        let name = entry.record.name.clone();
        if !entry.report.is_usable() {
            let failure = unusable(&name, &entry.report);
            return Box::pin(async { Err(failure) });
        }
        let Some(door) = &entry.door else {
            let failure = unusable(&name, &entry.report);
            return Box::pin(async { Err(failure) });
        };
        let sent = door.call.send(Call { method, params, timeout });
        Box::pin(async move {
            match tokio::time::timeout(timeout + GRACE, sent).await {
                Ok(Ok(answer)) => answer.map(|value| (id, value)),
                Ok(Err(_)) => Err(Failure::new(
                    ErrorCode::GatewayUnavailable,
                    format!("The connection to gateway \"{name}\" is being set up anew"),
                )
                .with_help("Try again in a second.")
                .with_retry_after(Duration::from_secs(1))),
                Err(_) => Err(Failure::new(
                    ErrorCode::GatewayTimeout,
                    format!("Gateway \"{name}\" did not answer within {} ms", timeout.as_millis()),
                )
                .with_help("The request may have been carried out: look before you repeat it.")),
            }
        })
    }
}

/// The failure for a request to a gateway that isn't to be trusted with work.
pub(super) fn unusable(name: &str, report: &GatewayReport) -> Failure {
    let failure = Failure::new(
        ErrorCode::GatewayUnavailable,
        format!(
            "Gateway \"{name}\" is {} ({}) and cannot take requests",
            report.status.as_str(),
            report.phase.as_str()
        ),
    )
    .with_retry_after(Duration::from_secs(5));
    match &report.last_error {
        Some(problem) => failure.with_help(format!("{} {}", problem.message, problem.help)),
        None => failure.with_help("GET /api/gateways shows its state; it is retried automatically."),
    }
}

impl Handler<ReconnectGateway> for RegistryActor {
    type Result = Result<Arc<GatewayView>, Failure>;

    fn handle(&mut self, message: ReconnectGateway, ctx: &mut Self::Context) -> Self::Result {
        let id = message.0;
        let entry = self.entries.get_mut(&id).filter(|entry| !entry.is_hidden());
        let entry = entry.ok_or_else(|| Failure::gateway_not_found(id))?;
        info!(gateway.id = id.0, gateway.name = %entry.record.name, "reconnect asked for by an operator");
        match &entry.door {
            Some(door) => door.reconnect.do_send(Reconnect),
            None => {
                entry.intensity.forgive();
                let last_seen_ms = entry.report.last_seen_ms;
                entry.report = GatewayReport { last_seen_ms, ..GatewayReport::unknown(self.clock.wall_ms()) };
                self.start_gateway(id, ctx);
            }
        }
        self.publish(id).ok_or_else(|| Failure::gateway_not_found(id))
    }
}

impl Handler<Ping> for RegistryActor {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<Drain> for RegistryActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let closing: Vec<_> = self
            .entries
            .values()
            .filter_map(|entry| entry.door.as_ref())
            .map(|door| door.shut_down.send(ShutDown))
            .collect();
        let count = closing.len();
        let observed = self.take_unsaved();
        let store = self.store.clone();
        let health_log = self.health_log.clone();
        let drain = async move {
            if tokio::time::timeout(CLOSE_BUDGET, join_all(closing)).await.is_err() {
                warn!(gateways = count, "not every gateway connection could be closed in time");
            }
            if let Err(failure) = store.save_observed(observed).await {
                warn!(%failure, "the last observations could not be stored");
            }
            health_log.flush().await;
        };
        Box::pin(drain.into_actor(self).then(|(), registry, _| registry.write_last_spawns()))
    }
}
