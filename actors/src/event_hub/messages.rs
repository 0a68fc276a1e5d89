//! What the hub takes.

use actix::prelude::*;
use serde_json::Value;

use super::subscriber::Subscription;
use crate::event::{EventFilter, EventKind};
use crate::machines::event_places::{Holder, NoPlace};

/// From [`super::EventPublisher`]: number, keep and deliver one event. No reply; the hub never refuses.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Publish {
    /// Its type.
    pub kind: EventKind,
    /// Its content, without secrets.
    pub data: Value,
    /// Counts the event as on its way until it is handled.
    pub(super) on_its_way: super::publisher::OnItsWay,
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
