//! When each gateway's agents are read, and when they count as there or gone.
//!
//! A gateway is synced within seconds of becoming usable for the first time and then every interval, a tenth either way, while it is
//! usable. A fleet that connects at the same moment is read [`MAX_AT_ONCE`] at a time, and drifts apart. Between syncs its agents are there while it is usable,
//! and gone once it has not been for [`LOST_AFTER`]: a connection that is made again at once is no news.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::ids::GatewayId;

/// How long a gateway must be unusable before its agents count as gone; a reconnect at the first try fits in.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
/// A gateway that is usable for the first time is synced after half to all of this.
const FIRST_SYNC: Duration = Duration::from_secs(3);
/// Duties under way at one time: the fleet's gateways are not all asked at once, nor the store flooded.
pub const MAX_AT_ONCE: usize = 8;

/// A gateway as the schedule looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub id: GatewayId,
    /// Whether it answers, and so may be asked.
    pub usable: bool,
    /// Whether its connection has read its agents.
    pub agents_known: bool,
}

/// Something to do, once. It is under way until [`SyncSchedule::done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Read the gateway's agents and take them over.
    Sync(GatewayId),
    /// Its agents are there.
    Present(GatewayId),
    /// Its agents are gone.
    Lost(GatewayId),
}

impl Duty {
    /// Whose.
    pub fn gateway(self) -> GatewayId {
        match self {
            Self::Sync(id) | Self::Present(id) | Self::Lost(id) => id,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Not told yet.
    Untold,
    Present,
    Lost,
}

#[derive(Debug)]
struct Entry {
    /// When the next sync is due; none until it was usable for the first time.
    due: Option<Instant>,
    unusable_since: Option<Instant>,
    presence: Presence,
    under_way: bool,
    round: u64,
}

/// The schedule of all gateways.
#[derive(Debug)]
pub struct SyncSchedule {
    interval: Duration,
    entries: HashMap<GatewayId, Entry>,
    round: u64,
}

impl SyncSchedule {
    /// A schedule for gateways to come.
    pub fn new(interval: Duration) -> Self {
        Self { interval, entries: HashMap::new(), round: 0 }
    }

    /// Looks at all gateways and says what to do now, at most as much as has room. Gateways that are not among them any
    /// more are forgotten. `random` gives numbers in `[0, 1)`.
    pub fn look(
        &mut self,
        now: Instant,
        gateways: impl IntoIterator<Item = Seen>,
        mut random: impl FnMut() -> f64,
    ) -> Vec<Duty> {
        self.round += 1;
        let mut waiting = Vec::new();
        for seen in gateways {
            let entry = self.entries.entry(seen.id).or_insert(Entry {
                due: None,
                unusable_since: None,
                presence: Presence::Untold,
                under_way: false,
                round: 0,
            });
            entry.round = self.round;
            if let Some((since, duty)) = entry.look(now, seen, self.interval, &mut random)
                && !entry.under_way
            {
                waiting.push((since, duty));
            }
        }
        let round = self.round;
        self.entries.retain(|_, entry| entry.round == round || entry.under_way);
        // Whoever has waited longest is first, so that nobody waits for good.
        waiting.sort_by_key(|(since, duty)| (*since, duty.gateway()));
        let under_way = self.entries.values().filter(|entry| entry.under_way).count();
        let duties: Vec<Duty> =
            waiting.into_iter().take(MAX_AT_ONCE.saturating_sub(under_way)).map(|(_, duty)| duty).collect();
        for duty in &duties {
            if let Some(entry) = self.entries.get_mut(&duty.gateway()) {
                entry.under_way = true;
            }
        }
        duties
    }

    /// A duty ended. A sync is due again after an interval, however it ended; word of presence that failed is repeated.
    pub fn done(&mut self, now: Instant, duty: Duty, succeeded: bool, random: f64) {
        let Some(entry) = self.entries.get_mut(&duty.gateway()) else { return };
        entry.under_way = false;
        match duty {
            Duty::Sync(_) => {
                // A tenth either way: rhythms that fell together drift apart again.
                entry.due = Some(now + self.interval.mul_f64(0.9 + random / 5.0));
                if succeeded {
                    entry.presence = Presence::Present;
                }
            }
            Duty::Present(_) if succeeded => entry.presence = Presence::Present,
            Duty::Lost(_) if succeeded => entry.presence = Presence::Lost,
            Duty::Present(_) | Duty::Lost(_) => {}
        }
    }
}

impl Entry {
    /// What is to be done with this gateway, and since when.
    fn look(
        &mut self,
        now: Instant,
        seen: Seen,
        interval: Duration,
        random: &mut impl FnMut() -> f64,
    ) -> Option<(Instant, Duty)> {
        if !seen.usable {
            let since = *self.unusable_since.get_or_insert(now);
            let lost_at = since + LOST_AFTER;
            return (now >= lost_at && self.presence != Presence::Lost).then_some((lost_at, Duty::Lost(seen.id)));
        }
        self.unusable_since = None;
        let due = *self.due.get_or_insert_with(|| now + interval.min(FIRST_SYNC).mul_f64(0.5 + random() / 2.0));
        if now >= due {
            return Some((due, Duty::Sync(seen.id)));
        }
        (seen.agents_known && self.presence != Presence::Present).then_some((now, Duty::Present(seen.id)))
    }
}

#[cfg(test)]
mod tests;
