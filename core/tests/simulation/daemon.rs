//! The daemon's shells in simulated time: what the registry does with a fleet's effects (`actors/src/registry/`). Each message
//! between two actors takes a moment, and those to one receiver keep their order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatewarden_core::dialing::MemoryBudget;
use gatewarden_core::error::Failure;
use gatewarden_core::fleet::{Effect, Fleet, FleetSettings, Notice, Stored, Time};
use gatewarden_core::gateway_report::{Phase, Status};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::connection::{CallToken, Connection, Moment, ProbeToken};
use gatewarden_core::settings::{ElectionSettings, RestartSettings, RoutingSettings};
use gatewarden_core::spawn::{ControlSession, LookedUp, NoAnswer, NotAccepted, SpawnRecord, SpawnState};

use crate::actor::Actor;
use crate::clients::Wish;
use crate::store::Writer;
use crate::world::{Owner, ProcessId, World};

/// What a message takes at most.
pub(crate) const MAX_HOP_MS: u64 = 3;
/// What is kept of a gateway that lists as much as most do, bytes.
const KEPT_USUALLY: usize = 64 * 1024;
/// As in `actors/src/registry.rs`.
const GRACE: Duration = Duration::from_millis(500);
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// While the daemon stops, until it is looked again whether all is written.
const LOOK: Duration = Duration::from_millis(20);
const WATCH_INTERVAL_MS: u64 = 250;
/// Expiries of one timer within a second: more is a deadline that doesn't pass.
const MAX_EXPIRIES: u32 = 300;

pub(crate) struct Daemon {
    pub(crate) process: ProcessId,
    /// Of its role, where it shares its database.
    pub(crate) epoch: Option<i64>,
    pub(crate) fleet: Fleet,
    pub(crate) memory: MemoryBudget,
    pub(crate) actors: BTreeMap<GatewayId, Actor>,
    asks: BTreeMap<u64, Ask>,
    last_ask: u64,
    /// Who waits for the acceptance of a spawn.
    pub(crate) spawners: BTreeMap<String, Wish>,
    /// What the writer is given, one after the other.
    pub(crate) writer: Writer,
    timer: Timer,
    inbox: Instant,
    /// What readers see.
    pub(crate) roster: BTreeMap<GatewayId, Shown>,
    /// When an operator reconnected each, in waking time.
    pub(crate) reconnected: BTreeMap<GatewayId, Duration>,
    /// When each gateway was heard last, in waking time.
    pub(crate) heard: BTreeMap<GatewayId, Duration>,
    /// Since when nothing stands in the way of each, in waking time, and how long it may take to be online.
    pub(crate) well_since: BTreeMap<GatewayId, (Duration, Duration)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) status: Status,
    pub(crate) phase: Phase,
    pub(crate) acting: bool,
}

/// The one timer of an actor.
#[derive(Default)]
pub(crate) struct Timer {
    armed: Option<Instant>,
    generation: u64,
    recent: Option<(Instant, u32)>,
}

impl Timer {
    /// When to be woken, and as what, if that is new.
    pub(crate) fn arm(&mut self, now: Instant, due: Option<Instant>) -> Option<(Instant, u64)> {
        let due = due.filter(|due| self.armed.is_none_or(|armed| *due < armed))?;
        self.armed = Some(due);
        self.generation += 1;
        Some((due.max(now + Duration::from_millis(1)), self.generation))
    }

    pub(crate) fn expire(&mut self, now: Instant, generation: u64) -> bool {
        if generation != self.generation {
            return false;
        }
        self.armed = None;
        let since = self.recent.filter(|(since, _)| now < *since + Duration::from_secs(1));
        let (since, count) = since.map_or((now, 1), |(since, count)| (since, count + 1));
        assert!(count < MAX_EXPIRIES, "a deadline that never passes");
        self.recent = Some((since, count));
        true
    }
}

/// A question to an actor.
struct Ask {
    of: (GatewayId, u64),
    about: About,
}

enum About {
    Run(String, String, Duration),
    LookUp(String, GatewayId, String),
    /// A client's, who only has to be answered.
    Other,
}

pub(crate) enum Answer {
    Run(Box<Result<SpawnRecord, NotAccepted>>),
    LookUp(Result<LookedUp, Failure>),
    Other,
}

impl World {
    fn time(&self) -> Time {
        Time { now: self.now, wall_ms: self.wall_ms() }
    }

