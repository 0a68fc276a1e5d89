//! A place at the event hub, for both kinds of stream.

use std::ops::Deref;
use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event::{EventFilter, EventKind};
use gatewarden_actors::event_hub::messages::Subscribe;
use gatewarden_actors::event_hub::subscriber::Subscription;
use gatewarden_actors::log_relay::{LogLease, RelayLogs};
use gatewarden_actors::machines::event_places::{Holder, NoPlace};
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
/// `rate_limited` where this key has its share of the places; `unavailable` where all are taken, or the daemon is stopping;
/// `gateway_not_found` for log entries of a
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
    let subscribe_to = Subscribe { holder: holder(caller), filter, last_seen: wanted.last_seen, queue: QUEUE };
    let subscription = subscribe(front, subscribe_to).await?;
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
pub(crate) async fn join_for_the_end(front: &Front, caller: &Caller) -> Result<Subscription, ApiError> {
    let (holder, filter) = (holder(caller), EventFilter::nothing());
    subscribe(front, Subscribe { holder, filter, last_seen: None, queue: 1 }).await
}

/// Places are counted by key: browser sessions count as the key that they were opened with.
fn holder(caller: &Caller) -> Holder {
    Holder { key: caller.key.limit_key(), is_admin: caller.is_at_least(Role::Admin) }
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
        Ok(Ok(Ok(subscription))) => Ok(subscription),
        Ok(Ok(Err(none))) => Err(ApiError(refusal(none))),
        Ok(Err(_)) | Err(_) => Err(Failure::unavailable("event hub").into()),
    }
}

fn refusal(none: NoPlace) -> Failure {
    let (code, message, help) = match none {
        NoPlace::Ended => (
            ErrorCode::Unavailable,
            "The daemon is stopping".to_owned(),
            "Wait as long as the Retry-After header says.",
        ),
        NoPlace::Full { places } => (
            ErrorCode::Unavailable,
            format!("All {places} places for clients that follow events are taken"),
            "Close streams that nobody reads, or raise http.max_connections, of which two thirds may follow events.",
        ),
        NoPlace::Share { share } => (
            ErrorCode::RateLimited,
            format!("This key follows events {share} times already, which is its share of the places"),
            "Close streams that nobody reads, use other keys for other clients, or raise http.max_connections.",
        ),
    };
    Failure::new(code, message).with_help(help).with_retry_after(WAIT)
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
