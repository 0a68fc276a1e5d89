//! HTTP on the gateway's port: health, the REST operations of document 000, webhooks and the status page; and the metrics on a
//! port of their own. Here is what they share: answers, who asks, and calls of methods.

pub(crate) mod entrance;
mod operations;
mod status_page;
mod webhooks;
#[cfg(feature = "channels")]
mod whatsapp;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Resource};
use gatewarden_protocol::Secret;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::COMPATIBLE_VERSION;
use crate::auth::{Ingress, NOT_THROUGH_TAILSCALE, Peer};
use crate::call::{Call, CallError};
use crate::caller::Caller;
use crate::clock::Now;
use crate::context::{GatewayContext, Phase};
use crate::core_actor::{Ask, Disconnected};
use crate::payload::joined;

/// How long a request waits for its answer. Methods answer at once, or when a process was started.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Longest credential that is looked at, in bytes.
const MAX_TOKEN: usize = 4_096;
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

type SharedContext = Data<Rc<GatewayContext>>;

pub(crate) fn routes(context: &Rc<GatewayContext>) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let context = Rc::clone(context);
    move |service| {
        service.app_data(Data::new(Rc::clone(&context)));
        for path in ["/health", "/healthz"] {
            service.service(reading(path).route(web::get().to(health)).route(web::head().to(health)));
        }
        for path in ["/ready", "/readyz"] {
            service.service(reading(path).route(web::get().to(ready)).route(web::head().to(ready)));
        }
        operations::routes(service);
        // What the gateway itself serves comes first: a webhook can't take its place.
        webhooks::routes(service);
        #[cfg(feature = "channels")]
        whatsapp::routes(service);
        let control_ui = &context.config().control_ui;
        if control_ui.enabled {
            status_page::routes(service, &control_ui.base_path);
        }
        service.default_service(web::to(not_found));
    }
}

/// The one route of the metrics' port (document 002, "Gateway Metrics").
pub(crate) fn metrics_routes(context: &Rc<GatewayContext>) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let context = Rc::clone(context);
    move |service| {
        service.app_data(Data::new(context));
        service.service(reading("/metrics").route(web::get().to(metrics)).route(web::head().to(metrics)));
        service.default_service(web::to(not_found));
    }
}

fn reading(path: impl Into<String>) -> Resource {
    web::resource(path.into()).default_service(web::to(|| async { wrong_method("GET, HEAD") }))
}

/// Document 004's form; `ok` is what real releases say beside it. `uptime` is in seconds.
async fn health(context: SharedContext) -> HttpResponse {
    let uptime = context.uptime(Now::read()).as_secs();
    let body = json!({"ok": true, "status": "ok", "version": COMPATIBLE_VERSION, "uptime": uptime});
    json_answer(StatusCode::OK, &body)
}

/// The form of real releases.
async fn ready(context: SharedContext) -> HttpResponse {
    let stopping = *context.phase.borrow() > Phase::Serving;
    let failing: &[&str] = if stopping { &["stopping"] } else { &[] };
    let uptime = u64::try_from(context.uptime(Now::read()).as_millis()).unwrap_or(u64::MAX);
    let status = if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    json_answer(status, &json!({"ready": !stopping, "failing": failing, "uptimeMs": uptime}))
}

async fn metrics(context: SharedContext) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(TEXT_FORMAT).body(context.metrics.text())
}

/// The caller of a request, or the answer that refuses it.
async fn caller(request: &HttpRequest, context: &SharedContext) -> Result<Arc<Caller>, HttpResponse> {
    let peer = peer_of(request, context).ok_or_else(|| no_peer(request))?;
    let (connection, token) = (context.limits.next_connection(), bearer(request));
    let checked = context.in_turn(move |machine, turn| machine.bearer(connection, &peer, token.as_ref(), turn)).await;
    checked.map_err(|_| stopping())?.map_err(|error| unauthorized(&error))
}

/// The listener that a request came to.
fn ingress_of(request: &HttpRequest) -> Ingress {
    request.conn_data::<Ingress>().copied().unwrap_or_default()
}

