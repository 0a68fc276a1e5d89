//! `GET /api/sessions/{key}/history`: what was said in a session.

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::ids::GatewayId;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{passing, session_key};
use crate::http::auth::{By, GatewayViewer};
use crate::http::error::{ApiError, ErrorBody, GatewayErrors, KeyErrors};
use crate::http::front::Front;
use crate::http::query::Query;

mod entry;

pub use entry::{HistoryEntry, Usage};

/// The newest entries of a session, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionHistory {
    /// Oldest first, as gateways tell it.
    pub history: Vec<HistoryEntry>,
    /// The session's key.
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
}

/// Read what was said in a session
///
/// Asked of the gateway that holds the session.
#[utoipa::path(
    operation_id = "read_session_history",
    tag = "Sessions",
    params(
        ("key" = String, Path, description = "The session's key, percent-encoded"),
        ("limit" = Option<usize>, Query, description = "The newest so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
        ("gateway_id" = Option<i64>, Query, description = "The gateway; needed where several hold a session of this key", minimum = 1),
    ),
    responses(
        (status = 200, description = "Oldest first", body = SessionHistory),
        (status = 404, description = "No gateway holds this session, or no gateway has this id", body = ErrorBody),
        (status = 409, description = "Several gateways hold a session of this key; details.gateways names them", body = ErrorBody),
        KeyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/sessions/{key}/history")]
pub(crate) async fn read(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let key = session_key::of_path(&request)?;
    let mut query = Query::parse(request.query_string());
    let limit = query.capped("limit", 200).unwrap_or(50);
    let only = query.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    query.problems.into_result()?;
    let holder = passing::holder(&front, &key, only)?;
    let params = json!({"sessionKey": key, "limit": limit});
    let reply = passing::call(&front, &holder, "chat.history", params).await?;
    let history = newest(&reply, limit);
    Ok(HttpResponse::Ok().json(SessionHistory { history, session: key, gateway: holder.name, gateway_id: holder.id.0 }))
}

/// The newest entries of a reply, whether or not the gateway kept to the limit.
pub fn newest(reply: &Value, limit: usize) -> Vec<HistoryEntry> {
    let messages = reply.as_array().or_else(|| reply.get("messages")?.as_array());
    let messages = messages.map(Vec::as_slice).unwrap_or_default();
    let skipped = messages.len().saturating_sub(limit);
    messages.iter().skip(skipped).filter_map(HistoryEntry::read).collect()
}
