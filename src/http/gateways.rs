//! `/api/gateways`: register, list, change and delete gateways.

pub mod actions;
pub mod by_id;
pub mod connect;
pub mod health;
pub mod history;
pub mod input;
pub mod list_body;
pub mod logs;
pub mod process;
pub mod process_object;
pub mod process_source;
pub mod trust;

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway_record::GatewayChange;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::messages::{CreateGateway, DeleteGateway, GatewayCommitted, UpdateGateway};
use gatewarden_actors::registry::roster::GatewayView;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{By, Caller, GatewayAdmin, GatewayViewer};
use super::body::{JsonBody, OptionalJsonBody};
use super::error::{ApiError, BodyErrors, ErrorBody, KeyErrors, invalid};
use super::fields::Fields;
use super::front::Front;
use super::gateway_object::{Gateway, rendered};
use super::query::{Page, Query};

/// A list of gateways: the configured primary first, then by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayList {
    /// All of them, or the part that was asked for.
    gateways: Vec<Gateway>,
    /// How many there are; only where a part was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    /// Largest size of the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    /// How many come before the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
}

/// One gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayAnswer {
    /// The gateway.
    gateway: Gateway,
    /// How many agents were registered with it; only for a new gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    agents_registered: Option<usize>,
    /// Worth knowing: for instance that other gateways have the same address.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// Whether there was something to delete.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// False where there was none.
    pub deleted: bool,
}

