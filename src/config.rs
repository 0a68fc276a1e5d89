//! The daemon's configuration: written values from several layers become settings that can't be wrong.
//!
//! [`layers`] gathers what was written and where, [`reading`] checks it, and one file a topic builds the settings. Every
//! mistake is found before a port is bound or a file is made, and all of them are said at once.

mod byte_size;
mod duration;
mod effective;
mod gateway;
mod http;
mod keys;
mod layers;
mod log;
mod notifications;
mod problem;
mod processes;
mod reading;
mod secrets;
mod seed;
mod store;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use gatewarden_actors::gateway_record::GatewaySpec;
use gatewarden_actors::notifier::destination::Destination;
use gatewarden_actors::settings::{
    ElectionSettings, GatewaySettings, ProcessSettings, RestartSettings, RetentionSettings, RoutingSettings,
};
use gatewarden_actors::store::StoreOptions;
use gatewarden_protocol::Secret;

use crate::http::HttpSettings;

pub use effective::{Change, Effect, EffectiveValue};
pub use layers::{DEFAULT_FILE, Inputs};
pub use log::{LogFormat, LogSettings};
pub use problem::{ConfigError, Problem};
pub use store::BackupSettings;

/// A configuration that has been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the database, the keys and the lock live; absolute.
    pub state_dir: PathBuf,
    /// Where systemd put credentials, if it did.
    pub credentials_dir: Option<PathBuf>,
    /// Address to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The HTTP front.
    pub http: HttpSettings,
    /// The admin key of the configuration; without it the first start makes one.
    pub api_key: Option<Secret>,
    /// The database.
    pub store: StoreOptions,
    /// Backups that the daemon makes by itself.
    pub backups: BackupSettings,
    /// How long health points are kept.
    pub retention: RetentionSettings,
    /// Each gateway's connection.
    pub gateway: GatewaySettings,
    /// The acting primary.
    pub election: ElectionSettings,
    /// Supervision of gateway actors.
    pub restarts: RestartSettings,
    /// Routing and limits of work; read by the routes that give gateways work.
    pub work: WorkSettings,
    /// Gateways that are processes of this machine.
    pub processes: Arc<ProcessSettings>,
    /// The gateway that is made where there is none.
    pub seed: GatewaySpec,
    /// Where notifications go.
    pub notifications: Vec<Destination>,
    /// Log lines.
    pub log: LogSettings,
    /// What is odd and no reason not to start: to be logged.
    pub warnings: Vec<String>,
    /// Every key as it counts, for people.
    pub effective: Vec<EffectiveValue>,
}

/// Settings of work given to gateways (sections `routing` and `rate_limit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkSettings {
    /// Where work goes that names no gateway, and how much of it one gateway gets.
    pub routing: RoutingSettings,
    /// How long a CLI tool may be silent, unless it announces longer intervals; 60 s.
    pub heartbeat_timeout: std::time::Duration,
    /// Between automatic syncs of agents; 15 min.
    pub agent_sync_interval: std::time::Duration,
    /// The oldest gateway version that the organization API accepts; 2026.02.9.
    pub min_version: String,
}

impl Config {
    /// Reads and checks everything. Touches nothing but the files that it reads.
    ///
    /// # Errors
    /// Every unknown key and every wrong value, with its place.
    pub fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let (settings, written, named) = layers::gather(inputs, &mut problems);
        let mut notifications = notifications::read(inputs, &written, &mut problems);
        let commands = processes::commands(&named, &mut problems);
        let warnings = std::mem::take(&mut notifications.warnings);
        let mut reader = reading::Reader { settings: &settings, problems: &mut problems, warnings };
        let state_dir = store::state_dir(&mut reader);
        let gateway = gateway::gateway(&mut reader);
        let work = gateway::work(&mut reader);
        let config = Self {
            credentials_dir: secrets::credentials_dir(inputs),
            listen: http::listen(&mut reader),
            http: HttpSettings { gateway_min_version: work.min_version.clone(), ..http::front(&mut reader, &gateway) },
            api_key: http::api_key(&mut reader),
            store: store::options(&mut reader, &state_dir),
            backups: store::backups(&mut reader),
            retention: store::retention(&mut reader),
            election: gateway::election(&mut reader),
            restarts: gateway::restarts(&mut reader),
            work,
            processes: Arc::new(processes::settings(&mut reader, commands)),
            seed: seed::gateway(&mut reader),
            log: log::settings(&mut reader),
            warnings: reader.warnings,
            effective: effective::values(&settings, &named, &state_dir, &notifications, &written.file),
            notifications: notifications.destinations,
            state_dir,
            gateway,
        };
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }
}
