//! Simulated time: what happens when, whose doing it is, and who sleeps or is dead meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatewarden_core::ids::GatewayId;

use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::gateway::Gateway;
use crate::invariants::Watch;
use crate::network::Network;
use crate::store::Store;

/// Whose doing something is. What belongs to a process ends with it, and waits while it is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    World,
    /// The daemon of this start.
    Daemon(u64),
    /// The gateway's process of this start.
    Gateway(GatewayId, u64),
}

type Act = Box<dyn FnOnce(&mut World)>;

struct Job {
    owner: Owner,
    /// A process that was frozen may find its timers or its messages first.
    is_timer: bool,
    act: Act,
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) begin: Instant,
    pub(crate) now: Instant,
    /// What the wall clock shows beyond the time that passed.
    pub(crate) wall_offset_ms: i64,
    /// What the daemon's own shows beyond that.
    pub(crate) skew_ms: i64,
    jobs: BTreeMap<(Instant, u64), Job>,
    last_job: u64,
    pub(crate) steps: u64,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) daemon_starts: u64,
    pub(crate) spawns_asked: u64,
    pub(crate) daemon_sleeps: Sleep,
    pub(crate) gateways: BTreeMap<GatewayId, Gateway>,
    pub(crate) network: Network,
    pub(crate) store: Store,
    pub(crate) watch: Watch,
    /// Whether each event is told: where one history is repeated.
    pub(crate) is_told: bool,
    /// No more faults: everything is to come to rest.
    pub(crate) is_settling: bool,
}

/// A process that is stopped for a while.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sleep {
    pub(crate) until: Option<Instant>,
    timers_first: bool,
    /// How long it slept altogether.
    total: Duration,
}

const WALL_MS: i64 = 1_795_253_714_000;

impl World {
    pub(crate) fn new(seed: u64, now: Instant) -> Self {
        Self {
            dice: Dice::new(seed),
            begin: now,
            now,
            wall_offset_ms: 0,
            skew_ms: 0,
            jobs: BTreeMap::new(),
            last_job: 0,
            steps: 0,
            daemon: None,
            daemon_starts: 0,
            spawns_asked: 0,
            daemon_sleeps: Sleep::default(),
            gateways: BTreeMap::new(),
            network: Network::default(),
            store: Store::new(now),
            watch: Watch::default(),
            is_told: false,
            is_settling: false,
        }
    }

    /// Says what happens, to whoever repeats a history.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>9.3} {}", self.elapsed().as_secs_f64(), what());
        }
    }

    /// Since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.begin
    }

    /// The daemon's wall clock.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.gateway_wall_ms() + self.skew_ms
    }

    pub(crate) fn gateway_wall_ms(&self) -> i64 {
        WALL_MS + i64::try_from(self.elapsed().as_millis()).unwrap() + self.wall_offset_ms
    }

    /// The time that the daemon has had: what it can't have noticed in its sleep is nobody's fault.
    pub(crate) fn waking(&self) -> Duration {
        self.elapsed().saturating_sub(self.daemon_sleeps.total)
    }

    /// Whether the daemon got no time at some moment since then.
    pub(crate) fn slept_since(&self, then: Instant) -> bool {
        self.daemon_sleeps.until.is_some_and(|until| until > then)
    }

    pub(crate) fn is_daemon_asleep(&self) -> bool {
        self.daemon_sleeps.until.is_some_and(|until| self.now < until)
    }

    /// The daemon gets no time for so long.
    pub(crate) fn freeze_daemon(&mut self, span: Duration) {
        if !self.is_daemon_asleep() {
            let timers_first = self.dice.happens(50);
            let total = self.daemon_sleeps.total + span;
            self.daemon_sleeps = Sleep { until: Some(self.now + span), timers_first, total };
            self.gateways.values_mut().for_each(|gateway| gateway.well_since = None);
        }
    }

    /// It ends, and its sleep with it.
    pub(crate) fn wake_daemon(&mut self) {
        if let Some(until) = self.daemon_sleeps.until.take() {
            let unslept = until.saturating_duration_since(self.now);
            self.daemon_sleeps.total = self.daemon_sleeps.total.saturating_sub(unslept);
        }
    }

    pub(crate) fn after(&mut self, wait: Duration, owner: Owner, act: impl FnOnce(&mut Self) + 'static) {
        self.at(self.now + wait, owner, act);
    }

    pub(crate) fn at(&mut self, at: Instant, owner: Owner, act: impl FnOnce(&mut Self) + 'static) {
        self.put(at, Job { owner, is_timer: false, act: Box::new(act) });
    }

    pub(crate) fn timer(&mut self, at: Instant, owner: Owner, act: impl FnOnce(&mut Self) + 'static) {
        self.put(at, Job { owner, is_timer: true, act: Box::new(act) });
    }

    fn put(&mut self, at: Instant, job: Job) {
        self.last_job += 1;
        self.jobs.insert((at.max(self.now), self.last_job), job);
    }

    /// Lets everything happen until then.
    pub(crate) fn run(&mut self, until: Instant) {
        while let Some(entry) = self.jobs.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), job) = entry.remove_entry();
            self.now = at;
            let (alive, sleep) = match job.owner {
                Owner::World => (true, Sleep::default()),
                Owner::Daemon(start) => {
                    (self.daemon.as_ref().is_some_and(|daemon| daemon.start == start), self.daemon_sleeps)
                }
                Owner::Gateway(id, start) => {
                    let gateway = &self.gateways[&id];
                    (gateway.is_up && gateway.start == start, Sleep { until: gateway.frozen_until, ..Sleep::default() })
                }
            };
            match sleep.until.filter(|until| self.now < *until) {
                _ if !alive => {}
                Some(wakes) => {
                    let second = job.is_timer != sleep.timers_first;
                    self.put(wakes + Duration::from_micros(u64::from(second)), job);
                }
                None => {
                    self.steps += 1;
                    (job.act)(self);
                    // What gateways do among themselves shows once the daemon hears of it.
                    if !matches!(job.owner, Owner::Gateway(..)) {
                        self.check();
                    }
                }
            }
        }
        self.now = until;
    }

    /// What waits to happen, for the daemon.
    pub(crate) fn jobs_of_daemon(&self) -> usize {
        self.jobs.values().filter(|job| matches!(job.owner, Owner::Daemon(_))).count()
    }
}
