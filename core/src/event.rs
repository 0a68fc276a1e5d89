//! What the daemon tells its subscribers: one numbered event, rendered once for everybody.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::ids::GatewayId;

gatewarden_protocol::named! {
    /// The types of events (`docs/api.md`, "Events").
    pub enum EventKind {
        /// A gateway's status changed.
        GatewayStatus = "gateway.status",
        /// What of gateways' rows in the fleet is new, at most once a second. Neither numbered nor kept for replay.
        GatewayVitals = "gateway.vitals",
        /// Another gateway acts as primary.
        GatewayPrimary = "gateway.primary",
        /// A gateway refuses us for a reason that only a change can cure.
        GatewayBlocked = "gateway.blocked",
        /// Something happened to a gateway's process on this machine; `change` says what.
        GatewayProcess = "gateway.process",
        /// A session was created, changed or ended.
        SessionUpdate = "session.update",
        /// A gateway's log entry.
        Log = "log",
        /// An agent's status changed.
        AgentStatus = "agent.status",
        /// A spawn moved on.
        SpawnResult = "spawn_result",
        /// A CLI tool connected.
        ConnectionCreated = "connection.created",
        /// A CLI tool left, or was silent for too long.
        ConnectionDisconnected = "connection.disconnected",
        /// Somebody changed something, or was refused.
        Audit = "audit",
    }
}

impl EventKind {
    /// Whether only admins may see it.
    pub fn is_for_admins(self) -> bool {
        self == Self::Audit
    }

    /// Whether it comes only to whom names it: it costs work that nobody else should cause, or has what is told elsewhere, too.
    pub fn is_on_request(self) -> bool {
        matches!(self, Self::Log | Self::GatewayVitals)
    }

    /// Whether it has a number, and whoever returns gets what of it was missed.
    pub fn is_numbered(self) -> bool {
        self != Self::GatewayVitals
    }

    fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

/// Which events a subscriber wants and may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter {
    kinds: u16,
    logs_of: Option<Arc<[GatewayId]>>,
}

impl EventFilter {
    /// The named kinds, or all where none is named; without `admin` those for admins are left out.
    pub fn new(kinds: &[EventKind], admin: bool) -> Self {
        let wanted = if kinds.is_empty() { &EventKind::ALL[..] } else { kinds };
        let kinds = wanted.iter().filter(|kind| admin || !kind.is_for_admins()).fold(0, |bits, kind| bits | kind.bit());
        Self { kinds, logs_of: None }
    }

    /// Nothing at all: a subscription that only tells the end of all streams.
    pub fn nothing() -> Self {
        Self { kinds: 0, logs_of: None }
    }

    /// Log entries of these gateways only; other events are not affected.
    #[must_use]
    pub fn with_logs_of(self, gateways: Option<Arc<[GatewayId]>>) -> Self {
        Self { logs_of: gateways, ..self }
    }

    /// Whether this event passes.
    pub fn passes(&self, event: &Event) -> bool {
        let named = || match (&self.logs_of, event.log_of) {
            (Some(gateways), Some(gateway)) => gateways.contains(&gateway),
            _ => true,
        };
        self.lets_through(event.kind) && named()
    }

    /// Whether a kind is among such bits.
    pub fn is_among(kind: EventKind, bits: u16) -> bool {
        bits & kind.bit() != 0
    }

    /// Whether anything but log entries passes.
    pub fn lets_others_through(&self) -> bool {
        self.kinds & !EventKind::Log.bit() != 0
    }

    /// The kinds that may pass, one bit each.
    pub fn bits(&self) -> u16 {
        self.kinds
    }

    /// Whether events of this kind may pass.
    pub fn lets_through(&self, kind: EventKind) -> bool {
        self.kinds & kind.bit() != 0
    }
}

/// One event. What goes over the wire is rendered once and shared by all subscribers.
#[derive(Debug)]
pub struct Event {
    /// Grows by one; starts anew, far higher, with each run of the daemon. Of an event without a number that of the one before it.
    pub id: u64,
    /// Its type.
    pub kind: EventKind,
    /// `{"type","ts","data"}`, `ts` in ms: a part of `sse`, no copy.
    pub json: Bytes,
    /// As server-sent event: the lines `event`, `id` and `data`, and the empty one.
    pub sse: Bytes,
    /// Whose log entry it is, where it is one.
    log_of: Option<GatewayId>,
    socket_text: OnceLock<Bytes>,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(rename = "type")]
    kind: EventKind,
    ts: i64,
    data: &'a Value,
}