    /// The daemon's own start, with what it found in the database.
    pub(crate) fn start_daemon(&mut self, stored: Stored, epoch: Option<i64>) {
        self.watch.figures.daemons += 1;
        self.tell(|| format!("the daemon of node {} starts", self.me));
        let settings = FleetSettings {
            election: ElectionSettings::default(),
            routing: RoutingSettings::default(),
            restarts: RestartSettings::default(),
            heartbeat_interval: self.watch.settings.heartbeat_interval,
            // So few that they wait for each other.
            logins_at_a_time: 3,
        };
        let memory_each = self.watch.settings.memory_each;
        let fleet = Fleet::new(settings, stored, self.time());
        self.nodes[self.me].daemon = Some(Daemon {
            process: self.process(),
            epoch,
            fleet,
            memory: MemoryBudget::with_limits(memory_each + self.gateways.len() * KEPT_USUALLY, memory_each),
            actors: BTreeMap::new(),
            asks: BTreeMap::new(),
            last_ask: 0,
            spawners: BTreeMap::new(),
            writer: Writer::new(self.now),
            timer: Timer::default(),
            inbox: self.now,
            roster: BTreeMap::new(),
            reconnected: BTreeMap::new(),
            heard: BTreeMap::new(),
            well_since: BTreeMap::new(),
        });
        self.feed(|fleet, _| fleet.start_some(None, usize::MAX));
        self.save_in_a_minute();
    }

    /// SIGTERM: connections are closed, what is known is stored, then it ends.
    pub(crate) fn stop_daemon(&mut self) {
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        daemon.fleet.stop();
        let ids = daemon.actors.keys().copied().collect::<Vec<_>>();
        for id in ids {
            self.stop_actor(id);
        }
        self.save();
        let owner = self.owner();
        self.after(Duration::from_millis(1_500), owner, Self::end_when_settled);
    }

    fn end_when_settled(&mut self) {
        let owner = self.owner();
        if self.feed(|fleet, _| fleet.has_settled()).is_some_and(|is_settled| !is_settled) {
            return self.after(LOOK, owner, Self::end_when_settled);
        }
        // Whoever finds one has to take it for sent. One that lost the role may leave some to its successor.
        let recorded = self.store.spawns.values().find(|spawn| spawn.state == SpawnState::Recorded);
        assert!(recorded.is_none() || self.has_successor(), "stopped in order, it leaves undecided: {recorded:?}");
        self.leave();
    }

    /// One input: the fleet decides, the effects are carried out, the timer is set to what is due next.
    pub(crate) fn feed<T>(&mut self, input: impl FnOnce(&mut Fleet, Time) -> T) -> Option<T> {
        let time = self.time();
        let daemon = self.nodes[self.me].daemon.as_mut()?;
        let answer = input(&mut daemon.fleet, time);
        for effect in daemon.fleet.take_effects(time) {
            self.perform(effect);
        }
        self.arm_registry();
        Some(answer)
    }

    fn arm_registry(&mut self) {
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        let Some((at, generation)) = daemon.timer.arm(self.now, daemon.fleet.next_deadline()) else { return };
        let owner = Owner::Daemon(daemon.process);
        self.timer(at, owner, move |world| {
            let Some(daemon) = world.nodes[world.me].daemon.as_mut() else { return };
            if daemon.timer.expire(world.now, generation) {
                world.feed(Fleet::on_deadline);
            }
        });
    }

    /// A message to the registry.
    pub(crate) fn tell_registry(&mut self, input: impl FnOnce(&mut Fleet, Time) + 'static) {
        let at = self.now + self.dice.ms(0, MAX_HOP_MS);
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        daemon.inbox = daemon.inbox.max(at);
        let (at, owner) = (daemon.inbox, Owner::Daemon(daemon.process));
        self.at(at, owner, move |world| {
            world.feed(input);
        });
    }

