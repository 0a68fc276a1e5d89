//! Gateways as processes of this machine: started, watched, started again, verified, given up, stopped.
//!
//! ```text
//! HTTP --OrderProcess--> Processes --+--> Command (a child of ours) --> a task of the crate `processes`
//! Registry --RecordSeen, LinkSeen--> |
//!     ^                              +--> Unit (the service manager's) --> D-Bus
//!     +------------- ProcessNotice --- of each of them
//! ```
//!
//! A gateway's record names a unit or a command of the configuration ([`naming`]); who it is run by decides who supervises it:
//! the service manager, or [`Supervision`](crate::machines::process_supervision::Supervision). A start counts only once there
//! is a new process *and* the gateway was connected anew after it had started
//! ([`Verification`](crate::machines::process_verification::Verification)).
//!
//! Nothing runs unseen: all that is started carries a tag in its environment and is remembered in the store, so that the next
//! daemon finds what one that was killed left behind, and ends it before it starts anything. It is not adopted: its output went
//! into pipes whose other end died with the former daemon.

mod command;
pub mod messages;
pub mod naming;
mod reporter;
mod systemd_bus;
mod unit;
pub mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;
use gatewarden_processes::{Owner, Process, proc_table};
use tokio::sync::oneshot;

use self::command::CommandActor;
use self::messages::{
    EndProcess, JoinRegistry, LinkSeen, OrderProcess, ProcessAction, ProcessAnswer, ProcessNotice, RecordSeen,
};
use self::reporter::{Answer, ProcessReporter};
use self::systemd_bus::SystemdBus;
use self::unit::UnitActor;
use self::view::ProcessView;
use crate::clock::Clock;
use crate::error::{ErrorCode, Failure};
use crate::event_hub::EventPublisher;
use crate::gateway_record::{ProcessSource, SharedRecord};
use crate::ids::GatewayId;
use crate::machines::restart_intensity::{RestartDecision, RestartIntensity};
use crate::metrics::Metrics;
use crate::settings::{ProcessSettings, RestartSettings};
use crate::store::handle::StoreHandle;
use crate::store::records::LocalProcess;

/// In the environment of everything that runs for a gateway: `<installation>:<uuid of the gateway>`.
pub const TAG_VARIABLE: &str = "GATEWARDEN_LOCAL_PROCESS";
/// Between two looks whether the actors live.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// After the registry has joined: when to look for what runs for gateways that don't name it any more.
const STRAYS_AFTER: Duration = Duration::from_secs(3);
/// How long those may take to end.
const STRAYS_GRACE: Duration = Duration::from_secs(5);
/// How long a process may take to end whose gateway was deleted or is run by something else now.
const RELEASE: Duration = Duration::from_secs(30);

/// What local processes are made of.
pub struct ProcessParts {
    /// What may be run, and how it is supervised.
    pub settings: Arc<ProcessSettings>,
    /// How often a dead actor is started again.
    pub restarts: RestartSettings,
    /// Where processes are remembered.
    pub store: StoreHandle,
    /// Where subscribers hear of changes.
    pub events: EventPublisher,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Clock,
}

/// What the actors of all processes share.
struct Shared {
    settings: Arc<ProcessSettings>,
    store: StoreHandle,
    events: EventPublisher,
    metrics: Arc<Metrics>,
    clock: Clock,
    owner: Owner,
    boot_id: Option<String>,
    units: Arc<SystemdBus>,
}

/// To the actor of one process, whatever runs it.
#[derive(Message)]
#[rtype(result = "()")]
enum ProcessCommand {
    /// An operator wants this; the place for the answer, given at once or (`wait`) once it has come to something.
    Order {
        action: ProcessAction,
        wait: bool,
        answer: Answer,
    },
    /// How the connection is.
    Link(LinkSeen),
    Record(SharedRecord),
    /// It is not wanted any more: it is ended within this time, then the sender is used or dropped.
    End {
        within: Duration,
        done: oneshot::Sender<()>,
    },
}

struct Entry {
    record: SharedRecord,
    source: ProcessSource,
    actor: Recipient<ProcessCommand>,
    link: Option<LinkSeen>,
    intensity: RestartIntensity,
    /// Its actor died too often.
    parked: bool,
}

