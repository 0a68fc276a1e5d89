//! Following a gateway's log: passed on to the gateway's actor, which keeps the follower until it goes.

use actix::prelude::*;

use super::RegistryActor;
use super::messages::WatchGatewayLogs;
use super::requests::{GRACE, unusable};
use crate::error::{ErrorCode, Failure};
use crate::gateway::log_messages::WatchLogs;
use crate::log_watch::LogSubscription;

impl Handler<WatchGatewayLogs> for RegistryActor {
    type Result = ResponseFuture<Result<LogSubscription, Failure>>;

    fn handle(&mut self, message: WatchGatewayLogs, _: &mut Self::Context) -> Self::Result {
        let WatchGatewayLogs { gateway, wish, timeout } = message;
        let Some(entry) = self.entries.get(&gateway).filter(|entry| !entry.is_hidden()) else {
            return Box::pin(async move { Err(Failure::gateway_not_found(gateway)) });
        };
        let name = entry.record.name.clone();
        let Some(door) = entry.door.as_ref().filter(|_| entry.report.is_usable() && !self.stopping) else {
            let failure = unusable(&name, &entry.report);
            return Box::pin(async { Err(failure) });
        };
        let sent = door.watch_logs.send(WatchLogs(wish));
        Box::pin(async move {
            match tokio::time::timeout(timeout + GRACE, sent).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(Failure::unavailable("supervision of this gateway")),
                Err(_) => Err(Failure::new(
                    ErrorCode::GatewayTimeout,
                    format!("Gateway \"{name}\" did not give out its log within {} ms", timeout.as_millis()),
                )
                .with_help("Try again; if it stays so, look at the gateway's load.")),
            }
        })
    }
}
