//! Sessions whose run was told to have ended: where their rows say that one is active all the same, the list is read again within
//! seconds, since the event that sets it right may never come.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gatewarden_protocol::SessionTable;

/// After an end, until its session's row is looked at; twice as long after each further look.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// The last wait: where the row still says active after it, the gateway is believed.
const LAST_LOOK: Duration = Duration::from_secs(64);
/// Sessions that are looked at, at a time; beyond that the periodic list has to do.
const MAX_SESSIONS: usize = 256;

/// Sessions to look at: when, and how long was waited for that.
#[derive(Debug, Default)]
pub(super) struct RunEnds(HashMap<String, (Instant, Duration)>);

impl RunEnds {
    /// A run began or ended in a session.
    pub(super) fn note(&mut self, session_key: &str, running: bool, now: Instant) {
        if running {
            self.0.remove(session_key);
        } else if self.0.len() < MAX_SESSIONS {
            self.0.entry(session_key.to_owned()).or_insert((now + FIRST_LOOK, FIRST_LOOK));
        }
    }

    /// When a row is looked at.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.values().map(|(due, _)| *due).min()
    }

    /// Looks at the rows that are due. True where one still says that its session is active.
    pub(super) fn are_contradicted(&mut self, sessions: &SessionTable, now: Instant) -> bool {
        let mut contradicted = false;
        self.0.retain(|key, (due, waited)| {
            if *due > now {
                return true;
            }
            let is_active = sessions.get(key).is_some_and(|row| row.is_active());
            contradicted |= is_active;
            *waited *= 2;
            *due = now + *waited;
            is_active && *waited <= LAST_LOOK
        });
        contradicted
    }
}
