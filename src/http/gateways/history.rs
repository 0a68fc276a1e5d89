//! `GET /api/gateways/health/history`: the health log.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway_report::HealthPoint;
use gatewarden_actors::gateway_report::Status;
use gatewarden_actors::ids::GatewayId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::auth::{By, GatewayViewer};
use crate::http::error::{ApiError, ErrorBody, KeyErrors};
use crate::http::front::Front;
use crate::http::gateway_object::{seconds, whole_ms};
use crate::http::query::Query;

/// A week, which is as long as points are kept.
const LONGEST_HOURS: i64 = 24 * 7;

/// The health log.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthHistory {
    /// One element for each gateway.
    pub history: Vec<GatewayHistory>,
}

/// The health log of one gateway.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayHistory {
    /// Which.
    pub gateway_id: i64,
    /// Its name.
    pub name: String,
    /// Newest first.
    pub entries: Vec<HealthHistoryEntry>,
}

/// One point: a change of status, or what a probe interval came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthHistoryEntry {
    /// `online`, `offline` or `error`.
    #[schema(example = "online")]
    pub status: String,
    /// Milliseconds.
    pub latency: Option<i64>,
    /// Unix seconds.
    pub probed_at: i64,
    /// What was wrong.
    pub error: Option<String>,
    /// Smallest latency of the interval, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_min: Option<f64>,
    /// Average latency of the interval, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_avg: Option<f64>,
    /// Largest latency of the interval, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_max: Option<f64>,
    /// Heartbeats missed in the interval.
    pub misses: u32,
}

/// Read the health log
#[utoipa::path(
    operation_id = "read_health_history",
    tag = "Gateways",
    params(
        ("gateway_id" = Option<i64>, Query, description = "One gateway; else all", minimum = 1),
        ("hours" = Option<u32>, Query, description = "How far back; 24 by default", minimum = 1, maximum = 168),
        ("limit" = Option<usize>, Query, description = "Entries a gateway; 300 by default, more than 3000 is capped", minimum = 1),
    ),
    responses(
        (status = 200, description = "Newest first", body = HealthHistory),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/gateways/health/history")]
pub(crate) async fn history(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let only = query.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    let hours = query.integer("hours", 1..=LONGEST_HOURS).unwrap_or(24);
    let limit = query.capped("limit", 3000).unwrap_or(300);
    query.problems.into_result()?;
    let views = match only {
        Some(id) => vec![front.app.roster.get(id).ok_or_else(|| Failure::gateway_not_found(id))?],
        None => front.app.roster.list(),
    };
    let since_ms = front.app.clock.wall_ms().saturating_sub(hours.saturating_mul(3_600_000));
    let mut by_gateway: HashMap<GatewayId, Vec<HealthHistoryEntry>> = HashMap::new();
    for entry in front.app.store.health_history(only, since_ms, limit).await? {
        by_gateway.entry(entry.gateway_id).or_default().push(HealthHistoryEntry::of(&entry.point));
    }
    let history = views
        .iter()
        .map(|view| GatewayHistory {
            gateway_id: view.record.id.0,
            name: view.record.name.clone(),
            entries: by_gateway.remove(&view.record.id).unwrap_or_default(),
        })
        .collect();
    Ok(HttpResponse::Ok().json(HealthHistory { history }))
}

impl HealthHistoryEntry {
    fn of(point: &HealthPoint) -> Self {
        Self {
            status: documented_status(point).to_owned(),
            latency: point.latency_ms.and_then(whole_ms),
            probed_at: seconds(point.at_ms),
            error: point.error.clone(),
            latency_min: point.latency_min_ms,
            latency_avg: point.latency_avg_ms,
            latency_max: point.latency_max_ms,
            misses: point.misses,
        }
    }
}

/// A degraded gateway that answers with a latency is slow, one without is refused.
fn documented_status(point: &HealthPoint) -> &'static str {
    match point.status {
        Status::Online => "online",
        Status::Degraded if point.latency_ms.is_some() => "online",
        Status::Degraded => "error",
        Status::Timeout | Status::Offline | Status::Unknown => "offline",
    }
}
