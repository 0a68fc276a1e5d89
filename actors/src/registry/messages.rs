//! What the HTTP front sends to the registry. Reads don't come here: they use [`super::roster::RosterReader`].

use std::time::Duration;

use actix::prelude::*;
use serde_json::Value;

use super::roster::GatewayView;
use crate::error::Failure;
use crate::gateway::messages::{FromGateway, ProbeOutcome};
use crate::gateway_record::{GatewayChange, NewGateway};
use crate::ids::GatewayId;
use std::sync::Arc;

/// A gateway was created or changed, and how.
#[derive(Debug, Clone)]
pub struct GatewayCommitted {
    /// The gateway as readers now see it.
    pub view: Arc<GatewayView>,
    /// Names of other records with the same address: allowed, but worth a warning.
    pub same_address: Vec<String>,
    /// How many agents were registered with it.
    pub agents_registered: usize,
}

/// From HTTP: store a new gateway, start its actor, reply. `name_taken`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<GatewayCommitted, Failure>")]
pub struct CreateGateway(pub NewGateway);

/// From HTTP: store a change, tell the actor, reply. `gateway_not_found`, `name_taken`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<GatewayCommitted, Failure>")]
pub struct UpdateGateway {
    /// Which.
    pub id: GatewayId,
    /// What; not empty.
    pub change: GatewayChange,
}

/// From HTTP: delete the record, stop the actor. False where there was none; `primary_undeletable`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<bool, Failure>")]
pub struct DeleteGateway(pub GatewayId);

/// From HTTP: drop the connection and dial now; also starts a parked gateway again.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<Arc<GatewayView>, Failure>")]
pub struct ReconnectGateway(pub GatewayId);

/// From HTTP: probe one gateway, or all at the same time. Replies within `timeout` and a little.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<Vec<(GatewayId, ProbeOutcome)>, Failure>")]
pub struct ProbeGateways {
    /// One, or all.
    pub only: Option<GatewayId>,
    /// Budget of each probe.
    pub timeout: Duration,
}

/// From HTTP: one request to one gateway, or to the acting primary.
/// Replies with the gateway that answered; `no_usable_gateway` where there is none.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<(GatewayId, Value), Failure>")]
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

/// From the watchdog: answers at once while the registry works through its mailbox.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Ping;

/// From the daemon's stop: stop all gateways, then reply.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Drain;

/// Notices of `Gateway` actors arrive as [`FromGateway`].
pub type Notice = FromGateway;
