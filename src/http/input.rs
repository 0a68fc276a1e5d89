//! What clients send: ids in paths, queries, and JSON bodies, which are read strictly: what is not one JSON object without
//! repeated keys is a 400 that says where.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_api::request::{self, Asked, Fields, Query, Request};
use gatewarden_api::rules::kind_of;
use gatewarden_listener::{MemoryPermit, announced_length};
use gatewarden_protocol::strict_json::{StrictJson, repeated_key};
use serde::de::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;

use super::audit::context::AuditContext;
use super::auth::was_admitted;
use super::context::App;
use super::error::{ApiError, invalid, invalid_field};
use super::limits::hold;

/// How long a body may take to arrive: a client that trickles must not hold a connection for good.
const PATIENCE: Duration = Duration::from_secs(15);

/// So many fields of a body and a query are named that had no effect, and so much of the name of each, characters.
const MOST_IGNORED: usize = 10;
const MOST_OF_NAME: usize = 60;

/// Largest body of somebody who needs no key, bytes. A connection has one request at a time, so all of them together take no
/// more than this times `http.max_connections`: 8 MiB by default.
const SMALL: usize = 2 * 1024;

/// A body that must be a JSON object.
#[derive(Debug)]
pub(crate) struct JsonBody {
    map: Map<String, Value>,
    asked: Asked,
}

/// A body that may be left out; if there is one, it must be a JSON object.
#[derive(Debug)]
pub(crate) struct OptionalJsonBody(Option<JsonBody>);

/// A body that must be a small JSON object: for routes that need no key.
#[derive(Debug)]
pub(crate) struct SmallJsonBody(pub JsonBody);

impl JsonBody {
    /// Reads it; one 400 names everything that is wrong.
    pub(crate) fn read<T: Request>(&self) -> Result<T, ApiError> {
        Ok(request::read_from(self.fields())?)
    }

    /// Reads what says whom it is about, ahead of the rest: fields of a body that nobody comes to read aren't told to have no effect.
    pub(crate) fn read_ahead<T: Request>(&self) -> Result<T, ApiError> {
        Ok(request::read_from(Fields::ahead(&self.map, &self.asked))?)
    }

    /// For reading with more to say about it.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::noted(&self.map, &self.asked)
    }

    /// As it was sent, for a reader of its own that knows all fields.
    pub(crate) fn whole_text(&self) -> String {
        let fields = self.fields();
        for name in self.map.keys() {
            fields.has(name);
        }
        self.text()
    }

    /// As it was sent, in one order.
    pub(crate) fn text(&self) -> String {
        Value::Object(self.map.clone()).to_string()
    }

    /// Why a change of nothing changes nothing: `known` says of what the fields are.
    pub(crate) fn nothing_to_change(&self, known: &str) -> ApiError {
        let ignored = self.asked.ignored();
        let nulls = self.map.iter().filter(|(name, value)| value.is_null() && !ignored.contains(name));
        let nulls: Vec<&str> = nulls.map(|(name, _)| name.as_str()).take(MOST_IGNORED).collect();
        invalid(if nulls.is_empty() {
            format!("There is nothing to change: the body names no field of {known}")
        } else {
            format!("There is nothing to change: null leaves a field as it is, and {} can't be empty", nulls.join(", "))
        })
    }
}

#[cfg(test)]
impl From<Value> for JsonBody {
    fn from(body: Value) -> Self {
        Self { map: body.as_object().cloned().unwrap_or_default(), asked: Asked::default() }
    }
}

impl OptionalJsonBody {
    /// Reads it as if an empty object had been sent where it was left out.
    pub(crate) fn read<T: Request>(&self) -> Result<T, ApiError> {
        self.0.as_ref().map_or_else(|| Ok(request::read(&Map::new())?), JsonBody::read)
    }
}

/// Reads a query; one 400 names everything that is wrong.
pub(crate) fn read_query<T: Request>(request: &HttpRequest) -> Result<T, ApiError> {
    Ok(request::read_from(query(request).fields())?)
}

/// What was asked for of a query.
#[derive(Clone, Default)]
struct AskedInQuery(Asked);

/// For reading a query with more to say about it.
pub(crate) fn query(request: &HttpRequest) -> Query {
    let AskedInQuery(asked) = request.extensions().get().cloned().unwrap_or_default();
    request.extensions_mut().insert(AskedInQuery(asked.clone()));
    Query::parse(request.query_string(), &asked)
}

