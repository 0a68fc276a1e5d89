//! The `EventHub` actor: numbers events, keeps the newest for replay, hands them to subscribers without ever waiting.
//!
//! A subscriber has a bounded queue. One that reads too slowly loses its *oldest* queued events and is told how many, so
//! that it can read the state anew; nobody else notices. A publisher never waits either: it hands events over through
//! [`EventPublisher`], which counts what is on its way and drops beyond a bound, telling all subscribers so.

pub mod messages;
mod shared;
pub mod subscriber;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;

pub use self::messages::EventPublisher;
use self::messages::{EndStreams, Publish, Subscribe};
use self::shared::Shared;
use self::subscriber::{Delivery, SubscriptionFeed};
use crate::clock::Clock;
use crate::event::Event;
use crate::machines::event_places::{self, NoPlace};
use crate::machines::replay::{Replay, ReplayRing};
use crate::metrics::Metrics;

/// Events kept for replay.
const RING_EVENTS: usize = 10_000;
/// Bytes of events kept for replay, as server-sent events. What WebSocket subscribers are sent is held until they have it.
const RING_BYTES: usize = 8 * 1024 * 1024;

/// Owns the ring and the subscribers' feeds.
pub struct EventHubActor {
    clock: Clock,
    ring: ReplayRing,
    feeds: Vec<SubscriptionFeed>,
    places: usize,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    ended: bool,
}

impl EventHubActor {
    /// Starts the hub on the current arbiter, with so many places for subscribers. Ids start at the wall time in ms times
    /// 1,000, so that an id of an earlier run is always below those of this one.
    pub fn start(places: usize, clock: Clock, metrics: Arc<Metrics>) -> (Addr<Self>, EventPublisher) {
        let start_id = u64::try_from(clock.wall_ms()).unwrap_or(0).saturating_mul(1_000);
        let shared = Arc::new(Shared::default());
        shared.newest.store(start_id, Ordering::Release);
        let hub = Self {
            clock,
            ring: ReplayRing::new(start_id, RING_EVENTS, RING_BYTES),
            feeds: Vec::new(),
            places,
            shared: shared.clone(),
            metrics,
            ended: false,
        };
        let addr = Actor::start(hub);
        let publisher = EventPublisher::new(addr.clone().recipient(), shared);
        (addr, publisher)
    }

    /// How many older events subscribers lost by it.
    fn deliver(&mut self, delivery: &Delivery) -> u64 {
        let mut dropped = 0;
        self.feeds.retain(|feed| {
            let lost = feed.offer(delivery);
            dropped += lost.unwrap_or_default();
            lost.is_some()
        });
        self.note_wanted();
        dropped
    }

    fn note_wanted(&self) {
        let wanted = self.feeds.iter().fold(0, |bits, feed| bits | feed.filter.bits());
        self.shared.wanted.store(wanted, Ordering::Release);
    }
}

impl Actor for EventHubActor {
    type Context = Context<Self>;
}

impl Handler<Publish> for EventHubActor {
    type Result = ();

    fn handle(&mut self, message: Publish, _: &mut Self::Context) {
        let Publish { kind, data, .. } = message;
        let lost = self.shared.take_lost();
        if lost > 0 {
            self.metrics.count_events_lost(u64::try_from(lost).unwrap_or(u64::MAX));
            // Nobody can tell who would have wanted the lost ones.
            self.deliver(&Delivery::Reset { last_id: self.ring.last_id() });
        }
        let id = if kind.is_numbered() { self.ring.next_id() } else { self.ring.last_id() };
        let event = Arc::new(Event::new(id, kind, self.clock.wall_ms(), &data));
        if kind.is_numbered() {
            self.ring.push(&event);
        }
        let dropped = self.deliver(&Delivery::Event(event));
        self.shared.newest.store(id, Ordering::Release);
        self.metrics.count_event(kind, self.feeds.len(), dropped);
    }
}

impl Handler<Subscribe> for EventHubActor {
    type Result = MessageResult<Subscribe>;

    fn handle(&mut self, message: Subscribe, _: &mut Self::Context) -> Self::Result {
        self.feeds.retain(SubscriptionFeed::is_read);
        if self.ended {
            return MessageResult(Err(NoPlace::Ended));
        }
        let of_holder = self.feeds.iter().filter(|feed| feed.holder == message.holder).count();
        if let Err(none) = event_places::admit(self.places, self.feeds.len(), of_holder, message.holder) {
            return MessageResult(Err(none));
        }
        let newest = self.ring.last_id();
        let replay = message.last_seen.map(|last_seen| (last_seen, self.ring.since(last_seen, &message.filter)));
        let (starts_after, missed) = match replay {
            Some((last_seen, Replay::Missed(events))) => (last_seen, events.into_iter().map(Delivery::Event).collect()),
            Some((_, Replay::Reset)) => (newest, vec![Delivery::Reset { last_id: newest }]),
            None => (newest, Vec::new()),
        };
        let (feed, subscription) =
            subscriber::pair(message.holder, message.filter, message.queue, starts_after, missed, self.shared.clone());
        self.feeds.push(feed);
        self.note_wanted();
        MessageResult(Ok(subscription))
    }
}

impl Handler<EndStreams> for EventHubActor {
    type Result = ();

    fn handle(&mut self, _: EndStreams, _: &mut Self::Context) {
        self.ended = true;
        self.feeds.clear();
    }
}

#[cfg(test)]
mod tests;
