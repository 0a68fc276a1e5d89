//! What goes to and from the actors of local processes.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use gatewarden_api::gateways::Diagnosis;

use super::view::ProcessView;
use crate::error::Failure;
use crate::gateway_record::SharedRecord;
use crate::ids::GatewayId;
use crate::registry::messages::ReconnectGateway;

gatewarden_protocol::named! {
    /// What an operator wants of a local process.
    pub enum ProcessAction {
        /// It shall run. Nothing happens to one that does.
        Start = "start",
        /// It shall not run.
        Stop = "stop",
        /// It shall run, as another process than now.
        Restart = "restart",
        /// A closer look.
        Diagnose = "diagnose",
        /// How it is.
        Status = "status",
    }
}

/// From HTTP: do this with the gateway's process. Replies once it is done and verified, or (without `wait`) once it is begun.
/// `gateway_not_found`, `process_not_managed`, `process_action_failed`, `unavailable`, `store_unavailable`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<ProcessAnswer, Failure>")]
pub struct OrderProcess {
    /// Whose.
    pub gateway: GatewayId,
    /// What.
    pub action: ProcessAction,
    /// Whether to wait for the outcome.
    pub wait: bool,
}

/// How it is now.
#[derive(Debug, Clone)]
pub struct ProcessAnswer {
    /// The process.
    pub view: ProcessView,
    /// The closer look, where one was asked for.
    pub diagnosis: Option<Diagnosis>,
}

/// From the registry, first of all: where notices and requests to dial at once go.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct JoinRegistry {
    pub(crate) notices: Recipient<ProcessNotice>,
    pub(crate) reconnect: Recipient<ReconnectGateway>,
}

/// From the registry: a gateway's record is this, or it is gone.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub(crate) struct RecordSeen {
    pub(crate) gateway: GatewayId,
    pub(crate) record: Option<SharedRecord>,
}

/// From the registry: how the connection to a gateway with a local process is.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "()")]
pub(crate) struct LinkSeen {
    pub(crate) gateway: GatewayId,
    /// Wall ms at which the connection became ready, while it is.
    pub(crate) ready_since_ms: Option<i64>,
    /// Why it isn't ready, in words.
    pub(crate) obstacle: Option<String>,
}

/// To the registry: what is to be shown of a gateway's process; none where it has none any more.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub(crate) struct ProcessNotice {
    pub(crate) gateway: GatewayId,
    pub(crate) view: Option<Arc<ProcessView>>,
}

/// From the daemon's stop: end what was started here. Replies once it
/// has ended, after `within` at the latest.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct EndProcess {
    /// How long it may take until what is left is killed.
    pub within: Duration,
}
