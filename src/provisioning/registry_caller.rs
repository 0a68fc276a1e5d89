//! The way to a real gateway: through the registry, with patience for a gateway that goes away in the middle.

use std::cell::Cell;
use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::messages::CallGateway;
use serde_json::Value;

use super::GatewayCaller;
use crate::http::senders::BoundedSender;

/// What the registry may take beyond the deadline of a call.
const GRACE: Duration = Duration::from_secs(1);
/// Between looks at a gateway that went away.
const PAUSE: Duration = Duration::from_millis(500);

/// Asks one gateway. Older releases restart over a change of their configuration, such as a new agent: a gateway that has
/// answered before is waited for, one that is away from the start is not.
pub(crate) struct RegistryCaller<'a> {
    door: &'a BoundedSender<CallGateway>,
    gateway: GatewayId,
    timeout: Duration,
    patience: Duration,
    has_answered: Cell<bool>,
}

impl<'a> RegistryCaller<'a> {
    /// `timeout`: deadline of each request; `patience`: how long the gateway may be away.
    pub(crate) fn new(
        door: &'a BoundedSender<CallGateway>,
        gateway: GatewayId,
        timeout: Duration,
        patience: Duration,
    ) -> Self {
        Self { door, gateway, timeout, patience, has_answered: Cell::new(false) }
    }

    /// The same, which waits for a gateway that is expected back right from the start.
    #[must_use]
    pub(crate) fn expecting_it_back(self) -> Self {
        self.has_answered.set(true);
        self
    }
}

impl GatewayCaller for RegistryCaller<'_> {
    async fn call_once(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let message =
            CallGateway { target: Some(self.gateway), method: method.to_owned(), params, timeout: self.timeout };
        let outcome = self.door.send(message, self.timeout.saturating_add(GRACE)).await;
        let is_away = outcome.as_ref().is_err_and(|failure| failure.code == ErrorCode::GatewayUnavailable);
        if !is_away {
            self.has_answered.set(true);
        }
        outcome.map(|(_, reply)| reply.into_inner())
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let away_since = tokio::time::Instant::now();
        loop {
            let outcome = self.call_once(method, params.clone()).await;
            let is_away = outcome.as_ref().is_err_and(|failure| failure.code == ErrorCode::GatewayUnavailable);
            if !is_away || !self.has_answered.get() || away_since.elapsed() > self.patience {
                return outcome;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
