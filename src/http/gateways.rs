//! `/api/gateways`: register, list, change, steer and delete gateways.

pub(crate) mod check;
pub(crate) mod discover;
pub(crate) mod health;
pub(crate) mod latency;
pub(crate) mod logs;
pub(crate) mod record;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, ContentType, ETag, EntityTag, Header as _, IfMatch, TryIntoHeaderValue as _};
use actix_web::{HttpRequest, HttpResponse, delete, get, post, put};
use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway_record::GatewayRecord;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::processes::messages::{OrderProcess, ProcessAction};
use gatewarden_actors::registry::messages::ReconnectGateway;
use gatewarden_actors::registry::records::{CreateGateway, DeleteGateway, UpdateGateway};
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_actors::store::records::Role;
use gatewarden_api::ErrorBody;
use gatewarden_api::gateway_record::{ChangeGatewayBody, GatewayAnswer, GatewayFields, GatewayList, NewGatewayBody};
use gatewarden_api::gateways::{
    Deleted, GatewayAddressAnswer, GatewayChoiceBody, GatewayChoiceQuery, GatewayIdBody, Process, ProcessAnswer,
    ProcessBody,
};
use gatewarden_api::pages::PartQuery;
use gatewarden_api::responses::NoGateway;

use super::auth::{Authorized, Caller, GatewayAdmin, GatewayOperator, GatewayViewer};
use super::context::{App, AppContext};
use super::error::{Answer, ApiError, invalid};
use super::fleet::knows;
use super::input::{GatewayPath, JsonBody, OptionalJsonBody, one_of, path_id, read_query};
use super::peer::is_https;
use super::process_view;

/// Beyond the time that stop and verification of a process may take.
const PROCESS_MARGIN: Duration = Duration::from_secs(10);

/// List all gateways
///
/// Complete unless `limit`, `offset` or `page` is given.
#[utoipa::path(
    tag = "Gateways",
    params(PartQuery, ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer")),
    responses(
        (status = 200, description = "The gateways", body = GatewayList, headers(("ETag" = String, description = "Of this state"))),
        (status = 304, description = "Nothing has changed since the answer with that `ETag`"),
    ),
)]
#[get("/api/gateways")]
pub(crate) async fn list_gateways(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let page = if request.query_string().is_empty() { None } else { read_query::<PartQuery>(&request)?.page() };
    // The version first: what changes in between makes the answer look too old, never too new.
    let tag = EntityTag::new_weak(format!("{}-{:x}", app.run, app.roster.version()));
    if knows(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header(ETag(tag)).finish());
    }
    let body = match page {
        None => app.list.complete(&app.roster),
        Some(page) => record::part(&app.roster, page),
    };
    Ok(HttpResponse::Ok().insert_header(ETag(tag)).content_type(ContentType::json()).body(body))
}

/// Register a gateway
///
/// It is stored before it is answered; the connection is made afterwards.
#[utoipa::path(
    tag = "Gateways",
    request_body = NewGatewayBody,
    responses(
        (
            status = 201, description = "Stored", body = GatewayAnswer,
            headers(("Location" = String, description = "Path of the gateway: `/api/gateways/{id}`")),
        ),
        (status = 409, description = "Another gateway has this name", body = ErrorBody),
        (status = 501, description = "Units of users are not managed", body = ErrorBody),
    ),
)]
#[post("/api/gateways")]
pub(crate) async fn create_gateway(by: Authorized<GatewayAdmin>, app: App, body: JsonBody) -> Answer {
    let new = record::new_gateway(body.fields(), &app.process_settings)?;
    let (view, agents_registered) = app.ask(&app.registry.create, CreateGateway(new)).await?;
    by.acts_on(view.record.id);
    log(&by.caller, "created", &view);
    let mut response = HttpResponse::Created();
    response.insert_header(("Location", format!("/api/gateways/{}", view.record.id)));
    Ok(response.content_type(ContentType::json()).body(answer_body(&app, &view, Some(agents_registered), None)))
}

/// Change a gateway
#[utoipa::path(
    tag = "Gateways",
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of the gateway that the change was decided by: it is made only while nobody has set anything else")),
    request_body = ChangeGatewayBody,
    responses(
        (
            status = 200, description = "Stored", body = GatewayAnswer,
            headers(("ETag" = String, description = "Of what is set of it now")),
        ),
        NoGateway,
        (status = 409, description = "Another gateway has this name", body = ErrorBody),
        (status = 412, description = "The gateway was changed since", body = ErrorBody),
    ),
)]
#[put("/api/gateways")]
pub(crate) async fn update_gateway(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let GatewayIdBody { id } = body.read_ahead()?;
    update(&by.caller, &app, GatewayId(id), &request, &body).await
}

