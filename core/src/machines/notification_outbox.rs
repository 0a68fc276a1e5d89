//! Which notification is sent next to a destination, and when one that failed is tried again.
//!
//! - What concerns one subject is sent in the order in which it happened: nobody hears of a recovery before the failure.
//! - A failure of the destination (not reached, 5xx, 429) makes the whole destination wait; one that is about the
//!   notification (any other 4xx, a redirect) makes only that one wait, so that it can't hold up the others.
//! - Waits double from 5 s to 10 min, with up to 20 % jitter; `Retry-After` counts where it is longer, up to an hour.
//! - A notification is given up when it is too old or was tried too often.
//!
//! Times are wall times in ms, since they outlive the process.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::notification::Topic;

/// The wait after the first failure.
pub const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait of a notification.
pub const MAX_WAIT: Duration = Duration::from_secs(600);
/// The longest wait of a destination between attempts, so that its return is noticed soon.
pub const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is believed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Attempts after which a notification is given up.
pub const MAX_ATTEMPTS: u32 = 500;
/// With so many waiting nothing new is announced.
pub const MAX_WAITING: usize = 500;

/// A notification that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The store's key; grows with time.
    pub row: i64,
    /// Its id, as the receiver sees it.
    pub id: String,
    /// What it is about.
    pub topic: Topic,
    /// What is sent.
    pub body: Bytes,
    /// Wall ms at which it was stored.
    pub created_ms: i64,
    /// Attempts that failed.
    pub attempts: u32,
    /// Not tried before this wall time, ms.
    pub next_ms: i64,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The destination's: it isn't there, or can't just now.
    Destination,
    /// The notification's: the destination answered, and doesn't take this one.
    Notification,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt.
    Again {
        /// Attempts so far.
        attempts: u32,
        /// Wall ms.
        at_ms: i64,
    },
    /// Nothing.
    GivenUp,
}

/// What waits for one destination.
#[derive(Debug, Clone)]
pub struct Outbox {
    waiting: BTreeMap<i64, Queued>,
    give_up_after: Duration,
    /// Failures of the destination in a row.
    failures: u32,
    paused_until_ms: i64,
    /// Those that wait because the destination failed; they needn't once it is back.
    not_to_blame: HashSet<i64>,
}

impl Outbox {
    /// An empty one.
    pub fn new(give_up_after: Duration) -> Self {
        Self {
            waiting: BTreeMap::new(),
            give_up_after,
            failures: 0,
            paused_until_ms: i64::MIN,
            not_to_blame: HashSet::new(),
        }
    }

    /// Takes a stored notification in; one that is known stays as it is.
    pub fn push(&mut self, notification: Queued) {
        if notification.attempts > 0 {
            // Of an earlier run: nobody knows whose fault it was, so its return is tried soon.
            self.not_to_blame.insert(notification.row);
        }
        self.waiting.entry(notification.row).or_insert(notification);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Failures of the destination in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What the waiting ones are about.
    pub fn topics(&self) -> impl Iterator<Item = Topic> {
        self.waiting.values().map(|one| one.topic)
    }

    /// The one to send now.
    pub fn due(&self, now_ms: i64) -> Option<&Queued> {
        if is_ahead(self.paused_until_ms, now_ms, MAX_RETRY_AFTER) {
            return None;
        }
        let mut subjects = HashSet::new();
        self.waiting
            .values()
            .filter(|one| subjects.insert(one.topic.subject))
            .filter(|one| !is_ahead(one.next_ms, now_ms, MAX_RETRY_AFTER))
            .min_by_key(|one| (one.attempts, one.row))
    }

    /// It was taken. Whatever waited because the destination was away is due at once.
    pub fn delivered(&mut self, row: i64, now_ms: i64) {
        self.waiting.remove(&row);
        self.not_to_blame.remove(&row);
        self.failures = 0;
        self.paused_until_ms = i64::MIN;
        for row in self.not_to_blame.drain() {
            if let Some(one) = self.waiting.get_mut(&row) {
                one.next_ms = one.next_ms.min(now_ms);
            }
        }
    }

    /// It was not. `jitter` is in `[0, 1)`.
    pub fn failed(
        &mut self,
        row: i64,
        blame: Blame,
        retry_after: Option<Duration>,
        now_ms: i64,
        jitter: f64,
    ) -> Option<Next> {
        let retry_after = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        if blame == Blame::Destination {
            self.failures = self.failures.saturating_add(1);
            let pause = wait_after(self.failures, MAX_PAUSE, jitter).max(retry_after);
            self.paused_until_ms = now_ms.saturating_add(millis(pause));
        }
        let one = self.waiting.get_mut(&row)?;
        one.attempts = one.attempts.saturating_add(1);
        one.next_ms = now_ms.saturating_add(millis(wait_after(one.attempts, MAX_WAIT, jitter).max(retry_after)));
        let next = Next::Again { attempts: one.attempts, at_ms: one.next_ms };
        if one.attempts >= MAX_ATTEMPTS {
            self.waiting.remove(&row);
            self.not_to_blame.remove(&row);
            return Some(Next::GivenUp);
        }
        match blame {
            Blame::Destination => self.not_to_blame.insert(row),
            Blame::Notification => self.not_to_blame.remove(&row),
        };
        Some(next)
    }

    /// Takes out what was tried and is too old by now, where `judged_ms` is the wall time by which to judge. What was never
    /// tried is tried once, however old.
    pub fn take_expired(&mut self, judged_ms: i64) -> Vec<Queued> {
        let give_up_after = self.give_up_after;
        let rows: Vec<i64> = (self.waiting.values())
            .filter(|one| one.attempts > 0 && is_old(one, judged_ms, give_up_after))
            .map(|one| one.row)
            .collect();
        rows.into_iter()
            .filter_map(|row| {
                self.not_to_blame.remove(&row);
                self.waiting.remove(&row)
            })
            .collect()
    }
}

fn is_old(one: &Queued, now_ms: i64, give_up_after: Duration) -> bool {
    now_ms.saturating_sub(one.created_ms) > millis(give_up_after)
}

/// Whether a time is still to come. One that is further off than any wait was set by a clock that ran ahead.
fn is_ahead(at_ms: i64, now_ms: i64, longest: Duration) -> bool {
    at_ms > now_ms && at_ms.saturating_sub(now_ms) <= millis(longest.mul_f64(1.2))
}

fn wait_after(failures: u32, longest: Duration, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_WAIT * 2_u32.pow(doublings)).min(longest).mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
