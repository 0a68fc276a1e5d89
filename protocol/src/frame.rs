//! One tolerant reader for the frames of every dialect, and the writer of requests.

use serde_json::{Map, Value};

use crate::dialect::Dialect;
use crate::limits::{LARGE_FRAME, MAX_VALUES_PER_FRAME};
use crate::words;

/// One message of either side. Unknown fields are ignored: a gateway that learns new words must stay readable.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Asks for something.
    Request {
        /// Names the request in its reply; none where no reply can be matched (`auth` of the `rpc` dialect).
        id: Option<String>,
        /// What is wanted.
        method: String,
        /// Its parameters; null where there are none.
        params: Value,
    },
    /// Answers a request.
    Response(Response),
    /// Tells something unasked.
    Event(Event),
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The request's id (a number is read as its digits); empty where the gateway sent none.
    pub id: String,
    /// `payload` or `result` of a success (null where there is none), or the error.
    pub outcome: Result<Value, WireError>,
}

/// Something told unasked.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The event's name, for instance `connect.challenge`.
    pub name: String,
    /// `payload` or `data`; null where there is none.
    pub payload: Value,
    /// Broadcast counter, where the gateway sends one: per connection on protocol 4, global on older releases.
    pub seq: Option<u64>,
}

/// An error as a gateway words it. Nothing in it is trusted or shown unless cleaned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WireError {
    /// For instance `INVALID_REQUEST`; digits of a JSON-RPC code; empty where none.
    pub code: String,
    /// The gateway's sentence, as sent; empty where none.
    pub message: String,
    /// `details` or `data`; null where none.
    pub details: Value,
    /// Whether the gateway says that trying again makes sense.
    pub retryable: Option<bool>,
    /// When it says to try again, in ms.
    pub retry_after_ms: Option<u64>,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not UTF-8 JSON, or nested deeper than 128 levels.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but no object with anything of a request, a response or an event.
    #[error("JSON, but neither a request nor a response nor an event")]
    NotAFrame,
    /// More JSON values than a frame may hold.
    #[error("more than {MAX_VALUES_PER_FRAME} values in one frame")]
    TooManyValues,
}

impl Frame {
    /// Reads one frame of any dialect. Text and binary frames carry the same bytes. The caller has bounded the size.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > LARGE_FRAME && count_values(bytes) > MAX_VALUES_PER_FRAME {
            return Err(FrameError::TooManyValues);
        }
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| FrameError::NotJson(words::shown(&error.to_string())))?;
        match value {
            Value::Object(object) => Self::from_object(object),
            _ => Err(FrameError::NotAFrame),
        }
    }

    fn from_object(mut object: Map<String, Value>) -> Result<Self, FrameError> {
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "req" => request(&mut object),
            "res" => Ok(response(&mut object)),
            "event" => event(&mut object),
            // No type (dialect `rpc`), or one that this version doesn't know: the fields tell.
            _ if object.get("event").is_some_and(Value::is_string) => event(&mut object),
            _ if object.get("method").is_some_and(Value::is_string) => request(&mut object),
            _ if ["result", "error", "ok"].iter().any(|field| object.contains_key(*field)) => Ok(response(&mut object)),
            _ => Err(FrameError::NotAFrame),
        }
    }
}

fn request(object: &mut Map<String, Value>) -> Result<Frame, FrameError> {
    let Some(Value::String(method)) = object.remove("method") else { return Err(FrameError::NotAFrame) };
    let id = object.get("id").and_then(id_text);
    let params = object.remove("params").unwrap_or(Value::Null);
    Ok(Frame::Request { id, method, params })
}

fn response(object: &mut Map<String, Value>) -> Frame {
    let id = object.get("id").and_then(id_text).unwrap_or_default();
    let error = object.remove("error").filter(|error| !error.is_null());
    let failed = match object.get("ok").and_then(Value::as_bool) {
        Some(ok) => !ok,
        None => error.is_some(),
    };
    let payload = ["payload", "result", "data"].iter().find_map(|field| object.remove(*field));
    let outcome = if failed {
        Err(WireError::from_value(error.or(payload).unwrap_or(Value::Null)))
    } else {
        Ok(payload.unwrap_or(Value::Null))
    };
    Frame::Response(Response { id, outcome })
}

