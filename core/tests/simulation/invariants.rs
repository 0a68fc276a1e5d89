//! What must hold whatever happens, and what must be over once all is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_core::gateway_report::{Phase, Status};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::settings::GatewaySettings;
use gatewarden_core::spawn::{SpawnRecord, SpawnState};
use gatewarden_protocol::DeviceIdentity;

use crate::clients::Wish;
use crate::daemon::{Daemon, Told};
use crate::gateway::End;
use crate::roles::Roles;
use crate::store::Store;
use crate::world::World;

/// A gateway that nothing stands in the way of is online after so long: its longest backoff, an attempt that has to end first,
/// and a minute for which credentials are held back.
const WELL_WITHIN: Duration = Duration::from_secs(180);
/// A fleet of more is checked after each so many steps.
const SMALL_FLEET: usize = 10;
const SOME_STEPS: u64 = 20;
/// What a report may take to readers.
const TELLING: Duration = Duration::from_secs(2);
/// How long an operator's reconnect excuses an acting primary.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(11);

/// How much happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) steps: u64,
    pub(crate) seconds: u64,
    pub(crate) daemons: u64,
    pub(crate) elections: u64,
    pub(crate) spawns: u64,
    pub(crate) runs: u64,
    pub(crate) lost: u64,
    /// Connections that ended for want of memory.
    pub(crate) excesses: u64,
    /// Times that a gateway was blocked.
    pub(crate) blocked: u64,
    /// Times that a node took the role.
    pub(crate) takeovers: u64,
    /// Writes of a node that had the role no more.
    pub(crate) fenced: u64,
    /// What was the same for all nodes, an outage or a jump of the server's clock, and moved nothing.
    pub(crate) stays: u64,
    /// Requests that clients sent to the next node.
    pub(crate) sent_again: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.seconds += other.seconds;
        self.daemons += other.daemons;
        self.elections += other.elections;
        self.spawns += other.spawns;
        self.runs += other.runs;
        self.lost += other.lost;
        self.excesses += other.excesses;
        self.blocked += other.blocked;
        self.takeovers += other.takeovers;
        self.fenced += other.fenced;
        self.stays += other.stays;
        self.sent_again += other.sent_again;
    }
}

pub(crate) struct Watch {
    pub(crate) settings: Arc<GatewaySettings>,
    pub(crate) identity: Arc<DeviceIdentity>,
    pub(crate) figures: Figures,
    /// Work that gateways really began, and where.
    begun: BTreeMap<String, GatewayId>,
    /// Spawns of which a client was told that they are under way; and which one each idempotency key stands for.
    told: BTreeSet<String>,
    by_key: BTreeMap<String, String>,
    pub(crate) roles: Roles,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            // Small, so that a few gateways that send much meet the limits.
            settings: Arc::new(GatewaySettings {
                max_frame: 512 * 1024,
                memory_each: 256 * 1024,
                ..GatewaySettings::default()
            }),
            identity: Arc::new(DeviceIdentity::from_seed(&[7; 32])),
            figures: Figures::default(),
            begun: BTreeMap::new(),
            told: BTreeSet::new(),
            by_key: BTreeMap::new(),
            roles: Roles::new(now),
        }
    }

    /// A gateway begins work: that which nobody has begun before.
    pub(crate) fn begins(&mut self, spawn_id: &str, at: GatewayId) {
        let before = self.begun.insert(spawn_id.to_owned(), at);
        assert_eq!(before, None, "{spawn_id} is run twice, the second time by gateway {at}");
    }

    /// Work that names no gateway goes to who acts as primary, or while an operator reconnects that one, elsewhere.
    pub(crate) fn routed(&self, daemon: &Daemon, spawn: &SpawnRecord) {
        if matches!(spawn.route.as_deref(), Some("primary" | "acting_primary")) {
            assert_eq!(spawn.gateway_id, daemon.fleet.acting(), "two gateways take the primary's work");
        }
    }

    /// Work is given to a connection: it is on record, for this gateway, and has not begun anywhere.
    pub(crate) fn sent(&self, daemon: &Daemon, store: &Store, gateway: GatewayId, spawn_id: &str, waking: Duration) {
        let stored = &store.spawns[spawn_id];
        assert_eq!(stored.gateway_id, Some(gateway), "a daemon that dies now asks another gateway about {spawn_id}");
        assert!(!stored.state.is_final(), "{spawn_id} is sent after its end");
        assert!(!self.begun.contains_key(spawn_id), "{spawn_id} is sent again");
        assert!(daemon.fleet.get(gateway).is_some_and(gatewarden_core::fleet::Member::is_usable), "sent to nobody");
        let silent = waking.saturating_sub(daemon.heard.get(&gateway).copied().unwrap_or_default());
        assert!(
            silent <= self.settings.heartbeat_interval * 3 + TELLING,
            "{spawn_id} is sent into {silent:?} of silence"
        );
    }

    /// A client is told that its work is under way, of one key always the same.
    pub(crate) fn answered(&mut self, new_id: &str, wish: &Wish, answer: &Told) {
        let Ok(record) = answer else { return };
        let spawn_id = &record.spawn_id;
        assert!(spawn_id != new_id || self.begun.contains_key(spawn_id), "{spawn_id} runs nowhere");
        self.told.insert(spawn_id.clone());
        if let Some(key) = &wish.key {
            let first = self.by_key.entry(key.clone()).or_insert_with(|| spawn_id.clone());
            assert_eq!(first, spawn_id, "key {key} stands for two spawns");
        }
    }
}

