//! `/api/agents`: list and create agents; by id or name: read, change, delete; sync with a gateway; heartbeats.

pub mod agent_object;
pub mod by_key;
pub mod heartbeat;
pub mod input;
pub mod sync;

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use gatewarden_actors::store::records::{AgentFilter, AgentRecord, AgentStatus};
use serde::Serialize;
use utoipa::ToSchema;

use self::agent_object::Agent;
use super::auth::{By, Caller, GatewayOperator, GatewayViewer};
use super::body::JsonBody;
use super::error::{ApiError, BodyErrors, ErrorBody, KeyErrors};
use super::front::Front;
use super::query::{Page, Query};
use gatewarden_actors::ids::GatewayId;

/// One page of agents, by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentList {
    /// The page.
    pub agents: Vec<Agent>,
    /// How many agents pass the filter in all.
    pub total: usize,
    /// Which page this is, from 1.
    pub page: usize,
    /// Agents in a page.
    pub limit: usize,
}

/// One agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentAnswer {
    /// The agent.
    pub agent: Agent,
    /// Worth knowing: for instance that its preferred gateway is not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// List agents
#[utoipa::path(
    operation_id = "list_agents",
    tag = "Agents",
    params(
        ("status" = Option<String>, Query, description = "Only with this status: offline, online, idle, busy or error"),
        ("role" = Option<String>, Query, description = "Only with exactly this role"),
        ("gateway_id" = Option<i64>, Query, description = "Only of this gateway", minimum = 1),
        ("search" = Option<String>, Query, description = "Only with this text in name or role; ASCII letters match in either case"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
        ("offset" = Option<u64>, Query, description = "After so many; not together with page"),
        ("page" = Option<u64>, Query, description = "From 1", minimum = 1),
    ),
    responses((status = 200, description = "A page of agents, by name", body = AgentList), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/agents")]
pub(crate) async fn list(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let page = Page::read(&mut query).unwrap_or(Page { limit: 50, offset: 0 });
    let status = query.value("status").map(str::to_owned);
    let status = status.and_then(|name| {
        let status = AgentStatus::from_name(&name);
        if status.is_none() {
            query.problems.add("status", format!("status must be one of {}", input::STATUSES.join(", ")));
        }
        status
    });
    let filter = AgentFilter {
        status,
        role: query.text("role", 1..=input::LONGEST_ROLE),
        gateway_id: query.integer("gateway_id", 1..=i64::MAX).map(GatewayId),
        search: query.text("search", 1..=200),
    };
    query.problems.into_result()?;
    let (agents, total) = front.app.store.list_agents_after(filter, page.offset, page.limit).await?;
    Ok(HttpResponse::Ok().json(AgentList {
        agents: agents.into_iter().map(Agent::from).collect(),
        total,
        page: (page.offset / page.limit.max(1)).saturating_add(1),
        limit: page.limit,
    }))
}

/// Create an agent
#[utoipa::path(
    operation_id = "create_agent",
    tag = "Agents",
    request_body = input::NewAgentBody,
    responses(
        (status = 201, description = "Stored", body = AgentAnswer),
        (status = 404, description = "No gateway has this gateway_id", body = ErrorBody),
        (status = 409, description = "Another agent has this name", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/agents")]
pub(crate) async fn create(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let new = input::new_agent(&body.0)?;
    let created = front.app.agents.create(new).await?;
    log(&by.caller, "created", &created);
    let location = format!("/api/agents/{}", created.id);
    Ok(HttpResponse::Created().insert_header(("Location", location)).json(answer(&front, created)))
}

/// The answer to a change, with a warning where work could not go where the agent wants it.
fn answer(front: &Front, agent: AgentRecord) -> AgentAnswer {
    let warning = unregistered_preference(front, &agent);
    AgentAnswer { agent: agent.into(), warning }
}

/// A preferred gateway that is not registered (yet) is allowed: agents and gateways may be set up in any order.
fn unregistered_preference(front: &Front, agent: &AgentRecord) -> Option<String> {
    let preferred = agent.preferred_gateway()?;
    let by_id = preferred.parse().ok().and_then(|id| front.app.roster.get(GatewayId(id))).is_some();
    let registered = by_id || front.app.roster.list().iter().any(|view| view.record.name == preferred);
    (!registered).then(|| {
        format!(
            "No gateway has the id or name \"{preferred}\" that config.gateway_config.preferred_gateway gives: until one is \
             registered, work for agent \"{}\" goes where it would go without a preference",
            agent.name
        )
    })
}

/// One line for each change: who, what, which agent.
fn log(caller: &Caller, what: &'static str, agent: &AgentRecord) {
    tracing::info!(
        caller.key = caller.key.name,
        caller.role = caller.key.role.as_str(),
        agent.id = agent.id,
        agent.name = agent.name,
        "agent {what}"
    );
}
