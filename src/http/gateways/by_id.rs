//! `/api/gateways/{id}`: the same by path.

use actix_web::{HttpRequest, HttpResponse, delete, get, put, web};
use gatewarden_actors::error::Failure;
use gatewarden_actors::ids::GatewayId;

use super::{Deleted, GatewayAnswer, change_by_fields, delete_by_id, one_gateway};
use crate::http::auth::{By, GatewayAdmin, GatewayViewer};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, KeyErrors, invalid};
use crate::http::front::Front;
use crate::http::gateways::input;

/// The gateway id in the path: a positive integer.
pub fn path_id(request: &HttpRequest) -> Result<GatewayId, ApiError> {
    match request.match_info().get("id").and_then(|text| text.parse::<i64>().ok()) {
        Some(id) if id > 0 => Ok(GatewayId(id)),
        _ => Err(invalid("The gateway id in the path must be a positive integer")),
    }
}

/// Read one gateway
#[utoipa::path(
    operation_id = "read_gateway",
    tag = "Gateways",
    params(("id" = i64, Path, description = "The gateway", minimum = 1)),
    responses(
        (status = 200, description = "The gateway", body = GatewayAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/gateways/{id}")]
pub(crate) async fn read(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(&request)?;
    let view = front.app.roster.get(id).ok_or_else(|| Failure::gateway_not_found(id))?;
    Ok(one_gateway(&view))
}

/// Change the gateway of the path
#[utoipa::path(
    operation_id = "update_gateway_by_path",
    tag = "Gateways",
    params(("id" = i64, Path, description = "The gateway", minimum = 1)),
    request_body = input::GatewayFields,
    responses(
        (status = 200, description = "Stored", body = GatewayAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        (status = 409, description = "Another gateway has this name", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[put("/api/gateways/{id}")]
pub(crate) async fn update(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(&request)?;
    change_by_fields(&by.caller, &front, id, &body).await
}

/// Delete the gateway of the path
#[utoipa::path(
    operation_id = "delete_gateway_by_path",
    tag = "Gateways",
    params(("id" = i64, Path, description = "The gateway", minimum = 1)),
    responses((status = 200, description = "Whether there was one", body = Deleted), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[delete("/api/gateways/{id}")]
pub(crate) async fn delete(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(&request)?;
    delete_by_id(&by.caller, &front, id).await
}
