//! The gateway as a whole: bound, started, stopped.

mod accept;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor as _;
use gatewarden_listener::MemoryBudget;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::announcement::{Announcement, Announcer};
use crate::auth::Ingress;
use crate::clock::Now;
use crate::config::{Bind, ConfigFile, GatewayConfig, Mdns};
use crate::connection_limits::{ConnectionLimits, LARGE_MESSAGES};
use crate::context::{GatewayContext, Phase};
use crate::core_actor::{CoreActor, Stop};
use crate::loading::{LoadError, read_state};
use crate::log_sinks::LogSinks;
use crate::machine::GatewayMachine;
use crate::metrics::GatewayMetrics;
use crate::private_files::make_private;
use crate::tailnet::NoTailnet;
use crate::tailscale::Tailscale;
use crate::tailscale::route::Keeper;
use crate::webhook_bodies::Bodies;
use crate::wide_area;

/// How long connections may take to end after they were told to.
const CONNECTIONS_END_WITHIN: Duration = Duration::from_secs(5);

/// What bodies of strangers may take together while they are read, in bytes.
const WEBHOOK_BODIES: usize = 16 * 1024 * 1024;

/// Why a gateway doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address can't be had.
    #[error("the gateway can't listen at {address}: {source}{}", bind_help(source, keys))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The keys of the configuration that say the address and the port.
        keys: ListenKeys,
        /// What the system says.
        source: io::Error,
    },
    /// It is to listen in a tailnet.
    #[error(transparent)]
    Tailnet(#[from] NoTailnet),
    /// The state directory can't be made, or is another user's.
    #[error("the state directory {path} can't be used: {source}; make it, or choose another one")]
    StateDirectory {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate or its key can't be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// What the gateway had kept can't be read.
    #[error(transparent)]
    State(#[from] LoadError),
    /// Anything else that should never happen.
    #[error("the gateway can't start: {0}")]
    Other(String),
}

/// Where the configuration says what is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenKeys {
    address: &'static str,
    port: &'static str,
}

const GATEWAY_KEYS: ListenKeys = ListenKeys { address: "gateway.bind", port: "gateway.port" };
const METRICS_KEYS: ListenKeys = ListenKeys { address: "gatewarden.metrics.address", port: "gatewarden.metrics.port" };

fn bind_help(error: &io::Error, ListenKeys { address, port }: &ListenKeys) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("; another program listens there: stop it, or choose another `{port}`"),
        io::ErrorKind::PermissionDenied => format!("; ports below 1024 need a privilege: choose another `{port}`"),
        io::ErrorKind::AddrNotAvailable => format!("; this machine has no such address: change `{address}`"),
        _ => String::new(),
    }
}

/// A gateway that runs. Dropping it leaves it running until its actix system ends; [`Running::stop`] ends it in order.
#[derive(Debug)]
pub struct Running {
    /// Where WebSocket and HTTP are served.
    pub address: SocketAddr,
    /// Where the metrics are; none where they are off or their port was taken.
    pub metrics_address: Option<SocketAddr>,
    /// Whether WebSocket and HTTP are encrypted.
    pub encrypted: bool,
    context: Rc<GatewayContext>,
    phase: watch::Sender<Phase>,
    serving: Vec<JoinHandle<()>>,
    announcer: Option<Announcer>,
    route: Option<Keeper>,
}

/// Starts a gateway inside the present actix system and returns once it can be connected to.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: GatewayConfig) -> Result<Running, StartError> {
    start_with(config, None, LogSinks::default()).await
}

