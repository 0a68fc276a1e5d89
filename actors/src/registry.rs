//! The `Registry` actor: a thin shell around [`gatewarden_core::fleet`], which decides. It owns the handles of the `Gateway`
//! actors and the clock, feeds the fleet, carries out what it says in order, and tells people: log, subscribers, audit.
//!
//! | file | does |
//! | --- | --- |
//! | `messages` | what may be asked, and what is passed on to gateways: probe, call, control, logs; reconnect, drain |
//! | `roster` | the published view that readers use without a message |
//! | `records` | create, update, delete, reserve, confirm: write, then act, then answer |
//! | `local_processes` | gateways that are processes of this machine: who is told of them, and what is shown |
//! | `token_addresses` | device tokens of an earlier release |

mod local_processes;
pub mod messages;
pub mod records;
pub mod roster;
mod session_news;
pub mod token_addresses;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use gatewarden_api::events::{
    GatewayBlockedData, GatewayOrNone, GatewayPrimaryData, GatewayStatusData, SpawnResultData,
};
use gatewarden_api::spawn::GatewayName;
use gatewarden_core::fleet::{Effect, Fleet, Member, Notice, Time};
pub use gatewarden_core::fleet::{FleetSettings, LOGINS_AT_A_TIME, Stored};
use gatewarden_protocol::Secret;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use self::local_processes::LocalProcesses;
use self::roster::{ActingPrimary, GatewayView, RosterReader, RosterWriter};
use crate::agent_book::AgentBook;
use crate::audit_trail::AuditTrail;
use crate::clock::Clock;
use crate::deadline_timer::DeadlineTimer;
use crate::error::Failure;
use crate::event_data;
use crate::event_hub::EventPublisher;
use crate::gateway::{FromGateway, GatewayCommand, GatewayHandle};
use crate::gateway_record::{DeviceToken, GatewayChange, GatewayRecord, GatewaySpec, SharedRecord};
use crate::gateway_report::{GatewayReport, SharedSessions, Status};
use crate::ids::GatewayId;
use crate::machines::election::PrimaryChange;
use crate::machines::restart_intensity::RestartDecision;
use crate::machines::self_doubt::DoubtChange;
use crate::metrics::Metrics;
use crate::placement::Placement;
use crate::processes::ProcessesActor;
use crate::settings::RetentionSettings;
use crate::spawn::{NoAnswer, SpawnRecord, SpawnRequest, SpawnState};
use crate::store::batching::HealthLogWriter;
use crate::store::handle::StoreHandle;
use crate::store::records::{AuditEntry, AuditResult};

