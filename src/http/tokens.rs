//! `/api/tokens`: what agents report of their use of tokens, and what it comes to.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use gatewarden_actors::store::records::{TokenRecord, TokenStats, TokenUsage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::agents::heartbeat::MOST_TOKENS;
use super::auth::{By, GatewayOperator, GatewayViewer};
use super::body::JsonBody;
use super::error::{ApiError, BodyErrors, KeyErrors, invalid};
use super::fields::Fields;
use super::front::Front;
use super::query::Query;

const HOUR_MS: i64 = 3_600_000;
const TIMEFRAMES: [(&str, i64); 4] =
    [("hour", HOUR_MS), ("day", 24 * HOUR_MS), ("week", 7 * 24 * HOUR_MS), ("month", 30 * 24 * HOUR_MS)];

/// A report of token usage.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct TokenBody {
    /// The agent's name (`agent_name` works too). May be left out where the session's key names the agent.
    #[schema(max_length = 200)]
    agent: Option<String>,
    /// The model.
    #[schema(max_length = 200)]
    model: String,
    /// Tokens read (`input_tokens` works too).
    #[schema(minimum = 0)]
    input_tokens: Option<i64>,
    /// Tokens written (`output_tokens` works too).
    #[schema(minimum = 0)]
    output_tokens: Option<i64>,
    /// In US dollars.
    #[schema(minimum = 0)]
    cost: Option<f64>,
    /// The session's key (`sessionId` works too).
    #[schema(max_length = 512)]
    session_key: Option<String>,
}

/// A stored report.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenReport {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The agent, by name.
    pub agent: String,
    /// The model.
    pub model: String,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Both together.
    pub total_tokens: i64,
    /// In US dollars, where it was reported.
    pub cost: Option<f64>,
    /// The session, where it was reported.
    pub session_key: Option<String>,
    /// How the report came: `heartbeat` or `api`.
    #[schema(example = "api")]
    pub source: String,
}

/// A report that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenAnswer {
    /// Always true.
    pub success: bool,
    /// As stored.
    pub record: TokenReport,
}

/// With `action=list`: reports. With `action=agent-costs`: sums.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokensAnswer {
    /// Reports, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Vec<TokenReport>>,
    /// Sums by the agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<BTreeMap<String, AgentCosts>>,
    /// The time that is looked at; none for all that is kept.
    pub timeframe: Option<String>,
}

/// What one agent used.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentCosts {
    /// The sums.
    pub stats: CostStats,
}

/// Sums.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostStats {
    /// Both kinds together.
    pub total_tokens: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// In US dollars, of the reports that named a cost.
    pub total_cost: f64,
    /// Reports.
    pub request_count: i64,
}

