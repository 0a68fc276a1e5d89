//! How old things are, whatever the wall clock does.
//!
//! What is kept for a while bears the wall time at which it was written. If the clock jumps ahead, all of it looks too old at
//! once. So the wall clock is compared with the machine's uptime: where it moved by more than time passed, that is a jump, and
//! what is kept for a span is judged by the clock as it was before, until that span has passed since the jump. By then
//! everything from before the jump is really that old. Nothing waits for ever, and nothing goes early.
//!
//! Pure: readings are handed in. What is remembered is kept over restarts; from another boot of the machine only its own
//! uptime is known to have passed, so that the time for which the machine was off counts as a jump, too. Where several machines
//! remember together, what another one's uptime says is nothing.
//!
//! Times in which nobody looked are kept, too: whoever observes others knows nothing of these.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The wall clock may be off by this from one look to the next: time servers correct it by less, but once.
pub const TOLERANCE_MS: i64 = 120_000;
/// How fast a wall clock may gain or lose without that being a jump: a thousandth (time servers change its speed by half of it).
const SLEW: i64 = 1_000;
/// Jumps that are remembered. Of one that is older than so many others nothing is known any more, and the clock is believed.
const MAX_JUMPS: usize = 64;
/// A jump that stood so long is believed where believing is the careful thing: an expiry that was reached stays reached.
const BELIEVED_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// A machine that was off for less isn't worth a word.
const QUIET_PAUSE_MS: i64 = 86_400_000;
/// Whoever looked again within this missed nothing: a short restart, a busy moment.
pub const UNNOTICED_MS: i64 = 5_000;
/// Gaps that are kept, the newest.
const MAX_GAPS: usize = 256;

crate::named! {
    /// Why nobody looked.
    pub enum GapReason {
        /// The program did not run.
        Stopped = "stopped",
        /// It was there, but got no time: the machine was suspended, or the process stopped.
        Frozen = "frozen",
    }
}

/// A time in which nobody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The last look before it, Unix ms.
    pub from_ms: i64,
    /// The first one after it.
    pub to_ms: i64,
    /// Why.
    pub reason: GapReason,
}

/// One look at both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Unix time in ms.
    pub wall_ms: i64,
    /// Since the machine was booted, times of suspension included, in ms.
    pub uptime_ms: i64,
}

/// What is known of the wall clock's past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteadyTime {
    boot: String,
    wall_ms: i64,
    uptime_ms: i64,
    /// Time that is known to have passed since the first look ever.
    passed_ms: i64,
    /// By how much the wall clock is off without that having been a jump.
    slack_ms: i64,
    /// The latest time that was reached beyond doubt.
    reached_ms: i64,
    /// Oldest first.
    jumps: VecDeque<Jump>,
    /// Oldest first.
    #[serde(default)]
    gaps: VecDeque<Gap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Jump {
    /// `passed_ms` when it was seen.
    at_ms: i64,
    by_ms: i64,
}

impl SteadyTime {
    /// The first look ever. `boot` names this boot of the machine.
    pub fn new(boot: &str, now: Reading) -> Self {
        Self {
            boot: boot.to_owned(),
            wall_ms: now.wall_ms,
            uptime_ms: now.uptime_ms,
            passed_ms: 0,
            slack_ms: 0,
            reached_ms: now.wall_ms,
            jumps: VecDeque::new(),
            gaps: VecDeque::new(),
        }
    }

    /// Goes on from what an earlier run stored (as [`Self::stored`] made it). Nothing, or nonsense, is a first look. Answers by
    /// how many ms the clock jumped meanwhile, where that is worth a word: a machine that was off for a day isn't. `is_shared`:
    /// another boot may be that of another machine, on which the last run wasn't.
    pub fn resume(stored: Option<&str>, boot: &str, is_shared: bool, now: Reading) -> (Self, Option<i64>) {
        let Some(mut known) = stored.and_then(|text| serde_json::from_str::<Self>(text).ok()) else {
            return (Self::new(boot, now), None);
        };
        let is_same_boot = known.boot == boot;
        if !is_same_boot {
            boot.clone_into(&mut known.boot);
            known.uptime_ms = if is_shared { now.uptime_ms } else { 0 };
        }
        let away_ms = now.uptime_ms.saturating_sub(known.uptime_ms);
        let away_ms = if is_same_boot { away_ms } else { now.wall_ms.saturating_sub(known.wall_ms) };
        known.note_gap(now, away_ms, GapReason::Stopped);
        let jump = known.look(now);
        (known, jump.filter(|by_ms| is_same_boot || !(0..=QUIET_PAUSE_MS).contains(by_ms)))
    }