    fn perform(&mut self, effect: Effect) {
        let waking = self.waking();
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        match effect {
            Effect::Start(record, incarnation) => self.start_actor(record, incarnation),
            Effect::Stop(id) => self.stop_actor(id),
            Effect::Update(record) => {
                self.tell_actor(record.id, move |connection, moment| connection.update_record(moment, record));
            }
            Effect::Reconnect(id) => self.tell_actor(id, Connection::reconnect),
            Effect::Permit(id, permit) => {
                self.tell_actor(id, move |connection, moment| connection.on_permit(moment, permit));
            }
            Effect::ForgetRun(id, run_id) => self.tell_actor(id, move |connection, _| connection.forget_run(&run_id)),
            Effect::Publish(id) => {
                if let Some(member) = daemon.fleet.get(id) {
                    let (status, phase) = (member.report.status, member.report.phase);
                    let acting = daemon.fleet.acting() == Some(id);
                    daemon.roster.insert(id, Shown { status, phase, acting });
                }
            }
            Effect::Remove(id) => drop(daemon.roster.remove(&id)),
            Effect::StoreToken(address, token) => self.write(
                |store| match token {
                    Some(token) => drop(store.tokens.insert(address, token)),
                    None => drop(store.tokens.remove(&address)),
                },
                |_, _| {},
            ),
            Effect::StoreFailedLogins(logins) => {
                let now = self.now;
                self.write(
                    move |store| store.put_failed_logins(now, logins),
                    |world, written| {
                        world.feed(|fleet, time| fleet.on_failed_logins_stored(time, written.is_ok()));
                    },
                );
            }
            Effect::StoreChange(id, change) => self.write(
                move |store| {
                    let record = store.records.get_mut(&id)?;
                    record.revision += 1;
                    record.dialect = change.dialect.or(record.dialect);
                    Some(record.clone())
                },
                |world, record| {
                    if let Ok(Some(record)) = record {
                        world.feed(|fleet, time| fleet.on_updated(time, record));
                    }
                },
            ),
            Effect::RecordSpawn(record, text, key) => {
                self.watch.routed(daemon, &record);
                self.record_spawn(*record, text, key);
            }
            Effect::WriteSpawns(steps) => {
                let ids = SpawnRecord::ids(&steps);
                self.write(
                    |store| store.move_spawns(steps),
                    move |world, written| {
                        world.feed(|fleet, time| fleet.on_spawns_written(time, &ids, written));
                    },
                );
            }
            Effect::StartRun(gateway, request) => {
                let spawn_id = request.record.spawn_id.clone();
                let about = About::Run(spawn_id.clone(), daemon.fleet.name_of(gateway), request.timeout);
                let within = request.timeout + GRACE;
                if self.may_act() {
                    let daemon = self.nodes[self.me].daemon.as_ref().unwrap();
                    self.watch.sent(daemon, &self.store, gateway, &spawn_id, waking);
                }
                self.ask(gateway, within, about, true, move |connection, moment, token| {
                    connection.start_run(moment, CallToken(token), &request);
                });
            }
            Effect::LookUpRun(spawn_id, gateway, question) => {
                let about = About::LookUp(spawn_id, gateway, question.run_id.clone());
                let within = question.timeout * 2;
                self.ask(gateway, within, about, false, move |connection, moment, token| {
                    connection.look_up_run(moment, CallToken(token), question);
                });
            }
            Effect::AnswerSpawn(spawn_id, answer) => {
                let wish = daemon.spawners.remove(&spawn_id).expect("a request is answered once");
                self.watch.answered(&spawn_id, &wish, &answer);
                self.client_hears(wish, &answer);
            }
            Effect::Notify(Notice::HeldDown(..)) => self.save(),
            Effect::Notify(Notice::PrimaryChanged(change)) => {
                assert_ne!(change.from, change.to);
                self.watch.figures.elections += 1;
            }
            Effect::Notify(Notice::Blocked(record, report, _)) => {
                self.watch.figures.blocked += 1;
                self.tell(|| format!("gateway {} is blocked: {:?}", record.id, report.last_error));
            }
            Effect::Notify(Notice::StatusChanged(record, from, report)) => {
                self.tell(|| format!("gateway {}: {from:?} -> {:?}", record.id, report.status));
            }
            Effect::Notify(Notice::ActorDied(record, _, decision)) => {
                self.tell(|| format!("gateway {}: its actor died: {decision:?}", record.id));
            }
            Effect::Notify(Notice::SpawnStored(record)) => {
                self.tell(|| format!("{} {:?} {:?}", record.spawn_id, record.state, record.reason));
            }
            Effect::Notify(_)
            | Effect::PublishSessions(..)
            | Effect::NoteAgents(..)
            | Effect::PublishChecks(_)
            | Effect::Health(..) => {}
            Effect::TrialReport(..) | Effect::DeleteReserved(_) => unreachable!("nothing is on trial here"),
        }
    }

    pub(crate) fn probe(&mut self, gateway: GatewayId) {
        let timeout = Duration::from_secs(5);
        self.ask(gateway, timeout + GRACE, About::Other, false, move |connection, moment, token| {
            connection.probe(moment, ProbeToken(token), timeout);
        });
    }

    pub(crate) fn control(&mut self, gateway: GatewayId, control: ControlSession) {
        let within = control.timeout + GRACE;
        self.ask(gateway, within, About::Other, true, move |connection, moment, token| {
            connection.control(moment, CallToken(token), control);
        });
    }

    /// Asks an actor. Of what changes something it looks at the right to act before it begins.
    fn ask(
        &mut self,
        gateway: GatewayId,
        within: Duration,
        about: About,
        needs_right: bool,
        command: impl FnOnce(&mut Connection, Moment, u64) + 'static,
    ) {
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        daemon.last_ask += 1;
        let (ask, owner) = (daemon.last_ask, Owner::Daemon(daemon.process));
        let actor = daemon.actors.get_mut(&gateway).filter(|actor| !actor.is_stopping);
        let incarnation = actor.as_ref().map(|actor| actor.incarnation);
        daemon.asks.insert(ask, Ask { of: (gateway, incarnation.unwrap_or_default()), about });
        let Some(actor) = actor else { return self.settle_soon(ask, Err(NoAnswer::NotTaken)) };
        let token = actor.wait(ask);
        self.tell_actor_if(gateway, needs_right.then_some(token), move |connection, moment| {
            command(connection, moment, token);
        });
        self.timer(self.now + within, owner, move |world| world.settle(ask, Err(NoAnswer::Late)));
    }

