//! Clients of the organization API read an error's sentence from `detail`: it is said there once more.

use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header;

use crate::http::error::{ApiError, ErrorBody};

/// Whether this API answers at a path.
pub fn concerns(path: &str) -> bool {
    path.starts_with("/api/v1/")
}

/// Adds `detail` to an error.
pub fn add<B>(response: ServiceResponse<EitherBody<B>>) -> ServiceResponse<EitherBody<B>> {
    let failure =
        response.response().error().and_then(|error| error.as_error::<ApiError>()).map(|error| error.0.clone());
    let Some(failure) = failure else { return response };
    let body = ErrorBody { detail: Some(failure.message.clone()), ..ErrorBody::of(&failure) };
    let Ok(body) = serde_json::to_vec(&body) else { return response };
    let mut response = response.map_body(|_, _| EitherBody::right(BoxBody::new(body)));
    // The length is that of the body before.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}
