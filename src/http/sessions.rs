//! `/api/sessions`: the sessions of all gateways in one list, and what can be done with one of them.

pub mod change;
pub mod control;
pub mod history;
pub mod holder;
pub mod known;
pub mod merge;
pub mod message;
pub mod passing;
pub mod session_key;
pub mod session_object;

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::error::Failure;
use gatewarden_protocol::sessions::SessionStatus;

use self::known::{KnownSessions, Source};
use self::merge::Wanted;
use self::session_object::{GatewayAge, Session, SessionList};
use super::auth::{By, GatewayViewer};
use super::error::{ApiError, ErrorBody, KeyErrors};
use super::front::Front;
use super::query::{Page, Query};

/// List sessions
///
/// From what the gateways have told, without asking them: `as_of`, `complete` and `reachable` say how fresh that is.
#[utoipa::path(
    operation_id = "list_sessions",
    tag = "Sessions",
    params(
        ("agent" = Option<String>, Query, description = "Only of this agent, by its name on the gateway"),
        ("gateway" = Option<String>, Query, description = "Only of this gateway, by its id or its name"),
        ("status" = Option<String>, Query, description = "Only with this status: active, paused or completed"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
        ("offset" = Option<u64>, Query, description = "After so many; not together with page"),
        ("page" = Option<u64>, Query, description = "From 1", minimum = 1),
        ("gateways" = Option<bool>, Query, description = "false leaves the list of gateways out"),
    ),
    responses(
        (status = 200, description = "A page of sessions, newest first", body = SessionList),
        (status = 404, description = "No gateway has this id or name", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/sessions")]
pub(crate) async fn list(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let page = Page::read(&mut query).unwrap_or(Page { limit: 50, offset: 0 });
    let agent = query.text("agent", 1..=512);
    let gateway = query.text("gateway", 1..=200);
    let status = read_status(&mut query);
    let with_gateways = query.flag("gateways").unwrap_or(true);
    query.problems.into_result()?;
    let known = KnownSessions::read(&front.app.roster);
    let sources = known.sources();
    let looked_at: &[Source<'_>] = match &gateway {
        None => &sources,
        Some(text) => {
            std::slice::from_ref(known::named(&sources, text).ok_or_else(|| Failure::gateway_not_found(text))?)
        }
    };
    let (found, total) = merge::merge(looked_at, Wanted { agent: agent.as_deref(), status }, page);
    Ok(HttpResponse::Ok().json(SessionList {
        sessions: found.iter().map(Session::of).collect(),
        total,
        gateways: with_gateways.then(|| looked_at.iter().map(GatewayAge::of).collect()),
    }))
}

fn read_status(query: &mut Query) -> Option<SessionStatus> {
    let text = query.value("status")?;
    let all = [SessionStatus::Active, SessionStatus::Paused, SessionStatus::Completed];
    let status = all.into_iter().find(|status| status.as_str() == text);
    if status.is_none() {
        query.problems.add("status", "status must be one of active, paused, completed");
    }
    status
}
