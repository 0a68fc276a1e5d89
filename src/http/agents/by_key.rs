//! `/api/agents/{id}`: one agent, by its id or its name.

use actix_web::{HttpRequest, HttpResponse, delete, get, put, web};
use gatewarden_actors::agent_book::AgentKey;
use gatewarden_actors::direct::messages::DeleteAgent;

use super::{AgentAnswer, answer, input, log};
use crate::http::auth::{By, GatewayAdmin, GatewayOperator, GatewayViewer};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, KeyErrors, invalid};
use crate::http::front::Front;
use crate::http::gateways::Deleted;

/// The agent in the path. Digits are an id, anything else is a name.
pub fn path_key(request: &HttpRequest) -> Result<AgentKey, ApiError> {
    let text: Option<String> = request.match_info().load().ok();
    text.as_deref()
        .and_then(AgentKey::read)
        .ok_or_else(|| invalid("The path must name an agent: by its id, a positive integer, or by its name"))
}

/// Read one agent
#[utoipa::path(
    operation_id = "read_agent",
    tag = "Agents",
    params(("id" = String, Path, description = "The agent's id or name")),
    responses(
        (status = 200, description = "The agent", body = AgentAnswer),
        (status = 404, description = "No agent has this id or name", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/agents/{id}")]
pub(crate) async fn read(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let agent = front.app.agents.find(&path_key(&request)?).await?;
    Ok(HttpResponse::Ok().json(AgentAnswer { agent: agent.into(), warning: None }))
}

/// Change an agent
///
/// What is left out stays as it is; `config` is replaced as a whole.
#[utoipa::path(
    operation_id = "update_agent",
    tag = "Agents",
    params(("id" = String, Path, description = "The agent's id or name")),
    request_body = input::AgentFields,
    responses(
        (status = 200, description = "Stored", body = AgentAnswer),
        (status = 404, description = "No agent has this id or name, or no gateway this gateway_id", body = ErrorBody),
        (status = 409, description = "Another agent has this name", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[put("/api/agents/{id}")]
pub(crate) async fn update(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let key = path_key(&request)?;
    let change = input::change(&body.0)?;
    if change.is_empty() {
        return Err(invalid("There is nothing to change: the body names no field of an agent that can be written"));
    }
    let changed = front.app.agents.change(&key, change).await?;
    log(&by.caller, "changed", &changed);
    Ok(HttpResponse::Ok().json(answer(&front, changed)))
}

/// Delete an agent
///
/// Its direct connection ends with it; what it used of tokens stays known.
#[utoipa::path(
    operation_id = "delete_agent",
    tag = "Agents",
    params(("id" = String, Path, description = "The agent's id or name")),
    responses(
        (status = 200, description = "It is gone", body = Deleted),
        (status = 404, description = "No agent has this id or name", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[delete("/api/agents/{id}")]
pub(crate) async fn delete(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let message = DeleteAgent(path_key(&request)?);
    let deleted = front.app.direct.delete_agent.send(message, front.settings.request_deadline).await?;
    log(&by.caller, "deleted", &deleted);
    Ok(HttpResponse::Ok().json(Deleted { deleted: true }))
}
