//! When somebody who ought to report in has been silent for too long.
//!
//! Each one watched has a deadline, which every report moves. What became of those that are overdue is for others to
//! decide: a deadline that passed is gone.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest interval between heartbeats that a tool may announce; a day.
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);

/// Who is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// A direct connection, by the id that its tool uses.
    Connection(String),
    /// An agent that reports in without a connection.
    Agent(i64),
}

/// Somebody whose deadline has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Who.
    pub who: Watched,
    /// Unix seconds of the last report that was told.
    pub last_heard_s: i64,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    due: Instant,
    last_heard_s: i64,
}

/// The deadlines of all who are watched.
#[derive(Debug)]
pub struct SilenceWatch {
    most: usize,
    armed: HashMap<Watched, Armed>,
    by_due: BTreeSet<(Instant, Watched)>,
}

impl SilenceWatch {
    /// Watches nobody yet, and never more than `most`.
    pub fn new(most: usize) -> Self {
        Self { most, armed: HashMap::new(), by_due: BTreeSet::new() }
    }

    /// Whether one more could be watched, or this one is already.
    pub fn has_room_for(&self, who: &Watched) -> bool {
        self.armed.len() < self.most || self.armed.contains_key(who)
    }

    /// Somebody reported in: is overdue after `allowance` from now. False where there are too many to watch one more.
    pub fn heard(&mut self, now: Instant, who: Watched, last_heard_s: i64, allowance: Duration) -> bool {
        if !self.has_room_for(&who) {
            return false;
        }
        self.forget(&who);
        let due = now + allowance;
        self.by_due.insert((due, who.clone()));
        self.armed.insert(who, Armed { due, last_heard_s });
        true
    }

    /// Somebody said goodbye.
    pub fn forget(&mut self, who: &Watched) {
        if let Some(armed) = self.armed.remove(who) {
            self.by_due.remove(&(armed.due, who.clone()));
        }
    }

    /// Takes at most so many of those whose deadline has passed, the longest overdue first.
    pub fn take_overdue(&mut self, now: Instant, most: usize) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        while overdue.len() < most && self.by_due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, who)) = self.by_due.pop_first() else { break };
            if let Some(armed) = self.armed.remove(&who) {
                overdue.push(Overdue { who, last_heard_s: armed.last_heard_s });
            }
        }
        overdue
    }

    /// How many are watched.
    pub fn len(&self) -> usize {
        self.armed.len()
    }

    /// Whether nobody is watched.
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }
}

/// How long a tool may be silent: `timeout`, or one and a half of the interval that it announces
/// (`heartbeat_interval_s` of its metadata), if that is longer. What is no sensible number announces nothing.
pub fn allowance(timeout: Duration, metadata: Option<&Value>) -> Duration {
    metadata
        .and_then(|metadata| metadata.get("heartbeat_interval_s"))
        .and_then(Value::as_f64)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map_or(timeout, |interval| timeout.max(interval.min(MAX_INTERVAL).mul_f64(1.5)))
}

#[cfg(test)]
mod tests;
