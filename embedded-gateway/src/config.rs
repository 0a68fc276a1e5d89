//! The gateway's configuration as it counts: both documented forms (`openclaw.json`, `openclaw-gateway.yml`) end up here,
//! checked and with every default filled in.
//!
//! [`load()`] reads flags, environment and file into a [`Draft`]; [`Draft::settle`] makes the token of a first start. A gateway
//! that runs reads and changes its file through [`ConfigFile`], and [`plan()`] says what a change means for it.

mod agents_section;
mod all_keys;
mod channels_section;
mod cron_section;
mod file;
pub mod forbidden_env;
#[cfg(test)]
mod fuzz_tests;
mod gateway_section;
mod inputs;
mod load;
mod merging;
mod network_section;
mod other_sections;
mod plan;
mod redaction;
mod schema;
mod section;
#[cfg(test)]
mod tests;
mod token_file;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use gatewarden_protocol::forwarded::Network;
use gatewarden_protocol::{Secret, named};

pub(crate) use agents_section::is_agent_id;
pub(crate) use all_keys::SCHEMA;
pub use channels_section::{
    Binding, ChannelAccess, ChannelAccount, ChannelKind, CloudApi, DmPolicy, DmScope, GroupPolicy, GroupRule,
    GuildRule, MemberRule,
};
pub(crate) use channels_section::{DEFAULT_ACCOUNT, NOT_BUILT, is_local, is_scoped_id, person};
pub use cron_section::{CronSettings, WebhookReach};
pub use file::ConfigFile;
pub(crate) use file::{Edit, Edited, Method as EditMethod, Read, Snapshot};
pub use inputs::{ConfigError, Inputs, Problem};
pub use load::{Draft, load};
pub(crate) use merging::merged;
pub use network_section::parse_domain;
pub(crate) use plan::plan;
pub(crate) use redaction::{REDACTED, argument_shown};
pub use token_file::{TokenFile, TokenFileError};
pub use written::{read as read_tree_of, too_deep};

use crate::tailnet::{NoTailnet, tailnet_ipv4};

/// Port where none is configured (document 004).
pub const DEFAULT_PORT: u16 = 18789;
/// Port of the Prometheus metrics (document 002, "Gateway Metrics").
pub const DEFAULT_METRICS_PORT: u16 = 9090;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// The file that it came from, where there was one.
    pub file: Option<PathBuf>,
    /// Where sessions, devices, logs and the lock file live; mode 0700.
    pub state_dir: PathBuf,
    /// Port of WebSocket and HTTP; 0 takes any free one.
    pub port: u16,
    /// Where to listen.
    pub bind: Bind,
    /// Host names (without port) that requests may name, besides loopback names and the bound address.
    pub allowed_hosts: Vec<String>,
    /// Peers whose `X-Forwarded-For` says who is counted and written down; loopback. It makes nobody local.
    pub trusted_proxies: Vec<Network>,
    /// `X-Real-IP` of such a peer is believed, too, where it sends no `X-Forwarded-For`.
    pub real_ip_fallback: bool,
    /// Shared credential.
    pub auth: Auth,
    /// Browsers.
    pub control_ui: ControlUi,
    /// Devices and their tokens.
    pub device_auth: DeviceAuth,
    /// Encryption; none: plain `ws://`.
    pub tls: Option<Tls>,
    /// `hooks.webhooks[]`; none by default.
    pub webhooks: Vec<Webhook>,
    /// The audit log.
    pub audit: Audit,
    /// The gateway's own log.
    pub log: Log,
    /// Prometheus metrics on a port of their own; none: off.
    pub metrics: Option<Metrics>,
    /// The allow-list of programs: name -> template. Empty: nothing can be spawned.
    pub commands: BTreeMap<String, CommandTemplate>,
    /// Whether clients with `operator.admin` may change what runs, and which files are written.
    pub remote_programs: bool,
    /// Configured agents: id -> what runs for it.
    pub agents: BTreeMap<String, ConfiguredAgent>,
    /// The agent that is meant where none is named; always a key of `agents` where that isn't empty.
    pub default_agent: Option<String>,
    /// Accounts of channels by which people reach agents; none by default.
    pub channels: Vec<ChannelAccount>,
    /// Which agent gets what; the first that fits best.
    pub bindings: Vec<Binding>,
    /// `session.dmScope`; none: one session a person and account.
    pub dm_scope: Option<DmScope>,
    /// Scheduled jobs.
    pub cron: CronSettings,
    /// What is announced in the network.
    pub mdns: Mdns,
    /// The domain of the DNS zone that tells other networks of the gateway (`discovery.wideArea.domain`), without a dot at its end.
    pub wide_area: Option<String>,
    /// What Tailscale does for the gateway.
    pub tailscale: Tailscale,
    /// Commands of nodes that the tables don't decide.
    pub node_commands: NodeCommands,
    /// What bounds the gateway.
    pub limits: Limits,
}