/// Owns the actors of all local processes: one for each gateway that names a unit or a command.
pub struct ProcessesActor {
    shared: Arc<Shared>,
    restarts: RestartSettings,
    registry: Option<JoinRegistry>,
    entries: HashMap<GatewayId, Entry>,
    remembered: HashMap<GatewayId, LocalProcess>,
    stopping: bool,
}

impl ProcessesActor {
    /// Starts on the current arbiter. Nothing is started before the registry has joined.
    ///
    /// # Errors
    /// What is remembered can't be read.
    pub async fn start(parts: ProcessParts) -> Result<Addr<Self>, Failure> {
        let remembered = parts.store.load_local_processes().await?.into_iter().collect();
        let shared = Shared {
            owner: Owner::new(TAG_VARIABLE, parts.store.installation_id()),
            boot_id: proc_table::boot_id(),
            units: Arc::default(),
            settings: parts.settings,
            store: parts.store,
            events: parts.events,
            metrics: parts.metrics,
            clock: parts.clock,
        };
        let actor = Self {
            shared: Arc::new(shared),
            restarts: parts.restarts,
            registry: None,
            entries: HashMap::new(),
            remembered,
            stopping: false,
        };
        Ok(Actor::start(actor))
    }

    fn open(
        &self,
        registry: &JoinRegistry,
        record: &SharedRecord,
        source: &ProcessSource,
    ) -> Recipient<ProcessCommand> {
        let reporter = ProcessReporter::new(self.shared.clone(), registry.clone(), record.clone(), source.clone());
        match source.clone() {
            ProcessSource::Command(command) => {
                let stored = self.remembered.get(&record.id).cloned();
                CommandActor::new(self.shared.clone(), reporter, command, stored).start().recipient()
            }
            ProcessSource::Unit(unit) => UnitActor::new(self.shared.clone(), reporter, unit).start().recipient(),
        }
    }

    fn admit(&mut self, record: SharedRecord, source: ProcessSource) {
        let Some(registry) = self.registry.clone().filter(|_| !self.stopping) else { return };
        let actor = self.open(&registry, &record, &source);
        let intensity = RestartIntensity::new(self.restarts.max_restarts, self.restarts.window);
        self.entries.insert(record.id, Entry { record, source, actor, link: None, intensity, parked: false });
    }

    /// Ends what a gateway's record no longer names. What takes its place waits for that.
    fn release(&mut self, id: GatewayId, then: Option<(SharedRecord, ProcessSource)>, ctx: &mut Context<Self>) {
        let Some(entry) = self.entries.remove(&id) else { return };
        ctx.spawn(entry.end(RELEASE).into_actor(self).map(move |(), actor, _| {
            actor.remembered.remove(&id);
            match then {
                Some((record, source)) if !actor.entries.contains_key(&id) => actor.admit(record, source),
                Some(_) => {}
                None => actor.forget(id),
            }
        }));
    }

    /// Ends what an earlier daemon left running for a gateway that is deleted, or run by something else by now.
    fn end_strays(&self) {
        let known: Vec<String> = self.entries.values().map(|entry| entry.record.uuid.clone()).collect();
        let owner = self.shared.owner.clone();
        // On a thread for blocking work; nobody waits for it.
        tokio::task::spawn_blocking(move || {
            let since = Process::own().map_or(0, |own| own.start_ticks);
            let older = owner.processes().into_iter().filter(|(process, _)| process.start_ticks < since);
            for (process, uuid) in older {
                let Some(uuid) = uuid.filter(|uuid| !known.contains(uuid)) else { continue };
                let ended = owner.tag(&uuid).end_former(None, STRAYS_GRACE);
                tracing::warn!(
                    pid = process.pid,
                    ended,
                    change = "orphan_ended",
                    "an earlier run of the daemon had left process {} running for a gateway that it no longer runs: it was ended",
                    process.pid
                );
            }
        });
    }

    fn forget(&self, id: GatewayId) {
        self.shared.metrics.forget_process(id);
        if let Some(registry) = &self.registry {
            registry.notices.do_send(ProcessNotice { gateway: id, view: None });
        }
    }

