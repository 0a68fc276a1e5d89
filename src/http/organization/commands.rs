//! `GET /api/v1/gateways/commands`: the commands that a gateway offers to the people who talk with it.

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::named;
use crate::http::auth::{By, GatewayViewer};
use crate::http::error::{ApiError, ErrorBody, GatewayErrors, KeyErrors};
use crate::http::front::Front;
use crate::http::query::Query;
use crate::http::sessions::holder::Holder;
use crate::http::sessions::passing;

/// What a gateway offers.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayCommands {
    /// The gateway's UUID.
    pub gateway_id: String,
    /// The protocol that was agreed on.
    pub protocol_version: Option<u32>,
    /// The gateway's release, where known.
    pub version: Option<String>,
    /// Its commands, as it describes them.
    #[schema(value_type = Vec<Object>)]
    pub commands: Vec<Value>,
}

/// List a gateway's commands
///
/// Of the gateway that `gateway_id` names, else of the acting primary. A release that can't list them is a 501 that names it.
#[utoipa::path(
    operation_id = "organization_list_commands",
    tag = "Organization",
    params(("gateway_id" = Option<String>, Query, description = "The gateway's UUID")),
    responses(
        (status = 200, description = "The commands", body = GatewayCommands),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/v1/gateways/commands")]
pub(crate) async fn list(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let query = Query::parse(request.query_string());
    let view = named::by_query_or_acting(&front, &query)?;
    query.problems.into_result()?;
    let holder = Holder { id: view.record.id, name: view.record.name.clone() };
    let reply = passing::call(&front, &holder, "commands.list", json!({})).await?;
    let commands = reply.get("commands").or(Some(&reply)).and_then(Value::as_array).cloned().ok_or_else(|| {
        Failure::new(
            ErrorCode::GatewayRefused,
            format!("Gateway \"{}\" answered commands.list with something that is no list", holder.name),
        )
        .with_help("Look at its version and its log.")
    })?;
    Ok(HttpResponse::Ok().json(GatewayCommands {
        gateway_id: view.record.uuid.clone(),
        protocol_version: view.report.protocol,
        version: view.report.version.clone(),
        commands,
    }))
}
