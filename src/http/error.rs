//! The one error shape, and the only place that maps an error code to an HTTP status.

use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_api::ErrorBody;
use gatewarden_api::request::Problems;

/// What a handler answers.
pub(crate) type Answer = Result<HttpResponse, ApiError>;

/// What a handler or an extractor fails with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError(pub Failure);

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<Problems> for ApiError {
    fn from(problems: Problems) -> Self {
        Self(
            Failure::new(ErrorCode::InvalidRequest, problems.sentence())
                .with_help("The OpenAPI document at /api/openapi.json describes every field.")
                .with_details(problems.details()),
        )
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
        response.json(body_of(failure))
    }
}

/// The status of each code.
pub(crate) fn status_of(code: ErrorCode) -> StatusCode {
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
        | ErrorCode::NoActiveRun
        | ErrorCode::ProcessNotManaged => StatusCode::CONFLICT,
        ErrorCode::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
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
        | ErrorCode::Standby
        | ErrorCode::NodeUnreachable
        | ErrorCode::NotActing
        | ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// A 503 always says when to come back, also where its cause can't know.
fn default_retry(code: ErrorCode) -> Option<std::time::Duration> {
    (status_of(code) == StatusCode::SERVICE_UNAVAILABLE).then_some(std::time::Duration::from_secs(5))
}

/// A 400 with its sentence.
pub(crate) fn invalid(sentence: impl Into<String>) -> ApiError {
    ApiError(Failure::new(ErrorCode::InvalidRequest, sentence))
}

/// A 400 for one field; the sentence is the field's name and `what`.
pub(crate) fn invalid_field(field: &str, what: impl std::fmt::Display) -> ApiError {
    let mut problems = Problems::default();
    problems.add(field, format!("{field} {what}"));
    problems.into()
}

/// The body of a failure.
fn body_of(failure: &Failure) -> ErrorBody {
    ErrorBody {
        error: failure.message.clone(),
        code: failure.code.as_str().to_owned(),
        details: failure.details.clone(),
        help: failure.help.clone(),
        detail: None,
    }
}

/// Whether the organization API answers at a path: its clients read an error's sentence from `detail`.
pub(crate) fn has_detail(path: &str) -> bool {
    path.starts_with("/api/v1/")
}

/// Adds `detail` to an error.
pub(crate) fn add_detail<B>(response: ServiceResponse<EitherBody<B>>) -> ServiceResponse<EitherBody<B>> {
    let failure =
        response.response().error().and_then(|error| error.as_error::<ApiError>()).map(|error| error.0.clone());
    let Some(body) = failure.as_ref().and_then(detailed_body) else { return response };
    let mut response = response.map_body(|_, _| EitherBody::right(BoxBody::new(body)));
    // The length is that of the body before.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// An error that answers in a handler's place, with its `detail`.
pub(crate) fn detailed(response: HttpResponse, failure: &Failure) -> HttpResponse {
    match detailed_body(failure) {
        Some(body) => response.set_body(BoxBody::new(body)),
        None => response,
    }
}

fn detailed_body(failure: &Failure) -> Option<Vec<u8>> {
    serde_json::to_vec(&ErrorBody { detail: Some(failure.message.clone()), ..body_of(failure) }).ok()
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
