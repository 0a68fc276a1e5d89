//! `/api/connect`: CLI tools that connect directly, without a gateway (document 001).

pub mod connection_object;
pub mod input;

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use gatewarden_actors::direct::messages::{CloseConnection, OpenConnection};
use serde::Serialize;
use utoipa::ToSchema;

use self::connection_object::Connection;
use super::auth::{By, GatewayOperator, GatewayViewer};
use super::body::{JsonBody, OptionalJsonBody};
use super::error::{ApiError, BodyErrors, ErrorBody, KeyErrors};
use super::front::Front;
use super::query::{Page, Query};

/// A tool that is connected now.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectAnswer {
    /// What the tool names its connection by, in heartbeats and when it leaves.
    #[schema(example = "conn-0123456789abcdef0123456789abcdef")]
    pub connection_id: String,
    /// The agent that it works as.
    pub agent_id: i64,
    /// That agent's name.
    pub agent_name: String,
    /// Always `connected`.
    #[schema(example = "connected")]
    pub status: &'static str,
    /// Where events are followed.
    #[schema(example = "/api/events")]
    pub sse_url: &'static str,
    /// Where heartbeats go.
    #[schema(example = "/api/agents/7/heartbeat")]
    pub heartbeat_url: String,
    /// Where token usage may be reported besides.
    #[schema(example = "/api/tokens")]
    pub token_report_url: &'static str,
    /// Seconds without a heartbeat after which the tool counts as gone.
    pub heartbeat_timeout_s: u64,
}

/// Direct connections, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionList {
    /// All of them, or the part that was asked for.
    pub connections: Vec<Connection>,
    /// How many there are; only where a part was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// Largest size of the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many come before the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
}

/// A connection that has ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct Disconnected {
    /// Always `disconnected`.
    #[schema(example = "disconnected")]
    pub status: &'static str,
    /// Which.
    pub connection_id: String,
}

/// Connect a CLI tool
///
/// Makes the agent where it is unknown. An earlier connection of that agent ends: an agent has one at most.
#[utoipa::path(
    operation_id = "connect_tool",
    tag = "Direct connections",
    request_body = input::ConnectBody,
    responses((status = 200, description = "Connected", body = ConnectAnswer), KeyErrors, BodyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/connect")]
pub(crate) async fn open(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let new = input::new_connection(&body.0)?;
    let opened = front.app.direct.open.send(OpenConnection(new), front.settings.request_deadline).await?;
    let connection = opened.connection;
    tracing::info!(
        caller.key = by.caller.key.name,
        agent.id = opened.agent.id,
        agent.name = opened.agent.name,
        tool = connection.tool_name,
        connection.id = connection.connection_id,
        "tool connected"
    );
    let allowed = front.app.direct.allowance(connection.metadata.as_ref());
    Ok(HttpResponse::Ok().json(ConnectAnswer {
        agent_id: opened.agent.id,
        agent_name: opened.agent.name,
        status: connection.status.as_str(),
        sse_url: "/api/events",
        heartbeat_url: format!("/api/agents/{}/heartbeat", opened.agent.id),
        token_report_url: "/api/tokens",
        heartbeat_timeout_s: allowed.as_secs(),
        connection_id: connection.connection_id,
    }))
}

/// List direct connections
///
/// Newest first, those that ended in the last 30 days too. Complete unless `limit`, `offset` or `page` is given.
#[utoipa::path(
    operation_id = "list_connections",
    tag = "Direct connections",
    params(
        ("status" = Option<String>, Query, description = "connected: only those that are open; all (default)"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 200 (more is capped); 50 where only a place is given", minimum = 1),
        ("offset" = Option<u64>, Query, description = "After so many; not together with page"),
        ("page" = Option<u64>, Query, description = "From 1", minimum = 1),
    ),
    responses((status = 200, description = "The connections", body = ConnectionList), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/connect")]
pub(crate) async fn list(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let page = Page::read(&mut query);
    let open_only = match query.value("status") {
        None | Some("all") => false,
        Some("connected") => true,
        Some(_) => {
            query.problems.add("status", "status must be connected or all");
            false
        }
    };
    query.problems.into_result()?;
    let all = front.app.store.list_connections(open_only, None).await?;
    let total = page.map(|_| all.len());
    let (skipped, taken) = page.map_or((0, usize::MAX), |page| (page.offset, page.limit));
    Ok(HttpResponse::Ok().json(ConnectionList {
        connections: all.into_iter().skip(skipped).take(taken).map(Connection::from).collect(),
        total,
        limit: page.map(|page| page.limit),
        offset: page.map(|page| page.offset),
    }))
}

/// Disconnect a CLI tool
///
/// The id is in the body or in the query. One that had ended before stays so. The agent goes offline.
#[utoipa::path(
    operation_id = "disconnect_tool",
    tag = "Direct connections",
    params(("connection_id" = Option<String>, Query, description = "Instead of a body")),
    request_body(content = Option<input::DisconnectBody>, description = "May be left out where the query has the id"),
    responses(
        (status = 200, description = "It has ended", body = Disconnected),
        (status = 404, description = "No connection has this id", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[delete("/api/connect")]
pub(crate) async fn close(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Result<HttpResponse, ApiError> {
    let id = input::connection_id(body.0.as_ref(), request.query_string())?;
    let closed = front.app.direct.close.send(CloseConnection(id), front.settings.request_deadline).await?;
    tracing::info!(
        caller.key = by.caller.key.name,
        agent.id = closed.agent_id,
        agent.name = closed.agent_name,
        connection.id = closed.connection_id,
        "tool disconnected"
    );
    Ok(HttpResponse::Ok().json(Disconnected { status: closed.status.as_str(), connection_id: closed.connection_id }))
}
