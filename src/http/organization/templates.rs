//! `POST /api/v1/gateways/{id}/templates/sync`: give the agents of a gateway their files.

use actix_web::{HttpRequest, HttpResponse, post};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::GatewayRecord;
use gatewarden_actors::registry::messages::ReconnectGateway;
use gatewarden_actors::registry::records::ConfirmGateway;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_actors::store::records::AgentFilter;
use gatewarden_api::organization::{TemplatesSyncAnswer, TemplatesSyncBody};
use gatewarden_api::responses::{GatewayErrors, NoGateway};
use serde_json::json;

use super::gateways::by_path;
use crate::http::auth::{Authorized, GatewayAdmin};
use crate::http::context::{App, AppContext};
use crate::http::error::Answer;
use crate::http::input::{GatewayUuidPath, OptionalJsonBody, read_query};
use crate::provisioning::creation::to_record;
use crate::provisioning::registry_caller::RegistryCaller;
use crate::provisioning::sync::{SyncOptions, sync};
use crate::provisioning::{GatewayCaller as _, GatewayFacts};

/// The body goes before the query.
fn options(query: &TemplatesSyncBody, body: &TemplatesSyncBody) -> SyncOptions {
    SyncOptions {
        include_main: body.include_main.or(query.include_main).unwrap_or(true),
        overwrite: body.overwrite.or(query.overwrite).unwrap_or(false),
        reset_sessions: body.reset_sessions.or(query.reset_sessions).unwrap_or(false),
        rotate_tokens: body.rotate_tokens.or(query.rotate_tokens).unwrap_or(false),
    }
}

/// Give the agents of a gateway their files
///
/// Options are taken from the query or the body; the body goes before. The main agent is found or made, and recorded. Files
/// that somebody else has written or changed are left alone unless `overwrite` is asked for. May be repeated at will.
#[utoipa::path(
    tag = "Organization",
    params(GatewayUuidPath, TemplatesSyncBody),
    request_body(content = Option<TemplatesSyncBody>, description = "May be left out"),
    responses(
        (status = 200, description = "What was done, and who could not be brought in line", body = TemplatesSyncAnswer),
        NoGateway, GatewayErrors,
    ),
)]
#[post("/api/v1/gateways/{id}/templates/sync")]
pub(crate) async fn sync_gateway_templates(
    by: Authorized<GatewayAdmin>,
    app: App,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Answer {
    let options = options(&read_query(&request)?, &body.read()?);
    let view = by_path(&app, &request)?;
    let mut answer = run(&app, &view, options).await.map_err(failed)?;
    tracing::info!(
        caller.key = by.key().name,
        gateway.id = view.record.id.0,
        gateway.name = view.record.name,
        agents = answer.agents_updated,
        files.written = answer.files.written,
        errors = answer.errors.len(),
        "templates synced"
    );
    // What is done is answered as such, whatever can be read afterwards.
    let main_agents = app.store.main_agents().await.unwrap_or_default();
    answer.gateway_agent_id = main_agents.get(&view.record.id).map(ToString::to_string);
    Ok(HttpResponse::Ok().json(answer))
}

async fn run(app: &AppContext, view: &GatewayView, options: SyncOptions) -> Result<TemplatesSyncAnswer, Failure> {
    let record = &view.record;
    let mut gateway = RegistryCaller::new(app, record.id);
    if options.rotate_tokens {
        rotate(app, record, &gateway).await?;
        gateway = gateway.expecting_it_back();
    }
    let filter = AgentFilter { gateway_id: Some(record.id), ..AgentFilter::default() };
    let (known, _) = app.store.list_agents_after(filter, 0, usize::MAX).await?;
    let known: Vec<String> = known.into_iter().map(|agent| agent.name).collect();
    let facts = GatewayFacts::of(record, app.store.organization_id());
    let recorded = record.gateway_agent_id.as_deref();
    let (answer, main) = sync(&gateway, &facts, recorded, &known, options, &app.settings.templates).await?;
    if let Some(main) = main {
        let message = ConfirmGateway { id: record.id, main: to_record(&main.agent) };
        app.ask(&app.registry.confirm, message).await?;
    }
    Ok(answer)
}

/// Here a gateway that can't be reached is a bad gateway: nobody else can do what was wanted.
fn failed(failure: Failure) -> Failure {
    if failure.code != ErrorCode::GatewayUnavailable {
        return failure;
    }
    Failure { code: ErrorCode::GatewayUnreachable, ..failure }
}

/// A new device token for this installation on one gateway, only where it can't lock us out: the gateway's own token must be
/// stored here, since newer releases end the connection, and tell the new token to nobody but a device that comes back.
/// The next handshake brings it.
async fn rotate(app: &AppContext, record: &GatewayRecord, gateway: &RegistryCaller<'_>) -> Result<(), Failure> {
    if let Some(why) = impossible(app, record).await? {
        let failure = Failure::new(
            ErrorCode::NotSupportedByGateway,
            format!("The device token on gateway \"{}\" cannot be rotated: {why}", record.name),
        );
        return Err(failure.with_help("Leave rotate_tokens out; nothing was changed."));
    }
    let params = json!({"deviceId": app.identity.device_id, "role": "operator"});
    // Older releases give the new token right here. It is not read: the handshake gives it too, and keeps it.
    gateway.call_once("device.token.rotate", params).await?;
    tracing::info!(gateway.id = record.id.0, gateway.name = %record.name, "device token rotated");
    app.ask(&app.registry.reconnect, ReconnectGateway(record.id)).await?;
    Ok(())
}

/// Why it can't be done, if it can't.
async fn impossible(app: &AppContext, record: &GatewayRecord) -> Result<Option<&'static str>, Failure> {
    if record.is_control_ui() {
        return Ok(Some("this installation connects there without a device"));
    }
    if record.shared_credential().is_none() {
        return Ok(Some(
            "neither token nor password of the gateway is stored here, and without one there would be no way back in",
        ));
    }
    let address = record.address().map(|address| address.key());
    let kept = app.store.load_device_tokens().await?;
    if !kept.iter().any(|(known, _)| address.as_ref() == Some(known)) {
        return Ok(Some("it has not given this installation one, but lets it in with the gateway's own token"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use gatewarden_api::request::{self, Query};
    use serde_json::Value;

    use super::*;

    fn read(query: &str, body: Value) -> Result<SyncOptions, String> {
        let query = Query::read(query).map_err(|problems| problems.sentence())?;
        let body = request::read(body.as_object().unwrap()).map_err(|problems| problems.sentence())?;
        Ok(options(&query, &body))
    }

    #[test]
    fn options_come_from_query_and_body_and_the_body_goes_before() {
        let usual = SyncOptions { include_main: true, overwrite: false, reset_sessions: false, rotate_tokens: false };
        assert_eq!(read("", json!({})), Ok(usual));
        let asked = read("include_main=false&overwrite=1&reset_sessions=true", json!({"reset_sessions": false}));
        assert_eq!(asked, Ok(SyncOptions { include_main: false, overwrite: true, ..usual }));
        assert_eq!(read("", json!({"rotate_tokens": true})), Ok(SyncOptions { rotate_tokens: true, ..usual }));
    }

    #[test]
    fn a_wrong_option_is_named() {
        assert!(read("overwrite=maybe", json!({})).unwrap_err().contains("overwrite"));
        assert!(read("", json!({"include_main": "yes"})).unwrap_err().contains("include_main"));
    }
}
