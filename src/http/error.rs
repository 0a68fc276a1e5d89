//! The one error shape, and the only place that maps an error code to an HTTP status.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use gatewarden_actors::error::{ErrorCode, Failure};
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

/// What a handler or an extractor fails with.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError(pub Failure);

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        status_of(self.0.code)
    }

    fn error_response(&self) -> HttpResponse {
        let failure = &self.0;
        let mut response = HttpResponse::build(status_of(failure.code));
        if let Some(after) = failure.retry_after.or_else(|| default_retry(failure.code)) {
            // Rounded up: a client that waits exactly this long is not refused again.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if failure.code == ErrorCode::Unauthorized {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gatewarden\"")));
        }
        response.json(ErrorBody::of(failure))
    }
}

/// The status of each code.
pub fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::PrimaryUndeletable | ErrorCode::AddressForbidden => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::CrossOrigin => StatusCode::FORBIDDEN,
        ErrorCode::NotFound
        | ErrorCode::GatewayNotFound
        | ErrorCode::KeyNotFound
        | ErrorCode::AgentNotFound
        | ErrorCode::ConnectionNotFound
        | ErrorCode::SpawnNotFound
        | ErrorCode::SessionNotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::NameTaken
        | ErrorCode::AddressTaken
        | ErrorCode::ConnectionEnded
        | ErrorCode::IdempotencyMismatch
        | ErrorCode::SessionAmbiguous
        | ErrorCode::ProcessNotManaged => StatusCode::CONFLICT,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::MisdirectedRequest => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::NotSupportedByGateway | ErrorCode::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::ValidationFailed => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::GatewayRefused | ErrorCode::GatewayUnreachable | ErrorCode::ProcessActionFailed => {
            StatusCode::BAD_GATEWAY
        }
        ErrorCode::GatewayUnavailable
        | ErrorCode::NoUsableGateway
        | ErrorCode::GatewayTooOld
        | ErrorCode::GatewayBusy
        | ErrorCode::StoreUnavailable
        | ErrorCode::OutcomeUnknown
        | ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// A 503 always says when to come back, also where its cause can't know.
fn default_retry(code: ErrorCode) -> Option<std::time::Duration> {
    (status_of(code) == StatusCode::SERVICE_UNAVAILABLE).then_some(std::time::Duration::from_secs(5))
}

/// A 400 with its sentence.
pub fn invalid(sentence: impl Into<String>) -> ApiError {
    ApiError(Failure::new(ErrorCode::InvalidRequest, sentence))
}

/// Every error on `/api`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence for a person: what happened, to which gateway or field.
    pub error: String,
    /// Stable code for a program.
    #[schema(example = "invalid_request")]
    pub code: String,
    /// Machine-readable details, for instance `fields`: a list of offending fields with a sentence each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub details: Option<Value>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// On `/api/v1` the sentence again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl ErrorBody {
    /// The body of a failure.
    pub fn of(failure: &Failure) -> Self {
        Self {
            error: failure.message.clone(),
            code: failure.code.as_str().to_owned(),
            details: failure.details.clone(),
            help: failure.help.clone(),
            detail: None,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_code_has_a_status_of_its_class_and_503_always_says_when_to_come_back() {
        for code in ErrorCode::ALL {
            let status = status_of(code);
            assert!(status.is_client_error() || status.is_server_error(), "{code:?}");
            let response = ApiError(Failure::new(code, "a sentence")).error_response();
            assert_eq!(response.status(), status);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                assert!(response.headers().contains_key(header::RETRY_AFTER), "{code:?}");
            }
        }
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        let failure = Failure::new(ErrorCode::RateLimited, "slow down").with_retry_after(Duration::from_millis(1001));
        let response = ApiError(failure).error_response();
        assert_eq!(response.headers().get(header::RETRY_AFTER).unwrap(), "2");
    }
}
