//! What goes into the store and comes out of it, apart from the gateway record itself.

mod agents;
mod audit;
mod direct_connections;
mod local_processes;
mod notifications;
mod spawns;
mod token_usage;

use crate::gateway_record::GatewayRecord;
use crate::gateway_report::HealthPoint;
use crate::ids::GatewayId;

pub use agents::{
    AgentChange, AgentFilter, AgentRecord, AgentSeen, AgentSource, AgentStatus, MainAgent, NewAgent, SyncStats,
    SyncedAgent,
};
pub use audit::{AuditActor, AuditEntry, AuditRecord, AuditResult};
pub use direct_connections::{
    Beat, Beaten, Closed, ConnectionRecord, ConnectionStatus, EndReason, NewConnection, Opened,
};
pub use local_processes::LocalProcess;
pub use notifications::{EpisodeMove, EpisodeRecord, NewNotification, NotificationMove, OutboxRecord};
pub use spawns::{Idempotency, NewSpawn, Recorded, SpawnChange, SpawnKind, SpawnRecord, SpawnStep};
pub use token_usage::{TokenRecord, TokenStats, TokenUsage};

/// A committed new gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// As stored.
    pub record: GatewayRecord,
    /// The gateway that was the configured primary until now, where the new one took that place.
    pub demoted: Option<GatewayRecord>,
    /// How many agents were registered with it.
    pub agents_registered: usize,
}

/// A committed change of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Updated {
    /// As stored.
    pub record: GatewayRecord,
    /// The gateway that was the configured primary until now, where the changed one took that place.
    pub demoted: Option<GatewayRecord>,
}

/// The main agent of a gateway was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct MainRecorded {
    /// The gateway, which is visible from now on.
    pub record: GatewayRecord,
    /// Its main agent.
    pub agent: AgentRecord,
}

/// How a request to delete a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// It was there and is gone.
    Deleted,
    /// No gateway has this id.
    NotFound,
    /// It is the configured primary, which can't be deleted; nothing changed.
    IsPrimary,
}

/// One stored point of the health log.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthEntry {
    /// Whose.
    pub gateway_id: GatewayId,
    /// The point. A thinned one stands for an hour: see [`crate::store::handle::StoreHandle::thin_health`].
    pub point: HealthPoint,
}

/// What a run of thinning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thinned {
    /// Full points that were folded into hourly ones.
    pub folded: usize,
    /// Points that were older than all retention and are gone.
    pub removed: usize,
}

/// What a key may do; each role may do what the smaller ones may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, and gives gateways work.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The stable name, as shown in the API and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads a name back.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "viewer" => Some(Self::Viewer),
            "operator" => Some(Self::Operator),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// An API key to be stored: only its hash ever is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// What it is for, in its owner's words.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the key, 64 lowercase hex digits; unique.
    pub sha256: String,
    /// The first characters of the key, so that its owner can tell it from others.
    pub prefix: String,
    /// Unix seconds after which it is no longer good; `None` for never.
    pub expires_at: Option<i64>,
}

/// A stored API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The database's key; never used again after a delete.
    pub id: i64,
    /// See [`NewApiKey::name`].
    pub name: String,
    /// See [`NewApiKey::role`].
    pub role: Role,
    /// See [`NewApiKey::sha256`]. For comparison only, never shown.
    pub sha256: String,
    /// See [`NewApiKey::prefix`].
    pub prefix: String,
    /// Unix seconds.
    pub created_at: i64,
    /// See [`NewApiKey::expires_at`].
    pub expires_at: Option<i64>,
    /// Unix seconds of the last use that was written down; `None` for never.
    pub last_used_at: Option<i64>,
}

/// A browser's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSession {
    /// SHA-256 of the cookie's token, 64 lowercase hex digits; unique.
    pub token_sha256: String,
    /// The stored key that logged in: deleting the key ends the session. `None` for a key of the configuration.
    pub key_id: Option<i64>,
    /// SHA-256 of the key that logged in, so that a session of a configured key ends when that key changes.
    pub key_sha256: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds after which it is no longer good.
    pub expires_at: i64,
}