    pub(crate) fn settle_soon(&mut self, ask: u64, answer: Result<Answer, NoAnswer>) {
        let hop = self.dice.ms(0, MAX_HOP_MS);
        let owner = self.owner();
        self.after(hop, owner, move |world| world.settle(ask, answer));
    }

    /// The actor did not begin what it was asked.
    pub(crate) fn refuse_soon(&mut self, ask: u64, refused: NotAccepted) {
        let asked = self.nodes[self.me].daemon.as_ref().and_then(|daemon| daemon.asks.get(&ask));
        let is_run = asked.is_some_and(|asked| matches!(asked.about, About::Run(..)));
        self.settle_soon(ask, Ok(if is_run { Answer::Run(Box::new(Err(refused))) } else { Answer::Other }));
    }

    fn settle(&mut self, ask: u64, answer: Result<Answer, NoAnswer>) {
        let Some(Ask { about, .. }) = self.nodes[self.me].daemon.as_mut().and_then(|daemon| daemon.asks.remove(&ask))
        else {
            return;
        };
        match about {
            About::Run(spawn_id, name, timeout) => {
                let answer = match answer {
                    Ok(Answer::Run(answer)) => *answer,
                    Ok(_) => unreachable!("another answer"),
                    Err(no_answer) => Err(no_answer.of_run(&name, timeout)),
                };
                self.feed(|fleet, time| fleet.on_run_answered(time, &spawn_id, answer));
            }
            About::LookUp(spawn_id, gateway, run_id) => {
                let found = match answer {
                    Ok(Answer::LookUp(found)) => found.ok(),
                    Ok(_) => unreachable!("another answer"),
                    Err(_) => None,
                };
                self.feed(|fleet, time| fleet.on_run_found(time, &spawn_id, gateway, &run_id, found));
            }
            About::Other => {}
        }
    }

    /// The gateway's actor panics. Whoever asked it learns so; the registry finds it dead when it looks next.
    pub(crate) fn actor_dies(&mut self, gateway: GatewayId) {
        self.disturb(gateway);
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        let Some(actor) = daemon.actors.remove(&gateway) else { return };
        let of = (gateway, actor.incarnation);
        let asked: Vec<u64> = daemon.asks.iter().filter(|(_, ask)| ask.of == of).map(|(ask, _)| *ask).collect();
        self.drop_socket(&actor);
        for ask in asked {
            self.settle_soon(ask, Err(NoAnswer::Ended));
        }
        let (wait, owner) = (self.dice.ms(0, WATCH_INTERVAL_MS), self.owner());
        if !actor.is_stopping {
            self.after(wait, owner, move |world| {
                world.feed(|fleet, time| fleet.on_actor_died(time, gateway));
            });
        }
    }

    pub(crate) fn reconnect(&mut self, gateway: GatewayId) {
        // A frozen daemon hears no operator.
        if self.is_asleep() {
            return;
        }
        let waking = self.waking();
        self.disturb(gateway);
        if let Some(daemon) = self.nodes[self.me].daemon.as_mut() {
            daemon.reconnected.insert(gateway, waking);
            self.feed(|fleet, time| fleet.reconnect(time, gateway));
        }
    }

    fn save_in_a_minute(&mut self) {
        let owner = self.owner();
        self.timer(self.now + SAVE_INTERVAL, owner, |world| {
            world.feed(Fleet::prune);
            world.save();
            world.save_in_a_minute();
        });
    }

    fn save(&mut self) {
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        let changed = daemon.fleet.take_unsaved();
        let ids: Vec<GatewayId> = changed.iter().map(|(id, _)| *id).collect();
        self.write(
            |store| {
                for (id, observed) in changed {
                    if let Some(record) = store.records.get_mut(&id) {
                        record.observed = observed;
                    }
                }
            },
            move |world, saved| {
                if let (Err(_), Some(daemon)) = (saved, world.nodes[world.me].daemon.as_mut()) {
                    daemon.fleet.on_not_saved(&ids);
                }
            },
        );
    }
}

impl Daemon {
    /// Questions that nobody has answered.
    pub(crate) fn open_asks(&self) -> usize {
        self.asks.len()
    }
}

/// What a client may be told of a request for work.
pub(crate) type Told = Result<SpawnRecord, Failure>;
