//! How many clients there may be at a time, how many that nobody knows yet, and what memory all of them may hold: each
//! connection's own cap times their number would be far too much.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use gatewarden_listener::{BeingServed, Connections, Limits as Places, Place};
use prometheus::IntGauge;

use crate::caller::ConnectionId;
use crate::config::Limits;

#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    taken: Rc<Taken>,
    most: usize,
    most_unknown: usize,
    strangers: Connections,
    next: Cell<u64>,
}

#[derive(Debug)]
struct Taken {
    known: Cell<usize>,
    gauge: IntGauge,
}

/// The place of one WebSocket connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    taken: Rc<Taken>,
    unknown: Option<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections; try again later or raise the limit of connections")]
pub(crate) struct NoSlot;

impl ConnectionLimits {
    /// As many as the limits say. `gauge` follows the number of connections.
    pub(crate) fn new(limits: &Limits, gauge: IntGauge) -> Self {
        // What WebSockets leave unread has a budget of its own.
        let strangers = Places::shared_out(limits.unauthenticated, usize::MAX);
        Self {
            taken: Rc::new(Taken { known: Cell::new(0), gauge }),
            most: limits.connections,
            most_unknown: limits.unauthenticated,
            strangers: Connections::new(strangers, |_| false),
            next: Cell::new(1),
        }
    }

    /// A number that was never given before.
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next.replace(self.next.get().wrapping_add(1)))
    }

    /// A place for a connection that nobody knows yet. Where there is none, the oldest that hasn't authenticated goes for it.
    pub(crate) fn take(&self, address: IpAddr) -> Result<ConnectionSlot, NoSlot> {
        let left = self.most.saturating_sub(self.taken.known.get());
        let place = self.strangers.enter_within(address, self.most_unknown.min(left)).ok_or(NoSlot)?;
        self.taken.gauge.inc();
        Ok(ConnectionSlot { taken: Rc::clone(&self.taken), unknown: Some(place) })
    }
}

impl ConnectionSlot {
    pub(crate) fn admitted(&mut self) {
        if self.unknown.take().is_some() {
            self.taken.known.set(self.taken.known.get().saturating_add(1));
        }
    }

    /// What its client showed is being judged: until the returned value is dropped it doesn't go for a newcomer.
    pub(crate) fn judged(&self) -> Option<BeingServed> {
        Some(self.unknown.as_ref()?.connection().begin())
    }

    /// Resolves when it has to go for a newcomer; never once its client was let in.
    pub(crate) async fn replaced(&self) {
        match &self.unknown {
            Some(place) => place.connection().when_ended().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if self.unknown.is_none() {
            self.taken.known.set(self.taken.known.get().saturating_sub(1));
        }
        self.taken.gauge.dec();
    }
}

/// Messages up to this size are not counted, in bytes.
pub(crate) const COUNTED_FROM: usize = 1024 * 1024;
/// What all counted messages may take together, in bytes.
pub(crate) const LARGE_MESSAGES: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn connection_limits(connections: usize, unauthenticated: usize) -> (ConnectionLimits, IntGauge) {
        let gauge = IntGauge::new("connections", "now").unwrap();
        let limits = Limits { connections, unauthenticated, ..Limits::default() };
        (ConnectionLimits::new(&limits, gauge.clone()), gauge)
    }

    fn is_replaced(slot: &ConnectionSlot) -> bool {
        slot.replaced().now_or_never().is_some()
    }

    #[actix::test]
    async fn the_oldest_stranger_goes_for_a_newcomer_and_all_places_are_given_back() {
        let (connection_limits, gauge) = connection_limits(3, 2);
        let (one, mut two) = (connection_limits.take(HERE).unwrap(), connection_limits.take(HERE).unwrap());
        let mut three = connection_limits.take(HERE).unwrap();
        assert!(is_replaced(&one) && !is_replaced(&two));
        drop(one);
        two.admitted();
        three.admitted();
        // One place is left of all: less than strangers may have.
        let four = connection_limits.take(HERE).unwrap();
        let mut five = connection_limits.take(HERE).unwrap();
        assert!(is_replaced(&four) && !is_replaced(&two) && !is_replaced(&three));
        drop(four);
        five.admitted();
        assert_eq!(connection_limits.take(HERE).unwrap_err(), NoSlot, "all are known");
        assert_eq!(gauge.get(), 3);
        drop((two, three, five));
        assert_eq!((gauge.get(), connection_limits.taken.known.get()), (0, 0));
        assert!(connection_limits.take(HERE).is_ok());
        assert_ne!(connection_limits.next_connection(), connection_limits.next_connection());
    }

    #[actix::test]
    async fn who_is_being_judged_does_not_go() {
        let (connection_limits, _) = connection_limits(10, 2);
        let (one, two) = (connection_limits.take(HERE).unwrap(), connection_limits.take(HERE).unwrap());
        let judged = one.judged();
        let _three = connection_limits.take(HERE).unwrap();
        assert!(!is_replaced(&one) && is_replaced(&two));
        drop(judged);
        let _four = connection_limits.take(HERE).unwrap();
        assert!(is_replaced(&one));
    }

    #[actix::test]
    async fn one_stranger_takes_places_of_its_own_address_alone() {
        let (connection_limits, _) = connection_limits(500, 8);
        let (greedy, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = connection_limits.take(other).unwrap();
        let mut taken: Vec<_> = (0..3).map(|_| connection_limits.take(greedy).unwrap()).collect();
        assert_eq!(taken.iter().map(is_replaced).collect::<Vec<_>>(), [true, false, false]);
        taken[1].admitted();
        taken.push(connection_limits.take(greedy).unwrap());
        assert!(!is_replaced(&taken[2]), "who was let in is no stranger");
        assert!(!is_replaced(&first));
    }
}
