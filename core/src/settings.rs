//! Settings of the tree, already validated by the daemon's configuration. Defaults are those of `docs/architecture.md`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use gatewarden_protocol::Secret;

use crate::dialing::memory_budget::{DEFAULT_PER_GATEWAY, DEFAULT_TOTAL};
use crate::machines::process_supervision::SupervisionSettings;
use crate::machines::routing::RoutingPolicy;

/// Settings of each `Gateway` actor (section `gateway` of the configuration).
#[derive(Debug, Clone, PartialEq)]
pub struct GatewaySettings {
    /// Between heartbeats; 30 s.
    pub heartbeat_interval: Duration,
    /// A heartbeat's reply is due within this; 10 s, at most a third of the interval if that is shorter.
    pub heartbeat_timeout: Duration,
    /// Misses in a row that force a reconnect; 3.
    pub missed_heartbeats: u32,
    /// Between automatic health points; 5 min.
    pub probe_interval: Duration,
    /// Budget of one probe, all steps together; 5 s.
    pub probe_timeout: Duration,
    /// Consecutive failures that open the breaker; 3.
    pub breaker_failures: u32,
    /// Delays before attempts 1, 2, ...; the last one repeats. Up to 20 % jitter comes on top.
    pub backoff: Vec<Duration>,
    /// A connection that stayed ready for this long resets the backoff; 60 s.
    pub stable_after: Duration,
    /// How long a gateway may say that it is starting; 5 min.
    pub starting_grace: Duration,
    /// How long an announced restart may take before it counts as failure; 30 s.
    pub restarting_grace: Duration,
    /// Above this round trip a ready gateway is degraded; 500 ms.
    pub degraded_latency: Duration,
    /// TCP, TLS and upgrade together; 10 s.
    pub dial_timeout: Duration,
    /// How long to wait for a challenge before the `rpc` dialect is tried; 5 s.
    pub challenge_timeout: Duration,
    /// The same where the `openclaw` dialect was ever seen; 10 s.
    pub known_challenge_timeout: Duration,
    /// The connect reply is due within this; 10 s.
    pub connect_timeout: Duration,
    /// Deadline of a request unless the caller says otherwise; 30 s.
    pub request_timeout: Duration,
    /// Re-check of a blocked gateway; 10 min.
    pub blocked_recheck: Duration,
    /// Slow resync of sessions and agents; 5 min.
    pub resync_interval: Duration,
    /// Protocol range offered; 3 to 4.
    pub protocols: RangeInclusive<u32>,
    /// Frame cap after connect, bytes; 26 MiB.
    pub max_frame: usize,
    /// Pending requests to one gateway; 256.
    pub max_pending: usize,
    /// What one gateway may make us hold, bytes; 32 MiB.
    pub memory_each: usize,
    /// What all gateways may make us hold together, bytes; 256 MiB.
    pub memory_total: usize,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(10),
            missed_heartbeats: 3,
            probe_interval: Duration::from_secs(300),
            probe_timeout: Duration::from_secs(5),
            breaker_failures: 3,
            backoff: [1, 2, 4, 8, 16, 30].map(Duration::from_secs).to_vec(),
            stable_after: Duration::from_secs(60),
            starting_grace: Duration::from_secs(300),
            restarting_grace: Duration::from_secs(30),
            degraded_latency: Duration::from_millis(500),
            dial_timeout: Duration::from_secs(10),
            challenge_timeout: Duration::from_secs(5),
            known_challenge_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            blocked_recheck: Duration::from_secs(600),
            resync_interval: Duration::from_secs(300),
            protocols: 3..=4,
            max_frame: 26 * 1024 * 1024,
            max_pending: 256,
            memory_each: DEFAULT_PER_GATEWAY,
            memory_total: DEFAULT_TOTAL,
        }
    }
}

/// Settings of the registry's election (section `election`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionSettings {
    /// Whether another gateway may act for the configured primary; true.
    pub auto_failover: bool,
    /// How long the configured primary must have been ready before it acts again; 30 s.
    pub failback_after: Duration,
    /// After the daemon's start, how long to wait for the configured primary's first outcome; 10 s.
    pub startup_hold: Duration,
}

impl Default for ElectionSettings {
    fn default() -> Self {
        Self { auto_failover: true, failback_after: Duration::from_secs(30), startup_hold: Duration::from_secs(10) }
    }
}

/// Settings of supervision: how often a dead `Gateway` actor is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartSettings {
    /// Restarts allowed within the window; one more parks the gateway. 5.
    pub max_restarts: u32,
    /// The window; 60 s.
    pub window: Duration,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self { max_restarts: 5, window: Duration::from_secs(60) }
    }
}

/// Settings of routing (section `routing`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingSettings {
    /// Where work goes that names no gateway.
    pub policy: RoutingPolicy,
    /// Spawns under way on one gateway at one time; 64.
    pub max_in_flight: usize,
    /// How long a gateway that is back may know nothing of a spawn before that is lost; 10 min.
    pub lost_after: Duration,
}

impl Default for RoutingSettings {
    fn default() -> Self {
        Self { policy: RoutingPolicy::Primary, max_in_flight: 64, lost_after: Duration::from_secs(600) }
    }
}

/// How long logs and histories are kept (section `store`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Every health point; 24 h.
    pub full: Duration,
    /// One health point an hour after that; 7 days.
    pub thinned: Duration,
    /// Audit entries; 90 days.
    pub audit: Duration,
    /// Spawns after their end; 30 days.
    pub spawns: Duration,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            full: Duration::from_secs(DAY),
            thinned: Duration::from_secs(7 * DAY),
            audit: Duration::from_secs(90 * DAY),
            spawns: Duration::from_secs(30 * DAY),
        }
    }
}

/// Local processes of gateways (sections `processes` and `commands`).
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSettings {
    /// What may be run, by name.
    pub commands: BTreeMap<String, CommandDefinition>,
    /// System units that a gateway may name besides `gatewarden-gateway@*.service`; with their suffix.
    pub units: Vec<String>,
    /// How often and how fast a command is started again.
    pub supervision: SupervisionSettings,
    /// How long a start may take until a new process has a new connection; 90 s.
    pub verify_within: Duration,
    /// Between two looks at memory, processor time and units; 5 s.
    pub sample_interval: Duration,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            commands: BTreeMap::new(),
            units: Vec::new(),
            supervision: SupervisionSettings::default(),
            verify_within: Duration::from_secs(90),
            sample_interval: Duration::from_secs(5),
        }
    }
}

/// A program that the configuration allows to be run as a gateway (`[commands.NAME]`).
#[derive(Debug, Clone, PartialEq)]
pub struct CommandDefinition {
    /// Absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables besides the few that are always passed on. Values may be secrets.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs, absolute; none: the home directory of the daemon's user, else `/`.
    pub directory: Option<PathBuf>,
}
