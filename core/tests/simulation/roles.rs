//! What must hold of several nodes at each step, and at rest: whose right counts, what is written under it, and when it moves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gatewarden_core::cluster::TTL_MS;

use crate::node::Node;
use crate::server::{Link, Service};
use crate::store::Store;
use crate::world::{Owner, World};

/// Beyond the time to live, until another node acts: its looks, a few statements, and its start.
const SLACK: Duration = Duration::from_secs(1);
/// How long after it is over it must be seen that nothing moved.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// What is known of the nodes and their server.
pub(crate) struct Roles {
    /// Since when nothing happened to a node or to the server, and nobody took the role.
    calm_since: Instant,
    /// What happened to all nodes alike while one acted, and nothing to that one since.
    trials: BTreeSet<u64>,
    last_trial: u64,
}

impl Roles {
    pub(crate) fn new(now: Instant) -> Self {
        Self { calm_since: now, trials: BTreeSet::new(), last_trial: 0 }
    }
}

pub(crate) fn time_to_live() -> Duration {
    Duration::from_millis(TTL_MS.unsigned_abs())
}

impl World {
    /// Something happens to a node, to the server or to the role.
    pub(crate) fn upset(&mut self) {
        self.upset_for(Duration::ZERO);
    }

    pub(crate) fn upset_for(&mut self, span: Duration) {
        let calm = &mut self.watch.roles.calm_since;
        *calm = (*calm).max(self.now + span);
    }

    /// Something happens to this node that may take the role from it.
    pub(crate) fn role_may_move(&mut self) {
        self.upset();
        if self.nodes[self.me].id() == self.server.holder() {
            self.watch.roles.trials.clear();
        }
    }

    /// The right of two nodes never holds at the same time. It begins at beats only.
    pub(crate) fn check_rights(&self) {
        let holders: Vec<_> = self.nodes.iter().filter(|node| self.has_right(node)).map(Node::id).collect();
        assert!(holders.len() <= 1, "two nodes may act at once: {holders:?}");
    }

    /// Something leaves this node that changes anything: no other one has the role.
    pub(crate) fn uses_right(&self, what: &str) {
        if self.is_cluster() {
            let node = &self.nodes[self.me];
            let epoch = node.daemon.as_ref().and_then(|daemon| daemon.epoch);
            let holds = node.id().zip(epoch).is_some_and(|(id, epoch)| self.server.holds(id, epoch));
            assert!(
                holds,
                "node {:?} of epoch {epoch:?} {what}, and {:?} has the role",
                node.id(),
                self.server.holder()
            );
        }
    }

    /// Nothing is recorded under an epoch once the next one has begun.
    pub(crate) fn written_under<T>(&mut self, epoch: i64, write: impl FnOnce(&mut Store) -> T) -> T {
        assert_eq!(epoch, self.server.epoch(), "something is written under an epoch after the next one has begun");
        write(&mut self.store)
    }

    pub(crate) fn has_successor(&self) -> bool {
        let epoch = self.nodes[self.me].daemon.as_ref().and_then(|daemon| daemon.epoch);
        let holds = self.nodes[self.me].id().zip(epoch).is_some_and(|(id, epoch)| self.server.holds(id, epoch));
        self.is_cluster() && !holds
    }

    /// Where the server answers, and a node is there for it, one acts a time to live after whatever happened.
    pub(crate) fn check_takeover(&self) {
        let node = &self.nodes[self.me];
        if node.link != Link::Works || self.server.service != Service::Works || self.server.is_slow || !node.stands_by()
        {
            return;
        }
        let calm = self.now.saturating_duration_since(self.watch.roles.calm_since);
        if calm > time_to_live() + SLACK {
            let acts = (0..self.nodes.len()).any(|node| self.acts(node));
            assert!(acts, "no node acts {calm:?} after the last thing that happened");
        }
    }

    /// What is the same for all nodes moves nothing: long after it the role is where it was, unless something happened to its holder.
    pub(crate) fn expect_role_to_stay(&mut self, span: Duration) {
        let settled = self.now.saturating_duration_since(self.watch.roles.calm_since) > time_to_live() + SLACK;
        let acting = self.acting_node();
        self.upset();
        if !settled || !self.acts(acting) || self.nodes[acting].link != Link::Works {
            return;
        }
        self.watch.roles.last_trial += 1;
        let trial = self.watch.roles.last_trial;
        self.watch.roles.trials.insert(trial);
        let role = |world: &Self| (world.server.epoch(), world.server.holder().map(str::to_owned));
        let before = role(self);
        self.after(span + AFTERWARDS, Owner::World, move |world| {
            if world.watch.roles.trials.remove(&trial) {
                world.watch.figures.stays += 1;
                assert_eq!(role(world), before, "what happens to all nodes alike moves the role");
            }
        });
    }

    /// Each way to the server takes long: that may cost a node its role.
    pub(crate) fn slow_server(&mut self, is_slow: bool) {
        self.server.is_slow = is_slow;
        self.watch.roles.trials.clear();
        self.upset();
    }

    /// At rest one acts, and nothing is left of the others but that they live.
    pub(crate) fn check_nodes_at_rest(&self) {
        if !self.is_cluster() {
            return;
        }
        let all = 0..self.nodes.len();
        let acting: Vec<usize> = all.clone().filter(|node| self.acts(*node)).collect();
        assert_eq!(acting.len(), 1, "of the nodes these act: {acting:?}");
        let mut ids: Vec<&str> = self.nodes.iter().map(|node| node.id().expect("it has joined")).collect();
        ids.sort_unstable();
        assert_eq!(self.server.living(), ids, "the server knows other nodes than there are");
        assert_eq!(self.server.holder(), self.nodes[acting[0]].id());
        for node in all.filter(|node| *node != acting[0]) {
            assert!(self.nodes[node].stands_by() && self.nodes[node].daemon.is_none(), "node {node} is a daemon yet");
            let jobs = self.jobs_of(node);
            assert!(jobs <= 1, "{jobs} things are left for node {node} to do, which stands by");
        }
        for id in self.gateways.keys() {
            let process = self.process_of(acting[0]);
            assert!(
                self.network.open_at(*id).iter().all(|of| *of == process),
                "a socket of another node at gateway {id}"
            );
        }
    }
}
