//! `/api/sessions`: the sessions of all gateways in one list, and what can be done with one of them.

pub(crate) mod history;
pub(crate) mod known;

use actix_web::{HttpRequest, HttpResponse, delete, get, post};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::messages::ControlSessionAt;
use gatewarden_actors::spawn::{SessionAction, spawn_of_session};
use gatewarden_api::pages::PageQuery;
use gatewarden_api::request::Request as _;
use gatewarden_api::responses::{GatewayErrors, NoGateway, SessionErrors};
use gatewarden_api::sessions::{
    ChangeBody, ChangeQuery, ControlBody, DeleteBody, GatewayAge, ListSessionsQuery, MessageBody, MessageTaken,
    Session, SessionDeleted, SessionDone, SessionHistory, SessionHistoryQuery, SessionList, session_key_problem,
};
use gatewarden_protocol::sessions::SessionStatus;
use serde_json::{Value, json};

use self::known::{Found, KnownSessions, Source, Wanted};
use super::auth::{Authorized, Caller, GatewayOperator, GatewayViewer, Operator};
use super::context::{App, AppContext};
use super::error::{Answer, ApiError, invalid, invalid_field};
use super::gateway_calls::{NamedGateway, hide_tokens};
use super::input::{JsonBody, SessionPath, read_query};
use super::spawn;

/// Thinking levels that every release knows by name.
const THINKING: [&str; 6] = ["off", "minimal", "low", "medium", "high", "xhigh"];
const VERBOSE: [&str; 3] = ["off", "on", "full"];

/// List sessions
///
/// From what the gateways have told, without asking them: `as_of`, `complete` and `reachable` say how fresh that is.
#[utoipa::path(
    tag = "Sessions",
    params(ListSessionsQuery, PageQuery),
    responses((status = 200, description = "A page of sessions, newest first", body = SessionList), NoGateway),
)]
#[get("/api/sessions")]
pub(crate) async fn list_sessions(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let (asked, page): (ListSessionsQuery, PageQuery) = read_query(&request)?;
    let all = [SessionStatus::Active, SessionStatus::Paused, SessionStatus::Completed];
    let status = asked.status.and_then(|name| all.into_iter().find(|status| status.as_str() == name));
    let known = KnownSessions::read(&app.roster);
    let sources = known.sources();
    let looked_at: &[Source<'_>] = match &asked.gateway {
        None => &sources,
        Some(text) => {
            std::slice::from_ref(known::named(&sources, text).ok_or_else(|| Failure::gateway_not_found(text))?)
        }
    };
    let page = page.page();
    let (found, total) = known::merge(looked_at, Wanted { agent: asked.agent.as_deref(), status }, page);
    let age = |source: &Source<'_>| GatewayAge {
        id: source.id.0,
        name: source.name.to_owned(),
        as_of: source.as_of(),
        complete: source.sessions.complete,
        reachable: source.reachable,
    };
    Ok(HttpResponse::Ok().json(SessionList {
        sessions: found.iter().map(shown).collect(),
        part: page.of(total),
        gateways: asked.gateways.unwrap_or(true).then(|| looked_at.iter().map(age).collect()),
    }))
}

/// One row of a merged list.
pub(crate) fn shown(found: &Found<'_>) -> Session {
    let (source, row) = (found.source, found.row);
    Session {
        key: row.key.clone(),
        agent: row.agent.clone(),
        model: row.model.clone(),
        status: row.status.map(|status| status.as_str().to_owned()),
        total_tokens: row.total_tokens,
        updated_at: row.updated_at_ms,
        gateway_id: source.id.0,
        gateway: source.name.to_owned(),
        kind: row.kind.clone(),
        context_tokens: row.context_tokens,
        message_count: row.message_count,
        cost: row.cost,
        label: row.label.clone(),
        as_of: source.as_of(),
    }
}