    /// For [`Self::resume`].
    pub fn stored(&self) -> String {
        // Plain numbers and texts always render.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Looks at the clocks, as [`Self::look`] does, for one who meant to look again within this many ms of the last time.
    pub fn look_again(&mut self, now: Reading, within_ms: i64) -> Option<i64> {
        if let Some(since_ms) = self.unseen_since_ms(now, within_ms) {
            self.note_gap(now, now.uptime_ms.saturating_sub(since_ms), GapReason::Frozen);
        }
        self.look(now)
    }

    /// The uptime of the last look, where one was due within so many ms of it and is overdue by too much.
    pub fn unseen_since_ms(&self, now: Reading, within_ms: i64) -> Option<i64> {
        let away_ms = now.uptime_ms.saturating_sub(self.uptime_ms);
        (away_ms >= within_ms.saturating_add(UNNOTICED_MS)).then_some(self.uptime_ms)
    }

    fn note_gap(&mut self, now: Reading, away_ms: i64, reason: GapReason) {
        if away_ms < UNNOTICED_MS {
            return;
        }
        if self.gaps.len() >= MAX_GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back(Gap { from_ms: now.wall_ms.saturating_sub(away_ms), to_ms: now.wall_ms, reason });
    }

    /// The newest times in which nobody looked, oldest first.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.gaps.iter().copied()
    }

    /// Looks at the clocks. Answers by how many ms the wall clock has jumped since the last look, where it has.
    pub fn look(&mut self, now: Reading) -> Option<i64> {
        let passed_ms = now.uptime_ms.saturating_sub(self.uptime_ms).max(0);
        let moved_ms = now.wall_ms.saturating_sub(self.wall_ms);
        let slack_ms = self.slack_ms.saturating_add(moved_ms.saturating_sub(passed_ms));
        let beyond_slew_ms = slack_ms.saturating_abs().saturating_sub(passed_ms / SLEW).max(0);
        self.passed_ms = self.passed_ms.saturating_add(passed_ms);
        (self.wall_ms, self.uptime_ms) = (now.wall_ms, now.uptime_ms);
        let jump = (beyond_slew_ms > TOLERANCE_MS).then_some(slack_ms);
        self.slack_ms = if jump.is_some() { 0 } else { slack_ms.signum() * beyond_slew_ms };
        if let Some(by_ms) = jump {
            if self.jumps.len() >= MAX_JUMPS {
                self.jumps.pop_front();
            }
            self.jumps.push_back(Jump { at_ms: self.passed_ms, by_ms });
        }
        self.reached_ms = self.reached_ms.max(self.judged_now(BELIEVED_AFTER));
        jump
    }

    /// The wall time by which to judge what is kept for `kept`: whatever was written longer before it than that is really older.
    pub fn judged_ms(&self, now: Reading, kept: Duration) -> i64 {
        // A jump that nobody has seen yet counts, too.
        let mut looked = self.clone();
        looked.look(now);
        looked.judged_now(kept)
    }

    /// The latest wall time that was reached beyond doubt; it never goes back. What had expired by then stays expired, though a
    /// clock that was put back says otherwise.
    pub fn reached_ms(&self) -> i64 {
        self.reached_ms
    }

    /// Of all clocks that things of this span may bear the time of, the one that is furthest behind.
    fn judged_now(&self, kept: Duration) -> i64 {
        let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        let recent = self.jumps.iter().rev().take_while(|jump| self.passed_ms.saturating_sub(jump.at_ms) < kept_ms);
        let (mut ahead_ms, mut furthest_ms) = (0_i64, 0_i64);
        for jump in recent {
            ahead_ms = ahead_ms.saturating_add(jump.by_ms);
            furthest_ms = furthest_ms.max(ahead_ms);
        }
        self.wall_ms.saturating_sub(furthest_ms)
    }
}

#[cfg(test)]
mod tests;
