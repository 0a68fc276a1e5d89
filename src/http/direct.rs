//! `/api/connect`: CLI tools that connect directly, without a gateway (document 001), and `/api/tokens`: what agents report of
//! their use of tokens, and what it comes to.

use actix_web::{HttpRequest, HttpResponse, delete, get, post};
use gatewarden_actors::direct::messages::{CloseConnection, OpenConnection};
use gatewarden_actors::store::records::{ConnectionRecord, EndReason, NewConnection, TokenRecord, TokenUsage};
use gatewarden_api::ErrorBody;
use gatewarden_api::agents::{
    AgentCosts, ConnectAnswer, ConnectBody, Connection, ConnectionList, CostStats, DisconnectBody, DisconnectQuery,
    Disconnected, ListConnectionsQuery, TokenAnswer, TokenBody, TokenReport, TokensAnswer, TokensQuery,
};
use gatewarden_api::pages::{PageQuery, Part, PartQuery};
use gatewarden_api::request::Request as _;
use serde_json::Value;

use super::auth::{Authorized, GatewayOperator, GatewayViewer};
use super::context::App;
use super::error::{Answer, ApiError};
use super::input::{JsonBody, OptionalJsonBody, one_of, read_query};

const HOUR_MS: i64 = 3_600_000;
const TIMEFRAMES: [(&str, i64); 4] =
    [("hour", HOUR_MS), ("day", 24 * HOUR_MS), ("week", 7 * 24 * HOUR_MS), ("month", 30 * 24 * HOUR_MS)];

/// Connect a CLI tool
///
/// Makes the agent where it is unknown. An earlier connection of that agent ends: an agent has one at most.
#[utoipa::path(
    tag = "Direct connections",
    request_body = ConnectBody,
    responses((status = 200, description = "Connected", body = ConnectAnswer)),
)]
#[post("/api/connect")]
pub(crate) async fn connect_tool(by: Authorized<GatewayOperator>, app: App, body: JsonBody) -> Answer {
    let ConnectBody { agent_name, tool_name, tool_version, agent_role, metadata } = body.read()?;
    let metadata = metadata.map(Value::Object);
    let new = NewConnection { agent_name, agent_role, tool_name, tool_version, metadata };
    let opened = app.ask(&app.direct.open, OpenConnection(new)).await?;
    let connection = opened.connection;
    by.acts_on(&connection.connection_id);
    tracing::info!(
        caller.key = by.key().name,
        agent.id = opened.agent.id,
        agent.name = opened.agent.name,
        tool = connection.tool_name,
        connection.id = connection.connection_id,
        "tool connected"
    );
    Ok(HttpResponse::Ok().json(ConnectAnswer {
        agent_id: opened.agent.id,
        agent_name: opened.agent.name,
        status: connection.status.as_str().to_owned(),
        sse_url: "/api/events".to_owned(),
        heartbeat_url: format!("/api/agents/{}/heartbeat", opened.agent.id),
        token_report_url: "/api/tokens".to_owned(),
        heartbeat_timeout_s: app.direct.allowance(connection.metadata.as_ref()).as_secs(),
        connection_id: connection.connection_id,
    }))
}

/// List direct connections
///
/// Newest first, those that ended in the last 30 days too. Complete unless `limit`, `offset` or `page` is given.
#[utoipa::path(
    tag = "Direct connections",
    params(ListConnectionsQuery, PartQuery),
    responses((status = 200, description = "The connections", body = ConnectionList)),
)]
#[get("/api/connect")]
pub(crate) async fn list_connections(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let (asked, part): (ListConnectionsQuery, PartQuery) = read_query(&request)?;
    let page = part.page();
    let all = app.store.list_connections(asked.status.as_deref() == Some("connected"), None).await?;
    let part = page.map_or(Part::complete(all.len()), |page| page.of(all.len()));
    Ok(HttpResponse::Ok().json(ConnectionList {
        connections: all.into_iter().skip(part.offset).take(part.limit).map(|record| shown(&app, record)).collect(),
        part,
    }))
}

