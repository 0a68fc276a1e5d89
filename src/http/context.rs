//! Everything that handlers and middleware may reach, made once at the start and given to all workers.

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::{Addr, Message};
use actix_web::web;
use bytes::Bytes;
use gatewarden_actors::agent_book::AgentBook;
use gatewarden_actors::agent_sync::SyncAgents;
use gatewarden_actors::audit_trail::AuditTrail;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::cluster::{NO_LEASE, RightToAct, not_acting};
use gatewarden_actors::error::Failure;
use gatewarden_actors::event_hub::{EventHubActor, EventPublisher};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::log_relay::RelayLogs;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::processes::messages::OrderProcess;
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_actors::settings::ProcessSettings;
use gatewarden_actors::store::batching::HealthLogWriter;
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::member::Member;
use gatewarden_listener::{Connections, MemoryBudget};
use gatewarden_protocol::Secret;
use gatewarden_protocol::steady_time::Gap;
use tokio::sync::Semaphore;

use super::door::Door;
use super::gateways::record::ListBody;
use super::headers::RequestIds;
use super::keyring::{Keyring, new_token};
use super::limits::{BODY_MEMORY, Limits, Refusals};
use super::login_links::LoginLinks;
use super::mutations::Mutations;
use super::route_table::RouteTable;
use super::senders::{BoundedSender, DirectSender, RegistrySender};
use super::settings::HttpSettings;
use super::vitals::Vitals;
use crate::mesh::Mesh;

/// Checks of gateways and searches for them under way at one time.
const CHECKS: usize = 4;
/// How long a reader of the health log waits for the newest points to be written.
const FLUSH: Duration = Duration::from_millis(500);

/// As handlers take it.
pub(crate) type App = web::Data<AppContext>;

/// What the daemon hands to the HTTP front.
pub(crate) struct AppState {
    /// Reads of gateways: no message, no waiting.
    pub(crate) roster: RosterReader,
    pub(crate) registry: RegistrySender,
    pub(crate) event_hub: Addr<EventHubActor>,
    /// Tells of what the front itself sees.
    pub(crate) events: EventPublisher,
    /// Gives log entries to the event hub.
    pub(crate) log_relay: BoundedSender<RelayLogs>,
    pub(crate) audit: AuditTrail,
    pub(crate) store: StoreHandle,
    pub(crate) health_log: HealthLogWriter,
    /// Agents: reads and changes, with the events that changes entail.
    pub(crate) agents: AgentBook,
    pub(crate) agent_sync: BoundedSender<SyncAgents>,
    /// Runs gateways on this machine.
    pub(crate) processes: BoundedSender<OrderProcess>,
    pub(crate) process_settings: Arc<ProcessSettings>,
    /// CLI tools that connect directly.
    pub(crate) direct: DirectSender,
    pub(crate) keys: Keyring,
    /// Changes under way. The daemon waits for their end.
    pub(crate) mutations: Mutations,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) identity: InstallationIdentity,
    pub(crate) clock: Clock,
    /// Whether `/ready` answers 200. The daemon sets it.
    pub(crate) readiness: Readiness,
    /// This daemon as a node of a cluster.
    pub(crate) node: Node,
}

/// That, and what the front has of its own.
pub(crate) struct AppContext {
    state: AppState,
    pub(crate) settings: HttpSettings,
    pub(crate) limits: Limits,
    pub(crate) refusals: Refusals,
    /// The body of `GET /api/gateways`, kept while nothing changes.
    pub(crate) list: ListBody,
    /// Links that log a browser in.
    pub(crate) links: LoginLinks,
    /// What followers of `gateway.vitals` know.
    pub(crate) vitals: Vitals,
    /// Places of checks of gateways before they are registered, and of searches for them.
    pub(crate) checks: Arc<Semaphore>,
    pub(crate) connections: Connections,
    pub(crate) bodies: MemoryBudget,
    pub(crate) request_ids: RequestIds,
    pub(crate) routes: RouteTable,
    pub(crate) document: ServedDocument,
    started: Instant,
    /// Names this run of the daemon: versions of another one say nothing.
    pub(crate) run: String,
    /// What tags of gateways are made with, so that they tell nothing of the secrets that they cover; none where the system gives no
    /// random key, and then there are no tags.
    pub(crate) tag_key: Option<Secret>,
}

impl Deref for AppContext {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.state
    }
}

impl AppContext {
    pub(crate) fn new(settings: HttpSettings, state: AppState, routes: RouteTable, document: ServedDocument) -> Self {
        let proxies = settings.trusted_proxies.clone();
        let is_shared = move |address| proxies.iter().any(|network| network.contains(address));
        Self {
            connections: Connections::new(settings.connections, is_shared),
            bodies: MemoryBudget::new(BODY_MEMORY),
            limits: Limits::new(&settings.rate_limits, &state.clock),
            refusals: Refusals::default(),
            list: ListBody::default(),
            links: LoginLinks::default(),
            vitals: Vitals::default(),
            checks: Arc::new(Semaphore::new(CHECKS)),
            request_ids: RequestIds::new(),
            routes,
            document,
            started: state.clock.now(),
            run: format!("{:x}", state.clock.wall_ms()),
            tag_key: new_token().map(Secret::new).ok(),
            settings,
            state,
        }
    }

