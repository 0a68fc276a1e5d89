//! The `Registry` actor: roster, supervision of `Gateway` actors, election of the acting primary.
//!
//! | file | decides or does |
//! | --- | --- |
//! | `messages` | what the HTTP front and the daemon may ask |
//! | `roster` | the published view that readers use without a message |
//! | `entry` | what the registry knows of one gateway, and the way to its actor |
//! | `record_changes` | create, update, delete: write, then act, then answer |
//! | `requests` | probe, call, control, logs, reconnect, drain |
//! | `spawning` | route, record, send, answer; never run twice |
//! | `reconciliation` | what became of spawns: stages, questions, writing it down |
//! | `notices` | what gateways say: reports, permits, device tokens, health points |
//! | `announcements` | what subscribers are told |
//! | `trials` | gateways that are dialled before anybody sees them: created or changed through the organization API |
//! | `local_processes` | gateways that are processes of this machine: who is told of them, and what is shown |
//! | `supervision` | actors that died: restart, or park |
//! | `primary` | feeds the election and publishes its outcome |
//! | `observations` | what is kept of observations across a restart, and for how long |

mod addresses;
mod announcements;
mod entry;
mod local_processes;
pub mod messages;
mod notices;
mod observations;
mod primary;
mod reconciliation;
mod record_changes;
mod requests;
pub mod roster;
mod spawn_writes;
mod spawning;
mod supervision;
pub mod token_addresses;
pub mod trials;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use self::addresses::Addresses;
use self::entry::Entry;
use self::roster::{GatewayView, RosterReader, RosterWriter};
use crate::audit_trail::AuditTrail;
use crate::clock::Clock;
use crate::error::Failure;
use crate::event_hub::EventPublisher;
use crate::gateway::messages::{FromGateway, GatewayHandle};
use crate::gateway_record::{DeviceToken, GatewayRecord, NewGateway, SharedRecord};
use crate::ids::GatewayId;
use crate::machines::election::Election;
use crate::machines::self_doubt::SelfDoubt;
use crate::machines::spawn_book::SpawnBook;
use crate::machines::write_pace::WritePace;
use crate::metrics::Metrics;
use crate::processes::ProcessesActor;
use crate::settings::{ElectionSettings, RestartSettings, RetentionSettings, RoutingSettings};
use crate::store::handle::StoreHandle;
use crate::store::health_log::HealthLogWriter;
use crate::store::records::SpawnRecord;

/// How often the registry looks for `Gateway` actors that died. O(gateways), one atomic read each.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Messages that may wait for the registry before senders are told that it is busy.
const MAILBOX: usize = 4_096;

/// Starts one `Gateway` actor from its record and incarnation; notices go to the given recipient.
pub type SpawnGateway = Box<dyn Fn(SharedRecord, u64, Recipient<FromGateway>) -> GatewayHandle>;

/// What a registry is made of.
pub struct RegistryParts {
    /// Where records, device tokens and health points are kept.
    pub store: StoreHandle,
    /// Batches health points.
    pub health_log: HealthLogWriter,
    /// The stored gateways at the start.
    pub records: Vec<GatewayRecord>,
    /// The stored device tokens at the start, by canonical address.
    pub device_tokens: Vec<(String, DeviceToken)>,
    /// What is registered when there is no gateway at all.
    pub seed: Option<NewGateway>,
    /// Starts a `Gateway` actor.
    pub spawn: SpawnGateway,
    /// Who may act as primary, and when.
    pub election: ElectionSettings,
    /// Where subscribers hear of changes.
    pub events: EventPublisher,
    /// Where changes of the acting primary are recorded.
    pub audit: AuditTrail,
    /// The spawns that an earlier run of the daemon left open.
    pub open_spawns: Vec<SpawnRecord>,
    /// Where work goes.
    pub routing: RoutingSettings,
    /// How often a dead actor is started again.
    pub restarts: RestartSettings,
    /// How long the health log is kept.
    pub retention: RetentionSettings,
    /// One heartbeat interval: the window in which a mass failure makes the daemon doubt its own network.
    pub heartbeat_interval: Duration,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who runs the gateways that are processes of this machine; none where nobody does.
    pub processes: Option<Addr<ProcessesActor>>,
}

