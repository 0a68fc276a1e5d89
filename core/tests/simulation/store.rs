//! The simulated database: one writer of each daemon, what is on disk, and how the disk behaves.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use gatewarden_core::cluster::not_acting;
use gatewarden_core::error::{ErrorCode, Failure};
use gatewarden_core::fleet::Stored;
use gatewarden_core::gateway_record::{DeviceToken, GatewayRecord};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::auth_budget::{FailedLogin, MAX_FAILURES, WINDOW};
use gatewarden_core::spawn::{SpawnRecord, SpawnState};
use gatewarden_protocol::Secret;

use crate::daemon::MAX_HOP_MS;
use crate::server::Lost;
use crate::world::{Owner, World};

/// As in `store/src/queue.rs` and `store/src/tables/spawns.rs`.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(3);
const JOB_DEADLINE: Duration = Duration::from_secs(10);
const MAX_QUESTIONS: usize = 5;
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) records: BTreeMap<GatewayId, GatewayRecord>,
    pub(crate) tokens: BTreeMap<String, DeviceToken>,
    pub(crate) spawns: BTreeMap<String, SpawnRecord>,
    /// By address: when each was, and whether it was refused in words.
    failed_logins: BTreeMap<String, Vec<(Instant, bool)>>,
    keys: BTreeMap<String, (String, String)>,
    /// Writes fail.
    pub(crate) is_full: bool,
    /// Nobody is told what became of a write; every second one is done.
    pub(crate) is_silent: bool,
    /// Each write takes long.
    pub(crate) is_slow: bool,
}

/// The thread of a daemon that writes.
pub(crate) struct Writer {
    /// When it has done what it was given, where the database is a file.
    free_at: Instant,
    /// What waits for its turn, where the database is a server's.
    waiting: VecDeque<(Instant, Write)>,
    is_busy: bool,
}

type Write = Box<dyn FnOnce(&mut World, bool)>;

impl Writer {
    pub(crate) fn new(now: Instant) -> Self {
        Self { free_at: now, waiting: VecDeque::new(), is_busy: false }
    }
}

impl Store {
    /// What a daemon finds at its start.
    pub(crate) fn stored(&self, now: Instant) -> Stored {
        let failed = |(at, refused): &(Instant, bool)| FailedLogin { ago: now.duration_since(*at), refused: *refused };
        let counts = |failed: &FailedLogin| failed.ago <= WINDOW;
        Stored {
            records: self.records.values().cloned().collect(),
            device_tokens: self.tokens.iter().map(|(address, token)| (address.clone(), token.clone())).collect(),
            failed_logins: self
                .failed_logins
                .iter()
                .map(|(address, all)| (address.clone(), all.iter().map(failed).filter(counts).collect()))
                .collect(),
            open_spawns: self.spawns.values().filter(|spawn| !spawn.state.is_final()).cloned().collect(),
        }
    }

    pub(crate) fn put_failed_logins(&mut self, now: Instant, logins: Vec<(String, Vec<FailedLogin>)>) {
        for (address, failed) in logins {
            assert!(failed.len() <= MAX_FAILURES, "{address} has {} failed logins in a minute", failed.len());
            self.failed_logins.insert(address, failed.iter().map(|one| (now - one.ago, one.refused)).collect());
        }
    }

    pub(crate) fn record_spawn(
        &mut self,
        record: SpawnRecord,
        text: &Secret,
        key: Option<String>,
    ) -> Option<SpawnRecord> {
        if let Some(key) = &key
            && let Some((spawn_id, body)) = self.keys.get(key)
        {
            let same = body == text.expose();
            return same.then(|| self.spawns[spawn_id].clone());
        }
        if let Some(key) = key {
            self.keys.insert(key, (record.spawn_id.clone(), text.expose().to_owned()));
        }
        self.spawns.insert(record.spawn_id.clone(), record.clone());
        Some(record)
    }

    pub(crate) fn move_spawns(&mut self, steps: Vec<SpawnRecord>) -> Vec<SpawnRecord> {
        let mut moved = Vec::new();
        for step in steps {
            let to = step.state;
            let Some(record) = self.spawns.get_mut(&step.spawn_id) else { continue };
            if !to.may_follow(record.state) {
                continue;
            }
            record.state = to;
            if step.gateway_id.is_some() {
                (record.gateway_id, record.gateway_name) = (step.gateway_id, step.gateway_name);
            }
            record.run_id = step.run_id.or(record.run_id.take());
            record.session_key = step.session_key.or(record.session_key.take());
            record.error_code = step.error_code.or(record.error_code.take());
            if step.reason.is_some() || to.is_final() || to == SpawnState::Running {
                record.reason = step.reason;
            }
            moved.push(record.clone());
        }
        moved
    }
}

