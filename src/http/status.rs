//! `GET /api/status`: the daemon's own state in one document.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, web};
use gatewarden_actors::gateway_report::Status as GatewayStatus;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{By, Viewer};
use super::error::KeyErrors;
use super::front::Front;

/// The daemon's own state.
#[derive(Debug, Serialize, ToSchema)]
pub struct DaemonStatus {
    /// `ok`, or `degraded` while the store or the registry fails or the daemon doubts its own network.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// Release.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime: u64,
    /// Whether `/ready` says so.
    pub ready: bool,
    /// The configured primary.
    pub primary: Option<PrimaryStatus>,
    /// Who acts as primary.
    pub acting_primary: Option<ActingPrimaryStatus>,
    /// Gateways.
    pub gateways: GatewayCounts,
    /// Active sessions on all gateways.
    pub sessions: i64,
    /// The store.
    pub store: StoreStatus,
    /// The registry.
    pub registry: RegistryStatus,
    /// Why the daemon doubts its own network, while it does.
    pub self_doubt: Option<String>,
}

/// The configured primary.
#[derive(Debug, Serialize, ToSchema)]
pub struct PrimaryStatus {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: String,
}

/// The acting primary.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActingPrimaryStatus {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Why it acts.
    pub reason: String,
}

/// How many gateways there are.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayCounts {
    /// All.
    pub total: usize,
    /// By status; every status is there.
    #[schema(example = json!({"online": 3, "degraded": 0, "timeout": 0, "offline": 1, "unknown": 0}))]
    pub by_status: BTreeMap<&'static str, usize>,
}

/// State of the store.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoreStatus {
    /// Whether its writer answers, and the last write worked.
    pub ok: bool,
    /// Writes admitted and not finished.
    pub writer_queue: usize,
    /// Reads admitted and not finished.
    pub reader_queue: usize,
    /// What is wrong.
    pub error: Option<String>,
}

/// State of the registry.
#[derive(Debug, Serialize, ToSchema)]
pub struct RegistryStatus {
    /// Whether it runs.
    pub ok: bool,
    /// Requests from HTTP that wait for it.
    pub in_flight: usize,
}

/// Read the daemon's own state
#[utoipa::path(
    operation_id = "read_status",
    tag = "Daemon",
    responses((status = 200, description = "The state", body = DaemonStatus), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/status")]
pub(crate) async fn status(_by: By<Viewer>, front: web::Data<Front>) -> HttpResponse {
    let views = front.app.roster.list();
    let mut by_status: BTreeMap<&'static str, usize> =
        GatewayStatus::ALL.iter().map(|status| (status.as_str(), 0)).collect();
    let mut sessions = 0_i64;
    for view in &views {
        *by_status.entry(view.report.status.as_str()).or_default() += 1;
        sessions = sessions.saturating_add(view.report.sessions_count.map_or(0, i64::from));
    }
    let primary = views.first().filter(|view| view.record.is_primary).map(|view| PrimaryStatus {
        id: view.record.id.0,
        name: view.record.name.clone(),
        status: view.report.status.as_str().to_owned(),
    });
    let acting_primary = front.app.roster.acting_primary().map(|acting| ActingPrimaryStatus {
        id: acting.id.0,
        name: acting.name.clone(),
        reason: acting.reason.clone(),
    });
    // The writer answers without touching the database, so this doesn't wait for a locked one.
    let answered = tokio::time::timeout(std::time::Duration::from_secs(1), front.app.store.ping_writer()).await;
    let store_error = match answered {
        Ok(Ok(())) => front.app.store.last_write_fault().map(|fault| fault.message),
        Ok(Err(failure)) => Some(failure.message),
        Err(_elapsed) => Some("The store is busy: its writer did not answer within 1 s".to_owned()),
    };
    let (writer_queue, reader_queue) = front.app.store.queue_depth();
    let self_doubt = front.app.roster.self_doubt().map(|reason| (*reason).clone());
    let registry_ok = front.app.registry.is_open();
    let is_well = store_error.is_none() && registry_ok && self_doubt.is_none();
    HttpResponse::Ok().json(DaemonStatus {
        status: if is_well { "ok" } else { "degraded" },
        version: env!("CARGO_PKG_VERSION"),
        uptime: front.uptime_s(),
        ready: front.app.readiness.why_not().is_none(),
        primary,
        acting_primary,
        gateways: GatewayCounts { total: views.len(), by_status },
        sessions,
        store: StoreStatus { ok: store_error.is_none(), writer_queue, reader_queue, error: store_error },
        registry: RegistryStatus { ok: registry_ok, in_flight: front.app.registry.in_flight() },
        self_doubt,
    })
}
