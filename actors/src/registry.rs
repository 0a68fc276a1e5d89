//! The `Registry` actor: a thin shell around [`gatewarden_core::fleet`], which decides. It owns the handles of the `Gateway`
//! actors and the clock, feeds the fleet and carries out what it says.
//!
//! | file | does |
//! | --- | --- |
//! | `messages` | what the HTTP front and the daemon may ask |
//! | `roster` | the published view that readers use without a message |
//! | `records` | create, update, delete, reserve, confirm: write, then act, then answer |
//! | `requests` | what is passed on to gateways: probe, call, control, logs, spawns; reconnect, drain |
//! | `effects` | carries out what the fleet says, and tells people |
//! | `local_processes` | gateways that are processes of this machine: who is told of them, and what is shown |
//! | `token_addresses` | device tokens of an earlier release |

mod effects;
mod local_processes;
pub mod messages;
mod records;
mod requests;
pub mod roster;
mod session_news;
pub mod token_addresses;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use gatewarden_core::fleet::{Fleet, Member, SpawnAnswer, Ticket, Time};
pub use gatewarden_core::fleet::{FleetSettings, Stored};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use self::local_processes::LocalProcesses;
use self::roster::{GatewayView, RosterReader, RosterWriter};
use crate::audit_trail::AuditTrail;
use crate::clock::Clock;
use crate::deadline_timer::DeadlineTimer;
use crate::error::Failure;
use crate::event_hub::EventPublisher;
use crate::gateway::{FromGateway, GatewayHandle};
use crate::gateway_record::{GatewaySpec, SharedRecord};
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;
use crate::metrics::Metrics;
use crate::processes::ProcessesActor;
use crate::settings::RetentionSettings;
use crate::store::batching::HealthLogWriter;
use crate::store::handle::StoreHandle;

/// How often the registry looks for `Gateway` actors that died. O(gateways), one atomic read each.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// How often changed observations are stored; a crash loses at most this much of them, never a record.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// How often logs and histories are thinned.
const THIN_INTERVAL: Duration = Duration::from_secs(600);
/// What a `Gateway` actor may take beyond a request's own deadline before the registry answers for it.
const GRACE: Duration = Duration::from_millis(500);
/// Messages that may wait for the registry before senders are told that it is busy.
const MAILBOX: usize = 4_096;

/// Starts one `Gateway` actor from its record and incarnation; notices go to the given recipient.
pub type SpawnGateway = Box<dyn Fn(SharedRecord, u64, Recipient<FromGateway>) -> GatewayHandle>;

/// What a registry is made of.
pub struct RegistryParts {
    /// Where records, device tokens and spawns are kept.
    pub store: StoreHandle,
    /// Batches health points.
    pub health_log: HealthLogWriter,
    /// What an earlier run of the daemon left.
    pub stored: Stored,
    /// Who acts as primary, where work goes, how often dead actors are started again.
    pub settings: FleetSettings,
    /// What is registered when there is no gateway at all.
    pub seed: Option<GatewaySpec>,
    /// Starts a `Gateway` actor.
    pub spawn: SpawnGateway,
    /// Where subscribers hear of changes.
    pub events: EventPublisher,
    /// Where changes of the acting primary are recorded.
    pub audit: AuditTrail,
    /// How long logs and histories are kept.
    pub retention: RetentionSettings,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who runs the gateways that are processes of this machine; none where nobody does.
    pub processes: Option<Addr<ProcessesActor>>,
}

