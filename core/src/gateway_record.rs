//! What is stored of a gateway: its address, credentials and settings, as an operator gave them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_protocol::{Dialect, GatewayAddress, ParsedHost, Secret, named};
use serde::{Deserialize, Serialize};

use crate::ids::GatewayId;

named! {
    /// Which dialects may be tried (`transport` in `api.md`).
    #[derive(Default)]
    pub enum Transport {
        /// `openclaw`, then `rpc`, then `http`.
        #[default]
        Auto = "auto",
        /// WebSocket dialects only.
        Ws = "ws",
        /// The HTTP dialect only.
        Http = "http",
    }
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// Declares what an operator sets of a gateway, once: the spec, and a change of it. In brackets: how the spec is sent to another node.
macro_rules! gateway_spec {
    ($($(#[$doc:meta])* $([$how:meta])? $field:ident: $type:ty,)*) => {
        /// What an operator sets of a gateway.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct GatewaySpec {
            $($(#[$doc])* $(#[$how])? pub $field: $type,)*
        }

        /// A change to a gateway: `None` leaves a field as it is.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct GatewayChange {
            $($(#[$doc])* pub $field: Option<$type>,)*
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

        impl From<GatewaySpec> for GatewayChange {
            /// The change that sets all of it.
            fn from(spec: GatewaySpec) -> Self {
                Self { $($field: Some(spec.$field),)* ..Self::default() }
            }
        }

        impl GatewayChange {
            /// Changes what an operator sets.
            pub fn apply(self, spec: &mut GatewaySpec) {
                $(if let Some(value) = self.$field {
                    spec.$field = value;
                })*
            }

            /// Whether anything is in it that an operator sets: more than observations and the dialect.
            pub fn touches_spec(&self) -> bool {
                false $(|| self.$field.is_some())*
            }
        }
    };
}

gateway_spec! {
    /// Unique name, 1 to 200 characters.
    name: String,
    /// Host name, address or URL as given, without a `?token=`. Whoever changes it decides on port and URL token, too.
    host: String,
    /// 1 to 65535; a port in a URL host has been copied here.
    port: u16,
    /// Shared token, if one is set.
    [serde(with = "gatewarden_protocol::secret::exposed")]
    token: Option<Secret>,
    /// Shared password, for a gateway whose `gateway.auth.mode` is `password`.
    [serde(with = "gatewarden_protocol::secret::exposed")]
    password: Option<Secret>,
    /// The `?token=` of a URL host, kept apart because only `ws_url` gives it back.
    [serde(with = "gatewarden_protocol::secret::exposed")]
    url_token: Option<Secret>,
    /// The configured primary: at most one in the database. `true` moves the place here; `false` only leaves it.
    is_primary: bool,
    /// Higher is preferred when a primary is elected.
    priority: i32,
    /// Free labels, at most 64.
    labels: BTreeMap<String, String>,
    /// Dialects allowed.
    transport: Transport,
    /// Whom to trust on TLS.
    tls: TlsTrust,
    /// Control-UI mode without a device (document 003).
    disable_device_pairing: bool,
    /// Where the gateway's host keeps the workspaces of agents: an absolute path there. None where the gateway was not
    /// registered through the organization API and nobody has said it since.
    workspace_root: Option<String>,
    /// What runs it on this machine; none where that is somebody else's business.
    process: Option<ProcessSource>,
    /// No new work is routed here.
    drained: bool,
    /// The node that alone holds its connection, by name; none where any may.
    node: Option<String>,
}

impl GatewaySpec {
    /// A gateway at this address without a token, everything else as it is where nobody says it: any dialect, the system's
    /// certificates, priority 0, not the primary, not drained.
    pub fn at(name: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port,
            token: None,
            password: None,
            url_token: None,
            is_primary: false,
            priority: 0,
            labels: BTreeMap::new(),
            transport: Transport::Auto,
            tls: TlsTrust::System,
            disable_device_pairing: false,
            workspace_root: None,
            process: None,
            drained: false,
            node: None,
        }
    }

    /// The same at an address that was read, whose `?token=` is kept apart.
    pub fn at_address(name: impl Into<String>, read: ParsedHost) -> Self {
        let port = read.port();
        Self { url_token: read.query_token, ..Self::at(name, read.host_text, port) }
    }

    /// The same for a dial that nobody but its owner sees: nobody's primary, without labels, and no process is started for it.
    #[must_use]
    pub fn on_trial(self) -> Self {
        Self { is_primary: false, labels: BTreeMap::new(), process: None, drained: false, ..self }
    }

    /// Whether a connection to the one is as good as one to the other: address, credentials, trust and manners are the same.
    pub fn dials_like(&self, other: &Self) -> bool {
        self.has_address_of(other)
            && self.token == other.token
            && self.password == other.password
            && self.url_token == other.url_token
            && self.transport == other.transport
            && self.tls == other.tls
            && self.disable_device_pairing == other.disable_device_pairing
    }

    /// Whether it is connected to as a control UI, which has no device.
    pub fn is_control_ui(&self) -> bool {
        self.disable_device_pairing
    }

    /// Whether both are at the same host and port.
    pub fn has_address_of(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }

    /// The address that it is dialled at; none where the stored host is no address that may be dialled.
    pub fn address(&self) -> Option<GatewayAddress> {
        GatewayAddress::parse(&self.host, Some(self.port)).ok().map(|parsed| parsed.address)
    }

    /// The address in its canonical form: what permits and device tokens belong to. That of a node's own machine is another one than
    /// that of any other node's. A host that doesn't parse was refused before it was stored; should one be stored all the same, its own
    /// text serves.
    pub fn address_key(&self) -> String {
        match (self.address(), &self.node) {
            (Some(address), Some(node)) if address.is_loopback() => format!("{} of node {node}", address.key()),
            (Some(address), _) => address.key(),
            (None, _) => format!("ws://{}:{}", self.host, self.port),
        }
    }

    /// The gateway's shared token: its own field, else the one that came in its URL.
    pub fn shared_token(&self) -> Option<&Secret> {
        [&self.token, &self.url_token].into_iter().flatten().find(|token| !token.is_empty())
    }

    /// The shared token, else the password: what an HTTP request shows, which has one place for either.
    pub fn shared_credential(&self) -> Option<&Secret> {
        self.shared_token().or(self.password.as_ref().filter(|password| !password.is_empty()))
    }

    /// What would be stored of it at `now_s` (Unix seconds): not provisional, never observed, at revision 0.
    pub fn into_record(self, id: GatewayId, uuid: impl Into<String>, now_s: i64) -> GatewayRecord {
        GatewayRecord {
            id,
            uuid: uuid.into(),
            spec: self,
            gateway_agent_id: None,
            provisioning: false,
            seeded: false,
            dialect: None,
            observed: Observed::default(),
            created_at: now_s,
            updated_at: now_s,
            revision: 0,
        }
    }
}

/// A gateway to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewGateway {
    /// What is set of it.
    pub spec: GatewaySpec,
    /// Agents to register with it: name and role, at most 50 are used.
    pub agents: Vec<(String, Option<String>)>,
}

impl From<GatewaySpec> for NewGateway {
    fn from(spec: GatewaySpec) -> Self {
        Self { spec, agents: Vec::new() }
    }
}

impl GatewayChange {
    /// Whether nothing would change: a request with no known field.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A registered gateway as stored: what an operator set, which it dereferences to, and what became of it. Secrets are opened
/// here and sealed in the database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayRecord {
    /// The database's key.
    pub id: GatewayId,
    /// The stable id of the organization API.
    pub uuid: String,
    /// What an operator set.
    pub spec: GatewaySpec,
    /// The main agent, by its id on the gateway; none where none was provisioned.
    pub gateway_agent_id: Option<String>,
    /// Being created through the organization API, or only tried: it is dialled, and nobody sees it.
    pub provisioning: bool,
    /// Registered by the daemon itself since there was no gateway, and changed by nobody since.
    pub seeded: bool,
    /// The dialect of the last successful connection.
    pub dialect: Option<Dialect>,
    /// Observations kept across a restart and writable by external health checkers; what the daemon sees itself goes before them.
    pub observed: Observed,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub updated_at: i64,
    /// Grows by one with each committed change: a later revision wins.
    pub revision: i64,
}

impl std::ops::Deref for GatewayRecord {
    type Target = GatewaySpec;

    fn deref(&self) -> &GatewaySpec {
        &self.spec
    }
}

impl GatewayRecord {
    /// Whether somebody is at work on it, or it is only being created: nobody is told how it is meanwhile.
    pub fn is_worked_on(&self) -> bool {
        self.drained || self.provisioning
    }

    /// The same with another spec.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut GatewaySpec)) -> Self {
        change(&mut self.spec);
        self
    }
}

/// The observation columns of document 000, as last stored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    /// The latest hold-down, also one that is over.
    pub held: Option<HeldDown>,
}

/// A hold-down from acting as primary: see [`crate::machines::flap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDown {
    /// Wall ms.
    pub until_ms: i64,
    /// How long it takes altogether; the next one takes longer.
    pub length: Duration,
}

/// A device token that a gateway issued to this installation, kept sealed and by address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceToken {
    /// The token.
    #[serde(with = "gatewarden_protocol::secret::exposed")]
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
