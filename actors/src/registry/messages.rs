//! What others ask of the registry, and what it passes on to gateways for them: calls, control, logs, probes; reconnects, and
//! the end of all. Changes of records are handled in `records`, spawns in `registry`. Reads don't come here: they use [`super::roster::RosterReader`].

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;
use gatewarden_core::fleet::Member;
use serde_json::Value;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::roster::{GatewayView, RosterReader};
use super::{GRACE, RegistryActor};
use crate::dialing::Held;
use crate::error::{ErrorCode, Failure};
use crate::gateway::{GatewayCommand, GatewayHandle, Reply};
use crate::gateway_report::{GatewayReport, Phase, ProbeOutcome};
use crate::ids::GatewayId;
use crate::log_watch::{LogRequest, LogSubscription};
use crate::spawn::{ControlSession, NoAnswer, SessionAction};

/// How long gateways may take to close their sockets when the daemon stops.
const CLOSE_BUDGET: Duration = Duration::from_millis(1_500);

/// From HTTP: drop the connection and dial now; also starts a parked gateway again.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<Arc<GatewayView>, Failure>")]
pub struct ReconnectGateway(pub GatewayId);

impl Handler<ReconnectGateway> for RegistryActor {
    type Result = Result<Arc<GatewayView>, Failure>;

    fn handle(&mut self, ReconnectGateway(id): ReconnectGateway, ctx: &mut Self::Context) -> Self::Result {
        self.feed(ctx, |fleet, time| fleet.reconnect(time, id))?;
        let view = self.seen(id)?;
        info!(gateway.id = id.0, gateway.name = %view.record.name, "dialled anew on request");
        Ok(view)
    }
}

/// From HTTP: probe one gateway, or all at the same time. Replies within `timeout` and a little.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<Vec<(GatewayId, ProbeOutcome)>, Failure>")]
pub struct ProbeGateways {
    /// One, or all.
    pub only: Option<GatewayId>,
    /// Budget of each probe.
    pub timeout: Duration,
}

impl Handler<ProbeGateways> for RegistryActor {
    type Result = ResponseFuture<Result<Vec<(GatewayId, ProbeOutcome)>, Failure>>;

