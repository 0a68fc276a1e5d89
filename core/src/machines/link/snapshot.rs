//! When the sessions are told, and that nothing is told twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::capabilities::SessionsList;

use super::live::Live;
use super::{Effect, Link, Moment};
use crate::run::{SessionSnapshot, SharedSessions};

/// At least this long between two snapshots: events come in bursts, and each snapshot holds all rows.
const BETWEEN: Duration = Duration::from_millis(250);

/// What was told last, and whether there is news.
#[derive(Debug, Default)]
pub(super) struct Telling {
    last: Option<SharedSessions>,
    told_at: Option<Instant>,
    changed: bool,
    news_ms: i64,
    /// What the rows told last take, where the table that they came from is gone.
    lost_bytes: usize,
}

impl Telling {
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

    fn due(&self, now: Instant) -> Instant {
        self.told_at.map_or(now, |told| told + BETWEEN)
    }
}

impl Link {
    /// What is kept of this gateway between two messages, bytes.
    pub fn held_bytes(&self) -> usize {
        let live = self.live.as_deref().map_or(0, Live::held_bytes);
        live + self.telling.lost_bytes + self.logs.held_bytes()
    }

    /// The gateway made us hold too much: its sessions go, too, so that it costs nothing while it is away.
    pub(super) fn untell_sessions(&mut self) {
        self.telling.forget();
        self.push(Effect::Sessions(SharedSessions::default()));
    }

    /// When there is a snapshot to tell.
    pub(super) fn telling_deadline(&self, now: Instant) -> Option<Instant> {
        (self.telling.changed && self.tells_sessions()).then(|| self.telling.due(now))
    }

    /// A table that hasn't been read in full would look as if sessions had gone.
    fn tells_sessions(&self) -> bool {
        self.live
            .as_deref()
            .is_some_and(|live| live.sessions.is_known() || live.capabilities.sessions_list() == SessionsList::Events)
    }

    /// Tells the sessions if they changed and it is time.
    pub(super) fn tell_sessions(&mut self, moment: Moment) {
        if self.telling_deadline(moment.now).is_none_or(|due| moment.now < due) {
            return;
        }
        let Some(live) = self.live.as_deref_mut() else { return };
        self.telling.changed = false;
        let rows = live.sessions.newest_first();
        let complete = live.sessions.is_known();
        let same = self.telling.last.as_deref().is_some_and(|last| {
            last.complete == complete && last.rows.len() == rows.len() && last.rows.iter().eq(rows.iter().copied())
        });
        if same {
            return;
        }
        let rows = live.sessions.give_out();
        self.telling.lost_bytes = 0;
        let snapshot = Arc::new(SessionSnapshot { rows, as_of_ms: self.telling.news_ms, complete });
        self.telling.last = Some(Arc::clone(&snapshot));
        self.telling.told_at = Some(moment.now);
        self.effects.push(Effect::Sessions(snapshot));
    }
}
