//! The registry's decisions: which gateways there are, which of them have an actor, who acts as primary, where work goes and
//! what became of it.
//!
//! Inputs are what gateways' actors report, what clients and operators want, what the store answers, and time. Outputs are
//! [`Effect`]s, taken with [`Fleet::take_effects`] after each input and carried out in order, and the next deadline. So a whole
//! fleet can be simulated without an actor, a socket, a clock or a database (`core/tests/simulation`).
//!
//! | file | decides |
//! | --- | --- |
//! | `fleet` | what there is, and what is to be done; when an election is due, and what follows from it |
//! | `fleet/records` | what follows from a record, and from a trial |
//! | `fleet/addresses` | what records of one address share: failed logins and the device token |
//! | `fleet/dispatch` | spawns: where they go, when they are sent, written, asked about and answered |
//! | `fleet/member` | what is known of one gateway, and what follows from what its actor and its process say: reports, deaths |
//! | `fleet/logins` | whose turn it is to log in |

mod addresses;
mod dispatch;
mod logins;
mod member;
mod records;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::Secret;

use self::addresses::Addresses;
use self::dispatch::{OnceWritten, WriteCoalescer};
use self::logins::WantedLogin;
pub use self::member::{HaltedProcess, Member};
use crate::error::Failure;
use crate::gateway_record::{DeviceToken, GatewayChange, GatewayRecord, Observed, SharedRecord};
use crate::gateway_report::{GatewayReport, HealthPoint, Phase, SharedSessions, Status};
use crate::ids::GatewayId;
use crate::machines::auth_budget::FailedLogin;
use crate::machines::connection::{AgentNews, AuthPermit};
use crate::machines::election::{Candidate, Election, PrimaryChange};
use crate::machines::login_queue::LoginQueue;
use crate::machines::restart_intensity::RestartDecision;
use crate::machines::routing::NoRoute;
use crate::machines::self_doubt::{DoubtChange, SelfDoubt};
use crate::machines::spawn_tracker::SpawnTracker;
use crate::settings::{ElectionSettings, RestartSettings, RoutingSettings};
use crate::spawn::{LookUpRun, SpawnDoubt, SpawnRecord, SpawnRequest};

/// Changes that can't unseat the acting primary, nor make one where there is none, are gathered for this long: an election is O(gateways),
/// and a whole fleet may come and go at once.
const GATHER: Duration = Duration::from_millis(100);

/// The time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// For waits and deadlines.
    pub now: Instant,
    /// For people.
    pub wall_ms: i64,
}

impl Time {
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
    /// How many log in at a time, but for those that take longer than a quarter of a second.
    pub logins_at_a_time: usize,
}

/// As many logins at a time as a fleet of a thousand gateways hardly notices.
pub const LOGINS_AT_A_TIME: usize = 512;

/// What an earlier run of the daemon left.
#[derive(Debug, Default)]
pub struct Stored {
    /// The gateways.
    pub records: Vec<GatewayRecord>,
    /// Device tokens by canonical address.
    pub device_tokens: Vec<(String, DeviceToken)>,
    /// The failed logins that still count, by canonical address.
    pub failed_logins: Vec<(String, Vec<FailedLogin>)>,
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
    /// The gateway's actor goes on with this record.
    Update(SharedRecord),
    /// The gateway's actor dials anew.
    Reconnect(GatewayId),
    /// Answer the gateway's actor, which wants to authenticate.
    Permit(GatewayId, AuthPermit),
    /// The gateway's actor gives up this run.
    ForgetRun(GatewayId, String),
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
    /// Keep the failed logins that count at these addresses, in the place of what was kept there; answered with
    /// [`Fleet::on_failed_logins_stored`].
    StoreFailedLogins(Vec<(String, Vec<FailedLogin>)>),
    /// Store what became known of the gateway; answered with [`Fleet::on_updated`].
    StoreChange(GatewayId, Box<GatewayChange>),
    /// Delete what was reserved for a gateway that is not confirmed any more.
    DeleteReserved(GatewayId),
    /// Record a spawn, with its request's text and the client's idempotency key; answered with [`Fleet::on_spawn_recorded`].
    RecordSpawn(Box<SpawnRecord>, Secret, Option<String>),
    /// Give a recorded spawn to this gateway's actor; answered with [`Fleet::on_run_answered`].
    StartRun(GatewayId, Arc<SpawnRequest>),
    /// Ask this gateway's actor what became of a spawn's run; answered with [`Fleet::on_run_found`].
    LookUpRun(String, GatewayId, LookUpRun),
    /// Readers see when each of these spawns in doubt is asked about (wall ms), and no others.
    PublishChecks(HashMap<String, SpawnDoubt>),
    /// Write steps of spawns in one transaction; answered with [`Fleet::on_spawns_written`].
    WriteSpawns(Vec<SpawnRecord>),
    /// Answer the request to spawn that came with this id. Another spawn's record is that of the same request before. Of one that a
    /// gateway took just now the result is the gateway's reply.
    AnswerSpawn(String, Box<Result<SpawnRecord, Failure>>),
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
    /// Whoever acts as primary goes on acting, or nobody does: for another reason, until another time or in place of another gateway.
    PrimaryKept(Option<GatewayId>, &'static str),
    /// The daemon doubts its own network, or trusts it again.
    Doubt(DoubtChange),
    /// A spawn goes from a gateway that didn't take it to the next one, and why.
    SpawnRerouted(String, GatewayId, GatewayId, String),
    /// How a spawn moved is stored.
    SpawnStored(Box<SpawnRecord>),
    /// How these spawns moved could not be stored.
    SpawnsNotStored(Vec<String>, Failure),
}

/// Another gateway acts than the configured primary, or none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failover {
    /// The configured primary; where another is configured, another failover begins.
    pub configured: GatewayId,
    /// Wall ms since which it has not acted.
    pub since_ms: i64,
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
    /// Boxed: a map of thousands has room for as many more.
    members: BTreeMap<GatewayId, Box<Member>>,
    trials: HashMap<GatewayId, Trial>,
    addresses: Addresses,
    logins: LoginQueue<WantedLogin>,
    /// Addresses of gateways that are being created.
    reserved: HashSet<String>,
    /// Trials that are not stored have ids below zero, each its own.
    last_trial: i64,
    incarnations: u64,
    stopping: bool,
    election: Election,
    failover: Option<Failover>,
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
    /// Requests whose records are being written, and why they go nowhere.
    recording: HashMap<String, (SpawnRequest, Option<NoRoute>)>,
    /// Recorded spawns on their way to acceptance.
    attempts: HashMap<String, Arc<SpawnRequest>>,
    /// Requests that go on once all that was decided about their spawn is stored. One a spawn; gone with the write.
    awaiting_write: HashMap<String, OnceWritten>,
    effects: Vec<Effect>,
}

