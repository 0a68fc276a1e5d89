//! One subscriber: the hub offers without waiting, the reader takes in order.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::Shared;
use crate::event::{Event, EventFilter};
use crate::lagging_queue::{Capacity, LaggingReceiver, LaggingSender, Lossy, lagging_queue};
use crate::machines::event_places::Holder;

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The next event.
    Event(Arc<Event>),
    /// The reader was too slow: this many of its oldest events were dropped.
    Lagged {
        /// How many.
        dropped: u64,
    },
    /// Events were missed that can't be replayed: read the state anew and go on from this id.
    Reset {
        /// The newest event's id.
        last_id: u64,
    },
}

impl Lossy for Delivery {
    fn lagged(dropped: u64) -> Self {
        Self::Lagged { dropped }
    }
}

/// The hub's end.
#[derive(Debug)]
pub(super) struct SubscriptionFeed {
    queue: LaggingSender<Delivery>,
    pub(super) holder: Holder,
    pub(super) filter: EventFilter,
}

/// The reader's end. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    queue: LaggingReceiver<Delivery>,
    starts_after: u64,
    shared: Arc<Shared>,
}

/// Makes both ends, with what a returning subscriber has missed.
pub(super) fn pair(
    holder: Holder,
    filter: EventFilter,
    capacity: usize,
    starts_after: u64,
    missed: Vec<Delivery>,
    shared: Arc<Shared>,
) -> (SubscriptionFeed, Subscription) {
    // Events are shared with the ring and bounded in size: their number bounds them.
    let (sender, receiver) = lagging_queue(Capacity { items: capacity, bytes: usize::MAX }, missed);
    (SubscriptionFeed { queue: sender, holder, filter }, Subscription { queue: receiver, starts_after, shared })
}

impl SubscriptionFeed {
    /// Whether somebody still reads.
    pub(super) fn is_read(&self) -> bool {
        self.queue.is_read()
    }

    /// Queues a delivery if it passes the filter, and says how many older ones had to go for it. None once nobody reads any
    /// more.
    pub(super) fn offer(&self, delivery: &Delivery) -> Option<u64> {
        if !self.is_read() {
            return None;
        }
        match delivery {
            Delivery::Event(event) if !self.filter.passes(event) => Some(0),
            _ => Some(self.queue.send([delivery.clone()])),
        }
    }
}

impl Subscription {
    /// The id after which this subscription misses nothing: whoever returns with it before the first event has come gets
    /// that event.
    pub fn starts_after(&self) -> u64 {
        self.starts_after
    }

    /// The number of the newest event: where nothing waits afterwards, this reader has taken it and all before it that it wants.
    pub fn newest(&self) -> u64 {
        self.shared.newest.load(Ordering::Acquire)
    }

    /// The next delivery; `None` once the hub has ended the stream and all is read.
    pub async fn next(&self) -> Option<Delivery> {
        self.queue.next().await
    }

    /// The next delivery if one waits.
    pub fn try_next(&self) -> Option<Delivery> {
        self.queue.try_next()
    }
}
