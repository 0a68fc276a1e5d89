//! The way to a real gateway: through the registry, with patience for a gateway that goes away in the middle.

use std::cell::Cell;
use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use serde_json::Value;

use super::GatewayCaller;
use crate::http::context::AppContext;

/// Between looks at a gateway that went away.
const PAUSE: Duration = Duration::from_millis(500);

/// Asks one gateway. Older releases restart over a change of their configuration, such as a new agent: a gateway that has
/// answered before is waited for, one that is away from the start is not.
pub(crate) struct RegistryCaller<'a> {
    app: &'a AppContext,
    gateway: GatewayId,
    has_answered: Cell<bool>,
}

impl<'a> RegistryCaller<'a> {
    pub(crate) fn new(app: &'a AppContext, gateway: GatewayId) -> Self {
        Self { app, gateway, has_answered: Cell::new(false) }
    }

    /// The same, which waits for a gateway that is expected back right from the start.
    #[must_use]
    pub(crate) fn expecting_it_back(self) -> Self {
        self.has_answered.set(true);
        self
    }
}

fn is_away(outcome: &Result<Value, Failure>) -> bool {
    outcome.as_ref().is_err_and(|failure| failure.code == ErrorCode::GatewayUnavailable)
}

impl GatewayCaller for RegistryCaller<'_> {
    async fn call_once(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let outcome = self.app.call_gateway(Some(self.gateway), method, params).await;
        let outcome = outcome.map(|(_, reply)| reply.into_inner());
        if !is_away(&outcome) {
            self.has_answered.set(true);
        }
        outcome
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let away_since = tokio::time::Instant::now();
        loop {
            let outcome = self.call_once(method, params.clone()).await;
            let is_given_up = away_since.elapsed() > self.app.settings.restart_patience;
            if !is_away(&outcome) || !self.has_answered.get() || is_given_up {
                return outcome;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