/// Change a setting of a session
#[utoipa::path(
    tag = "Sessions",
    params(ChangeQuery),
    request_body = ChangeBody,
    responses((status = 200, description = "The gateway did it", body = SessionDone), SessionErrors, GatewayErrors),
)]
#[post("/api/sessions")]
pub(crate) async fn change_session(
    by: Authorized<GatewayOperator>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let ChangeQuery { action } = read_query(&request)?;
    let mut fields = body.fields();
    let ChangeBody { session_key: key, level, label, gateway_id } = ChangeBody::read(&mut fields);
    let (field, value) = match action.as_str() {
        // A thinking level may be a word of the gateway's own.
        "set-thinking" => ("thinkingLevel", level.filter(|text| THINKING.contains(&&**text) || is_level_word(text))),
        "set-verbose" => ("verboseLevel", level.filter(|text| VERBOSE.contains(&&**text))),
        _ => ("label", None),
    };
    match (field, &value) {
        ("label", _) if label.is_none() && !fields.has("label") => {
            fields.wrong("label", "is missing: Label must be a text");
        }
        ("thinkingLevel", None) => {
            fields.wrong("level", format_args!("must be a thinking level: one of {}", THINKING.join(", ")));
        }
        ("verboseLevel", None) => {
            fields.wrong("level", format_args!("must be a verbose level: one of {}", VERBOSE.join(", ")));
        }
        _ => {}
    }
    fields.finish()?;
    let gateway = holder(&app, &key, gateway_id.map(GatewayId), by_number).await.map_err(|failure| match &value {
        // Only the gateway that holds the session could have known it.
        Some(level)
            if failure.code == ErrorCode::SessionNotFound
                && field == "thinkingLevel"
                && !THINKING.contains(&&**level) =>
        {
            let levels = THINKING.join(", ");
            invalid_field(
                "level",
                format_args!("must be a thinking level: one of {levels}, or one that the session's gateway lists"),
            )
        }
        _ => failure.into(),
    })?;
    if field == "thinkingLevel" {
        check_thinking(&app, &gateway, value.as_deref().unwrap_or_default()).await?;
    }
    let value = value.or(label.flatten());
    let params = json!({"key": key, field: value});
    let (result, _cover) = app.ask_gateway(&gateway, "sessions.patch", params).await?.into_parts();
    log(&by.caller, &action, &key, &gateway);
    Ok(HttpResponse::Ok().json(done(&action, key, gateway, result)))
}

/// Whether a text can be the name of a level at all.
fn is_level_word(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A level beyond the usual ones must be one that the gateway lists with its agents.
async fn check_thinking(app: &AppContext, gateway: &NamedGateway, level: &str) -> Result<(), ApiError> {
    if THINKING.contains(&level) {
        return Ok(());
    }
    let agents = app.ask_gateway(gateway, "agents.list", json!({})).await;
    let listed = agents.map(|agents| listed_levels(&agents)).unwrap_or_default();
    if listed.iter().any(|known| known == level) {
        return Ok(());
    }
    let beyond: Vec<&str> = listed.iter().map(String::as_str).filter(|known| !THINKING.contains(known)).collect();
    let known = THINKING.into_iter().chain(beyond).collect::<Vec<_>>().join(", ");
    Err(invalid_field("level", format_args!("must be a thinking level: one of {known}")))
}

/// The thinking levels that a list of agents names.
fn listed_levels(agents: &Value) -> Vec<String> {
    let mut levels: Vec<String> = Vec::new();
    let agents = agents.get("agents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for agent in agents {
        let options = agent.get("thinkingLevels").or_else(|| agent.get("thinkingOptions")).and_then(Value::as_array);
        for option in options.map(Vec::as_slice).unwrap_or_default() {
            let id = option.as_str().or_else(|| option.get("id")?.as_str()).filter(|id| is_level_word(id));
            if let Some(id) = id
                && levels.len() < 50
                && !levels.iter().any(|known| known == id)
            {
                levels.push(id.to_owned());
            }
        }
    }
    levels
}

/// Delete a session
#[utoipa::path(
    tag = "Sessions",
    request_body = DeleteBody,
    responses(
        (status = 200, description = "Whether the gateway deleted it", body = SessionDeleted), SessionErrors, GatewayErrors,
    ),
)]
#[delete("/api/sessions")]
pub(crate) async fn delete_session(by: Authorized<GatewayOperator>, app: App, body: JsonBody) -> Answer {
    let DeleteBody { session_key: key, gateway_id } = body.read()?;
    let gateway = holder(&app, &key, gateway_id.map(GatewayId), by_number).await?;
    let (result, _cover) = app.ask_gateway(&gateway, "sessions.delete", json!({"key": key})).await?.into_parts();
    let deleted = result.get("deleted").and_then(Value::as_bool).unwrap_or(true);
    log(&by.caller, "delete", &key, &gateway);
    Ok(HttpResponse::Ok().json(SessionDeleted { deleted, done: done("delete", key, gateway, result) }))
}

