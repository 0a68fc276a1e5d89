//! Whether a gateway can be worked with: a stored one by what is known of it, or one that is only named by its URL, which is
//! dialled for admins. And the commands that it offers to the people who talk with it.

use actix_web::{HttpRequest, HttpResponse, get};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_actors::store::records::Role;
use gatewarden_api::gateway_record::MAX_TOKEN;
use gatewarden_api::organization::{DialQuery, GatewayCommands, GatewayQuery, GatewayStatus};
use gatewarden_api::pages::Page;
use gatewarden_api::request::Request as _;
use gatewarden_api::responses::{GatewayErrors, NoGateway};
use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use super::gateways::by_query_or_acting;
use super::sessions;
use crate::http::auth::{Authorized, GatewayViewer, check_own_page};
use crate::http::context::{App, AppContext};
use crate::http::error::{Answer, ApiError, invalid};
use crate::http::gateway_calls::{NamedGateway, hide_tokens};
use crate::http::gateways::record;
use crate::http::input::{query, read_query};
use crate::provisioning::creation;

/// Carries the token of a dial: a query would end up in logs.
const TOKEN_HEADER: &str = "x-gateway-token";
/// Sessions that are shown.
const SESSIONS: usize = 50;

/// Read a gateway's status
///
/// Of the gateway that `gateway_id` names, else of the acting primary, from what is known. With `gateway_url` the gateway there is
/// dialled (admins only) without being registered; its token, if it wants one, goes into the header `X-Gateway-Token`.
#[utoipa::path(
    tag = "Organization",
    params(
        GatewayQuery, DialQuery,
        ("X-Gateway-Token" = Option<String>, Header, description = "With gateway_url: the gateway's token"),
    ),
    responses((status = 200, description = "Connected or not, and why not", body = GatewayStatus), NoGateway),
)]
#[get("/api/v1/gateways/status")]
pub(crate) async fn organization_gateway_status(
    by: Authorized<GatewayViewer>,
    app: App,
    request: HttpRequest,
) -> Answer {
    let query = query(&request);
    let mut fields = query.fields();
    if fields.value("gateway_token").is_some() || fields.value("token").is_some() {
        return Err(invalid("A token never goes into a query, which ends up in logs: use the header X-Gateway-Token"));
    }
    let (named, dial) = <(GatewayQuery, DialQuery)>::read(&mut fields);
    let Some(url) = dial.gateway_url else {
        fields.finish()?;
        let view = by_query_or_acting(&app, named.gateway_id.as_deref())?;
        return Ok(HttpResponse::Ok().json(of_stored(&app, &view)));
    };
    // A page of somebody else must not make an admin's browser dial where it says.
    check_own_page(&request, &by.caller)?;
    if named.gateway_id.is_some() {
        fields.wrong("gateway_url", "and gateway_id exclude each other");
    }
    let address = record::parse_url(&url).map_err(|what| fields.wrong("gateway_url", what));
    fields.finish()?;
    if !by.caller.is_at_least(Role::Admin) {
        let failure = Failure::new(
            ErrorCode::Forbidden,
            "Dialling a gateway that is not registered needs a key with the role admin",
        );
        return Err(failure.with_help("Name a registered gateway with gateway_id instead.").into());
    }
    let address = match address {
        Ok(Ok(address)) => address,
        Ok(Err(fault)) => {
            let sentence = fault.to_string().replacen("host", "gateway_url", 1);
            return Err(Failure::new(ErrorCode::AddressForbidden, sentence).into());
        }
        Err(()) => return Err(invalid("gateway_url is not usable")),
    };
    if address.query_token.is_some() {
        return Err(invalid("gateway_url holds a token, and a query ends up in logs: use the header X-Gateway-Token"));
    }
    let token = token(&request)?;
    let gateway_url = address.host_text.clone();
    let (insecure, pairing) = (dial.gateway_allow_insecure_tls, dial.gateway_disable_device_pairing);
    let new = record::to_dial(gateway_url.clone(), Some(address), token, insecure, pairing);
    let dialled = creation::dial(app.clone(), new).await?;
    let connected = dialled.failure.is_none();
    let (error, code, help) = match dialled.failure {
        None => (None, None, None),
        Some(failure) => (Some(failure.message), Some(failure.code.as_str().to_owned()), failure.help),
    };
    let mut rows = dialled.sessions;
    rows.iter_mut().flatten().for_each(hide_tokens);
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
    let text = value.to_str().ok().filter(|text| text.len() <= MAX_TOKEN);
    let text = text.ok_or_else(|| invalid("The header X-Gateway-Token is not a token of at most 4096 characters"))?;
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

fn of_stored(app: &AppContext, view: &GatewayView) -> GatewayStatus {
    let (stored, report) = (&view.record, &view.report);
    let connected = report.is_usable();
    let (rows, total) = sessions::listed(app, Some(stored.id), Page { limit: SESSIONS, offset: 0 });
    let problem = report.last_error.as_ref().filter(|_| !connected);
    GatewayStatus {
        connected,
        gateway_url: record::url_of(stored),
        gateway_id: Some(stored.uuid.clone()),
        status: report.status.as_str().to_owned(),
        version: report.version.clone(),
        sessions_count: Some(total),
        main_session: sessions::main_session(app, view),
        sessions: Some(rows),
        error: problem.map(|problem| problem.message.clone()).or_else(|| {
            (!connected).then(|| format!("Gateway \"{}\" is not connected ({})", stored.name, report.phase.as_str()))
        }),
        code: problem.map(|problem| problem.code.clone()),
        help: problem.map(|problem| problem.help.clone()),
    }
}

/// List a gateway's commands
///
/// Of the gateway that `gateway_id` names, else of the acting primary. A release that can't list them is a 501 that names it.
#[utoipa::path(
    tag = "Organization",
    params(GatewayQuery),
    responses((status = 200, description = "The commands", body = GatewayCommands), NoGateway, GatewayErrors),
)]
#[get("/api/v1/gateways/commands")]
pub(crate) async fn organization_list_commands(
    _by: Authorized<GatewayViewer>,
    app: App,
    request: HttpRequest,
) -> Answer {
    let asked: GatewayQuery = read_query(&request)?;
    let view = by_query_or_acting(&app, asked.gateway_id.as_deref())?;
    let gateway = NamedGateway { id: view.record.id, name: view.record.name.clone() };
    let reply = app.ask_gateway(&gateway, "commands.list", json!({})).await?;
    let commands = reply.get("commands").or(Some(&reply)).and_then(Value::as_array).cloned().ok_or_else(|| {
        Failure::new(
            ErrorCode::GatewayRefused,
            format!("Gateway \"{}\" answered commands.list with something that is no list", gateway.name),
        )
        .with_help("Look at its version and its log.")
    })?;
    Ok(HttpResponse::Ok().json(GatewayCommands {
        gateway_id: view.record.uuid.clone(),
        protocol_version: view.report.protocol,
        version: view.report.version.clone(),
        commands,
    }))
}
