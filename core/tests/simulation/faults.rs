//! What happens to a fleet: operators, and all that can go wrong with gateways, the network and one daemon, drawn from the seed.

use std::time::Duration;

use gatewarden_core::gateway_record::{GatewayRecord, GatewaySpec, Transport};
use gatewarden_core::gateway_report::Phase;
use gatewarden_core::ids::GatewayId;
use gatewarden_core::spawn::{ControlSession, SessionAction};
use gatewarden_protocol::Secret;

use crate::gateway::{Gateway, LATEST, Manners, Memory, REFUSALS};
use crate::network::{SLOWEST, To, Weather};
use crate::world::{Owner, World};

/// Gateways of a large fleet.
const CROWD: i64 = 100;

impl World {
    /// Some gateways, up and known to a daemon that starts.
    pub(crate) fn set_up(&mut self, is_crowd: bool) {
        let count = if is_crowd { CROWD } else { i64::try_from(self.dice.roll(5)).unwrap() + 2 };
        for number in 1..=count {
            let id = GatewayId(number);
            let spec = GatewaySpec {
                token: Some(Secret::new("shared-token")),
                is_primary: number == 1,
                priority: i32::try_from(self.dice.roll(2)).unwrap(),
                transport: Transport::Ws,
                // Signing takes most of a history's time where nothing is optimized: one signs, the others don't.
                disable_device_pairing: number > 1,
                ..GatewaySpec::at(format!("gateway-{number}"), "127.0.0.1", 18_000 + u16::try_from(number).unwrap())
            };
            let record = GatewayRecord { revision: 1, ..spec.into_record(id, "uuid", 0) };
            self.store.records.insert(id, record);
            let protocol = if self.dice.happens(30) { 3 } else { 4 };
            self.gateways.insert(id, Gateway::new(protocol));
            self.start_gateway(id, Memory::Keeps);
        }
        for node in 0..self.nodes.len() {
            (self.nodes[node].uptime_ms, self.nodes[node].drift) = if self.is_cluster() {
                (i64::try_from(self.dice.roll(1_000_000_000)).unwrap(), i64::try_from(self.dice.roll(21)).unwrap() - 10)
            } else {
                (0, 0)
            };
            self.at_node(node, Self::start_node);
        }
    }

    fn any_gateway(&mut self) -> GatewayId {
        let count = self.gateways.len() as u64;
        GatewayId(i64::try_from(self.dice.roll(count)).unwrap() + 1)
    }

    fn later(&mut self, wait: Duration, act: impl FnOnce(&mut Self) + 'static) {
        self.after(wait, Owner::World, act);
    }