/// What a request may name in its body and elsewhere: at least once, and the same everywhere.
pub(crate) fn one_of<T: PartialEq>(in_body: Option<T>, elsewhere: Option<T>, field: &str) -> Result<T, ApiError> {
    if in_body.is_some() && elsewhere.is_some() && in_body != elsewhere {
        return Err(invalid_field(field, "of the body must be that of the path or the query, or be left out"));
    }
    in_body.or(elsewhere).ok_or_else(|| invalid_field(field, "is missing"))
}

/// The id in the path of a gateway or of what else is named: a positive integer.
pub(crate) fn path_id(request: &HttpRequest, what: &str) -> Result<i64, ApiError> {
    let id = request.match_info().get("id").and_then(|text| text.parse().ok()).filter(|id| *id > 0);
    id.ok_or_else(|| invalid(format!("The {what} id in the path must be a positive integer")))
}

/// What paths name, for the document.
macro_rules! paths {
    ($($path:ident, $name:ident: $type:ty, $doc:literal $(, $limit:meta)?;)*) => {
        $(#[derive(IntoParams)]
        #[into_params(parameter_in = Path)]
        #[expect(dead_code, reason = "described in the OpenAPI document; paths are read by hand")]
        pub(crate) struct $path {
            #[doc = $doc]
            $(#[param($limit)])?
            $name: $type,
        })*
    };
}

paths! {
    GatewayPath, id: i64, "The gateway", minimum = 1;
    GatewayUuidPath, id: String, "The gateway's UUID";
    AgentPath, id: String, "The agent's id or name";
    KeyPath, id: i64, "The key", minimum = 1;
    SessionPath, key: String, "The session's key";
    SpawnPath, id: String, "The spawnId";
}

type Reading<T> = LocalBoxFuture<'static, Result<T, ApiError>>;

impl FromRequest for JsonBody {
    type Error = ApiError;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Reading<Self> {
        let body = read(request, payload, body_limit(request), Sender::KeyHolder);
        Box::pin(async move { body.await?.ok_or_else(empty) })
    }
}

impl FromRequest for SmallJsonBody {
    type Error = ApiError;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Reading<Self> {
        let body = read(request, payload, body_limit(request).min(SMALL), Sender::Anybody);
        Box::pin(async move { body.await?.ok_or_else(empty).map(Self) })
    }
}

impl FromRequest for OptionalJsonBody {
    type Error = ApiError;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Reading<Self> {
        let body = read(request, payload, body_limit(request), Sender::KeyHolder);
        Box::pin(async move { body.await.map(Self) })
    }
}

/// A small body of whatever type, from somebody who needs no key.
pub(crate) async fn read_small(request: &HttpRequest, payload: Payload) -> Result<Bytes, ApiError> {
    let collected = tokio::time::timeout(PATIENCE, collect(request, payload, SMALL, Sender::Anybody));
    let (bytes, _) = collected.await.map_err(|_elapsed| too_slow())??;
    Ok(bytes)
}

fn too_slow() -> ApiError {
    invalid(format!("The request body did not arrive within {} s", PATIENCE.as_secs()))
}

fn body_limit(request: &HttpRequest) -> usize {
    request.app_data::<App>().map_or(SMALL, |app| app.settings.body_limit)
}

/// Whose body it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// Of a route that needs no key.
    Anybody,
    /// Somebody whose key or browser session is good: nothing is read before that is settled.
    KeyHolder,
}

/// One JSON object of at most so many bytes; none where the body is empty.
fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
    sender: Sender,
) -> impl Future<Output = Result<Option<JsonBody>, ApiError>> + use<> {
    let (request, payload) = (request.clone(), payload.take());
    async move {
        if announced_length(&request).is_some_and(|length| length > limit as u64) {
            return Err(too_large(limit));
        }
        let collected = tokio::time::timeout(PATIENCE, collect(&request, payload, limit, sender))
            .await
            .map_err(|_elapsed| too_slow());
        let (bytes, _permit) = collected??;
        if bytes.is_empty() {
            return Ok(None);
        }
        check_content_type(text_of(&request, header::CONTENT_TYPE))?;
        let map = parse_object(&bytes)?;
        if let Some(audit) = AuditContext::of(&request) {
            audit.see_body(&map);
        }
        let asked = Asked::default();
        request.extensions_mut().insert(asked.clone());
        Ok(Some(JsonBody { map, asked }))
    }
}

