//! The simulated database: one writer, what is on disk, and how the disk behaves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatewarden_core::error::{ErrorCode, Failure};
use gatewarden_core::fleet::Stored;
use gatewarden_core::gateway_record::{DeviceToken, GatewayRecord};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::auth_budget::{FailedLogin, MAX_FAILURES, WINDOW};
use gatewarden_core::spawn::{SpawnRecord, SpawnState};
use gatewarden_protocol::Secret;

use crate::daemon::MAX_HOP_MS;
use crate::world::{Owner, World};

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
    /// What each write takes.
    pub(crate) pace: (u64, u64),
    /// When the writer has done what it was given.
    free_at: Instant,
}

impl Store {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            records: BTreeMap::new(),
            tokens: BTreeMap::new(),
            spawns: BTreeMap::new(),
            failed_logins: BTreeMap::new(),
            keys: BTreeMap::new(),
            is_full: false,
            is_silent: false,
            pace: (0, 3),
            free_at: now,
        }
    }

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
        let Some(daemon) = &self.daemon else { return };
        let owner = Owner::Daemon(daemon.start);
        let (from, to) = self.store.pace;
        let at = self.store.free_at.max(self.now) + self.dice.ms(from, to);
        self.store.free_at = at;
        self.at(at, owner, move |world| {
            let written = if world.store.is_full {
                Err(Failure::new(ErrorCode::StoreUnavailable, "the disk is full"))
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

    /// Nothing of the dead daemon's work keeps the writer of the next one.
    pub(crate) fn free_writer(&mut self) {
        self.store.free_at = self.now;
    }

    /// The disk stands still for so long.
    pub(crate) fn stall_writer(&mut self, span: Duration) {
        self.store.free_at = self.store.free_at.max(self.now) + span;
    }
}