/// How often the registry looks for `Gateway` actors that died. O(gateways), one atomic read each.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// How often gateways are moved to the node that is to hold them, and how many at once.
const MOVE_INTERVAL: Duration = Duration::from_millis(500);
const MOVED_AT_ONCE: usize = 16;
/// Gateways whose actors are started in one turn.
const STARTED_AT_ONCE: usize = 250;
/// How often changed observations are stored; a crash loses at most this much of them, never a record.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// How often logs and histories are thinned.
const THIN_INTERVAL: Duration = Duration::from_secs(600);
/// What a `Gateway` actor may take beyond a request's own deadline before it is answered for.
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
    /// Starts a `Gateway` actor on this node.
    pub spawn: SpawnGateway,
    /// On which node each gateway's actor is to be.
    pub placement: Placement,
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
    handles: HashMap<GatewayId, Arc<GatewayHandle>>,
    /// Who waits for the outcome of a trial.
    trials: HashMap<GatewayId, watch::Sender<GatewayReport>>,
    /// Who waits for the acceptance of a spawn, by its id.
    spawners: HashMap<String, oneshot::Sender<Result<SpawnRecord, Failure>>>,
    /// Who waits, at the daemon's stop, until nothing more becomes of any spawn.
    settled: Option<oneshot::Sender<()>>,
    roster: RosterWriter,
    processes: LocalProcesses,
    store: StoreHandle,
    health_log: HealthLogWriter,
    seed: Option<GatewaySpec>,
    spawn: SpawnGateway,
    placement: Placement,
    /// Gateways that may be elsewhere than they are to be.
    displaced: BTreeSet<GatewayId>,
    retention: RetentionSettings,
    events: EventPublisher,
    audit: AuditTrail,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl RegistryActor {
    /// Starts the registry on the current arbiter, and in turns an actor for each stored gateway; seeds one where there is none.
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
            settled: None,
            roster,
            processes: LocalProcesses::new(parts.processes),
            store: parts.store,
            health_log: parts.health_log,
            seed: parts.seed,
            spawn: parts.spawn,
            placement: parts.placement,
            displaced: BTreeSet::new(),
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
        if self.settled.is_some()
            && self.fleet.has_settled()
            && let Some(settled) = self.settled.take()
        {
            // A stop that took too long waits no more.
            let _ = settled.send(());
        }
        self.timer.arm(ctx, self.clock.now(), self.fleet.next_deadline(), |registry: &mut Self, ctx, armed| {
            if registry.timer.expire(armed) {
                registry.feed(ctx, Fleet::on_deadline);
            }
        });
        answer
    }

    /// Starts the members after this one, some at a time: others' work on this thread, the start of the HTTP front too, doesn't wait for
    /// thousands.
    fn start_gateways(&mut self, after: Option<GatewayId>, ctx: &mut Context<Self>) {
        if !self.fleet.is_stopping()
            && let Some(last) = self.feed(ctx, |fleet, _| fleet.start_some(after, STARTED_AT_ONCE))
        {
            ctx.run_later(Duration::ZERO, move |registry, ctx| registry.start_gateways(Some(last), ctx));
        }
    }

    fn perform(&mut self, ctx: &mut Context<Self>) {
        // What readers see changes before subscribers hear of it: whoever knows an event's number finds it in what is read then.
        let (news, effects): (Vec<Effect>, Vec<Effect>) =
            self.fleet.take_effects(time_of(&self.clock)).into_iter().partition(|it| matches!(it, Effect::Notify(_)));
        for effect in effects.into_iter().chain(news) {
            self.perform_one(effect, ctx);
        }
        self.metrics.set_spawns_open(self.fleet.open_spawns());
    }

    fn perform_one(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Start(record, incarnation) => {
                let id = record.id;
                let handle = self.placement.start(record, incarnation, ctx.address().recipient(), &self.spawn);
                self.handles.insert(id, Arc::new(handle));
            }
            Effect::Stop(id) => {
                if let Some(handle) = self.handles.remove(&id) {
                    handle.shut_down();
                }
            }
            // A dead actor is started from the record anyway.
            Effect::Update(record) => {
                self.displaced.insert(record.id);
                self.tell(record.id, GatewayCommand::Update(record));
            }
            Effect::Reconnect(id) => self.tell(id, GatewayCommand::Reconnect),
            Effect::Permit(id, permit) => self.tell(id, GatewayCommand::Permit(permit)),
            Effect::ForgetRun(id, run_id) => self.tell(id, GatewayCommand::ForgetRun(run_id)),
            Effect::Publish(id) => self.publish(id),
            Effect::PublishChecks(checks) => self.roster.publish_spawn_doubts(checks),
            Effect::PublishSessions(id, sessions) => self.publish_sessions(id, &sessions),
            Effect::Remove(id) => {
                self.trials.remove(&id);
                self.metrics.forget_gateway(id);
                self.processes.forget(id);
                self.publish_sessions(id, &SharedSessions::default());
                self.roster.remove(id);
            }
            Effect::TrialReport(id, report) => {
                if let Some(owner) = self.trials.get(&id) {
                    owner.send_replace(*report);
                }
            }
            Effect::Health(id, point) => self.health_log.push((id, point)),
            Effect::StoreToken(address, token) => self.store_token(address, token, ctx),
            Effect::StoreFailedLogins(logins) => {
                let store = self.store.clone();
                // The store says why it can't.
                let write = async move { store.put_failed_logins(logins).await.is_ok() };
                self.then(write, ctx, Fleet::on_failed_logins_stored);
            }
            Effect::StoreChange(id, change) => self.store_change(id, *change, ctx),
            Effect::DeleteReserved(id) => {
                let store = self.store.clone();
                let remove = async move {
                    if let Err(failure) = store.abandon_provisional_gateway(id).await {
                        warn!(%failure, "a half-made gateway could not be removed: it goes at the next start");
                    }
                };
                ctx.spawn(remove.into_actor(self));
            }
            Effect::RecordSpawn(record, text, idempotency_key) => {
                let (store, spawn_id) = (self.store.clone(), record.spawn_id.clone());
                let write = async move { store.record_spawn(*record, text, idempotency_key).await };
                self.then(write, ctx, move |fleet, time, recorded| fleet.on_spawn_recorded(time, &spawn_id, recorded));
            }
            Effect::StartRun(gateway, request) => {
                let (timeout, name) = (request.timeout, self.fleet.name_of(gateway));
                let spawn_id = request.record.spawn_id.clone();
                let asked = self
                    .handles
                    .get(&gateway)
                    .map(|handle| handle.ask(timeout + GRACE, |reply| GatewayCommand::StartRun(request, reply)));
                let asked = async move {
                    let answered = match asked {
                        Some(asked) => asked.await,
                        None => Err(NoAnswer::NotTaken),
                    };
                    answered.unwrap_or_else(|no_answer| Err(no_answer.of_run(&name, timeout)))
                };
                self.then(asked, ctx, move |fleet, time, answer| fleet.on_run_answered(time, &spawn_id, answer));
            }
            Effect::LookUpRun(spawn_id, gateway, question) => {
                let (within, run_id) = (question.timeout * 2, question.run_id.clone());
                let asked = self
                    .handles
                    .get(&gateway)
                    .map(|handle| handle.ask(within, |reply| GatewayCommand::LookUpRun(question, reply)));
                let asked = async move { asked?.await.ok()?.ok() };
                self.then(asked, ctx, move |fleet, time, answer| {
                    fleet.on_run_found(time, &spawn_id, gateway, &run_id, answer);
                });
            }
            Effect::WriteSpawns(steps) => {
                let (store, spawn_ids) = (self.store.clone(), SpawnRecord::ids(&steps));
                let write = async move { store.move_spawns(&SpawnState::OPEN, steps).await };
                self.then(write, ctx, move |fleet, time, written| {
                    fleet.on_spawns_written(time, &spawn_ids, written);
                });
            }
            Effect::AnswerSpawn(spawn_id, answer) => {
                if let Some(spawner) = self.spawners.remove(&spawn_id) {
                    // Who no longer waits needs no answer.
                    let _ = spawner.send(*answer);
                }
            }
            Effect::NoteAgents(id, said) => {
                let agents = AgentBook::new(self.store.clone(), self.events.clone());
                let note = async move {
                    if let Err(failure) = agents.note_said(id, said).await {
                        warn!(gateway.id = id.0, %failure, "what a gateway says of its agents could not be stored");
                    }
                };
                ctx.spawn(note.into_actor(self));
            }
            Effect::Notify(notice) => {
                if matches!(notice, Notice::HeldDown(..)) {
                    // Rare, and what a crash may not undo.
                    self.save_observations(ctx);
                }
                self.notify(notice);
            }
        }
    }

    fn tell(&self, id: GatewayId, command: GatewayCommand) {
        if let Some(handle) = self.handles.get(&id) {
            handle.tell(command);
        }
    }

    /// Feeds the fleet with what comes of something that takes time.
    fn then<T: 'static>(
        &self,
        work: impl Future<Output = T> + 'static,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut Fleet, Time, T) + 'static,
    ) {
        ctx.spawn(work.into_actor(self).map(move |outcome, registry, ctx| {
            registry.feed(ctx, |fleet, time| input(fleet, time, outcome));
        }));
    }

    fn store_token(&self, address: String, token: Option<DeviceToken>, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let write = async move {
            let written = match token {
                Some(token) => store.put_device_token(address.clone(), token).await,
                None => store.delete_device_token(address.clone()).await.map(|_| ()),
            };
            if let Err(failure) = written {
                error!(address, %failure, "a device token could not be stored or deleted: only memory is right until the next one");
            }
        };
        ctx.spawn(write.into_actor(self));
    }

    fn store_change(&self, id: GatewayId, change: GatewayChange, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let write = async move { store.update_gateway(id, change).await };
        self.then(write, ctx, move |fleet, time, updated| match updated {
            Ok(records) => fleet.on_all_updated(time, records),
            Err(failure) => error!(gateway.id = id.0, %failure, "the gateway's dialect could not be stored"),
        });
    }

    fn notify(&self, notice: Notice) {
        match notice {
            Notice::StatusChanged(record, from, report) => {
                log_status_change(&record, from, &report);
                self.events.tell(&GatewayStatusData {
                    gateway_id: record.id.0,
                    gateway: record.name.clone(),
                    from: from.as_str().to_owned(),
                    to: report.status.as_str().to_owned(),
                    phase: report.phase.as_str().to_owned(),
                    source: report.source.as_str().to_owned(),
                    latency: report.latency_ms,
                    error: report.last_error.as_ref().map(event_data::last_error),
                });
            }
            Notice::Blocked(record, report, same_status) => {
                if same_status {
                    log_status_change(&record, report.status, &report);
                }
                self.events.tell(&GatewayBlockedData {
                    gateway_id: record.id.0,
                    gateway: record.name.clone(),
                    status: report.status.as_str().to_owned(),
                    error: report.last_error.as_ref().map(event_data::last_error),
                    pairing: report.pairing.as_ref().map(event_data::pairing),
                });
            }
            Notice::HeldDown(record, held) => {
                warn!(gateway.id = record.id.0, gateway.name = %record.name, held_s = held.as_secs(),
                    "gateway bounces between usable and not: held down from acting as primary");
            }
            Notice::ActorDied(record, from, RestartDecision::Park) => {
                error!(gateway.id = record.id.0, gateway.name = %record.name, from = from.as_str(),
                    to = "parked", reason = "its actor died too often", "gateway parked");
            }
            Notice::ActorDied(record, from, RestartDecision::Restart) => {
                warn!(gateway.id = record.id.0, gateway.name = %record.name, from = from.as_str(),
                    to = "idle", reason = "its actor died and is started again", "gateway actor restarted");
                self.metrics.count_actor_restart(record.id);
            }
            Notice::PrimaryChanged(change) => self.announce_primary(&change),
            Notice::PrimaryKept(acting, reason) => self.publish_acting(acting, reason),
            Notice::Doubt(DoubtChange::Began { reason }) => {
                warn!(reason, "the daemon doubts its own network: nothing fails back until this is over");
                self.roster.publish_self_doubt(Some(reason));
                self.metrics.set_self_doubt(true);
            }
            Notice::Doubt(DoubtChange::Counted { reason }) => self.roster.publish_self_doubt(Some(reason)),
            Notice::Doubt(DoubtChange::Ended) => {
                info!("the daemon trusts its own network again");
                self.roster.publish_self_doubt(None);
                self.metrics.set_self_doubt(false);
            }
            Notice::SpawnRerouted(spawn_id, from, to, reason) => {
                info!(spawn.id = %spawn_id, from = from.0, to = to.0, %reason, "spawn moves to another gateway");
            }
            Notice::SpawnStored(record) => {
                self.metrics.count_spawn(record.state);
                self.events.tell(&spawn_event(&record));
            }
            Notice::SpawnsNotStored(spawn_ids, failure) => {
                let first = spawn_ids.first().map(String::as_str).unwrap_or_default();
                warn!(spawn.id = first, spawns = spawn_ids.len(), %failure, "how spawns moved could not be stored: tried again");
            }
        }
    }

    fn announce_primary(&self, change: &PrimaryChange) {
        let name = |id: GatewayId| self.fleet.get(id).map(|member| member.record.name.clone());
        let shown = |id: Option<GatewayId>| id.and_then(name).unwrap_or_else(|| "none".to_owned());
        let (from, to, reason) = (shown(change.from), shown(change.to), change.reason);
        info!(from, to, reason, "acting primary changed");
        self.metrics.count_primary_change();
        let named = |id: Option<GatewayId>| id.map(|id| GatewayName { id: id.0, name: name(id) });
        let data = GatewayPrimaryData { from: named(change.from), to: named(change.to), reason: reason.to_owned() };
        self.publish_acting(change.to, reason);
        self.events.tell(&data);
        let target = change.to.map(|id| format!("gateway {id}"));
        let (at_ms, details) = (self.clock.wall_ms(), serde_json::to_value(data).unwrap_or_default());
        self.audit.note(AuditEntry::by_system(at_ms, "gateway.primary", target, AuditResult::Ok, details));
    }

    fn publish_acting(&self, acting: Option<GatewayId>, reason: &str) {
        let member = acting.and_then(|id| self.fleet.get(id));
        let acting = member.map(|member| ActingPrimary {
            id: member.record.id,
            name: member.record.name.clone(),
            reason: reason.to_owned(),
            until_ms: self.fleet.acting_until_ms(time_of(&self.clock)),
        });
        self.roster.publish_acting(acting, self.fleet.failover());
    }

    /// Publishes one gateway to readers, to the metrics and to the actor of its process.
    fn publish(&mut self, id: GatewayId) {
        let Some(member) = self.fleet.get(id) else { return };
        let acting = self.fleet.acting() == Some(id);
        let process = self.processes.view(id);
        self.metrics.publish_gateway(&member.record, &member.report, acting);
        let held_until_ms = member.held_until_ms(time_of(&self.clock));
        let handle = self.handles.get(&id);
        let on_node = handle.and_then(|handle| handle.other_node());
        let view = GatewayView::new(member.record.clone(), member.report.clone(), acting);
        self.roster.publish(GatewayView { process, held_until_ms, on_node, ..view });
        self.roster.publish_handle(id, handle.cloned());
        self.processes.tell(&member.record, &member.heard);
    }

    /// Looks for actors that are gone though nobody stopped them: actix doesn't start an actor again after a panic. And for
    /// trials whose owner is gone without a word: after a panic, or with a client's task.
    fn watch(&mut self, ctx: &mut Context<Self>) {
        if self.fleet.is_stopping() {
            return;
        }
        let is_dead = |(id, handle): (&GatewayId, &Arc<GatewayHandle>)| (!handle.is_alive()).then_some(*id);
        for id in self.handles.iter().filter_map(is_dead).collect::<Vec<_>>() {
            let lost_its_node = self.handles.remove(&id).is_some_and(|handle| handle.has_lost_its_node());
            self.feed(ctx, |fleet, time| {
                if !lost_its_node || !fleet.on_moved(time, id, true) {
                    fleet.on_actor_died(time, id);
                }
            });
        }
        let is_forgotten = |(id, owner): (&GatewayId, &watch::Sender<_>)| owner.is_closed().then_some(*id);
        for id in self.trials.iter().filter_map(is_forgotten).collect::<Vec<_>>() {
            self.trials.remove(&id);
            self.feed(ctx, |fleet, _| fleet.on_trial_forgotten(id));
        }
    }

    /// Moves gateways to where they are to be held, some at a time: each is dialled anew. One that is at work waits.
    fn move_displaced(&mut self, ctx: &mut Context<Self>) {
        if self.placement.has_changed() {
            self.displaced = self.handles.keys().copied().collect();
        }
        if self.displaced.is_empty() || self.fleet.is_stopping() {
            return;
        }
        let (mut moved, mut at_work) = (0, Vec::new());
        while moved < MOVED_AT_ONCE
            && let Some(id) = self.displaced.pop_first()
        {
            if !self.is_displaced(id) {
                continue;
            }
            match self.feed(ctx, |fleet, time| fleet.on_moved(time, id, false)) {
                true => moved += 1,
                false => at_work.push(id),
            }
        }
        self.displaced.extend(at_work);
    }

    fn is_displaced(&self, id: GatewayId) -> bool {
        let record = self.fleet.get(id).map(|member| &member.record);
        let held_by = self.handles.get(&id).map(|handle| handle.held_by());
        record.zip(held_by).is_some_and(|(record, held_by)| self.placement.held_by(record) != *held_by)
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
        // All of them, as what runs for none of them is ended soon.
        self.fleet.members().for_each(|member| self.processes.tell(&member.record, &member.heard));
        self.start_gateways(None, ctx);
        ctx.run_interval(WATCH_INTERVAL, Self::watch);
        ctx.run_interval(MOVE_INTERVAL, Self::move_displaced);
        ctx.run_interval(SAVE_INTERVAL, |registry, ctx| {
            registry.feed(ctx, Fleet::prune);
            registry.save_observations(ctx);
        });
        ctx.run_interval(THIN_INTERVAL, |registry, ctx| registry.forget_old(ctx));
        // At the start nobody may see the empty roster, so the mailbox waits for the store.
        ctx.wait(self.seed_if_empty());
    }
}