/// `gateway.nodes.commands`: exact names of commands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeCommands {
    /// A node may be asked for these whatever its platform, once they are approved.
    pub allow: Vec<String>,
    /// No node may be asked for these, whatever else allows them.
    pub deny: Vec<String>,
}

/// `discovery.mdns.mode`: what is announced in the network, where other machines can connect at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mdns {
    /// Nothing (default). Real releases announce on Linux only where their plugin was enabled.
    Off,
    /// How to connect: names, port, TLS and its fingerprint.
    Minimal,
    /// The port of SSH and the path of the command, too.
    Full,
}

/// `gateway.tailscale`, and `gateway.auth.allowTailscale`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tailscale {
    /// Who reaches the gateway through Tailscale.
    pub mode: TailscaleMode,
    /// A browser whose Tailscale login the command confirms needs no shared credential (`serve` alone).
    pub allow_logins: bool,
    /// Where the command `tailscale` is looked for: the folders of `PATH`.
    pub folders: Vec<PathBuf>,
}

named! {
    /// `gateway.tailscale.mode`.
    #[derive(Default)]
    pub enum TailscaleMode {
        /// Nobody (default).
        #[default]
        Off = "off",
        /// Devices of the tailnet, over HTTPS.
        Serve = "serve",
        /// The whole internet, over HTTPS.
        Funnel = "funnel",
    }
}

/// `gateway.bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// 127.0.0.1 (default).
    Loopback,
    /// All interfaces (0.0.0.0).
    Lan,
    /// This machine's IPv4 address in its tailnet, and 127.0.0.1.
    Tailnet,
    /// One address.
    Custom(IpAddr),
}

impl Bind {
    /// The address to listen on.
    ///
    /// # Errors
    /// It is that of the tailnet, and this machine has none now.
    pub fn address(self) -> Result<IpAddr, NoTailnet> {
        Ok(match self {
            Self::Tailnet => IpAddr::V4(tailnet_ipv4()?.ok_or(NoTailnet::None)?),
            Self::Loopback => IpAddr::from([127, 0, 0, 1]),
            Self::Lan => IpAddr::from([0, 0, 0, 0]),
            Self::Custom(address) => address,
        })
    }

    /// Whether only this machine can connect.
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Loopback => true,
            Self::Lan | Self::Tailnet => false,
            Self::Custom(address) => address.is_loopback(),
        }
    }

    /// For people: `loopback`, `lan`, `tailnet` or the address.
    pub fn describe(self) -> String {
        match self {
            Self::Tailnet => "tailnet".to_owned(),
            Self::Loopback => "loopback".to_owned(),
            Self::Lan => "lan".to_owned(),
            Self::Custom(address) => address.to_string(),
        }
    }
}

/// `gateway.auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A shared token (default; made at first start and kept in the state directory).
    Token(Secret),
    /// A shared password.
    Password(Secret),
    /// Nothing: must be written out, loopback only.
    None,
}

impl Auth {
    /// Its word in the configuration and on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Password(_) => "password",
            Self::None => "none",
        }
    }

    /// Whether no number of tries finds the shared credential ([`is_unguessable`]).
    pub fn is_unguessable(&self) -> bool {
        match self {
            Self::Token(secret) | Self::Password(secret) => is_unguessable(secret),
            Self::None => false,
        }
    }
}

/// Whether a secret is as long and as varied as random ones are: 16 characters, 8 of them different. Such a one isn't found
/// in a lifetime of tries at full speed; what people think up and remember is mostly shorter.
pub fn is_unguessable(secret: &Secret) -> bool {
    let text = secret.expose();
    text.chars().count() >= 16 && text.chars().collect::<BTreeSet<char>>().len() >= 8
}

