//! Locking out whoever fails to log in too often.
//!
//! As real releases do: after so many failures within a minute, everything from the same address is refused for a while. Unlike
//! there, a right credential that nobody can guess ([`crate::config::is_unguessable`]) is let in all the same: many clients
//! may stand behind one address, and tries without end find no random token, so that refusing it would protect nothing.
//! One that can be guessed is refused with the wrong ones, as else the guesser would only have to go on. Browsers are counted
//! apart from other clients of the same address, and local clients that are no browsers not at all: a page must not be able
//! to lock the owner out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use gatewarden_listener::network_of;

use super::Peer;
use crate::config::Limits;

/// Failures older than this don't count any more (as in real releases).
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses kept. When a new one comes, the one that matters least goes.
pub(crate) const MAX_ADDRESSES: usize = 4_096;

/// Who is counted together: one IPv4 address, or one IPv6 network of 64 bits (which anybody with one address of it owns).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LockOutKey {
    network: IpAddr,
    browser: bool,
}

impl LockOutKey {
    /// The key of a peer; none for one that is never locked out.
    pub(crate) fn of(peer: &Peer) -> Option<Self> {
        if peer.is_local() {
            return None;
        }
        Some(Self { network: network_of(peer.remote), browser: peer.origin.is_some() })
    }
}

#[derive(Debug)]
pub(crate) struct LockOuts {
    most_failures: u32,
    lockout: Duration,
    counts: HashMap<LockOutKey, Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    first: Instant,
    locked_until: Option<Instant>,
}

impl Count {
    fn matters(&self, now: Instant) -> bool {
        match self.locked_until {
            Some(until) => now < until,
            None => now.saturating_duration_since(self.first) < WINDOW,
        }
    }
}

impl LockOuts {
    /// Nobody has failed yet. `most_failures` of 0 counts as 1.
    pub(crate) fn new(most_failures: u32, lockout: Duration) -> Self {
        Self { most_failures: most_failures.max(1), lockout, counts: HashMap::new() }
    }

    /// Locks that hold keep their end.
    pub(crate) fn configure(&mut self, limits: &Limits) {
        (self.most_failures, self.lockout) = (limits.auth_failures.max(1), limits.lockout);
    }

    /// How long a peer is locked out still; none where it isn't.
    pub(crate) fn locked_for(&self, peer: &Peer, now: Instant) -> Option<Duration> {
        let count = self.counts.get(&LockOutKey::of(peer)?)?;
        let left = count.locked_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// A peer failed. True when that locks it out.
    pub(crate) fn failed(&mut self, peer: &Peer, now: Instant) -> bool {
        let Some(key) = LockOutKey::of(peer) else { return false };
        if !self.counts.contains_key(&key) && self.counts.len() >= MAX_ADDRESSES {
            self.make_room(now);
        }
        let fresh = Count { failures: 0, first: now, locked_until: None };
        let count = self.counts.entry(key).or_insert(fresh);
        if !count.matters(now) {
            *count = fresh;
        }
        count.failures = count.failures.saturating_add(1);
        let locks = count.locked_until.is_none() && count.failures >= self.most_failures;
        if locks {
            count.locked_until = Some(now + self.lockout);
        }
        locks
    }

    /// A peer got in: what it failed before is forgotten. A lock-out holds to its end for the others behind its address.
    pub(crate) fn succeeded(&mut self, peer: &Peer) {
        if let Some(key) = LockOutKey::of(peer)
            && self.counts.get(&key).is_some_and(|count| count.locked_until.is_none())
        {
            self.counts.remove(&key);
        }
    }

    /// Drops what says nothing any more; where that is nothing, the oldest of those not locked, else the lock that ends
    /// first.
    fn make_room(&mut self, now: Instant) {
        self.counts.retain(|_, count| count.matters(now));
        if self.counts.len() < MAX_ADDRESSES {
            return;
        }
        let least = self.counts.iter().min_by_key(|(key, count)| (count.locked_until, count.first, **key));
        if let Some(key) = least.map(|(key, _)| *key) {
            self.counts.remove(&key);
        }
    }
}

/// Failures of one address (of IPv6: of one network) that are written within [`SPAN`].
const WRITTEN: u32 = 10;
/// After it an address starts anew.
const SPAN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct FailureLog {
    counts: HashMap<IpAddr, Written>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    first: Instant,
    failures: u32,
}

impl Written {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.first) >= SPAN
    }

    fn left_out(&self) -> u32 {
        self.failures.saturating_sub(WRITTEN)
    }
}

/// Failures that were not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub network: IpAddr,
    pub failures: u32,
}

impl FailureLog {
    /// An address has failed: whether to write so, and what was left out of it before, where its span is over.
    pub(crate) fn failed(&mut self, address: IpAddr, now: Instant) -> (bool, Option<LeftOut>) {
        let network = network_of(address);
        let before = self.counts.get(&network).filter(|count| count.is_over(now)).map(Written::left_out);
        if before.is_some() {
            self.counts.remove(&network);
        }
        if self.counts.len() >= MAX_ADDRESSES && !self.counts.contains_key(&network) {
            // So many addresses at once are an attack in any case: it is counted with the metrics alone.
            return (false, None);
        }
        let count = self.counts.entry(network).or_insert(Written { first: now, failures: 0 });
        count.failures = count.failures.saturating_add(1);
        let left_out = before.filter(|failures| *failures > 0).map(|failures| LeftOut { network, failures });
        (count.failures <= WRITTEN, left_out)
    }

    /// What was left out of addresses whose span is over; they are forgotten.
    pub(crate) fn take_over(&mut self, now: Instant) -> Vec<LeftOut> {
        let mut left_out: Vec<LeftOut> = Vec::new();
        self.counts.retain(|network, count| {
            let over = count.is_over(now);
            if over && count.left_out() > 0 {
                left_out.push(LeftOut { network: *network, failures: count.left_out() });
            }
            !over
        });
        left_out.sort_by_key(|one| one.network);
        left_out
    }
}

#[cfg(test)]
mod tests;