/// Disconnect a CLI tool
///
/// The id is in the body or in the query. One that had ended before stays so. The agent goes offline.
#[utoipa::path(
    tag = "Direct connections",
    params(DisconnectQuery),
    request_body(content = Option<DisconnectBody>, description = "May be left out where the query has the id"),
    responses(
        (status = 200, description = "It has ended", body = Disconnected),
        (status = 404, description = "No connection has this id", body = ErrorBody),
    ),
)]
#[delete("/api/connect")]
pub(crate) async fn disconnect_tool(
    by: Authorized<GatewayOperator>,
    app: App,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Answer {
    let from_query = read_query::<DisconnectQuery>(&request)?.connection_id;
    let id = one_of(body.read::<DisconnectBody>()?.connection_id, from_query, "connection_id")?;
    let closed = app.ask(&app.direct.close, CloseConnection(id)).await?;
    tracing::info!(
        caller.key = by.key().name,
        agent.id = closed.agent_id,
        agent.name = closed.agent_name,
        connection.id = closed.connection_id,
        "tool disconnected"
    );
    let status = closed.status.as_str().to_owned();
    Ok(HttpResponse::Ok().json(Disconnected { status, connection_id: closed.connection_id }))
}

fn shown(app: &App, record: ConnectionRecord) -> Connection {
    Connection {
        id: record.id,
        agent_id: record.agent_id,
        tool_name: record.tool_name,
        tool_version: record.tool_version,
        connection_id: record.connection_id,
        status: record.status.as_str().to_owned(),
        last_heartbeat: Some(record.last_heartbeat),
        heartbeat_timeout_s: app.direct.allowance(record.metadata.as_ref()).as_secs(),
        metadata: record.metadata.map(|metadata| metadata.to_string()),
        created_at: record.created_at,
        agent_name: record.agent_name,
        agent_status: record.agent_status.as_str().to_owned(),
        agent_role: record.agent_role,
        disconnected_at: record.disconnected_at,
        end_reason: record.end_reason.map(EndReason::as_str).map(str::to_owned),
    }
}

/// List token usage, or sum it up by agent
#[utoipa::path(
    tag = "Tokens",
    params(TokensQuery, PageQuery),
    responses((status = 200, description = "Reports, newest first, or sums by agent", body = TokensAnswer)),
)]
#[get("/api/tokens")]
pub(crate) async fn read_tokens(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let (asked, page): (TokensQuery, PageQuery) = read_query(&request)?;
    let sums = asked.action.as_deref() == Some("agent-costs");
    let timeframe = asked.timeframe.unwrap_or_else(|| if sums { "day" } else { "all" }.to_owned());
    let span = TIMEFRAMES.iter().find(|(name, _)| *name == timeframe).map(|(_, span)| *span);
    let since_ms = span.map(|span| app.clock.wall_ms().saturating_sub(span));
    let timeframe = span.map(|_| timeframe);
    let answer = if sums {
        let costs = app.store.agent_costs(since_ms.unwrap_or(0)).await?.into_iter().map(|(agent, stats)| {
            let stats = CostStats {
                total_tokens: stats.total_tokens,
                input_tokens: stats.input_tokens,
                output_tokens: stats.output_tokens,
                total_cost: stats.total_cost,
                request_count: stats.request_count,
            };
            (agent, AgentCosts { stats })
        });
        TokensAnswer { agents: Some(costs.collect()), timeframe, ..TokensAnswer::default() }
    } else {
        let page = page.page();
        let records = app.store.list_tokens(page.offset, page.limit, since_ms).await?;
        let usage = records.into_iter().map(|TokenRecord { usage, .. }| report(usage)).collect();
        let total = Some(app.store.count_tokens(since_ms).await?);
        let (limit, offset) = (Some(page.limit), Some(page.offset));
        TokensAnswer { usage: Some(usage), agents: None, timeframe, total, limit, offset }
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// Report token usage
#[utoipa::path(
    tag = "Tokens",
    request_body = TokenBody,
    responses((status = 201, description = "Stored", body = TokenAnswer)),
)]
#[post("/api/tokens")]
pub(crate) async fn report_tokens(_by: Authorized<GatewayOperator>, app: App, body: JsonBody) -> Answer {
    let usage = usage(&body, app.clock.wall_ms())?;
    app.store.append_token_usage(vec![usage.clone()]).await?;
    Ok(HttpResponse::Created().json(TokenAnswer { success: true, record: report(usage) }))
}

fn usage(body: &JsonBody, at_ms: i64) -> Result<TokenUsage, ApiError> {
    let mut fields = body.fields();
    let told = TokenBody::read(&mut fields);
    let agent = told.agent.or_else(|| told.session_key.as_deref().and_then(agent_of_session).map(str::to_owned));
    if agent.is_none() && fields.is_fine() {
        fields.wrong("agent", "is missing");
    }
    fields.finish()?;
    Ok(TokenUsage {
        at_ms,
        agent: agent.unwrap_or_default(),
        model: told.model,
        input_tokens: told.input_tokens.unwrap_or(0),
        output_tokens: told.output_tokens.unwrap_or(0),
        cost: told.cost,
        session_key: told.session_key,
        source: "api".to_owned(),
    })
}

/// `researcher:main` and `agent:researcher:main` are sessions of the agent `researcher`.
fn agent_of_session(key: &str) -> Option<&str> {
    let mut parts = key.split(':');
    let first = parts.next()?;
    let second = parts.next()?;
    let agent = if first == "agent" { second } else { first };
    (!agent.trim().is_empty() && agent.chars().count() <= 200).then_some(agent)
}

fn report(usage: TokenUsage) -> TokenReport {
    TokenReport {
        total_tokens: usage.input_tokens.saturating_add(usage.output_tokens),
        at_ms: usage.at_ms,
        agent: usage.agent,
        model: usage.model,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cost: usage.cost,
        session_key: usage.session_key,
        source: usage.source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_of_a_session_is_read_out_of_either_form_of_key() {
        assert_eq!(agent_of_session("researcher:main"), Some("researcher"));
        assert_eq!(agent_of_session("agent:researcher:telegram:default:user123"), Some("researcher"));
        for none in ["main", "", ":main", "agent:", "agent"] {
            assert_eq!(agent_of_session(none), None, "{none}");
        }
    }
}
