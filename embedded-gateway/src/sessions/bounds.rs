//! What keeps the sessions small: long histories are compacted, old sessions are pruned.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Change, Session, Sessions, announce, transcript};
use crate::call::CallError;
use crate::effect::{FileChange, LogLevel};
use crate::subscribers::Subscribers;
use crate::turn::Turn;

/// Text kept of one session, in bytes.
pub(crate) const HISTORY_BYTES: usize = 4 * 1024 * 1024;
/// Text kept of all sessions together, in bytes; beyond it the oldest inactive sessions are pruned.
pub(crate) const ALL_BYTES: usize = 256 * 1024 * 1024;

/// Lines from which a transcript with this many messages is written anew.
pub(super) fn superfluous_from(messages: usize) -> usize {
    messages.saturating_mul(2).saturating_add(256)
}

/// Drops the oldest messages until at most `messages` with at most `bytes` are left, writes the transcript anew and tells so.
/// The newest message always stays. Returns how many were dropped and kept.
pub(super) fn compact(
    session: &mut Session,
    messages: usize,
    bytes: usize,
    subscribers: &Subscribers,
    turn: &mut Turn<'_>,
) -> (usize, usize) {
    let mut dropped = 0;
    while session.history.len() > 1 && (session.history.len() > messages || session.history_bytes > bytes) {
        let Some(oldest) = session.history.pop_front() else { break };
        session.history_bytes = session.history_bytes.saturating_sub(oldest.text.len());
        dropped += 1;
    }
    let kept = session.history.len();
    if dropped > 0 {
        session.compactions = session.compactions.saturating_add(1);
        session.updated_at = turn.now.wall_ms;
        session.lines = kept + 1;
        turn.write(FileChange::Replace {
            file: transcript::path(&session.session_id),
            text: transcript::whole(session),
        });
        announce(&Change::Compacted { dropped, kept }, session, subscribers, turn);
    }
    (dropped, kept)
}

impl Sessions {
    pub(crate) fn age(&self) -> Duration {
        self.bounds.age
    }

    /// Prunes inactive sessions: those not changed for longer than allowed, then the oldest ones until no more than
    /// allowed are left. To be called now and then, with the wall time by which to judge what is kept for [`Self::age`].
    /// Returns how many went.
    pub(crate) fn prune(&mut self, judged_ms: i64, subscribers: &Subscribers, turn: &mut Turn<'_>) -> usize {
        let age = i64::try_from(self.bounds.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = judged_ms.saturating_sub(age);
        let mut inactive: Vec<(i64, String, usize)> = self
            .iter()
            .filter(|session| !session.is_busy())
            .map(|session| (session.updated_at, session.key.clone(), session.history_bytes))
            .collect();
        inactive.sort_unstable_by_key(|(updated_at, _, _)| Reverse(*updated_at));
        let mut count = self.len();
        let mut bytes: usize = self.iter().map(|session| session.history_bytes).sum();
        let mut gone = 0;
        while let Some((updated_at, key, its_bytes)) = inactive.pop() {
            if updated_at >= oldest && count <= self.bounds.sessions && bytes <= ALL_BYTES {
                break;
            }
            self.remove(&key, &Change::Pruned, subscribers, turn);
            count -= 1;
            bytes = bytes.saturating_sub(its_bytes);
            gone += 1;
        }
        if gone > 0 {
            turn.log(LogLevel::Info, "sessions", None, format!("pruned {gone} old sessions, {count} are left"));
        }
        gone
    }

    pub(super) fn make_room(&mut self, subscribers: &Subscribers, turn: &mut Turn<'_>) -> Result<(), CallError> {
        while self.len() >= self.bounds.sessions {
            let oldest = self.iter().filter(|session| !session.is_busy()).min_by_key(|session| session.updated_at);
            let Some(key) = oldest.map(|session| session.key.clone()) else {
                return Err(CallError::unavailable(format!(
                    "too many sessions: all {} that this gateway keeps are at work; end one, or raise limits.sessions",
                    self.bounds.sessions
                )));
            };
            self.remove(&key, &Change::Pruned, subscribers, turn);
        }
        Ok(())
    }
}
