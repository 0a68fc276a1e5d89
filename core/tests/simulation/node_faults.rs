//! What goes wrong with nodes that share a database, and with the server: drawn from the seed.

use std::time::Duration;

use gatewarden_core::ids::GatewayId;

use crate::roles::time_to_live;
use crate::server::{Link, ON_ITS_WAY, Service};
use crate::world::{Owner, World};

/// After a node was told to stop, until nobody waits any more.
const STOP_WITHIN: Duration = Duration::from_secs(10);

impl World {
    /// Something happens to a node, or to the server; often while work is under way.
    pub(crate) fn strike_node(&mut self, gateway: GatewayId) {
        let any = usize::try_from(self.dice.roll(self.nodes.len() as u64)).unwrap();
        let node = if self.dice.happens(60) { self.acting_node() } else { any };
        if self.dice.happens(50) {
            (0..3).for_each(|_| self.want_work(gateway));
        }
        let wait = self.dice.ms(0, 60);
        self.after(wait, Owner::World, move |world| world.at_node(node, Self::strike_this_node));
    }

    fn later_here(&mut self, wait: Duration, act: impl FnOnce(&mut Self) + 'static) {
        let me = self.me;
        self.after(wait, Owner::World, move |world| world.at_node(me, act));
    }

    fn strike_this_node(&mut self) {
        let kind = self.dice.roll(100);
        let me = self.me;
        self.tell(|| format!("strike {kind} at node {me}"));
        match kind {
            0..25 => {
                let longest = self.dice.one_of(&[3_000, 9_000, 20_000, 150_000]);
                let span = self.dice.ms(100, longest);
                self.role_may_move();
                self.freeze(span);
                self.later_here(span, Self::role_may_move);
            }
            25..45 => {
                let away = self.dice.ms(100, 30_000);
                self.kill_node();
                self.later_here(away, Self::start_node);
            }
            45..55 => {
                let (process, away) = (self.process(), self.dice.ms(100, 20_000));
                self.role_may_move();
                let owner = Owner::Daemon(process);
                self.after(Duration::ZERO, owner, Self::stop_node);
                self.after(STOP_WITHIN, Owner::World, move |world| {
                    world.at_node(me, |world| {
                        if world.process() == process {
                            world.kill_node();
                        }
                    });
                });
                self.later_here(STOP_WITHIN + away, Self::start_node);
            }
            55..70 => {
                let (span, is_silent) = (self.dice.ms(100, 40_000), self.dice.happens(60));
                let link = if is_silent { Link::Silent(self.now) } else { Link::Refused(self.now) };
                self.nodes[me].link = link;
                self.role_may_move();
                self.upset_for(ON_ITS_WAY);
                self.later_here(span, move |world| {
                    if world.nodes[me].link == link {
                        world.nodes[me].link = Link::Works;
                        world.role_may_move();
                    }
                });
            }
            70..95 if self.server.service == Service::Works => {
                let service = self.dice.one_of(&[Service::Away, Service::Frozen, Service::Frozen, Service::ReadOnly]);
                let longest = self.dice.one_of(&[3_000, 10_000, 60_000]);
                let span = self.dice.ms(100, longest);
                self.expect_role_to_stay(span);
                self.server.service = service;
                self.later_here(span, |world| {
                    world.upset();
                    world.server_goes_on();
                });
            }
            _ => {
                let span = self.dice.s(1, 40);
                self.slow_server(true);
                self.later_here(span, |world| world.slow_server(false));
            }
        }
    }

    /// A node may be frozen while it gives the role back, until another one has it.
    pub(crate) fn strike_who_leaves(&mut self) {
        if !self.is_settling && self.dice.happens(30) {
            let (wait, span) = (self.dice.ms(0, 20), self.dice.s(1, 9));
            self.later_here(wait, move |world| {
                world.upset();
                world.freeze(span);
            });
        }
    }

    /// No clock that jumps counts.
    pub(crate) fn jump_clock_of_server(&mut self) {
        let ms = self.dice.one_of(&[-90_000, -7_000, -1_000, 0, 0, 1_000, 7_000, 90_000, 86_400_000, -86_400_000]);
        self.expect_role_to_stay(Duration::ZERO);
        // Who died just before a little jump back lives longer by that.
        let back = u64::try_from(self.server.clock_offset_ms - ms).unwrap_or(0);
        self.upset_for(Duration::from_millis(back).min(time_to_live()));
        self.server.clock_offset_ms = ms;
    }

    /// Nodes, their ways and the server work again.
    pub(crate) fn mend_nodes(&mut self) {
        let wakes = self.nodes.iter().filter_map(|node| node.sleep.until).max();
        if let Some(wakes) = wakes {
            self.run(wakes.max(self.now));
        }
        self.nodes.iter_mut().for_each(|node| node.link = Link::Works);
        self.server_goes_on();
        self.slow_server(false);
        (0..self.nodes.len()).for_each(|node| self.at_node(node, Self::start_node));
        if self.is_cluster() {
            self.run(self.now + Duration::from_secs(60));
        }
    }
}
