//! One tolerant reader for the frames of every dialect, and the writer of requests.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::decoding::{Allowance, DecodeError, Excess, Meter, decode};
use crate::dialect::Dialect;
use crate::limits::MAX_DECODED_FRAME;
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
    /// What it holds would take more memory than there is for it.
    #[error("what the frame holds takes more memory than is set aside for it")]
    TooMuch(Excess),
}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NotJson(words) => Self::NotJson(words),
            DecodeError::TooMuch(excess) => Self::TooMuch(excess),
        }
    }
}

impl Frame {
    /// Reads one frame of any dialect. Text and binary frames carry the same bytes. The caller has bounded the size of the
    /// text; what it becomes in memory is bounded here, by [`MAX_DECODED_FRAME`].
    ///
    /// # Errors
    /// No frame, or too much in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        FrameText::read(bytes)?.decode(&mut Allowance(MAX_DECODED_FRAME))
    }
}

/// A frame that is known to be one, while what it holds is still text: so that a list can be read row by row, and whatever
/// else is decoded within a bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameText<'a> {
    kind: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    ok: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    seq: Option<&'a RawValue>,
}

/// What a frame is by its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
    Event,
}

/// Longest id, number or kind within a frame, bytes; what is longer is none of them.
const MAX_WORD: usize = 1_024;

impl<'a> FrameText<'a> {
    /// Reads what of a frame tells its kind. Takes no memory beside the text.
    ///
    /// # Errors
    /// Not JSON, or no frame.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let text: Self = match serde_json::from_slice(bytes) {
            Ok(text) => text,
            Err(error) => {
                // What is no object was read no further than that.
                let is_json = error.is_data() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
                let no_json = FrameError::NotJson(words::shown(&error.to_string()));
                return Err(if is_json { FrameError::NotAFrame } else { no_json });
            }
        };
        text.kind().map(|_| text).ok_or(FrameError::NotAFrame)
    }

    fn kind(&self) -> Option<Kind> {
        let is_text = |field: Option<&RawValue>| field.is_some_and(|field| field.get().starts_with('"'));
        match word(self.kind).as_ref().and_then(Value::as_str).unwrap_or_default() {
            "req" => Some(Kind::Request),
            "res" => Some(Kind::Response),
            "event" => Some(Kind::Event),
            // No type (dialect `rpc`), or one that this version doesn't know: the fields tell.
            _ if is_text(self.event) => Some(Kind::Event),
            _ if is_text(self.method) => Some(Kind::Request),
            _ if self.result.is_some() || self.error.is_some() || self.ok.is_some() => Some(Kind::Response),
            _ => None,
        }
    }

    /// The id and the payload of a response that tells of success.
    pub fn success(&self) -> Option<(String, &'a RawValue)> {
        let id = id_text(&word(self.id)?)?;
        let payload = self.payload.or(self.result).or(self.data)?;
        (self.kind() == Some(Kind::Response) && !self.has_failed()).then_some((id, payload))
    }

    fn has_failed(&self) -> bool {
        match self.ok.map(RawValue::get) {
            Some("true") => false,
            Some("false") => true,
            _ => self.error.is_some_and(|error| error.get() != "null"),
        }
    }

    /// Decodes all of it within what the meter gives.
    ///
    /// # Errors
    /// No frame after all, or too much in it.
    pub fn decode(&self, meter: &mut dyn Meter) -> Result<Frame, FrameError> {
        let mut value = |field: Option<&RawValue>| match field {
            Some(field) => decode(field.get().as_bytes(), meter),
            None => Ok(Value::Null),
        };
        match self.kind() {
            None => Err(FrameError::NotAFrame),
            Some(Kind::Request) => {
                let Value::String(method) = value(self.method)? else { return Err(FrameError::NotAFrame) };
                let params = value(self.params)?;
                Ok(Frame::Request { id: word(self.id).as_ref().and_then(id_text), method, params })
            }
            Some(Kind::Response) => {
                let id = word(self.id).as_ref().and_then(id_text).unwrap_or_default();
                let payload = self.payload.or(self.result).or(self.data);
                let outcome = if self.has_failed() {
                    let error = self.error.filter(|error| error.get() != "null");
                    Err(WireError::from_value(value(error.or(payload))?))
                } else {
                    Ok(value(payload)?)
                };
                Ok(Frame::Response(Response { id, outcome }))
            }
            Some(Kind::Event) => {
                let Value::String(name) = value(self.event)? else { return Err(FrameError::NotAFrame) };
                let payload = value(self.payload.or(self.data))?;
                let seq = word(self.seq).as_ref().and_then(Value::as_u64);
                Ok(Frame::Event(Event { name, payload, seq }))
            }
        }
    }
}

/// A short value within a frame.
fn word(field: Option<&RawValue>) -> Option<Value> {
    let text = field?.get();
    (text.len() <= MAX_WORD && !text.starts_with(['{', '['])).then(|| serde_json::from_str(text).ok()).flatten()
}

impl<'de: 'a, 'a> Deserialize<'de> for FrameText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FrameVisitor)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Type,
    Id,
    Method,
    Params,
    Ok,
    Error,
    Payload,
    Result,
    Data,
    Event,
    Seq,
    #[serde(other)]
    Other,
}

struct FrameVisitor;

impl<'de> Visitor<'de> for FrameVisitor {
    type Value = FrameText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<FrameText<'de>, A::Error> {
        let mut text = FrameText::default();
        while let Some(field) = entries.next_key::<Field>()? {
            let place = match field {
                Field::Type => &mut text.kind,
                Field::Id => &mut text.id,
                Field::Method => &mut text.method,
                Field::Params => &mut text.params,
                Field::Ok => &mut text.ok,
                Field::Error => &mut text.error,
                Field::Payload => &mut text.payload,
                Field::Result => &mut text.result,
                Field::Data => &mut text.data,
                Field::Event => &mut text.event,
                Field::Seq => &mut text.seq,
                Field::Other => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *place = Some(entries.next_value()?);
        }
        Ok(text)
    }
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