/// `gateway.controlUi`: what browsers may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlUi {
    /// Whether the status page is served.
    pub enabled: bool,
    /// Where: starts with a slash, ends without one unless it is the root.
    pub base_path: String,
    /// Origins allowed besides loopback ones, `scheme://host[:port]`; never `*`.
    pub allowed_origins: Vec<String>,
    /// Whether control-UI clients must show a device.
    pub require_device_auth: bool,
}

/// `gateway.auth.deviceAuth` (document 002, "Device Auth Settings").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAuth {
    /// Whether devices are looked at at all.
    pub enabled: bool,
    /// Refuse connects without a signature, even with the shared token.
    pub require_signature: bool,
    /// How long a device token is good for.
    pub token_ttl: Duration,
    /// How many devices may be paired for one identity (client id and display name).
    pub max_devices_per_user: usize,
    /// Devices from loopback that hold the shared credential and send no `Origin` are approved without asking, as real
    /// gateways do.
    pub approve_loopback: bool,
}

/// `gateway.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM certificate chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// Make both (self-signed) where they don't exist.
    pub auto_generate: bool,
}

/// One of `hooks.webhooks[]` (document 004).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub id: String,
    /// Its path, such as `/webhook/my-hook`.
    pub path: String,
    /// The agent that gets the message.
    pub agent_id: String,
    /// The message, with `{{body.x.y}}` filled in from the JSON body.
    pub message: String,
    /// Callers show it as `Authorization: Bearer`, or sign the body with it. None (document 004): programs of this machine alone
    /// may call it, and only where the gateway listens on loopback.
    pub secret: Option<Secret>,
}

/// `audit` (document 002).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Whether it is written.
    pub enabled: bool,
    /// Where; default `audit.log` in the state directory.
    pub file: PathBuf,
    /// Which events; empty: all.
    pub events: BTreeSet<String>,
}

/// The gateway's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where; default `logs/gateway.log` in the state directory.
    pub file: PathBuf,
    /// `debug`, `info`, `warn` or `error`.
    pub level: crate::log_kinds::LogLevel,
    /// Size at which the file is set aside (`gateway.log.1`, older ones go), in bytes.
    pub max_bytes: u64,
    /// Each line also goes to standard error (`--verbose`).
    pub stderr: bool,
}

/// Where the metrics are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Port; 0 takes any free one.
    pub port: u16,
    /// Address; default 127.0.0.1.
    pub address: IpAddr,
}

/// One entry of the allow-list. What it doesn't allow can't be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTemplate {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Arguments that always come first.
    pub args: Vec<String>,
    /// Patterns, one for each further argument that a caller may give, in order (none by default).
    pub allowed_args: Vec<ArgumentPattern>,
    /// Environment that is always set.
    pub env: BTreeMap<String, String>,
    /// Names that a caller may set. Never `LD_*`, `PATH` or options of interpreters: refused when the configuration is read.
    pub allowed_env: BTreeSet<String>,
    /// Canonical directories that a caller may choose from (the directory itself or below); the first is the default.
    pub working_dirs: Vec<PathBuf>,
    /// Standard output is JSON lines (text, tool and usage events).
    pub json_lines: bool,
    /// Ended after this. None: no limit.
    pub timeout: Option<Duration>,
}

/// What one argument may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentPattern {
    /// Exactly this.
    Exact(String),
    /// One of these.
    OneOf(Vec<String>),
    /// Letters, digits, `.`, `_`, `-`, not starting with `-`, at most 128 characters.
    Word,
    /// Digits only, at most 18.
    Number,
    /// Anything of at most this many bytes that doesn't start with `-`.
    Text(usize),
}

/// One of the configured agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredAgent {
    /// Shown to people; default: the id.
    pub name: String,
    /// The entry of `commands` that runs for a message, which it gets on standard input.
    pub command: Option<String>,
    /// The agent that speaks ACP and gets the messages instead.
    pub acp: Option<AcpAgent>,
    /// Its folder of files (`AGENTS.md`, ...); default `workspaces/<id>` in the state directory.
    pub workspace: PathBuf,
    /// Its sessions' model.
    pub model: Option<String>,
}

/// `agents.entries.NAME.acp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpAgent {
    /// The program. Callers may add nothing to it.
    pub command: CommandTemplate,
    /// What it is answered when it asks whether it may do something.
    pub permissions: Permissions,
    /// Its process is ended after so long without a prompt.
    pub idle_timeout: Duration,
}

