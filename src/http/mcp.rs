//! `POST /mcp`: the MCP server ([`crate::mcp`]) for assistants that reach the daemon over HTTP: each message is a request with a key,
//! answered with JSON; there are no sessions.
//!
//! A tool is a request of the REST API, made within the worker that has the message: it passes the same pipeline as one from
//! outside, with the client's own credentials and address.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpMessage as _, Payload, Request};
use actix_service::{IntoServiceFactory as _, Service as _, ServiceFactory as _, map_config};
use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, Uri};
use actix_web::{Error, HttpRequest, HttpResponse, post};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{LocalBoxStream, once, unfold};
use futures_util::{FutureExt as _, StreamExt as _};
use gatewarden_actors::error::ErrorCode;
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ErrorCode as RpcCode, ServerJsonRpcMessage};
use rmcp::service::serve_directly;
use rmcp::transport::OneshotTransport;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::auth::{Authorized, Viewer};
use super::context::App;
use super::error::{Answer, ApiError, invalid};
use super::input::JsonBody;
use super::peer::{ForwardingNode, forwarding_node};
use crate::event_stream::{EventStream, StreamEvent};
use crate::mcp::{Excerpt, McpServer, Refusal, RestApi, RestCall, Toolbox};

/// What says who asks, from where, and for which request: tools are asked with the same.
const CREDENTIALS: [&str; 13] = [
    "x-api-key",
    "authorization",
    "cookie",
    "host",
    "origin",
    "sec-fetch-site",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
    "x-request-id",
];
/// Bytes of an event that wait for its end.
const MAX_EVENT: usize = 1024 * 1024;

/// Answer an AI assistant (MCP)
///
/// One message of the Model Context Protocol over streamable HTTP, without sessions: `initialize`, `ping`, `tools/list`,
/// `tools/call`, `resources/list`, `resources/read`. A tool is a request of this API with the same key: role, limits and audit log
/// are that request's. An error of a tool is in its result.
#[utoipa::path(
    tag = "Daemon",
    request_body(content = Object, description = "A JSON-RPC 2.0 message"),
    responses(
        (status = 200, description = "The answer to a request, also where that is an error of JSON-RPC", body = Object),
        (status = 202, description = "A notification was taken"),
        (status = 400, description = "No message of this protocol: an error of JSON-RPC", body = Object),
    ),
)]
#[post("/mcp")]
pub(crate) async fn answer_assistant(
    _by: Authorized<Viewer>,
    app: App,
    request: HttpRequest,
    body: Result<JsonBody, ApiError>,
) -> Answer {
    let body = match body {
        Err(ApiError(failure)) if failure.code == ErrorCode::InvalidRequest => {
            // Only a body that is JSON, but no object, has details.
            let code = failure.details.as_ref().map_or(RpcCode::PARSE_ERROR, |_| RpcCode::INVALID_REQUEST);
            return Ok(no_message(code, &failure.message));
        }
        body => body?,
    };
    let Ok(message) = serde_json::from_str::<ClientJsonRpcMessage>(&body.whole_text()) else {
        let sentence = "The request body is no message of the Model Context Protocol (JSON-RPC 2.0)";
        return Ok(no_message(RpcCode::INVALID_REQUEST, sentence));
    };
    let ClientJsonRpcMessage::Request(_) = &message else {
        return Ok(HttpResponse::Accepted().finish());
    };
    let doorway = request.app_data::<Doorway>().cloned().unwrap_or_default();
    let toolbox = doorway.toolbox(&app).await;
    let api = InnerApi { inner: doorway.inner(&app).await, from: From::of(&request) };
    let (transport, mut answers) = OneshotTransport::<RoleServer>::new(message);
    // Ends with its answer, or when nobody waits for it any more.
    let _running = serve_directly(McpServer::new(api, toolbox), transport, None);
    while let Some(answer) = answers.recv().await {
        if matches!(answer, ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_)) {
            return Ok(HttpResponse::Ok().json(answer));
        }
    }
    Err(invalid("The message was not answered"))
}

/// What can't be read has no id that an answer could name.
fn no_message(code: RpcCode, sentence: &str) -> HttpResponse {
    let error = json!({"code": code, "message": sentence});
    HttpResponse::BadRequest().json(json!({"jsonrpc": "2.0", "id": null, "error": error}))
}

type Inner = Rc<dyn Fn(Request) -> LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>>;

/// A worker's way from a tool to the routes; made when it is first needed.
#[derive(Clone, Default)]
pub(crate) struct Doorway(Rc<Made>);

#[derive(Default)]
struct Made {
    inner: OnceCell<Inner>,
    toolbox: OnceCell<Arc<Toolbox>>,
}

