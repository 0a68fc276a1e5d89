//! The registry's decisions: which gateways there are, which of them have an actor, who acts as primary, where work goes and
//! what became of it.
//!
//! Inputs are what gateways' actors report, what clients and operators want, what the store answers, and time. Outputs are
//! [`Effect`]s, taken with [`Fleet::take_effects`] after each input and carried out in order, and the next deadline. So a whole
//! fleet can be simulated without an actor, a socket, a clock or a database (`fleet/tests`).
//!
//! | file | decides |
//! | --- | --- |
//! | `fleet` | members and trials: records, reports, deaths, permits |
//! | `fleet/primary` | when an election is due, and what follows from it |
//! | `fleet/dispatch` | spawns: where they go, when they are sent, written, asked about and answered |
//! | `fleet/member` | what is known of one gateway |
//! | `fleet/addresses` | what records of one address share |

mod addresses;
mod dispatch;
mod member;
mod primary;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use gatewarden_protocol::Secret;

use self::addresses::Addresses;
use self::dispatch::{Attempt, OnceWritten, Recording};
pub use self::dispatch::{SpawnAnswer, SpawnBatch, SpawnRequest, Ticket, answer_lost, not_given};
pub use self::member::Member;
use self::member::canonical_address;
use crate::error::{ErrorCode, Failure};
use crate::gateway_notice::{AgentNews, AuthPermit, GatewayNotice, GatewayOrder};
use crate::gateway_record::{DeviceToken, GatewayChange, GatewayRecord, GatewaySpec, Observed, SharedRecord};
use crate::gateway_report::{GatewayReport, HealthPoint, Phase, Status, Trace};
use crate::ids::GatewayId;
use crate::machines::election::{Election, PrimaryChange};
use crate::machines::restart_intensity::RestartDecision;
use crate::machines::self_doubt::{DoubtChange, SelfDoubt};
use crate::machines::spawn_tracker::SpawnTracker;
use crate::machines::write_coalescer::WriteCoalescer;
use crate::run::{LookUpRun, SharedSessions, StartRun};
use crate::settings::{ElectionSettings, RestartSettings, RoutingSettings};
use crate::spawn::{Idempotency, SpawnDoubt, SpawnRecord, SpawnSpec};

/// How long a gateway that an operator has dialled anew may be away before that counts as a failure.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// The time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For waits and deadlines.
    pub now: Instant,
    /// For people.
    pub wall_ms: i64,
}

impl Moment {
    /// The wall time of an instant to come.
    fn wall_ms_ago(&self, at: Instant) -> i64 {
        let ago = self.now.saturating_duration_since(at).as_millis();
        self.wall_ms.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX))
    }

    fn wall_ms_at(&self, at: Instant) -> i64 {
        let ahead = at.saturating_duration_since(self.now).as_millis();
        self.wall_ms.saturating_add(i64::try_from(ahead).unwrap_or(i64::MAX))
    }
}

/// How a fleet behaves.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// Who may act as primary, and when.
    pub election: ElectionSettings,
    /// Where work goes.
    pub routing: RoutingSettings,
    /// How often a dead actor is started again.
    pub restarts: RestartSettings,
    /// One heartbeat interval: the window in which a mass failure makes the daemon doubt its own network.
    pub heartbeat_interval: Duration,
}

