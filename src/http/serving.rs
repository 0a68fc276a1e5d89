//! What a request tells its connection: that it is being served, how much of its body is read, and that a good key came with it.

use std::num::NonZeroU64;
use std::sync::Arc;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpMessage as _, HttpRequest};
use gatewarden_listener::{BeingServed, Connection, RequestPayload};

use super::keyring::KeyHolder;

/// The request is served from here on; its body is read only as fast as its handler takes it. None where there is no connection,
/// in tests.
pub(crate) fn begin(request: &mut ServiceRequest) -> Option<BeingServed> {
    let connection = request.conn_data::<Arc<Connection>>()?.clone();
    let serving = connection.begin();
    match request.take_payload() {
        Payload::None => {}
        body => {
            let body = RequestPayload::new(body, connection, announced_length(request.request()));
            request.set_payload(Payload::Stream { payload: Box::pin(body) });
        }
    }
    Some(serving)
}

/// The length of the body, where the client has said it.
pub(crate) fn announced_length(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A good key came in on the request's connection: it isn't ended in favour of strangers.
pub(crate) fn mark_known(request: &HttpRequest, key: &KeyHolder) {
    if let Some(connection) = request.conn_data::<Arc<Connection>>() {
        connection.mark_known(NonZeroU64::MIN.saturating_add(key.limit_key().unsigned_abs()));
    }
}

/// A wrong key came in on the request's connection, which may have been good before.
pub(crate) fn mark_unknown(request: &HttpRequest) {
    if let Some(connection) = request.conn_data::<Arc<Connection>>() {
        connection.mark_unknown();
    }
}