/// Takes in the whole body, up to the limit and out of the budget of all.
async fn collect(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
    sender: Sender,
) -> Result<(Bytes, Option<MemoryPermit>), ApiError> {
    check_encoding(text_of(request, header::CONTENT_ENCODING))?;
    let mut permit = None;
    if sender == Sender::KeyHolder {
        // Polled again whenever `Authorized` is, which stands before it among the arguments of every handler.
        poll_fn(|_| if was_admitted(request) { Poll::Ready(()) } else { Poll::Pending }).await;
        permit = request.app_data::<App>().map(|app| app.bodies.empty_permit());
    }
    let mut bytes = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| invalid("The request body ended before it was complete"))?;
        let length = bytes.len().saturating_add(chunk.len());
        if length > limit {
            return Err(too_large(limit));
        }
        if let Some(permit) = &mut permit {
            hold(permit, length)?;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.freeze(), permit))
}

fn empty() -> ApiError {
    invalid("The request body is empty; a JSON object is needed")
}

fn text_of(request: &HttpRequest, header: HeaderName) -> Option<String> {
    let value = request.headers().get(header)?;
    Some(value.to_str().unwrap_or("?").to_owned())
}

/// A body is taken as it comes: what a small one unpacks to would have to be bounded apart.
fn check_encoding(encoding: Option<String>) -> Result<(), ApiError> {
    let Some(encoding) = encoding.filter(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) else {
        return Ok(());
    };
    let shown: String = encoding.chars().filter(|character| !character.is_control()).take(100).collect();
    Err(ApiError(
        Failure::new(
            ErrorCode::UnsupportedMediaType,
            format!("The request body must not be compressed, and its Content-Encoding is \"{shown}\""),
        )
        .with_help("Send it as it is, without the header Content-Encoding."),
    ))
}

/// What of a body and of a query had no effect since nobody knows it, for the header that says so. A route that was carried out and
/// read no query knows none of its parameters.
pub(crate) fn ignored_fields(request: &HttpRequest, is_done: bool) -> Option<HeaderValue> {
    let is_unread = request.extensions().get::<AskedInQuery>().is_none();
    if is_unread && is_done && request.path().starts_with("/api/") && !request.query_string().is_empty() {
        query(request).fields();
    }
    let extensions = request.extensions();
    let mut ignored = extensions.get::<Asked>().map(Asked::ignored).unwrap_or_default();
    let of_query = extensions.get::<AskedInQuery>().map(|AskedInQuery(asked)| asked.ignored()).unwrap_or_default();
    ignored.extend(of_query.into_iter().map(|name| format!("?{name}")));
    let more = ignored.len().saturating_sub(MOST_IGNORED);
    let plain = |name: &String| {
        let name = name.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' });
        name.take(MOST_OF_NAME).collect::<String>()
    };
    let mut names: Vec<String> = ignored.iter().take(MOST_IGNORED).map(plain).collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    HeaderValue::try_from(names.join(", ")).ok().filter(|names| !names.is_empty())
}

/// No content type is taken as JSON: many scripts leave it out. A wrong one is refused, which also keeps a browser's
/// cross-site form from reaching a handler.
fn check_content_type(content_type: Option<String>) -> Result<(), ApiError> {
    let Some(text) = content_type else {
        return Ok(());
    };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let shown: String = essence.chars().filter(|character| !character.is_control()).take(100).collect();
    Err(ApiError(
        Failure::new(ErrorCode::UnsupportedMediaType, format!("The request body must be JSON, not \"{shown}\""))
            .with_help("Send the header Content-Type: application/json."),
    ))
}

fn too_large(limit: usize) -> ApiError {
    ApiError(Failure::new(
        ErrorCode::PayloadTooLarge,
        format!("The request body is larger than the {limit} bytes that are allowed"),
    ))
}

