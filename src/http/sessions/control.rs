//! `POST /api/sessions/{key}/control`: pause, resume or kill what runs in a session.

use actix_web::{HttpRequest, HttpResponse, post, web};
use gatewarden_actors::registry::messages::ControlSessionAt;
use gatewarden_actors::run::SessionAction;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::passing::{self, SessionDone};
use super::session_key;
use crate::http::auth::{By, Operator};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, GatewayErrors, KeyErrors, invalid};
use crate::http::fields::Fields;
use crate::http::front::Front;

/// What is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct ControlBody {
    /// `pause`, `resume` or `kill` (`terminate` is the same).
    #[schema(example = "kill")]
    action: String,
    /// The gateway; needed where several hold a session of this key.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
}

/// Pause, resume or kill what runs in a session
///
/// A kill with nothing running succeeds too; `result` has the gateway's words. Limited for each session.
#[utoipa::path(
    operation_id = "control_session",
    tag = "Sessions",
    params(("key" = String, Path, description = "The session's key, percent-encoded")),
    request_body = ControlBody,
    responses(
        (status = 200, description = "The gateway did it", body = SessionDone),
        (status = 404, description = "No gateway holds this session, or no gateway has this id", body = ErrorBody),
        (status = 409, description = "Several gateways hold a session of this key; details.gateways names them", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/sessions/{key}/control")]
pub(crate) async fn control(
    by: By<Operator>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let key = session_key::of_path(&request)?;
    let mut fields = Fields::new(&body.0);
    let action = read_action(&fields)?;
    let only = passing::gateway_id(&mut fields);
    fields.problems.into_result()?;
    let holder = passing::holder(&front, &key, only)?;
    // Counted only once it is clear which session is meant: keys that nobody holds take no place in the count.
    if let Some(counted) = front.limits.session_control(holder.id.0, &key) {
        counted.settle(&request)?;
    }
    let timeout = front.settings.gateway_timeout;
    let message = ControlSessionAt { gateway: holder.id, session_key: key.clone(), action, timeout };
    let answer = front.app.registry.control.send(message, passing::deadline(timeout)).await?;
    let (mut result, _cover) = answer.into_parts();
    crate::http::nodes::hide_tokens(&mut result);
    passing::log(&by.caller, action.as_str(), &key, &holder);
    Ok(HttpResponse::Ok().json(SessionDone::new(action.as_str(), key, holder, result)))
}

fn read_action(fields: &Fields<'_>) -> Result<SessionAction, ApiError> {
    match fields.value("action").and_then(Value::as_str) {
        Some("pause") => Ok(SessionAction::Pause),
        Some("resume") => Ok(SessionAction::Resume),
        Some("kill" | "terminate") => Ok(SessionAction::Kill),
        _ => Err(invalid("Invalid action: it must be pause, resume or kill (terminate is the same)")),
    }
}