/// The same with a log and an audit log; and with what the configuration was made of, by which it can be changed.
///
/// # Errors
/// See [`StartError`].
pub async fn start_with(
    config: GatewayConfig,
    config_file: Option<ConfigFile>,
    log_sinks: LogSinks,
) -> Result<Running, StartError> {
    let path = &config.state_dir;
    make_private(path).map_err(|source| StartError::StateDirectory { path: path.clone(), source })?;
    let address = SocketAddr::new(config.bind.address()?, config.port);
    let (listener, address) = listen(address, GATEWAY_KEYS).await?;
    let near = |port| listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), GATEWAY_KEYS);
    // Programs of this machine find it where they look for it.
    let also = if config.bind == Bind::Tailnet { Some(near(address.port()).await?.0) } else { None };
    let encryption = config.tls.as_ref().map(|tls| tls::acceptor(tls, &config, address.ip())).transpose()?;
    let is_announced = config.mdns != Mdns::Off || config.wide_area.is_some();
    let fingerprint = config.tls.as_ref().filter(|_| is_announced).map(tls::fingerprint).transpose()?;
    let metrics = GatewayMetrics::new().map_err(|error| StartError::Other(error.to_string()))?;
    let started = Now::read();
    metrics.start_time.set(started.wall_ms / 1_000);
    // What a port of 0 became is what the gateway tells of itself.
    let config = Arc::new(GatewayConfig { port: address.port(), ..config });
    let loaded = read_state(&config)?;
    let tailscale = Tailscale::of(&config.tailscale, &config.state_dir).map(Rc::new);
    let (phase, present) = watch::channel(Phase::Serving);
    let (configure, live_config) = watch::channel(Arc::clone(&config));
    let context = Rc::new(GatewayContext {
        core: CoreActor::new(configure, config_file, loaded, metrics.clone(), log_sinks).start(),
        budget: MemoryBudget::new(LARGE_MESSAGES),
        unread: MemoryBudget::new(config.limits.max_buffered_total),
        webhook_bodies: Bodies::new(WEBHOOK_BODIES),
        limits: ConnectionLimits::new(&config.limits, metrics.connections.clone()),
        bound: address.ip(),
        phase: present,
        tailscale: tailscale.clone(),
        started: started.at,
        metrics,
        live_config,
    });
    let encrypted = encryption.is_some();
    let ordinary = Ingress::Ordinary;
    let mut serving = vec![accept::gateway(listener, encryption.clone(), ordinary, Rc::clone(&context)).await?];
    if let Some(also) = also {
        serving.push(accept::gateway(also, encryption, ordinary, Rc::clone(&context)).await?);
    }
    let mut metrics_address = None;
    if let Some(metrics) = config.metrics {
        // A gateway is of use without its metrics; their default port is also that of Prometheus itself (document 002).
        match listen(SocketAddr::new(metrics.address, metrics.port), METRICS_KEYS).await {
            Ok((listener, address)) => {
                serving.push(accept::metrics(listener, Rc::clone(&context)).await?);
                metrics_address = Some(address);
            }
            Err(error) => tracing::warn!(%error, "the gateway runs without its metrics"),
        }
    }
    tracing::info!(%address, encrypted, "the gateway listens");
    let mut route = None;
    if let Some(tailscale) = tailscale {
        let (listener, handed_on) = near(0).await?;
        let ingress = Ingress::Tailscale(tailscale.mode);
        serving.push(accept::gateway(listener, None, ingress, Rc::clone(&context)).await?);
        route = Some(Keeper::begin(tailscale, Rc::clone(&context), handed_on.port()));
    }
    if let Some(domain) = config.wide_area.as_ref().filter(|_| !address.ip().is_loopback()) {
        let what = Announcement::of_machine(&config, fingerprint.as_deref());
        wide_area::publish(domain, &what, config.port, address.ip(), &config.state_dir, started.wall_ms);
    }
    let announcer = Announcer::begin(&config, address.ip(), fingerprint.as_deref());
    Ok(Running { address, metrics_address, encrypted, context, phase, serving, announcer, route })
}

impl Running {
    /// The base of its HTTP addresses, for instance `http://127.0.0.1:18789`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.encrypted { "https" } else { "http" }, self.reachable())
    }

    /// The address of its WebSocket, for instance `ws://127.0.0.1:18789`.
    pub fn websocket_url(&self) -> String {
        format!("{}://{}", if self.encrypted { "wss" } else { "ws" }, self.reachable())
    }

    /// An address that a client on this machine can connect to.
    fn reachable(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        address
    }

    /// Has the gateway take its configuration's file over; what comes of it is in its log and its status.
    pub async fn reload(&self) {
        let _ = self.context.in_turn(GatewayMachine::reload_configuration).await;
    }

    /// Stops in order: no new connections; `shutdown` to those who listen; every child process ended; every connection closed
    /// with 1012; everything written.
    pub async fn stop(self) {
        // Nobody is to find a gateway that ends.
        if let Some(announcer) = self.announcer {
            announcer.end().await;
        }
        if let Some(route) = self.route {
            route.end().await;
        }
        self.phase.send_replace(Phase::Draining);
        let _ = self.context.core.send(Stop).await;
        self.phase.send_replace(Phase::Stopped);
        for serving in self.serving {
            let _ = serving.await;
        }
    }
}

async fn listen(address: SocketAddr, keys: ListenKeys) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { address, keys, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn a_taken_port_is_told_by_the_key_that_says_it() {
        let (_taken, address) = listen(SocketAddr::from(([127, 0, 0, 1], 0)), GATEWAY_KEYS).await.unwrap();
        for (keys, key) in [(GATEWAY_KEYS, "`gateway.port`"), (METRICS_KEYS, "`gatewarden.metrics.port`")] {
            let said = listen(address, keys).await.unwrap_err().to_string();
            assert!(said.ends_with(&format!("choose another {key}")), "{said}");
        }
    }
}
