//! The composition root: takes a checked configuration, puts the parts together in order, and runs them until told to stop.
//!
//! | file | does |
//! | --- | --- |
//! | `start_error` | what can go wrong before the daemon is ready, and its exit codes |
//! | `state_dir` | makes the state directory, locks it against a second daemon, and the key that the first start makes in it |
//! | `place` | where it listens and lives; as a node of a cluster it waits there until it acts |
//! | `backups` | backups in the state directory, and how the daemon makes them by itself |
//! | `upkeep` | status line and watchdog, and whether the tree still lives |

pub(crate) mod backups;
mod place;
mod start_error;
mod state_dir;
mod upkeep;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use actix::{Addr, Arbiter};
use actix_rt::ArbiterHandle;
use actix_web::dev::ServerHandle;
use gatewarden_actors::agent_book::AgentBook;
use gatewarden_actors::agent_sync::{AgentSyncActor, AgentSyncParts};
use gatewarden_actors::audit_trail::AuditTrail;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::clock_watch;
use gatewarden_actors::cluster::RightToAct;
use gatewarden_actors::dialing::{Dialer, MemoryBudget, NetworkDialer};
use gatewarden_actors::direct::{DirectConnectionsActor, DirectParts};
use gatewarden_actors::event_hub::EventHubActor;
use gatewarden_actors::gateway::{GatewayActor, GatewayParts};
use gatewarden_actors::log_relay::{LogRelayActor, LogRelayParts};
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::notifier::{NotifierActor, NotifierParts, forget_others};
use gatewarden_actors::placement::{Carriers, Placement};
use gatewarden_actors::processes::{ProcessParts, ProcessesActor};
use gatewarden_actors::registry::SpawnGateway;
use gatewarden_actors::registry::messages::Ping;
use gatewarden_actors::registry::roster::RosterReader;
use gatewarden_actors::registry::token_addresses;
use gatewarden_actors::registry::{FleetSettings, LOGINS_AT_A_TIME, RegistryActor, RegistryParts, Stored};

use gatewarden_actors::settings::GatewaySettings;
use gatewarden_actors::store::batching::AuditLogWriter;
use gatewarden_actors::store::batching::HealthLogWriter;
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::key_file::SealingKey;
use gatewarden_actors::store::member::{Member, Standing};
use gatewarden_protocol::{DeviceIdentity, Secret};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::http::MeshDoor;
use crate::http::agents::SYNCS;
use crate::http::context::{AppState, InstallationIdentity, Node, Readiness};
use crate::http::events::RELAYS;
use crate::http::keyring::Keyring;
use crate::http::mutations::Mutations;
use crate::http::senders::{BoundedSender, DirectSender, RegistrySender};
use crate::http::settings::event_places;
use crate::mesh::carriers;
use crate::systemd::Notifier;

use place::MeshPlace;
pub(crate) use place::Place;
pub(crate) use start_error::StartError;
pub(crate) use state_dir::{AdminKey, Holder, StateDir};

/// Threads for gateways, at most, so that neither HTTP nor the registry shares a thread with the frames of a gateway: one each costs stack and wake-ups, and the work is waiting.
const MAX_THREADS: usize = 4;
/// Orders to gateways' processes at one time; each may take as long as a start and its verification.
const PROCESS_ORDERS: usize = 64;

/// A daemon that runs: its socket is bound, its store migrated, its registry at work.
pub(crate) struct App {
    /// Where it listens; with port 0 in the configuration, the port that it got.
    pub(crate) address: SocketAddr,
    /// The admin key that this start made, to be shown once.
    pub(crate) new_admin_key: Option<Secret>,
    /// The admin key of file or configuration; none where only stored keys let anybody in.
    pub(crate) admin_key: Option<Secret>,
    pub(crate) server: ServerHandle,
    /// Somebody else holds the listening socket open, over our end.
    pub(crate) socket_is_passed: bool,
    pub(crate) serving: JoinHandle<std::io::Result<()>>,
    pub(crate) registry: Addr<RegistryActor>,
    pub(crate) event_hub: Addr<EventHubActor>,
    pub(crate) agent_sync: Addr<AgentSyncActor>,
    pub(crate) direct: Addr<DirectConnectionsActor>,
    pub(crate) processes: Addr<ProcessesActor>,
    pub(crate) roster: RosterReader,
    /// Where notifications are configured.
    pub(crate) notifications: Option<Addr<NotifierActor>>,
    pub(crate) store: StoreHandle,
    pub(crate) health_log: HealthLogWriter,
    pub(crate) audit: AuditTrail,
    pub(crate) readiness: Readiness,
    pub(crate) mutations: Mutations,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) notifier: Arc<Notifier>,
    /// Where the database is a server's.
    pub(crate) member: Option<Member>,
    /// Held until the process ends.
    _state_dir: StateDir,
}

