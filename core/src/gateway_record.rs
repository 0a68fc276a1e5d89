//! What is stored of a gateway: its address, credentials and settings, as an operator gave them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};
use serde::{Deserialize, Serialize};

use crate::ids::GatewayId;

/// Which dialects may be tried (`transport` in `api.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// `openclaw`, then `rpc`, then `http`.
    #[default]
    Auto,
    /// WebSocket dialects only.
    Ws,
    /// The HTTP dialect only.
    Http,
}

/// Whom to trust on a TLS connection (`tls` in `api.md`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "trust", rename_all = "snake_case")]
pub enum TlsTrust {
    /// The system's certificate authorities.
    #[default]
    System,
    /// Only the authorities in this PEM text.
    Ca {
        /// One or more certificates.
        ca_pem: String,
    },
    /// Leaf certificates by their SHA-256 (64 lowercase hex digits each); several, so that a renewal can overlap.
    Pins {
        /// At least one pin.
        pins: Vec<String>,
    },
    /// Anything: development only, logged loudly at each dial.
    None,
}

/// What runs a gateway on this machine, so that it can be started and stopped here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProcessSource {
    /// A unit of the system's service manager, with its suffix: `gatewarden-gateway@edge.service`.
    Unit(String),
    /// A command of the daemon's configuration, by its name there.
    Command(String),
}

impl ProcessSource {
    /// The unit's or the command's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Unit(name) | Self::Command(name) => name,
        }
    }

    /// `unit` or `command`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unit(_) => "unit",
            Self::Command(_) => "command",
        }
    }
}

/// A registered gateway as stored. Secrets are opened here and sealed in the database.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayRecord {
    /// The database's key.
    pub id: GatewayId,
    /// The stable id of the organization API.
    pub uuid: String,
    /// Unique name, 1 to 200 characters.
    pub name: String,
    /// Host name, address or URL as given, without a `?token=`.
    pub host: String,
    /// 1 to 65535; a port in a URL host has been copied here.
    pub port: u16,
    /// Shared token, if one is set.
    pub token: Option<Secret>,
    /// The `?token=` of a URL host, kept apart because only `ws_url` gives it back.
    pub url_token: Option<Secret>,
    /// The configured primary: at most one in the database.
    pub is_primary: bool,
    /// Higher is preferred when a primary is elected.
    pub priority: i32,
    /// Free labels, at most 64.
    pub labels: BTreeMap<String, String>,
    /// Dialects allowed.
    pub transport: Transport,
    /// Whom to trust on TLS.
    pub tls: TlsTrust,
    /// Control-UI mode without a device (document 003).
    pub disable_device_pairing: bool,
    /// Where the gateway's host keeps the workspaces of agents: an absolute path there. None where the gateway was not
    /// registered through the organization API and nobody has said it since.
    pub workspace_root: Option<String>,
    /// The main agent, by its id on the gateway; none where none was provisioned.
    pub gateway_agent_id: Option<String>,
    /// Being created through the organization API, or only tried: it is dialled, and nobody sees it.
    pub provisioning: bool,
    /// What runs it on this machine; none where that is somebody else's business.
    pub process: Option<ProcessSource>,
    /// No new work is routed here.
    pub drained: bool,
    /// The dialect of the last successful connection.
    pub dialect: Option<Dialect>,
    /// Observations kept across a restart and writable by external health checkers.
    pub observed: Observed,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub updated_at: i64,
    /// Grows by one with each committed change: a later revision wins.
    pub revision: i64,
}

/// The observation columns of document 000, as last stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// `online`, `offline`, `timeout`, `degraded` or `unknown`.
    pub status: Option<String>,
    /// Unix seconds of the last success.
    pub last_seen: Option<i64>,
    /// Milliseconds.
    pub latency: Option<i64>,
    /// Active sessions.
    pub sessions_count: i64,
    /// Agents.
    pub agents_count: i64,
}

