//! The table of requests that wait for their replies: each is settled exactly once, by a reply, its deadline or the end of
//! the connection.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// A request that has left the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<T> {
    /// Its id on the wire.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Who waits for it.
    pub waiter: T,
}

/// Why a reply belongs to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// The id is ours, but that request was settled before (a second reply, or one after its deadline).
    Duplicate,
    /// The id was never given out by this table.
    Foreign,
}

/// No more requests may wait; the request was not entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cap} requests already wait for this gateway")]
pub struct TableFull<T> {
    /// The bound.
    pub cap: usize,
    /// The waiter, given back.
    pub waiter: T,
}

#[derive(Debug)]
struct Entry<T> {
    method: String,
    deadline: Instant,
    waiter: T,
}

/// Requests on one connection that wait for replies. Ids are `<prefix><number>`, counted up and never used twice; give each
/// connection its own prefix, so that replies to an older one are seen to be foreign.
#[derive(Debug)]
pub struct PendingRequests<T> {
    prefix: String,
    cap: usize,
    last_number: u64,
    entries: HashMap<u64, Entry<T>>,
    deadlines: BTreeSet<(Instant, u64)>,
}

impl<T> PendingRequests<T> {
    /// An empty table for at most `cap` requests at a time.
    pub fn new(prefix: impl Into<String>, cap: usize) -> Self {
        Self { prefix: prefix.into(), cap, last_number: 0, entries: HashMap::new(), deadlines: BTreeSet::new() }
    }

    /// Enters a request and returns the id to send it under.
    pub fn insert(&mut self, method: impl Into<String>, deadline: Instant, waiter: T) -> Result<String, TableFull<T>> {
        if self.entries.len() >= self.cap {
            return Err(TableFull { cap: self.cap, waiter });
        }
        self.last_number += 1;
        let number = self.last_number;
        self.entries.insert(number, Entry { method: method.into(), deadline, waiter });
        self.deadlines.insert((deadline, number));
        Ok(self.id(number))
    }

    /// Takes a reply in. One that belongs to nothing is to be counted, logged at debug and ignored.
    pub fn on_reply(&mut self, id: &str) -> Result<Settled<T>, Unmatched> {
        let number = self.number(id).ok_or(Unmatched::Foreign)?;
        self.remove(number).ok_or(Unmatched::Duplicate)
    }

    /// Who waits for the reply of this id.
    pub fn waiter(&self, id: &str) -> Option<&T> {
        self.entries.get(&self.number(id)?).map(|entry| &entry.waiter)
    }

    /// Takes out the requests whose deadline is at or before `now`, earliest first.
    pub fn expire(&mut self, now: Instant) -> Vec<Settled<T>> {
        let mut expired = Vec::new();
        while let Some(&(deadline, number)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            match self.remove(number) {
                Some(settled) => expired.push(settled),
                None => {
                    self.deadlines.remove(&(deadline, number));
                }
            }
        }
        expired
    }

    /// When [`PendingRequests::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Takes out everything, in the order in which it was entered: the connection is gone.
    pub fn drain_all(&mut self) -> Vec<Settled<T>> {
        let mut numbers: Vec<u64> = self.entries.keys().copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, number: u64) -> Option<Settled<T>> {
        let entry = self.entries.remove(&number)?;
        self.deadlines.remove(&(entry.deadline, number));
        Some(Settled { id: self.id(number), method: entry.method, waiter: entry.waiter })
    }

    fn id(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    /// The number in an id that this table gave out. Only the exact text counts: `r01` is not `r1`.
    fn number(&self, id: &str) -> Option<u64> {
        let digits = id.strip_prefix(&self.prefix)?;
        let number: u64 = digits.parse().ok()?;
        (number >= 1 && number <= self.last_number && self.id(number) == id).then_some(number)
    }
}

#[cfg(test)]
mod tests;
