//! `/api/spawn`: start work on a gateway; history and single spawns from the store.

pub mod input;
pub mod spawn_object;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use self::spawn_object::{GatewayName, Spawn};
use super::auth::{By, GatewayViewer, Operator};
use super::body::JsonBody;
use super::error::{ApiError, BodyErrors, ErrorBody, GatewayErrors, KeyErrors};
use super::front::Front;
use super::query::{Page, Query};

/// What the registry may take beyond the gateway's deadline: two more gateways may be tried.
const ATTEMPTS: u32 = 3;
const SLACK: Duration = Duration::from_secs(5);

/// A gateway took the work.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpawnAccepted {
    /// Always true; a failure has the error shape.
    pub success: bool,
    /// Follow it with `GET /api/spawn/{spawnId}` and `spawn_result` events.
    #[serde(rename = "spawnId")]
    pub spawn_id: String,
    /// `accepted` or `running`; for a replayed request what has become of it since.
    #[schema(example = "accepted")]
    pub status: String,
    /// The gateway that took it.
    pub gateway: Option<GatewayName>,
    /// Why that one: `preferred`, `requested`, `primary`, `acting_primary` or `least_loaded`.
    #[schema(example = "primary")]
    pub route: Option<String>,
    /// The session that it runs in, where known.
    #[serde(rename = "sessionInfo")]
    pub session_info: Option<String>,
    /// The run's id on the gateway.
    #[serde(rename = "runId")]
    pub run_id: Option<String>,
    /// Process id, where the gateway says.
    pub pid: Option<i64>,
    /// The gateway's reply.
    #[schema(value_type = Object)]
    pub result: Value,
    /// Whether this is the recorded answer to an earlier request with the same Idempotency-Key.
    pub replayed: bool,
}

/// Spawns, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpawnHistory {
    /// The page.
    pub history: Vec<Spawn>,
}

/// Start work on a gateway
///
/// A `task` for an agent or a `command`. It goes to the agent's preferred gateway if that can take work, else to the one
/// that `gateway_id` names (and no other), else to the acting primary (or, by configuration, the least loaded gateway); a
/// `selector` restricts all of these. It is recorded before it is sent and never run twice.
#[utoipa::path(
    operation_id = "spawn",
    tag = "Spawns",
    request_body = input::SpawnBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, kept for 24 h per API key: the same key with the same body is answered from the record")),
    responses(
        (status = 202, description = "A gateway took it", body = SpawnAccepted),
        (status = 404, description = "No gateway has this gateway_id", body = ErrorBody),
        (status = 409, description = "The Idempotency-Key was used for another request", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/spawn")]
pub(crate) async fn spawn(
    by: By<Operator>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    if let Some(counted) = front.limits.spawn(by.caller.key.limit_key()) {
        counted.settle(&request)?;
    }
    let idempotency_key = input::idempotency_key(request.headers())?;
    let mut message =
        input::spawn_work(&body.0, idempotency_key, by.caller.key.limit_key(), front.settings.gateway_timeout)?;
    if let Some(agent) = &message.record.agent
        && let Some(agent) = front.app.store.find_agent_by_name(agent.clone()).await?
    {
        message.wish.preferred = agent.preferred_gateway();
    }
    let deadline = message.timeout * ATTEMPTS + SLACK;
    let answer = front.app.registry.spawn.send(message, deadline).await?;
    tracing::info!(
        caller.key = by.caller.key.name,
        caller.role = by.caller.key.role.as_str(),
        spawn.id = answer.record.spawn_id,
        gateway.id = answer.record.gateway_id.map(|id| id.0),
        replayed = answer.replayed,
        "spawn"
    );
    let record = answer.record;
    Ok(HttpResponse::Accepted().json(SpawnAccepted {
        success: true,
        status: record.state.as_str().to_owned(),
        gateway: GatewayName::of(&record),
        route: record.route,
        session_info: record.session_key,
        run_id: record.run_id,
        pid: record.pid,
        result: answer.reply,
        replayed: answer.replayed,
        spawn_id: record.spawn_id,
    }))
}

/// List spawns
#[utoipa::path(
    operation_id = "list_spawns",
    tag = "Spawns",
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
        ("offset" = Option<u64>, Query, description = "After so many; not together with page"),
        ("page" = Option<u64>, Query, description = "From 1", minimum = 1),
    ),
    responses((status = 200, description = "Newest first", body = SpawnHistory), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/spawn")]
pub(crate) async fn list(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let page = Page::read(&mut query).unwrap_or(Page { limit: 50, offset: 0 });
    query.problems.into_result()?;
    let spawns = front.app.store.list_spawns(page.limit, page.offset).await?;
    Ok(HttpResponse::Ok().json(SpawnHistory { history: spawns.into_iter().map(Spawn::from).collect() }))
}

/// Read a spawn
#[utoipa::path(
    operation_id = "read_spawn",
    tag = "Spawns",
    params(("id" = String, Path, description = "The spawnId")),
    responses(
        (status = 200, description = "The spawn", body = Spawn),
        (status = 404, description = "No spawn has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/spawn/{id}")]
pub(crate) async fn read(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = path.into_inner();
    let known = uuid::Uuid::parse_str(&id).is_ok();
    let found = if known { front.app.store.find_spawn(id).await? } else { None };
    let record = found.ok_or_else(|| {
        Failure::new(ErrorCode::SpawnNotFound, "There is no spawn with this id")
            .with_help("GET /api/spawn lists the spawns of the last 30 days.")
    })?;
    Ok(HttpResponse::Ok().json(Spawn::from(record)))
}
