//! Everything that handlers share, made once at the start and given to all workers.

use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use gatewarden_listener::Connections;

use super::audit::Refusals;
use super::body_budget::BodyBudget;
use super::gateways::list_body::ListBody;
use super::rate_limit::Limits;
use super::request_id::RequestIds;
use super::route_table::RouteTable;
use super::settings::HttpSettings;
use super::state::AppState;

/// What handlers and middleware may reach.
pub struct Front {
    /// As configured.
    pub settings: HttpSettings,
    /// What the daemon handed over.
    pub app: AppState,
    /// Rate limits.
    pub limits: Limits,
    /// Refusals that the audit log takes.
    pub refusals: Refusals,
    /// The body of `GET /api/gateways`, kept while nothing changes.
    pub list: ListBody,
    /// Clients' connections.
    pub connections: Connections,
    /// Memory for the bodies of requests.
    pub bodies: BodyBudget,
    /// Draws request ids.
    pub request_ids: RequestIds,
    /// Which methods each path takes.
    pub table: RouteTable,
    openapi: OnceLock<Bytes>,
    started: Instant,
}

impl Front {
    /// Prepares what the workers share.
    pub fn new(settings: HttpSettings, app: AppState) -> Self {
        let proxies = settings.trusted_proxies.clone();
        let connections = Connections::new(settings.connections, move |address| {
            proxies.iter().any(|network| network.contains(address))
        });
        Self {
            connections,
            bodies: BodyBudget::default(),
            limits: Limits::new(&settings.rate_limits, &app.clock),
            refusals: Refusals::default(),
            list: ListBody::default(),
            request_ids: RequestIds::new(),
            table: RouteTable::of_api(),
            openapi: OnceLock::new(),
            started: app.clock.now(),
            settings,
            app,
        }
    }

    /// The OpenAPI document, serialized: made when it is asked for first.
    pub fn openapi(&self) -> Bytes {
        self.openapi.get_or_init(super::openapi::serialized).clone()
    }

    /// Unix seconds.
    pub fn now_s(&self) -> i64 {
        self.app.clock.wall_ms().div_euclid(1000)
    }

    /// Seconds since the start.
    pub fn uptime_s(&self) -> u64 {
        self.app.clock.now().saturating_duration_since(self.started).as_secs()
    }
}
