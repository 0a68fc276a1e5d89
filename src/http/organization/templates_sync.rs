//! `POST /api/v1/gateways/{id}/templates/sync`: give the agents of a gateway their files.

mod options;
mod rotation;

use actix_web::{HttpRequest, HttpResponse, post, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::GatewayRecord;
use gatewarden_actors::registry::messages::ConfirmGateway;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_actors::store::records::AgentFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::main_agent::{caller, facts_of, to_record};
use super::named;
use crate::http::auth::{By, GatewayAdmin};
use crate::http::body::OptionalJsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, GatewayErrors, KeyErrors};
use crate::http::front::Front;
use crate::provisioning::Writing;
use crate::provisioning::sync::{SyncOptions, Synced, sync};
use options::Options;
pub use options::TemplatesSyncBody;

/// What a sync did.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplatesSyncAnswer {
    /// The gateway's UUID.
    #[schema(example = "55cc268a-4b45-400f-accf-201e025232ac")]
    pub gateway_id: String,
    /// As asked for.
    pub include_main: bool,
    /// As asked for.
    pub reset_sessions: bool,
    /// As asked for.
    pub overwrite: bool,
    /// Agents besides the main one whose files are as the templates say, or were left alone as somebody else's.
    pub agents_updated: usize,
    /// Agents that were left alone: the gateway takes none of their files or does not have them, or it is the main agent
    /// and was not asked for.
    pub agents_skipped: usize,
    /// The same of the main agent as `agents_updated`.
    pub main_updated: bool,
    /// Whether the main agent was made just now.
    pub main_created: bool,
    /// The main agent by its id on the gateway.
    #[schema(example = "main")]
    pub gateway_agent_id: Option<String>,
    /// Main sessions that were begun anew.
    pub sessions_reset: usize,
    /// Whether our device token on this gateway was rotated.
    pub tokens_rotated: bool,
    /// The files of all agents.
    pub files: TemplatesSyncFiles,
    /// Agents that were not brought in line.
    pub errors: Vec<TemplatesSyncError>,
}

/// How many files, by what became of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplatesSyncFiles {
    /// Written.
    pub written: usize,
    /// Right already.
    pub unchanged: usize,
    /// Written or changed by somebody else, and so left alone.
    pub kept: usize,
    /// Not taken by this release.
    pub skipped: usize,
}

/// One agent that was not brought in line.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplatesSyncError {
    /// Its id on the gateway.
    #[schema(example = "researcher")]
    pub agent_name: String,
    /// One sentence.
    pub message: String,
}

/// Give the agents of a gateway their files
///
/// Options are taken from the query or the body; the body goes before. The main agent is found or made, and recorded. Files
/// that somebody else has written or changed are left alone unless `overwrite` is asked for. May be repeated at will.
#[utoipa::path(
    operation_id = "sync_gateway_templates",
    tag = "Organization",
    params(
        ("id" = String, Path, description = "The gateway's UUID"),
        ("include_main" = Option<bool>, Query, description = "Also the main agent; true"),
        ("overwrite" = Option<bool>, Query, description = "Also files that somebody else has written or changed; false"),
        ("reset_sessions" = Option<bool>, Query, description = "Begin each agent's main session anew; false"),
        ("rotate_tokens" = Option<bool>, Query, description = "Rotate our device token on the gateway first; false"),
    ),
    request_body(content = Option<TemplatesSyncBody>, description = "May be left out"),
    responses(
        (status = 200, description = "What was done, and who could not be brought in line", body = TemplatesSyncAnswer),
        (status = 404, description = "No gateway has this UUID", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/v1/gateways/{id}/templates/sync")]
pub(crate) async fn sync_templates(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Result<HttpResponse, ApiError> {
    let options = Options::read(request.query_string(), &body.0.unwrap_or_default())?;
    let view = named::by_path(&front, &request)?;
    let synced = run(&front, &view, options).await.map_err(failed)?;
    tracing::info!(
        caller.key = by.caller.key.name,
        gateway.id = view.record.id.0,
        gateway.name = view.record.name,
        agents = synced.updated,
        files.written = synced.files[0],
        errors = synced.troubles.len(),
        "templates synced"
    );
    Ok(HttpResponse::Ok().json(answer(&view.record, options, synced)))
}

async fn run(front: &Front, view: &GatewayView, options: Options) -> Result<Synced, Failure> {
    let record = &view.record;
    let mut gateway = caller(front, record);
    if options.rotate_tokens {
        rotation::rotate(front, record, &gateway).await?;
        gateway = gateway.expecting_it_back();
    }
    let filter = AgentFilter { gateway_id: Some(record.id), ..AgentFilter::default() };
    let (known, _) = front.app.store.list_agents_after(filter, 0, usize::MAX).await?;
    let known: Vec<String> = known.into_iter().map(|agent| agent.name).collect();
    let facts = facts_of(front, record);
    let writing = Writing { templates: &front.settings.templates, overwrite: options.overwrite };
    let wanted = SyncOptions { include_main: options.include_main, reset_sessions: options.reset_sessions };
    let recorded = record.gateway_agent_id.as_deref();
    let synced = sync(&gateway, &facts, recorded, &known, wanted, writing).await?;
    if let Some(main) = &synced.main {
        let message = ConfirmGateway { id: record.id, main: to_record(&main.agent) };
        front.app.registry.confirm.send(message, front.settings.request_deadline).await?;
    }
    Ok(synced)
}

fn answer(record: &GatewayRecord, options: Options, synced: Synced) -> TemplatesSyncAnswer {
    let [written, unchanged, kept, skipped] = synced.files;
    let errors = synced.troubles.into_iter();
    TemplatesSyncAnswer {
        gateway_id: record.uuid.clone(),
        include_main: options.include_main,
        reset_sessions: options.reset_sessions,
        overwrite: options.overwrite,
        agents_updated: synced.updated,
        agents_skipped: synced.skipped,
        main_updated: synced.main_updated,
        main_created: synced.main.as_ref().is_some_and(|main| main.created),
        gateway_agent_id: synced.main.map(|main| main.agent.id).or_else(|| record.gateway_agent_id.clone()),
        sessions_reset: synced.sessions_reset,
        tokens_rotated: options.rotate_tokens,
        files: TemplatesSyncFiles { written, unchanged, kept, skipped },
        errors: errors
            .map(|trouble| TemplatesSyncError { agent_name: trouble.agent, message: trouble.message })
            .collect(),
    }
}

/// Here a gateway that can't be reached is a bad gateway: nobody else can do what was wanted.
fn failed(failure: Failure) -> Failure {
    if failure.code != ErrorCode::GatewayUnavailable {
        return failure;
    }
    Failure { code: ErrorCode::GatewayUnreachable, ..failure }
}