    fn handle(&mut self, message: ProbeGateways, _: &mut Self::Context) -> Self::Result {
        let ids: Vec<GatewayId> = match message.only.map(|id| (id, self.fleet.visible(id))) {
            Some((_, Err(failure))) => return refused(failure),
            Some((id, Ok(_))) => vec![id],
            None => self.roster.reader().list().iter().map(|view| view.record.id).collect(),
        };
        let timeout = message.timeout;
        let clock = self.clock.clone();
        // All at the same time: the answer takes one probe's timeout, however many gateways there are.
        let probes: Vec<_> = ids
            .into_iter()
            .filter_map(move |id| {
                let member = self.fleet.get(id)?;
                let asked = self
                    .handles
                    .get(&id)
                    .map(|handle| handle.ask(timeout + GRACE, |reply| GatewayCommand::Probe { timeout, reply }));
                let (report, clock) = (member.report.clone(), clock.clone());
                Some(async move {
                    let answered = match asked {
                        Some(asked) => asked.await.ok(),
                        None => None,
                    };
                    (id, answered.unwrap_or_else(|| unanswered(report, clock.wall_ms())))
                })
            })
            .collect();
        Box::pin(async move { Ok(join_all(probes).await) })
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

/// The gateway that answered, and what.
pub type Answered = (GatewayId, Held<Value>);

/// From HTTP: one request to one gateway, or to the acting primary. `no_usable_gateway` where there is none.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Answered, Failure>")]
pub struct CallGateway {
    /// The gateway, or the acting primary.
    pub target: Option<GatewayId>,
    /// Method on the wire.
    pub method: String,
    /// Parameters.
    pub params: Value,
    /// Deadline of the reply.
    pub timeout: Duration,
}

impl Handler<CallGateway> for RegistryActor {
    type Result = ResponseFuture<Result<Answered, Failure>>;

    fn handle(&mut self, message: CallGateway, _: &mut Self::Context) -> Self::Result {
        let Some(id) = message.target.or(self.fleet.acting()) else {
            let failure = Failure::new(ErrorCode::NoUsableGateway, "No gateway can take the request: none is usable")
                .with_help("GET /api/gateways shows each gateway's state and what to do about it.")
                .with_retry_after(Duration::from_secs(5));
            return refused(failure);
        };
        let Some(member) = self.fleet.dialled(id) else { return refused(Failure::gateway_not_found(id)) };
        match self.usable(member) {
            Ok((name, handle)) => message.hand_to(id, name, handle),
            Err(failure) => refused(failure),
        }
    }
}

impl CallGateway {
    /// Hands it straight to the gateway's actor, where readers know it as usable; else it is for the registry.
    pub fn straight(self, roster: &RosterReader) -> Result<ResponseFuture<Result<Answered, Failure>>, Self> {
        match self.target.and_then(|id| Some((id, roster.usable(id)?))) {
            Some((id, (name, handle))) => Ok(self.hand_to(id, name, &handle)),
            None => Err(self),
        }
    }

    fn hand_to(self, id: GatewayId, name: String, handle: &GatewayHandle) -> ResponseFuture<Result<Answered, Failure>> {
        let Self { method, params, timeout, .. } = self;
        let words = ("answer", "The request may have been carried out: look before you repeat it.");
        let command = |reply| GatewayCommand::Call { method, params, timeout, reply };
        let called = ask(handle, name, timeout, words, command);
        Box::pin(async move { called.await.map(|value| (id, value)) })
    }
}

/// From HTTP and from the event hub's relay: follow one gateway's log. Replies once the first entries are there; the
/// following ends with the subscription. `gateway_not_found`, and what the gateway's actor fails with.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<LogSubscription, Failure>")]
pub struct WatchGatewayLogs {
    /// Which.
    pub gateway: GatewayId,
    /// What the follower wants to see.
    pub request: LogRequest,
    /// Deadline of the first entries.
    pub timeout: Duration,
}

impl Handler<WatchGatewayLogs> for RegistryActor {
    type Result = ResponseFuture<Result<LogSubscription, Failure>>;

    fn handle(&mut self, message: WatchGatewayLogs, _: &mut Self::Context) -> Self::Result {
        let WatchGatewayLogs { gateway, request, timeout } = message;
        let words = ("give out its log", "Try again; if it stays so, look at the gateway's load.");
        match self.fleet.visible(gateway) {
            Ok(_) if self.fleet.is_stopping() => refused(Failure::unavailable("daemon")),
            Ok(member) => self.ask(member, timeout, words, |reply| GatewayCommand::WatchLogs(request, reply)),
            Err(failure) => refused(failure),
        }
    }
}

/// From the watchdog: answers at once while the registry works through its mailbox.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Ping;

impl Handler<Ping> for RegistryActor {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

/// From the daemon's stop: stop all gateways, then reply once all that came of spawns is written.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Drain;

impl Handler<Drain> for RegistryActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        self.fleet.stop();
        self.store.end_recording();
        let closing: Vec<_> =
            self.handles.values().map(|handle| handle.ask(CLOSE_BUDGET, GatewayCommand::ShutDown)).collect();
        let count = closing.len();
        let observed = self.fleet.take_unsaved();
        let (store, health_log) = (self.store.clone(), self.health_log.clone());
        let drain = async move {
            if join_all(closing).await.contains(&Err(NoAnswer::Late)) {
                warn!(gateways = count, "not every gateway connection could be closed in time");
            }
            if let Err(failure) = store.save_observed(observed).await {
                warn!(%failure, "the last observations could not be stored");
            }
            health_log.flush().await;
        };
        Box::pin(drain.into_actor(self).then(|(), registry, ctx| {
            let (settled, all_settled) = oneshot::channel();
            registry.settled = Some(settled);
            registry.feed(ctx, |_, _| ());
            async move { all_settled.await.unwrap_or_default() }.into_actor(registry)
        }))
    }
}

/// From HTTP: pause, resume or kill what runs in a session of one gateway. Replies with the gateway's words.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Held<Value>, Failure>")]
pub struct ControlSessionAt {
    /// The gateway that holds the session.
    pub gateway: GatewayId,
    /// The session's key.
    pub session_key: String,
    /// What to do.
    pub action: SessionAction,
    /// Deadline.
    pub timeout: Duration,
}

impl Handler<ControlSessionAt> for RegistryActor {
    type Result = ResponseFuture<Result<Held<Value>, Failure>>;

