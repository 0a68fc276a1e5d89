//! A place at the event hub, for both kinds of stream.

use std::ops::Deref;
use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event::{EventFilter, EventKind};
use gatewarden_actors::event_hub::messages::Subscribe;
use gatewarden_actors::event_hub::subscriber::Subscription;
use gatewarden_actors::log_relay::{LogLease, RelayLogs};
use gatewarden_actors::store::records::Role;

use super::wanted::Wanted;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// Wishes for log entries under way at one time.
pub(crate) const RELAYS: usize = 64;
/// Events that may wait for one client; beyond that it loses the oldest.
const QUEUE: usize = 256;
/// When to try again where all places are taken.
const WAIT: Duration = Duration::from_secs(10);

/// A client's place at the hub; where it asked for log entries, they come as long as it holds this.
pub(crate) struct Place {
    subscription: Subscription,
    logs: Option<LogLease>,
}

impl Place {
    /// Whether gateways are asked for their logs on this client's behalf.
    pub(crate) fn has_logs(&self) -> bool {
        self.logs.is_some()
    }
}

impl Deref for Place {
    type Target = Subscription;

    fn deref(&self) -> &Subscription {
        &self.subscription
    }
}

/// Subscribes a client to what it wants and may see.
///
/// # Errors
/// `unavailable` where too many follow events already, or the daemon is stopping; `gateway_not_found` for log entries of a
/// gateway that isn't there.
pub(crate) async fn join(front: &Front, caller: &Caller, wanted: &Wanted) -> Result<Place, ApiError> {
    let kinds = kinds_for(caller.key.role, &wanted.kinds);
    let filter = if kinds.is_empty() {
        EventFilter::nothing()
    } else {
        EventFilter::new(&kinds, caller.is_at_least(Role::Admin)).with_logs_of(wanted.logs_of.clone())
    };
    for id in wanted.logs_of.iter().flat_map(|ids| ids.iter()) {
        if front.app.roster.get(*id).is_none() {
            return Err(Failure::gateway_not_found(*id).into());
        }
    }
    let subscription = subscribe(front, Subscribe { filter, last_seen: wanted.last_seen, queue: QUEUE }).await?;
    // Only whoever names them: a stream of everything must not make the daemon read the logs of a whole fleet.
    let logs = if kinds.contains(&EventKind::Log) {
        let relay = RelayLogs { gateways: wanted.logs_of.clone() };
        Some(front.app.log_relay.send(relay, front.settings.request_deadline).await?)
    } else {
        None
    };
    Ok(Place { subscription, logs })
}

/// A place that tells only when streams end because the daemon stops.
pub(crate) async fn join_for_the_end(front: &Front) -> Result<Subscription, ApiError> {
    subscribe(front, Subscribe { filter: EventFilter::nothing(), last_seen: None, queue: 1 }).await
}

/// Without a choice: all but log entries. Those are for operators.
fn kinds_for(role: Role, wanted: &[EventKind]) -> Vec<EventKind> {
    let mut kinds = wanted.to_vec();
    if kinds.is_empty() {
        kinds = EventKind::ALL.to_vec();
        kinds.retain(|kind| *kind != EventKind::Log);
    }
    kinds.retain(|kind| *kind != EventKind::Log || role >= Role::Operator);
    kinds
}

async fn subscribe(front: &Front, subscribe: Subscribe) -> Result<Subscription, ApiError> {
    let joining = tokio::time::timeout(front.settings.request_deadline, front.app.event_hub.send(subscribe));
    match joining.await {
        Ok(Ok(Some(subscription))) => Ok(subscription),
        Ok(Ok(None)) => Err(ApiError(
            Failure::new(ErrorCode::Unavailable, "Too many clients follow events, or the daemon is stopping")
                .with_help("Wait as long as the Retry-After header says, and close streams that nobody reads.")
                .with_retry_after(WAIT),
        )),
        Ok(Err(_)) | Err(_) => Err(Failure::unavailable("event hub").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_entries_come_to_operators_who_name_them() {
        let log = [EventKind::Log, EventKind::GatewayStatus];
        assert_eq!(kinds_for(Role::Operator, &log), log);
        assert_eq!(kinds_for(Role::Admin, &log), log);
        assert_eq!(kinds_for(Role::Viewer, &log), [EventKind::GatewayStatus]);
        assert_eq!(kinds_for(Role::Viewer, &[EventKind::Log]), []);
        let everything = kinds_for(Role::Admin, &[]);
        assert_eq!(everything.len(), EventKind::ALL.len() - 1);
        assert!(!everything.contains(&EventKind::Log));
    }
}