/// From HTTP: record a piece of work, find it a gateway, send it there, reply with the acceptance ([`Effect::AnswerSpawn`]).
///
/// Fails with `gateway_not_found`, `gateway_unavailable`, `gateway_busy`, `no_usable_gateway` (nothing was recorded),
/// `store_unavailable` (nothing was sent), `idempotency_mismatch`, or with what the gateway said: `gateway_refused`,
/// `not_supported_by_gateway`, and `gateway_timeout` where it may be under way all the same. The latter carry the spawn's
/// id in their details.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<SpawnRecord, Failure>")]
pub struct SpawnWork {
    /// What to run, where, and until when the acceptance is awaited.
    pub request: SpawnRequest,
    /// The request as JSON text, whole. Stored sealed, as values of its environment are secrets.
    pub text: Secret,
    /// The client's idempotency key.
    pub idempotency_key: Option<String>,
}

impl Handler<SpawnWork> for RegistryActor {
    type Result = ResponseFuture<Result<SpawnRecord, Failure>>;

    fn handle(&mut self, message: SpawnWork, ctx: &mut Self::Context) -> Self::Result {
        let SpawnWork { request, text, idempotency_key } = message;
        let (answer, answered) = oneshot::channel();
        self.spawners.insert(request.record.spawn_id.clone(), answer);
        self.feed(ctx, |fleet, time| fleet.spawn(time, request, text, idempotency_key));
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(Failure::unavailable("registry"))) })
    }
}

