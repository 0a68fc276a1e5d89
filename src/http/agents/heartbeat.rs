//! `POST /api/agents/{id}/heartbeat`: an agent reports in, with or without a connection.

use actix_web::{HttpRequest, HttpResponse, post, web};
use gatewarden_actors::direct::messages::{Heartbeat, TokensUsed};
use gatewarden_actors::store::records::AgentHeartbeat;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::by_key::path_key;
use super::input::status;
use crate::http::auth::{By, Operator};
use crate::http::body::OptionalJsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, KeyErrors};
use crate::http::fields::Fields;
use crate::http::front::Front;

/// Most tokens in one report.
pub const MOST_TOKENS: i64 = 1_000_000_000_000;

/// A heartbeat; everything in it may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct HeartbeatBody {
    /// The connection of `POST /api/connect`; else the one that the agent has open, if any.
    connection_id: Option<String>,
    /// What the agent is doing: `online`, `idle`, `busy`, `error` or `offline`. Left out, an offline agent is online.
    status: Option<String>,
    /// Tokens used since the last report.
    tokens: Option<Tokens>,
    /// The same in other words; `tokens` wins.
    token_usage: Option<TokenUsageWords>,
}

/// Tokens used.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct Tokens {
    /// Tokens read.
    #[schema(minimum = 0, example = 1500)]
    input: Option<i64>,
    /// Tokens written.
    #[schema(minimum = 0, example = 800)]
    output: Option<i64>,
    /// The model.
    #[schema(example = "claude-3-5-sonnet-20241022", max_length = 200)]
    model: String,
}

/// Tokens used.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct TokenUsageWords {
    /// The model.
    #[schema(max_length = 200)]
    model: String,
    /// Tokens read.
    #[schema(minimum = 0)]
    input_tokens: Option<i64>,
    /// Tokens written.
    #[schema(minimum = 0)]
    output_tokens: Option<i64>,
}

/// The agent was heard.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// Always `HEARTBEAT_OK`.
    #[schema(example = "HEARTBEAT_OK")]
    pub status: &'static str,
    /// The agent's name.
    pub agent: String,
    /// Unix seconds.
    pub checked_at: i64,
    /// Whether the tokens are stored; false where none were told, or the store could not take them.
    pub token_recorded: bool,
    /// The connection that was kept alive, if the agent has one.
    pub connection_id: Option<String>,
    /// Whether the connection had been given up for silence and is open again.
    pub revived: bool,
}

/// Report in
///
/// Limited by key and agent, like gateway operations: many tools may share a key.
#[utoipa::path(
    operation_id = "heartbeat",
    tag = "Direct connections",
    params(("id" = String, Path, description = "The agent's id or name")),
    request_body(content = Option<HeartbeatBody>, description = "May be left out"),
    responses(
        (status = 200, description = "Noted", body = HeartbeatAnswer),
        (status = 404, description = "No agent has this id or name, or it never had this connection", body = ErrorBody),
        (status = 409, description = "The connection was closed or replaced: connect again; nothing was noted", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/agents/{id}/heartbeat")]
pub(crate) async fn heartbeat(
    by: By<Operator>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Result<HttpResponse, ApiError> {
    let agent = path_key(&request)?;
    if let Some(counted) = front.limits.heartbeat(by.caller.key.limit_key(), &agent) {
        counted.settle(&request)?;
    }
    let body = body.0.unwrap_or_default();
    let mut fields = Fields::new(&body);
    let connection_id = fields.text("connection_id", 1..=200).map(str::to_owned);
    let status = status(&mut fields);
    let tokens = tokens(&mut fields);
    fields.problems.into_result()?;
    let message = Heartbeat { agent, beat: AgentHeartbeat { connection_id, status }, tokens };
    let heard = front.app.direct.heartbeat.send(message, front.settings.request_deadline).await?;
    Ok(HttpResponse::Ok().json(HeartbeatAnswer {
        status: "HEARTBEAT_OK",
        agent: heard.agent.name,
        checked_at: front.now_s(),
        token_recorded: heard.tokens_recorded,
        connection_id: heard.connection.map(|connection| connection.connection_id),
        revived: heard.revived,
    }))
}

/// `tokens`, else `token_usage`.
fn tokens(fields: &mut Fields<'_>) -> Option<TokensUsed> {
    let inline = fields.object("tokens").and_then(|map| used(fields, map, "tokens", ["input", "output"]));
    let words =
        fields.object("token_usage").and_then(|map| used(fields, map, "token_usage", ["inputTokens", "outputTokens"]));
    inline.or(words)
}

fn used(
    outer: &mut Fields<'_>,
    map: &Map<String, Value>,
    place: &str,
    [input, output]: [&str; 2],
) -> Option<TokensUsed> {
    let mut fields = Fields::inside(map, place);
    if fields.value("model").is_none() {
        fields.missing("model");
    }
    let model = fields.text("model", 1..=200).map(str::to_owned);
    if fields.value(input).is_none() && fields.value(output).is_none() {
        fields.wrong(input, format_args!("and {output} are missing: say at least one"));
    }
    let read = fields.integer(input, 0..=MOST_TOKENS);
    let written = fields.integer(output, 0..=MOST_TOKENS);
    outer.absorb(fields);
    Some(TokensUsed { model: model?, input: read.unwrap_or(0), output: written.unwrap_or(0) })
}
