//! What operations of the REST API may be answered besides success, for the document.

use utoipa::IntoResponses;

use crate::ErrorBody;

/// What any request with a key may be answered.
#[derive(IntoResponses)]
pub enum KeyErrors {
    /// A field, id, header or body is malformed or missing; the sentence names it.
    #[response(status = 400)]
    BadRequest(ErrorBody),
    /// No key, or a wrong one.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// The key's role is too small, or a browser's request that does not come from our own pages.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// The `Host` header names nothing that is served here.
    #[response(status = 421)]
    Misdirected(ErrorBody),
    /// Too many requests with this key, or too many wrong keys from this address; `Retry-After` says when.
    #[response(status = 429)]
    TooMany(ErrorBody),
    /// A fault of the daemon; its log says more.
    #[response(status = 500)]
    Internal(ErrorBody),
    /// The daemon, its database or the gateway cannot take the request right now, `Retry-After` says when; or, as
    /// `outcome_unknown`, a change has begun and not ended in time: read the state before you repeat it.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// What a request with a body may be answered besides.
#[derive(IntoResponses)]
pub enum BodyErrors {
    /// The body is larger than allowed.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// The body is of another type than JSON.
    #[response(status = 415)]
    NotJson(ErrorBody),
}

/// What a request that is passed on to a gateway may be answered besides.
#[derive(IntoResponses)]
pub enum GatewayErrors {
    /// The gateway can't do this; the sentence names the gateway and the missing method.
    #[response(status = 501)]
    NotSupported(ErrorBody),
    /// The gateway refused, with its words.
    #[response(status = 502)]
    Refused(ErrorBody),
    /// The gateway did not answer in time.
    #[response(status = 504)]
    Timeout(ErrorBody),
}

/// Of a request that names a gateway.
#[derive(IntoResponses)]
pub enum NoGateway {
    /// No gateway has this id
    #[response(status = 404)]
    NotFound(ErrorBody),
}

/// Of a request about one session.
#[derive(IntoResponses)]
pub enum SessionErrors {
    /// No gateway holds this session, or no gateway has this id
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// Several gateways hold a session of this key; details.gateways names them
    #[response(status = 409)]
    Ambiguous(ErrorBody),
}
