//! Several nodes on one database, of which one acts: who may act, and until when.
//!
//! A node beats once a second. A beat that is answered lets the node that has the role act for [`VALID_MS`] after it was *sent*.
//! Another one takes the role only from a node that is dead, and declares a node dead only where the server's clock says that it
//! expired, its beat was seen unchanged for [`TTL_MS`] by a clock of one's own, oneself beat without a gap all the while, and the
//! server was not started anew meanwhile. [`VALID_MS`] is below [`TTL_MS`], so two never may act at once; and an outage for all moves nothing.
//!
//! All times here are milliseconds of a clock that never jumps and goes on while the machine is suspended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use gatewarden_protocol::version::CalendarVersion;

use crate::error::{ErrorCode, Failure};

/// Between two beats of the node that acts.
pub const BEAT_MS: i64 = 1_000;
/// Between two beats of one that stands by: it looks more often, so that it sees sooner what it waits for.
pub const LOOK_MS: i64 = 500;
/// A node that didn't beat for so long may be declared dead.
pub const TTL_MS: i64 = 6_000;
/// A beat lets its node act for so long from when it was sent.
pub const VALID_MS: i64 = 4_500;
/// Whoever didn't see for longer than this observes from the start again.
pub const GAP_MS: i64 = 3_000;

/// Why a node whose lease ran out does nothing.
pub const NO_LEASE: &str = "The database server did not renew this node's right to act in time: it changes nothing, since another node may act by now";

/// A change that this node may not make.
pub fn not_acting(sentence: &str) -> Failure {
    Failure::new(ErrorCode::NotActing, sentence)
        .with_help("Send it again in a second; /ready of each node tells whether it acts.")
        .with_retry_after(Duration::from_secs(1))
}

/// Whether a node of this release may work on a database that names the oldest one that may. Releases are three numbers, ordered as those
/// of OpenClaw are; where one of the two can't be read it may not: nothing is known of what it would do.
pub fn may_work(release: &str, oldest: Option<&str>) -> bool {
    let Some(oldest) = oldest else { return true };
    let known = CalendarVersion::known(release).zip(CalendarVersion::known(oldest));
    known.is_some_and(|(release, oldest)| release >= oldest)
}

/// Whether this node may act, for whoever is about to. Clones share it.
#[derive(Debug, Clone)]
pub struct RightToAct(Arc<AtomicI64>);

impl RightToAct {
    /// Of a daemon that shares its database with nobody.
    pub fn always() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }

    /// Of a node that has nothing to say yet.
    pub fn none() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MIN)))
    }

    /// Whether it holds at this time.
    pub fn holds(&self, now_ms: i64) -> bool {
        now_ms < self.0.load(Ordering::Acquire)
    }

    /// How much longer it holds, ms: 0 where it doesn't, [`VALID_MS`] at most.
    pub fn remaining_ms(&self, now_ms: i64) -> i64 {
        self.0.load(Ordering::Acquire).saturating_sub(now_ms).clamp(0, VALID_MS)
    }

    /// It holds until then.
    pub fn set(&self, until_ms: i64) {
        self.0.store(until_ms, Ordering::Release);
    }
}

/// What the database says of a living node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenNode {
    /// The run of the daemon.
    pub id: String,
    /// Grows with each beat.
    pub beat: i64,
    /// Whether it didn't beat for [`TTL_MS`] by the server's clock.
    pub expired: bool,
}

/// What the database said at a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which start of the server answers: another one has dropped all connections, and others may need longer to be back.
    pub server_start: i64,
    /// All that nobody declared dead.
    pub nodes: Vec<SeenNode>,
    /// Who has the role.
    pub holder: Option<String>,
    /// Grows with each change of the role.
    pub epoch: i64,
}

/// What is to be done after a beat. The database does it only if it is still so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The node that stopped at this beat is dead.
    DeclareDead {
        /// Which one.
        node: String,
        /// Its last beat.
        beat: i64,
    },
    /// Take the role that was last given under this epoch.
    Claim {
        /// The one that was seen.
        epoch: i64,
    },
}

/// One node's view of all of them.
#[derive(Debug)]
pub struct Lease {
    me: String,
    /// The last beat of each other node, and when it was seen first.
    watched: HashMap<String, (i64, i64)>,
    answered_ms: Option<i64>,
    server_start: Option<i64>,
    held: Option<i64>,
    until_ms: i64,
}

impl Lease {
    /// Of a node that has seen nothing yet.
    pub fn new(me: impl Into<String>) -> Self {
        Self {
            me: me.into(),
            watched: HashMap::new(),
            answered_ms: None,
            server_start: None,
            held: None,
            until_ms: i64::MIN,
        }
    }

    /// Until when this node may act, as of its last beat.
    pub fn until_ms(&self) -> i64 {
        self.until_ms
    }

    /// The epoch of the role, where this node has it.
    pub fn held(&self) -> Option<i64> {
        self.held
    }

    /// A beat that was sent at `sent_ms` is answered.
    pub fn answered(&mut self, sent_ms: i64, now_ms: i64, seen: &Seen) -> Vec<Step> {
        let is_other_server = self.server_start.replace(seen.server_start) != Some(seen.server_start);
        if is_other_server || self.answered_ms.is_none_or(|before| now_ms - before > GAP_MS) {
            self.watched.clear();
        }
        self.answered_ms = Some(now_ms);
        self.watched.retain(|id, _| seen.nodes.iter().any(|node| node.id == *id));
        let mut steps = Vec::new();
        for node in seen.nodes.iter().filter(|node| node.id != self.me) {
            let (beat, since_ms) = self.watched.entry(node.id.clone()).or_insert((node.beat, now_ms));
            if *beat != node.beat {
                (*beat, *since_ms) = (node.beat, now_ms);
            }
            if node.expired && sent_ms - *since_ms >= TTL_MS {
                steps.push(Step::DeclareDead { node: node.id.clone(), beat: node.beat });
            }
        }
        let holds = seen.holder.as_ref() == Some(&self.me);
        self.held = holds.then_some(seen.epoch);
        self.until_ms = if holds { sent_ms + VALID_MS } else { i64::MIN };
        let is_free = seen.holder.as_ref().is_none_or(|holder| !seen.nodes.iter().any(|node| node.id == *holder));
        if is_free && seen.nodes.iter().any(|node| node.id == self.me) {
            steps.push(Step::Claim { epoch: seen.epoch });
        }
        steps
    }

    /// When to beat next: the time of the last one is `sent_ms`.
    pub fn next_ms(&self, sent_ms: i64) -> i64 {
        if self.held.is_some() {
            return sent_ms + BEAT_MS;
        }
        // As soon as a node that is silent may be declared dead.
        let due = self.watched.values().map(|(_, since_ms)| since_ms + TTL_MS).filter(|due_ms| *due_ms > sent_ms);
        due.fold(sent_ms + LOOK_MS, i64::min)
    }
}

#[cfg(test)]
mod tests;
