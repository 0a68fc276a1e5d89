//! What the registry sends to a `Gateway` actor, and what that actor says back.

use std::time::Duration;

use actix::prelude::*;
use serde_json::Value;

use crate::dialing::Held;
use crate::error::Failure;
use crate::gateway_notice::{AuthPermit, GatewayNotice};
use crate::gateway_record::SharedRecord;
use crate::gateway_report::ProbeOutcome;
use crate::ids::GatewayId;
use crate::run::{Accepted, ControlSession, LookUpRun, LookedUp, NotAccepted, StartRun};

/// From the registry: the stored record changed. A change of address, credentials, transport, trust or pairing mode
/// reconnects at once; any other is only taken over. No reply; a dead actor is started again from the new record.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct UpdateRecord(pub SharedRecord);

/// From the registry, for an operator: drop the connection and dial now, leaving blocked or backoff.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Reconnect;

/// From the registry: check the gateway now. Replies when it is known, at the latest after `timeout`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "ProbeOutcome")]
pub struct Probe {
    /// Budget for all steps together.
    pub timeout: Duration,
}

/// From the registry: send one request and wait for its (first) reply.
/// Fails with `gateway_unavailable`, `gateway_timeout`, `gateway_refused`, `gateway_busy` or `not_supported_by_gateway`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Held<Value>, Failure>")]
pub struct Call {
    /// Method name on the wire.
    pub method: String,
    /// Its parameters (an object).
    pub params: Value,
    /// Deadline for the reply.
    pub timeout: Duration,
}

/// From the registry: close the socket with a reason, fail what is pending, stop. Replies when done.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct ShutDown;

/// From the registry, in answer to [`GatewayNotice::PermitWanted`].
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct Permit(pub AuthPermit);

/// From the registry: start a run. Replies with the acceptance; what follows comes as a notice.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Accepted, NotAccepted>")]
pub struct Start(pub StartRun);

/// From the registry: what became of a run?
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<LookedUp, Failure>")]
pub struct LookUp(pub LookUpRun);

/// From the registry: control what runs in a session.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Held<Value>, Failure>")]
pub struct Control(pub ControlSession);

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
