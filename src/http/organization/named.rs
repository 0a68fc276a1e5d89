//! Which gateway a path or a query names: by its UUID.

use std::sync::Arc;

use actix_web::HttpRequest;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::registry::roster::GatewayView;

use crate::http::error::{ApiError, invalid};
use crate::http::front::Front;
use crate::http::query::Query;

/// The gateway of `/{id}`.
///
/// # Errors
/// `invalid_request` where it is no UUID, `gateway_not_found`.
pub fn by_path(front: &Front, request: &HttpRequest) -> Result<Arc<GatewayView>, ApiError> {
    let text = request.match_info().get("id").unwrap_or_default();
    let uuid = uuid::Uuid::parse_str(text).map_err(|_| invalid("The gateway id in the path must be a UUID"))?;
    Ok(find(front, uuid)?)
}

/// The gateway of `?gateway_id=`, where the query has one.
///
/// # Errors
/// `invalid_request` where it is no UUID, `gateway_not_found`.
pub fn by_query(front: &Front, query: &Query) -> Result<Option<Arc<GatewayView>>, ApiError> {
    let Some(text) = query.value("gateway_id") else { return Ok(None) };
    let uuid = uuid::Uuid::parse_str(text).map_err(|_| invalid("gateway_id must be the UUID of a gateway"))?;
    Ok(Some(find(front, uuid)?))
}

/// The same, else the acting primary.
///
/// # Errors
/// Besides those of [`by_query`]: `no_usable_gateway`.
pub fn by_query_or_acting(front: &Front, query: &Query) -> Result<Arc<GatewayView>, ApiError> {
    if let Some(view) = by_query(front, query)? {
        return Ok(view);
    }
    let acting = front.app.roster.acting_primary().and_then(|acting| front.app.roster.get(acting.id));
    Ok(acting.ok_or_else(|| {
        Failure::new(ErrorCode::NoUsableGateway, "No gateway acts as primary right now, and the query names none")
            .with_help("Name one with gateway_id; GET /api/v1/gateways lists them with their status.")
    })?)
}

fn find(front: &Front, uuid: uuid::Uuid) -> Result<Arc<GatewayView>, Failure> {
    let text = uuid.to_string();
    let mut views = front.app.roster.list().into_iter();
    views.find(|view| view.record.uuid == text).ok_or_else(|| {
        Failure::new(ErrorCode::GatewayNotFound, format!("Gateway {text} not found"))
            .with_help("GET /api/v1/gateways lists the gateways with their ids.")
    })
}
