//! `/api/agents`: list and create agents; by id or name: read, change, delete, report in; sync with a gateway.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, delete, get, post, put};
use gatewarden_actors::agent_book::AgentKey;
use gatewarden_actors::agent_sync::{SyncAgents, SyncedGateway};
use gatewarden_actors::direct::messages::{DeleteAgent, Heartbeat, TokensUsed};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::roster::RosterReader;
use gatewarden_actors::store::records::{AgentChange, AgentFilter, AgentHeartbeat, AgentRecord, AgentStatus, NewAgent};
use gatewarden_api::ErrorBody;
use gatewarden_api::agents::{
    Agent, AgentAnswer, AgentDeleted, AgentFields, AgentList, HeartbeatAnswer, HeartbeatBody, ListAgentsQuery,
    NewAgentBody, SyncAnswer, SyncBody, TokenUsageWords, Tokens,
};
use gatewarden_api::pages::PageQuery;
use gatewarden_api::responses::{GatewayErrors, NoGateway};
use serde_json::Value;

use super::auth::{Authorized, Caller, GatewayAdmin, GatewayOperator, GatewayViewer, Operator};
use super::context::{App, AppContext};
use super::error::{Answer, ApiError, invalid};
use super::input::{AgentPath, JsonBody, OptionalJsonBody, read_query};

/// Syncs under way at one time.
pub(crate) const SYNCS: usize = 32;

/// List agents
#[utoipa::path(
    tag = "Agents",
    params(ListAgentsQuery, PageQuery),
    responses((status = 200, description = "A page of agents, by name", body = AgentList)),
)]
#[get("/api/agents")]
pub(crate) async fn list_agents(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let (asked, page): (ListAgentsQuery, PageQuery) = read_query(&request)?;
    let page = page.page();
    let filter = AgentFilter {
        status: asked.status.as_deref().and_then(AgentStatus::from_name),
        role: asked.role,
        gateway_id: asked.gateway_id.map(GatewayId),
        search: asked.search,
    };
    let (agents, total) = app.store.list_agents_after(filter, page.offset, page.limit).await?;
    Ok(HttpResponse::Ok().json(AgentList {
        agents: agents.into_iter().map(|agent| shown(agent, &app.roster)).collect(),
        part: page.of(total),
        page: (page.offset / page.limit.max(1)).saturating_add(1),
    }))
}

/// Create an agent
#[utoipa::path(
    tag = "Agents",
    request_body = NewAgentBody,
    responses(
        (
            status = 201, description = "Stored", body = AgentAnswer,
            headers(("Location" = String, description = "Path of the agent: `/api/agents/{id}`")),
        ),
        (status = 404, description = "No gateway has this gateway_id", body = ErrorBody),
        (status = 409, description = "Another agent has this name", body = ErrorBody),
    ),
)]
#[post("/api/agents")]
pub(crate) async fn create_agent(by: Authorized<GatewayOperator>, app: App, body: JsonBody) -> Answer {
    let new: NewAgentBody = body.read()?;
    let blank = NewAgent::manual(new.name);
    let asked = new.status.as_deref().and_then(AgentStatus::from_name);
    let created = app.agents.create(NewAgent {
        role: new.role,
        status: asked.unwrap_or(blank.status),
        gateway_id: new.gateway_id.map(GatewayId),
        config: new.config.map_or_else(|| blank.config.clone(), Value::Object),
        ..blank
    });
    let created = created.await?;
    by.acts_on(created.id);
    log(&by.caller, "created", &created);
    let location = format!("/api/agents/{}", created.id);
    Ok(HttpResponse::Created().insert_header(("Location", location)).json(answer(&app, created, asked)))
}

/// Read one agent
#[utoipa::path(
    tag = "Agents",
    params(AgentPath),
    responses(
        (status = 200, description = "The agent", body = AgentAnswer),
        (status = 404, description = "No agent has this id or name", body = ErrorBody),
    ),
)]
#[get("/api/agents/{id}")]
pub(crate) async fn read_agent(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let agent = app.agents.find(&path_key(&request)?).await?;
    Ok(HttpResponse::Ok().json(AgentAnswer { agent: shown(agent, &app.roster), warning: None }))
}

