//! One subscriber's bounded queue: the hub offers without waiting, the reader takes in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::event::{Event, EventFilter};
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

#[derive(Debug)]
struct Queue {
    /// What a returning subscriber has missed, read first. The ring bounds it, so nothing of it is ever dropped.
    replay: VecDeque<Arc<Event>>,
    /// What came since; bounded by the capacity.
    waiting: VecDeque<Delivery>,
    dropped: u64,
    ended: bool,
}

impl Queue {
    fn take(&mut self) -> Option<Delivery> {
        if let Some(event) = self.replay.pop_front() {
            return Some(Delivery::Event(event));
        }
        if self.dropped > 0 {
            return Some(Delivery::Lagged { dropped: std::mem::take(&mut self.dropped) });
        }
        self.waiting.pop_front()
    }
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    news: Notify,
    capacity: usize,
}

/// The hub's end.
#[derive(Debug)]
pub(super) struct SubscriptionFeed {
    shared: Arc<Shared>,
    holder: Holder,
    filter: EventFilter,
}

/// The reader's end. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    starts_after: u64,
}

/// Makes both ends; `capacity` is at least one.
pub(super) fn pair(
    holder: Holder,
    filter: EventFilter,
    capacity: usize,
    starts_after: u64,
) -> (SubscriptionFeed, Subscription) {
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue { replay: VecDeque::new(), waiting: VecDeque::new(), dropped: 0, ended: false }),
        news: Notify::new(),
        capacity: capacity.max(1),
    });
    (SubscriptionFeed { shared: shared.clone(), holder, filter }, Subscription { shared, starts_after })
}

impl Shared {
    /// The queue is held for a few moves only and nothing in there panics, so poison carries no meaning.
    fn with<T>(&self, action: impl FnOnce(&mut Queue) -> T) -> T {
        action(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SubscriptionFeed {
    /// Who has the place.
    pub(super) fn holder(&self) -> Holder {
        self.holder
    }

    /// Whether somebody still reads.
    pub(super) fn is_read(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Queues a delivery if it passes the filter, and says how many older ones had to go for it. None once nobody reads any
    /// more.
    pub(super) fn offer(&self, delivery: &Delivery) -> Option<u64> {
        if !self.is_read() {
            return None;
        }
        if let Delivery::Event(event) = delivery
            && !self.filter.passes(event)
        {
            return Some(0);
        }
        let lost = self.shared.with(|queue| {
            let before = queue.dropped;
            queue.waiting.push_back(delivery.clone());
            while queue.waiting.len() > self.shared.capacity {
                queue.waiting.pop_front();
                queue.dropped += 1;
            }
            queue.dropped - before
        });
        self.shared.news.notify_one();
        Some(lost)
    }

    /// Queues what a returning subscriber has missed.
    pub(super) fn preload(&self, events: Vec<Arc<Event>>) {
        self.shared.with(|queue| queue.replay.extend(events));
        self.shared.news.notify_one();
    }
}

impl Drop for SubscriptionFeed {
    fn drop(&mut self) {
        self.shared.with(|queue| queue.ended = true);
        self.shared.news.notify_one();
    }
}

impl Subscription {
    /// The id after which this subscription misses nothing: whoever returns with it before the first event has come gets
    /// that event.
    pub fn starts_after(&self) -> u64 {
        self.starts_after
    }

    /// The next delivery; `None` once the hub has ended the stream and all is read.
    pub async fn next(&self) -> Option<Delivery> {
        loop {
            let taken = self.shared.with(|queue| match queue.take() {
                Some(delivery) => Some(Some(delivery)),
                None if queue.ended => Some(None),
                None => None,
            });
            match taken {
                Some(delivery) => return delivery,
                None => self.shared.news.notified().await,
            }
        }
    }

    /// The next delivery if one waits.
    pub fn try_next(&self) -> Option<Delivery> {
        self.shared.with(Queue::take)
    }
}
