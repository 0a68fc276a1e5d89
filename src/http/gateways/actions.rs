//! What an operator does with a gateway: dial again now, take it out of routing, put it back.

use actix_web::{HttpRequest, HttpResponse, post, web};
use gatewarden_actors::gateway_record::GatewayChange;
use gatewarden_actors::registry::messages::ReconnectGateway;

use super::by_id::path_id;
use super::{GatewayAnswer, audit, commit_change, one_gateway};
use crate::http::auth::{By, Caller, GatewayAdmin, GatewayOperator};
use crate::http::error::{ApiError, ErrorBody, KeyErrors};
use crate::http::front::Front;

/// Drop the connection and dial now
///
/// Leaves `blocked` and backoff, and starts a parked gateway again.
#[utoipa::path(
    operation_id = "reconnect_gateway",
    tag = "Gateways",
    params(("id" = i64, Path, description = "The gateway", minimum = 1)),
    responses(
        (status = 200, description = "The gateway", body = GatewayAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/gateways/{id}/reconnect")]
pub(crate) async fn reconnect(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(&request)?;
    let view = front.app.registry.reconnect.send(ReconnectGateway(id), front.settings.request_deadline).await?;
    audit(&by.caller, "reconnected", &view);
    Ok(one_gateway(&view))
}

/// Route no new work to a gateway
#[utoipa::path(
    operation_id = "drain_gateway",
    tag = "Gateways",
    params(("id" = i64, Path, description = "The gateway", minimum = 1)),
    responses(
        (status = 200, description = "The gateway, drained", body = GatewayAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/gateways/{id}/drain")]
pub(crate) async fn drain(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    set_drained(&by.caller, &front, &request, true).await
}

/// Route work to a gateway again
#[utoipa::path(
    operation_id = "undrain_gateway",
    tag = "Gateways",
    params(("id" = i64, Path, description = "The gateway", minimum = 1)),
    responses(
        (status = 200, description = "The gateway, no longer drained", body = GatewayAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/gateways/{id}/undrain")]
pub(crate) async fn undrain(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    set_drained(&by.caller, &front, &request, false).await
}

async fn set_drained(
    caller: &Caller,
    front: &Front,
    request: &HttpRequest,
    drained: bool,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(request)?;
    let change = GatewayChange { drained: Some(drained), ..GatewayChange::default() };
    let committed = commit_change(front, id, change).await?;
    audit(caller, if drained { "drained" } else { "undrained" }, &committed.view);
    Ok(one_gateway(&committed.view))
}
