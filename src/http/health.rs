//! `/health`, `/api/health` and `/ready`: for load balancers and supervisors, without a key.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, ErrorBody};
use super::front::Front;
use gatewarden_actors::error::{ErrorCode, Failure};

/// Proof of life.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// Release.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime: u64,
}

/// Ready for requests.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// Always true; otherwise the answer is a 503.
    pub ready: bool,
}

fn health_now(front: &Front) -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), uptime: front.uptime_s() })
}

/// Is the daemon alive?
#[utoipa::path(
    operation_id = "health",
    tag = "Daemon",
    responses((status = 200, description = "It is", body = Health)),
    security(()),
)]
#[get("/health")]
pub(crate) async fn health(front: web::Data<Front>) -> HttpResponse {
    health_now(&front)
}

/// Is the daemon alive? (The same under /api.)
#[utoipa::path(
    operation_id = "api_health",
    tag = "Daemon",
    responses((status = 200, description = "It is", body = Health), (status = 421, description = "Foreign Host header", body = ErrorBody)),
    security(()),
)]
#[get("/api/health")]
pub(crate) async fn api_health(front: web::Data<Front>) -> HttpResponse {
    health_now(&front)
}

/// Is the daemon ready?
///
/// The store is migrated, the registry runs, the socket is bound. It does not mean that any gateway is reached.
#[utoipa::path(
    operation_id = "ready",
    tag = "Daemon",
    responses(
        (status = 200, description = "It is", body = Ready),
        (status = 503, description = "It is starting or stopping", body = ErrorBody),
    ),
    security(()),
)]
#[get("/ready")]
pub(crate) async fn ready(front: web::Data<Front>) -> Result<HttpResponse, ApiError> {
    match front.app.readiness.why_not() {
        None => Ok(HttpResponse::Ok().json(Ready { ready: true })),
        Some(state) => Err(ApiError(
            Failure::new(ErrorCode::Unavailable, format!("The daemon is {state}"))
                .with_retry_after(std::time::Duration::from_secs(1)),
        )),
    }
}
