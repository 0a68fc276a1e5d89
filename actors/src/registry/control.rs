//! Control of sessions: to the gateway that holds the session, never elsewhere.

use actix::prelude::*;
use serde_json::Value;

use super::RegistryActor;
use super::messages::ControlSessionAt;
use super::requests::GRACE;
use crate::dialing::Held;
use crate::error::{ErrorCode, Failure};
use crate::gateway::messages::Control;
use crate::run::ControlSession;

impl Handler<ControlSessionAt> for RegistryActor {
    type Result = ResponseFuture<Result<Held<Value>, Failure>>;

    fn handle(&mut self, message: ControlSessionAt, _: &mut Self::Context) -> Self::Result {
        let ControlSessionAt { gateway, session_key, action, timeout } = message;
        let Some(entry) = self.entries.get(&gateway).filter(|entry| !entry.is_hidden()) else {
            return Box::pin(async move { Err(Failure::gateway_not_found(gateway)) });
        };
        let name = entry.record.name.clone();
        let Some(door) = entry.door.as_ref().filter(|_| entry.report.is_usable()) else {
            let failure = super::requests::unusable(&name, &entry.report);
            return Box::pin(async { Err(failure) });
        };
        let sent = door.control.send(Control(ControlSession { session_key, action, timeout }));
        Box::pin(async move {
            match tokio::time::timeout(timeout + GRACE, sent).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(Failure::unavailable("supervision of this gateway")),
                Err(_) => Err(Failure::new(
                    ErrorCode::GatewayTimeout,
                    format!(
                        "Gateway \"{name}\" did not answer the {} within {} ms",
                        action.as_str(),
                        timeout.as_millis()
                    ),
                )
                .with_help("It may have been carried out: look at the session before you repeat it.")),
            }
        })
    }
}