/// Raises the limit of open files to the hard one, and tells what it is then: each gateway and each client is one, and the usual
/// soft limit of 1,024 is soon reached. What can't be raised is logged: a small fleet works anyway.
pub(crate) fn raise_file_limit() -> usize {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        match setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum }) {
            Ok(()) => tracing::debug!(from = before.current, to = before.maximum, "raised the limit of open files"),
            Err(error) => tracing::warn!(%error, limit = before.current, "the limit of open files stays as it is"),
        }
    }
    let now = getrlimit(Resource::Nofile).current;
    now.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

impl App {
    /// Puts everything together, inside a running actix system. What fails leaves nothing half-written: the store checks key and
    /// database before it writes.
    pub(crate) async fn build(
        config: &Config,
        metrics: Arc<Metrics>,
        notifier: Arc<Notifier>,
        place: Place,
    ) -> Result<Self, StartError> {
        let Place { listener, address, was_passed, state_dir, http, clock, member, options, mesh, threads } = place;
        let right = member.as_ref().map_or_else(RightToAct::always, |member| member.right().clone());
        let key = SealingKey::load_or_create(config.credentials_dir.as_deref(), state_dir.path())?;
        let store = StoreHandle::open(options, key, clock.clone(), metrics.clone())?;
        store.forget_leftover_key();
        let device_seed = store.load_or_create_device_seed().await?;
        let identity = Arc::new(DeviceIdentity::from_seed(&device_seed));
        let admin_key = match &config.api_key {
            Some(key) => AdminKey::configured(key.clone()),
            None => {
                let node = member.as_ref().map(|member| member.facts().name.as_str());
                AdminKey::load_or_create(state_dir.path(), &store, &clock, node).await?
            }
        };

        let health_log = HealthLogWriter::start(store.clone());
        let (event_hub, events) = EventHubActor::start(event_places(&http.connections), clock.clone(), metrics.clone());
        let audit = AuditTrail::new(AuditLogWriter::start(store.clone()), events.clone());
        clock_watch::start(clock.clone(), store.clone(), member.is_some(), audit.clone(), metrics.clone()).await?;
        let installation = InstallationIdentity {
            device_id: identity.device_id().to_owned(),
            public_key: identity.public_key().to_owned(),
        };
        let agents = AgentBook::new(store.clone(), events.clone());
        let direct = DirectConnectionsActor::start(DirectParts {
            store: store.clone(),
            agents: agents.clone(),
            events: events.clone(),
            heartbeat_timeout: config.work.heartbeat_timeout,
            clock: clock.clone(),
        })
        .await?;
        for name in store.purge_provisional_gateways().await? {
            tracing::warn!(gateway.name = %name, "gateway {name} was being created when the daemon ended: what was half-made is removed");
        }
        let memory = MemoryBudget::with_limits(config.gateway.memory_total, config.gateway.memory_each);
        metrics.set_gateway_memory(memory.clone());
        let dialer: Arc<dyn Dialer> = Arc::new(NetworkDialer::with_memory(memory));
        let processes = ProcessesActor::start(ProcessParts {
            settings: config.processes.clone(),
            restarts: config.restarts.clone(),
            store: store.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        })
        .await?;
        // Those of a clock that was put back count from the first start on. The store says why it can't write; they count all the same.
        let _ = store.thin_failed_logins().await;
        let records = store.load_gateways().await?;
        let carriers = match (&mesh, member.as_ref().map(|member| member.view().borrow().standing.clone())) {
            (Some(MeshPlace { mesh, .. }), Some(Standing::Acts(epoch))) => {
                let device_seed = Secret::new(hex::encode(*device_seed));
                let (right, clock, metrics) = (right.clone(), clock.clone(), metrics.clone());
                carriers::start(mesh, carriers::Parts { epoch, device_seed, right, clock, metrics }).await
            }
            _ => watch::channel(Carriers::new()).1,
        };
        let (registry, roster) = RegistryActor::start(RegistryParts {
            stored: Stored {
                device_tokens: token_addresses::device_tokens(&store, &records).await?,
                failed_logins: store.load_failed_logins().await?,
                records,
                open_spawns: store.open_spawns().await?,
            },
            settings: FleetSettings {
                election: config.election.clone(),
                routing: config.work.routing.clone(),
                restarts: config.restarts.clone(),
                heartbeat_interval: config.gateway.heartbeat_interval,
                logins_at_a_time: LOGINS_AT_A_TIME,
            },
            store: store.clone(),
            health_log: health_log.clone(),
            seed: Some(config.seed.clone()),
            spawn: spawner(Connecting {
                threads,
                settings: Arc::new(config.gateway.clone()),
                identity,
                dialer: dialer.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                right: right.clone(),
                is_carried: false,
            }),
            placement: Placement::new(&config.node.name, carriers, clock.clone(), metrics.clone()),
            events: events.clone(),
            audit: audit.clone(),
            retention: config.retention.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            processes: Some(processes.clone()),
        });
        let agent_sync = AgentSyncActor::start(AgentSyncParts {
            registry: registry.clone().recipient(),
            roster: roster.clone(),
            store: store.clone(),
            agents: agents.clone(),
            interval: Some(config.work.agent_sync_interval),
            request_timeout: config.gateway.request_timeout,
            clock: clock.clone(),
        });
        let log_relay = LogRelayActor::start(LogRelayParts {
            registry: registry.clone().recipient(),
            roster: roster.clone(),
            events: events.clone(),
            timeout: config.gateway.request_timeout,
            clock: clock.clone(),
        });
        // Answered once the registry has seeded the first gateway, where there was none: no client finds an empty roster.
        let _ = registry.send(Ping).await;
        let notifications = if config.notifications.is_empty() {
            forget_others(&store, &[]).await?;
            None
        } else {
            let parts = NotifierParts {
                destinations: config.notifications.clone(),
                store: store.clone(),
                roster: roster.clone(),
                dialer,
                startup_hold: config.election.startup_hold,
                clock: clock.clone(),
                metrics: metrics.clone(),
            };
            Some(NotifierActor::start(parts).await?)
        };
        let readiness = Readiness::default();
        let mutations = Mutations::default();
        let state = AppState {
            roster: roster.clone(),
            registry: RegistrySender::new(&registry),
            event_hub: event_hub.clone(),
            events,
            log_relay: BoundedSender::new("relay of log entries", log_relay.recipient(), RELAYS),
            audit: audit.clone(),
            store: store.clone(),
            health_log: health_log.clone(),
            agents,
            agent_sync: BoundedSender::new("sync of agents", agent_sync.clone().recipient(), SYNCS),
            processes: BoundedSender::new("processes", processes.clone().recipient(), PROCESS_ORDERS),
            process_settings: config.processes.clone(),
            direct: DirectSender::new(&direct, config.work.heartbeat_timeout),
            keys: Keyring::open(&store, admin_key.key(), admin_key.origin()).await?,
            metrics: metrics.clone(),
            identity: installation,
            clock: clock.clone(),
            readiness: readiness.clone(),
            mutations: mutations.clone(),
            node: Node {
                name: config.node.name.clone(),
                url: place::url_of(config, address),
                member: member.clone(),
                mesh: mesh.as_ref().map(|place| place.mesh.clone()),
                right,
            },
        };
        let door = mesh.map(|MeshPlace { listener, mesh }| MeshDoor { listener, mesh, carry: None });
        let server =
            crate::http::serve(http, state, listener, door).map_err(|source| StartError::Listen { address, source })?;
        state_dir.note_address(address);
        backups::start(config, &store, &clock, &metrics);
        readiness.set_ready();
        Ok(Self {
            address,
            new_admin_key: admin_key.made_now(),
            admin_key: admin_key.key().cloned(),
            server: server.handle(),
            socket_is_passed: was_passed,
            serving: actix_rt::spawn(server),
            registry,
            event_hub,
            agent_sync,
            direct,
            processes,
            roster,
            notifications,
            store,
            health_log,
            audit,
            readiness,
            mutations,
            clock,
            metrics,
            notifier,
            member,
            _state_dir: state_dir,
        })
    }