impl World {
    /// Something stands in the way of a gateway for a moment.
    pub(crate) fn disturb(&mut self, gateway: GatewayId) {
        for daemon in self.nodes.iter_mut().filter_map(|node| node.daemon.as_mut()) {
            daemon.well_since.remove(&gateway);
        }
    }

    /// After each step of a daemon; of a large fleet, after some.
    pub(crate) fn check(&mut self) {
        if self.gateways.len() > SMALL_FLEET && !self.steps.is_multiple_of(SOME_STEPS) {
            return;
        }
        let (now, waking) = (self.now, self.waking());
        let asleep = self.is_asleep();
        let Some(daemon) = self.nodes[self.me].daemon.as_mut() else { return };
        let acting: Vec<GatewayId> =
            daemon.roster.iter().filter(|(_, shown)| shown.acting).map(|(id, _)| *id).collect();
        assert_eq!(acting, daemon.fleet.acting().into_iter().collect::<Vec<_>>(), "readers see another primary");
        for id in acting {
            let member = daemon.fleet.get(id).unwrap();
            let excused = daemon.reconnected.get(&id).is_some_and(|at| waking < *at + RECONNECT_PATIENCE);
            assert!(member.is_usable() || excused, "{id} acts and can't be worked with: {:?}", member.report);
            assert!(!member.record.drained, "{id} acts and takes no work");
        }
        let fresh = self.watch.settings.heartbeat_interval * 3 + TELLING;
        let recheck = self.watch.settings.blocked_recheck;
        for (id, gateway) in &self.gateways {
            let Some(shown) = daemon.roster.get(id) else { continue };
            let green =
                shown.status == Status::Online || (shown.status == Status::Degraded && shown.phase == Phase::Ready);
            let heard = daemon.heard.get(id).copied().unwrap_or_default();
            assert!(
                asleep || !green || waking.saturating_sub(heard) <= fresh,
                "gateway {id} is {:?} after {:?} of silence",
                shown.status,
                waking - heard
            );
            let is_well =
                !asleep && gateway.is_well(now) && self.network.is_clear(*id, now) && daemon.actors.contains_key(id);
            // One that refused us until now is looked at again after a while.
            let patience = if shown.phase == Phase::Blocked { recheck + WELL_WITHIN } else { WELL_WITHIN };
            if !is_well {
                daemon.well_since.remove(id);
                continue;
            }
            let (since, patience) = *daemon.well_since.entry(*id).or_insert((waking, patience));
            assert!(
                shown.status == Status::Online || waking.saturating_sub(since) < patience,
                "gateway {id} has been well since {since:?} and is {shown:?}: {:?}",
                daemon.fleet.get(*id).map(|member| &member.report)
            );
        }
    }

