//! The simulated database server that nodes share: who lives, who has the role (the rules of `store/src/postgres/cluster.rs`), the
//! server's clock, and what becomes of a statement on its way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use gatewarden_core::cluster::{Seen, SeenNode, Step, TTL_MS};

use crate::world::{Owner, World};

/// What was on its way when a node was cut off gets there, or doesn't.
pub(crate) const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Why a statement has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It was not done, and won't be.
    NotDone,
    /// It may have been done, or may be yet.
    Unknown,
}

/// How a node's way to the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Link {
    #[default]
    Works,
    /// Connections break, and whoever connects is refused.
    Refused(Instant),
    /// Nothing passes, and nobody is told.
    Silent(Instant),
}

/// What the server does, for all nodes alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Service {
    #[default]
    Works,
    /// Nobody listens.
    Away,
    /// What comes waits.
    Frozen,
    /// It answers, and takes no writes: a sign of life is one, too.
    ReadOnly,
}

struct Row {
    /// Its state directory: what ran from there before is gone.
    home: usize,
    beat: i64,
    expires_ms: i64,
}

/// A statement that waits for a frozen server.
type Waiting = Box<dyn FnOnce(&mut World)>;

#[derive(Default)]
pub(crate) struct Server {
    nodes: BTreeMap<String, Row>,
    holder: Option<String>,
    epoch: i64,
    start: i64,
    /// What its clock shows beyond the time that passed.
    pub(crate) clock_offset_ms: i64,
    pub(crate) service: Service,
    /// Each way takes long.
    pub(crate) is_slow: bool,
    waiting: Vec<Waiting>,
}

impl Server {
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(crate) fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    pub(crate) fn living(&self) -> Vec<&str> {
        self.nodes.keys().map(String::as_str).collect()
    }

    pub(crate) fn holds(&self, node: &str, epoch: i64) -> bool {
        self.holder() == Some(node) && self.epoch == epoch
    }

    fn is_expired(row: &Row, now_ms: i64) -> bool {
        !(now_ms..=now_ms + TTL_MS).contains(&row.expires_ms)
    }

    fn join(&mut self, id: &str, home: usize, now_ms: i64) {
        self.nodes.retain(|_, row| row.home != home);
        self.nodes.insert(id.to_owned(), Row { home, beat: 0, expires_ms: now_ms + TTL_MS });
    }

    /// Whether it lives.
    fn beat(&mut self, id: &str, now_ms: i64) -> bool {
        let Some(row) = self.nodes.get_mut(id) else { return false };
        (row.beat, row.expires_ms) = (row.beat + 1, now_ms + TTL_MS);
        true
    }

    fn look(&self, now_ms: i64) -> Seen {
        let seen = |(id, row): (&String, &Row)| SeenNode {
            id: id.clone(),
            beat: row.beat,
            expired: Self::is_expired(row, now_ms),
        };
        Seen {
            server_start: self.start,
            nodes: self.nodes.iter().map(seen).collect(),
            holder: self.holder.clone(),
            epoch: self.epoch,
        }
    }

    /// Does what was decided, if it is still so.
    fn take(&mut self, me: &str, step: &Step, now_ms: i64) -> bool {
        match step {
            Step::DeclareDead { node, beat } => {
                let is_so = |row: &Row| row.beat == *beat && Self::is_expired(row, now_ms);
                self.nodes.get(node).is_some_and(is_so) && self.nodes.remove(node).is_some()
            }
            Step::Claim { epoch } => {
                let is_free = self.holder.as_ref().is_none_or(|holder| !self.nodes.contains_key(holder));
                let may = self.nodes.get(me).is_some_and(|row| row.expires_ms > now_ms);
                let is_so = is_free && may && self.epoch == *epoch;
                if is_so {
                    (self.holder, self.epoch) = (Some(me.to_owned()), epoch + 1);
                }
                is_so
            }
        }
    }

    fn leave(&mut self, me: &str) {
        self.holder.take_if(|holder| holder == me);
        self.nodes.remove(me);
    }
}

impl World {
    fn server_ms(&self) -> i64 {
        i64::try_from(self.elapsed().as_millis()).unwrap() + self.server.clock_offset_ms
    }

    pub(crate) fn join_at_server(&mut self, id: &str, home: usize) {
        let now_ms = self.server_ms();
        self.server.join(id, home, now_ms);
    }

