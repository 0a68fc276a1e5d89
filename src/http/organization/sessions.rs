//! `/api/v1/gateways/sessions`: the sessions of one gateway or of all as this API shows them; of one, what was said in it, and
//! something more to say.

use actix_web::{HttpRequest, HttpResponse, get, post};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_api::organization::{
    GatewayQuery, HistoryLimitQuery, OrganizationHistory, OrganizationMessageTaken, OrganizationSession,
    OrganizationSessions,
};
use gatewarden_api::pages::{Page, PageQuery};
use gatewarden_api::responses::{GatewayErrors, NoGateway, SessionErrors};
use gatewarden_api::sessions::OrganizationMessage;
use gatewarden_protocol::wall_time;
use serde_json::{Value, json};

use super::gateways::by_query;
use crate::http::auth::{Authorized, GatewayAdmin, GatewayViewer};
use crate::http::context::{App, AppContext};
use crate::http::error::{Answer, ApiError};
use crate::http::gateway_calls::NamedGateway;
use crate::http::input::{JsonBody, SessionPath, read_query};
use crate::http::sessions::known::{Found, KnownSessions, Source, Wanted, merge};
use crate::http::sessions::{self, history};

/// List sessions
#[utoipa::path(
    tag = "Organization",
    params(GatewayQuery, PageQuery),
    responses((status = 200, description = "Newest first", body = OrganizationSessions), NoGateway),
)]
#[get("/api/v1/gateways/sessions")]
pub(crate) async fn organization_list_sessions(
    _by: Authorized<GatewayViewer>,
    app: App,
    request: HttpRequest,
) -> Answer {
    let (asked, page): (GatewayQuery, PageQuery) = read_query(&request)?;
    let page = page.page();
    let only = by_query(&app, asked.gateway_id.as_deref())?;
    let (sessions, total) = listed(&app, only.as_ref().map(|view| view.record.id), page);
    Ok(HttpResponse::Ok().json(OrganizationSessions {
        sessions,
        main_session: only.and_then(|view| main_session(&app, &view)),
        part: page.of(total),
    }))
}

/// Read one session
#[utoipa::path(
    tag = "Organization",
    params(SessionPath, GatewayQuery),
    responses((status = 200, description = "The session", body = OrganizationSession), SessionErrors),
)]
#[get("/api/v1/gateways/sessions/{key}")]
pub(crate) async fn organization_read_session(
    _by: Authorized<GatewayViewer>,
    app: App,
    request: HttpRequest,
) -> Answer {
    let (key, gateway) = find(&app, &request).await?;
    let session = one(&app, gateway.id, &key).ok_or_else(|| {
        Failure::new(ErrorCode::SessionNotFound, format!("Gateway \"{}\" holds no session \"{key}\"", gateway.name))
    })?;
    Ok(HttpResponse::Ok().json(OrganizationSession { session }))
}

/// Read what was said in a session
#[utoipa::path(
    tag = "Organization",
    params(SessionPath, GatewayQuery, HistoryLimitQuery),
    responses((status = 200, description = "Oldest first", body = OrganizationHistory), SessionErrors, GatewayErrors),
)]
#[get("/api/v1/gateways/sessions/{key}/history")]
pub(crate) async fn organization_read_session_history(
    _by: Authorized<GatewayViewer>,
    app: App,
    request: HttpRequest,
) -> Answer {
    let limit = read_query::<HistoryLimitQuery>(&request)?.limit.unwrap_or(50);
    let (key, gateway) = find(&app, &request).await?;
    let reply = app.ask_gateway(&gateway, "chat.history", json!({"sessionKey": key, "limit": limit})).await?;
    let entries = history::newest(&reply, limit);
    let history = entries.iter().filter_map(|entry| {
        let mut shown = serde_json::to_value(entry).ok()?;
        shown.as_object_mut()?.insert("timestamp".to_owned(), json!(entry.timestamp.map(wall_time::of_millis)));
        Some(shown)
    });
    Ok(HttpResponse::Ok().json(OrganizationHistory { history: history.collect() }))
}

/// Say something in a session
///
/// With the header `Idempotency-Key` a repeat of the same message is not said twice.
#[utoipa::path(
    tag = "Organization",
    params(
        SessionPath, GatewayQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters; else one is made"),
    ),
    request_body = OrganizationMessage,
    responses(
        (status = 200, description = "The gateway took it", body = OrganizationMessageTaken), SessionErrors, GatewayErrors,
    ),
)]
#[post("/api/v1/gateways/sessions/{key}/message")]
pub(crate) async fn organization_send_session_message(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let idempotency_key = sessions::idempotency_key(&request)?;
    let OrganizationMessage { content } = body.read()?;
    let (key, gateway) = find(&app, &request).await?;
    let (run_id, _) = sessions::say(&app, &by.caller, &gateway, &key, &content, &idempotency_key).await?;
    Ok(HttpResponse::Ok().json(OrganizationMessageTaken { ok: true, run_id, idempotency_key }))
}

/// The session of the path, and the gateway that holds it.
async fn find(app: &AppContext, request: &HttpRequest) -> Result<(String, NamedGateway), ApiError> {
    let key = sessions::session_key(request)?;
    let asked: GatewayQuery = read_query(request)?;
    let only = by_query(app, asked.gateway_id.as_deref())?.map(|view| view.record.id);
    let uuid_of = |id| json!(app.roster.get(id).map(|view| view.record.uuid.clone()));
    let gateway = sessions::holder(app, &key, only, uuid_of).await?;
    Ok((key, gateway))
}

/// A page of the sessions of one gateway or of all, and how many there are.
pub(crate) fn listed(app: &AppContext, only: Option<GatewayId>, page: Page) -> (Vec<Value>, usize) {
    let known = KnownSessions::read(&app.roster);
    let sources: Vec<Source<'_>> =
        known.sources().into_iter().filter(|source| only.is_none_or(|only| source.id == only)).collect();
    let (found, total) = merge(&sources, Wanted::default(), page);
    (found.iter().filter_map(|found| shown(app, found)).collect(), total)
}

/// One session of one gateway, where it is known.
fn one(app: &AppContext, gateway: GatewayId, key: &str) -> Option<Value> {
    let known = KnownSessions::read(&app.roster);
    let sources = known.sources();
    let source = sources.iter().find(|source| source.id == gateway)?;
    let row = source.sessions.rows.iter().find(|row| row.key == key)?;
    shown(app, &Found { source, row })
}

/// The main session of the gateway's main agent, where it is known.
pub(crate) fn main_session(app: &AppContext, view: &GatewayView) -> Option<Value> {
    let agent = view.record.gateway_agent_id.as_ref()?;
    one(app, view.record.id, &format!("agent:{agent}:main"))
}

/// The row of `/api/sessions` in the terms of this API.
fn shown(app: &AppContext, found: &Found<'_>) -> Option<Value> {
    let uuid = app.roster.get(found.source.id)?.record.uuid.clone();
    let mut row = serde_json::to_value(sessions::shown(found)).ok()?;
    let map = row.as_object_mut()?;
    map.insert("gateway_id".to_owned(), json!(uuid));
    let millis = map.get("updatedAt").and_then(Value::as_i64);
    map.insert("updatedAt".to_owned(), json!(millis.map(wall_time::of_millis)));
    let seconds = map.get("as_of").and_then(Value::as_i64);
    map.insert("as_of".to_owned(), json!(seconds.map(wall_time::of_seconds)));
    Some(row)
}