/// Who asks; else [`no_peer`] is the answer.
fn peer_of(request: &HttpRequest, context: &GatewayContext) -> Option<Peer> {
    let remote = request.peer_addr()?.ip();
    Peer::of_request(remote, ingress_of(request), request.head(), &context.config())
}

/// The token of the `Authorization` header, where it has one.
fn bearer(request: &HttpRequest) -> Option<Secret> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN;
    fits.then(|| Secret::new(token))
}

/// Tells the core actor that nobody waits any more, however the request ended.
struct Asked {
    context: SharedContext,
    caller: Arc<Caller>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        // One small message for each request; a core that is gone has nothing to forget.
        self.context.core.do_send(Disconnected(self.caller.connection));
    }
}

/// The payload of a method's first answer, or the HTTP answer that says why there is none.
async fn ask(
    context: &SharedContext,
    caller: &Arc<Caller>,
    method: &str,
    params: Value,
) -> Result<Value, HttpResponse> {
    let (answer, answered) = oneshot::channel();
    let call = Call { caller: Arc::clone(caller), request: None, method: method.to_owned(), params };
    let asked = Asked { context: context.clone(), caller: Arc::clone(caller) };
    context.core.send(Ask { call, answer }).await.map_err(|_| stopping())?;
    let outcome = tokio::time::timeout(ANSWERED_WITHIN, answered).await;
    drop(asked);
    match outcome {
        Ok(Ok(outcome)) => outcome.map_err(|error| call_error(&error)),
        Ok(Err(_)) => Err(stopping()),
        Err(_) => {
            let said = "the gateway took too long; what was asked for may still happen";
            Err(refusal(StatusCode::GATEWAY_TIMEOUT, "timeout", said))
        }
    }
}

fn json_answer(status: StatusCode, body: &Value) -> HttpResponse {
    HttpResponseBuilder::new(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("application/json; charset=utf-8")
        .body(body.to_string())
}

/// An error of this server: `{"error":{"message","type"}}`, as real gateways word theirs.
fn refusal(status: StatusCode, kind: &str, message: &str) -> HttpResponse {
    json_answer(status, &json!({"error": {"message": message, "type": kind}}))
}

fn call_error(error: &CallError) -> HttpResponse {
    let status = match error.code {
        "FORBIDDEN" => StatusCode::FORBIDDEN,
        "NOT_FOUND" => StatusCode::NOT_FOUND,
        "UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
        _ if error.message.contains("not found") => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = joined(error.to_value(), json!({"type": error.code.to_ascii_lowercase()}));
    let mut answer = json_answer(status, &json!({"error": body}));
    if let Some(ms) = error.retry_after_ms {
        answer.headers_mut().insert(RETRY_AFTER, ms.div_ceil(1_000).max(1).into());
    }
    answer
}

/// A refused credential: 429 while the address is locked out, else 401.
fn unauthorized(error: &CallError) -> HttpResponse {
    let locked = error.details.get("code").and_then(|code| code.as_str()) == Some("AUTH_RATE_LIMITED");
    let status = if locked { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::UNAUTHORIZED };
    let mut answer = json_answer(status, &json!({"error": error.to_value()}));
    if locked {
        let seconds = error.retry_after_ms.unwrap_or(60_000).div_ceil(1_000).max(1);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    } else {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

async fn not_found() -> HttpResponse {
    refusal(StatusCode::NOT_FOUND, "not_found", "no such path")
}

/// The path is known, the method isn't one of its own.
fn wrong_method(allowed: &'static str) -> HttpResponse {
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("use {allowed}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// It didn't come through Tailscale where it had to, or the client hung up so early that its connection has no address any more.
fn no_peer(request: &HttpRequest) -> HttpResponse {
    if request.peer_addr().is_some() {
        return refusal(StatusCode::FORBIDDEN, "proxy_attribution_required", NOT_THROUGH_TAILSCALE);
    }
    refusal(StatusCode::BAD_REQUEST, "no_peer", "the connection has no address")
}

fn stopping() -> HttpResponse {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the gateway is stopping")
}
