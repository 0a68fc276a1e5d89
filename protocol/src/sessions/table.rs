//! The sessions of one gateway as far as they are known, kept current by lists and events.

use std::collections::HashMap;
use std::sync::Arc;

use super::{SessionRow, SessionStatus, SessionsEvent};
use crate::limits::{MAX_SESSIONS, MAX_SESSIONS_BYTES};

/// Sessions by key, at most [`MAX_SESSIONS`] in [`MAX_SESSIONS_BYTES`]: what goes beyond is not taken in. Rows are shared with
/// the lists of them that are given out.
#[derive(Debug, Clone, Default)]
pub struct SessionTable {
    rows: HashMap<String, Arc<SessionRow>>,
    known: bool,
    bytes: usize,
    /// Rows with a run under way: told with each change, of which there are many.
    active: u32,
    /// Of rows that were given out last and aren't in the table any more.
    outdated_bytes: usize,
}

impl SessionTable {
    /// Replaces everything by a complete list.
    pub fn replace(&mut self, rows: Vec<SessionRow>) {
        let mut former = std::mem::take(&mut self.rows);
        (self.bytes, self.active) = (0, 0);
        for mut row in rows {
            let known = former.remove(&row.key);
            if known.as_ref().is_some_and(|known| misses_the_end(&row, known)) {
                row.note_end();
            }
            match known {
                Some(same) if *same == row => self.put(same),
                other => {
                    other.iter().for_each(|row| self.note_gone(row));
                    self.put(Arc::new(row))
                }
            };
        }
        former.values().for_each(|row| self.note_gone(row));
        self.known = true;
    }

    /// Puts a row in the place of an earlier one of its key; left out where there is no room for it.
    fn put(&mut self, row: Arc<SessionRow>) -> bool {
        self.remove(&row.key);
        let bytes = self.bytes.saturating_add(row.held_bytes());
        let fits = bytes <= MAX_SESSIONS_BYTES && self.rows.len() < MAX_SESSIONS;
        if fits {
            self.bytes = bytes;
            self.active += u32::from(row.is_active());
            self.rows.insert(row.key.clone(), row);
        }
        fits
    }

    fn remove(&mut self, key: &str) -> Option<Arc<SessionRow>> {
        let row = self.rows.remove(key)?;
        self.bytes = self.bytes.saturating_sub(row.held_bytes());
        self.active = self.active.saturating_sub(u32::from(row.is_active()));
        self.note_gone(&row);
        Some(row)
    }

    /// A row left the table, and somebody may still hold it.
    fn note_gone(&mut self, row: &Arc<SessionRow>) {
        if Arc::strong_count(row) > 1 {
            self.outdated_bytes = self.outdated_bytes.saturating_add(row.held_bytes());
        }
    }

    /// What the rows take, bytes: those here, and those given out last that aren't here any more.
    pub fn held_bytes(&self) -> usize {
        self.bytes.saturating_add(self.outdated_bytes)
    }

    /// All sessions, newest first, to be given out in the place of an earlier list.
    pub fn give_out(&mut self) -> Vec<Arc<SessionRow>> {
        self.outdated_bytes = 0;
        self.newest_first().into_iter().cloned().collect()
    }

    /// Takes an event in. Returns the keys that changed in a way that is worth telling; for a snapshot, all of them.
    pub fn apply(&mut self, event: SessionsEvent) -> Vec<String> {
        match event {
            SessionsEvent::Snapshot(rows) => {
                let keys = rows.iter().map(|row| row.key.clone()).collect();
                self.replace(rows);
                keys
            }
            SessionsEvent::Part(rows) => rows.into_iter().flat_map(|row| self.change(row, true)).collect(),
            SessionsEvent::Changed { row, whole } => self.change(*row, whole),
            SessionsEvent::Removed { key } => self.remove(&key).map(|_| key).into_iter().collect(),
            SessionsEvent::Run { key, run_id, running, at_ms } => self.run(key, run_id, running, at_ms),
            SessionsEvent::Unspecified => Vec::new(),
        }
    }

