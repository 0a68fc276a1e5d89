//! When the sessions are told, and that nothing is told twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::active::ActiveConnection;
use super::turn::Turn;
use crate::gateway_notice::GatewayNotice;
use crate::run::{SessionSnapshot, SharedSessions};

/// At least this long between two snapshots: events come in bursts, and each snapshot holds all rows.
const BETWEEN: Duration = Duration::from_millis(250);

/// What was told last, and whether there is news.
#[derive(Debug, Default)]
pub(super) struct SessionPublisher {
    last: Option<SharedSessions>,
    told_at: Option<Instant>,
    changed: bool,
    news_ms: i64,
    /// What the rows told last take, where the table that they came from is gone.
    lost_bytes: usize,
}

impl SessionPublisher {
    /// The table changed, or may have.
    pub(super) fn note(&mut self, wall_ms: i64) {
        self.changed = true;
        self.news_ms = wall_ms;
    }

    /// The connection is gone: what was told stays, and news of the table that went with it isn't told any more.
    pub(super) fn connection_lost(&mut self) {
        self.changed = false;
        self.lost_bytes = self.last.iter().flat_map(|last| &last.rows).map(|row| row.held_bytes()).sum();
    }

    /// Another gateway: what was told of the old one isn't compared with.
    pub(super) fn forget(&mut self) {
        *self = Self { told_at: self.told_at, ..Self::default() };
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.lost_bytes
    }

    /// When there is a snapshot to tell.
    pub(super) fn next_deadline(&self, active: Option<&ActiveConnection>, now: Instant) -> Option<Instant> {
        let news = self.changed && active.is_some_and(ActiveConnection::knows_sessions);
        news.then(|| self.told_at.map_or(now, |told| told + BETWEEN))
    }

    /// Tells the sessions if they changed and it is time.
    pub(super) fn publish(&mut self, turn: &mut Turn<'_>, active: Option<&mut ActiveConnection>) {
        let now = turn.moment.now;
        let Some(active) = active else { return };
        if self.next_deadline(Some(active), now).is_none_or(|due| now < due) {
            return;
        }
        self.changed = false;
        let rows = active.sessions.newest_first();
        let complete = active.sessions.is_known();
        let same = self.last.as_deref().is_some_and(|last| {
            last.complete == complete && last.rows.len() == rows.len() && last.rows.iter().eq(rows.iter().copied())
        });
        if same {
            return;
        }
        let rows = active.sessions.give_out();
        self.lost_bytes = 0;
        let snapshot = Arc::new(SessionSnapshot { rows, as_of_ms: self.news_ms, complete });
        self.last = Some(Arc::clone(&snapshot));
        self.told_at = Some(now);
        turn.notify(GatewayNotice::Sessions(snapshot));
    }
}