/// Delete a gateway
///
/// The id is in the body, in the query or in the path. The configured primary can't be deleted.
#[utoipa::path(
    tag = "Gateways",
    params(GatewayChoiceQuery),
    request_body(content = Option<GatewayChoiceBody>, description = "May be left out where the query has the id"),
    responses((status = 200, description = "Whether there was one", body = Deleted)),
)]
#[delete("/api/gateways")]
pub(crate) async fn delete_gateway(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Answer {
    let from_query = read_query::<GatewayChoiceQuery>(&request)?.id;
    let id = one_of(body.read::<GatewayChoiceBody>()?.id, from_query, "id")?;
    delete(&by.caller, &app, GatewayId(id)).await
}

/// Read one gateway
#[utoipa::path(
    tag = "Gateways",
    params(GatewayPath),
    responses(
        (
            status = 200, description = "The gateway", body = GatewayAnswer,
            headers(("ETag" = String, description = "Of what is set of it, not of what is observed; for `If-Match` of a change")),
        ),
        NoGateway,
    ),
)]
#[get("/api/gateways/{id}")]
pub(crate) async fn read_gateway(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let view = app.gateway(gateway_id(&request)?)?;
    let mut answer = one_gateway(&view);
    set_tag(&app, &view, &mut answer);
    Ok(answer)
}

/// Change the gateway of the path
#[utoipa::path(
    tag = "Gateways",
    params(GatewayPath, ("If-Match" = Option<String>, Header, description = "The `ETag` of the gateway that the change was decided by: it is made only while nobody has set anything else")),
    request_body = GatewayFields,
    responses(
        (
            status = 200, description = "Stored", body = GatewayAnswer,
            headers(("ETag" = String, description = "Of what is set of it now")),
        ),
        NoGateway,
        (status = 409, description = "Another gateway has this name", body = ErrorBody),
        (status = 412, description = "The gateway was changed since", body = ErrorBody),
    ),
)]
#[put("/api/gateways/{id}")]
pub(crate) async fn update_gateway_by_path(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let id = gateway_id(&request)?;
    one_of(body.read_ahead::<GatewayChoiceBody>()?.id, Some(id.0), "id")?;
    update(&by.caller, &app, id, &request, &body).await
}

/// Delete the gateway of the path
#[utoipa::path(
    tag = "Gateways",
    params(GatewayPath),
    responses((status = 200, description = "Whether there was one", body = Deleted)),
)]
#[delete("/api/gateways/{id}")]
pub(crate) async fn delete_gateway_by_path(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Answer {
    let id = gateway_id(&request)?;
    one_of(body.read::<GatewayChoiceBody>()?.id, Some(id.0), "id")?;
    delete(&by.caller, &app, id).await
}

/// Drop the connection and dial now
///
/// Leaves `blocked` and backoff, and starts a parked gateway again.
#[utoipa::path(
    tag = "Gateways",
    params(GatewayPath),
    responses((status = 200, description = "The gateway", body = GatewayAnswer), NoGateway),
)]
#[post("/api/gateways/{id}/reconnect")]
pub(crate) async fn reconnect_gateway(by: Authorized<GatewayOperator>, app: App, request: HttpRequest) -> Answer {
    let view = app.ask(&app.registry.reconnect, ReconnectGateway(gateway_id(&request)?)).await?;
    log(&by.caller, "reconnected", &view);
    Ok(one_gateway(&view))
}

/// Route no new work to a gateway
#[utoipa::path(
    tag = "Gateways",
    params(GatewayPath),
    responses((status = 200, description = "The gateway, which gets no new work", body = GatewayAnswer), NoGateway),
)]
#[post("/api/gateways/{id}/drain")]
pub(crate) async fn drain_gateway(by: Authorized<GatewayAdmin>, app: App, request: HttpRequest) -> Answer {
    set_drained(&by.caller, &app, gateway_id(&request)?, true).await
}