/// Change an agent
///
/// What is left out stays as it is; `config` is replaced as a whole.
#[utoipa::path(
    tag = "Agents",
    params(AgentPath),
    request_body = AgentFields,
    responses(
        (status = 200, description = "Stored", body = AgentAnswer),
        (status = 404, description = "No agent has this id or name, or no gateway this gateway_id", body = ErrorBody),
        (status = 409, description = "Another agent has this name", body = ErrorBody),
    ),
)]
#[put("/api/agents/{id}")]
pub(crate) async fn update_agent(
    by: Authorized<GatewayOperator>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let key = path_key(&request)?;
    let new: AgentFields = body.read()?;
    let change = AgentChange {
        name: new.name,
        role: new.role,
        status: new.status.as_deref().and_then(AgentStatus::from_name),
        gateway_id: new.gateway_id.map(|id| id.map(GatewayId)),
        config: new.config.map(Value::Object),
        last_activity: new.last_activity,
        ..AgentChange::default()
    };
    if change.is_empty() {
        return Err(body.nothing_to_change("an agent that can be written"));
    }
    let asked = change.status;
    let changed = app.agents.change(&key, change).await?;
    log(&by.caller, "changed", &changed);
    Ok(HttpResponse::Ok().json(answer(&app, changed, asked)))
}

/// Delete an agent
///
/// Its direct connection ends with it; what it used of tokens stays known.
#[utoipa::path(
    tag = "Agents",
    params(AgentPath),
    responses(
        (status = 200, description = "It is gone", body = AgentDeleted),
        (status = 404, description = "No agent has this id or name", body = ErrorBody),
    ),
)]
#[delete("/api/agents/{id}")]
pub(crate) async fn delete_agent(by: Authorized<GatewayAdmin>, app: App, request: HttpRequest) -> Answer {
    let deleted = app.ask(&app.direct.delete_agent, DeleteAgent(path_key(&request)?)).await?;
    log(&by.caller, "deleted", &deleted);
    Ok(HttpResponse::Ok().json(AgentDeleted { success: true, deleted: true }))
}