/// Parses one JSON object; trailing text, repeated keys and invalid UTF-8 are refused.
fn parse_object(bytes: &Bytes) -> Result<Map<String, Value>, ApiError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|fault| invalid(format!("The request body is not valid UTF-8 at byte {}", fault.valid_up_to())))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let strict = StrictJson::deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|fault| malformed(&fault))?;
    match strict.0 {
        Value::Object(map) => Ok(map),
        other => {
            let kind = kind_of(&other);
            let failure = invalid(format!("The request body must be a JSON object, not {kind}")).0;
            Err(failure.with_details(json!({"body": kind})).into())
        }
    }
}

fn malformed(fault: &serde_json::Error) -> ApiError {
    let place = format!("line {}, column {}", fault.line(), fault.column());
    let text = fault.to_string();
    let what = if let Some(key) = repeated_key(&text) {
        format!("names the field \"{key}\" twice")
    } else if text.starts_with("recursion limit") {
        "is nested too deeply".to_owned()
    } else if text.starts_with("number out of range") {
        "holds a number that is too large".to_owned()
    } else if fault.is_eof() {
        "ends too early to be JSON".to_owned()
    } else {
        "is not valid JSON".to_owned()
    };
    invalid(format!("The request body {what} ({place})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(body: &[u8]) -> String {
        parse_object(&Bytes::copy_from_slice(body)).unwrap_err().0.message
    }

    #[test]
    fn what_is_not_one_json_object_is_refused_with_a_sentence() {
        assert!(sentence(b"{\"a\":1,\"a\":2}").contains("names the field \"a\" twice"));
        assert!(sentence(b"{\"a\":{\"b\":1,\"b\":1}}").contains("\"b\" twice"));
        assert!(sentence(b"{\"a\":NaN}").contains("not valid JSON"));
        assert!(sentence(b"{\"a\":1e999}").contains("too large"));
        assert!(sentence(b"{\"a\":").contains("ends too early"));
        assert!(sentence(b"{} {}").contains("not valid JSON"));
        assert!(sentence(b"[1]").contains("not an array"));
        assert!(sentence(b"null").contains("not null"));
        assert!(sentence(b"{\"a\":\"\xff\"}").contains("not valid UTF-8 at byte 6"));
        assert!(sentence(b"{\"a\":\"\0\"}").contains("not valid JSON"));
        let deep = [b"{\"a\":".repeat(1000), b"1".to_vec(), b"}".repeat(1000)].concat();
        assert!(sentence(&deep).contains("nested too deeply"));
    }

    #[test]
    fn no_sentence_speaks_of_rust() {
        for body in [&b"{\"a\":NaN}"[..], b"{", b"[", b"\"x\"", b"{\"a\":1e999}", b"nope"] {
            let sentence = sentence(body);
            for word in ["serde", "Value", "expected", "i64", "u64", "::"] {
                assert!(!sentence.contains(word), "{sentence}");
            }
        }
    }

    #[test]
    fn a_missing_content_type_passes_and_a_wrong_one_does_not() {
        assert!(check_content_type(None).is_ok());
        assert!(check_content_type(Some("application/json; charset=utf-8".to_owned())).is_ok());
        assert!(check_content_type(Some("Application/JSON".to_owned())).is_ok());
        for wrong in ["text/html", "application/x-www-form-urlencoded", "", "json"] {
            let ApiError(failure) = check_content_type(Some(wrong.to_owned())).unwrap_err();
            assert_eq!(failure.code, ErrorCode::UnsupportedMediaType);
        }
    }

    #[test]
    fn a_compressed_body_is_refused_with_its_encoding() {
        assert!(check_encoding(None).is_ok());
        assert!(check_encoding(Some("Identity".to_owned())).is_ok());
        let ApiError(failure) = check_encoding(Some("gzip".to_owned())).unwrap_err();
        assert_eq!(failure.code, ErrorCode::UnsupportedMediaType);
        assert!(failure.message.contains("\"gzip\""), "{}", failure.message);
    }

    #[actix_web::test]
    async fn a_body_that_never_ends_is_given_up() {
        tokio::time::pause();
        let started = tokio::time::Instant::now();
        let request = actix_web::test::TestRequest::post().to_http_request();
        let mut payload: Payload = Payload::Stream { payload: Box::pin(futures_util::stream::pending()) };
        let ApiError(failure) = JsonBody::from_request(&request, &mut payload).await.unwrap_err();
        assert!(failure.message.contains("did not arrive"), "{}", failure.message);
        assert!(started.elapsed() < PATIENCE + Duration::from_secs(1));
    }
}
