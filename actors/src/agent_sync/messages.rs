//! What the HTTP front asks the sync.

use std::time::Duration;

use actix::prelude::*;

use crate::error::Failure;
use crate::ids::GatewayId;
use crate::store::records::SyncStats;

/// From HTTP: read a gateway's agents now and take them over. Fails, with nothing changed, with `gateway_not_found`,
/// `no_usable_gateway`, `gateway_unavailable`, `gateway_timeout`, `gateway_refused`, `not_supported_by_gateway`,
/// `store_unavailable`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<SyncedGateway, Failure>")]
pub struct SyncAgents {
    /// The gateway, or the acting primary.
    pub target: Option<GatewayId>,
    /// Deadline of each request to it.
    pub timeout: Duration,
}

/// A gateway whose agents were taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedGateway {
    /// Which.
    pub id: GatewayId,
    /// Its name.
    pub name: String,
    /// What changed.
    pub stats: SyncStats,
}
