//! What the HTTP front sends to the registry. Reads don't come here: they use [`super::roster::RosterReader`].

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
pub use gatewarden_core::fleet::{SpawnAnswer, SpawnRequest};
use gatewarden_protocol::Secret;
use serde_json::Value;
use tokio::sync::watch;

use super::roster::GatewayView;
use crate::dialing::Held;
use crate::error::Failure;
use crate::gateway_record::{GatewayChange, GatewaySpec, NewGateway, SharedRecord};
use crate::gateway_report::{GatewayReport, ProbeOutcome};
use crate::ids::GatewayId;
use crate::log_watch::{LogRequest, LogSubscription};
use crate::run::SessionAction;
use crate::spawn::{Idempotency, SpawnSpec};
use crate::store::records::MainAgent;

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

/// From HTTP: store a change, tell the actor, reply. `gateway_not_found`, `name_taken`, `precondition_failed`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<GatewayCommitted, Failure>")]
pub struct UpdateGateway {
    /// Which.
    pub id: GatewayId,
    /// What; not empty.
    pub change: GatewayChange,
    /// Only while the gateway is set as this record says.
    pub from: Option<SharedRecord>,
}

/// From HTTP: delete the record, stop the actor. False where there was none; `primary_undeletable`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<bool, Failure>")]
pub struct DeleteGateway(pub GatewayId);

/// From the organization API: reserve name and address of a new gateway and dial it. It doesn't become primary by this, and
/// nobody else sees it until it is confirmed; what is neither confirmed nor abandoned when the [`Trial`] is dropped is removed. `name_taken`, `address_taken`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Trial, Failure>")]
pub struct ReserveGateway(pub GatewaySpec);

/// A gateway under trial. Dropping it ends the trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// As dialled; its id is what requests to it name.
    pub record: SharedRecord,
    /// What its actor says, from the first word on.
    pub reports: watch::Receiver<GatewayReport>,
}

/// From the organization API: dial what is not stored, to see whether it could be.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Trial, Failure>")]
pub struct TryGateway(pub GatewaySpec);

/// From the organization API: the gateway has this main agent. A reserved gateway becomes one that everybody sees, in the same
/// write. `gateway_not_found`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<GatewayCommitted, Failure>")]
pub struct ConfirmGateway {
    /// Reserved, or a gateway already.
    pub id: GatewayId,
    /// As found or made there.
    pub main: MainAgent,
}

/// From the organization API: end a trial and remove what was reserved for it. A gateway that everybody sees is left alone.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<(), Failure>")]
pub struct AbandonGateway(pub GatewayId);

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
#[rtype(result = "Result<(GatewayId, Held<Value>), Failure>")]
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

/// From the watchdog: answers at once while the registry works through its mailbox.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Ping;

/// From the daemon's stop: stop all gateways, then reply.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Drain;

/// From HTTP: record a piece of work, find it a gateway, send it there, reply with the acceptance.
///
/// Fails with `gateway_not_found`, `gateway_unavailable`, `gateway_busy`, `no_usable_gateway` (nothing was recorded),
/// `store_unavailable` (nothing was sent), `idempotency_mismatch`, or with what the gateway said: `gateway_refused`,
/// `not_supported_by_gateway`, and `gateway_timeout` where it may be under way all the same. The latter carry the spawn's
/// id in their details.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<SpawnAnswer, Failure>")]
pub struct SpawnWork {
    /// What to run, where, and until when the acceptance is awaited.
    pub request: SpawnRequest,
    /// What is recorded of it; gateway and route are filled in by the fleet.
    pub spec: SpawnSpec,
    /// The request as JSON text, whole. Stored sealed, as values of its environment are secrets.
    pub text: Secret,
    /// The client's idempotency key.
    pub idempotency: Option<Idempotency>,
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