fn event(object: &mut Map<String, Value>) -> Result<Frame, FrameError> {
    let Some(Value::String(name)) = object.remove("event") else { return Err(FrameError::NotAFrame) };
    let payload = object.remove("payload").or_else(|| object.remove("data")).unwrap_or(Value::Null);
    let seq = object.get("seq").and_then(Value::as_u64);
    Ok(Frame::Event(Event { name, payload, seq }))
}

fn id_text(id: &Value) -> Option<String> {
    match id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl WireError {
    /// Reads an error in any of its forms: an object, or a bare sentence.
    pub fn from_value(value: Value) -> Self {
        let mut object = match value {
            Value::Object(object) => object,
            Value::String(message) => return Self { message, ..Self::default() },
            _ => return Self::default(),
        };
        let details = object.remove("details").or_else(|| object.remove("data")).unwrap_or(Value::Null);
        let either = |field: &str| object.get(field).or_else(|| details.get(field));
        Self {
            code: object.get("code").and_then(id_text).unwrap_or_default(),
            message: ["message", "error"]
                .iter()
                .find_map(|field| object.get(*field).and_then(Value::as_str))
                .unwrap_or_default()
                .to_owned(),
            retryable: either("retryable").and_then(Value::as_bool),
            retry_after_ms: either("retryAfterMs").and_then(whole_ms),
            details,
        }
    }

    /// `details.code`: the finest and most stable of the codes, where the release sends it.
    pub fn details_code(&self) -> Option<&str> {
        self.details.get("code").and_then(Value::as_str)
    }

    /// Whether the gateway doesn't know the method asked for. (One that the connection may not use is answered with
    /// `missing scope: operator.admin` even where it doesn't exist; see `Capabilities::learn`.)
    pub fn is_unknown_method(&self) -> bool {
        let message = self.message.trim_start().to_ascii_lowercase();
        message.starts_with("unknown method")
            || message.starts_with("method not found")
            || self.code == "-32601"
            || matches!(self.code.as_str(), "UNKNOWN_METHOD" | "METHOD_NOT_FOUND")
            || matches!(self.details_code(), Some("UNKNOWN_METHOD" | "METHOD_NOT_FOUND"))
    }

    /// The scope that the request lacked, where that is what the error says.
    pub fn missing_scope(&self) -> Option<String> {
        if let Some(scope) = self.details.get("missingScope").and_then(Value::as_str) {
            return words::name(scope);
        }
        let rest = self.message.trim_start().strip_prefix("missing scope:")?;
        words::name(rest.split_whitespace().next()?)
    }
}

/// A duration in ms that may come as a fraction; none where it is negative.
fn whole_ms(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|ms| *ms >= 0.0).map(|ms| ms as u64))
}

/// An upper bound of the values in a JSON text: its separators and openings outside of strings.
fn count_values(bytes: &[u8]) -> usize {
    let mut count = 0;
    let mut in_string = false;
    let mut escaped = false;
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' | b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// A request as text for the wire. Null parameters become an empty object, since real gateways refuse null.
pub fn encode_request(dialect: Dialect, id: &str, method: &str, params: &Value) -> String {
    let (id, method) = (Value::from(id), Value::from(method));
    let empty = Value::Object(Map::new());
    let params = if params.is_null() { &empty } else { params };
    match dialect {
        Dialect::Openclaw => format!(r#"{{"type":"req","id":{id},"method":{method},"params":{params}}}"#),
        Dialect::Rpc | Dialect::Http => format!(r#"{{"id":{id},"method":{method},"params":{params}}}"#),
    }
}

#[cfg(test)]
mod tests;