/// Owns the roster. Never speaks the wire protocol, runs no SQL, never blocks.
pub struct RegistryActor {
    fleet: Fleet,
    timer: DeadlineTimer,
    /// The living actors, of members and of trials.
    handles: HashMap<GatewayId, GatewayHandle>,
    /// Who waits for the outcome of a trial.
    trials: HashMap<GatewayId, watch::Sender<GatewayReport>>,
    /// Who waits for the acceptance of a spawn.
    spawners: HashMap<Ticket, oneshot::Sender<Result<SpawnAnswer, Failure>>>,
    last_ticket: u64,
    roster: RosterWriter,
    processes: LocalProcesses,
    store: StoreHandle,
    health_log: HealthLogWriter,
    seed: Option<GatewaySpec>,
    spawn: SpawnGateway,
    retention: RetentionSettings,
    events: EventPublisher,
    audit: AuditTrail,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl RegistryActor {
    /// Starts the registry on the current arbiter, with an actor for each stored gateway; seeds one where there is none.
    /// The reader is complete when this returns.
    pub fn start(parts: RegistryParts) -> (Addr<Self>, RosterReader) {
        let fleet = Fleet::new(parts.settings, parts.stored, time_of(&parts.clock));
        if fleet.open_spawns() > 0 {
            let spawns = fleet.open_spawns();
            info!(spawns, "spawns of an earlier run are open: their gateways are asked once connected");
        }
        let roster = RosterWriter::default();
        let reader = roster.reader();
        let view = |member: &Member| GatewayView::new(member.record.clone(), member.report.clone(), false);
        roster.publish_all(fleet.members().map(view).collect());
        let registry = Self {
            fleet,
            timer: DeadlineTimer::default(),
            handles: HashMap::new(),
            trials: HashMap::new(),
            spawners: HashMap::new(),
            last_ticket: 0,
            roster,
            processes: LocalProcesses::new(parts.processes),
            store: parts.store,
            health_log: parts.health_log,
            seed: parts.seed,
            spawn: parts.spawn,
            retention: parts.retention,
            events: parts.events,
            audit: parts.audit,
            clock: parts.clock,
            metrics: parts.metrics,
        };
        let addr = Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            registry
        });
        (addr, reader)
    }

    /// One input: the fleet decides, the effects are carried out, the timer is set to what is due next.
    fn feed<T>(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Fleet, Time) -> T) -> T {
        let answer = input(&mut self.fleet, time_of(&self.clock));
        self.perform(ctx);
        self.timer.arm(ctx, self.clock.now(), self.fleet.next_deadline(), |registry: &mut Self, ctx, armed| {
            if registry.timer.expire(armed) {
                registry.feed(ctx, Fleet::on_deadline);
            }
        });
        answer
    }

    /// Publishes one gateway to readers, to the metrics and to the actor of its process.
    fn publish(&mut self, id: GatewayId) {
        let Some(member) = self.fleet.get(id) else { return };
        let acting = self.fleet.acting() == Some(id);
        let process = self.processes.view(id);
        self.metrics.publish_gateway(&member.record, &member.report, acting);
        let held_until_ms = member.held_until_ms(time_of(&self.clock));
        let view = GatewayView::new(member.record.clone(), member.report.clone(), acting).held_until(held_until_ms);
        self.roster.publish(view.with_process(process));
        self.processes.tell(&member.record, &member.heard);
    }

    /// Looks for actors that are gone though nobody stopped them: actix doesn't start an actor again after a panic. And for
    /// trials whose owner is gone without a word: after a panic, or with a client's task.
    fn watch(&mut self, ctx: &mut Context<Self>) {
        if self.fleet.is_stopping() {
            return;
        }
        let is_dead = |(id, handle): (&GatewayId, &GatewayHandle)| (!handle.is_alive()).then_some(*id);
        for id in self.handles.iter().filter_map(is_dead).collect::<Vec<_>>() {
            self.handles.remove(&id);
            self.feed(ctx, |fleet, time| fleet.on_actor_died(time, id));
        }
        let is_forgotten = |(id, owner): (&GatewayId, &watch::Sender<_>)| owner.is_closed().then_some(*id);
        for id in self.trials.iter().filter_map(is_forgotten).collect::<Vec<_>>() {
            self.trials.remove(&id);
            self.feed(ctx, |fleet, _| fleet.on_trial_forgotten(id));
        }
    }

    fn save_observations(&mut self, ctx: &mut Context<Self>) {
        let changed = self.fleet.take_unsaved();
        if changed.is_empty() {
            return;
        }
        let ids: Vec<GatewayId> = changed.iter().map(|(id, _)| *id).collect();
        let store = self.store.clone();
        let write = async move { store.save_observed(changed).await };
        ctx.spawn(write.into_actor(self).map(move |saved, registry, _| {
            if let Err(failure) = saved {
                warn!(%failure, "observations could not be stored: tried again in a minute");
                registry.fleet.on_not_saved(&ids);
            }
        }));
    }

    fn forget_old(&self, ctx: &mut Context<Self>) {
        let (store, retention) = (self.store.clone(), self.retention.clone());
        let thin = async move {
            if let Err(failure) = store.forget_old(&retention).await {
                warn!(%failure, "old logs and histories could not be forgotten: tried again in ten minutes");
            }
        };
        ctx.spawn(thin.into_actor(self));
    }
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.processes.join(ctx);
        self.feed(ctx, |fleet, _| fleet.start());
        ctx.run_interval(WATCH_INTERVAL, Self::watch);
        ctx.run_interval(SAVE_INTERVAL, |registry, ctx| {
            registry.feed(ctx, Fleet::prune);
            registry.save_observations(ctx);
        });
        ctx.run_interval(THIN_INTERVAL, |registry, ctx| registry.forget_old(ctx));
        // At the start nobody may see the empty roster, so the mailbox waits for the store.
        ctx.wait(self.seed_if_empty());
    }
}

impl Handler<FromGateway> for RegistryActor {
    type Result = ();

    fn handle(&mut self, FromGateway { id, incarnation, notice }: FromGateway, ctx: &mut Self::Context) {
        self.metrics.notice_taken();
        self.feed(ctx, |fleet, time| fleet.on_notice(time, id, incarnation, notice));
    }
}

fn time_of(clock: &Clock) -> Time {
    Time { now: clock.now(), wall_ms: clock.wall_ms() }
}

#[cfg(test)]
mod tests;