impl World {
    /// Gives the writer something to do; a daemon that is killed before leaves it undone, one that is killed after it never hears.
    pub(crate) fn write<T: 'static>(
        &mut self,
        write: impl FnOnce(&mut Store) -> T + 'static,
        then: impl FnOnce(&mut Self, Result<T, Failure>) + 'static,
    ) {
        if self.is_cluster() {
            return self.write_to_server(write, then);
        }
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        let (from, to) = if self.store.is_slow { (100, 3_000) } else { (0, 3) };
        let at = daemon.writer.free_at.max(self.now) + self.dice.ms(from, to);
        daemon.writer.free_at = at;
        let owner = Owner::Daemon(daemon.process);
        self.at(at, owner, move |world| {
            let written = if world.store.is_full {
                Err(unavailable("the disk is full"))
            } else if world.store.is_silent {
                if world.dice.happens(50) {
                    write(&mut world.store);
                }
                Err(Failure::outcome_unknown("no answer"))
            } else {
                Ok(write(&mut world.store))
            };
            let hop = world.dice.ms(0, MAX_HOP_MS);
            world.after(hop, owner, move |world| then(world, written));
        });
    }

    /// In its turn, in a transaction that begins with a look at the role, as in `store/src/database.rs`.
    fn write_to_server<T: 'static>(
        &mut self,
        write: impl FnOnce(&mut Store) -> T + 'static,
        then: impl FnOnce(&mut Self, Result<T, Failure>) + 'static,
    ) {
        let (now, owner) = (self.now, self.owner());
        let Some(me) = self.nodes[self.me].id().map(str::to_owned) else { return };
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        let epoch = daemon.epoch.expect("it has a role");
        let turn = move |world: &mut Self, in_time: bool| {
            if !in_time {
                world.write_next();
                return then(world, Err(unavailable("the store did not come to it in time")));
            }
            let transaction = move |world: &mut Self| {
                if !world.server.holds(&me, epoch) {
                    world.watch.figures.fenced += 1;
                    return Err(not_acting("Another node has taken over"));
                }
                Ok(world.written_under(epoch, write))
            };
            world.ask_server(owner, STATEMENT_PATIENCE, transaction, move |world, answer| {
                world.write_next();
                then(
                    world,
                    match answer {
                        Ok(written) => written,
                        Err(Lost::NotDone) => Err(unavailable("no connection to the database")),
                        Err(Lost::Unknown) => Err(Failure::outcome_unknown("no answer")),
                    },
                );
            });
        };
        daemon.writer.waiting.push_back((now, Box::new(turn)));
        if !daemon.writer.is_busy {
            self.write_next();
        }
    }

    fn write_next(&mut self) {
        let now = self.now;
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        let next = daemon.writer.waiting.pop_front();
        daemon.writer.is_busy = next.is_some();
        if let Some((since, turn)) = next {
            turn(self, now < since + JOB_DEADLINE);
        }
    }

    /// As `StoreHandle::record_spawn`: a server that gave no answer is asked what became of it, some times.
    pub(crate) fn record_spawn(&mut self, record: SpawnRecord, text: Secret, key: Option<String>) {
        let most = if self.is_cluster() { MAX_QUESTIONS } else { 0 };
        self.try_to_record(record, text, key, most, None);
    }

    fn try_to_record(
        &mut self,
        record: SpawnRecord,
        text: Secret,
        key: Option<String>,
        questions: usize,
        doubt: Option<Failure>,
    ) {
        let (again, copy) = (doubt.is_some(), (record.clone(), text.clone(), key.clone()));
        self.write(
            move |store| match store.spawns.get(&record.spawn_id).filter(|_| again) {
                Some(found) => Some(found.clone()),
                None => store.record_spawn(record, &text, key),
            },
            move |world, recorded| {
                let (record, text, key) = copy;
                let code = recorded.as_ref().err().map(|failure| failure.code);
                let is_over = questions == 0 || (again && code == Some(ErrorCode::NotActing));
                let answer = match (recorded, doubt) {
                    // The doubt stays until something is known.
                    (Err(_), Some(doubt)) if is_over => Err(doubt),
                    (Err(failure), doubt) if !is_over && (again || failure.code == ErrorCode::OutcomeUnknown) => {
                        let (doubt, owner) = (Some(doubt.unwrap_or(failure)), world.owner());
                        return world.after(BETWEEN_QUESTIONS, owner, move |world| {
                            world.try_to_record(record, text, key, questions - 1, doubt);
                        });
                    }
                    (known, _) => known,
                };
                let spawn_id = record.spawn_id;
                world.feed(|fleet, time| fleet.on_spawn_recorded(time, &spawn_id, answer));
            },
        );
    }

    /// The disk stands still for so long.
    pub(crate) fn stall_writer(&mut self, span: Duration) {
        if let Some(daemon) = self.nodes[self.me].daemon.as_mut() {
            daemon.writer.free_at = daemon.writer.free_at.max(self.now) + span;
        }
    }
}

fn unavailable(words: &str) -> Failure {
    Failure::new(ErrorCode::StoreUnavailable, words)
}
