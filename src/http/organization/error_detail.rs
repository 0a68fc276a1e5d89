//! Clients of the organization API read an error's sentence from `detail`: it is said there once more.

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header;
use gatewarden_actors::error::Failure;

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
    let Some(body) = body_of(&failure) else { return response };
    let mut response = response.map_body(|_, _| EitherBody::right(BoxBody::new(body)));
    // The length is that of the body before.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// An error that answers in a handler's place, with its `detail`.
pub fn of(response: HttpResponse, failure: &Failure) -> HttpResponse {
    match body_of(failure) {
        Some(body) => response.set_body(BoxBody::new(body)),
        None => response,
    }
}

fn body_of(failure: &Failure) -> Option<Vec<u8>> {
    serde_json::to_vec(&ErrorBody { detail: Some(failure.message.clone()), ..ErrorBody::of(failure) }).ok()
}