/// List token usage, or sum it up by agent
#[utoipa::path(
    operation_id = "read_tokens",
    tag = "Tokens",
    params(
        ("action" = Option<String>, Query, description = "list (default) or agent-costs"),
        ("timeframe" = Option<String>, Query, description = "hour, day, week, month or all; by default all for list and day for agent-costs. Reports are kept for 90 days"),
        ("limit" = Option<usize>, Query, description = "With list: at most so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
    ),
    responses((status = 200, description = "Reports, newest first, or sums by agent", body = TokensAnswer), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/tokens")]
pub(crate) async fn read(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let limit = query.capped("limit", 200).unwrap_or(50);
    let sums = match query.value("action") {
        None | Some("list") => false,
        Some("agent-costs") => true,
        Some(_) => return Err(invalid("Unknown action: it must be list or agent-costs")),
    };
    let timeframe = query.value("timeframe").unwrap_or(if sums { "day" } else { "all" }).to_owned();
    let span = TIMEFRAMES.iter().find(|(name, _)| *name == timeframe).map(|(_, span)| *span);
    if span.is_none() && timeframe != "all" {
        query.problems.add("timeframe", "timeframe must be one of hour, day, week, month, all");
    }
    query.problems.into_result()?;
    let since_ms = span.map(|span| front.app.clock.wall_ms().saturating_sub(span));
    let timeframe = span.map(|_| timeframe);
    let answer = if sums {
        let costs = front.app.store.agent_costs(since_ms.unwrap_or(0)).await?;
        let agents = costs.into_iter().map(|(agent, stats)| (agent, AgentCosts { stats: stats.into() })).collect();
        TokensAnswer { usage: None, agents: Some(agents), timeframe }
    } else {
        let records = front.app.store.list_tokens(limit, since_ms).await?;
        let usage = records.into_iter().map(|TokenRecord { usage, .. }| usage.into()).collect();
        TokensAnswer { usage: Some(usage), agents: None, timeframe }
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// Report token usage
#[utoipa::path(
    operation_id = "report_tokens",
    tag = "Tokens",
    request_body = TokenBody,
    responses((status = 201, description = "Stored", body = TokenAnswer), KeyErrors, BodyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/tokens")]
pub(crate) async fn report(
    _by: By<GatewayOperator>,
    front: web::Data<Front>,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let usage = usage(&body.0, front.app.clock.wall_ms())?;
    front.app.store.append_token_usage(vec![usage.clone()]).await?;
    Ok(HttpResponse::Created().json(TokenAnswer { success: true, record: usage.into() }))
}

/// Reads a report. Tools write these fields in either spelling.
fn usage(body: &Map<String, Value>, at_ms: i64) -> Result<TokenUsage, ApiError> {
    let mut fields = Fields::new(body);
    let spelled = |names: &[&'static str]| {
        let there = names.iter().find(|name| body.get(**name).is_some_and(|value| !value.is_null()));
        there.or(names.first()).copied().unwrap_or_default()
    };
    if fields.value("model").is_none() {
        fields.missing("model");
    }
    let model = fields.text("model", 1..=200).map(str::to_owned);
    let (input, output) = (spelled(&["inputTokens", "input_tokens"]), spelled(&["outputTokens", "output_tokens"]));
    if fields.value(input).is_none() && fields.value(output).is_none() {
        fields.wrong(input, format_args!("and {output} are missing: say at least one"));
    }
    let input_tokens = fields.integer(input, 0..=MOST_TOKENS);
    let output_tokens = fields.integer(output, 0..=MOST_TOKENS);
    let cost = cost(&mut fields);
    let session_key = fields.text(spelled(&["sessionKey", "sessionId", "session_key"]), 1..=512).map(str::to_owned);
    let agent = fields.text(spelled(&["agent", "agent_name", "agentName"]), 1..=200).map(str::to_owned);
    let agent = agent.or_else(|| session_key.as_deref().and_then(agent_of_session).map(str::to_owned));
    if agent.is_none() && fields.problems.is_empty() {
        fields.missing("agent");
    }
    fields.problems.into_result()?;
    let (Some(agent), Some(model)) = (agent, model) else {
        return Err(invalid("agent and model are needed"));
    };
    Ok(TokenUsage {
        at_ms,
        agent,
        model,
        input_tokens: input_tokens.unwrap_or(0),
        output_tokens: output_tokens.unwrap_or(0),
        cost,
        session_key,
        source: "api".to_owned(),
    })
}

fn cost(fields: &mut Fields<'_>) -> Option<f64> {
    let value = fields.value("cost")?;
    let cost = value.as_f64().filter(|cost| (0.0..=1e9).contains(cost));
    if cost.is_none() {
        fields.wrong("cost", "must be a number of US dollars from 0 to 1000000000");
    }
    cost
}

/// `researcher:main` and `agent:researcher:main` are sessions of the agent `researcher`.
fn agent_of_session(key: &str) -> Option<&str> {
    let mut parts = key.split(':');
    let first = parts.next()?;
    let second = parts.next()?;
    let agent = if first == "agent" { second } else { first };
    (!agent.trim().is_empty() && agent.chars().count() <= 200).then_some(agent)
}

impl From<TokenUsage> for TokenReport {
    fn from(usage: TokenUsage) -> Self {
        Self {
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
}

impl From<TokenStats> for CostStats {
    fn from(stats: TokenStats) -> Self {
        Self {
            total_tokens: stats.total_tokens,
            input_tokens: stats.input_tokens,
            output_tokens: stats.output_tokens,
            total_cost: stats.total_cost,
            request_count: stats.request_count,
        }
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
