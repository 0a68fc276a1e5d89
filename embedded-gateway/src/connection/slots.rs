//! How many clients there may be at a time, and how many that nobody knows yet.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use prometheus::IntGauge;

use super::crowd::{Crowd, Presence};
use crate::caller::ConnectionId;
use crate::config::Limits;

/// The places of one gateway.
#[derive(Debug)]
pub(crate) struct Slots {
    taken: Rc<Taken>,
    most: usize,
    most_unknown: usize,
    strangers: Crowd,
    next: Cell<u64>,
}

#[derive(Debug)]
struct Taken {
    all: Cell<usize>,
    unknown: Cell<usize>,
    gauge: IntGauge,
}

/// The place of one WebSocket connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    taken: Rc<Taken>,
    /// Its share of the places for strangers, until it is let in.
    unknown: Option<Presence>,
}

/// There is no place left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSlot {
    /// Of all connections.
    #[error("too many connections; try again later or raise the limit of connections")]
    Connections,
    /// Of those that didn't authenticate yet.
    #[error("too many connections that have not authenticated; try again in a moment")]
    Unauthenticated,
}

impl Slots {
    /// As many as the limits say. `gauge` follows the number of connections.
    pub(crate) fn new(limits: &Limits, gauge: IntGauge) -> Self {
        Self {
            taken: Rc::new(Taken { all: Cell::new(0), unknown: Cell::new(0), gauge }),
            most: limits.connections,
            most_unknown: limits.unauthenticated,
            strangers: Crowd::new(limits.unauthenticated),
            next: Cell::new(1),
        }
    }

    /// A number that was never given before.
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next.replace(self.next.get().wrapping_add(1)))
    }

    /// A place for a connection that nobody knows yet.
    pub(crate) fn take(&self, address: IpAddr) -> Result<ConnectionSlot, NoSlot> {
        if self.taken.all.get() >= self.most {
            return Err(NoSlot::Connections);
        }
        if self.taken.unknown.get() >= self.most_unknown {
            return Err(NoSlot::Unauthenticated);
        }
        let unknown = Some(self.strangers.enter(address).ok_or(NoSlot::Unauthenticated)?);
        self.taken.all.set(self.taken.all.get() + 1);
        self.taken.unknown.set(self.taken.unknown.get() + 1);
        self.taken.gauge.inc();
        Ok(ConnectionSlot { taken: Rc::clone(&self.taken), unknown })
    }
}

impl ConnectionSlot {
    /// Its client was let in.
    pub(crate) fn admitted(&mut self) {
        if self.unknown.take().is_some() {
            self.taken.unknown.set(self.taken.unknown.get().saturating_sub(1));
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.admitted();
        self.taken.all.set(self.taken.all.get().saturating_sub(1));
        self.taken.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn strangers_have_fewer_places_and_all_are_given_back() {
        let gauge = IntGauge::new("connections", "now").unwrap();
        let limits = Limits { connections: 3, unauthenticated: 2, ..Limits::default() };
        let slots = Slots::new(&limits, gauge.clone());
        let mut one = slots.take(HERE).unwrap();
        let two = slots.take(HERE).unwrap();
        assert_eq!(slots.take(HERE).unwrap_err(), NoSlot::Unauthenticated);
        one.admitted();
        let three = slots.take(HERE).unwrap();
        assert_eq!(slots.take(HERE).unwrap_err(), NoSlot::Connections);
        assert_eq!(gauge.get(), 3);
        drop((one, two, three));
        assert_eq!(gauge.get(), 0);
        assert!(slots.take(HERE).is_ok());
        assert_ne!(slots.next_connection(), slots.next_connection());
    }

    #[test]
    fn one_stranger_does_not_take_the_places_of_all() {
        let gauge = IntGauge::new("connections", "now").unwrap();
        let slots = Slots::new(&Limits { unauthenticated: 8, ..Limits::default() }, gauge);
        let (greedy, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut taken: Vec<_> = (0..2).map(|_| slots.take(greedy).unwrap()).collect();
        assert_eq!(slots.take(greedy).unwrap_err(), NoSlot::Unauthenticated);
        assert!(slots.take(other).is_ok());
        taken[0].admitted();
        assert!(slots.take(greedy).is_ok(), "who was let in is no stranger");
    }
}
