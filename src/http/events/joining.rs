//! A place at the event hub, for both kinds of stream.

use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event::EventFilter;
use gatewarden_actors::event_hub::messages::Subscribe;
use gatewarden_actors::event_hub::subscriber::Subscription;
use gatewarden_actors::store::records::Role;

use super::wanted::Wanted;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// Events that may wait for one client; beyond that it loses the oldest.
const QUEUE: usize = 256;
/// When to try again where all places are taken.
const WAIT: Duration = Duration::from_secs(10);

/// Subscribes a client to what it wants and may see.
///
/// # Errors
/// `unavailable` where too many follow events already, or the daemon is stopping.
pub(crate) async fn join(front: &Front, caller: &Caller, wanted: &Wanted) -> Result<Subscription, ApiError> {
    let filter = EventFilter::new(&wanted.kinds, caller.is_at_least(Role::Admin));
    let subscribe = Subscribe { filter, last_seen: wanted.last_seen, queue: QUEUE };
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
