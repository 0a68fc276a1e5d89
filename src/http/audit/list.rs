//! `GET /api/audit`: who did what, newest first.

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::store::records::AuditRecord;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::auth::{Admin, By};
use crate::http::error::{ApiError, KeyErrors};
use crate::http::front::Front;
use crate::http::query::Query;

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditPage {
    /// Newest first.
    pub audit: Vec<AuditRow>,
    /// What to pass as `before` for the next page; null on the last one.
    pub next_before: Option<i64>,
}

/// One thing that was done or refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditRow {
    /// Grows with each entry.
    pub id: i64,
    /// Unix seconds.
    pub at: i64,
    /// The same in milliseconds.
    pub at_ms: i64,
    /// Who did it.
    pub actor: AuditedBy,
    /// The client's address; none for the daemon's own doings.
    pub address: Option<String>,
    /// The request's id, as in its `X-Request-Id`.
    pub request_id: Option<String>,
    /// What was done.
    #[schema(example = "gateway.update")]
    pub action: String,
    /// To what.
    #[schema(example = "gateway 3")]
    pub target: Option<String>,
    /// `ok`, `refused` (nothing happened), `failed` (it didn't work) or `unknown` (the daemon was stopped in the middle).
    #[schema(example = "ok")]
    pub result: String,
    /// Method, route, status, error code, and which fields were sent; never their secrets.
    #[schema(value_type = Object)]
    pub details: Value,
}

/// Who did something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditedBy {
    /// The key; null for the one of the configuration, for nobody, and for the daemon itself.
    pub key_id: Option<i64>,
    /// The key's name, `anonymous` without a good key, `system` for the daemon itself.
    pub name: String,
    /// What the key may do.
    pub role: Option<String>,
}

impl From<AuditRecord> for AuditRow {
    fn from(record: AuditRecord) -> Self {
        let entry = record.entry;
        Self {
            id: record.id,
            at: entry.at_ms.div_euclid(1000),
            at_ms: entry.at_ms,
            actor: AuditedBy {
                key_id: entry.actor.key_id,
                name: entry.actor.name,
                role: entry.actor.role.map(|role| role.as_str().to_owned()),
            },
            address: entry.address,
            request_id: entry.request_id,
            action: entry.action,
            target: entry.target,
            result: entry.result.as_str().to_owned(),
            details: entry.details,
        }
    }
}

/// Read the audit log
///
/// Every change and every refusal of one: who, from where, what, to what, with what result.
#[utoipa::path(
    operation_id = "read_audit_log",
    tag = "Events",
    params(
        ("limit" = Option<usize>, Query, description = "Newest entries; 50 by default, more than 200 is capped", minimum = 1),
        ("since" = Option<i64>, Query, description = "Not older than this, Unix seconds"),
        ("before" = Option<i64>, Query, description = "Only entries with an id below this: the next page"),
    ),
    responses((status = 200, description = "Newest first", body = AuditPage), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/audit")]
pub(crate) async fn list(
    _by: By<Admin>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let limit = query.capped("limit", 200).unwrap_or(50);
    let since = query.integer("since", 0..=i64::MAX);
    let before = query.integer("before", 1..=i64::MAX);
    query.problems.into_result()?;
    let since_ms = since.map(|since| since.saturating_mul(1000));
    let records = front.app.store.list_audit(limit, since_ms, before).await?;
    let next_before = records.last().map(|record| record.id).filter(|_| records.len() == limit);
    Ok(HttpResponse::Ok().json(AuditPage { audit: records.into_iter().map(AuditRow::from).collect(), next_before }))
}
