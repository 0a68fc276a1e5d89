//! `/api/v1/gateways/sessions/{key}`: one session, what was said in it, and something more to say.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_protocol::wall_time;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{named, sessions};
use crate::http::auth::{By, GatewayAdmin, GatewayViewer};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, GatewayErrors, KeyErrors};
use crate::http::fields::Fields;
use crate::http::front::Front;
use crate::http::query::Query;
use crate::http::sessions::holder::Holder;
use crate::http::sessions::{history, message, passing, session_key};

/// One session.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationSession {
    /// As in the list.
    #[schema(value_type = Object)]
    pub session: Value,
}

/// What was said in a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationHistory {
    /// The newest entries, oldest first; `timestamp` in RFC 3339.
    #[schema(value_type = Vec<Object>)]
    pub history: Vec<Value>,
}

/// Something to say.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct OrganizationMessage {
    /// Up to 200,000 characters.
    #[schema(example = "How far are you?")]
    content: String,
}

/// The gateway took the message.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationMessageTaken {
    /// Always true.
    pub ok: bool,
    /// The run that the message starts, where the gateway says.
    pub run_id: Option<String>,
    /// What the gateway knows the message by: the same again is not said twice.
    pub idempotency_key: String,
}

/// Read one session
#[utoipa::path(
    operation_id = "organization_read_session",
    tag = "Organization",
    params(
        ("key" = String, Path, description = "The session's key, percent-encoded"),
        ("gateway_id" = Option<String>, Query, description = "The gateway's UUID; needed where several hold a session of this key"),
    ),
    responses(
        (status = 200, description = "The session", body = OrganizationSession),
        (status = 404, description = "No gateway holds this session, or no gateway has this id", body = ErrorBody),
        (status = 409, description = "Several gateways hold a session of this key", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/v1/gateways/sessions/{key}")]
pub(crate) async fn read(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (key, holder) = find(&front, &request)?;
    let session = sessions::one(&front, holder.id, &key).ok_or_else(|| {
        Failure::new(ErrorCode::SessionNotFound, format!("Gateway \"{}\" holds no session \"{key}\"", holder.name))
    })?;
    Ok(HttpResponse::Ok().json(OrganizationSession { session }))
}

/// Read what was said in a session
#[utoipa::path(
    operation_id = "organization_read_session_history",
    tag = "Organization",
    params(
        ("key" = String, Path, description = "The session's key, percent-encoded"),
        ("gateway_id" = Option<String>, Query, description = "The gateway's UUID; needed where several hold a session of this key"),
        ("limit" = Option<usize>, Query, description = "The newest so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
    ),
    responses(
        (status = 200, description = "Oldest first", body = OrganizationHistory),
        (status = 404, description = "No gateway holds this session, or no gateway has this id", body = ErrorBody),
        (status = 409, description = "Several gateways hold a session of this key", body = ErrorBody),
        KeyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/v1/gateways/sessions/{key}/history")]
pub(crate) async fn read_history(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let limit = query.capped("limit", 200).unwrap_or(50);
    query.problems.into_result()?;
    let (key, holder) = find(&front, &request)?;
    let reply = passing::call(&front, &holder, "chat.history", json!({"sessionKey": key, "limit": limit})).await?;
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
    operation_id = "organization_send_session_message",
    tag = "Organization",
    params(
        ("key" = String, Path, description = "The session's key, percent-encoded"),
        ("gateway_id" = Option<String>, Query, description = "The gateway's UUID; needed where several hold a session of this key"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters; else one is made"),
    ),
    request_body = OrganizationMessage,
    responses(
        (status = 200, description = "The gateway took it", body = OrganizationMessageTaken),
        (status = 404, description = "No gateway holds this session, or no gateway has this id", body = ErrorBody),
        (status = 409, description = "Several gateways hold a session of this key", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/v1/gateways/sessions/{key}/message")]
pub(crate) async fn send(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let idempotency_key = message::idempotency_key(&request)?;
    let mut fields = Fields::new(&body.0);
    let content = message::content(&mut fields).unwrap_or_default();
    fields.problems.into_result()?;
    let (key, holder) = find(&front, &request)?;
    let taken = message::say(&front, &by.caller, &holder, &key, content, &idempotency_key).await?;
    Ok(HttpResponse::Ok().json(OrganizationMessageTaken { ok: true, run_id: taken.run_id, idempotency_key }))
}

fn find(front: &Front, request: &HttpRequest) -> Result<(String, Holder), ApiError> {
    let key = session_key::of_path(request)?;
    let query = Query::parse(request.query_string());
    let only: Option<GatewayId> = named::by_query(front, &query)?.map(|view| view.record.id);
    let holder = passing::holder(front, &key, only)?;
    Ok((key, holder))
}
