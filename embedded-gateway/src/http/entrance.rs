//! What every HTTP request passes before its handler: a web page in somebody's browser must not get further.

use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{
    CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _, HttpResponse};
use gatewarden_listener::AnswerBody;

use super::{ingress_of, no_peer, peer_of, refusal};
use crate::auth::{HOST_NOT_ALLOWED, origin_is_allowed};
use crate::context::GatewayContext;

/// How long a request may take in all, the arrival of its body included: nobody holds a connection by sending slowly.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

const ALWAYS: [(HeaderName, &str); 3] =
    [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer"), (X_FRAME_OPTIONS, "DENY")];

/// Host, Origin, content type; in this order.
pub(crate) async fn check(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<AnswerBody<BoxBody>>, Error> {
    let serving = gatewarden_listener::begin(&mut request);
    let mut response = match refused(&request) {
        Some(refusal) => request.into_response(refusal),
        None => match tokio::time::timeout(ANSWERED_WITHIN, next.call(request)).await {
            Ok(response) => response?.map_into_boxed_body(),
            Err(late) => {
                let said = "the request took too long to arrive";
                let answer = refusal(StatusCode::REQUEST_TIMEOUT, "timeout", said);
                return Err(InternalError::from_response(late, answer).into());
            }
        },
    };
    for (name, value) in ALWAYS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response.map_body(|_, body| AnswerBody::new(body, serving)))
}

fn refused(request: &ServiceRequest) -> Option<HttpResponse> {
    let Some(context) = request.app_data::<Data<Rc<GatewayContext>>>() else {
        return Some(refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server isn't set up"));
    };
    context.metrics.http_requests.inc();
    let config = context.config();
    if !context.host_guard(ingress_of(request.request()), &config).allows(request.request().head()) {
        return Some(refusal(StatusCode::FORBIDDEN, "host_not_allowed", HOST_NOT_ALLOWED));
    }
    let Some(peer) = peer_of(request.request(), context) else { return Some(no_peer(request.request())) };
    if !origin_is_allowed(&peer, &config) {
        let said = "origin not allowed: add it to gateway.controlUi.allowedOrigins";
        return Some(refusal(StatusCode::FORBIDDEN, "origin_not_allowed", said));
    }
    if request.method() == Method::POST && !is_json(request) {
        let said = "POST needs the content type application/json";
        return Some(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", said));
    }
    None
}

fn is_json(request: &ServiceRequest) -> bool {
    request.headers().contains_key(CONTENT_TYPE) && request.content_type().eq_ignore_ascii_case("application/json")
}
