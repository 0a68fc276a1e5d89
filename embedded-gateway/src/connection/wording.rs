//! Words what is sent in the dialect of its connection, and numbers its events.

use gatewarden_protocol::Dialect;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Debug, Clone, Copy)]
pub(super) struct Wording {
    dialect: Dialect,
    /// Replies carry their payload under `payload` and under `result` (clients of document 002).
    both_names: bool,
    seq: u64,
}

/// A frame of either dialect, as it is written. What a dialect or a kind of frame doesn't have is left out.
#[derive(Default, Serialize)]
struct Written<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(rename = "stateVersion", skip_serializing_if = "Option::is_none")]
    state_version: Option<StateVersion>,
}

#[derive(Serialize)]
struct StateVersion {
    presence: u64,
    health: u64,
}

impl Wording {
    /// The wording before anything is known of the client.
    pub(super) fn of_unknown() -> Self {
        Self { dialect: Dialect::Openclaw, both_names: false, seq: 0 }
    }

    /// The wording of a dialect. Its events count from 1.
    pub(super) fn new(dialect: Dialect, both_names: bool) -> Self {
        Self { dialect, both_names, seq: 0 }
    }

    pub(super) fn response(self, id: Option<&str>, outcome: Result<&RawValue, &RawValue>) -> String {
        let (payload, error) = (outcome.ok(), outcome.err());
        if self.dialect == Dialect::Openclaw {
            return typed_response(id.unwrap_or("invalid"), payload, payload.filter(|_| self.both_names), error);
        }
        text(&Written { id, ok: Some(error.is_none()), result: payload, error, ..Written::default() })
    }

    /// The reply to `connect` of a client of document 002, whose `result` has a form of its own.
    pub(super) fn documented_hello(self, id: &str, hello: &RawValue, documented: &RawValue) -> String {
        typed_response(id, Some(hello), Some(documented), None)
    }

    /// An event, numbered; `presence` with the version of its list.
    pub(super) fn event(&mut self, name: &str, payload: &RawValue, presence_version: Option<u64>) -> String {
        if self.dialect != Dialect::Openclaw {
            return text(&Written { event: Some(name), data: Some(payload), ..Written::default() });
        }
        self.seq += 1;
        let state_version = presence_version.map(|presence| StateVersion { presence, health: 0 });
        text(&Written { seq: Some(self.seq), state_version, ..typed_event(name, payload) })
    }

    pub(super) fn challenge(self, payload: &RawValue) -> String {
        text(&typed_event("connect.challenge", payload))
    }
}

fn typed_response(id: &str, payload: Option<&RawValue>, result: Option<&RawValue>, error: Option<&RawValue>) -> String {
    let (kind, ok) = (Some("res"), Some(error.is_none()));
    text(&Written { kind, id: Some(id), ok, payload, result, error, ..Written::default() })
}

fn typed_event<'a>(name: &'a str, payload: &'a RawValue) -> Written<'a> {
    Written { kind: Some("event"), event: Some(name), payload: Some(payload), ..Written::default() }
}

fn text(frame: &Written<'_>) -> String {
    // Strings, numbers and raw JSON can't fail to serialize.
    serde_json::to_string(frame).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        to_raw_value(value).unwrap()
    }

    #[test]
    fn real_clients_get_typed_frames_with_a_payload() {
        let mut wording = Wording::new(Dialect::Openclaw, false);
        let (one, error) = (raw(&json!({"n": 1})), raw(&json!({"code": "X"})));
        assert_eq!(wording.response(Some("r1"), Ok(&one)), r#"{"type":"res","id":"r1","ok":true,"payload":{"n":1}}"#);
        assert_eq!(
            wording.response(Some("r1"), Err(&error)),
            r#"{"type":"res","id":"r1","ok":false,"error":{"code":"X"}}"#
        );
        assert_eq!(wording.event("tick", &one, None), r#"{"type":"event","event":"tick","payload":{"n":1},"seq":1}"#);
        assert_eq!(wording.event("tick", &one, None), r#"{"type":"event","event":"tick","payload":{"n":1},"seq":2}"#);
        assert_eq!(
            wording.event("presence", &one, Some(7)),
            r#"{"type":"event","event":"presence","payload":{"n":1},"seq":3,"stateVersion":{"presence":7,"health":0}}"#
        );
        assert_eq!(wording.challenge(&one), r#"{"type":"event","event":"connect.challenge","payload":{"n":1}}"#);
    }

    #[test]
    fn clients_of_document_002_find_the_payload_under_result_too() {
        let wording = Wording::new(Dialect::Openclaw, true);
        let (one, two) = (raw(&json!(1)), raw(&json!(2)));
        assert_eq!(
            wording.response(Some("r"), Ok(&one)),
            r#"{"type":"res","id":"r","ok":true,"payload":1,"result":1}"#
        );
        assert_eq!(
            wording.documented_hello("r", &one, &two),
            r#"{"type":"res","id":"r","ok":true,"payload":1,"result":2}"#
        );
    }

    #[test]
    fn the_rpc_dialect_has_no_types_and_no_numbers() {
        let mut wording = Wording::new(Dialect::Rpc, false);
        let one = raw(&json!(1));
        assert_eq!(wording.response(None, Ok(&one)), r#"{"ok":true,"result":1}"#);
        assert_eq!(wording.response(Some("7"), Err(&one)), r#"{"id":"7","ok":false,"error":1}"#);
        assert_eq!(wording.event("agent.text", &one, None), r#"{"event":"agent.text","data":1}"#);
    }
}