/// Route work to a gateway again
#[utoipa::path(
    tag = "Gateways",
    params(GatewayPath),
    responses((status = 200, description = "The gateway, which gets work again", body = GatewayAnswer), NoGateway),
)]
#[post("/api/gateways/{id}/undrain")]
pub(crate) async fn undrain_gateway(by: Authorized<GatewayAdmin>, app: App, request: HttpRequest) -> Answer {
    set_drained(&by.caller, &app, gateway_id(&request)?, false).await
}

/// Get what a browser needs to connect by itself
#[utoipa::path(
    tag = "Gateways",
    request_body = GatewayIdBody,
    responses((status = 200, description = "Address and, by role, token", body = GatewayAddressAnswer), NoGateway),
)]
#[post("/api/gateways/connect")]
pub(crate) async fn read_connection_details(
    by: Authorized<GatewayViewer>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let GatewayIdBody { id } = body.read()?;
    let view = app.gateway(GatewayId(id))?;
    let needed = if app.settings.operators_see_tokens { Role::Operator } else { Role::Admin };
    let https = browser_is_https(&request, &app);
    let (answer, given) = record::connection_details(&view.record, https, by.caller.is_at_least(needed))?;
    if let Some(audit) = by.audit() {
        audit.gives_token(given);
    }
    tracing::info!(
        caller.key = by.key().name,
        caller.role = by.key().role.as_str(),
        gateway.id = view.record.id.0,
        gateway.name = view.record.name,
        token.given = given,
        "connection details of a gateway were read"
    );
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// What a trusted proxy says, else the page's own origin.
fn browser_is_https(request: &HttpRequest, app: &AppContext) -> bool {
    if request.headers().contains_key("x-forwarded-proto") {
        return is_https(request, &app.settings.trusted_proxies);
    }
    let origin = request.headers().get(header::ORIGIN).and_then(|value| value.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("https://"))
}

/// Start, stop, restart or examine a gateway's process
///
/// For gateways whose record names a unit or a command. A start or restart succeeds once there is a new process and the gateway
/// was connected anew (`processes.verify_within`, 90 s); else it is a 502 whose details say what is missing.
#[utoipa::path(
    tag = "Gateways",
    params(GatewayPath),
    request_body = ProcessBody,
    responses(
        (status = 200, description = "Done, or with wait false begun", body = ProcessAnswer), NoGateway,
        (status = 409, description = "The gateway is no process of this machine", body = ErrorBody),
        (status = 502, description = "It failed, or could not be verified; details.missing says what is missing", body = ErrorBody),
    ),
)]
#[post("/api/gateways/{id}/process")]
pub(crate) async fn order_process(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let id = gateway_id(&request)?;
    let body: ProcessBody = body.read()?;
    let action = ProcessAction::ALL.into_iter().find(|action| action.as_str() == body.action);
    let action = action.ok_or_else(|| invalid("Invalid action"))?;
    let view = app.gateway(id)?;
    tracing::info!(
        caller.key = by.key().name,
        gateway.id = id.0,
        gateway.name = view.record.name,
        action = action.as_str(),
        "the gateway's process was asked for"
    );
    let settings = &app.process_settings;
    let deadline = settings.verify_within + settings.supervision.stop_grace + PROCESS_MARGIN;
    let order = OrderProcess { gateway: id, action, wait: body.wait.unwrap_or(true) };
    let answer = app.processes.send(order, deadline).await?;
    let process = Process { diagnosis: answer.diagnosis, ..process_view::process(&answer.view) };
    Ok(HttpResponse::Ok().json(ProcessAnswer { process }))
}

/// The gateway id in the path.
pub(crate) fn gateway_id(request: &HttpRequest) -> Result<GatewayId, ApiError> {
    path_id(request, "gateway").map(GatewayId)
}

/// Reads the changed fields and has them stored.
async fn update(caller: &Caller, app: &AppContext, id: GatewayId, request: &HttpRequest, body: &JsonBody) -> Answer {
    let present = app.gateway(id)?;
    let change = record::change(body.fields(), &present.record, &app.process_settings, app.now_s())?;
    if change.is_empty() {
        return Err(body.nothing_to_change("a gateway besides its id"));
    }
    let from = known_state(app, &present.record, request)?;
    let observations = record::observations_warning(&change);
    let view = app.ask(&app.registry.update, UpdateGateway { id, change, from }).await?;
    log(caller, "changed", &view);
    let mut answer = HttpResponse::Ok();
    let mut answer = answer.content_type(ContentType::json()).body(answer_body(app, &view, None, observations));
    set_tag(app, &view, &mut answer);
    Ok(answer)
}

