//! What every request passes through, in this order: id, allowed hosts, CORS, the route, the audit log, compression, headers, the log. One
//! wrapper around all of it costs one allocation a request instead of one a step; the steps themselves are elsewhere. A
//! request that may change something passes the route and the audit log in a task of its own ([`super::mutations`]).

use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse};
use gatewarden_actors::clock::Clock;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::store::member::Member;
use gatewarden_listener::AnswerBody;

use super::audit::AuditGuard;
use super::audit::context::{AuditContext, concerns};
use super::compression::compress;
use super::context::{App, AppContext};
use super::error::{ApiError, add_detail, detailed, has_detail};
use super::headers::{self, IGNORED_FIELDS, REQUEST_ID};
use super::input::ignored_fields;
use super::limits::LimitState;
use super::peer::{CLIENT, Holder, adopt_client, forwarding_node};
use crate::mesh::is_of_living_node;

/// The wrapper.
pub(crate) async fn run<B: MessageBody + 'static>(
    app: App,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<AnswerBody<EitherBody<B>>>, Error> {
    let serving = gatewarden_listener::begin(&mut request);
    adopt_client(&mut request);
    let started = app.clock.now();
    let request_id = app.request_ids.assign(request.headers());
    let method = request.method().clone();
    let origin = headers::allowed_origin(&request, &app.settings.cors_origins);
    // The encoder leaves the body out by itself, as it has seen the real method.
    if method == Method::HEAD {
        request.head_mut().method = Method::GET;
    }
    let is_page = headers::is_page(request.path());
    let dress = |limit: Option<LimitState>, into: &mut HeaderMap| {
        headers::write_security(is_page, into);
        if !app.settings.cors_origins.is_empty() {
            headers::vary_by_origin(into);
        }
        if let Some(origin) = &origin {
            headers::write_cors(origin.clone(), into);
        }
        if let Some(limit) = limit {
            limit.write(into);
        }
        into.insert(REQUEST_ID, request_id.clone());
    };
    let tell = |route: Option<&str>, status: u16| {
        let took = app.clock.now().saturating_duration_since(started);
        log(&app.metrics, &method, route.unwrap_or("unmatched"), status, took, &request_id);
    };

    let is_cross_origin = origin.is_some();
    let mut response = if concerns(&method) {
        let is_detailed = has_detail(request.path());
        // A box of its own, so that reads don't carry what changes need.
        match Box::pin(change(app.clone(), request, &request_id, next, is_cross_origin)).await {
            Ok(answered) => answered?,
            Err((failure, seen)) => {
                let mut refusal = HttpResponse::from_error(ApiError(failure.clone()));
                if is_detailed {
                    refusal = detailed(refusal, &failure);
                }
                dress(None, refusal.headers_mut());
                tell(seen.route().as_deref(), refusal.status().as_u16());
                // The request is with its task, without which there is no response as handlers make them.
                return Err(InternalError::from_response(failure, refusal).into());
            }
        }
    } else {
        answer(&app, request, next, is_cross_origin).await?
    };

    response = compress(response).await;
    // A stream has no end by itself, and the answer to HEAD has no body to end with.
    if method == Method::HEAD && response.response().body().size() == BodySize::Stream {
        response = response.map_body(|_, _| EitherBody::right(BoxBody::new(())));
    }
    let limit = response.request().extensions().get::<LimitState>().copied();
    if let Some(ignored) = ignored_fields(response.request(), response.status().is_success()) {
        response.headers_mut().insert(IGNORED_FIELDS, ignored);
    }
    let holder = response.request().extensions().get::<Holder>().copied();
    if let Some(Holder(holder)) = holder {
        response.headers_mut().insert(CLIENT, HeaderValue::from(holder.get()));
    }
    dress(limit, response.headers_mut());
    tell(response.request().match_pattern().as_deref(), response.status().as_u16());
    Ok(response.map_body(|_, body| AnswerBody::new(body, serving)))
}

/// The route's answer, or the refusal of what doesn't get there.
async fn answer<B: MessageBody + 'static>(
    app: &AppContext,
    request: ServiceRequest,
    next: Next<B>,
    is_cross_origin: bool,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let response = match check_entrance(app, &request) {
        Err(failure) => {
            let refusal = HttpResponse::from_error(ApiError(failure));
            refused(request, refusal)
        }
        Ok(()) if is_cross_origin && headers::is_preflight(&request) => {
            request.into_response(headers::preflight()).map_into_right_body()
        }
        Ok(()) if app.routes.refuses(request.path(), request.method()) => {
            let refusal = app.routes.not_routed(request.request());
            refused(request, refusal)
        }
        Ok(()) => next.call(request).await?.map_into_left_body(),
    };
    Ok(if has_detail(response.request().path()) { add_detail(response) } else { response })
}

/// Another node has checked the host by its own names; that node itself has to live.
fn check_entrance(app: &AppContext, request: &ServiceRequest) -> Result<(), Failure> {
    let Some(node) = forwarding_node(request.request()) else {
        return headers::check_host(request.path(), request.headers(), &app.settings.allowed_hosts);
    };
    let view = app.node.member.as_ref().map(Member::view);
    if view.is_some_and(|view| is_of_living_node(&view.borrow(), &node.certificate)) {
        return Ok(());
    }
    let sentence = "The node that passed the request on does not count among the living at the one that acts";
    Err(Failure::new(ErrorCode::NodeUnreachable, sentence)
        .with_help("Nothing was begun: send it again, to this node or another one.")
        .with_retry_after(Duration::from_secs(1)))
}

/// `into_response` would lose the error, out of which the organization API makes its `detail`.
fn refused<B>(request: ServiceRequest, refusal: HttpResponse) -> ServiceResponse<EitherBody<B>> {
    ServiceResponse::new(request.into_parts().0, refusal).map_into_right_body()
}

/// The same with its entry in the audit log, to the end of both, whoever waits. An answer in its place comes with what is known
/// of the request.
async fn change<B: MessageBody + 'static>(
    app: App,
    request: ServiceRequest,
    request_id: &HeaderValue,
    next: Next<B>,
    is_cross_origin: bool,
) -> Result<Result<ServiceResponse<EitherBody<B>>, Error>, (Failure, AuditContext)> {
    let guard = AuditGuard::begin(&app, &request, request_id);
    let seen = guard.context();
    let mutations = app.mutations.clone();
    let work = || async move {
        let response = answer(&app, request, next, is_cross_origin).await?;
        Ok(guard.settle(response).await)
    };
    mutations.run(work).await.map_err(|failure| (failure, seen))
}

/// One count and one debug line a request: the route's pattern instead of the path, no query, no headers.
fn log(metrics: &Metrics, method: &Method, route: &str, status: u16, took: Duration, request_id: &HeaderValue) {
    // Methods come from outside; as labels they must be few.
    let method = match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            method.as_str()
        }
        _ => "other",
    };
    metrics.observe_http(method, route, status, took);
    tracing::debug!(
        http.method = method,
        http.route = route,
        http.status = status,
        http.took_ms = Clock::millis(took),
        request.id = request_id.to_str().unwrap_or_default(),
        "request answered"
    );
}
