//! The table of requests that wait for their replies: each is settled exactly once, by a reply, its deadline or the end of
//! the connection.

use std::collections::{BTreeMap, HashMap};
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
    /// No request that waits goes by this id, and this table never gave it out.
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
    number: u64,
    method: String,
    deadline: Instant,
    waiter: T,
}

/// Requests on one connection that wait for replies, by the ids that they were sent under. Where the sender chooses none, the id is
/// `<prefix><number>`, counted up and never used twice; give each connection its own prefix, so that replies to an older one are seen
/// to be foreign.
#[derive(Debug)]
pub struct PendingRequests<T> {
    prefix: String,
    cap: usize,
    last_number: u64,
    entries: HashMap<String, Entry<T>>,
    deadlines: BTreeMap<(Instant, u64), String>,
}

impl<T> PendingRequests<T> {
    /// An empty table for at most `cap` requests at a time.
    pub fn new(prefix: impl Into<String>, cap: usize) -> Self {
        Self { prefix: prefix.into(), cap, last_number: 0, entries: HashMap::new(), deadlines: BTreeMap::new() }
    }

    /// Enters a request and returns the id to send it under: the `chosen` one, unless another request waits under it or it could
    /// be one of the table's own.
    pub fn insert(
        &mut self,
        chosen: Option<&str>,
        method: impl Into<String>,
        deadline: Instant,
        waiter: T,
    ) -> Result<String, TableFull<T>> {
        if self.entries.len() >= self.cap {
            return Err(TableFull { cap: self.cap, waiter });
        }
        self.last_number += 1;
        let number = self.last_number;
        let id = chosen
            .filter(|id| !id.starts_with(&self.prefix) && !self.entries.contains_key(*id))
            .map_or_else(|| self.id(number), str::to_owned);
        self.entries.insert(id.clone(), Entry { number, method: method.into(), deadline, waiter });
        self.deadlines.insert((deadline, number), id.clone());
        Ok(id)
    }

    /// Takes a reply in. One that belongs to nothing is to be counted, logged at debug and ignored.
    pub fn on_reply(&mut self, id: &str) -> Result<Settled<T>, Unmatched> {
        self.remove(id).ok_or_else(|| if self.gave_out(id) { Unmatched::Duplicate } else { Unmatched::Foreign })
    }

    /// Who waits for the reply of this id.
    pub fn waiter(&self, id: &str) -> Option<&T> {
        self.entries.get(id).map(|entry| &entry.waiter)
    }

    /// Takes out the requests whose deadline is at or before `now`, earliest first.
    pub fn expire(&mut self, now: Instant) -> Vec<Settled<T>> {
        let mut expired = Vec::new();
        while let Some(first) = self.deadlines.first_entry().filter(|first| first.key().0 <= now) {
            let id = first.remove();
            expired.extend(self.remove(&id));
        }
        expired
    }

    /// When [`PendingRequests::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|(&(deadline, _), _)| deadline)
    }

    /// Takes out everything, in the order in which it was entered: the connection is gone.
    pub fn drain_all(&mut self) -> Vec<Settled<T>> {
        let mut ids: Vec<(u64, String)> = self.entries.iter().map(|(id, entry)| (entry.number, id.clone())).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|(_, id)| self.remove(&id)).collect()
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, id: &str) -> Option<Settled<T>> {
        let (id, entry) = self.entries.remove_entry(id)?;
        self.deadlines.remove(&(entry.deadline, entry.number));
        if self.entries.is_empty() {
            // Quiet connections, of which there are thousands, keep no room for requests.
            self.entries.shrink_to_fit();
            self.deadlines = BTreeMap::new();
        }
        Some(Settled { id, method: entry.method, waiter: entry.waiter })
    }

    fn id(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    /// Whether an id is one of this table's own. Only the exact text counts: `r01` is not `r1`.
    fn gave_out(&self, id: &str) -> bool {
        let number = id.strip_prefix(&self.prefix).and_then(|digits| digits.parse().ok());
        number.is_some_and(|number| number >= 1 && number <= self.last_number && self.id(number) == id)
    }
}

#[cfg(test)]
mod tests;
