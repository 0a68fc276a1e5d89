//! List, create, read, change and delete gateways.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::registry::records::DeleteGateway;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_api::ErrorBody;
use gatewarden_api::gateway_record::{GatewayCreate, GatewayRead, GatewayUpdate};
use gatewarden_api::organization::{Done, GatewayPage};
use gatewarden_api::pages::PageQuery;
use gatewarden_api::responses::NoGateway;

use crate::http::auth::{Authorized, GatewayAdmin, GatewayViewer};
use crate::http::context::{App, AppContext};
use crate::http::error::{Answer, ApiError, invalid};
use crate::http::gateways::record::{self, organization_view};
use crate::http::gateways::{log, same_address_warning};
use crate::http::input::{GatewayUuidPath, JsonBody, read_query};
use crate::provisioning::creation;

/// List gateways
#[utoipa::path(
    tag = "Organization", params(PageQuery), responses((status = 200, description = "A page", body = GatewayPage)),
)]
#[get("/api/v1/gateways")]
pub(crate) async fn organization_list_gateways(
    _by: Authorized<GatewayViewer>,
    app: App,
    request: HttpRequest,
) -> Answer {
    let page = read_query::<PageQuery>(&request)?.page();
    let views = app.roster.list();
    let organization = app.store.organization_id();
    let main_agents = app.store.main_agents().await?;
    let items = views.iter().skip(page.offset).take(page.limit);
    Ok(HttpResponse::Ok().json(GatewayPage {
        items: items.map(|view| organization_view(view, organization, main_agents.get(&view.record.id))).collect(),
        part: page.of(views.len()),
    }))
}

/// Create a gateway
///
/// Step by step: dialled and authenticated, its release judged, its main agent found or made there, then recorded and answered. What
/// fails on the way leaves nothing behind.
#[utoipa::path(
    tag = "Organization",
    request_body = GatewayCreate,
    responses(
        (status = 200, description = "Created, with its main agent", body = GatewayRead),
        (status = 409, description = "Another gateway has this name, or one at this address is being created right now", body = ErrorBody),
        (status = 422, description = "The root of the workspaces is empty or relative", body = ErrorBody),
        (status = 501, description = "The gateway has no agents that could be listed", body = ErrorBody),
        (status = 502, description = "The gateway cannot be reached, refuses, or went away in the middle", body = ErrorBody),
    ),
)]
#[post("/api/v1/gateways")]
pub(crate) async fn organization_create_gateway(by: Authorized<GatewayAdmin>, app: App, body: JsonBody) -> Answer {
    let new = record::organization_gateway(body.fields())?;
    let committed = creation::create(app.clone(), new).await?;
    by.acts_on(&committed.record.uuid);
    log(&by.caller, "created through the organization API", &committed);
    answer(&app, &committed, None).await
}

/// Read one gateway
#[utoipa::path(
    tag = "Organization",
    params(GatewayUuidPath),
    responses((status = 200, description = "The gateway", body = GatewayRead), NoGateway),
)]
#[get("/api/v1/gateways/{id}")]
pub(crate) async fn organization_read_gateway(
    _by: Authorized<GatewayViewer>,
    app: App,
    request: HttpRequest,
) -> Answer {
    let view = by_path(&app, &request)?;
    Ok(HttpResponse::Ok().json(organization_view(
        &view,
        app.store.organization_id(),
        app.store.main_agents().await?.get(&view.record.id),
    )))
}