    /// Looks for actors that died: each is started anew, and ends first what the dead one left running.
    fn watch(&mut self) {
        let Some(registry) = self.registry.clone().filter(|_| !self.stopping) else { return };
        let now = self.shared.clock.now();
        let dead: Vec<GatewayId> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.parked && !entry.actor.connected())
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let name = entry.record.name.clone();
            if entry.intensity.on_death(now) == RestartDecision::Park {
                entry.parked = true;
                let mut view = ProcessView::unknown(entry.source.clone(), self.shared.clock.wall_ms());
                view.reason =
                    Some("its supervision crashed too often: please report this fault of gatewarden".to_owned());
                registry.notices.do_send(ProcessNotice { gateway: id, view: Some(Arc::new(view)) });
                tracing::error!(gateway.id = id.0, gateway.name = %name,
                    "the supervision of the gateway's process crashed too often and is given up: please report this fault of gatewarden");
                continue;
            }
            tracing::error!(gateway.id = id.0, gateway.name = %name, "the actor of the gateway's process died and is started again");
            let (record, source, link) = (entry.record.clone(), entry.source.clone(), entry.link.clone());
            let actor = self.open(&registry, &record, &source);
            if let Some(link) = link {
                actor.do_send(ProcessCommand::Link(link));
            }
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.actor = actor;
            }
        }
    }
}

impl Entry {
    fn end(&self, within: Duration) -> impl Future<Output = ()> + use<> {
        let (done, ended) = oneshot::channel();
        self.actor.do_send(ProcessCommand::End { within, done });
        // It ends by itself in time; its death is an end, too.
        async move {
            let _ = ended.await;
        }
    }
}

impl Actor for ProcessesActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(WATCH_INTERVAL, |actor, _| actor.watch());
    }
}

impl Handler<JoinRegistry> for ProcessesActor {
    type Result = ();

    fn handle(&mut self, message: JoinRegistry, ctx: &mut Self::Context) {
        self.registry = Some(message);
        // By then every record has been seen.
        ctx.run_later(STRAYS_AFTER, |actor, _| actor.end_strays());
    }
}

impl Handler<RecordSeen> for ProcessesActor {
    type Result = ();

    fn handle(&mut self, message: RecordSeen, ctx: &mut Self::Context) {
        let id = message.gateway;
        let wanted = message.record.and_then(|record| Some((record.clone(), record.process.clone()?)));
        match (self.entries.get_mut(&id), wanted) {
            (Some(entry), Some((record, source))) if entry.source == source => {
                entry.record = record.clone();
                entry.actor.do_send(ProcessCommand::Record(record));
            }
            (Some(_), then) => self.release(id, then, ctx),
            (None, Some((record, source))) => self.admit(record, source),
            (None, None) => {}
        }
    }
}

impl Handler<LinkSeen> for ProcessesActor {
    type Result = ();

    fn handle(&mut self, message: LinkSeen, _: &mut Self::Context) {
        if let Some(entry) = self.entries.get_mut(&message.gateway) {
            entry.link = Some(message.clone());
            entry.actor.do_send(ProcessCommand::Link(message));
        }
    }
}

impl Handler<OrderProcess> for ProcessesActor {
    type Result = ResponseFuture<Result<ProcessAnswer, Failure>>;

    fn handle(&mut self, message: OrderProcess, _: &mut Self::Context) -> Self::Result {
        let OrderProcess { gateway, action, wait } = message;
        let Some(entry) = self.entries.get(&gateway) else {
            return Box::pin(async move { Err(not_managed(gateway)) });
        };
        let (answer, answered) = oneshot::channel();
        entry.actor.do_send(ProcessCommand::Order { action, wait, answer });
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(Failure::unavailable("process"))) })
    }
}

impl Handler<EndProcess> for ProcessesActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, message: EndProcess, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let ending: Vec<_> = self.entries.values().map(|entry| entry.end(message.within)).collect();
        Box::pin(async move {
            join_all(ending).await;
        })
    }
}

/// A gateway whose record names neither a unit nor a command.
fn not_managed(id: GatewayId) -> Failure {
    Failure::new(
        ErrorCode::ProcessNotManaged,
        format!("Gateway {id} is not a process of this machine: its record names neither a unit nor a command"),
    )
    .with_help(format!(
        "PUT /api/gateways/{id} {{\"unit\": \"gatewarden-gateway@NAME.service\"}}, or {{\"command\": \"NAME\"}} of the \
         configuration's section [commands.NAME]."
    ))
}