    /// Whether nothing is under way, not even a list that is read now and then.
    pub(crate) fn is_quiet(&self) -> bool {
        let daemon = self.nodes[self.me].daemon.as_ref();
        daemon.is_some_and(|daemon| daemon.actors.values().all(|actor| actor.connection.waiting() == 0))
    }

    /// All faults are over, all work is done, and an hour has passed.
    pub(crate) fn check_rest(&mut self) {
        self.check_nodes_at_rest();
        let daemon = self.nodes[self.me].daemon.as_ref().expect("it runs");
        assert!(daemon.spawners.is_empty(), "never answered: {:?}", daemon.spawners);
        for spawn_id in &self.watch.told {
            assert!(self.store.spawns.contains_key(spawn_id), "{spawn_id} was answered and is not on record");
        }
        for (spawn_id, spawn) in &self.store.spawns {
            assert!(spawn.state.is_final(), "{spawn_id} has no end: {spawn:?}");
            let began = self.watch.begun.contains_key(spawn_id);
            let ended_well = matches!(spawn.state, SpawnState::Completed | SpawnState::Killed);
            assert!(began || !ended_well, "{spawn_id} never began: {spawn:?}");
            // Whoever asks a gateway that remembers, and answers, learns how it ended.
            let gateway = spawn.gateway_id.map(|id| &self.gateways[&id]);
            let run = gateway.and_then(|gateway| {
                gateway.runs.get(spawn_id).filter(|run| gateway.silent_until.is_none_or(|until| until < run.began))
            });
            let known = run.and_then(|run| run.end);
            let told = match known {
                None => true,
                Some(End::Done) => matches!(spawn.state, SpawnState::Completed | SpawnState::Killed),
                Some(End::Failed) => matches!(spawn.state, SpawnState::Failed | SpawnState::Killed),
                Some(End::Killed) => spawn.state != SpawnState::Lost,
            };
            assert!(told, "{spawn_id} ended as {known:?}: {spawn:?}");
            let refused = spawn.reason.as_deref() == Some("it was not accepted");
            assert!(!began || !refused, "{spawn_id} runs and is said not to: {spawn:?}");
        }
        let held: usize = daemon.actors.values().map(|actor| actor.connection.held_bytes()).sum();
        assert_eq!(daemon.memory.used(), held, "memory is counted that nobody holds");
        assert_eq!(daemon.fleet.waiting(), 0, "the fleet waits for something");
        assert_eq!(daemon.open_asks(), 0, "questions without an answer");
        for (id, actor) in &daemon.actors {
            assert_eq!(daemon.fleet.get(*id).unwrap().report.status, Status::Online);
            let what = format!("{:?}", actor.connection);
            let what = &what[what.find("probes: ").unwrap()..what.find("publisher: ").unwrap()];
            assert_eq!(actor.connection.waiting(), 0, "the connection to {id} waits for something: {what}");
            assert!(actor.waiting.is_empty(), "nobody answered {id}'s callers: {:?}", actor.waiting);
            assert_eq!(self.network.open_at(*id), [daemon.process], "one socket to {id}");
        }
        // A timer and the next save for each actor and the registry; and what is under way of two heartbeats.
        let jobs = self.jobs_of(self.me);
        assert!(jobs <= 6 * (daemon.actors.len() + 1), "{jobs} things are left for the daemon to do");
        if self.gateways.len() == daemon.actors.len() {
            assert!(daemon.fleet.acting().is_some(), "nobody acts");
        }
        let states = self.store.spawns.values().map(|spawn| spawn.state);
        self.watch.figures.lost = states.filter(|state| *state == SpawnState::Lost).count() as u64;
        self.watch.figures.spawns = self.store.spawns.len() as u64;
        self.watch.figures.runs = self.watch.begun.len() as u64;
        self.watch.figures.steps = self.steps;
        self.watch.figures.seconds = self.elapsed().as_secs();
    }
}
