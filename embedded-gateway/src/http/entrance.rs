//! What every HTTP request passes before its handler: a web page in somebody's browser must not get further.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse};
use gatewarden_listener::{AnswerBody, BeingServed, Connection, RequestPayload};
use gatewarden_protocol::forwarded::client_behind;

use super::answer::refusal;
use super::login::no_peer;
use crate::auth::{FORWARDING_HEADERS, Peer, origin_is_allowed};
use crate::config::GatewayConfig;
use crate::connection::GatewayContext;

const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

const ALWAYS: [(HeaderName, &str); 3] =
    [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer"), (X_FRAME_OPTIONS, "DENY")];

/// Host, Origin, content type; in this order.
pub(crate) async fn check(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<AnswerBody<BoxBody>>, Error> {
    let serving = begin(&mut request);
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

/// The request is served from here on; its body is read only as fast as its handler takes it.
fn begin(request: &mut ServiceRequest) -> Option<BeingServed> {
    let connection = Arc::clone(request.conn_data::<Arc<Connection>>()?);
    let serving = connection.begin();
    match request.take_payload() {
        Payload::None => {}
        body => {
            let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            let body = RequestPayload::new(body, connection, length);
            request.set_payload(Payload::Stream { payload: Box::pin(body) });
        }
    }
    Some(serving)
}

fn refused(request: &ServiceRequest) -> Option<HttpResponse> {
    let Some(context) = request.app_data::<Data<Rc<GatewayContext>>>() else {
        return Some(refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server isn't set up"));
    };
    context.metrics.http_requests.inc();
    if !context.hosts.allows(request.head()) {
        let said = "this gateway isn't known by that name: add it to the allowed hosts of its configuration";
        return Some(refusal(StatusCode::FORBIDDEN, "host_not_allowed", said));
    }
    let Some(peer) = peer_of(request.request(), context) else { return Some(no_peer()) };
    if !origin_is_allowed(&peer, &context.config) {
        let said = "origin not allowed: add it to gateway.controlUi.allowedOrigins";
        return Some(refusal(StatusCode::FORBIDDEN, "origin_not_allowed", said));
    }
    if request.method() == Method::POST && !is_json(request) {
        let said = "POST needs the content type application/json";
        return Some(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", said));
    }
    None
}

pub(super) fn peer_of(request: &HttpRequest, context: &GatewayContext) -> Option<Peer> {
    let (remote, headers) = (request.peer_addr()?.ip(), request.headers());
    let text = |name| headers.get(name).map(|value| value.to_str().map(str::to_owned).unwrap_or_default());
    let forwarded = FORWARDING_HEADERS.iter().any(|name| headers.contains_key(*name));
    let remote = client_address(remote, headers, &context.config);
    Some(Peer { remote, origin: text(ORIGIN), host: text(HOST), forwarded })
}

pub(crate) fn client_address(remote: IpAddr, headers: &HeaderMap, config: &GatewayConfig) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    client_behind(remote, hops.into_iter(), &config.trusted_proxies).to_canonical()
}

fn is_json(request: &ServiceRequest) -> bool {
    request.headers().contains_key(CONTENT_TYPE) && request.content_type().eq_ignore_ascii_case("application/json")
}
