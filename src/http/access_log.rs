//! One count and one debug line a request: the route's pattern instead of the path, no query, no headers.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::metrics::Metrics;

/// What is told of a request once it is answered.
#[derive(Debug)]
pub struct Answered<'a> {
    /// As sent.
    pub method: &'a Method,
    /// The pattern of the route, or `unmatched`.
    pub route: &'a str,
    /// Of the response.
    pub status: u16,
    /// From the first byte handled to the response's head.
    pub took: Duration,
    /// Its id.
    pub request_id: &'a HeaderValue,
}

/// Counts and logs it.
pub fn note(metrics: &Metrics, answered: &Answered<'_>) {
    // Methods come from outside; as labels they must be few.
    let method = match *answered.method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            answered.method.as_str()
        }
        _ => "other",
    };
    metrics.observe_http(method, answered.route, answered.status, answered.took);
    tracing::debug!(
        http.method = method,
        http.route = answered.route,
        http.status = answered.status,
        http.took_ms = Clock::millis(answered.took),
        request.id = answered.request_id.to_str().unwrap_or_default(),
        "request answered"
    );
}
