//! Reads the requests of an admitted client: closed objects, refused in the words of real gateways.

use gatewarden_protocol::Dialect;
use serde_json::{Map, Value};

use crate::call::CallError;
use crate::payload::{MOST_VALUES, most_values_of};

/// Longest request id that is kept and echoed, in bytes.
const MAX_ID: usize = 1024;
/// Longest method name, in bytes; longer ones exist nowhere.
const MAX_METHOD: usize = 256;
/// Messages up to this length are not counted, in bytes.
const COUNTED_FROM: usize = 256 * 1024;

#[derive(Debug, PartialEq)]
pub(super) enum ClientFrame {
    Request {
        /// Its id; none only in the `rpc` dialect.
        id: Option<String>,
        method: String,
        params: Value,
    },
    Malformed {
        /// `invalid` where it has none.
        id: String,
        error: CallError,
    },
}

/// Reads one message. None: not JSON, which real gateways pass over in silence after the hello.
pub(super) fn read(dialect: Dialect, bytes: &[u8]) -> Option<ClientFrame> {
    if bytes.len() > COUNTED_FROM && most_values_of(bytes) > MOST_VALUES {
        return Some(malformed(None, format!("more than {MOST_VALUES} values")));
    }
    match serde_json::from_slice(bytes).ok()? {
        Value::Object(object) => Some(request(dialect, object)),
        _ => Some(malformed(None, "at root: must be object".to_owned())),
    }
}

fn request(dialect: Dialect, mut object: Map<String, Value>) -> ClientFrame {
    let id = match object.remove("id") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_ID => Some(id),
        // Numbers are read as their digits where the frames have no schema (JSON-RPC clients count).
        Some(Value::Number(number)) if dialect == Dialect::Rpc => Some(number.to_string()),
        None | Some(Value::Null) if dialect == Dialect::Rpc => None,
        None => return malformed(None, "must have required property 'id'".to_owned()),
        Some(_) => return malformed(None, format!("at /id: must be a string of 1 to {MAX_ID} characters")),
    };
    match (dialect, object.remove("type")) {
        (Dialect::Openclaw, Some(Value::String(kind))) if kind == "req" => {}
        (Dialect::Openclaw, None) => return malformed(id, "must have required property 'type'".to_owned()),
        (Dialect::Openclaw, Some(_)) => return malformed(id, "at /type: must be equal to constant".to_owned()),
        _ => {}
    }
    let method = match object.remove("method") {
        Some(Value::String(method)) if !method.is_empty() && method.len() <= MAX_METHOD => method,
        None => return malformed(id, "must have required property 'method'".to_owned()),
        Some(_) => return malformed(id, format!("at /method: must be a string of 1 to {MAX_METHOD} characters")),
    };
    let params = match object.remove("params") {
        None => Value::Object(Map::new()),
        Some(params @ Value::Object(_)) => params,
        Some(Value::Null) if dialect == Dialect::Rpc => Value::Object(Map::new()),
        Some(_) => {
            let error = CallError::invalid(format!("invalid {method} params: at root: must be object"));
            return ClientFrame::Malformed { id: id.unwrap_or_else(invalid), error };
        }
    };
    // Protocol 4 knows these two; they change nothing here.
    let known = ["traceparent", "expectedProfileId", "jsonrpc"];
    if let Some(name) = object.keys().find(|name| dialect == Dialect::Openclaw && !known.contains(&name.as_str())) {
        let name: String = name.chars().take(64).collect();
        return malformed(id, format!("at root: unexpected property '{name}'"));
    }
    ClientFrame::Request { id, method, params }
}

fn invalid() -> String {
    "invalid".to_owned()
}

fn malformed(id: Option<String>, why: String) -> ClientFrame {
    let error = CallError::invalid(format!("invalid request frame: {why}"));
    ClientFrame::Malformed { id: id.unwrap_or_else(invalid), error }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(dialect: Dialect, text: &str) -> String {
        match read(dialect, text.as_bytes()) {
            Some(ClientFrame::Malformed { id, error }) => format!("{id}: {}", error.message),
            other => panic!("not malformed: {other:?}"),
        }
    }

    #[test]
    fn a_request_may_leave_its_params_out() {
        let read = read(Dialect::Openclaw, br#"{"type":"req","id":"a","method":"ping"}"#);
        assert_eq!(read, Some(ClientFrame::Request { id: Some("a".into()), method: "ping".into(), params: json!({}) }));
    }

    #[test]
    fn malformed_frames_are_refused_as_real_gateways_refuse_them() {
        for (text, said) in [
            (r#"{"type":"req","method":"m"}"#, "invalid: invalid request frame: must have required property 'id'"),
            (r#"{"type":"event","event":"e"}"#, "invalid: invalid request frame: must have required property 'id'"),
            (r"[1]", "invalid: invalid request frame: at root: must be object"),
            (
                r#"{"type":"req","id":"a","method":"m","foo":1}"#,
                "a: invalid request frame: at root: unexpected property 'foo'",
            ),
            (r#"{"type":"req","id":"a"}"#, "a: invalid request frame: must have required property 'method'"),
            (r#"{"id":"a","method":"m"}"#, "a: invalid request frame: must have required property 'type'"),
            (r#"{"type":"res","id":"a","ok":true}"#, "a: invalid request frame: at /type: must be equal to constant"),
            (r#"{"type":"req","id":"a","method":"m","params":[]}"#, "a: invalid m params: at root: must be object"),
        ] {
            assert_eq!(message(Dialect::Openclaw, text), said, "{text}");
        }
        assert!(message(Dialect::Openclaw, r#"{"type":"req","id":1,"method":"m"}"#).contains("/id"));
    }

    #[test]
    fn the_rpc_dialect_needs_neither_type_nor_id_and_minds_no_unknown_words() {
        for (text, id) in [
            (r#"{"method":"m","extra":1}"#, None),
            (r#"{"id":7,"method":"m","params":null}"#, Some("7")),
            (r#"{"id":"x","method":"m","jsonrpc":"2.0"}"#, Some("x")),
        ] {
            let expected = ClientFrame::Request { id: id.map(str::to_owned), method: "m".into(), params: json!({}) };
            assert_eq!(read(Dialect::Rpc, text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_passed_over() {
        assert_eq!(read(Dialect::Openclaw, b"hello"), None);
        assert_eq!(read(Dialect::Openclaw, &[0xff]), None);
    }

    #[test]
    fn a_message_of_very_many_values_is_refused_before_it_becomes_a_tree() {
        let many = format!(r#"{{"type":"req","id":"a","method":"m","params":{{"a":[{}0]}}}}"#, "0,".repeat(300_000));
        assert!(message(Dialect::Openclaw, &many).contains("values"));
        let long = format!(r#"{{"type":"req","id":"a","method":"m","params":{{"a":"{}"}}}}"#, ",".repeat(300_000));
        assert!(matches!(read(Dialect::Openclaw, long.as_bytes()), Some(ClientFrame::Request { .. })));
    }
}
