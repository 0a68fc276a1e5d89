//! Settings of the HTTP front, already validated by the daemon's configuration.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_listener::Limits;
pub use gatewarden_protocol::forwarded::Network;

use crate::templates::Templates;

/// Everything that the HTTP front can be told (sections `http`, `auth`, `rate_limit` and `metrics` of the configuration).
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Host names that a `Host` header may carry, without a port. IP literals always pass; `localhost` is in the default.
    pub allowed_hosts: Vec<String>,
    /// Origins (`https://dash.example.com`) that get CORS headers; empty: no CORS at all.
    pub cors_origins: Vec<String>,
    /// Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; loopback.
    pub trusted_proxies: Vec<Network>,
    /// Who may read `/metrics`; loopback.
    pub metrics_access: MetricsAccess,
    /// Rate limits.
    pub rate_limits: RateLimits,
    /// Whether an operator (and not only an admin) gets gateway tokens from `/api/gateways/connect`; true.
    pub operators_see_tokens: bool,
    /// How long a browser session lasts after its login; 12 h.
    pub session_lifetime: Duration,
    /// Connections of clients, and what they may hold; 4,096, of one address 256, and 64 MiB.
    pub connections: Limits,
    /// Worker threads; 2.
    pub workers: usize,
    /// Largest request body in bytes; 1 MiB.
    pub body_limit: usize,
    /// Deadline of a message to the registry; 12 s: a write whose turn doesn't come is withdrawn before, so that its client learns
    /// that for certain.
    pub request_deadline: Duration,
    /// Deadline of a request that is passed on to a gateway; 30 s (the same as `gateway.request_timeout`).
    pub gateway_timeout: Duration,
    /// How long a gateway may be away in the middle of work with its agents, over a restart for its changed configuration; 30 s
    /// (the same as `gateway.restarting_grace`, at most 5 min, since somebody waits for the answer).
    pub restart_patience: Duration,
    /// The oldest release that the organization API registers: a calendar version; `2026.02.9`.
    pub gateway_min_version: String,
    /// How long a point of the health log says how its gateway is: a little longer than two of `gateway.probe_interval`.
    pub point_patience: Duration,
    /// Budget of one health probe; 5 s (the same as `gateway.probe_timeout`).
    pub probe_timeout: Duration,
    /// How long open requests may take to end after the stop; 5 s.
    pub shutdown_timeout: Duration,
    /// The files that agents are given; the shipped ones.
    pub templates: Arc<Templates>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: vec!["localhost".to_owned()],
            cors_origins: Vec::new(),
            trusted_proxies: Network::loopback(),
            metrics_access: MetricsAccess::Loopback,
            rate_limits: RateLimits::default(),
            operators_see_tokens: true,
            session_lifetime: Duration::from_secs(12 * 60 * 60),
            connections: connection_limits(4_096, 256, 64 * 1024 * 1024),
            workers: 2,
            body_limit: 1024 * 1024,
            request_deadline: Duration::from_secs(12),
            gateway_timeout: Duration::from_secs(30),
            restart_patience: Duration::from_secs(30),
            gateway_min_version: "2026.02.9".to_owned(),
            point_patience: Duration::from_secs(660),
            probe_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(5),
            templates: Arc::default(),
        }
    }
}

/// Limits on connections, of so many in all and so many of one address. Through a trusted proxy, and from this machine, nearly
/// all may come; some are left for those who come straight.
pub fn connection_limits(connections: usize, per_address: usize, bytes: usize) -> Limits {
    let per_shared_address = connections.saturating_sub(connections / 8).max(1);
    Limits { connections, per_address: per_address.min(connections), per_shared_address, bytes }
}

/// How many clients may follow events: the rest of the connections is left for requests.
pub fn event_places(limits: &Limits) -> usize {
    (limits.connections / 3 * 2).max(1)
}

/// Limits by API key, and the one on wrong keys by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimits {
    /// `false` turns all off but the limit on wrong keys; true.
    pub enabled: bool,
    /// Gateway operations a minute and key, which is also the burst; 100.
    pub gateway_per_minute: NonZeroU32,
    /// Reads of gateways a minute and browser session, which is also the burst; 1,000.
    pub browser_per_minute: NonZeroU32,
    /// Spawns a minute and key, which is also the burst; 60.
    pub spawn_per_minute: NonZeroU32,
    /// One manual health check in this time and key; 10 s.
    pub health_interval: Duration,
    /// Controls of one session a minute, whoever asks for them, which is also the burst; 10.
    pub control_per_minute: NonZeroU32,
    /// Wrong keys a minute and address, logins among them, which is also the burst; 5.
    pub wrong_keys_per_minute: NonZeroU32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            enabled: true,
            gateway_per_minute: NonZeroU32::MIN.saturating_add(99),
            browser_per_minute: NonZeroU32::MIN.saturating_add(999),
            spawn_per_minute: NonZeroU32::MIN.saturating_add(59),
            health_interval: Duration::from_secs(10),
            control_per_minute: NonZeroU32::MIN.saturating_add(9),
            wrong_keys_per_minute: NonZeroU32::MIN.saturating_add(4),
        }
    }
}

/// Who may read `/metrics` (`metrics.access`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricsAccess {
    /// Nobody: the route answers 404.
    Off,
    /// A loopback peer whose request carries no forwarding header.
    #[default]
    Loopback,
    /// Whoever has a key of any role.
    Key,
    /// Everybody.
    Public,
}

impl FromStr for MetricsAccess {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "loopback" => Ok(Self::Loopback),
            "key" => Ok(Self::Key),
            "public" => Ok(Self::Public),
            other => Err(format!("\"{other}\" is not one of off, loopback, key, public")),
        }
    }
}
