//! List, create, read, change and delete gateways.

use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use gatewarden_actors::error::Failure;
use gatewarden_actors::registry::messages::{DeleteGateway, GatewayCommitted};
use serde::Serialize;
use utoipa::ToSchema;

use super::gateway_read::GatewayRead;
use super::{creation, input, named};
use crate::http::auth::{By, Caller, GatewayAdmin, GatewayViewer};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, KeyErrors, invalid};
use crate::http::front::Front;
use crate::http::query::{Page, Query};

/// A page of gateways: the configured primary first, then by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayPage {
    /// The page.
    pub items: Vec<GatewayRead>,
    /// How many there are.
    pub total: usize,
    /// Largest size of the page.
    pub limit: usize,
    /// How many come before the page.
    pub offset: usize,
}

/// It is done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}

/// List gateways
#[utoipa::path(
    operation_id = "organization_list_gateways",
    tag = "Organization",
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
        ("offset" = Option<u64>, Query, description = "After so many; not together with page"),
        ("page" = Option<u64>, Query, description = "From 1", minimum = 1),
    ),
    responses((status = 200, description = "A page", body = GatewayPage), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/v1/gateways")]
pub(crate) async fn list(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let page = Page::read(&mut query).unwrap_or(Page { limit: 50, offset: 0 });
    query.problems.into_result()?;
    let views = front.app.roster.list();
    let organization = front.app.store.organization_id();
    let items = views.iter().skip(page.offset).take(page.limit);
    Ok(HttpResponse::Ok().json(GatewayPage {
        items: items.map(|view| GatewayRead::of(view, organization)).collect(),
        total: views.len(),
        limit: page.limit,
        offset: page.offset,
    }))
}

/// Create a gateway
///
/// Step by step: dialled and authenticated, its release judged, its main agent found or made there, then recorded and answered. What
/// fails on the way leaves nothing behind.
#[utoipa::path(
    operation_id = "organization_create_gateway",
    tag = "Organization",
    request_body = input::GatewayCreate,
    responses(
        (status = 200, description = "Created, with its main agent", body = GatewayRead),
        (status = 409, description = "Another gateway has this name, or one at this address is being created right now", body = ErrorBody),
        (status = 422, description = "workspace_root is empty or relative", body = ErrorBody),
        (status = 501, description = "The gateway has no agents that could be listed", body = ErrorBody),
        (status = 502, description = "The gateway cannot be reached, refuses, or went away in the middle", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/v1/gateways")]
pub(crate) async fn create(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let (new, root) = input::new_gateway(&body.0)?;
    let committed = creation::create(front.clone(), new, root).await?;
    log(&by.caller, "created", &committed);
    Ok(answer(&front, &committed, None))
}

/// Read one gateway
#[utoipa::path(
    operation_id = "organization_read_gateway",
    tag = "Organization",
    params(("id" = String, Path, description = "The gateway's UUID")),
    responses(
        (status = 200, description = "The gateway", body = GatewayRead),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/v1/gateways/{id}")]
pub(crate) async fn read(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let view = named::by_path(&front, &request)?;
    Ok(HttpResponse::Ok().json(GatewayRead::of(&view, front.app.store.organization_id())))
}

/// Change a gateway
///
/// Where url, token, TLS or pairing mode change, the gateway is dialled and judged as it would be then; what fails changes nothing.
/// The main agent is refreshed.
#[utoipa::path(
    operation_id = "organization_update_gateway",
    tag = "Organization",
    params(("id" = String, Path, description = "The gateway's UUID")),
    request_body = input::GatewayUpdate,
    responses(
        (status = 200, description = "Stored", body = GatewayRead),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        (status = 409, description = "Another gateway has this name", body = ErrorBody),
        (status = 422, description = "workspace_root is empty or relative", body = ErrorBody),
        (status = 501, description = "The gateway has no agents that could be listed", body = ErrorBody),
        (status = 502, description = "The gateway cannot be reached like this, or refuses", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[patch("/api/v1/gateways/{id}")]
pub(crate) async fn update(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let view = named::by_path(&front, &request)?;
    let change = input::change(&body.0, &view.record)?;
    if change.is_empty() {
        return Err(invalid("There is nothing to change: the body names no field of a gateway"));
    }
    let (committed, warning) = creation::change(front.clone(), view, change).await?;
    log(&by.caller, "changed", &committed);
    Ok(answer(&front, &committed, warning))
}

/// Delete a gateway
///
/// With the record of its main agent here; on the gateway nothing is deleted. The configured primary can't be deleted.
#[utoipa::path(
    operation_id = "organization_delete_gateway",
    tag = "Organization",
    params(("id" = String, Path, description = "The gateway's UUID")),
    responses(
        (status = 200, description = "Deleted", body = Done),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[delete("/api/v1/gateways/{id}")]
pub(crate) async fn delete(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let view = named::by_path(&front, &request)?;
    let id = view.record.id;
    let deleted = front.app.registry.delete.send(DeleteGateway(id), front.settings.request_deadline).await?;
    if !deleted {
        return Err(Failure::gateway_not_found(&view.record.uuid).into());
    }
    tracing::info!(caller.key = by.caller.key.name, gateway.id = id.0, gateway.name = %view.record.name, "gateway deleted");
    Ok(HttpResponse::Ok().json(Done { ok: true }))
}

/// One line for each change: who, what, which gateway.
fn log(caller: &Caller, what: &'static str, committed: &GatewayCommitted) {
    let record = &committed.view.record;
    tracing::info!(
        caller.key = caller.key.name,
        caller.role = caller.key.role.as_str(),
        gateway.id = record.id.0,
        gateway.name = %record.name,
        "gateway {what} through the organization API"
    );
}

fn answer(front: &Front, committed: &GatewayCommitted, warning: Option<String>) -> HttpResponse {
    let mut shown = GatewayRead::of(&committed.view, front.app.store.organization_id());
    shown.warning = warning.or_else(|| {
        (!committed.same_address.is_empty()).then(|| {
            format!(
                "This address (scheme, host, port and path) is already registered as {}: they share one limit on failed logins and one device token",
                committed.same_address.join(", ")
            )
        })
    });
    HttpResponse::Ok().json(shown)
}