impl Handler<FromGateway> for RegistryActor {
    type Result = ();

    fn handle(&mut self, FromGateway { id, incarnation, notice }: FromGateway, ctx: &mut Self::Context) {
        self.metrics.notice_taken();
        self.feed(ctx, |fleet, time| fleet.on_notice(time, id, incarnation, notice));
    }
}

/// One line per change of status: what the API, the metrics and the events show at the same time.
fn log_status_change(record: &GatewayRecord, from: Status, after: &GatewayReport) {
    let (id, name) = (record.id.0, &record.name);
    let (from, to) = (from.as_str(), after.status.as_str());
    match &after.last_error {
        Some(problem) if after.status != Status::Online => {
            let (reason, words) = (&problem.code, &problem.message);
            warn!(gateway.id = id, gateway.name = %name, from, to, reason, words, "gateway status changed");
        }
        _ => {
            let reason = after.phase.as_str();
            info!(gateway.id = id, gateway.name = %name, from, to, reason, "gateway status changed");
        }
    }
}

/// The event of document 002, with what only a supervisor knows beside it.
fn spawn_event(record: &SpawnRecord) -> SpawnResultData {
    SpawnResultData {
        id: record.spawn_id.clone(),
        spawn_id: record.spawn_id.clone(),
        status: record.state.as_str().to_owned(),
        gateway: GatewayOrNone { id: record.gateway_id.map(|id| id.0), name: record.gateway_name.clone() },
        agent: record.agent.clone(),
        session_key: record.session_key.clone(),
        pid: record.pid,
        completed_at: record.completed_at_ms,
        result: record.result.clone(),
        error: record.error.clone(),
        reason: record.reason.clone(),
    }
}

fn time_of(clock: &Clock) -> Time {
    Time { now: clock.now(), wall_ms: clock.wall_ms() }
}

#[cfg(test)]
mod tests;