/// Report in
///
/// Limited by key and agent, like gateway operations: many tools may share a key.
#[utoipa::path(
    tag = "Direct connections",
    params(AgentPath),
    request_body(content = Option<HeartbeatBody>, description = "May be left out"),
    responses(
        (status = 200, description = "Noted", body = HeartbeatAnswer),
        (status = 404, description = "No agent has this id or name, or it never had this connection", body = ErrorBody),
        (status = 409, description = "The connection was closed or replaced: connect again; nothing was noted", body = ErrorBody),
    ),
)]
#[post("/api/agents/{id}/heartbeat")]
pub(crate) async fn heartbeat(
    by: Authorized<Operator>,
    app: App,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Answer {
    let agent = path_key(&request)?;
    if let Some(counted) = app.limits.heartbeat(by.key().limit_key(), &agent) {
        counted.settle(&request)?;
    }
    let body: HeartbeatBody = body.read()?;
    let used = |model, input: Option<i64>, output: Option<i64>| TokensUsed {
        model,
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
    };
    let tokens = body.tokens.map(|Tokens { input, output, model }| used(model, input, output));
    let words =
        body.token_usage.map(|words: TokenUsageWords| used(words.model, words.input_tokens, words.output_tokens));
    let status = body.status.as_deref().and_then(AgentStatus::from_name);
    let beat = AgentHeartbeat { connection_id: body.connection_id, status };
    let heard = app.ask(&app.direct.heartbeat, Heartbeat { agent, beat, tokens: tokens.or(words) }).await?;
    Ok(HttpResponse::Ok().json(HeartbeatAnswer {
        status: "HEARTBEAT_OK".to_owned(),
        agent: heard.agent.name,
        checked_at: app.now_s(),
        token_recorded: heard.tokens_recorded,
        connection_id: heard.connection.map(|connection| connection.connection_id),
        revived: heard.revived,
    }))
}

/// Take over a gateway's agents
///
/// Reads them from the gateway (its list of agents, else its configuration), creates the unknown, updates the changed and
/// leaves the rest alone, all or nothing.
#[utoipa::path(
    tag = "Agents",
    request_body(content = Option<SyncBody>, description = "May be left out: then the acting primary is read"),
    responses((status = 200, description = "Stored", body = SyncAnswer), NoGateway, GatewayErrors),
)]
#[post("/api/agents/sync")]
pub(crate) async fn sync_agents(by: Authorized<GatewayAdmin>, app: App, body: OptionalJsonBody) -> Answer {
    let target = body.read::<SyncBody>()?.gateway_id.map(GatewayId);
    let timeout = app.settings.gateway_timeout;
    // It may take two requests to the gateway, and a write.
    let deadline = timeout.saturating_mul(2).saturating_add(app.settings.request_deadline);
    let SyncedGateway { id, name, stats } = match app.agent_sync.send(SyncAgents { target, timeout }, deadline).await {
        Ok(synced) => synced,
        Err(failure) => return Ok(sync_failed(failure)),
    };
    tracing::info!(
        caller.key = by.key().name,
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
fn sync_failed(failure: Failure) -> HttpResponse {
    let is_unreachable = matches!(failure.code, ErrorCode::GatewayUnavailable | ErrorCode::NoUsableGateway);
    let mut response = ApiError(failure).error_response();
    if is_unreachable {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response
}

/// The agent in the path. Digits are an id, anything else is a name.
fn path_key(request: &HttpRequest) -> Result<AgentKey, ApiError> {
    let text: Option<String> = request.match_info().load().ok();
    text.as_deref()
        .and_then(AgentKey::read)
        .ok_or_else(|| invalid("The path must name an agent: by its id, a positive integer, or by its name"))
}

/// The answer to a change, with a warning where work could not go where the agent wants it, or it is not what it was said to be.
fn answer(app: &AppContext, agent: AgentRecord, asked: Option<AgentStatus>) -> AgentAnswer {
    let overruled = asked.is_some_and(|asked| asked != agent.status);
    let overruled =
        overruled.then(|| "The agent's gateway gives no answer: the agent is offline until it does".to_owned());
    let warnings: Vec<String> = overruled.into_iter().chain(unregistered_preference(app, &agent)).collect();
    AgentAnswer { agent: shown(agent, &app.roster), warning: (!warnings.is_empty()).then(|| warnings.join(". ")) }
}

/// A preferred gateway that is not registered (yet) is allowed: agents and gateways may be set up in any order.
fn unregistered_preference(app: &AppContext, agent: &AgentRecord) -> Option<String> {
    let preferred = agent.preferred_gateway()?;
    let by_id = preferred.parse().ok().and_then(|id| app.roster.get(GatewayId(id))).is_some();
    let registered = by_id || app.roster.list().iter().any(|view| view.record.name == preferred);
    (!registered).then(|| {
        format!(
            "No gateway has the id or name \"{preferred}\" that config.gateway_config.preferred_gateway gives: until one is \
             registered, work for agent \"{}\" goes where it would go without a preference",
            agent.name
        )
    })
}

/// An agent that its gateway tells of, and that is not offline, lives in that gateway: a sign of life of the one is one of the other.
fn shown(record: AgentRecord, roster: &RosterReader) -> Agent {
    let lives_there = record.is_told_of() && record.status != AgentStatus::Offline;
    let gateway = record.gateway_id.filter(|_| lives_there).and_then(|id| roster.get(id));
    let gateway_seen = gateway.and_then(|view| view.report.last_seen_ms).map(|at_ms| at_ms.div_euclid(1_000));
    Agent {
        id: record.id,
        name: record.name,
        role: record.role,
        status: record.status.as_str().to_owned(),
        gateway_id: record.gateway_id.map(|gateway| gateway.0),
        source: record.source.as_str().to_owned(),
        config: record.config,
        is_gateway_main: record.is_gateway_main,
        board_id: None,
        last_seen: record.last_seen.max(gateway_seen),
        last_activity: record.last_activity,
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
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

#[cfg(test)]
mod tests {
    use gatewarden_api::agents::AGENT_STATUSES;
    use gatewarden_api::request::{self, Request};
    use serde_json::json;

    use super::*;

    fn read<T: Request>(body: Value) -> Result<T, String> {
        request::read(body.as_object().unwrap()).map_err(|problems| problems.sentence())
    }

    #[test]
    fn every_status_of_the_store_can_be_written() {
        assert_eq!(AGENT_STATUSES, AgentStatus::ALL.map(AgentStatus::as_str));
    }

    #[test]
    fn one_answer_names_every_field_that_is_wrong() {
        let body = json!({"name": "17", "role": 5, "status": "asleep", "gateway_id": "one",
                          "config": {"gateway_config": {"preferred_gateway": []}}});
        let sentence = read::<NewAgentBody>(body).unwrap_err();
        for word in ["name must not be digits", "role", "status", "gateway_id", "preferred_gateway"] {
            assert!(sentence.contains(word), "{sentence}");
        }
    }

    #[test]
    fn null_clears_where_there_is_something_to_clear_and_else_counts_as_left_out() {
        let cleared: AgentFields = read(json!({"gateway_id": null, "last_activity": null, "name": null})).unwrap();
        assert_eq!((cleared.gateway_id, cleared.last_activity, cleared.name), (Some(None), Some(None), None));
        assert_eq!(read::<AgentFields>(json!({"name": null, "colour": "red"})), Ok(AgentFields::default()));
    }

    #[test]
    fn a_configuration_beyond_its_bound_is_refused() {
        let body = json!({"name": "a", "config": {"notes": "x".repeat(64 * 1024)}});
        assert!(read::<NewAgentBody>(body).unwrap_err().contains("config must have at most"));
    }
}
