//! The body of a stream of server-sent events: pulled by the connection as fast as the client reads, so that what waits
//! is bounded by the subscription's queue.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::web;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use gatewarden_actors::event_hub::subscriber::Delivery;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::joining::Place;
use crate::http::auth::Caller;
use crate::http::front::Front;

/// Between two comment lines, which keep proxies from closing an idle connection and find out who is gone.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// The same on streams for which gateways are asked: a client that closed its end is noticed at the second write only, and
/// should not be asked for much longer than it is there.
pub(crate) const PULSE: Duration = Duration::from_secs(3);
pub(crate) const COMMENT: Bytes = Bytes::from_static(b": heartbeat\n\n");
/// How long a browser waits before it reconnects.
pub(crate) const RETRY_MS: u64 = 3_000;

struct Open {
    subscription: Place,
    heartbeat: Interval,
    front: web::Data<Front>,
    caller: Caller,
    is_opened: bool,
}

/// The body. Ends with the subscription, or at the first heartbeat at which the caller may no longer read.
pub(super) fn stream(
    subscription: Place,
    front: web::Data<Front>,
    caller: Caller,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut heartbeat = interval(if subscription.has_logs() { PULSE } else { HEARTBEAT });
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let open = Open { subscription, heartbeat, front, caller, is_opened: false };
    unfold(open, |mut open| async move { open.next().await.map(|bytes| (Ok(bytes), open)) })
}

impl Open {
    async fn next(&mut self) -> Option<Bytes> {
        if !self.is_opened {
            self.is_opened = true;
            // An id without data is no event, but a browser that comes back before the first event names it.
            return Some(Bytes::from(format!("retry: {RETRY_MS}\nid: {}\n\n", self.subscription.starts_after())));
        }
        tokio::select! {
            // First the heartbeat: a client that was stuck for long gets nothing more before its key is looked at again.
            biased;
            _ = self.heartbeat.tick() => self.caller.is_still_good(&self.front).await.then_some(COMMENT),
            delivery = self.subscription.next() => delivery.map(|delivery| rendered(&delivery)),
        }
    }
}

fn rendered(delivery: &Delivery) -> Bytes {
    match delivery {
        Delivery::Event(event) => event.sse.clone(),
        Delivery::Lagged { dropped } => Bytes::from(format!("event: lagged\ndata: {{\"dropped\":{dropped}}}\n\n")),
        Delivery::Reset { last_id } => {
            Bytes::from(format!("event: reset\nid: {last_id}\ndata: {{\"last_id\":{last_id}}}\n\n"))
        }
    }
}