    pub(crate) fn beat_at_server(&mut self, id: &str) -> bool {
        let now_ms = self.server_ms();
        self.server.beat(id, now_ms)
    }

    pub(crate) fn look_at_server(&self) -> Seen {
        self.server.look(self.server_ms())
    }

    pub(crate) fn take_at_server(&mut self, me: &str, step: &Step) -> bool {
        let (now_ms, before) = (self.server_ms(), self.server.epoch);
        let done = self.server.take(me, step, now_ms);
        if self.server.epoch != before {
            self.tell(|| format!("{me} takes the role, epoch {}", before + 1));
            self.watch.figures.takeovers += 1;
            self.upset();
        }
        done
    }

    pub(crate) fn leave_server(&mut self, me: &str) {
        self.server.leave(me);
    }

    fn way(&mut self) -> Duration {
        if self.server.is_slow { self.dice.ms(50, 1_500) } else { self.dice.ms(0, 15) }
    }

    /// A statement, from the node whose step this is. What became of it is told once, after `patience` at the latest.
    pub(crate) fn ask_server<T: 'static>(
        &mut self,
        owner: Owner,
        patience: Duration,
        execute: impl FnOnce(&mut Self) -> T + 'static,
        then: impl FnOnce(&mut Self, Result<T, Lost>) + 'static,
    ) {
        let (node, due, way) = (self.me, self.now + patience, self.way());
        self.after(way, Owner::Server, move |world| {
            let link = world.nodes[node].link;
            match (link, world.server.service) {
                (Link::Works, Service::Works) => {
                    let (done, back) = (execute(world), world.now + world.way());
                    if back < due {
                        world.at(back, owner, |world| then(world, Ok(done)));
                    } else {
                        world.timer(due, owner, |world| then(world, Err(Lost::Unknown)));
                    }
                }
                (Link::Works, Service::ReadOnly) => {
                    let back = world.way();
                    world.after(back, owner, |world| then(world, Err(Lost::NotDone)));
                }
                (Link::Works, Service::Frozen) => world.wait_for_server(owner, due, execute, then),
                (Link::Works, Service::Away) => {
                    world.at(world.now, owner, |world| then(world, Err(Lost::NotDone)));
                }
                (Link::Refused(since) | Link::Silent(since), _) => {
                    let is_done = world.now < since + ON_ITS_WAY
                        && world.server.service == Service::Works
                        && world.dice.happens(50);
                    if is_done {
                        drop(execute(world));
                    }
                    let lost = if is_done || world.dice.happens(50) { Lost::Unknown } else { Lost::NotDone };
                    let heard = if matches!(link, Link::Silent(_)) { due } else { world.now };
                    world.timer(heard, owner, move |world| then(world, Err(lost)));
                }
            }
        });
    }

    /// What a frozen server was told it does once it goes on: the last word of a transaction in any case, else only for a node that still
    /// waits.
    fn wait_for_server<T: 'static>(
        &mut self,
        owner: Owner,
        due: Instant,
        execute: impl FnOnce(&mut Self) -> T + 'static,
        then: impl FnOnce(&mut Self, Result<T, Lost>) + 'static,
    ) {
        let is_last = self.dice.happens(50);
        let waits = Rc::new(RefCell::new(Some(then)));
        let is_done = Rc::new(Cell::new(false));
        let (waiting, done) = (waits.clone(), is_done.clone());
        self.server.waiting.push(Box::new(move |world| {
            if !is_last && waiting.borrow().is_none() {
                return;
            }
            done.set(true);
            let (answer, back) = (execute(world), world.way());
            world.after(back, owner, move |world| {
                let then = waiting.borrow_mut().take();
                if let Some(then) = then {
                    then(world, Ok(answer));
                }
            });
        }));
        self.timer(due, owner, move |world| {
            let then = waits.borrow_mut().take();
            if let Some(then) = then {
                let lost = if is_last || is_done.get() { Lost::Unknown } else { Lost::NotDone };
                then(world, Err(lost));
            }
        });
    }

    /// The server works for all again; as one that has just started, where it was away.
    pub(crate) fn server_goes_on(&mut self) {
        if self.server.service == Service::Away {
            self.server.start += 1;
        }
        self.server.service = Service::Works;
        for statement in std::mem::take(&mut self.server.waiting) {
            statement(self);
        }
    }
}
