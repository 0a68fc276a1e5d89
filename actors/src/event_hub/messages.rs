//! What the hub takes, and how it gets there: publishers hand events over without waiting, and never more than the hub can hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::prelude::*;
use serde_json::Value;

use super::subscriber::Subscription;
use crate::event::{EventFilter, EventKind};
use crate::event_data::EventData;
use crate::machines::event_places::{Holder, NoPlace};

/// From [`EventPublisher`]: number, keep and deliver one event. No reply; the hub never refuses.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(super) struct Publish {
    pub(super) kind: EventKind,
    /// Without secrets.
    pub(super) data: Value,
    /// Counts the event as on its way until it is handled.
    _on_its_way: OnItsWay,
}

/// From HTTP: a new subscriber.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Subscription, NoPlace>")]
pub struct Subscribe {
    /// For whom.
    pub holder: Holder,
    /// What it wants and may see.
    pub filter: EventFilter,
    /// The id of the last event that it saw, where it returns.
    pub last_seen: Option<u64>,
    /// How many events may wait for it.
    pub queue: usize,
}

/// From the daemon's stop: end every stream and refuse new ones.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct EndStreams;

/// Events that may be on their way to the hub.
const MAX_ON_THEIR_WAY: usize = 20_000;

/// Counts events between publisher and hub.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    on_their_way: AtomicUsize,
    lost: AtomicUsize,
}

impl Backlog {
    /// How many events were dropped since the last call.
    pub(super) fn take_lost(&self) -> usize {
        self.lost.swap(0, Ordering::AcqRel)
    }
}

/// Counts one event as on its way until dropped.
#[derive(Debug)]
struct OnItsWay(Arc<Backlog>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.on_their_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Hands events to the hub. Cheap to clone.
#[derive(Clone)]
pub struct EventPublisher {
    hub: Recipient<Publish>,
    backlog: Arc<Backlog>,
}

impl EventPublisher {
    pub(super) fn new(hub: Recipient<Publish>, backlog: Arc<Backlog>) -> Self {
        Self { hub, backlog }
    }

    /// Publishes an event with this data.
    pub fn tell<D: EventData>(&self, data: &D) {
        // Data always renders.
        self.publish(D::KIND, serde_json::to_value(data).unwrap_or_default());
    }

    /// Publishes one event. Where the hub can't keep up the event is dropped and every subscriber is told to read the
    /// state anew.
    pub fn publish(&self, kind: EventKind, data: Value) {
        if self.backlog.on_their_way.fetch_add(1, Ordering::AcqRel) >= MAX_ON_THEIR_WAY {
            self.backlog.on_their_way.fetch_sub(1, Ordering::AcqRel);
            self.backlog.lost.fetch_add(1, Ordering::AcqRel);
            return;
        }
        // The mailbox's own bound would refuse at random; this count bounds it.
        self.hub.do_send(Publish { kind, data, _on_its_way: OnItsWay(self.backlog.clone()) });
    }

    /// Events on their way.
    pub fn backlog(&self) -> usize {
        self.backlog.on_their_way.load(Ordering::Acquire)
    }
}
