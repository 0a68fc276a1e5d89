//! The ring of recent events that a returning subscriber is served from.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Event, EventFilter};

/// What a returning subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// Everything after its last event, in order: it misses nothing.
    Missed(Vec<Arc<Event>>),
    /// The ring can't serve it (too old, of an earlier run, or from the future): it must read the state anew.
    Reset,
}

/// Keeps the newest events within a count and a size.
#[derive(Debug)]
pub struct ReplayRing {
    events: VecDeque<Arc<Event>>,
    max_events: usize,
    max_bytes: usize,
    bytes: usize,
    /// The id before the oldest kept one: whoever saw this has missed nothing that is gone.
    gone_through: u64,
    last_id: u64,
}

impl ReplayRing {
    /// Starts empty; the first event gets the id after `start_id`.
    pub fn new(start_id: u64, max_events: usize, max_bytes: usize) -> Self {
        Self { events: VecDeque::new(), max_events, max_bytes, bytes: 0, gone_through: start_id, last_id: start_id }
    }

    /// The id for the next event.
    pub fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// The id of the newest event, or the start.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Keeps an event, dropping the oldest beyond the bounds.
    pub fn push(&mut self, event: Arc<Event>) {
        self.last_id = event.id;
        self.bytes += event.sse.len();
        self.events.push_back(event);
        while self.events.len() > self.max_events || (self.bytes > self.max_bytes && self.events.len() > 1) {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.sse.len();
                self.gone_through = oldest.id;
            }
        }
    }

    /// What a subscriber that saw `last_seen` has missed of what it may see.
    pub fn since(&self, last_seen: u64, filter: EventFilter) -> Replay {
        if last_seen < self.gone_through || last_seen > self.last_id {
            return Replay::Reset;
        }
        let missed = self
            .events
            .iter()
            .filter(|event| event.id > last_seen && filter.lets_through(event.kind))
            .cloned()
            .collect();
        Replay::Missed(missed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::event::EventKind;

    fn ring(events: u64, max: usize) -> ReplayRing {
        let mut ring = ReplayRing::new(1_000, max, 1 << 20);
        for n in 0..events {
            let kind = if n % 2 == 0 { EventKind::Log } else { EventKind::GatewayStatus };
            ring.push(Arc::new(Event::new(ring.next_id(), kind, 5, &json!({ "n": n }))));
        }
        ring
    }

    fn ids(replay: Replay) -> Vec<u64> {
        match replay {
            Replay::Missed(events) => events.into_iter().map(|event| event.id).collect(),
            Replay::Reset => panic!("reset"),
        }
    }

    fn all() -> EventFilter {
        EventFilter::new(&[], true)
    }

    #[test]
    fn a_returning_subscriber_gets_exactly_what_it_missed() {
        let ring = ring(5, 10);
        assert_eq!(ids(ring.since(1_003, all())), [1_004, 1_005]);
        assert_eq!(ids(ring.since(1_005, all())), [0_u64; 0]);
        assert_eq!(ids(ring.since(1_000, all())), [1_001, 1_002, 1_003, 1_004, 1_005]);
        assert_eq!(ids(ring.since(1_000, EventFilter::new(&[EventKind::GatewayStatus], false))), [1_002, 1_004]);
    }

    #[test]
    fn what_the_ring_cannot_serve_is_a_reset() {
        let ring = ring(20, 10);
        assert_eq!(ring.since(1_009, all()), Replay::Reset, "older than the ring");
        assert_eq!(ids(ring.since(1_010, all())).len(), 10);
        assert_eq!(ring.since(7, all()), Replay::Reset, "of an earlier run");
        assert_eq!(ring.since(1_021, all()), Replay::Reset, "from the future");
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_but_keeps_the_newest_event() {
        let mut ring = ReplayRing::new(0, 1_000, 100);
        for _ in 0..50 {
            ring.push(Arc::new(Event::new(ring.next_id(), EventKind::Log, 1, &json!("x".repeat(90)))));
        }
        assert_eq!(ids(ring.since(49, all())), [50]);
        assert_eq!(ring.since(48, all()), Replay::Reset);
    }

    proptest! {
        #[test]
        fn whoever_isnt_reset_misses_nothing(events in 0_u64..60, max in 1_usize..20, last_seen in 990_u64..1_070) {
            let ring = ring(events, max);
            if let Replay::Missed(missed) = ring.since(last_seen, all()) {
                let expected: Vec<u64> = (last_seen + 1..=1_000 + events).collect();
                prop_assert_eq!(missed.into_iter().map(|event| event.id).collect::<Vec<_>>(), expected);
            }
        }
    }
}
