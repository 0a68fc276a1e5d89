//! What a request tells its connection: that it is being served, how much of its body is read, and that a good key came with it.

use std::num::NonZeroU64;
use std::sync::Arc;

use actix_web::HttpRequest;
use gatewarden_listener::Connection;
pub(crate) use gatewarden_listener::{announced_length, begin};

use super::keyring::KeyHolder;

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
