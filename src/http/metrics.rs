//! `/metrics`: the text exposition for Prometheus, for whom `metrics.access` lets read it.

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::metrics::ConnectionFigures;

use super::auth::authenticate_by_key;
use super::error::{ApiError, ErrorBody};
use super::front::Front;
use super::peer_address::is_direct_loopback;
use super::settings::MetricsAccess;

/// Read the daemon's metrics
///
/// Who may is set by `metrics.access`: nobody, a direct peer on this machine (the default), whoever has a key, or everybody.
#[utoipa::path(
    operation_id = "read_metrics",
    tag = "Daemon",
    responses(
        (status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain"),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Only from this machine", body = ErrorBody),
        (status = 404, description = "Switched off", body = ErrorBody),
        (status = 421, description = "The `Host` header names nothing that is served here", body = ErrorBody),
        (status = 429, description = "Too many wrong keys from this address", body = ErrorBody),
    ),
    security((), ("api_key" = []), ("bearer" = [])),
)]
#[get("/metrics")]
pub(crate) async fn metrics(front: web::Data<Front>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    match front.settings.metrics_access {
        MetricsAccess::Public => {}
        MetricsAccess::Off => {
            return Err(Failure::new(ErrorCode::NotFound, "Metrics are switched off (metrics.access)").into());
        }
        MetricsAccess::Loopback => {
            if !is_direct_loopback(&request) {
                return Err(ApiError(
                    Failure::new(ErrorCode::Forbidden, "Metrics are given out to this machine only")
                        .with_help("Set metrics.access to key or public in the configuration."),
                ));
            }
        }
        MetricsAccess::Key => {
            authenticate_by_key(&request, &front)?;
        }
    }
    front.app.metrics.set_registry_requests(front.app.registry.in_flight());
    let connections = front.connections.figures();
    front.app.metrics.set_connections(ConnectionFigures {
        open: connections.open,
        unread_bytes: connections.bytes,
        refused: connections.refused.to_vec(),
        ended: connections.ended.to_vec(),
    });
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(front.app.metrics.render()))
}
