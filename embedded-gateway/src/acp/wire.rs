//! JSON-RPC as ACP uses it: one message a line.

use serde_json::{Value, json};

/// The version of the protocol that is spoken here.
pub(super) const VERSION: u64 = 1;
/// The error of a request that this side doesn't know.
pub(super) const METHOD_NOT_FOUND: i64 = -32_601;
/// The error of an agent that nobody has logged in to.
pub(super) const AUTH_REQUIRED: i64 = -32_000;

/// What the agent wrote.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Incoming {
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Notification {
        method: String,
        params: Value,
    },
    /// To a request of ours.
    Answer {
        id: u64,
        outcome: Result<Value, RpcError>,
    },
    /// No message of the protocol.
    Noise,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
}

impl RpcError {
    fn read(error: &Value) -> Self {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("it gave no reason");
        // Some agents put the reason there, and a word such as "Internal error" in the message.
        let data = error.get("data").filter(|data| !data.is_null()).map(|data| match data.as_str() {
            Some(text) => text.to_owned(),
            None => data.get("details").and_then(Value::as_str).map_or_else(|| data.to_string(), str::to_owned),
        });
        let message = data.map_or_else(|| message.to_owned(), |data| format!("{message}: {data}"));
        let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
        Self { code, message: message.chars().take(1_000).collect() }
    }
}

impl Incoming {
    pub(super) fn read(line: &str) -> Self {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else { return Self::Noise };
        let params = fields.remove("params").unwrap_or_default();
        let id = fields.remove("id").filter(|id| !id.is_null());
        match (fields.remove("method"), id) {
            (Some(Value::String(method)), Some(id)) => Self::Request { id, method, params },
            (Some(Value::String(method)), None) => Self::Notification { method, params },
            (None, Some(id)) => {
                let Some(id) = id.as_u64() else { return Self::Noise };
                match (fields.remove("error").filter(|error| !error.is_null()), fields.remove("result")) {
                    (Some(error), _) => Self::Answer { id, outcome: Err(RpcError::read(&error)) },
                    (None, Some(result)) => Self::Answer { id, outcome: Ok(result) },
                    (None, None) => Self::Noise,
                }
            }
            _ => Self::Noise,
        }
    }
}

pub(super) fn request(id: u64, method: &str, params: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

pub(super) fn notification(method: &str, params: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

pub(super) fn answer(id: &Value, result: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

pub(super) fn refusal(id: &Value, method: &str) -> String {
    let message = format!("Method not found: {}", method.chars().take(100).collect::<String>());
    line(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": METHOD_NOT_FOUND, "message": message}}))
}

fn line(message: &Value) -> String {
    format!("{message}\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_message_is_told_from_the_others() {
        for (line, expected) in [
            (
                r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{"x":1}}"#,
                Incoming::Request { id: json!("a"), method: "m".into(), params: json!({"x": 1}) },
            ),
            (r#"{"method":"m"}"#, Incoming::Notification { method: "m".into(), params: Value::Null }),
            (r#"{"id":3,"result":null}"#, Incoming::Answer { id: 3, outcome: Ok(Value::Null) }),
            (
                r#"{"id":3,"result":null,"error":{"code":-32603,"message":"Internal error","data":{"details":"no disk"}}}"#,
                Incoming::Answer {
                    id: 3,
                    outcome: Err(RpcError { code: -32_603, message: "Internal error: no disk".into() }),
                },
            ),
        ] {
            assert_eq!(Incoming::read(line), expected, "{line}");
        }
        for line in ["", "Listening on stdio", "[]", "{}", r#"{"id":"x","result":1}"#, r#"{"id":1}"#, r#"{"method":1}"#]
        {
            assert_eq!(Incoming::read(line), Incoming::Noise, "{line}");
        }
    }

    #[test]
    fn what_is_written_is_one_line() {
        let written = request(1, "session/prompt", &json!({"text": "one\ntwo"}));
        assert_eq!(written.matches('\n').count(), 1);
        assert!(matches!(Incoming::read(&written), Incoming::Request { .. }));
        assert!(matches!(Incoming::read(&refusal(&json!(7), "fs/read")), Incoming::Answer { id: 7, outcome: Err(_) }));
    }

    proptest! {
        #[test]
        fn no_line_breaks_the_reader(line in ".{0,200}") {
            let _ = Incoming::read(&line);
        }
    }
}