    /// Something happens.
    pub(crate) fn strike(&mut self) {
        let id = self.any_gateway();
        if self.is_cluster() && self.dice.happens(15) {
            return self.strike_node(id);
        }
        let kind = self.dice.roll(100);
        self.tell(|| format!("strike {kind} at gateway {id}"));
        if kind >= 36 {
            self.disturb(id);
        }
        match kind {
            0..30 => {
                for _ in 0..=self.dice.roll(4) {
                    self.want_work(id);
                }
            }
            30..34 => self.kill_something(id),
            34..36 => self.gateways.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| self.probe(id)),
            36..38 => self.reconnect(id),
            38..41 => self.change_record(id),
            41..51 => {
                let slow = Weather::Slow(50 + self.dice.roll(u64::try_from(SLOWEST.as_millis()).unwrap() - 50));
                let (deaf, mute) = (Weather::HalfOpen(To::Gateway), Weather::HalfOpen(To::Daemon));
                let weather = self.dice.one_of(&[
                    Weather::Silent,
                    Weather::Silent,
                    Weather::Refusing,
                    slow,
                    slow,
                    deaf,
                    mute,
                    Weather::Trickle,
                ]);
                self.network.set_weather(id, weather);
                let span = self.dice.s(1, 200);
                self.later(span, move |world| world.clear_up(id));
            }
            51..54 => self.reset(id),
            54..58 => {
                let span = self.dice.s(1, 120);
                self.gateways.get_mut(&id).unwrap().frozen_until = Some(self.now + span);
            }
            58..66 => self.restart_gateway(id),
            66..76 => {
                let mut percent = |most: u64| if self.dice.happens(50) { self.dice.roll(most) } else { 0 };
                let manners = Manners {
                    loses_answers: percent(60),
                    doubles_answers: percent(60),
                    answers_late: percent(60),
                    refuses_work: percent(80),
                    ..Manners::default()
                };
                // One of these at a time, so that each shows by itself.
                let kind = self.dice.roll(8);
                let manners = match kind {
                    0 => Manners { garbles: 1 + self.dice.roll(60), ..manners },
                    1 => Manners { closes: 1 + self.dice.roll(60), ..manners },
                    2 => Manners { lists_much: true, ..manners },
                    3 => Manners {
                        refuses_logins: Some(usize::try_from(self.dice.roll(REFUSALS.len() as u64)).unwrap()),
                        ..Manners::default()
                    },
                    _ => manners,
                };
                let span = self.dice.s(5, 200);
                let gateway = self.gateways.get_mut(&id).unwrap();
                gateway.manners = manners;
                if manners.are_silent() {
                    gateway.silent_until = gateway.silent_until.max(Some(self.now + span + LATEST));
                }
                // Whoever is connected notices a refusal at the next login.
                if kind == 3 {
                    self.reset(id);
                }
                self.later(span, move |world| world.mend_manners(id));
            }
            76..92 if self.is_cluster() => self.strike_node(id),
            76..80 => {
                let longest = self.dice.one_of(&[3_000, 20_000, 150_000]);
                let span = self.dice.ms(100, longest);
                self.freeze(span);
            }
            80..84 => {
                self.kill_node();
                let away = self.dice.ms(100, 30_000);
                self.later(away, Self::start_node);
            }
            84..85 => {
                self.stop_node();
                self.later(Duration::from_secs(10), |world| {
                    world.kill_node();
                    world.start_node();
                });
            }
            85..86 => {
                self.store.is_silent = true;
                let span = self.dice.s(1, 20);
                self.later(span, |world| world.store.is_silent = false);
            }
            86..88 => {
                self.store.is_full = true;
                let span = self.dice.s(1, 60);
                self.later(span, |world| world.store.is_full = false);
            }
            88..90 => {
                self.store.is_slow = true;
                let span = self.dice.s(1, 60);
                self.later(span, |world| world.store.is_slow = false);
            }
            90..92 => {
                let span = self.dice.s(1, 40);
                self.stall_writer(span);
            }
            92..94 => {
                // Everybody's clock is set, or one node's is a little, until it is set right.
                let days = self.dice.one_of(&[-40, -1, 0, 0, 0, 0, 1, 40]);
                self.wall_offset_ms += days * 86_400_000;
                if days == 0 {
                    let node = usize::try_from(self.dice.roll(self.nodes.len() as u64)).unwrap();
                    self.nodes[node].skew_ms = self.dice.one_of(&[-90_000, -5_000, -1_000, 0, 0, 1_000, 5_000, 90_000]);
                }
                if self.is_cluster() {
                    self.jump_clock_of_server();
                }
            }
            94..97 => self.actor_dies(id),
            97..98 => {
                for _ in 0..5 {
                    self.actor_dies(id);
                    let wait = self.dice.ms(1, 600);
                    self.later(wait, move |world| world.actor_dies(id));
                }
            }
            _ => {
                // Our own network.
                let span = self.dice.s(5, 200);
                for id in self.gateways.keys().copied().collect::<Vec<_>>() {
                    self.network.set_weather(id, Weather::Silent);
                    self.later(span, move |world| world.clear_up(id));
                }
            }
        }
    }

    fn mend_manners(&mut self, id: GatewayId) {
        self.gateways.get_mut(&id).unwrap().manners = Manners::default();
        self.network.clears_at(id, self.now);
    }

    /// A client ends what runs in the session of the newest spawn.
    fn kill_something(&mut self, id: GatewayId) {
        if !self.may_act() {
            return;
        }
        let newest = self.store.spawns.values().rev().find(|spawn| spawn.gateway_id == Some(id));
        if let Some(session_key) = newest.and_then(|spawn| spawn.session_key.clone()) {
            let timeout = Duration::from_secs(10);
            self.control(id, ControlSession { session_key, action: SessionAction::Kill, timeout });
        }
    }

    /// An operator drains a gateway or takes it back, or makes it the configured primary.
    fn change_record(&mut self, id: GatewayId) {
        if !self.may_act() {
            return;
        }
        let drains = self.dice.happens(60) && !self.is_settling;
        self.write(
            move |store| {
                let mut changed = Vec::new();
                for record in store.records.values_mut() {
                    let before = record.spec.clone();
                    if drains {
                        record.spec.drained ^= record.id == id;
                    } else {
                        record.spec.is_primary = record.id == id;
                    }
                    if record.spec != before {
                        record.revision += 1;
                        changed.push(record.clone());
                    }
                }
                changed.sort_by_key(|record| record.is_primary);
                changed
            },
            |world, changed| {
                for record in changed.unwrap_or_default() {
                    world.feed(|fleet, time| fleet.on_updated(time, record));
                }
            },
        );
    }

    fn restart_gateway(&mut self, id: GatewayId) {
        let says_so = self.dice.happens(40);
        self.stop_gateway(id, says_so);
        let longest = self.dice.one_of(&[2, 20, 90]);
        let away = self.dice.s(0, longest);
        let memory = self.dice.one_of(&[Memory::Keeps, Memory::ForgetsWhatRuns, Memory::ForgetsAll]);
        let starting = self.dice.happens(30);
        self.later(away, move |world| {
            world.start_gateway(id, memory);
            if starting {
                world.gateways.get_mut(&id).unwrap().manners.is_starting = true;
                let span = world.dice.s(1, 60);
                world.later(span, move |world| world.gateways.get_mut(&id).unwrap().manners.is_starting = false);
            }
        });
    }

    /// Everything works again.
    pub(crate) fn mend(&mut self) {
        self.is_settling = true;
        self.mend_nodes();
        (self.store.is_full, self.store.is_silent, self.store.is_slow) = (false, false, false);
        for id in self.gateways.keys().copied().collect::<Vec<_>>() {
            self.clear_up(id);
            self.mend_manners(id);
            self.start_gateway(id, Memory::Keeps);
            self.store.records.get_mut(&id).unwrap().spec.drained = false;
        }
        let undrained: Vec<GatewayRecord> = self
            .store
            .records
            .values_mut()
            .map(|record| {
                record.revision += 1;
                record.clone()
            })
            .collect();
        for record in undrained {
            let id = record.id;
            self.feed(|fleet, time| fleet.on_updated(time, record));
            if self.nodes[self.me].daemon.as_ref().is_some_and(|daemon| !daemon.actors.contains_key(&id)) {
                self.reconnect(id);
            }
        }
        // Whoever mended a gateway that refused us says so, and has one started again that died too often meanwhile.
        self.later(Duration::from_secs(60), |world| {
            let Some(daemon) = &world.nodes[world.me].daemon else { return };
            let waits = |phase| matches!(phase, Phase::Blocked | Phase::Parked);
            let waiting = daemon.roster.iter().filter(|(_, shown)| waits(shown.phase));
            waiting.map(|(id, _)| *id).collect::<Vec<_>>().into_iter().for_each(|id| world.reconnect(id));
        });
    }
}
