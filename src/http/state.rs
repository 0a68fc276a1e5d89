//! What handlers may reach: the published roster, the registry's door, the store, metrics, keys, limits and settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use actix::Addr;
use gatewarden_actors::agent_book::AgentBook;
use gatewarden_actors::agent_sync::SyncAgents;
use gatewarden_actors::audit_trail::AuditTrail;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::event_hub::EventHubActor;
use gatewarden_actors::log_relay::RelayLogs;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::processes::messages::OrderProcess;
use gatewarden_actors::registry::roster::RosterReader;
use gatewarden_actors::settings::ProcessSettings;
use gatewarden_actors::store::handle::StoreHandle;

use super::direct_door::DirectDoor;
use super::keyring::Keyring;
use super::mutations::Mutations;
use super::registry_door::{Door, RegistryDoor};

/// What the daemon hands to the HTTP front. One value, shared by all workers.
pub struct AppState {
    /// Reads of gateways: no message, no waiting.
    pub roster: RosterReader,
    /// Messages to the registry.
    pub registry: RegistryDoor,
    /// Where event streams are joined.
    pub event_hub: Addr<EventHubActor>,
    /// Gives log entries to the event hub.
    pub log_relay: Door<RelayLogs>,
    /// Where changes and refusals are written down.
    pub audit: AuditTrail,
    /// The health log, keys and browser sessions.
    pub store: StoreHandle,
    /// Agents: reads and changes, with the events that changes entail.
    pub agents: AgentBook,
    /// Reads agents from gateways.
    pub agent_sync: Door<SyncAgents>,
    /// Runs gateways on this machine.
    pub processes: Door<OrderProcess>,
    /// What may be run there.
    pub process_settings: Arc<ProcessSettings>,
    /// CLI tools that connect directly.
    pub direct: DirectDoor,
    /// The API keys that requests are checked against.
    pub keys: Keyring,
    /// Changes under way. The daemon waits for their end.
    pub mutations: Mutations,
    /// Counts requests, renders `/metrics`.
    pub metrics: Arc<Metrics>,
    /// This installation's device.
    pub identity: InstallationIdentity,
    /// Time.
    pub clock: Clock,
    /// Whether `/ready` answers 200. The daemon sets it.
    pub readiness: Readiness,
}

/// The public half of this installation's device identity, as `GET /api/identity` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationIdentity {
    /// Lowercase hex SHA-256 of the raw public key.
    pub device_id: String,
    /// Raw Ed25519 public key, base64url without padding.
    pub public_key: String,
}

/// Whether the daemon is ready. Clones share the state: the daemon keeps one and sets it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    const STARTING: u8 = 0;
    const READY: u8 = 1;
    const STOPPING: u8 = 2;

    /// The store is migrated, the registry runs, the socket is bound.
    pub fn set_ready(&self) {
        self.0.store(Self::READY, Ordering::Release);
    }

    /// The daemon is stopping: load balancers should look elsewhere.
    pub fn set_stopping(&self) {
        self.0.store(Self::STOPPING, Ordering::Release);
    }

    /// `None` when ready, else the state in a word: `starting` or `stopping`.
    pub fn why_not(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Acquire) {
            Self::READY => None,
            Self::STOPPING => Some("stopping"),
            Self::STARTING..=u8::MAX => Some("starting"),
        }
    }
}
