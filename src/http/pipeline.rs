//! What every request passes through, in this order: id, allowed hosts, CORS, the route, the audit log, headers, the log. One
//! wrapper around all of it costs one allocation a request instead of one a step; each step decides in a file of its own. A
//! request that may change something passes the route and the audit log in a task of its own ([`super::mutations`]).

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, web};
use gatewarden_actors::error::Failure;
use gatewarden_listener::AnswerBody;

use super::access_log::{Answered, note};
use super::audit::notes::Notes;
use super::audit::{self, Watch};
use super::error::ApiError;
use super::front::Front;
use super::organization::error_detail;
use super::rate_limit::LimitState;
use super::request_id::REQUEST_ID;
use super::{allowed_hosts, cors, routes, security_headers, serving};

/// The wrapper.
pub async fn run<B: MessageBody + 'static>(
    front: web::Data<Front>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<AnswerBody<EitherBody<B>>>, Error> {
    let serving = serving::begin(&mut request);
    let started = front.app.clock.now();
    let request_id = front.request_ids.assign(request.headers());
    let method = request.method().clone();
    let origin = cors::allowed_origin(&request, &front.settings.cors_origins);
    // The encoder leaves the body out by itself, as it has seen the real method.
    if method == Method::HEAD {
        request.head_mut().method = Method::GET;
    }
    let is_page = security_headers::is_page(request.path());
    let dress = |limit: Option<LimitState>, headers: &mut HeaderMap| {
        security_headers::write(is_page, headers);
        if !front.settings.cors_origins.is_empty() {
            cors::vary(headers);
        }
        if let Some(origin) = &origin {
            cors::write(origin.clone(), headers);
        }
        if let Some(limit) = limit {
            limit.write(headers);
        }
        headers.insert(REQUEST_ID, request_id.clone());
    };
    let tell = |route: Option<&str>, status: u16| {
        let took = front.app.clock.now().saturating_duration_since(started);
        let route = route.unwrap_or("unmatched");
        note(&front.app.metrics, &Answered { method: &method, route, status, took, request_id: &request_id });
    };

    let is_cross_origin = origin.is_some();
    let mut response = if audit::concerns(&method) {
        let is_detailed = error_detail::concerns(request.path());
        // A box of its own, so that reads don't carry what changes need.
        match Box::pin(change(front.clone(), request, &request_id, next, is_cross_origin)).await {
            Ok(answered) => answered?,
            Err((failure, notes)) => {
                let mut refusal = HttpResponse::from_error(ApiError(failure.clone()));
                if is_detailed {
                    refusal = error_detail::of(refusal, &failure);
                }
                dress(None, refusal.headers_mut());
                tell(notes.route().as_deref(), refusal.status().as_u16());
                // The request is with its task, without which there is no response as handlers make them.
                return Err(InternalError::from_response(failure, refusal).into());
            }
        }
    } else {
        answer(&front, request, next, is_cross_origin).await?
    };

    // A stream has no end by itself, and the answer to HEAD has no body to end with.
    if method == Method::HEAD && response.response().body().size() == BodySize::Stream {
        response = response.map_body(|_, _| EitherBody::right(BoxBody::new(())));
    }
    let limit = response.request().extensions().get::<LimitState>().copied();
    dress(limit, response.headers_mut());
    tell(response.request().match_pattern().as_deref(), response.status().as_u16());
    Ok(response.map_body(|_, body| AnswerBody::new(body, serving)))
}

/// The route's answer, or the refusal of what doesn't get there.
async fn answer<B: MessageBody + 'static>(
    front: &Front,
    request: ServiceRequest,
    next: Next<B>,
    is_cross_origin: bool,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let response = match allowed_hosts::check(request.path(), request.headers(), &front.settings.allowed_hosts) {
        Err(failure) => {
            let refusal = HttpResponse::from_error(ApiError(failure));
            request.into_response(refusal).map_into_right_body()
        }
        Ok(()) if is_cross_origin && cors::is_preflight(&request) => {
            request.into_response(cors::preflight()).map_into_right_body()
        }
        Ok(()) if front.table.refuses(request.path(), request.method()) => {
            let refusal = routes::not_routed(front, request.request());
            request.into_response(refusal).map_into_right_body()
        }
        Ok(()) => next.call(request).await?.map_into_left_body(),
    };
    Ok(if error_detail::concerns(response.request().path()) { error_detail::add(response) } else { response })
}

/// The same with its entry in the audit log, to the end of both, whoever waits. An answer in its place comes with what is known
/// of the request.
async fn change<B: MessageBody + 'static>(
    front: web::Data<Front>,
    request: ServiceRequest,
    request_id: &HeaderValue,
    next: Next<B>,
    is_cross_origin: bool,
) -> Result<Result<ServiceResponse<EitherBody<B>>, Error>, (Failure, Notes)> {
    let watch = Watch::begin(&front, &request, request_id);
    let notes = watch.notes();
    let mutations = front.app.mutations.clone();
    let work = || async move {
        let response = answer(&front, request, next, is_cross_origin).await?;
        Ok(watch.settle(response).await)
    };
    mutations.run(work).await.map_err(|failure| (failure, notes))
}
