//! The daemon's own state: `/health`, `/api/health` and `/ready` for load balancers and supervisors, without a key;
//! `/api/status` in one document; `/metrics` for whom `metrics.access` lets read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_report::Status;
use gatewarden_actors::metrics::{ConnectionFigures, Metrics};
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_api::ErrorBody;
use gatewarden_api::daemon::{
    ActingPrimaryStatus, DaemonStatus, GatewayCounts, Health, PrimaryStatus, Ready, RegistryStatus, StoreStatus,
};
use gatewarden_listener::Connections;

use super::auth::{Authorized, Viewer};
use super::context::App;
use super::error::Answer;
use super::peer::is_direct_loopback;
use super::settings::MetricsAccess;

/// It lives, since so many seconds.
pub(crate) fn lives(uptime: u64) -> HttpResponse {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    HttpResponse::Ok().json(Health { status: "ok".to_owned(), version, uptime })
}

/// All metrics, as Prometheus reads them. `front`: of the node's clients.
pub(crate) fn metrics_of(metrics: &Metrics, front: &Connections) -> HttpResponse {
    let connections = front.figures();
    metrics.set_connections(ConnectionFigures {
        open: connections.open,
        unread_bytes: connections.bytes,
        refused: connections.refused.to_vec(),
        ended: connections.ended.to_vec(),
    });
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(metrics.render())
}

/// Is the daemon alive?
#[utoipa::path(tag = "Daemon", responses((status = 200, description = "It is", body = Health)), security(()))]
#[get("/health")]
pub(crate) async fn health(app: App) -> HttpResponse {
    lives(app.uptime_s())
}

/// Is the daemon alive? (The same under /api.)
#[utoipa::path(
    tag = "Daemon",
    responses(
        (status = 200, description = "It is", body = Health),
        (status = 421, description = "Foreign Host header", body = ErrorBody),
    ),
    security(()),
)]
#[get("/api/health")]
pub(crate) async fn api_health(app: App) -> HttpResponse {
    lives(app.uptime_s())
}

/// Is the daemon ready?
///
/// The store is migrated, the registry runs, the socket is bound. It does not mean that any gateway is reached.
#[utoipa::path(
    tag = "Daemon",
    responses(
        (status = 200, description = "It is", body = Ready),
        (status = 503, description = "It is starting or stopping, or another node acts", body = ErrorBody),
    ),
    security(()),
)]
#[get("/ready")]
pub(crate) async fn ready(app: App) -> Answer {
    match app.readiness.why_not() {
        None => app
            .node
            .check(app.clock.uptime_ms())
            .map_err(Into::into)
            .map(|()| HttpResponse::Ok().json(Ready { ready: true })),
        Some(state) => Err(Failure::new(ErrorCode::Unavailable, format!("The daemon is {state}"))
            .with_retry_after(Duration::from_secs(1))
            .into()),
    }
}

/// Who acts as primary.
pub(crate) fn acting_primary(roster: &RosterReader) -> Option<ActingPrimaryStatus> {
    let acting = roster.acting_primary()?;
    // It may have been renamed since its election.
    let name = roster.get(acting.id).map_or_else(|| acting.name.clone(), |view| view.record.name.clone());
    Some(ActingPrimaryStatus {
        id: acting.id.0,
        name,
        reason: acting.reason.clone(),
        until: acting.until_ms.map(|ms| ms.div_euclid(1000)),
    })
}

/// How many gateways of each status there are.
pub(crate) fn counted(views: &[Arc<GatewayView>]) -> GatewayCounts {
    let mut by_status: BTreeMap<String, usize> =
        Status::ALL.iter().map(|status| (status.as_str().to_owned(), 0)).collect();
    for view in views {
        *by_status.entry(view.report.status.as_str().to_owned()).or_default() += 1;
    }
    GatewayCounts { total: views.len(), by_status }
}

/// Read the daemon's own state
#[utoipa::path(tag = "Daemon", responses((status = 200, description = "The state", body = DaemonStatus)))]
#[get("/api/status")]
pub(crate) async fn read_status(_by: Authorized<Viewer>, app: App) -> HttpResponse {
    let views = app.roster.list();
    let sessions = views.iter().filter_map(|view| view.report.sessions_count).map(i64::from).sum();
    let primary = views.first().filter(|view| view.record.is_primary).map(|view| PrimaryStatus {
        id: view.record.id.0,
        name: view.record.name.clone(),
        status: view.report.status.as_str().to_owned(),
    });
    // The writer answers without touching the database, so this doesn't wait for a locked one.
    let store_error = match tokio::time::timeout(Duration::from_secs(1), app.store.ping_writer()).await {
        Ok(Ok(())) => app.store.last_write_fault().map(|fault| fault.message),
        Ok(Err(failure)) => Some(failure.message),
        Err(_elapsed) => Some("The store is busy: its writer did not answer within 1 s".to_owned()),
    };
    let (writer_queue, reader_queue) = app.store.queue_depth();
    let self_doubt = app.roster.self_doubt().map(|reason| (*reason).clone());
    let registry_ok = app.registry.is_open();
    let is_well = store_error.is_none() && registry_ok && self_doubt.is_none();
    HttpResponse::Ok().json(DaemonStatus {
        status: if is_well { "ok" } else { "degraded" }.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: app.uptime_s(),
        ready: app.readiness.why_not().is_none() && app.node.check(app.clock.uptime_ms()).is_ok(),
        primary,
        acting_primary: acting_primary(&app.roster),
        gateways: counted(&views),
        sessions,
        store: StoreStatus { ok: store_error.is_none(), writer_queue, reader_queue, error: store_error },
        registry: RegistryStatus { ok: registry_ok, in_flight: app.registry.in_flight() },
        self_doubt,
    })
}

/// Read the daemon's metrics
///
/// Who may is set by `metrics.access`: nobody, a direct peer on this machine (the default), whoever has a key, or everybody.
#[utoipa::path(
    tag = "Daemon",
    responses(
        (status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain"),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Only from this machine", body = ErrorBody),
        (status = 404, description = "Switched off", body = ErrorBody),
        (status = 421, description = "The `Host` header names nothing that is served here", body = ErrorBody),
        (status = 429, description = "Too many wrong keys from this address", body = ErrorBody),
    ),
    security((), ("api_key" = []), ("bearer" = [])),
)]
#[get("/metrics")]
pub(crate) async fn read_metrics(app: App, request: HttpRequest) -> Answer {
    match app.settings.metrics_access {
        MetricsAccess::Public => {}
        MetricsAccess::Off => {
            return Err(Failure::new(ErrorCode::NotFound, "Metrics are switched off (metrics.access)").into());
        }
        MetricsAccess::Loopback if is_direct_loopback(&request) => {}
        MetricsAccess::Loopback => {
            return Err(Failure::new(ErrorCode::Forbidden, "Metrics are given out to this machine only")
                .with_help("Set metrics.access to key or public in the configuration.")
                .into());
        }
        MetricsAccess::Key => {
            app.door().check_header(&request)?;
        }
    }
    app.metrics.set_registry_requests(app.registry.in_flight());
    Ok(metrics_of(&app.metrics, &app.connections))
}