/// The state that the sender of a change wants it to be made to. The store looks at it once more: somebody may be quicker. None: to
/// whatever it is by then.
fn known_state(
    app: &AppContext,
    record: &Arc<GatewayRecord>,
    request: &HttpRequest,
) -> Result<Option<Arc<GatewayRecord>>, ApiError> {
    if !request.headers().contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    match IfMatch::parse(request) {
        Ok(IfMatch::Any) => Ok(None),
        Ok(IfMatch::Items(known)) if !known.is_empty() => {
            let tag = app.tag_key.as_ref().map(|key| record::settings_tag(record, key));
            let is_known = tag.is_some_and(|tag| known.iter().any(|known| known.strong_eq(&tag)));
            if is_known { Ok(Some(Arc::clone(record))) } else { Err(Failure::changed_since(&record.name).into()) }
        }
        Ok(IfMatch::Items(_)) | Err(_) => {
            Err(invalid("The header If-Match must be * or the ETag of a gateway, with its quotation marks"))
        }
    }
}

/// Tells how the gateway is set, for the next change.
fn set_tag(app: &AppContext, view: &GatewayView, answer: &mut HttpResponse) {
    let tag = app.tag_key.as_ref().map(|key| record::settings_tag(&view.record, key));
    if let Some(Ok(tag)) = tag.map(EntityTag::try_into_value) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
}

async fn set_drained(caller: &Caller, app: &AppContext, id: GatewayId, drains: bool) -> Answer {
    let (change, done) = record::draining(drains);
    let view = app.ask(&app.registry.update, UpdateGateway { id, change, from: None }).await?;
    log(caller, done, &view);
    Ok(one_gateway(&view))
}

async fn delete(caller: &Caller, app: &AppContext, id: GatewayId) -> Answer {
    let deleted = app.agents.deleting(id, app.ask(&app.registry.delete, DeleteGateway(id))).await?;
    if deleted {
        tracing::info!(caller.key = caller.key.name, gateway.id = id.0, "gateway deleted");
    }
    Ok(HttpResponse::Ok().json(Deleted { deleted }))
}

/// One line for each change: who, what, which gateway.
pub(crate) fn log(caller: &Caller, what: &'static str, view: &GatewayView) {
    tracing::info!(
        caller.key = caller.key.name,
        caller.role = caller.key.role.as_str(),
        gateway.id = view.record.id.0,
        gateway.name = view.record.name,
        "gateway {what}"
    );
}

fn answer_body(
    app: &AppContext,
    view: &GatewayView,
    agents_registered: Option<usize>,
    warning: Option<String>,
) -> Vec<u8> {
    let mut body = gateway_field(view);
    if let Some(count) = agents_registered {
        body.extend_from_slice(format!(",\"agents_registered\":{count}").as_bytes());
    }
    let warnings: Vec<String> = same_address_warning(&app.roster, view).into_iter().chain(warning).collect();
    if !warnings.is_empty() {
        body.extend_from_slice(b",\"warning\":");
        body.extend_from_slice(&serde_json::to_vec(&warnings.join(". ")).unwrap_or_default());
    }
    body.push(b'}');
    body
}

/// Where other gateways have the same address.
pub(crate) fn same_address_warning(roster: &RosterReader, view: &GatewayView) -> Option<String> {
    let mut others = roster.list();
    others.retain(|other| other.record.id != view.record.id && other.address() == view.address());
    others.sort_by_key(|other| other.record.id);
    let names: Vec<&str> = others.iter().map(|other| other.record.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "This address (scheme, host, port and path) is already registered as {}: they share one limit on failed logins and one device token",
            names.join(", ")
        )
    })
}

/// `{"gateway":{...}`, without the closing brace.
fn gateway_field(view: &GatewayView) -> Vec<u8> {
    let object = record::rendered(view);
    let mut body = Vec::with_capacity(object.len().saturating_add(64));
    body.extend_from_slice(b"{\"gateway\":");
    body.extend_from_slice(object);
    body
}

/// `{"gateway":{...}}`.
fn one_gateway(view: &GatewayView) -> HttpResponse {
    let mut body = gateway_field(view);
    body.push(b'}');
    HttpResponse::Ok().content_type(ContentType::json()).body(body)
}
