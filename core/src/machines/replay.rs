//! The ring of recent events that a returning subscriber is served from.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Event, EventFilter, EventKind};

/// What a returning subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// Everything after its last event, in order: it misses nothing.
    Missed(Vec<Arc<Event>>),
    /// The ring can't serve it (too old, of an earlier run, or from the future): it must read the state anew.
    Reset,
}

/// Log entries kept beside the other events: a chatty gateway must not push those out.
const LOG_EVENTS: usize = 2_000;
/// Bytes of log entries kept.
const LOG_BYTES: usize = 2 * 1024 * 1024;

/// Keeps the newest events within a count and a size; log entries within bounds of their own.
#[derive(Debug)]
pub struct ReplayRing {
    others: Kept,
    logs: Kept,
    last_id: u64,
}

#[derive(Debug)]
struct Kept {
    /// Boxed, since a queue that grew keeps room for twice as many.
    events: VecDeque<Box<Event>>,
    max_events: usize,
    max_bytes: usize,
    bytes: usize,
    /// Whoever saw this id has missed nothing that is gone.
    gone_through: u64,
}

impl Kept {
    fn new(start_id: u64, max_events: usize, max_bytes: usize) -> Self {
        Self { events: VecDeque::new(), max_events, max_bytes, bytes: 0, gone_through: start_id }
    }

    fn push(&mut self, event: Box<Event>) {
        self.bytes += event.sse.len();
        self.events.push_back(event);
        while self.events.len() > self.max_events || (self.bytes > self.max_bytes && self.events.len() > 1) {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.sse.len();
                self.gone_through = oldest.id;
            }
        }
    }
}

impl ReplayRing {
    /// Starts empty; the first event gets the id after `start_id`.
    pub fn new(start_id: u64, max_events: usize, max_bytes: usize) -> Self {
        Self {
            others: Kept::new(start_id, max_events, max_bytes),
            logs: Kept::new(start_id, LOG_EVENTS, LOG_BYTES),
            last_id: start_id,
        }
    }

    /// The id for the next event.
    pub fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// The id of the newest event, or the start.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Keeps a copy of an event, dropping the oldest beyond the bounds.
    pub fn push(&mut self, event: &Event) {
        self.last_id = event.id;
        let kept = if event.kind == EventKind::Log { &mut self.logs } else { &mut self.others };
        kept.push(Box::new(event.clone()));
    }

    /// What a subscriber that saw `last_seen` has missed of what it may see.
    pub fn since(&self, last_seen: u64, filter: &EventFilter) -> Replay {
        let rings = [(&self.others, filter.lets_others_through()), (&self.logs, filter.lets_through(EventKind::Log))];
        let asked = || rings.iter().filter(|(_, wanted)| *wanted).map(|(kept, _)| *kept);
        // An id from before this run is no id of ours, whatever is wanted.
        let before_all = self.others.gone_through.min(self.logs.gone_through);
        let gone_through = asked().map(|kept| kept.gone_through).max().unwrap_or(before_all);
        if last_seen < gone_through || last_seen > self.last_id {
            return Replay::Reset;
        }
        let missed = asked().flat_map(|kept| &kept.events);
        let missed = missed.filter(|event| event.id > last_seen && filter.passes(event));
        let mut missed: Vec<_> = missed.map(|event| Arc::new(Event::clone(event))).collect();
        missed.sort_unstable_by_key(|event| event.id);
        Replay::Missed(missed)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ring(events: u64, max: usize) -> ReplayRing {
        let mut ring = ReplayRing::new(1_000, max, 1 << 20);
        for n in 0..events {
            let kind = if n % 2 == 0 { EventKind::SessionUpdate } else { EventKind::GatewayStatus };
            ring.push(&Event::new(ring.next_id(), kind, 5, &json!({ "n": n })));
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
        assert_eq!(ids(ring.since(1_003, &all())), [1_004, 1_005]);
        assert_eq!(ids(ring.since(1_005, &all())), [0_u64; 0]);
        assert_eq!(ids(ring.since(1_000, &all())), [1_001, 1_002, 1_003, 1_004, 1_005]);
        assert_eq!(ids(ring.since(1_000, &EventFilter::new(&[EventKind::GatewayStatus], false))), [1_002, 1_004]);
    }

    #[test]
    fn what_the_ring_cannot_serve_is_a_reset() {
        let ring = ring(20, 10);
        assert_eq!(ring.since(1_009, &all()), Replay::Reset, "older than the ring");
        assert_eq!(ids(ring.since(1_010, &all())).len(), 10);
        assert_eq!(ring.since(7, &all()), Replay::Reset, "of an earlier run");
        assert_eq!(ring.since(1_021, &all()), Replay::Reset, "from the future");
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_but_keeps_the_newest_event() {
        let mut ring = ReplayRing::new(0, 1_000, 100);
        for _ in 0..50 {
            ring.push(&Event::new(ring.next_id(), EventKind::SessionUpdate, 1, &json!("x".repeat(90))));
        }
        assert_eq!(ids(ring.since(49, &all())), [50]);
        assert_eq!(ring.since(48, &all()), Replay::Reset);
    }

    #[test]
    fn what_is_sent_over_websockets_is_not_held_for_whoever_returns() {
        let mut ring = ReplayRing::new(0, 10, 1 << 20);
        let event = Event::new(ring.next_id(), EventKind::GatewayStatus, 1, &json!({}));
        let mut sent = vec![event.socket_text()];
        ring.push(&event);
        drop(event);
        for _ in 0..3 {
            let Replay::Missed(missed) = ring.since(0, &all()) else { panic!("reset") };
            sent.extend(missed.iter().map(|event| event.socket_text()));
        }
        assert_eq!(sent, vec![r#"{"id":1,"type":"gateway.status","ts":1,"data":{}}"#; 4]);
        assert!(sent.iter().all(Bytes::is_unique), "nobody else holds them");
    }

    #[test]
    fn log_entries_push_no_other_event_out_and_come_in_order_with_them() {
        let mut ring = ReplayRing::new(0, 10, 1 << 20);
        let mut push = |kind| ring.push(&Event::new(ring.next_id(), kind, 1, &json!({})));
        push(EventKind::GatewayStatus);
        for _ in 0..LOG_EVENTS + 5 {
            push(EventKind::Log);
        }
        push(EventKind::GatewayStatus);
        let last = u64::try_from(LOG_EVENTS).unwrap() + 7;
        let others = EventFilter::new(&[EventKind::GatewayStatus], false);
        assert_eq!(ids(ring.since(0, &others)), [1, last], "they miss nothing");
        assert_eq!(ring.since(0, &all()), Replay::Reset, "of the entries some are gone");
        assert_eq!(ids(ring.since(last - 3, &all())), [last - 2, last - 1, last]);
        assert_eq!(ring.since(last + 1, &EventFilter::nothing()), Replay::Reset);
    }

    proptest! {
        #[test]
        fn whoever_isnt_reset_misses_nothing(events in 0_u64..60, max in 1_usize..20, last_seen in 990_u64..1_070) {
            let ring = ring(events, max);
            if let Replay::Missed(missed) = ring.since(last_seen, &all()) {
                let expected: Vec<u64> = (last_seen + 1..=1_000 + events).collect();
                prop_assert_eq!(missed.into_iter().map(|event| event.id).collect::<Vec<_>>(), expected);
            }
        }
    }
}