    /// Sends a command or a question that is answered within the usual deadline.
    pub(crate) async fn ask<M, T>(&self, to: &BoundedSender<M>, message: M) -> Result<T, Failure>
    where
        M: Message<Result = Result<T, Failure>> + Send,
        T: Send + 'static,
    {
        to.send(message, self.settings.request_deadline).await
    }

    /// What keys are checked against.
    pub(crate) fn door(&self) -> Door<'_> {
        let (keys, limits) = (&self.state.keys, &self.limits);
        Door { keys, limits, trusted_proxies: &self.settings.trusted_proxies, now_s: self.now_s() }
    }

    /// A gateway, where there is one of this id.
    pub(crate) fn gateway(&self, id: GatewayId) -> Result<Arc<GatewayView>, Failure> {
        self.roster.get(id).ok_or_else(|| Failure::gateway_not_found(id))
    }

    /// Unix seconds.
    pub(crate) fn now_s(&self) -> i64 {
        self.clock.wall_ms().div_euclid(1000)
    }

    /// When the daemon observed nothing, as far as that lies after `since_ms`; oldest first.
    pub(crate) fn gaps_since(&self, since_ms: i64) -> Vec<Gap> {
        let gaps = self.clock.gaps().into_iter().filter(|gap| gap.to_ms > since_ms);
        gaps.map(|gap| Gap { from_ms: gap.from_ms.max(since_ms), ..gap }).collect()
    }

    /// Before the health log is read: what waits for its batch is a second old. Where the store stalls, what is stored has to do.
    pub(crate) async fn store_observations(&self) {
        let _ = tokio::time::timeout(FLUSH, self.health_log.flush()).await;
    }

    /// Seconds since the start.
    pub(crate) fn uptime_s(&self) -> u64 {
        self.clock.now().saturating_duration_since(self.started).as_secs()
    }
}

/// The document as it is served, made when it is asked for first.
pub(crate) struct ServedDocument {
    make: fn() -> utoipa::openapi::OpenApi,
    made: OnceLock<Bytes>,
}

impl ServedDocument {
    pub(crate) fn new(make: fn() -> utoipa::openapi::OpenApi) -> Self {
        Self { make, made: OnceLock::new() }
    }

    /// On a thread of its own: it takes megabytes for some milliseconds, which the allocator would keep for a worker's thread for
    /// good and gives back with a thread that ends.
    pub(crate) fn serialized(&self) -> Bytes {
        let make = self.make;
        let serialize = move || serde_json::to_vec(&make()).unwrap_or_default();
        let on_thread = || {
            let thread = std::thread::Builder::new().name("openapi".to_owned()).spawn(serialize);
            Bytes::from(thread.ok().and_then(|made| made.join().ok()).unwrap_or_else(serialize))
        };
        self.made.get_or_init(on_thread).clone()
    }
}

/// The public half of this installation's device identity, as `GET /api/identity` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstallationIdentity {
    /// Lowercase hex SHA-256 of the raw public key.
    pub(crate) device_id: String,
    /// Raw Ed25519 public key, base64url without padding.
    pub(crate) public_key: String,
}

/// This daemon as a node of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// `node.name`.
    pub(crate) name: String,
    /// Where it is reached.
    pub(crate) url: String,
    /// None where the database is a file.
    pub(crate) member: Option<Member>,
    /// Where it takes part in the mesh.
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) right: RightToAct,
}

impl Node {
    /// Refuses what this node must not do for the moment.
    pub(crate) fn check(&self, now_ms: i64) -> Result<(), Failure> {
        if self.right.holds(now_ms) { Ok(()) } else { Err(not_acting(NO_LEASE)) }
    }
}

/// Whether the daemon is ready. Clones share the state: the daemon keeps one and sets it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<AtomicU8>);

impl Readiness {
    const STARTING: u8 = 0;
    const READY: u8 = 1;
    const STOPPING: u8 = 2;

    /// The store is migrated, the registry runs, the socket is bound.
    pub(crate) fn set_ready(&self) {
        self.0.store(Self::READY, Ordering::Release);
    }

    /// The daemon is stopping: load balancers should look elsewhere.
    pub(crate) fn set_stopping(&self) {
        self.0.store(Self::STOPPING, Ordering::Release);
    }

    /// `None` when ready, else the state in a word: `starting` or `stopping`.
    pub(crate) fn why_not(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Acquire) {
            Self::READY => None,
            Self::STOPPING => Some("stopping"),
            Self::STARTING..=u8::MAX => Some("starting"),
        }
    }
}