    /// Tells the service manager that the daemon is ready, and keeps its status line and watchdog going. Ends only when a
    /// part that nothing can replace has died: the reason in a sentence.
    pub(crate) async fn watch(&mut self) -> String {
        self.notifier.ready();
        upkeep::watch(self).await
    }
}

/// The threads of this node's `Gateway` actors, made when the first one is started.
#[derive(Clone, Default)]
struct GatewayThreads(Arc<OnceLock<Vec<ArbiterHandle>>>);

impl GatewayThreads {
    fn handles(&self) -> &[ArbiterHandle] {
        self.0.get_or_init(|| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
            (0..threads).map(|_| Arbiter::new().handle()).collect()
        })
    }
}

/// What all `Gateway` actors of this node have.
struct Connecting {
    threads: GatewayThreads,
    settings: Arc<GatewaySettings>,
    identity: Arc<DeviceIdentity>,
    dialer: Arc<dyn Dialer>,
    clock: Clock,
    metrics: Arc<Metrics>,
    right: RightToAct,
    is_carried: bool,
}

/// What is called to start a `Gateway` actor on this node. A gateway always lands on the same thread.
fn spawner(connecting: Connecting) -> SpawnGateway {
    let Connecting { threads, settings, identity, dialer, clock, metrics, right, is_carried } = connecting;
    let instance_id = uuid::Uuid::new_v4().to_string();
    Box::new(move |record, incarnation, supervisor| {
        let parts = GatewayParts {
            settings: settings.clone(),
            identity: identity.clone(),
            dialer: dialer.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            right: right.clone(),
            instance_id: instance_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_carried,
            record,
            incarnation,
            supervisor,
        };
        // Ids are handed out in sequence, so this spreads evenly.
        let threads = threads.handles();
        let place = usize::try_from(parts.record.id.0).unwrap_or_default() % threads.len().max(1);
        let actor = match threads.get(place) {
            Some(thread) => GatewayActor::start_in(thread, parts),
            None => actix::Actor::start(GatewayActor::new(parts)),
        };
        actor.into()
    })
}
