//! The daemon's configuration: written values from several layers become settings that can't be wrong.
//!
//! [`reader`] finds and checks single [values](value), [`table`] the tables that stand for one thing each, and one file a topic declares the
//! settings. Every mistake is found before a port is bound or a file is made, and all of them are said at once.

mod effective;
#[cfg(test)]
mod fuzz_tests;
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
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_actors::gateway_record::GatewaySpec;
use gatewarden_actors::notifier::destination::Destination;
use gatewarden_actors::settings::{
    ElectionSettings, GatewaySettings, ProcessSettings, RestartSettings, RetentionSettings,
};
use gatewarden_actors::store::StoreOptions;
use gatewarden_protocol::Secret;

use crate::http::settings::HttpSettings;

pub(crate) use effective::{Effect, EffectiveValue};
pub(crate) use gateway::WorkSettings;
pub(crate) use reader::{API_KEY_VARIABLE, URL_VARIABLE};
pub(crate) use reader::{ConfigError, DEFAULT_FILE, Inputs, must_be_private};
pub(crate) use store::{BackupSettings, LogFormat, LogSettings, NodeSettings};
pub(crate) use units::{parse_duration, show_duration};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Short enough for any test, long enough that a slip of a unit isn't a flood.
const SHORTEST: Duration = Duration::from_millis(10);

/// A configuration that has been checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the database, the keys and the lock live; absolute.
    pub(crate) state_dir: PathBuf,
    /// Where systemd put credentials, if it did.
    pub(crate) credentials_dir: Option<PathBuf>,
    /// Address to listen on; port 0 takes any free one.
    pub(crate) listen: SocketAddr,
    pub(crate) http: HttpSettings,
    pub(crate) node: NodeSettings,
    /// The admin key of the configuration; without it the first start makes one.
    pub(crate) api_key: Option<Secret>,
    pub(crate) store: StoreOptions,
    pub(crate) backups: BackupSettings,
    pub(crate) retention: RetentionSettings,
    pub(crate) gateway: GatewaySettings,
    pub(crate) election: ElectionSettings,
    pub(crate) restarts: RestartSettings,
    /// Routing and limits of work; read by the routes that give gateways work.
    pub(crate) work: WorkSettings,
    /// Gateways that are processes of this machine.
    pub(crate) processes: Arc<ProcessSettings>,
    /// The gateway that is made where there is none.
    pub(crate) seed: GatewaySpec,
    pub(crate) notifications: Vec<Destination>,
    pub(crate) log: LogSettings,
    /// What is odd and no reason not to start: to be logged.
    pub(crate) warnings: Vec<String>,
    /// Every setting as it counts, for people.
    pub(crate) effective: Vec<EffectiveValue>,
}

impl Config {
    /// Reads and checks everything, in the order in which settings are shown. Touches nothing but the files that it reads.
    pub(crate) fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let reader = &mut reader::Reader::new(inputs);
        let state_dir = store::state_dir(reader);
        let listen = http::listen(reader);
        let mut http = http::front(reader);
        let node = store::node(reader);
        let store = store::options(reader, &state_dir);
        let retention = store::retention(reader);
        let backups = store::backups(reader, &store);
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
        http.point_patience = gateway.probe_interval.saturating_mul(2).saturating_add(Duration::from_secs(60));
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
            node,
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
