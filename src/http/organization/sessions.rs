//! `GET /api/v1/gateways/sessions`: the sessions of one gateway or of all, as this API shows them.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_protocol::wall_time;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::named;
use crate::http::auth::{By, GatewayViewer};
use crate::http::error::{ApiError, ErrorBody, KeyErrors};
use crate::http::front::Front;
use crate::http::query::{Page, Query};
use crate::http::sessions::known::{KnownSessions, Source};
use crate::http::sessions::merge::{self, Found, Wanted};
use crate::http::sessions::session_object::Session;

/// A page of sessions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationSessions {
    /// As in `/api/sessions`, but with the gateway's UUID as `gateway_id` and with RFC 3339 times.
    #[schema(value_type = Vec<Object>)]
    pub sessions: Vec<Value>,
    /// The session of the gateway's main agent, where one gateway was asked for and has one.
    #[schema(value_type = Option<Object>)]
    pub main_session: Option<Value>,
    /// How many there are.
    pub total: usize,
    /// Largest size of the page.
    pub limit: usize,
    /// How many come before the page.
    pub offset: usize,
}

/// List sessions
#[utoipa::path(
    operation_id = "organization_list_sessions",
    tag = "Organization",
    params(
        ("gateway_id" = Option<String>, Query, description = "Only of this gateway: its UUID"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
        ("offset" = Option<u64>, Query, description = "After so many; not together with page"),
        ("page" = Option<u64>, Query, description = "From 1", minimum = 1),
    ),
    responses(
        (status = 200, description = "Newest first", body = OrganizationSessions),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/v1/gateways/sessions")]
pub(crate) async fn list(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let page = Page::read(&mut query).unwrap_or(Page { limit: 50, offset: 0 });
    let only = named::by_query(&front, &query)?;
    query.problems.into_result()?;
    let listed = match &only {
        Some(view) => of_gateway(&front, view, page),
        None => listed(&front, None, page),
    };
    Ok(HttpResponse::Ok().json(OrganizationSessions {
        sessions: listed.rows,
        main_session: only.and_then(|view| main_session(&front, &view)),
        total: listed.total,
        limit: page.limit,
        offset: page.offset,
    }))
}

/// A page of rows.
pub struct Listed {
    /// The rows.
    pub rows: Vec<Value>,
    /// How many there are in all.
    pub total: usize,
}

/// The sessions of one gateway.
pub fn of_gateway(front: &Front, view: &Arc<GatewayView>, page: Page) -> Listed {
    listed(front, Some(view.record.id), page)
}

fn listed(front: &Front, only: Option<GatewayId>, page: Page) -> Listed {
    let known = KnownSessions::read(&front.app.roster);
    let sources: Vec<Source<'_>> =
        known.sources().into_iter().filter(|source| only.is_none_or(|only| source.id == only)).collect();
    let (found, total) = merge::merge(&sources, Wanted::default(), page);
    Listed { rows: found.iter().filter_map(|found| shown(front, found)).collect(), total }
}

/// One session of one gateway, where it is known.
pub fn one(front: &Front, gateway: GatewayId, key: &str) -> Option<Value> {
    let known = KnownSessions::read(&front.app.roster);
    let sources = known.sources();
    let source = sources.iter().find(|source| source.id == gateway)?;
    let row = source.sessions.rows.iter().find(|row| row.key == key)?;
    shown(front, &Found { source, row })
}

/// The main session of the gateway's main agent, where it is known.
pub fn main_session(front: &Front, view: &GatewayView) -> Option<Value> {
    let agent = view.record.gateway_agent_id.as_ref()?;
    one(front, view.record.id, &format!("agent:{agent}:main"))
}

/// The row of `/api/sessions` in the terms of this API.
fn shown(front: &Front, found: &Found<'_>) -> Option<Value> {
    let uuid = front.app.roster.get(found.source.id)?.record.uuid.clone();
    let mut row = serde_json::to_value(Session::of(found)).ok()?;
    let map = row.as_object_mut()?;
    map.insert("gateway_id".to_owned(), json!(uuid));
    let millis = map.get("updatedAt").and_then(Value::as_i64);
    map.insert("updatedAt".to_owned(), json!(millis.map(wall_time::of_millis)));
    let seconds = map.get("as_of").and_then(Value::as_i64);
    map.insert("as_of".to_owned(), json!(seconds.map(wall_time::of_seconds)));
    Some(row)
}