/// What an earlier run of the daemon left.
#[derive(Debug, Default)]
pub struct Stored {
    /// The gateways.
    pub records: Vec<GatewayRecord>,
    /// Device tokens by canonical address.
    pub device_tokens: Vec<(String, DeviceToken)>,
    /// The spawns that have no end yet.
    pub open_spawns: Vec<SpawnRecord>,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Effect {
    /// Start an actor for a gateway; its notices carry this incarnation.
    Start(SharedRecord, u64),
    /// Stop the gateway's actor.
    Stop(GatewayId),
    /// Tell the gateway's actor.
    Tell(GatewayId, GatewayOrder),
    /// Readers see the gateway as it is now.
    Publish(GatewayId),
    /// Readers see these sessions of the gateway.
    PublishSessions(GatewayId, SharedSessions),
    /// Note what the gateway says its agents are doing.
    NoteAgents(GatewayId, Vec<AgentNews>),
    /// Readers see the gateway no more.
    Remove(GatewayId),
    /// Whoever tries a gateway sees this.
    TrialReport(GatewayId, Box<GatewayReport>),
    /// Write a point of the health log.
    Health(GatewayId, HealthPoint),
    /// Keep an address's device token, or forget it.
    StoreToken(String, Option<DeviceToken>),
    /// Store what became known of the gateway; answered with [`Fleet::on_updated`].
    StoreChange(GatewayId, Box<GatewayChange>),
    /// Delete what was reserved for a gateway that is not confirmed any more.
    DeleteReserved(GatewayId),
    /// Record a spawn, with its request's text and the client's key; answered with [`Fleet::on_spawn_recorded`].
    RecordSpawn(Ticket, Box<SpawnSpec>, Secret, Option<Idempotency>),
    /// Give a recorded spawn to this gateway's actor; answered with [`Fleet::on_run_answered`].
    StartRun(Ticket, GatewayId, StartRun),
    /// Ask this gateway's actor what became of a spawn's run; answered with [`Fleet::on_run_found`].
    LookUpRun(String, GatewayId, LookUpRun),
    /// Readers see when each of these spawns in doubt is asked about (wall ms), and no others.
    PublishChecks(HashMap<String, SpawnDoubt>),
    /// Write steps of spawns in one transaction; answered with [`Fleet::on_spawns_written`].
    WriteSpawns(SpawnBatch),
    /// Answer a request to spawn.
    AnswerSpawn(Ticket, Box<Result<SpawnAnswer, Failure>>),
    /// Tell people: log, subscribers, audit, metrics.
    Notify(Notice),
}

/// What happened that people are told of.
#[derive(Debug)]
pub enum Notice {
    /// A gateway's status changed, from this to that of the report.
    StatusChanged(SharedRecord, Status, Box<GatewayReport>),
    /// A gateway refuses for a reason that only a change can cure. True where its status is the same as before.
    Blocked(SharedRecord, Box<GatewayReport>, bool),
    /// A gateway bounces between usable and not, and can't act as primary for so long.
    HeldDown(SharedRecord, Duration),
    /// A gateway's actor died in this phase.
    ActorDied(SharedRecord, Phase, RestartDecision),
    /// Another gateway acts as primary, or none.
    PrimaryChanged(PrimaryChange),
    /// The acting primary goes on acting, for this reason from now on.
    PrimaryKept(GatewayId, &'static str),
    /// The daemon doubts its own network, or trusts it again.
    Doubt(DoubtChange),
    /// A gateway took a spawn, by this method.
    SpawnAccepted(String, GatewayId, &'static str),
    /// A spawn goes from a gateway that didn't take it to the next one, and why.
    SpawnRerouted(String, GatewayId, GatewayId, String),
    /// How a spawn moved is stored.
    SpawnStored(Box<SpawnRecord>),
    /// How these spawns moved could not be stored.
    SpawnsNotStored(Vec<String>, Failure),
}

/// A gateway that is dialled before anybody sees it: one that is being created through the organization API has reserved its
/// name and address, one that is only tried is stored nowhere. It is not published, elected, given work, measured or written
/// about.
#[derive(Debug)]
struct Trial {
    member: Member,
    /// What it told while nobody saw it: it doesn't tell it again before it changes.
    sessions: Option<SharedSessions>,
}

/// See the module.
pub struct Fleet {
    settings: FleetSettings,
    members: BTreeMap<GatewayId, Member>,
    trials: HashMap<GatewayId, Trial>,
    addresses: Addresses,
    /// Addresses of gateways that are being created.
    reserved: HashSet<String>,
    /// Trials that are not stored have ids below zero, each its own.
    last_trial: i64,
    incarnations: u64,
    stopping: bool,
    election: Election,
    self_doubt: SelfDoubt,
    /// When members are no longer held down. One entry each, however often they bounce.
    held_down: BTreeSet<(Instant, GatewayId)>,
    /// An election that was put off, so that a fleet that comes or goes at once has few.
    decide_at: Option<Instant>,
    spawns: SpawnTracker,
    coalescer: WriteCoalescer,
    /// When doubtful spawns are looked at; none while there is no spawn.
    look_at: Option<Instant>,
    /// When spawns in doubt are asked about, as published.
    checks: BTreeMap<String, (i64, Option<Instant>)>,
    recording: HashMap<Ticket, Recording>,
    attempts: HashMap<Ticket, Attempt>,
    /// Requests that go on once all that was decided about their spawn is stored. One a spawn; gone with the write.
    awaiting_write: HashMap<String, (Ticket, OnceWritten)>,
    effects: Vec<Effect>,
}

impl Fleet {
    /// The fleet as the daemon finds it at its start; nothing is dialled before [`Fleet::start`].
    pub fn new(settings: FleetSettings, stored: Stored, time: Moment) -> Self {
        let mut fleet = Self {
            members: BTreeMap::new(),
            trials: HashMap::new(),
            addresses: Addresses::new(stored.device_tokens),
            reserved: HashSet::new(),
            last_trial: 0,
            incarnations: 0,
            stopping: false,
            election: Election::new(settings.election.clone(), time.now),
            self_doubt: SelfDoubt::new(settings.heartbeat_interval),
            held_down: BTreeSet::new(),
            decide_at: None,
            spawns: SpawnTracker::new(settings.routing.lost_after),
            coalescer: WriteCoalescer::default(),
            look_at: None,
            checks: BTreeMap::new(),
            recording: HashMap::new(),
            attempts: HashMap::new(),
            awaiting_write: HashMap::new(),
            effects: Vec::new(),
            settings,
        };
        for record in stored.records {
            fleet.insert(record, time);
        }
        for spawn in &stored.open_spawns {
            fleet.spawns.resume(time.now, spawn);
            let gateway = spawn.spec.gateway_id.unwrap_or(GatewayId(0));
            if !fleet.members.contains_key(&gateway) {
                fleet.spawns.on_gateway_deleted(gateway);
            }
        }
        fleet
    }

    /// Starts an actor for each member.
    pub fn start(&mut self) {
        let ids: Vec<GatewayId> = self.members.keys().copied().collect();
        for id in ids {
            self.start_actor(id);
            self.publish(id);
        }
    }

    /// What is to be done now. To be asked after each input, before [`Fleet::next_deadline`].
    pub fn take_effects(&mut self, time: Moment) -> Vec<Effect> {
        self.settle_spawns(time);
        std::mem::take(&mut self.effects)
    }

    /// A gateway that everybody sees.
    pub fn get(&self, id: GatewayId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The same, or why there is none.
    ///
    /// # Errors
    /// `gateway_not_found`.
    pub fn visible(&self, id: GatewayId) -> Result<&Member, Failure> {
        self.get(id).ok_or_else(|| Failure::gateway_not_found(id))
    }

    /// A gateway that has an actor, be it on trial.
    pub fn dialled(&self, id: GatewayId) -> Option<&Member> {
        self.members.get(&id).or_else(|| self.trials.get(&id).map(|trial| &trial.member))
    }

    /// All gateways that everybody sees, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Whether a gateway is dialled and seen by nobody.
    pub fn is_on_trial(&self, id: GatewayId) -> bool {
        self.trials.contains_key(&id)
    }

    /// Whether the daemon is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Spawns under way.
    pub fn open_spawns(&self) -> usize {
        self.spawns.len()
    }

    /// Names of other members with the same address: allowed, but worth a warning.
    pub fn of_same_address(&self, id: GatewayId) -> Vec<String> {
        let Some(member) = self.members.get(&id) else { return Vec::new() };
        let others = self.addresses.others(&member.address, id);
        others.into_iter().filter_map(|other| Some(self.members.get(&other)?.record.name.clone())).collect()
    }

    /// A gateway's name; its id where it is gone.
    pub fn name_of(&self, id: GatewayId) -> String {
        self.members.get(&id).map_or_else(|| id.to_string(), |member| member.record.name.clone())
    }

    /// Refuses what would change the fleet while the daemon stops.
    ///
    /// # Errors
    /// `unavailable`.
    pub fn may_change(&self) -> Result<(), Failure> {
        if self.stopping { Err(Failure::unavailable("daemon")) } else { Ok(()) }
    }

    /// The daemon stops: nothing new begins.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    // Records: the store has committed them.

    fn insert(&mut self, record: GatewayRecord, time: Moment) {
        let member = Member::new(record, &self.settings.restarts, time.wall_ms);
        self.addresses.join(&member.address, member.record.id);
        self.members.insert(member.record.id, member);
    }

    fn publish(&mut self, id: GatewayId) {
        self.effects.push(Effect::Publish(id));
    }

    fn start_actor(&mut self, id: GatewayId) {
        self.incarnations += 1;
        let member = match self.trials.get_mut(&id) {
            Some(trial) => Some(&mut trial.member),
            None => self.members.get_mut(&id),
        };
        if let Some(member) = member {
            member.incarnation = self.incarnations;
            member.is_running = true;
            self.effects.push(Effect::Start(member.record.clone(), self.incarnations));
        }
    }

    /// A gateway was created.
    pub fn on_created(&mut self, time: Moment, record: GatewayRecord, demoted: Option<GatewayRecord>) {
        if let Some(demoted) = demoted {
            self.on_updated(time, demoted);
        }
        let id = record.id;
        self.insert(record, time);
        self.start_actor(id);
        self.publish(id);
        self.consider_election(time, Some(id));
    }

    /// A record changed. One that is older than the one known is ignored: two commits may be answered in either order.
    pub fn on_updated(&mut self, time: Moment, record: GatewayRecord) {
        let id = record.id;
        let Some(member) = self.members.get_mut(&id) else { return };
        if record.revision <= member.record.revision {
            return;
        }
        let address = canonical_address(&record);
        member.record = SharedRecord::new(record);
        if member.is_running {
            self.effects.push(Effect::Tell(id, GatewayOrder::Record(member.record.clone())));
        }
        if address != member.address {
            let former = std::mem::replace(&mut member.address, address.clone());
            self.addresses.join(&address, id);
            self.leave_address(former, id);
        }
        self.publish(id);
        self.consider_election(time, Some(id));
    }

    /// A gateway was deleted.
    pub fn on_deleted(&mut self, time: Moment, id: GatewayId) {
        let Some(member) = self.members.remove(&id) else { return };
        let usable = member.counts_as_usable;
        if let Some(until) = member.flaps.held_until(time.now) {
            self.held_down.remove(&(until, id));
        }
        self.dismiss(member);
        self.spawns.on_gateway_deleted(id);
        let change = self.self_doubt.on_removed(time.now, id, usable);
        self.on_doubt_change(time, change);
        self.consider_election(time, Some(id));
    }

    fn dismiss(&mut self, member: Member) {
        let id = member.record.id;
        if member.is_running {
            self.effects.push(Effect::Stop(id));
        }
        self.leave_address(member.address, id);
        self.effects.push(Effect::Remove(id));
    }

    fn leave_address(&mut self, address: String, id: GatewayId) {
        if self.addresses.leave(&address, id) {
            self.effects.push(Effect::StoreToken(address, None));
        }
    }

    /// An operator wants a gateway dialled now; a parked one is started again.
    ///
    /// # Errors
    /// `gateway_not_found`.
    pub fn reconnect(&mut self, time: Moment, id: GatewayId) -> Result<(), Failure> {
        let member = self.members.get_mut(&id).ok_or_else(|| Failure::gateway_not_found(id))?;
        if member.is_running {
            member.reconnect_until = member.report.is_usable().then(|| time.now + RECONNECT_PATIENCE);
            self.effects.push(Effect::Tell(id, GatewayOrder::Reconnect));
        } else {
            member.forgive(time.wall_ms);
            self.start_actor(id);
        }
        self.publish(id);
        Ok(())
    }

    // Trials.

    /// Reserves the address of a gateway that is to be created; given to [`Fleet::begin_trial`] or [`Fleet::unreserve`].
    ///
    /// # Errors
    /// `address_taken`, `unavailable`.
    pub fn reserve(&mut self, new: &GatewaySpec) -> Result<String, Failure> {
        self.may_change()?;
        let address = canonical_address(&unstored(GatewayId(0), new.clone(), 0));
        if self.reserved.insert(address.clone()) {
            return Ok(address);
        }
        let words = format!("Another gateway is being created at {address} right now");
        Err(Failure::new(ErrorCode::AddressTaken, words)
            .with_help("Wait until that creation has ended: GET /api/v1/gateways shows the gateway if it succeeded."))
    }

    /// What was reserved could not be stored.
    pub fn unreserve(&mut self, address: &str) {
        self.reserved.remove(address);
    }

    /// Dials a gateway that is stored nowhere.
    ///
    /// # Errors
    /// `unavailable`.
    pub fn try_unstored(&mut self, time: Moment, new: GatewaySpec) -> Result<GatewayId, Failure> {
        self.may_change()?;
        self.last_trial = self.last_trial.saturating_sub(1);
        let id = GatewayId(self.last_trial);
        self.begin_trial(time, unstored(id, new, time.wall_ms / 1_000));
        Ok(id)
    }

    /// Dials a reserved gateway, which nobody sees.
    pub fn begin_trial(&mut self, time: Moment, record: GatewayRecord) {
        let id = record.id;
        let member = Member::new(record, &self.settings.restarts, time.wall_ms);
        self.addresses.join(&member.address, id);
        self.trials.insert(id, Trial { member, sessions: None });
        self.start_actor(id);
    }

    /// A reserved gateway was confirmed: it becomes one like any other, connection and all.
    pub fn promote(&mut self, time: Moment, record: GatewayRecord) {
        let id = record.id;
        let Some(Trial { mut member, sessions }) = self.trials.remove(&id) else { return };
        member.record = SharedRecord::new(record);
        member.outcome_known = true;
        member.unsaved = true;
        let usable = member.report.is_usable();
        member.was_usable = usable;
        member.counts_as_usable = usable;
        self.reserved.remove(&member.address);
        let (dialect, is_running) = (member.report.dialect, member.is_running);
        if is_running {
            self.effects.push(Effect::Tell(id, GatewayOrder::Record(member.record.clone())));
        } else {
            member.forgive(time.wall_ms);
        }
        self.members.insert(id, member);
        if !is_running {
            self.start_actor(id);
        }
        if usable {
            let change = self.self_doubt.on_usable(time.now, id);
            self.on_doubt_change(time, change);
        }
        self.announce_report(id, &GatewayReport::unknown(time.wall_ms));
        self.publish(id);
        if let Some(sessions) = sessions {
            self.effects.push(Effect::PublishSessions(id, sessions));
        }
        self.consider_election(time, Some(id));
        if dialect.is_some() {
            self.remember_dialect(id, GatewayChange { dialect, ..GatewayChange::default() });
        }
    }

    /// Ends a trial; a gateway that everybody sees is left alone.
    pub fn end_trial(&mut self, id: GatewayId) {
        let Some(Trial { member, .. }) = self.trials.remove(&id) else { return };
        if id.0 > 0 {
            self.reserved.remove(&member.address);
        }
        self.dismiss(member);
    }

    /// Whoever began the trial is gone without a word: what was reserved for it goes too.
    pub fn on_trial_forgotten(&mut self, id: GatewayId) {
        self.end_trial(id);
        if id.0 > 0 {
            self.effects.push(Effect::DeleteReserved(id));
        }
    }

    // What gateways' actors say.

    /// A notice of a gateway's actor. Of a deleted or replaced one only the budget of its address still matters.
    pub fn on_notice(&mut self, time: Moment, id: GatewayId, incarnation: u64, notice: GatewayNotice) {
        if let GatewayNotice::AuthSettled { address, result } = notice {
            return self.addresses.settle(&address, time.now, result);
        }
        if self.dialled(id).is_none_or(|member| member.incarnation != incarnation) {
            return;
        }
        match notice {
            GatewayNotice::Report(report) => self.on_report(time, id, *report),
            GatewayNotice::PermitWanted { address } => {
                let permit = match self.addresses.reserve(&address, time.now) {
                    Ok(device_token) => AuthPermit::Granted { device_token },
                    Err(retry_at) => AuthPermit::Denied { retry_at },
                };
                self.effects.push(Effect::Tell(id, GatewayOrder::Permit(permit)));
            }
            GatewayNotice::DeviceTokenIssued { address, token } => {
                if self.addresses.set_token(&address, Some(token.clone())) {
                    self.effects.push(Effect::StoreToken(address, Some(token)));
                }
            }
            GatewayNotice::DeviceTokenRejected { address } => {
                self.addresses.set_token(&address, None);
                self.effects.push(Effect::StoreToken(address, None));
            }
            GatewayNotice::Sessions(sessions) => match self.trials.get_mut(&id) {
                Some(trial) => trial.sessions = Some(sessions),
                None => self.effects.push(Effect::PublishSessions(id, sessions)),
            },
            GatewayNotice::Health(point) if !self.is_on_trial(id) => self.effects.push(Effect::Health(id, point)),
            GatewayNotice::Agents(news) if !self.is_on_trial(id) => {
                self.effects.push(Effect::NoteAgents(id, news));
            }
            GatewayNotice::Health(_) | GatewayNotice::Agents(_) | GatewayNotice::AuthSettled { .. } => {}
            GatewayNotice::Run(run) => self.spawns.on_stage(time.now, id, run),
        }
    }

    fn on_report(&mut self, time: Moment, id: GatewayId, report: GatewayReport) {
        let now = time.now;
        if let Some(trial) = self.trials.get_mut(&id) {
            trial.member.take_report(now, report.clone());
            self.effects.push(Effect::TrialReport(id, Box::new(report)));
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let outcome_was_known = member.outcome_known;
        let reconnect_was = member.reconnect_until;
        let before = member.take_report(now, report);
        let reconnected = reconnect_was != member.reconnect_until;
        let report = &member.report;
        let usable = report.is_usable();
        let turned = usable != before.is_usable();
        let sessions_moved = report.sessions_count != before.sessions_count;
        let first_outcome = member.outcome_known && !outcome_was_known;
        let dialect =
            report.dialect.filter(|dialect| report.phase == Phase::Ready && member.record.dialect != Some(*dialect));
        let counts = usable || (member.counts_as_usable && member.reconnect_until.is_some_and(|until| now < until));
        let change = if counts == std::mem::replace(&mut member.counts_as_usable, counts) {
            None
        } else {
            let first = !std::mem::replace(&mut member.was_usable, true);
            if !first
                && member.flaps.on_transition(now)
                && let Some(until) = member.flaps.held_until(now)
            {
                self.held_down.insert((until, id));
                let held = until.saturating_duration_since(now);
                self.effects.push(Effect::Notify(Notice::HeldDown(member.record.clone(), held)));
            }
            member.unexplained = !counts;
            if counts { self.self_doubt.on_usable(now, id) } else { self.self_doubt.on_lost(now, id) }
        };
        let trace = if counts { Trace::Open } else { member.report.trace() };
        let learned = match trace {
            Trace::Silence if std::mem::take(&mut member.unexplained) => self.self_doubt.on_silence(now, id),
            Trace::Answer => {
                member.unexplained = false;
                self.self_doubt.on_answer(now, id)
            }
            Trace::Silence | Trace::Open => None,
        };
        match (turned, usable) {
            (true, true) => self.spawns.on_gateway_back(now, id),
            (true, false) => self.spawns.on_gateway_lost(now, id),
            (false, _) => {}
        }
        self.on_doubt_change(time, change);
        self.on_doubt_change(time, learned);
        self.announce_report(id, &before);
        self.publish(id);
        if turned || first_outcome || reconnected {
            self.consider_election(time, Some(id));
        } else if sessions_moved && self.acting().is_none() {
            self.consider_election(time, None);
        }
        if dialect.is_some() {
            // So that the next start needn't detect it.
            self.remember_dialect(id, GatewayChange { dialect, ..GatewayChange::default() });
        }
    }

    fn remember_dialect(&mut self, id: GatewayId, change: GatewayChange) {
        self.effects.push(Effect::StoreChange(id, Box::new(change)));
    }

    /// What is news between two reports of a gateway.
    fn announce_report(&mut self, id: GatewayId, before: &GatewayReport) {
        let Some(Member { record, report: after, .. }) = self.members.get(&id) else { return };
        let same_status = after.status == before.status;
        if !same_status {
            let notice = Notice::StatusChanged(record.clone(), before.status, Box::new(after.clone()));
            self.effects.push(Effect::Notify(notice));
        }
        if after.phase != Phase::Blocked {
            return;
        }
        let code = after.last_error.as_ref().map(|problem| &problem.code);
        // The reason is kept while a blocked gateway is re-checked: finding it again is no news.
        if code.is_some() && code != before.last_error.as_ref().map(|problem| &problem.code) {
            let notice = Notice::Blocked(record.clone(), Box::new(after.clone()), same_status);
            self.effects.push(Effect::Notify(notice));
        }
    }

    /// A gateway's actor is gone though nobody stopped it. It is started again from its record; one that dies too often is
    /// parked, and says so.
    pub fn on_actor_died(&mut self, time: Moment, id: GatewayId) {
        if let Some(trial) = self.trials.get_mut(&id) {
            // Whoever waits for it learns that it ended; a trial is not started again.
            trial.member.on_death(time, &self.settings.restarts);
            let report = GatewayReport { phase: Phase::Parked, ..trial.member.report.clone() };
            self.effects.push(Effect::TrialReport(id, Box::new(report)));
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let (before, decision) = member.on_death(time, &self.settings.restarts);
        let notice = Notice::ActorDied(member.record.clone(), before.phase, decision);
        let counted = std::mem::take(&mut member.counts_as_usable);
        self.effects.push(Effect::Notify(notice));
        if decision == RestartDecision::Restart {
            self.start_actor(id);
        }
        self.spawns.on_gateway_lost(time.now, id);
        if counted {
            let change = self.self_doubt.on_lost(time.now, id);
            self.on_doubt_change(time, change);
        }
        self.announce_report(id, &before);
        self.publish(id);
        self.consider_election(time, Some(id));
    }

    // What is kept across a restart of the daemon.

    /// The observations that changed since they were last taken. Bounded by the fleet.
    pub fn take_unsaved(&mut self) -> Vec<(GatewayId, Observed)> {
        let take = |(id, member): (&GatewayId, &mut Member)| {
            std::mem::take(&mut member.unsaved).then(|| (*id, member.observed()))
        };
        self.members.iter_mut().filter_map(take).collect()
    }

    /// Observations that were taken could not be stored: they are taken again.
    pub fn on_not_saved(&mut self, ids: &[GatewayId]) {
        for id in ids {
            if let Some(member) = self.members.get_mut(id) {
                member.unsaved = true;
            }
        }
    }

    /// Forgets addresses that nobody uses and whose budget has recovered.
    pub fn prune(&mut self, time: Moment) {
        self.addresses.prune(time.now);
    }
}

/// What would be stored, as a trial: dialled, and seen by nobody.
fn unstored(id: GatewayId, new: GatewaySpec, now_s: i64) -> GatewayRecord {
    GatewayRecord { provisioning: true, ..new.on_trial().into_record(id, "", now_s) }
}

#[cfg(test)]
pub(crate) mod tests;
