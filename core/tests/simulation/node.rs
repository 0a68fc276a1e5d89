//! A node's process in simulated time: it runs, sleeps or is dead. One that shares its database is a member of a cluster: it joins,
//! beats, stands by, acts, and ends once it has lost the role (`store/src/member.rs`, `src/app/place.rs`, `src/app/upkeep.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use gatewarden_core::cluster::{LOOK_MS, Lease, RightToAct, Seen, Step};

use crate::daemon::Daemon;
use crate::server::{Link, Lost};
use crate::world::{Owner, Sleep, World};

/// As in `store/src/member.rs`, `src/shutdown.rs` and `systemd/gatewarden.service`.
const PATIENCE: Duration = Duration::from_secs(2);
const SIGN_OFF: Duration = Duration::from_millis(500);
const STOP_WITHIN: Duration = Duration::from_secs(10);
const RESTART_AFTER: Duration = Duration::from_secs(5);

pub(crate) struct Node {
    /// Which start of its process runs.
    pub(crate) start: Option<u64>,
    /// While it acts; also when it doesn't know yet that it may no more.
    pub(crate) daemon: Option<Daemon>,
    /// Where the database is shared.
    member: Option<Member>,
    pub(crate) right: RightToAct,
    pub(crate) sleep: Sleep,
    /// What its wall clock shows beyond that of the world.
    pub(crate) skew_ms: i64,
    /// What its clock that never jumps showed at the beginning, and by how many thousandths that one is too fast.
    pub(crate) uptime_ms: i64,
    pub(crate) drift: i64,
    pub(crate) link: Link,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            start: None,
            daemon: None,
            member: None,
            right: RightToAct::none(),
            sleep: Sleep::default(),
            skew_ms: 0,
            uptime_ms: 0,
            drift: 0,
            link: Link::Works,
        }
    }
}

struct Member {
    id: String,
    lease: Lease,
    /// Whether it ever had the role: then it doesn't come back under another id.
    acted: bool,
    /// It stops, or has lost the role: then the service manager starts it again.
    is_leaving: bool,
    is_lost: bool,
}

impl Node {
    pub(crate) fn id(&self) -> Option<&str> {
        self.member.as_ref().map(|member| member.id.as_str())
    }

    /// Nothing stands in its way but what is the matter with others.
    pub(crate) fn stands_by(&self) -> bool {
        self.member.as_ref().is_some_and(|member| !member.acted && !member.is_leaving)
    }
}

impl World {
    pub(crate) fn is_cluster(&self) -> bool {
        self.nodes.len() > 1
    }

    /// Milliseconds of a node's clock that never jumps.
    fn uptime_ms_of(&self, node: &Node) -> i64 {
        node.uptime_ms + i64::try_from(self.elapsed().as_millis()).unwrap() * (1_000 + node.drift) / 1_000
    }

    fn uptime_ms(&self) -> i64 {
        self.uptime_ms_of(&self.nodes[self.me])
    }

    pub(crate) fn has_right(&self, node: &Node) -> bool {
        node.right.holds(self.uptime_ms_of(node))
    }

    pub(crate) fn may_act(&self) -> bool {
        self.has_right(&self.nodes[self.me])
    }

    /// Whether the node does what clients ask of it.
    pub(crate) fn acts(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.daemon.is_some() && self.has_right(node) && !node.sleep.ends_after(self.now)
    }

    /// The node that acts; where none does, one that has acted last.
    pub(crate) fn acting_node(&self) -> usize {
        let acting = || (0..self.nodes.len()).find(|node| self.acts(*node));
        let daemon = || self.nodes.iter().position(|node| node.daemon.is_some());
        if self.is_cluster() { acting().or_else(daemon).unwrap_or(0) } else { 0 }
    }