/// A gateway to be created. The store fills in the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct NewGateway {
    /// See [`GatewayRecord::name`].
    pub name: String,
    /// See [`GatewayRecord::host`].
    pub host: String,
    /// See [`GatewayRecord::port`].
    pub port: u16,
    /// See [`GatewayRecord::token`].
    pub token: Option<Secret>,
    /// See [`GatewayRecord::url_token`].
    pub url_token: Option<Secret>,
    /// Makes this the configured primary and unsets the other.
    pub is_primary: bool,
    /// See [`GatewayRecord::priority`].
    pub priority: i32,
    /// See [`GatewayRecord::labels`].
    pub labels: BTreeMap<String, String>,
    /// See [`GatewayRecord::transport`].
    pub transport: Transport,
    /// See [`GatewayRecord::tls`].
    pub tls: TlsTrust,
    /// See [`GatewayRecord::disable_device_pairing`].
    pub disable_device_pairing: bool,
    /// See [`GatewayRecord::process`].
    pub process: Option<ProcessSource>,
    /// Agents to register with it: name and role, at most 50 are used.
    pub agents: Vec<(String, Option<String>)>,
}

impl NewGateway {
    /// A gateway at this address without a token, everything else as it is where nobody says it: any dialect, the system's
    /// certificates, priority 0, not the primary.
    pub fn at(name: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port,
            token: None,
            url_token: None,
            is_primary: false,
            priority: 0,
            labels: BTreeMap::new(),
            transport: Transport::Auto,
            tls: TlsTrust::System,
            disable_device_pairing: false,
            process: None,
            agents: Vec::new(),
        }
    }

    /// What would be stored of it at `now_s` (Unix seconds): neither drained nor provisional, never observed, at revision 0. Its
    /// agents are rows of their own.
    pub fn into_record(self, id: GatewayId, uuid: impl Into<String>, now_s: i64) -> GatewayRecord {
        GatewayRecord {
            id,
            uuid: uuid.into(),
            name: self.name,
            host: self.host,
            port: self.port,
            token: self.token,
            url_token: self.url_token,
            is_primary: self.is_primary,
            priority: self.priority,
            labels: self.labels,
            transport: self.transport,
            tls: self.tls,
            disable_device_pairing: self.disable_device_pairing,
            workspace_root: None,
            gateway_agent_id: None,
            provisioning: false,
            process: self.process,
            drained: false,
            dialect: None,
            observed: Observed::default(),
            created_at: now_s,
            updated_at: now_s,
            revision: 0,
        }
    }
}

/// A change to a gateway: `None` leaves a field as it is; for tokens `Some(None)` clears.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GatewayChange {
    /// New name.
    pub name: Option<String>,
    /// New host, with its port and URL token decided by the caller.
    pub host: Option<String>,
    /// New port.
    pub port: Option<u16>,
    /// New shared token, or none.
    pub token: Option<Option<Secret>>,
    /// New URL token, or none (set together with `host`).
    pub url_token: Option<Option<Secret>>,
    /// `true` moves the primary here; `false` only unsets it.
    pub is_primary: Option<bool>,
    /// New priority.
    pub priority: Option<i32>,
    /// New labels (the whole map).
    pub labels: Option<BTreeMap<String, String>>,
    /// New transport.
    pub transport: Option<Transport>,
    /// New trust.
    pub tls: Option<TlsTrust>,
    /// New pairing mode.
    pub disable_device_pairing: Option<bool>,
    /// New root of the workspaces on the gateway's host.
    pub workspace_root: Option<String>,
    /// What runs it, or nothing.
    pub process: Option<Option<ProcessSource>>,
    /// Drain or undrain.
    pub drained: Option<bool>,
    /// The dialect of a success (set by the registry, never by a client).
    pub dialect: Option<Dialect>,
    /// External observation: status.
    pub status: Option<String>,
    /// External observation: Unix seconds.
    pub last_seen: Option<i64>,
    /// External observation: milliseconds.
    pub latency: Option<i64>,
    /// External observation.
    pub sessions_count: Option<i64>,
    /// External observation.
    pub agents_count: Option<i64>,
}

impl GatewayChange {
    /// Whether nothing would change: a request with no known field.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A device token that a gateway issued to this installation, kept sealed and by address.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceToken {
    /// The token.
    pub token: Secret,
    /// The role that it was issued for.
    pub role: String,
    /// The scopes that it was issued with.
    pub scopes: Vec<String>,
    /// Wall ms at issue, as the gateway or else our clock says.
    pub issued_at_ms: i64,
}

/// Shared by the actors; replaced as a whole at each change.
pub type SharedRecord = Arc<GatewayRecord>;