/// List all gateways
///
/// Complete unless `limit`, `offset` or `page` is given.
#[utoipa::path(
    operation_id = "list_gateways",
    tag = "Gateways",
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 200 (more is capped); 50 where only a place is given", minimum = 1),
        ("offset" = Option<u64>, Query, description = "After so many; not together with page"),
        ("page" = Option<u64>, Query, description = "From 1", minimum = 1),
    ),
    responses((status = 200, description = "The gateways", body = GatewayList), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/gateways")]
pub(crate) async fn list(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    if request.query_string().is_empty() {
        return Ok(json_bytes(front.list.complete(&front.app.roster)));
    }
    let mut query = Query::parse(request.query_string());
    let page = Page::read(&mut query);
    query.problems.into_result()?;
    Ok(json_bytes(match page {
        None => front.list.complete(&front.app.roster),
        Some(page) => list_body::part(&front.app.roster, page),
    }))
}

/// Register a gateway
///
/// It is stored before it is answered; the connection is made afterwards.
#[utoipa::path(
    operation_id = "create_gateway",
    tag = "Gateways",
    request_body = input::NewGatewayBody,
    responses(
        (status = 201, description = "Stored", body = GatewayAnswer),
        (status = 409, description = "Another gateway has this name", body = ErrorBody),
        (status = 501, description = "Units of users are not managed", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/gateways")]
pub(crate) async fn create(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut new = input::new_gateway(&body.0)?;
    new.spec.process = process_source::read(&body.0, &front.app.process_settings)?.flatten();
    let committed = front.app.registry.create.send(CreateGateway(new), front.settings.request_deadline).await?;
    audit(&by.caller, "created", &committed.view);
    let mut response = HttpResponse::Created();
    response.insert_header(("Location", format!("/api/gateways/{}", committed.view.record.id)));
    Ok(response.content_type(ContentType::json()).body(answer_body(&committed, true)))
}

/// Change a gateway
#[utoipa::path(
    operation_id = "update_gateway",
    tag = "Gateways",
    request_body = input::ChangeGatewayBody,
    responses(
        (status = 200, description = "Stored", body = GatewayAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        (status = 409, description = "Another gateway has this name", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[put("/api/gateways")]
pub(crate) async fn update(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::new(&body.0);
    if fields.value("id").is_none() {
        fields.missing("id");
    }
    let id = fields.integer("id", 1..=i64::MAX);
    fields.problems.into_result()?;
    let Some(id) = id else {
        return Err(invalid("id is missing"));
    };
    change_by_fields(&by.caller, &front, GatewayId(id), &body).await
}

/// Delete a gateway
///
/// The id is in the body, in the query or in the path. The configured primary can't be deleted.
#[utoipa::path(
    operation_id = "delete_gateway",
    tag = "Gateways",
    params(("id" = Option<i64>, Query, description = "Instead of a body", minimum = 1)),
    request_body(content = Option<input::GatewayChoiceBody>, description = "May be left out where the query has the id"),
    responses((status = 200, description = "Whether there was one", body = Deleted), KeyErrors, BodyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[delete("/api/gateways")]
pub(crate) async fn delete(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Result<HttpResponse, ApiError> {
    let id = input::id_of_body_or_query(body.0.as_ref(), request.query_string())?;
    delete_by_id(&by.caller, &front, id).await
}

/// Reads the changed fields and has them stored.
async fn change_by_fields(
    caller: &Caller,
    front: &Front,
    id: GatewayId,
    body: &JsonBody,
) -> Result<HttpResponse, ApiError> {
    let present = front.app.roster.get(id).ok_or_else(|| Failure::gateway_not_found(id))?;
    let mut change = input::change(&body.0, &present.record)?;
    change.process = process_source::read(&body.0, &front.app.process_settings)?;
    if change.is_empty() {
        return Err(invalid("There is nothing to change: the body names no field of a gateway besides its id"));
    }
    let committed = commit_change(front, id, change).await?;
    audit(caller, "changed", &committed.view);
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(answer_body(&committed, false)))
}

async fn commit_change(front: &Front, id: GatewayId, change: GatewayChange) -> Result<GatewayCommitted, Failure> {
    front.app.registry.update.send(UpdateGateway { id, change }, front.settings.request_deadline).await
}

async fn delete_by_id(caller: &Caller, front: &Front, id: GatewayId) -> Result<HttpResponse, ApiError> {
    let deleted = front.app.registry.delete.send(DeleteGateway(id), front.settings.request_deadline).await?;
    if deleted {
        tracing::info!(caller.key = caller.key.name, gateway.id = id.0, "gateway deleted");
    }
    Ok(HttpResponse::Ok().json(Deleted { deleted }))
}

/// One line for each change: who, what, which gateway.
fn audit(caller: &Caller, what: &'static str, view: &GatewayView) {
    tracing::info!(
        caller.key = caller.key.name,
        caller.role = caller.key.role.as_str(),
        gateway.id = view.record.id.0,
        gateway.name = view.record.name,
        "gateway {what}"
    );
}

fn answer_body(committed: &GatewayCommitted, is_new: bool) -> Vec<u8> {
    let mut body = gateway_field(&committed.view);
    if is_new {
        body.extend_from_slice(format!(",\"agents_registered\":{}", committed.agents_registered).as_bytes());
    }
    if !committed.same_address.is_empty() {
        let warning = format!(
            "This address (scheme, host, port and path) is already registered as {}: they share one limit on failed logins and one device token",
            committed.same_address.join(", ")
        );
        body.extend_from_slice(b",\"warning\":");
        body.extend_from_slice(&serde_json::to_vec(&warning).unwrap_or_default());
    }
    body.push(b'}');
    body
}

/// `{"gateway":{...}`, without the closing brace.
fn gateway_field(view: &GatewayView) -> Vec<u8> {
    let object = rendered(view);
    let mut body = Vec::with_capacity(object.len().saturating_add(64));
    body.extend_from_slice(b"{\"gateway\":");
    body.extend_from_slice(object);
    body
}

/// `{"gateway":{...}}`.
fn one_gateway(view: &Arc<GatewayView>) -> HttpResponse {
    let mut body = gateway_field(view);
    body.push(b'}');
    HttpResponse::Ok().content_type(ContentType::json()).body(body)
}

fn json_bytes(body: bytes::Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(body)
}
