//! The daemon's configuration: written values from several layers become settings that can't be wrong.
//!
//! [`reader`] finds and checks single values, [`table`] the tables that stand for one thing each, and one file a topic declares the
//! settings. Every mistake is found before a port is bound or a file is made, and all of them are said at once.

mod effective;
mod gateway;
mod http;
mod notifications;
mod processes;
mod reader;
mod seed;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_actors::gateway_record::NewGateway;
use gatewarden_actors::notifier::destination::Destination;
use gatewarden_actors::settings::{
    ElectionSettings, GatewaySettings, ProcessSettings, RestartSettings, RetentionSettings,
};
use gatewarden_actors::store::options::StoreOptions;
use gatewarden_protocol::Secret;

use crate::http::HttpSettings;

pub use effective::{Change, Effect, EffectiveValue};
pub use gateway::WorkSettings;
pub(crate) use reader::{API_KEY_VARIABLE, URL_VARIABLE};
pub use reader::{ConfigError, DEFAULT_FILE, Inputs, Problem};
pub use store::{BackupSettings, LogFormat, LogSettings};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Short enough for any test, long enough that a slip of a unit isn't a flood.
const SHORTEST: Duration = Duration::from_millis(10);

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
    pub seed: NewGateway,
    /// Where notifications go.
    pub notifications: Vec<Destination>,
    /// Log lines.
    pub log: LogSettings,
    /// What is odd and no reason not to start: to be logged.
    pub warnings: Vec<String>,
    /// Every setting as it counts, for people.
    pub effective: Vec<EffectiveValue>,
}

impl Config {
    /// Reads and checks everything, in the order in which settings are shown. Touches nothing but the files that it reads.
    ///
    /// # Errors
    /// Every unknown key and every wrong value, with its place.
    pub fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let reader = &mut reader::Reader::new(inputs);
        let state_dir = store::state_dir(reader);
        let listen = http::listen(reader);
        let mut http = http::front(reader);
        let store = store::options(reader, &state_dir);
        let retention = store::retention(reader);
        let backups = store::backups(reader);
        let api_key = http::auth(reader, &mut http);
        http.rate_limits = http::rate_limits(reader);
        http.metrics_access = http::metrics_access(reader);
        let log = store::log(reader);
        let (gateway, agent_sync_interval, min_version) = gateway::gateway(reader);
        let heartbeat_timeout = gateway::direct_heartbeat_timeout(reader);
        http.templates = http::templates(reader);
        http.gateway_min_version.clone_from(&min_version);
        http.gateway_timeout = gateway.request_timeout;
        http.restart_patience = gateway.restarting_grace.min(300 * SECOND);
        http.probe_timeout = gateway.probe_timeout;
        let election = gateway::election(reader);
        let routing = gateway::routing(reader);
        let restarts = gateway::supervision(reader);
        let processes = processes::settings(reader);
        let seed = seed::gateway(reader);
        let notifications = notifications::destinations(reader);
        let processes = ProcessSettings { commands: processes::commands(reader), ..processes };
        reader.refuse_unknown();
        if !reader.problems.is_empty() {
            return Err(ConfigError { problems: std::mem::take(&mut reader.problems) });
        }
        Ok(Self {
            state_dir,
            credentials_dir: inputs.credentials_dir(),
            listen,
            http,
            api_key,
            store,
            backups,
            retention,
            gateway,
            election,
            restarts,
            work: WorkSettings { routing, heartbeat_timeout, agent_sync_interval, min_version },
            processes: Arc::new(processes),
            seed,
            notifications,
            log,
            warnings: std::mem::take(&mut reader.warnings),
            effective: std::mem::take(&mut reader.effective),
        })
    }
}