/// Pause, resume or kill what runs in a session
///
/// A kill with nothing running succeeds too; `result` has the gateway's words. Limited for each session.
#[utoipa::path(
    tag = "Sessions",
    params(SessionPath),
    request_body = ControlBody,
    responses((status = 200, description = "The gateway did it", body = SessionDone), SessionErrors, GatewayErrors),
)]
#[post("/api/sessions/{key}/control")]
pub(crate) async fn control_session(
    by: Authorized<Operator>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let key = session_key(&request)?;
    let body: ControlBody = body.read()?;
    let action = match body.action.as_str() {
        "pause" => SessionAction::Pause,
        "resume" => SessionAction::Resume,
        _ => SessionAction::Kill,
    };
    let gateway = holder(&app, &key, body.gateway_id.map(GatewayId), by_number).await?;
    // Counted only once it is clear which session is meant: keys that nobody holds take no place in the count.
    if let Some(counted) = app.limits.session_control(gateway.id.0, &key) {
        counted.settle(&request)?;
    }
    let timeout = app.settings.gateway_timeout;
    let message = ControlSessionAt { gateway: gateway.id, session_key: key.clone(), action, timeout };
    let answer = app.registry.control.send(message, app.gateway_patience()).await?;
    let (mut result, _cover) = answer.into_parts();
    hide_tokens(&mut result);
    log(&by.caller, action.as_str(), &key, &gateway);
    Ok(HttpResponse::Ok().json(done(action.as_str(), key, gateway, result)))
}

/// Say something in a session
///
/// Answered when the gateway has taken the message; what comes of it is in the history and the events. With the header
/// `Idempotency-Key` a repeat of the same message is not said twice.
#[utoipa::path(
    tag = "Sessions",
    params(
        SessionPath,
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters; else one is made"),
    ),
    request_body = MessageBody,
    responses((status = 202, description = "The gateway took it", body = MessageTaken), SessionErrors, GatewayErrors),
)]
#[post("/api/sessions/{key}/message")]
pub(crate) async fn send_session_message(
    by: Authorized<GatewayOperator>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let key = session_key(&request)?;
    let idempotency_key = idempotency_key(&request)?;
    let MessageBody { content, gateway_id } = body.read()?;
    let gateway = holder(&app, &key, gateway_id.map(GatewayId), by_number).await?;
    let (run_id, status) = say(&app, &by.caller, &gateway, &key, &content, &idempotency_key).await?;
    Ok(HttpResponse::Accepted().json(MessageTaken {
        success: true,
        run_id,
        status,
        idempotency_key,
        session: key,
        gateway: gateway.name,
        gateway_id: gateway.id.0,
    }))
}

/// Read what was said in a session
///
/// Asked of the gateway that holds the session.
#[utoipa::path(
    tag = "Sessions",
    params(SessionPath, SessionHistoryQuery),
    responses((status = 200, description = "Oldest first", body = SessionHistory), SessionErrors, GatewayErrors),
)]
#[get("/api/sessions/{key}/history")]
pub(crate) async fn read_session_history(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let key = session_key(&request)?;
    let SessionHistoryQuery { limit, gateway_id } = read_query(&request)?;
    let limit = limit.unwrap_or(50);
    let gateway = holder(&app, &key, gateway_id.map(GatewayId), by_number).await?;
    let reply = app.ask_gateway(&gateway, "chat.history", json!({"sessionKey": key, "limit": limit})).await?;
    let history = history::newest(&reply, limit);
    let (gateway_id, gateway) = (gateway.id.0, gateway.name);
    Ok(HttpResponse::Ok().json(SessionHistory { history, session: key, gateway, gateway_id }))
}

