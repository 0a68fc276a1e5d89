//! The way in: publishers hand events over without waiting, and never more than the hub can hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::prelude::*;
use serde_json::Value;

use super::messages::Publish;
use crate::event::EventKind;

/// Events that may be on their way to the hub.
const MAX_ON_THEIR_WAY: usize = 20_000;

/// Counts events between publisher and hub.
#[derive(Debug, Default)]
pub struct Backlog {
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
pub(super) struct OnItsWay(Arc<Backlog>);

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

    /// Publishes one event. Where the hub can't keep up the event is dropped and every subscriber is told to read the
    /// state anew.
    pub fn publish(&self, kind: EventKind, data: Value) {
        if self.backlog.on_their_way.fetch_add(1, Ordering::AcqRel) >= MAX_ON_THEIR_WAY {
            self.backlog.on_their_way.fetch_sub(1, Ordering::AcqRel);
            self.backlog.lost.fetch_add(1, Ordering::AcqRel);
            return;
        }
        // The mailbox's own bound would refuse at random; this count bounds it.
        self.hub.do_send(Publish { kind, data, on_its_way: OnItsWay(self.backlog.clone()) });
    }

    /// Events on their way.
    pub fn backlog(&self) -> usize {
        self.backlog.on_their_way.load(Ordering::Acquire)
    }
}
