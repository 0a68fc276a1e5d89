//! `POST /api/gateways/{id}/process`: start, stop, restart and examine a gateway that is a process of this machine.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, post, web};
use gatewarden_actors::error::Failure;
use gatewarden_actors::processes::messages::{OrderProcess, ProcessAction};
use gatewarden_actors::settings::ProcessSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::by_id::path_id;
use super::process_object::{Diagnosis, Process};
use crate::http::auth::{By, GatewayAdmin};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, KeyErrors, invalid};
use crate::http::fields::Fields;
use crate::http::front::Front;

/// Beyond the time that stop and verification may take.
const MARGIN: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct ProcessBody {
    /// `start`, `stop`, `restart`, `diagnose` or `status`.
    #[schema(example = "restart")]
    action: String,
    /// Whether to wait for the outcome of a start, stop or restart; true by default.
    wait: Option<bool>,
}

/// The process.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProcessAnswer {
    /// As it is now.
    process: Process,
}

/// Start, stop, restart or examine a gateway's process
///
/// For gateways whose record names a unit or a command. A start or restart succeeds once there is a new process and the gateway
/// was connected anew (`processes.verify_within`, 90 s); else it is a 502 whose details say what is missing.
#[utoipa::path(
    operation_id = "order_process",
    tag = "Gateways",
    params(("id" = i64, Path, description = "The gateway", minimum = 1)),
    request_body = ProcessBody,
    responses(
        (status = 200, description = "Done, or with wait false begun", body = ProcessAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        (status = 409, description = "The gateway is no process of this machine", body = ErrorBody),
        (status = 502, description = "It failed, or could not be verified; details.missing says what is missing", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/gateways/{id}/process")]
pub(crate) async fn order(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(&request)?;
    let mut fields = Fields::new(&body.0);
    let action = read_action(&fields)?;
    let wait = fields.flag("wait").unwrap_or(true);
    fields.problems.into_result()?;
    let view = front.app.roster.get(id).ok_or_else(|| Failure::gateway_not_found(id))?;
    let deadline = longest(&front.app.process_settings);
    tracing::info!(
        caller.key = by.caller.key.name,
        gateway.id = id.0,
        gateway.name = view.record.name,
        action = action.as_str(),
        "the gateway's process was asked for"
    );
    let answer = front.app.processes.send(OrderProcess { gateway: id, action, wait }, deadline).await?;
    let process = Process { diagnosis: answer.diagnosis.map(Diagnosis::of), ..Process::of(&answer.view) };
    Ok(HttpResponse::Ok().json(ProcessAnswer { process }))
}

fn longest(settings: &ProcessSettings) -> Duration {
    settings.verify_within + settings.supervision.stop_grace + MARGIN
}

fn read_action(fields: &Fields<'_>) -> Result<ProcessAction, ApiError> {
    let word = fields.value("action").and_then(Value::as_str).unwrap_or_default();
    ProcessAction::ALL
        .into_iter()
        .find(|action| action.as_str() == word)
        .ok_or_else(|| invalid("Invalid action: it must be start, stop, restart, diagnose or status"))
}
