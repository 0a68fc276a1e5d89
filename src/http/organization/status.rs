//! `GET /api/v1/gateways/status`: whether a gateway can be worked with. A stored one by what is known of it, or one that is only
//! named by its URL, which is dialled for admins.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_actors::store::records::Role;
use gatewarden_protocol::Secret;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{creation, gateway_read, input, named, sessions};
use crate::http::auth::{By, GatewayViewer, check_own_page};
use crate::http::error::{ApiError, ErrorBody, KeyErrors, invalid};
use crate::http::front::Front;
use crate::http::query::{Page, Query};

/// Carries the token of a dial: a query would end up in logs.
const TOKEN_HEADER: &str = "x-gateway-token";
/// Longest token, characters.
const LONGEST_TOKEN: usize = 4_096;
/// Sessions that are shown.
const SESSIONS: usize = 50;

/// Whether a gateway can be worked with.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayStatus {
    /// Whether it is connected and authenticated.
    pub connected: bool,
    /// Which gateway, without any token.
    pub gateway_url: String,
    /// Its UUID, where it is registered.
    pub gateway_id: Option<String>,
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`; of a dial `online` or `offline`.
    pub status: String,
    /// Its release, where known.
    pub version: Option<String>,
    /// Sessions, where known.
    pub sessions_count: Option<usize>,
    /// The newest 50 of them.
    #[schema(value_type = Option<Vec<Object>>)]
    pub sessions: Option<Vec<Value>>,
    /// The session of the main agent, where there is one.
    #[schema(value_type = Option<Object>)]
    pub main_session: Option<Value>,
    /// Why not, in one sentence.
    pub error: Option<String>,
    /// Stable code of that.
    pub code: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// Read a gateway's status
///
/// Of the gateway that `gateway_id` names, else of the acting primary, from what is known. With `gateway_url` the gateway there is
/// dialled (admins only) without being registered; its token, if it wants one, goes into the header `X-Gateway-Token`.
#[utoipa::path(
    operation_id = "organization_gateway_status",
    tag = "Organization",
    params(
        ("gateway_id" = Option<String>, Query, description = "The gateway's UUID"),
        ("gateway_url" = Option<String>, Query, description = "ws or wss URL to dial instead, without a token"),
        ("gateway_allow_insecure_tls" = Option<bool>, Query, description = "With gateway_url: take any certificate"),
        ("gateway_disable_device_pairing" = Option<bool>, Query, description = "With gateway_url: control-UI mode"),
        ("X-Gateway-Token" = Option<String>, Header, description = "With gateway_url: the gateway's token"),
    ),
    responses(
        (status = 200, description = "Connected or not, and why not", body = GatewayStatus),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/v1/gateways/status")]
pub(crate) async fn status(
    by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    if query.value("gateway_token").is_some() || query.value("token").is_some() {
        return Err(invalid("A token never goes into a query, which ends up in logs: use the header X-Gateway-Token"));
    }
    let insecure = query.flag("gateway_allow_insecure_tls").unwrap_or(false);
    let control_ui = query.flag("gateway_disable_device_pairing").unwrap_or(false);
    let url = query.value("gateway_url").map(str::to_owned);
    let Some(url) = url else {
        query.problems.into_result()?;
        let query = Query::parse(request.query_string());
        let view = named::by_query_or_acting(&front, &query)?;
        return Ok(HttpResponse::Ok().json(of_stored(&front, &view)));
    };
    // A page of somebody else must not make an admin's browser dial where it says.
    check_own_page(&request, &by.caller)?;
    if query.value("gateway_id").is_some() {
        query.problems.add("gateway_url", "gateway_url and gateway_id exclude each other");
    }
    let parsed =
        input::parse_url(&url).map_err(|what| query.problems.add("gateway_url", format!("gateway_url {what}")));
    query.problems.into_result()?;
    if !by.caller.is_at_least(Role::Admin) {
        let failure = Failure::new(
            ErrorCode::Forbidden,
            "Dialling a gateway that is not registered needs a key with the role admin",
        );
        return Err(failure.with_help("Name a registered gateway with gateway_id instead.").into());
    }
    let parsed = match parsed {
        Ok(Ok(parsed)) => parsed,
        Ok(Err(fault)) => {
            let sentence = fault.to_string().replacen("host", "gateway_url", 1);
            return Err(Failure::new(ErrorCode::AddressForbidden, sentence).into());
        }
        Err(()) => return Err(invalid("gateway_url is not usable")),
    };
    if parsed.url_token.is_some() {
        return Err(invalid("gateway_url holds a token, and a query ends up in logs: use the header X-Gateway-Token"));
    }
    let token = token(&request)?;
    let gateway_url = parsed.host_text.clone();
    let new = input::to_dial(gateway_url.clone(), parsed, token, insecure, control_ui);
    let dialled = creation::dial(front.clone(), new).await?;
    let connected = dialled.failure.is_none();
    let (error, code, help) = match dialled.failure {
        None => (None, None, None),
        Some(failure) => (Some(failure.message), Some(failure.code.as_str().to_owned()), failure.help),
    };
    let mut rows = dialled.sessions;
    rows.iter_mut().flatten().for_each(crate::http::nodes::hide_tokens);
    Ok(HttpResponse::Ok().json(GatewayStatus {
        connected,
        gateway_url,
        gateway_id: None,
        status: if connected { "online" } else { "offline" }.to_owned(),
        version: dialled.version,
        sessions_count: rows.as_ref().map(Vec::len),
        sessions: rows,
        main_session: None,
        error,
        code,
        help,
    }))
}

fn token(request: &HttpRequest) -> Result<Option<Secret>, ApiError> {
    let Some(value) = request.headers().get(TOKEN_HEADER) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST_TOKEN);
    let text = text.ok_or_else(|| invalid("The header X-Gateway-Token is not a token of at most 4096 characters"))?;
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

fn of_stored(front: &Front, view: &Arc<GatewayView>) -> GatewayStatus {
    let (record, report) = (&view.record, &view.report);
    let connected = report.is_usable();
    let listed = sessions::of_gateway(front, view, Page { limit: SESSIONS, offset: 0 });
    let problem = report.last_error.as_ref().filter(|_| !connected);
    GatewayStatus {
        connected,
        gateway_url: gateway_read::url_of(record),
        gateway_id: Some(record.uuid.clone()),
        status: report.status.as_str().to_owned(),
        version: report.version.clone(),
        sessions_count: Some(listed.total),
        main_session: sessions::main_session(front, view),
        sessions: Some(listed.rows),
        error: problem.map(|problem| problem.message.clone()).or_else(|| {
            (!connected).then(|| format!("Gateway \"{}\" is not connected ({})", record.name, report.phase.as_str()))
        }),
        code: problem.map(|problem| problem.code.clone()),
        help: problem.map(|problem| problem.help.clone()),
    }
}