impl Doorway {
    async fn toolbox(&self, app: &App) -> Arc<Toolbox> {
        let make = async || {
            let document: Value = serde_json::from_slice(&app.document.serialized()).unwrap_or_default();
            Arc::new(Toolbox::of(&document))
        };
        self.0.toolbox.get_or_init(make).await.clone()
    }

    async fn inner(&self, app: &App) -> Option<Inner> {
        let make = async || {
            let factory = map_config(super::app(app.clone()).into_factory(), |()| AppConfig::default());
            let service = factory.new_service(()).await?;
            Ok::<Inner, ()>(Rc::new(move |request| {
                let answer = service.call(request);
                async move { answer.await.map(ServiceResponse::map_into_boxed_body) }.boxed_local()
            }))
        };
        self.0.inner.get_or_try_init(make).await.ok().cloned()
    }
}

/// Who the message came from.
struct From {
    headers: HeaderMap,
    peer: Option<std::net::SocketAddr>,
    /// The node that passed it on.
    node: Option<ForwardingNode>,
}

impl From {
    fn of(request: &HttpRequest) -> Self {
        let mut headers = HeaderMap::new();
        for name in CREDENTIALS {
            for value in request.headers().get_all(name) {
                headers.append(HeaderName::from_static(name), value.clone());
            }
        }
        Self { headers, peer: request.peer_addr(), node: forwarding_node(request) }
    }
}

/// The routes of this daemon, with one client's credentials.
struct InnerApi {
    inner: Option<Inner>,
    from: From,
}

impl InnerApi {
    /// The answer of a success, or what is said instead.
    async fn answer(&self, call: RestCall) -> Result<BoxBody, Refusal> {
        let Some(inner) = &self.inner else {
            return Err(Excerpt::of("The daemon's routes cannot be reached from here; the REST API may work"));
        };
        let request = self.request(call).ok_or_else(|| Excerpt::of("The arguments make no request of the REST API"))?;
        let response = match inner(request).await {
            Ok(response) => response.into_parts().1,
            Err(error) => error.error_response(),
        };
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        Err(excerpt(response.into_body()).await)
    }

    fn request(&self, RestCall { method, path, idempotency_key, body }: RestCall) -> Option<Request> {
        let mut request = match body {
            None => Request::new(),
            Some(body) => {
                let bytes = Bytes::from(body.to_string());
                let payload: Payload = Payload::Stream { payload: Box::pin(once(async { Ok(bytes) })) };
                Request::with_payload(payload)
            }
        };
        let head = request.head_mut();
        head.method = Method::from_bytes(method.as_bytes()).ok()?;
        head.uri = path.parse::<Uri>().ok()?;
        head.peer_addr = self.from.peer;
        head.headers = self.from.headers.clone();
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = idempotency_key {
            head.headers.insert(HeaderName::from_static("idempotency-key"), HeaderValue::from_str(&key).ok()?);
        }
        if let Some(node) = &self.from.node {
            request.extensions_mut().insert(node.clone());
        }
        Some(request)
    }
}

impl RestApi for InnerApi {
    async fn ask(&self, call: RestCall) -> Result<Excerpt, Refusal> {
        Ok(excerpt(self.answer(call).await?).await)
    }

    /// Ends with whoever reads it.
    async fn follow(&self, call: RestCall, _: Duration) -> Result<LocalBoxStream<'static, StreamEvent>, Refusal> {
        let chunks = chunks(self.answer(call).await?);
        let events = unfold((chunks, Vec::new()), async |(mut chunks, mut waiting): (_, Vec<u8>)| {
            let chunk: Bytes = chunks.next().await?;
            waiting.extend_from_slice(&chunk);
            if waiting.len() > MAX_EVENT {
                return None;
            }
            // What is not complete yet waits for its end.
            let complete = waiting.windows(2).rposition(|end| end == b"\n\n").map_or(0, |at| at + 2);
            let rest = waiting.split_off(complete);
            let mut read = EventStream::new(Box::new(std::io::Cursor::new(waiting)));
            let events: Vec<StreamEvent> = std::iter::from_fn(|| read.next()).collect();
            Some((futures_util::stream::iter(events), (chunks, rest)))
        });
        Ok(events.flatten().boxed_local())
    }
}

/// A body, piece by piece.
fn chunks(body: BoxBody) -> LocalBoxStream<'static, Bytes> {
    let next = async |mut body: std::pin::Pin<Box<BoxBody>>| {
        let chunk = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        chunk.and_then(Result::ok).map(|chunk| (chunk, body))
    };
    unfold(Box::pin(body), next).boxed_local()
}

async fn excerpt(body: BoxBody) -> Excerpt {
    let mut chunks = chunks(body);
    let mut excerpt = Excerpt::empty();
    while let Some(chunk) = chunks.next().await {
        excerpt.take(&chunk);
    }
    excerpt
}