impl Event {
    /// Numbers and renders an event.
    pub fn new(id: u64, kind: EventKind, ts_ms: i64, data: &Value) -> Self {
        // A tree of JSON values always renders, and on one line.
        let json = serde_json::to_string(&Shown { kind, ts: ts_ms, data }).unwrap_or_else(|_| "{}".to_owned());
        let number = if kind.is_numbered() { format!("id: {id}\n") } else { String::new() };
        let head = format!("event: {}\n{number}data: ", kind.as_str());
        let json_ends = head.len() + json.len();
        let sse = Bytes::from([head.as_str(), json.as_str(), "\n\n"].concat());
        let log_of = data.get("gateway_id").and_then(Value::as_i64).filter(|_| kind == EventKind::Log).map(GatewayId);
        Self { log_of, id, kind, json: sse.slice(head.len()..json_ends), sse, socket_text: OnceLock::new() }
    }

    /// As WebSocket message: `{"id","type","ts","data"}`. Rendered for the first subscriber that wants it.
    pub fn socket_text(&self) -> Bytes {
        if !self.kind.is_numbered() {
            return self.json.clone();
        }
        let render = || {
            let rest = self.json.strip_prefix(b"{").unwrap_or_default();
            Bytes::from([format!("{{\"id\":{},", self.id).as_bytes(), rest].concat())
        };
        self.socket_text.get_or_init(render).clone()
    }
}

/// Shares the text, but for the one for WebSockets: whoever keeps a copy doesn't hold the text twice.
impl Clone for Event {
    fn clone(&self) -> Self {
        Self { json: self.json.clone(), sse: self.sse.clone(), socket_text: OnceLock::new(), ..*self }
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.sse == other.sse
    }
}

impl Eq for Event {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name_and_reads_it_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(EventKind::from_name("nonsense"), None);
    }

    #[test]
    fn an_event_is_rendered_for_both_kinds_of_stream() {
        let event = Event::new(7, EventKind::Log, 5, &serde_json::json!({ "line": "two\nlines" }));
        assert_eq!(event.json, r#"{"type":"log","ts":5,"data":{"line":"two\nlines"}}"#);
        assert_eq!(
            event.sse,
            "event: log\nid: 7\ndata: {\"type\":\"log\",\"ts\":5,\"data\":{\"line\":\"two\\nlines\"}}\n\n"
        );
        assert_eq!(event.socket_text(), r#"{"id":7,"type":"log","ts":5,"data":{"line":"two\nlines"}}"#);
    }

    #[test]
    fn an_event_without_a_number_does_not_move_the_place_to_resume_from() {
        let event = Event::new(7, EventKind::GatewayVitals, 5, &serde_json::json!({}));
        assert_eq!(event.sse, "event: gateway.vitals\ndata: {\"type\":\"gateway.vitals\",\"ts\":5,\"data\":{}}\n\n");
        assert_eq!(event.socket_text(), r#"{"type":"gateway.vitals","ts":5,"data":{}}"#);
    }

    #[test]
    fn audit_events_reach_admins_only_even_when_asked_for() {
        for kinds in [&[][..], &[EventKind::Audit][..]] {
            assert!(EventFilter::new(kinds, true).lets_through(EventKind::Audit));
            assert!(!EventFilter::new(kinds, false).lets_through(EventKind::Audit));
        }
    }

    #[test]
    fn log_entries_may_be_wanted_of_some_gateways_only() {
        let of = |kind, gateway: i64| Event::new(1, kind, 1, &serde_json::json!({ "gateway_id": gateway }));
        let filter = EventFilter::new(&[EventKind::Log, EventKind::GatewayStatus], false);
        assert!(filter.passes(&of(EventKind::Log, 2)));
        let filter = filter.with_logs_of(Some(Arc::from([GatewayId(1)])));
        assert!(filter.passes(&of(EventKind::Log, 1)));
        assert!(!filter.passes(&of(EventKind::Log, 2)));
        assert!(filter.passes(&of(EventKind::GatewayStatus, 2)), "only log entries are chosen so");
        assert!(!EventFilter::nothing().passes(&of(EventKind::GatewayStatus, 1)));
    }

    #[test]
    fn a_filter_lets_only_the_named_kinds_through() {
        let filter = EventFilter::new(&[EventKind::Log, EventKind::GatewayStatus], false);
        let passing: Vec<_> = EventKind::ALL.into_iter().filter(|kind| filter.lets_through(*kind)).collect();
        assert_eq!(passing, [EventKind::GatewayStatus, EventKind::Log]);
    }
}
