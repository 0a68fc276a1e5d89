//! What the hub takes, and how it gets there: publishers hand events over without waiting, and never more than the hub can hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;
use serde_json::Value;

use super::shared::Shared;
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

/// Counts one event as on its way until dropped.
#[derive(Debug)]
struct OnItsWay(Arc<Shared>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.on_their_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Hands events to the hub. Cheap to clone.
#[derive(Clone)]
pub struct EventPublisher {
    hub: Recipient<Publish>,
    shared: Arc<Shared>,
}

impl EventPublisher {
    pub(super) fn new(hub: Recipient<Publish>, shared: Arc<Shared>) -> Self {
        Self { hub, shared }
    }

    /// Publishes an event with this data.
    pub fn tell<D: EventData>(&self, data: &D) {
        // Data always renders.
        self.publish(D::KIND, serde_json::to_value(data).unwrap_or_default());
    }

    /// Publishes one event. Where the hub can't keep up the event is dropped and every subscriber is told to read the
    /// state anew.
    pub fn publish(&self, kind: EventKind, data: Value) {
        if self.shared.on_their_way.fetch_add(1, Ordering::AcqRel) >= MAX_ON_THEIR_WAY {
            self.shared.on_their_way.fetch_sub(1, Ordering::AcqRel);
            self.shared.lost.fetch_add(1, Ordering::AcqRel);
            return;
        }
        // The mailbox's own bound would refuse at random; this count bounds it.
        self.hub.do_send(Publish { kind, data, _on_its_way: OnItsWay(self.shared.clone()) });
    }

    /// Whether anybody follows events of this kind.
    pub fn is_wanted(&self, kind: EventKind) -> bool {
        EventFilter::is_among(kind, self.shared.wanted.load(Ordering::Acquire))
    }

    /// The number of the newest event. State that is read afterwards includes what it and all before it tell.
    pub fn newest(&self) -> u64 {
        self.shared.newest.load(Ordering::Acquire)
    }

    /// Events on their way.
    pub fn backlog(&self) -> usize {
        self.shared.on_their_way.load(Ordering::Acquire)
    }
}
