//! What the registry tells a `Gateway` actor, and what that actor says back.

use std::time::Duration;

use actix::prelude::*;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::dialing::Held;
use crate::error::Failure;
use crate::gateway_notice::{GatewayNotice, GatewayOrder};
use crate::gateway_report::ProbeOutcome;
use crate::ids::GatewayId;
use crate::log_watch::{LogSubscription, LogWish};
use crate::run::{Accepted, ControlSession, LookUpRun, LookedUp, NoAnswer, NotAccepted, StartRun};

/// Where the answer to a command goes. It is dropped unanswered where the actor ends before.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// Everything that a `Gateway` actor may be told.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) enum GatewayCommand {
    /// What needs no answer.
    Order(GatewayOrder),
    /// Check the gateway now; answered at the latest after `timeout`, for all steps together.
    Probe { timeout: Duration, reply: Reply<ProbeOutcome> },
    /// Send one request (`params` is an object) and wait for its first reply.
    /// Fails with `gateway_unavailable`, `gateway_timeout`, `gateway_refused`, `gateway_busy` or `not_supported_by_gateway`.
    Call { method: String, params: Value, timeout: Duration, reply: Reply<Result<Held<Value>, Failure>> },
    /// Start a run. Answered with the acceptance; what follows comes as a notice.
    StartRun(StartRun, Reply<Result<Accepted, NotAccepted>>),
    /// What became of a run?
    LookUpRun(LookUpRun, Reply<Result<LookedUp, Failure>>),
    /// Control what runs in a session.
    Control(ControlSession, Reply<Result<Held<Value>, Failure>>),
    /// Follow the gateway's log. Answered once the first entries are there; what follows comes through the subscription, also
    /// after the gateway was away, until it is dropped or this actor ends.
    /// Fails with `not_supported_by_gateway`, `gateway_unavailable`, `gateway_busy`, `gateway_timeout` or `gateway_refused`.
    WatchLogs(LogWish, Reply<Result<LogSubscription, Failure>>),
    /// Close the socket with a reason, fail what is pending, stop. Answered when done.
    ShutDown(Reply<()>),
}

/// The way to one `Gateway` actor.
#[derive(Clone)]
pub struct GatewayHandle {
    commands: Recipient<GatewayCommand>,
}

impl GatewayHandle {
    /// To the actor that takes these commands.
    pub(crate) fn new(commands: Recipient<GatewayCommand>) -> Self {
        Self { commands }
    }

    /// Whether the actor is alive. False for good once it stopped or panicked.
    pub(crate) fn is_alive(&self) -> bool {
        self.commands.connected()
    }

    /// Hands over what needs no answer and must not be lost. Its sender sees to it that only few are under way.
    pub(crate) fn tell(&self, command: GatewayCommand) {
        self.commands.do_send(command);
    }

    /// Ends the actor, and doesn't wait for it.
    pub(crate) fn shut_down(&self) {
        self.tell(GatewayCommand::ShutDown(oneshot::channel().0));
    }

    /// Hands over a command and waits for its answer. It is handed over before this returns, if it is at all.
    pub(crate) fn ask<T: 'static>(
        &self,
        within: Duration,
        command: impl FnOnce(Reply<T>) -> GatewayCommand,
    ) -> ResponseFuture<Result<T, NoAnswer>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.try_send(command(reply));
        Box::pin(async move {
            sent.map_err(|_| NoAnswer::NotTaken)?;
            match tokio::time::timeout(within, answer).await {
                Ok(answer) => answer.map_err(|_| NoAnswer::Ended),
                Err(_) => Err(NoAnswer::Late),
            }
        })
    }
}

/// From a `Gateway` actor to whoever supervises it (the registry; a recorder in tests).
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct FromGateway {
    /// Who says it.
    pub id: GatewayId,
    /// The incarnation that says it: a restarted actor has a higher one, and a late word of the old one is ignored.
    pub incarnation: u64,
    /// What it says.
    pub notice: GatewayNotice,
}
