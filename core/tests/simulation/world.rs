//! Simulated time: what happens when, whose doing it is, and who sleeps or is dead meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatewarden_core::ids::GatewayId;

use crate::dice::Dice;
use crate::gateway::Gateway;
use crate::invariants::Watch;
use crate::network::Network;
use crate::node::Node;
use crate::server::Server;
use crate::store::Store;

/// One run of the daemon's process: on which node, and which start of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pub(crate) node: usize,
    pub(crate) start: u64,
}

/// Whose doing something is. What belongs to a process ends with it, and waits while it is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    World,
    /// The database server, and what is on its way to it.
    Server,
    Daemon(ProcessId),
    /// What keeps a daemon's right to act: its fleet notices nothing of it.
    Member(ProcessId),
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
    jobs: BTreeMap<(Instant, u64), Job>,
    last_job: u64,
    pub(crate) steps: u64,
    /// One, or three that share the database.
    pub(crate) nodes: Vec<Node>,
    /// The node whose doing the present step is; of what nobody does, the one that acts.
    pub(crate) me: usize,
    pub(crate) starts: u64,
    pub(crate) spawns_asked: u64,
    pub(crate) server: Server,
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

impl Sleep {
    /// Whether it got no time at some moment since then.
    pub(crate) fn ends_after(&self, then: Instant) -> bool {
        self.until.is_some_and(|until| until > then)
    }
}

const WALL_MS: i64 = 1_795_253_714_000;

impl World {
    pub(crate) fn new(seed: u64, now: Instant, nodes: usize) -> Self {
        Self {
            dice: Dice::new(seed),
            begin: now,
            now,
            wall_offset_ms: 0,
            jobs: BTreeMap::new(),
            last_job: 0,
            steps: 0,
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            me: 0,
            starts: 0,
            spawns_asked: 0,
            server: Server::default(),
            gateways: BTreeMap::new(),
            network: Network::default(),
            store: Store::default(),
            watch: Watch::new(now),
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

    /// The node's wall clock.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.gateway_wall_ms() + self.nodes[self.me].skew_ms
    }

    pub(crate) fn gateway_wall_ms(&self) -> i64 {
        WALL_MS + i64::try_from(self.elapsed().as_millis()).unwrap() + self.wall_offset_ms
    }

    /// The time that the node has had: what it can't have noticed in its sleep is nobody's fault.
    pub(crate) fn waking(&self) -> Duration {
        self.elapsed().saturating_sub(self.nodes[self.me].sleep.total)
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.nodes[self.me].sleep.ends_after(self.now)
    }

    /// The node's process gets no time for so long.
    pub(crate) fn freeze(&mut self, span: Duration) {
        if !self.is_asleep() {
            let timers_first = self.dice.happens(50);
            let node = &mut self.nodes[self.me];
            let total = node.sleep.total + span;
            node.sleep = Sleep { until: Some(self.now + span), timers_first, total };
            if let Some(daemon) = node.daemon.as_mut() {
                daemon.well_since.clear();
            }
        }
    }

    /// It ends, and its sleep with it.
    pub(crate) fn wake(&mut self) {
        let sleep = &mut self.nodes[self.me].sleep;
        if let Some(until) = sleep.until.take() {
            let unslept = until.saturating_duration_since(self.now);
            sleep.total = sleep.total.saturating_sub(unslept);
        }
    }

    /// Something happens at this node.
    pub(crate) fn at_node<T>(&mut self, node: usize, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.me, node);
        let done = act(self);
        self.me = before;
        done
    }

    /// The node's process as it runs now.
    pub(crate) fn process_of(&self, node: usize) -> ProcessId {
        ProcessId { node, start: self.nodes[node].start.unwrap_or(0) }
    }

    pub(crate) fn process(&self) -> ProcessId {
        self.process_of(self.me)
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner::Daemon(self.process())
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
                Owner::World | Owner::Server => (true, Sleep::default()),
                Owner::Daemon(process) | Owner::Member(process) => {
                    let node = &self.nodes[process.node];
                    (node.start == Some(process.start), node.sleep)
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
                    self.me = match job.owner {
                        Owner::Daemon(process) | Owner::Member(process) => process.node,
                        _ => self.acting_node(),
                    };
                    (job.act)(self);
                    match job.owner {
                        Owner::World => (0..self.nodes.len()).for_each(|node| self.at_node(node, Self::check)),
                        Owner::Daemon(process) => self.at_node(process.node, Self::check),
                        // What gateways and the server do among themselves shows once a daemon hears of it.
                        Owner::Gateway(..) | Owner::Server | Owner::Member(_) => {}
                    }
                }
            }
        }
        self.now = until;
        self.me = self.acting_node();
    }

    /// What waits to happen, for the node.
    pub(crate) fn jobs_of(&self, node: usize) -> usize {
        let process = self.process_of(node);
        let of = |job: &&Job| job.owner == Owner::Daemon(process) || job.owner == Owner::Member(process);
        self.jobs.values().filter(of).count()
    }
}
