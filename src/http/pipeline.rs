//! What every request passes through, in this order: id, allowed hosts, CORS, the route, the audit log, headers, the log. One
//! wrapper around all of it costs one allocation a request instead of one a step; each step decides in a file of its own.

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, web};
use gatewarden_listener::AnswerBody;

use super::access_log::{Answered, note};
use super::audit::{self, Watch};
use super::error::ApiError;
use super::front::Front;
use super::organization::error_detail;
use super::rate_limit::LimitState;
use super::request_id::REQUEST_ID;
use super::serving;
use super::{allowed_hosts, cors, security_headers};

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

    let watch = audit::concerns(&method).then(|| Watch::begin(&front, &request, &request_id));

    let is_page = security_headers::is_page(request.path());
    let mut response = match allowed_hosts::check(request.path(), request.headers(), &front.settings.allowed_hosts) {
        Err(failure) => {
            let refusal = HttpResponse::from_error(ApiError(failure));
            request.into_response(refusal).map_into_right_body()
        }
        Ok(()) if origin.is_some() && cors::is_preflight(&request) => {
            request.into_response(cors::preflight()).map_into_right_body()
        }
        Ok(()) => next.call(request).await?.map_into_left_body(),
    };

    if error_detail::concerns(response.request().path()) {
        response = error_detail::add(response);
    }
    if let Some(watch) = watch {
        response = Box::pin(watch.settle(response)).await;
    }
    // A stream has no end by itself, and the answer to HEAD has no body to end with.
    if method == Method::HEAD && response.response().body().size() == BodySize::Stream {
        response = response.map_body(|_, _| EitherBody::right(BoxBody::new(())));
    }

    let limit = response.request().extensions().get::<LimitState>().copied();
    let headers = response.headers_mut();
    security_headers::write(is_page, headers);
    if !front.settings.cors_origins.is_empty() {
        cors::vary(headers);
    }
    if let Some(origin) = origin {
        cors::write(origin, headers);
    }
    if let Some(limit) = limit {
        limit.write(headers);
    }
    headers.insert(REQUEST_ID, request_id.clone());

    let route = response.request().match_pattern();
    note(
        &front.app.metrics,
        &Answered {
            method: &method,
            route: route.as_deref().unwrap_or("unmatched"),
            status: response.status().as_u16(),
            took: front.app.clock.now().saturating_duration_since(started),
            request_id: &request_id,
        },
    );
    Ok(response.map_body(|_, body| AnswerBody::new(body, serving)))
}
