//! What is asked of a gateway about its log.

use actix::prelude::*;

use crate::error::Failure;
use crate::log_watch::{LogSubscription, LogWish};

/// From the registry: follow the gateway's log. Replies once the first entries are there; what follows comes through the
/// subscription, also after the gateway was away, until it is dropped or this actor ends.
///
/// Fails with `not_supported_by_gateway`, `gateway_unavailable`, `gateway_busy`, `gateway_timeout` or `gateway_refused`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<LogSubscription, Failure>")]
pub struct WatchLogs(pub LogWish);