    /// Forgets everything: the connection is gone, and nothing is known until the next list.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether a complete list has been taken in.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// How many sessions have a run under way.
    pub fn active_count(&self) -> u32 {
        self.active
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One session.
    pub fn get(&self, key: &str) -> Option<&SessionRow> {
        self.rows.get(key).map(|row| &**row)
    }

    /// All sessions, newest first, then by key.
    pub fn newest_first(&self) -> Vec<&Arc<SessionRow>> {
        let mut rows: Vec<&Arc<SessionRow>> = self.rows.values().collect();
        rows.sort_by(|a, b| b.updated_at_ms.cmp(&a.updated_at_ms).then_with(|| a.key.cmp(&b.key)));
        rows
    }

    fn change(&mut self, mut row: SessionRow, whole: bool) -> Vec<String> {
        let key = row.key.clone();
        let known = self.rows.get(&key).map(Arc::clone);
        if let Some(known) = &known {
            if misses_the_end(&row, known) {
                row.note_end();
            }
            if !whole || is_overtaken(&row, known) {
                let (mut older, newer) = if whole { (row, (**known).clone()) } else { ((**known).clone(), row) };
                older.merge(newer);
                row = older;
            }
            if **known == row {
                return Vec::new();
            }
        }
        let is_new = known.is_none();
        drop(known);
        let fits = self.put(Arc::new(row));
        if fits || !is_new { vec![key] } else { Vec::new() }
    }

    fn run(&mut self, key: String, run_id: Option<String>, running: bool, at_ms: Option<i64>) -> Vec<String> {
        let ends_another = |known: &SessionRow| {
            !running && known.is_active() && run_id.is_some() && known.run_id.is_some() && known.run_id != run_id
        };
        // The end of a run that is not the one under way says nothing about the session.
        if self.rows.get(&key).is_some_and(|known| ends_another(known)) {
            return Vec::new();
        }
        let status = if running { SessionStatus::Active } else { SessionStatus::Completed };
        let agent = super::agent_of_key(&key);
        // The sign of newer releases follows the run, where there is one.
        let has_active_run = self.rows.get(&key).and_then(|known| known.has_active_run).map(|_| running);
        let row = SessionRow {
            key,
            agent,
            status: Some(status),
            updated_at_ms: at_ms,
            has_active_run,
            run_id,
            ..SessionRow::default()
        };
        if running && let Some(known) = self.rows.get(&row.key).filter(|known| known.run_id == row.run_id) {
            // The same run once more, after an end: a new try, which only this event tells.
            let mut begun = (**known).clone();
            begun.merge(row);
            let key = begun.key.clone();
            return if **known != begun && self.put(Arc::new(begun)) { vec![key] } else { Vec::new() };
        }
        self.change(row, false)
    }
}

/// Whether a row was read before what is known of its session: protocol 3 sends such rows along with messages. A row that
/// tells `hasActiveRun` is a snapshot of the moment and never overtaken.
fn is_overtaken(row: &SessionRow, known: &SessionRow) -> bool {
    row.has_active_run.is_none()
        && matches!((row.updated_at_ms, known.updated_at_ms), (Some(row), Some(known)) if row < known)
}

/// Whether a row knows nothing of the end of a run that was told by events. Protocol 3 writes no end into the row of an
/// aborted run: it says `running` for good, until another run starts, or has no status, as if there had been no run.
/// Protocol 4 goes on to name a failed run as the active one for a while after it has told its end.
fn misses_the_end(row: &SessionRow, known: &SessionRow) -> bool {
    let same_start = row.started_at_ms.is_some() && row.started_at_ms == known.started_at_ms;
    let same_run = row.run_id.is_some() && row.run_id == known.run_id;
    let says_nothing = row.status.is_none() && row.has_active_run != Some(true);
    let stale = says_nothing || row.has_active_run.is_none() && row.is_active() && same_start;
    known.status == Some(SessionStatus::Completed) && (stale || row.is_active() && same_run)
}

#[cfg(test)]
mod tests;