    /// Its process starts, unless it runs.
    pub(crate) fn start_node(&mut self) {
        let me = self.me;
        if self.nodes[me].start.is_some() {
            return;
        }
        self.starts += 1;
        self.nodes[me].start = Some(self.starts);
        if !self.is_cluster() {
            self.nodes[me].right = RightToAct::always();
            let stored = self.store.stored(self.now);
            return self.start_daemon(stored, None);
        }
        self.tell(|| format!("node {me} starts"));
        let id = format!("{me}.{}", self.starts);
        let lease = Lease::new(&id);
        self.nodes[me].member = Some(Member { id, lease, acted: false, is_leaving: false, is_lost: false });
        let (wait, owner) = (self.dice.ms(20, 300), self.owner_of_member());
        // What it sees it sees from then on.
        self.upset_for(wait);
        self.after(wait, owner, |world| {
            world.join(|world, joined| match joined {
                Ok(()) => world.beat(),
                Err(_) => world.end_and_restart(),
            });
        });
    }

    /// `kill -9`, or its end.
    pub(crate) fn kill_node(&mut self) {
        let (me, process) = (self.me, self.process());
        if self.nodes[me].start.take().is_none() {
            return;
        }
        self.tell(|| format!("node {me} is dead"));
        self.role_may_move();
        self.wake();
        let node = &mut self.nodes[me];
        node.right = RightToAct::none();
        let is_lost = node.member.take().is_some_and(|member| member.is_lost);
        if let Some(daemon) = node.daemon.take() {
            self.daemon_sockets_end(process);
            for wish in daemon.spawners.into_values() {
                self.client_is_cut_off(wish);
            }
        }
        if is_lost {
            self.restart();
        }
    }

    /// It ends by itself, and the service manager starts it again.
    fn end_and_restart(&mut self) {
        self.kill_node();
        self.restart();
    }

    fn restart(&mut self) {
        let (me, wait) = (self.me, RESTART_AFTER + self.dice.s(0, 10));
        self.after(wait, Owner::World, move |world| world.at_node(me, Self::start_node));
    }

    /// SIGTERM.
    pub(crate) fn stop_node(&mut self) {
        if self.nodes[self.me].daemon.is_some() {
            return self.stop_daemon();
        }
        self.leave();
    }

    /// Gives the role back and ends.
    pub(crate) fn leave(&mut self) {
        let owner = self.owner_of_member();
        let Some(member) = self.nodes[self.me].member.as_mut() else { return self.kill_node() };
        member.is_leaving = true;
        let id = member.id.clone();
        self.nodes[self.me].right.set(i64::MIN);
        self.role_may_move();
        self.strike_who_leaves();
        self.ask_server(owner, SIGN_OFF, move |world| world.leave_server(&id), |world, _| world.kill_node());
    }

    fn owner_of_member(&self) -> Owner {
        Owner::Member(self.process())
    }

    fn join(&mut self, then: impl FnOnce(&mut Self, Result<(), Lost>) + 'static) {
        let (home, owner) = (self.me, self.owner_of_member());
        let Some(id) = self.nodes[home].id().map(str::to_owned) else { return };
        self.ask_server(owner, PATIENCE, move |world| world.join_at_server(&id, home), then);
    }

    fn beat(&mut self) {
        let (sent_ms, owner) = (self.uptime_ms(), self.owner_of_member());
        let Some(member) = self.nodes[self.me].member.as_ref() else { return };
        let id = member.id.clone();
        // Its two statements mostly come together.
        if self.dice.happens(90) {
            let both = move |world: &mut Self| world.beat_at_server(&id).then(|| world.look_at_server());
            return self.ask_server(owner, PATIENCE, both, move |world, seen| world.beaten(sent_ms, seen));
        }
        self.ask_server(
            owner,
            PATIENCE,
            move |world| world.beat_at_server(&id),
            move |world, lives| match lives {
                Ok(true) => world.ask_server(
                    owner,
                    PATIENCE,
                    |world| world.look_at_server(),
                    move |world, seen| world.beaten(sent_ms, seen.map(Some)),
                ),
                Ok(false) => world.beaten(sent_ms, Ok(None)),
                Err(lost) => world.beaten(sent_ms, Err(lost)),
            },
        );
    }