/// Owns the roster. Never speaks the wire protocol, runs no SQL, never blocks.
pub struct RegistryActor {
    store: StoreHandle,
    health_log: HealthLogWriter,
    seed: Option<NewGateway>,
    spawn: SpawnGateway,
    restarts: RestartSettings,
    retention: RetentionSettings,
    events: EventPublisher,
    audit: AuditTrail,
    routing: RoutingSettings,
    spawns: SpawnBook,
    write_pace: WritePace,
    /// Spawns that go on once all that was decided about them is stored. One each; gone with the write.
    awaited_writes: HashMap<String, tokio::sync::oneshot::Sender<Result<(), Failure>>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    processes: Option<Addr<ProcessesActor>>,
    roster: RosterWriter,
    entries: HashMap<GatewayId, Entry>,
    addresses: Addresses,
    /// Addresses of gateways that are being created.
    reserved: HashSet<String>,
    /// Trials that are not stored have ids below zero, each its own.
    last_trial: i64,
    election: Election,
    self_doubt: SelfDoubt,
    /// The one armed deadline of election and doubt; a late expiry of an older generation is ignored.
    deadline_generation: u64,
    /// An election is due soon because something changed that may matter.
    election_pending: bool,
    incarnations: u64,
    stopping: bool,
}

impl RegistryActor {
    /// Starts the registry on the current arbiter, with an actor for each stored gateway; seeds one where there is none.
    /// The reader is complete when this returns.
    pub fn start(parts: RegistryParts) -> (Addr<Self>, RosterReader) {
        let roster = RosterWriter::default();
        let reader = roster.reader();
        let now = parts.clock.now();
        let wall_ms = parts.clock.wall_ms();
        let mut addresses = Addresses::new(parts.device_tokens);
        let mut entries = HashMap::with_capacity(parts.records.len());
        let mut views = Vec::with_capacity(parts.records.len());
        for record in parts.records {
            let record = Arc::new(record);
            let entry = Entry::new(record.clone(), &parts.restarts, wall_ms);
            addresses.join(&entry.address, record.id);
            views.push(GatewayView::new(record.clone(), entry.report.clone(), false));
            entries.insert(record.id, entry);
        }
        roster.publish_all(views);
        let mut registry = Self {
            store: parts.store,
            health_log: parts.health_log,
            seed: parts.seed,
            spawn: parts.spawn,
            restarts: parts.restarts,
            retention: parts.retention,
            events: parts.events,
            audit: parts.audit,
            spawns: SpawnBook::new(parts.routing.lost_after),
            write_pace: WritePace::default(),
            awaited_writes: HashMap::new(),
            routing: parts.routing,
            metrics: parts.metrics,
            processes: parts.processes,
            roster,
            entries,
            addresses,
            reserved: HashSet::new(),
            last_trial: 0,
            election: Election::new(parts.election, now),
            self_doubt: SelfDoubt::new(parts.heartbeat_interval),
            deadline_generation: 0,
            election_pending: false,
            incarnations: 0,
            stopping: false,
            clock: parts.clock,
        };
        registry.resume_spawns(parts.open_spawns);
        let addr = Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            registry
        });
        (addr, reader)
    }

    /// Publishes one gateway to readers and to the metrics.
    fn publish(&self, id: GatewayId) -> Option<Arc<GatewayView>> {
        let entry = self.entries.get(&id).filter(|entry| !entry.is_hidden())?;
        let acting = self.election.acting() == Some(id);
        let report = local_processes::with_process(&entry.report, entry.process.as_deref(), &entry.record.name);
        self.metrics.publish_gateway(id, &entry.record.name, &report, entry.record.drained, acting);
        let view = GatewayView::new(entry.record.clone(), report, acting).with_process(entry.process.clone());
        Some(self.roster.publish(view))
    }

    /// Starts the actor of an entry from its present record.
    fn start_gateway(&mut self, id: GatewayId, ctx: &Context<Self>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.incarnations += 1;
        entry.incarnation = self.incarnations;
        entry.handle = Some((self.spawn)(entry.record.clone(), entry.incarnation, ctx.address().recipient()));
    }

    /// Takes a stored record into the roster and starts its actor.
    fn admit(&mut self, record: GatewayRecord, ctx: &mut Context<Self>) -> Option<Arc<GatewayView>> {
        let record = Arc::new(record);
        let id = record.id;
        let entry = Entry::new(record, &self.restarts, self.clock.wall_ms());
        self.addresses.join(&entry.address, id);
        self.entries.insert(id, entry);
        self.start_gateway(id, ctx);
        self.tell_processes_of_record(id);
        let view = self.publish(id);
        self.consider_election(Some(id), ctx);
        view
    }
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.join_processes(ctx);
        let ids: Vec<GatewayId> = self.entries.keys().copied().collect();
        for id in ids {
            self.start_gateway(id, ctx);
            self.tell_processes_of_record(id);
            self.publish(id);
        }
        ctx.run_interval(WATCH_INTERVAL, |registry, ctx| registry.watch(ctx));
        self.schedule_housekeeping(ctx);
        self.schedule_reconciliation(ctx);
        // At the start nobody may see the empty roster, so the mailbox waits for the store.
        ctx.wait(self.seed_if_empty());
        self.rearm(ctx);
    }
}

#[cfg(test)]
mod tests;