/// Change a gateway
///
/// Where url, token, TLS or pairing mode change, the gateway is dialled and judged as it would be then; what fails changes nothing.
/// The main agent is refreshed.
#[utoipa::path(
    tag = "Organization",
    params(GatewayUuidPath),
    request_body = GatewayUpdate,
    responses(
        (status = 200, description = "Stored", body = GatewayRead), NoGateway,
        (status = 409, description = "Another gateway has this name", body = ErrorBody),
        (status = 422, description = "The root of the workspaces is empty or relative", body = ErrorBody),
        (status = 501, description = "The gateway has no agents that could be listed", body = ErrorBody),
        (status = 502, description = "The gateway cannot be reached like this, or refuses", body = ErrorBody),
    ),
)]
#[patch("/api/v1/gateways/{id}")]
pub(crate) async fn organization_update_gateway(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let view = by_path(&app, &request)?;
    let change = record::organization_change(body.fields(), &view.record)?;
    if change.is_empty() {
        return Err(body.nothing_to_change("a gateway"));
    }
    let (committed, warning) = creation::change(app.clone(), view, change).await?;
    log(&by.caller, "changed through the organization API", &committed);
    answer(&app, &committed, warning).await
}

/// Delete a gateway
///
/// With the record of its main agent here; on the gateway nothing is deleted. The configured primary can't be deleted.
#[utoipa::path(
    tag = "Organization",
    params(GatewayUuidPath),
    responses((status = 200, description = "Deleted", body = Done), NoGateway),
)]
#[delete("/api/v1/gateways/{id}")]
pub(crate) async fn organization_delete_gateway(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
) -> Answer {
    let view = by_path(&app, &request)?;
    let id = view.record.id;
    if !app.agents.deleting(id, app.ask(&app.registry.delete, DeleteGateway(id))).await? {
        return Err(Failure::gateway_not_found(&view.record.uuid).into());
    }
    tracing::info!(caller.key = by.key().name, gateway.id = id.0, gateway.name = %view.record.name, "gateway deleted");
    Ok(HttpResponse::Ok().json(Done { ok: true }))
}

async fn answer(app: &AppContext, committed: &GatewayView, warning: Option<String>) -> Answer {
    // What is committed is answered as such, whatever can be read afterwards.
    let main_agents = app.store.main_agents().await.unwrap_or_default();
    let main_agent = main_agents.get(&committed.record.id);
    let mut gateway = organization_view(committed, app.store.organization_id(), main_agent);
    gateway.warning = warning.or_else(|| same_address_warning(&app.roster, committed));
    Ok(HttpResponse::Ok().json(gateway))
}

/// The gateway of `/{id}`.
pub(crate) fn by_path(app: &AppContext, request: &HttpRequest) -> Result<Arc<GatewayView>, ApiError> {
    let text = request.match_info().get("id").unwrap_or_default();
    let uuid = uuid::Uuid::parse_str(text).map_err(|_| invalid("The gateway id in the path must be a UUID"))?;
    Ok(find(app, uuid)?)
}

/// The gateway of `?gateway_id=`, where the query has one.
pub(crate) fn by_query(app: &AppContext, gateway_id: Option<&str>) -> Result<Option<Arc<GatewayView>>, ApiError> {
    let Some(text) = gateway_id else { return Ok(None) };
    let uuid = uuid::Uuid::parse_str(text).map_err(|_| invalid("gateway_id must be the UUID of a gateway"))?;
    Ok(Some(find(app, uuid)?))
}

/// The same, else the acting primary.
pub(crate) fn by_query_or_acting(app: &AppContext, gateway_id: Option<&str>) -> Result<Arc<GatewayView>, ApiError> {
    if let Some(view) = by_query(app, gateway_id)? {
        return Ok(view);
    }
    let acting = app.roster.acting_primary().and_then(|acting| app.roster.get(acting.id));
    Ok(acting.ok_or_else(|| {
        Failure::new(ErrorCode::NoUsableGateway, "No gateway acts as primary right now, and the query names none")
            .with_help("Name one with gateway_id; GET /api/v1/gateways lists them with their status.")
    })?)
}

fn find(app: &AppContext, uuid: uuid::Uuid) -> Result<Arc<GatewayView>, Failure> {
    let text = uuid.to_string();
    let mut views = app.roster.list().into_iter();
    views.find(|view| view.record.uuid == text).ok_or_else(|| {
        Failure::new(ErrorCode::GatewayNotFound, format!("Gateway {text} not found"))
            .with_help("GET /api/v1/gateways lists the gateways with their ids.")
    })
}