    fn beat_at(&mut self, at_ms: i64) {
        let wait = Duration::from_millis(u64::try_from(at_ms - self.uptime_ms()).unwrap_or(0));
        let owner = self.owner_of_member();
        self.timer(self.now + wait, owner, Self::beat);
    }

    /// What came of a beat.
    fn beaten(&mut self, sent_ms: i64, seen: Result<Option<Seen>, Lost>) {
        let now_ms = self.uptime_ms();
        let seen = match seen {
            Err(_) => return self.beat_at(sent_ms + LOOK_MS),
            Ok(None) => return self.declared_dead(sent_ms),
            Ok(Some(seen)) => seen,
        };
        let node = &mut self.nodes[self.me];
        let Some(member) = node.member.as_mut() else { return };
        let steps = member.lease.answered(sent_ms, now_ms, &seen);
        let held = member.lease.held();
        let is_lost = member.acted && held.is_none();
        let begins = held.filter(|_| !member.acted);
        member.acted |= held.is_some();
        // What leaves has no right any more.
        let until_ms = if is_lost || member.is_leaving { i64::MIN } else { member.lease.until_ms() };
        node.right.set(until_ms);
        self.check_rights();
        self.check_takeover();
        if is_lost {
            return self.lose();
        }
        if let Some(epoch) = begins {
            self.begin_to_act(epoch);
        }
        self.take_steps(sent_ms, steps.into(), false);
    }

    fn take_steps(&mut self, sent_ms: i64, mut steps: VecDeque<Step>, did: bool) {
        let owner = self.owner_of_member();
        let Some(member) = self.nodes[self.me].member.as_ref() else { return };
        let Some(step) = steps.pop_front() else {
            let next_ms = member.lease.next_ms(sent_ms);
            return if did { self.beat() } else { self.beat_at(next_ms) };
        };
        let id = member.id.clone();
        self.ask_server(
            owner,
            PATIENCE,
            move |world| world.take_at_server(&id, &step),
            move |world, taken| {
                world.take_steps(sent_ms, steps, did || taken == Ok(true));
            },
        );
    }

    /// The others declared it dead: it was frozen, or cut off from the server.
    fn declared_dead(&mut self, sent_ms: i64) {
        let me = self.me;
        self.nodes[me].right.set(i64::MIN);
        self.starts += 1;
        let id = format!("{me}.{}", self.starts);
        let Some(member) = self.nodes[me].member.as_mut() else { return };
        if member.acted {
            return self.lose();
        }
        (member.lease, member.id) = (Lease::new(&id), id);
        self.upset();
        self.join(move |world, _| world.beat_at(sent_ms + LOOK_MS));
    }

    /// Another one acts: what is held in memory is that one's.
    fn lose(&mut self) {
        let me = self.me;
        self.tell(|| format!("node {me} has lost the role"));
        let Some(member) = self.nodes[me].member.as_mut() else { return };
        member.is_lost = true;
        if std::mem::replace(&mut member.is_leaving, true) {
            return;
        }
        let owner = self.owner_of_member();
        self.timer(self.now + STOP_WITHIN, owner, Self::kill_node);
        if self.nodes[me].daemon.is_some() { self.stop_daemon() } else { self.kill_node() }
    }

    /// It has the role: it starts as after any stop.
    fn begin_to_act(&mut self, epoch: i64) {
        let (wait, owner) = (self.dice.ms(20, 200), self.owner());
        self.after(wait, owner, move |world| {
            let read = |world: &mut Self| world.store.stored(world.now);
            world.ask_server(owner, PATIENCE, read, move |world, stored| match stored {
                Ok(stored) if world.nodes[world.me].member.as_ref().is_some_and(|member| !member.is_leaving) => {
                    world.start_daemon(stored, Some(epoch));
                }
                Ok(_) => {}
                Err(_) => world.end_and_restart(),
            });
        });
    }
}