/// How an agent's wish to do something is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Permissions {
    /// No.
    #[default]
    Deny,
    /// Yes, this once.
    Allow,
    /// An operator decides.
    Ask,
}

/// What bounds the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// WebSocket connections at a time.
    pub connections: usize,
    /// Of those, not yet authenticated.
    pub unauthenticated: usize,
    /// Time from the upgrade to a valid `connect`.
    pub handshake: Duration,
    /// Largest frame after connect, in bytes (`policy.maxPayload`).
    pub max_payload: usize,
    /// What may wait to be read by a client before it is closed as a slow consumer, in bytes (`policy.maxBufferedBytes`).
    pub max_buffered: usize,
    /// The same of all clients together, beside 64 KiB of each; who wants more is closed.
    pub max_buffered_total: usize,
    /// Between `tick` events (`policy.tickIntervalMs`).
    pub tick: Duration,
    /// Between WebSocket pings; a client that answers none until the next one is dropped.
    pub ping: Duration,
    /// Failed authentications of one address before it is locked out.
    pub auth_failures: u32,
    /// For how long.
    pub lockout: Duration,
    /// Child processes at a time.
    pub processes: usize,
    /// Between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// Files that one process may have open; none: as many as the gateway's own surroundings allow.
    pub process_open_files: Option<u64>,
    /// Address space of one process, in bytes; none: no limit.
    pub process_memory: Option<u64>,
    /// Output of one process passed on per second, in bytes.
    pub output_bytes_per_second: u64,
    /// Longest line of output passed on, in bytes.
    pub output_line: usize,
    /// Sessions kept; the oldest inactive ones are pruned.
    pub sessions: usize,
    /// Inactive sessions are pruned when older than this.
    pub session_age: Duration,
    /// Messages kept of a session; older ones are compacted away.
    pub history_messages: usize,
    /// Finished runs remembered (idempotency, `agent.wait`).
    pub finished_runs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 500,
            unauthenticated: 64,
            handshake: Duration::from_secs(15),
            max_payload: 25 * 1024 * 1024,
            max_buffered: 4 * 1024 * 1024,
            max_buffered_total: 64 * 1024 * 1024,
            tick: Duration::from_secs(30),
            ping: Duration::from_secs(25),
            auth_failures: 10,
            lockout: Duration::from_secs(300),
            processes: 64,
            kill_grace: Duration::from_secs(5),
            process_open_files: None,
            process_memory: None,
            output_bytes_per_second: 256 * 1024,
            output_line: 64 * 1024,
            sessions: 1_000,
            session_age: Duration::from_secs(30 * 24 * 3600),
            history_messages: 1_000,
            finished_runs: 1_000,
        }
    }
}

impl GatewayConfig {
    /// The defaults with a given shared credential; what an empty configuration file means.
    pub fn defaults(state_dir: PathBuf, auth: Auth) -> Self {
        Self {
            file: None,
            port: DEFAULT_PORT,
            bind: Bind::Loopback,
            allowed_hosts: Vec::new(),
            trusted_proxies: Network::loopback(),
            real_ip_fallback: false,
            auth,
            control_ui: ControlUi {
                enabled: true,
                base_path: "/".to_owned(),
                allowed_origins: Vec::new(),
                require_device_auth: true,
            },
            device_auth: DeviceAuth {
                enabled: true,
                require_signature: false,
                token_ttl: Duration::from_secs(86_400),
                max_devices_per_user: 10,
                approve_loopback: true,
            },
            tls: None,
            webhooks: Vec::new(),
            audit: Audit { enabled: false, file: state_dir.join("audit.log"), events: BTreeSet::new() },
            log: Log {
                file: state_dir.join("logs/gateway.log"),
                level: crate::log_kinds::LogLevel::Info,
                max_bytes: 16 * 1024 * 1024,
                stderr: false,
            },
            metrics: Some(Metrics { port: DEFAULT_METRICS_PORT, address: IpAddr::from([127, 0, 0, 1]) }),
            commands: BTreeMap::new(),
            remote_programs: false,
            agents: BTreeMap::new(),
            default_agent: None,
            channels: Vec::new(),
            bindings: Vec::new(),
            dm_scope: None,
            cron: CronSettings::default(),
            mdns: Mdns::Off,
            wide_area: None,
            tailscale: Tailscale::default(),
            node_commands: NodeCommands::default(),
            limits: Limits::default(),
            state_dir,
        }
    }
}