/// What the message is known by at the gateway: the header's, or else one of ours, so that the gateway takes it at most once
/// whatever happens on the way.
pub(crate) fn idempotency_key(request: &HttpRequest) -> Result<String, ApiError> {
    Ok(spawn::idempotency_key(request.headers())?.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()))
}

/// Says this in the session that the gateway holds. Answers the run that the message starts, and the gateway's word for it.
pub(crate) async fn say(
    app: &AppContext,
    caller: &Caller,
    gateway: &NamedGateway,
    key: &str,
    content: &str,
    idempotency_key: &str,
) -> Result<(Option<String>, Option<String>), Failure> {
    let params = json!({"sessionKey": key, "message": content, "idempotencyKey": idempotency_key});
    let reply = app.ask_gateway(gateway, "chat.send", params).await?;
    log(caller, "message sent", key, gateway);
    let text = |name: &str| reply.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok((text("runId"), text("status")))
}

/// The session key in the path, percent-encoded or not.
pub(crate) fn session_key(request: &HttpRequest) -> Result<String, ApiError> {
    let text: Option<String> = request.match_info().load().ok();
    let text = text.ok_or_else(|| invalid("The session key in the path is not valid text"))?;
    match session_key_problem(&text) {
        None => Ok(text),
        Some(what) => Err(invalid(format!("The session key {what}"))),
    }
}

/// The gateway that holds a session; `only` where the caller names it. Failures name gateways by `id_of`, as the caller has to.
///
/// The session of a spawn that has not ended is known before its gateway lists it, which takes seconds on a release without
/// events of sessions.
pub(crate) async fn holder(
    app: &AppContext,
    key: &str,
    only: Option<GatewayId>,
    id_of: impl Fn(GatewayId) -> Value,
) -> Result<NamedGateway, Failure> {
    let listed = known::holder(&KnownSessions::read(&app.roster).sources(), key, only, id_of);
    let (Err(failure), Some(id)) = (&listed, spawn_of_session(key)) else { return listed };
    if failure.code != ErrorCode::SessionNotFound || uuid::Uuid::parse_str(id).is_err() {
        return listed;
    }
    let open = app.store.find_spawn(id.to_owned()).await?.filter(|spawn| spawn.completed_at_ms.is_none());
    let Some(spawn) = open.filter(|spawn| spawn.session_key.as_deref() == Some(key)) else { return listed };
    match spawn.gateway_id.filter(|id| only.is_none_or(|only| only == *id)) {
        Some(id) => Ok(NamedGateway { id, name: spawn.gateway_name.unwrap_or_default() }),
        None => listed,
    }
}

/// As `gateway_id` of a body names it.
fn by_number(id: GatewayId) -> Value {
    json!(id)
}

fn done(action: &str, session: String, gateway: NamedGateway, result: Value) -> SessionDone {
    let (gateway, gateway_id) = (gateway.name, gateway.id.0);
    SessionDone { success: true, action: action.to_owned(), session, gateway, gateway_id, result }
}

/// One line for each change: who, what, which session, where.
fn log(caller: &Caller, what: &str, session: &str, gateway: &NamedGateway) {
    tracing::info!(
        caller.key = caller.key.name,
        caller.role = caller.key.role.as_str(),
        session.key = session,
        gateway.id = gateway.id.0,
        gateway.name = gateway.name,
        "session: {what}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_of_a_gateway_are_read_in_both_spellings() {
        let agents = json!({"agents": [
            {"id": "main", "thinkingLevels": [{"id": "off", "label": "off"}, {"id": "adaptive", "label": "Adaptive"}]},
            {"id": "other", "thinkingOptions": ["off", "max", "not a word", 5]},
            {"id": "plain"},
        ]});
        assert_eq!(listed_levels(&agents), ["off", "adaptive", "max"]);
        assert!(listed_levels(&json!({"agents": "none"})).is_empty());
        assert!(listed_levels(&Value::Null).is_empty());
    }
}