    fn handle(&mut self, message: ControlSessionAt, _: &mut Self::Context) -> Self::Result {
        let ControlSessionAt { gateway, session_key, action, timeout } = message;
        let what = match action {
            SessionAction::Pause => "answer the pause",
            SessionAction::Resume => "answer the resume",
            SessionAction::Kill => "answer the kill",
        };
        let words = (what, "It may have been carried out: look at the session before you repeat it.");
        let control = ControlSession { session_key, action, timeout };
        match self.fleet.visible(gateway) {
            Ok(member) => self.ask(member, timeout, words, |reply| GatewayCommand::Control(control, reply)),
            Err(failure) => refused(failure),
        }
    }
}

impl RegistryActor {
    /// The name of a gateway that is usable, and the way to its actor.
    fn usable(&self, member: &Member) -> Result<(String, &GatewayHandle), Failure> {
        let handle = self.handles.get(&member.record.id).filter(|_| member.is_usable());
        let handle = handle.ok_or_else(|| member.unavailable(self.clock.wall_ms()))?;
        Ok((member.record.name.clone(), handle))
    }

    /// Passes a command on to a gateway that is usable.
    fn ask<T: 'static>(
        &self,
        member: &Member,
        timeout: Duration,
        words: (&'static str, &'static str),
        command: impl FnOnce(Reply<Result<T, Failure>>) -> GatewayCommand,
    ) -> ResponseFuture<Result<T, Failure>> {
        match self.usable(member) {
            Ok((name, handle)) => ask(handle, name, timeout, words, command),
            Err(failure) => refused(failure),
        }
    }
}

/// Hands a command to a gateway's actor. `what` it then failed to do in time goes into the failure with `help`.
fn ask<T: 'static>(
    handle: &GatewayHandle,
    name: String,
    timeout: Duration,
    (what, help): (&'static str, &'static str),
    command: impl FnOnce(Reply<Result<T, Failure>>) -> GatewayCommand,
) -> ResponseFuture<Result<T, Failure>> {
    let asked = handle.ask(timeout + GRACE, command);
    Box::pin(async move {
        match asked.await {
            Ok(answer) => answer,
            Err(NoAnswer::Late) => Err(Failure::new(
                ErrorCode::GatewayTimeout,
                format!("Gateway \"{name}\" did not {what} within {} ms", timeout.as_millis()),
            )
            .with_help(help)),
            Err(NoAnswer::Ended) => Err(Failure::new(
                ErrorCode::GatewayUnavailable,
                format!("What holds the connection to gateway \"{name}\" ended before it answered"),
            )
            .with_help("Whether the gateway carries the request out is not known; it is connected to anew by itself.")
            .with_retry_after(Duration::from_secs(1))),
            Err(NoAnswer::NotTaken) => Err(Failure::new(
                ErrorCode::GatewayUnavailable,
                format!("The connection to gateway \"{name}\" is being set up anew"),
            )
            .with_help("Try again in a second.")
            .with_retry_after(Duration::from_secs(1))),
        }
    })
}

fn refused<T: 'static>(failure: Failure) -> ResponseFuture<Result<T, Failure>> {
    Box::pin(async { Err(failure) })
}
