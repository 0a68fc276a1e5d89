//! `POST /api/agents/sync`: take over the agents of a gateway's own configuration.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError as _, post, web};
use gatewarden_actors::agent_sync::{SyncAgents, SyncedGateway};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::auth::{By, GatewayAdmin};
use crate::http::body::OptionalJsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, GatewayErrors, KeyErrors};
use crate::http::fields::Fields;
use crate::http::front::Front;

/// Syncs under way at one time.
pub const SYNCS: usize = 32;

/// Which gateway to read.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct SyncBody {
    /// The gateway; else the acting primary.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
}

/// What a sync did.
#[derive(Debug, Serialize, ToSchema)]
pub struct SyncAnswer {
    /// Agents of the list that belong to the gateway now: created, updated and unchanged.
    pub synced: usize,
    /// Of these, unknown before.
    pub created: usize,
    /// Of these, changed.
    pub updated: usize,
    /// Agents of the list that were left alone: another gateway's or a CLI tool's agent has the name, or it is unusable.
    pub skipped: usize,
    /// The gateway that was read.
    pub gateway_id: i64,
}

/// Take over a gateway's agents
///
/// Reads them from the gateway (its list of agents, else its configuration), creates the unknown, updates the changed and
/// leaves the rest alone, all or nothing.
#[utoipa::path(
    operation_id = "sync_agents",
    tag = "Agents",
    request_body(content = Option<SyncBody>, description = "May be left out: then the acting primary is read"),
    responses(
        (status = 200, description = "Stored", body = SyncAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/agents/sync")]
pub(crate) async fn sync(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    body: OptionalJsonBody,
) -> Result<HttpResponse, ApiError> {
    let body = body.0.unwrap_or_default();
    let mut fields = Fields::new(&body);
    let target = fields.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    fields.problems.into_result()?;
    let timeout = front.settings.gateway_timeout;
    // It may take two requests to the gateway, and a write.
    let deadline = timeout.saturating_mul(2).saturating_add(front.settings.request_deadline);
    let synced = match front.app.agent_sync.send(SyncAgents { target, timeout }, deadline).await {
        Ok(synced) => synced,
        Err(failure) => return Ok(failed(failure)),
    };
    let SyncedGateway { id, name, stats } = synced;
    tracing::info!(
        caller.key = by.caller.key.name,
        gateway.id = id.0,
        gateway.name = name,
        created = stats.created,
        updated = stats.updated,
        "agents synced"
    );
    Ok(HttpResponse::Ok().json(SyncAnswer {
        synced: stats.synced,
        created: stats.created,
        updated: stats.updated,
        skipped: stats.skipped,
        gateway_id: id.0,
    }))
}

/// Here a gateway that can't be reached is a bad gateway: what was wanted is its answer, and nobody else can give it.
fn failed(failure: Failure) -> HttpResponse {
    let is_unreachable = matches!(failure.code, ErrorCode::GatewayUnavailable | ErrorCode::NoUsableGateway);
    let mut response = ApiError(failure).error_response();
    if is_unreachable {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response
}