impl Fleet {
    /// The fleet as the daemon finds it at its start; nothing is dialled before [`Fleet::start_some`].
    pub fn new(settings: FleetSettings, stored: Stored, time: Time) -> Self {
        let mut fleet = Self {
            members: BTreeMap::new(),
            trials: HashMap::new(),
            addresses: Addresses::new(stored.device_tokens, &stored.failed_logins, time.now),
            logins: LoginQueue::new(settings.logins_at_a_time),
            reserved: HashSet::new(),
            last_trial: 0,
            incarnations: 0,
            stopping: false,
            election: Election::new(settings.election.clone(), time.now),
            failover: None,
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
            let gateway = spawn.gateway();
            if !fleet.members.contains_key(&gateway) {
                fleet.spawns.on_gateway_deleted(gateway);
            }
        }
        fleet
    }

    /// Starts actors for so many members after this one, by id; the last of them, none where there are no more.
    pub fn start_some(&mut self, after: Option<GatewayId>, count: usize) -> Option<GatewayId> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let some = self.members.range((after, Bound::Unbounded)).take(count);
        let some: Vec<(GatewayId, bool)> = some.map(|(id, member)| (*id, member.is_running)).collect();
        // One may have been started meanwhile: by its operator, or since it is new.
        for (id, _) in some.iter().filter(|(_, is_running)| !is_running) {
            self.start_actor(*id);
            self.publish(*id);
        }
        some.last().map(|(id, _)| *id)
    }

    /// What is to be done now. To be asked after each input, before [`Fleet::next_deadline`].
    pub fn take_effects(&mut self, time: Time) -> Vec<Effect> {
        self.settle_spawns(time);
        self.begin_logins(time);
        self.store_failed_logins(time);
        std::mem::take(&mut self.effects)
    }

    /// A gateway that everybody sees.
    pub fn get(&self, id: GatewayId) -> Option<&Member> {
        self.members.get(&id).map(Box::as_ref)
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
        self.get(id).or_else(|| self.trials.get(&id).map(|trial| &trial.member))
    }

    /// All gateways that everybody sees, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values().map(Box::as_ref)
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

    /// What is under way: requests for work, writes, questions, attempts to log in. Nothing when all is quiet.
    pub fn waiting(&self) -> usize {
        let work = self.recording.len() + self.attempts.len() + self.awaiting_write.len() + self.checks.len();
        work + self.spawns.waiting() + self.logins.waiting() + self.addresses.permits() + self.addresses.unstored()
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

    fn insert(&mut self, record: GatewayRecord, time: Time) {
        let member = Member::new(record, &self.settings.restarts, time);
        self.addresses.join(&member.address, member.record.id);
        if let Some(until) = member.held_until(time.now) {
            self.held_down.insert((until, member.record.id));
        }
        self.members.insert(member.record.id, Box::new(member));
    }

    fn publish(&mut self, id: GatewayId) {
        self.effects.push(Effect::Publish(id));
    }

    fn start_actor(&mut self, id: GatewayId) {
        self.incarnations += 1;
        let incarnation = self.incarnations;
        if let Some(member) = self.dialled_mut(id) {
            member.incarnation = incarnation;
            member.is_running = true;
            member.orders = 0;
            let start = Effect::Start(member.record.clone(), incarnation);
            self.effects.push(start);
        }
    }

    fn dialled_mut(&mut self, id: GatewayId) -> Option<&mut Member> {
        match self.trials.get_mut(&id) {
            Some(trial) => Some(&mut trial.member),
            None => self.members.get_mut(&id).map(Box::as_mut),
        }
    }

    // Elections, and the deadlines of the whole fleet.

    /// Who acts as primary.
    pub fn acting(&self) -> Option<GatewayId> {
        self.election.acting()
    }

    /// The failover that lasts.
    pub fn failover(&self) -> Option<Failover> {
        self.failover
    }

    /// Wall ms at which the reason why a gateway acts ends by itself, where it does.
    pub fn acting_until_ms(&self, time: Time) -> Option<i64> {
        self.election.reason_ends().map(|until| time.wall_ms_at(until))
    }

    /// Something changed at `about` that may matter for the election. Decides at once where the acting or the configured
    /// primary is concerned or nobody acts and this one may, so that failover doesn't wait; otherwise soon.
    fn consider_election(&mut self, time: Time, about: GatewayId) {
        let (acting, member) = (self.acting(), self.get(about));
        let was_configured = self.failover.is_some_and(|failover| failover.configured == about);
        let concerns_primary =
            acting == Some(about) || was_configured || member.is_none_or(|member| member.record.is_primary);
        let may_stand_in =
            acting.is_none() && !self.election.awaits_primary(time.now) && member.is_some_and(Member::is_usable);
        if concerns_primary || may_stand_in {
            self.decide(time);
        } else {
            self.decide_at.get_or_insert(time.now + GATHER);
        }
    }

    fn decide(&mut self, time: Time) {
        self.decide_at = None;
        let candidates: Vec<Candidate> = self.members.values().map(|member| member.candidate(time.now)).collect();
        let of = |fleet: &Self| (fleet.election.reason(), fleet.election.reason_ends(), fleet.failover);
        let before = of(self);
        let change = self.election.decide(time.now, &candidates, self.self_doubt.doubts());
        let lasting = |configured| self.failover.filter(|failover| failover.configured == configured);
        self.failover = (self.election.stood_in_for())
            .map(|configured| lasting(configured).unwrap_or(Failover { configured, since_ms: time.wall_ms }));
        if let Some(change) = change {
            let concerned = [change.from, change.to].into_iter().flatten().map(Effect::Publish);
            self.effects.push(Effect::Notify(Notice::PrimaryChanged(change.clone())));
            self.effects.extend(concerned);
        } else if before != of(self) {
            self.effects.push(Effect::Notify(Notice::PrimaryKept(self.acting(), self.election.reason())));
        }
    }

    fn on_doubt_change(&mut self, time: Time, change: Option<DoubtChange>) {
        let Some(change) = change else { return };
        let ended = change == DoubtChange::Ended;
        self.effects.push(Effect::Notify(Notice::Doubt(change)));
        if ended {
            // What was put off may fail back now.
            self.decide(time);
        }
    }

    /// When [`Fleet::on_deadline`] is due, if nothing comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let held_until = self.held_down.first().map(|(until, _)| *until);
        let elections = [self.election.next_deadline(), self.self_doubt.next_deadline(), held_until, self.decide_at];
        let writes = [self.coalescer.next_deadline(), self.addresses.next_deadline()];
        elections.into_iter().chain(writes).chain([self.look_at, self.logins.next_deadline()]).flatten().min()
    }

    /// A deadline may have passed.
    pub fn on_deadline(&mut self, time: Time) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= time.now);
        let mut decides = is_due(self.election.next_deadline()) || is_due(self.decide_at);
        while self.held_down.first().is_some_and(|(until, _)| *until <= time.now) {
            if let Some((_, id)) = self.held_down.pop_first() {
                self.publish(id);
            }
            decides = true;
        }
        if is_due(self.self_doubt.next_deadline()) {
            let change = self.self_doubt.on_deadline(time.now);
            self.on_doubt_change(time, change);
        }
        if decides {
            self.decide(time);
        }
        if is_due(self.look_at) {
            self.look_at_spawns(time);
        }
    }

    // What is kept across a restart of the daemon.

    /// The observations that changed since they were last taken. Bounded by the fleet.
    pub fn take_unsaved(&mut self) -> Vec<(GatewayId, Observed)> {
        let take = |(id, member): (&GatewayId, &mut Box<Member>)| {
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
    pub fn prune(&mut self, time: Time) {
        self.addresses.prune(time.now);
    }
}

#[cfg(test)]
mod tests;
