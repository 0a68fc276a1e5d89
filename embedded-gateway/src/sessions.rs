//! Conversations: who said what to which agent, what runs for it, and what it cost. Kept in memory within bounds, and in one
//! transcript a session (see [`transcript`]).
//!
//! Every change goes through [`Sessions`]: it writes the transcript and announces the change to those who follow
//! (see [`mod@announce`]). Methods and runs only say what happened:
//!
//! 1. [`Sessions::open`] finds or makes the session of a key.
//! 2. [`Sessions::begin_run`], then any number of [`Sessions::append`], [`Sessions::count_tokens`] and
//!    [`Sessions::pause_run`], then [`Sessions::end_run`]. Several runs of one session may overlap.

mod announce;
mod bounds;
mod rows;
mod session;
#[cfg(test)]
mod tests;
pub(crate) mod transcript;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::call::CallError;
use crate::config::Limits;
use crate::effect::{Effect, FileChange, RunId};
use crate::subscribers::Subscribers;
use crate::turn::Turn;

pub(crate) use announce::{Change, announce};
pub(crate) use bounds::HISTORY_BYTES;
pub(crate) use rows::{message, preview, row, tick_snapshot};
pub(crate) use session::{
    KEY_BYTES, MESSAGE_BYTES, Message, NewMessage, Role, RowStatus, RunEnd, Session, SessionKey, Usage, model_parts,
};
pub(crate) use transcript::load;

/// Longest label, model or level, in bytes.
const LABEL_BYTES: usize = 256;

/// What bounds the sessions; from the configuration's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionBounds {
    /// Sessions kept, at least 1.
    pub sessions: usize,
    /// Inactive sessions are pruned when they weren't changed for this long.
    pub age: Duration,
    /// Messages kept of a session, at least 1.
    pub history: usize,
}

impl From<&Limits> for SessionBounds {
    fn from(limits: &Limits) -> Self {
        Self { sessions: limits.sessions.max(1), age: limits.session_age, history: limits.history_messages.max(1) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Opening {
    /// `direct` where none is given.
    pub kind: Option<String>,
    /// Its label; only [`Sessions::check_label`] looks whether it is free.
    pub label: Option<String>,
    pub model: Option<String>,
    pub parent_key: Option<String>,
}

/// Fields of `sessions.patch`: none leaves as it is, `Some(None)` clears.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Patch {
    pub label: Option<Option<String>>,
    pub model: Option<Option<String>>,
    /// Kept, without meaning to the gateway.
    pub thinking_level: Option<Option<String>>,
    /// Kept, without meaning to the gateway.
    pub verbose_level: Option<Option<String>>,
}

#[derive(Debug)]
pub(crate) struct Sessions {
    by_key: BTreeMap<String, Session>,
    bounds: SessionBounds,
}

impl Sessions {
    pub(crate) fn new(bounds: SessionBounds) -> Self {
        Self { by_key: BTreeMap::new(), bounds }
    }

    pub(crate) fn configure(&mut self, limits: &Limits) {
        self.bounds = limits.into();
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Session> {
        self.by_key.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_key.values()
    }

    /// All, the one changed last first.
    pub(crate) fn newest_first(&self) -> Vec<&Session> {
        let mut all: Vec<&Session> = self.by_key.values().collect();
        all.sort_by(|one, other| other.updated_at.cmp(&one.updated_at).then_with(|| one.key.cmp(&other.key)));
        all
    }

    /// The change that writes a transcript as it should be; none where the file is no session's.
    pub(crate) fn as_file(&self, file: &Path) -> Option<FileChange> {
        let session = self.by_key.values().find(|session| transcript::path(&session.session_id) == file)?;
        Some(FileChange::Replace { file: file.to_owned(), text: transcript::whole(session) })
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn busy(&self) -> usize {
        self.by_key.values().filter(|session| session.is_busy()).count()
    }

    pub(crate) fn by_id(&self, session_id: &str) -> Option<&Session> {
        self.by_key.values().find(|session| session.session_id == session_id)
    }

    /// The session of a key; made where there is none. Errors: as many as are allowed, and every one is at work.
    pub(crate) fn open(
        &mut self,
        key: &SessionKey,
        opening: Opening,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> Result<&Session, CallError> {
        if !self.by_key.contains_key(key.as_str()) {
            self.make_room(subscribers, turn)?;
            let now = turn.now.wall_ms;
            let bounded = |text: Option<String>| text.map(|text| session::cut(text, LABEL_BYTES));
            let session = Session {
                key: key.as_str().to_owned(),
                session_id: turn.uuid(),
                agent_id: key.agent(),
                kind: bounded(opening.kind).unwrap_or_else(|| "direct".to_owned()),
                label: bounded(opening.label),
                model: bounded(opening.model),
                parent_key: opening.parent_key.map(|key| session::cut(key, KEY_BYTES)),
                created_at: now,
                updated_at: now,
                ..Session::default()
            };
            let session = self.by_key.entry(session.key.clone()).or_insert(session);
            write_session(session, turn);
            announce(&Change::Created, session, subscribers, turn);
        }
        self.by_key.get(key.as_str()).ok_or_else(|| CallError::unavailable(format!("session {key} could not be made")))
    }

    /// Whether a label is free for the session of this key.
    pub(crate) fn check_label(&self, label: &str, key: &str) -> Result<(), CallError> {
        match self.by_key.values().find(|session| session.label.as_deref() == Some(label) && session.key != key) {
            Some(_) => Err(CallError::invalid(format!("label already in use: {label}"))),
            None => Ok(()),
        }
    }

    /// Adds a message. None where there is no such session.
    pub(crate) fn append(
        &mut self,
        key: &str,
        message: NewMessage,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> Option<Message> {
        let history = self.bounds.history;
        let session = self.by_key.get_mut(key)?;
        session.message_count = session.message_count.saturating_add(1);
        let NewMessage { role, text, run, model, usage, stop_reason } = message;
        let message = Message {
            id: turn.uuid(),
            seq: session.message_count,
            role,
            text: session::cut(text, MESSAGE_BYTES),
            timestamp: turn.now.wall_ms,
            run_id: run.map(|run| run.0),
            model,
            usage,
            stop_reason: stop_reason.map(str::to_owned),
        };
        session.updated_at = turn.now.wall_ms;
        session.history_bytes = session.history_bytes.saturating_add(message.text.len());
        session.history.push_back(message.clone());
        append(session, transcript::message_line(&message), turn);
        announce(&Change::Message(&message), session, subscribers, turn);
        if session.history.len() > history || session.history_bytes > HISTORY_BYTES {
            bounds::compact(session, history - history / 4, HISTORY_BYTES - HISTORY_BYTES / 4, subscribers, turn);
        }
        Some(message)
    }

    /// A run of a session begins. False where there is no such session, or the run is already under way in it.
    pub(crate) fn begin_run(&mut self, key: &str, run: &RunId, subscribers: &Subscribers, turn: &mut Turn<'_>) -> bool {
        let Some(session) = self.by_key.get_mut(key) else { return false };
        if session.active_runs.contains(run) {
            return false;
        }
        session.active_runs.push(run.clone());
        session.status = Some(RowStatus::Running);
        session.last_run_error = None;
        session.started_at = Some(turn.now.wall_ms);
        session.ended_at = None;
        session.updated_at = turn.now.wall_ms;
        write_session(session, turn);
        announce(&Change::RunBegan(run), session, subscribers, turn);
        true
    }

    /// A run is suspended or goes on. False where it isn't under way in that session.
    pub(crate) fn pause_run(
        &mut self,
        key: &str,
        run: &RunId,
        paused: bool,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(session) = self.by_key.get_mut(key) else { return false };
        if !session.active_runs.contains(run) {
            return false;
        }
        let was = session.paused_runs.contains(run);
        if was != paused {
            session.paused_runs.retain(|other| other != run);
            if paused {
                session.paused_runs.push(run.clone());
            }
            session.updated_at = turn.now.wall_ms;
            announce(&Change::Paused(paused), session, subscribers, turn);
        }
        true
    }

    /// A run of a session ended. False where it isn't under way in that session (for instance after a reset).
    pub(crate) fn end_run(
        &mut self,
        key: &str,
        run: &RunId,
        end: RunEnd,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(session) = self.by_key.get_mut(key) else { return false };
        if !session.active_runs.contains(run) {
            return false;
        }
        session.active_runs.retain(|other| other != run);
        session.paused_runs.retain(|other| other != run);
        if session.active_runs.is_empty() {
            session.status = Some(match end {
                RunEnd::Done => RowStatus::Done,
                RunEnd::Failed(_) => RowStatus::Failed,
                RunEnd::Killed => RowStatus::Killed,
            });
            session.ended_at = Some(turn.now.wall_ms);
        }
        session.last_run_id = Some(run.0.clone());
        session.last_run_error = match &end {
            RunEnd::Failed(reason) => Some(session::cut(reason.clone(), 2_000)),
            RunEnd::Done | RunEnd::Killed => None,
        };
        session.updated_at = turn.now.wall_ms;
        write_session(session, turn);
        announce(&Change::RunEnded(run, &end), session, subscribers, turn);
        true
    }

    /// Adds tokens to a session's sums. Told and written with its next change (at the latest with the end of the run).
    /// False where there is no such session.
    pub(crate) fn count_tokens(&mut self, key: &str, usage: &Usage) -> bool {
        let Some(session) = self.by_key.get_mut(key) else { return false };
        session.input_tokens = session.input_tokens.saturating_add(usage.input);
        session.output_tokens = session.output_tokens.saturating_add(usage.output);
        let context = usage.context.or(Some(usage.input).filter(|input| *input > 0));
        session.total_tokens = context.or(session.total_tokens);
        session.context_tokens = usage.window.or(session.context_tokens);
        if let Some(cost) = usage.cost_usd.filter(|cost| cost.is_finite() && *cost >= 0.0) {
            session.cost_usd = Some(session.cost_usd.unwrap_or(0.0) + cost);
        }
        true
    }

    /// The model that the agent itself reports. Told and written with the session's next change.
    pub(crate) fn report_model(&mut self, key: &str, model: &str) {
        if let Some(session) = self.by_key.get_mut(key) {
            session.model = Some(session::cut(model.to_owned(), LABEL_BYTES));
        }
    }

    /// What the agent calls it, to go on with it in another process. Where it was begun anew meanwhile, that is another one.
    pub(crate) fn name_conversation(&mut self, key: &str, session_id: &str, name: String, turn: &mut Turn<'_>) {
        let session = self.by_key.get_mut(key).filter(|session| session.session_id == session_id);
        if let Some(session) = session {
            session.conversation = Some(name);
            write_session(session, turn);
        }
    }

    /// `sessions.patch`. None where there is no such session.
    pub(crate) fn patch(
        &mut self,
        key: &str,
        patch: Patch,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> Option<&Session> {
        let session = self.by_key.get_mut(key)?;
        let bounded = |text: Option<String>| text.map(|text| session::cut(text, LABEL_BYTES));
        for (field, given) in [
            (&mut session.label, patch.label),
            (&mut session.model, patch.model),
            (&mut session.thinking_level, patch.thinking_level),
            (&mut session.verbose_level, patch.verbose_level),
        ] {
            if let Some(text) = given {
                *field = bounded(text);
            }
        }
        session.updated_at = turn.now.wall_ms;
        write_session(session, turn);
        announce(&Change::Patched, session, subscribers, turn);
        Some(session)
    }

    /// Begins a session anew: no messages, no counts, a new id. Label, levels and model stay. Runs under way are forgotten
    /// here; ending them is up to the caller, beforehand. None where there is no such session.
    pub(crate) fn reset(
        &mut self,
        key: &str,
        reason: &'static str,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> Option<&Session> {
        let session = self.by_key.get_mut(key)?;
        let old = std::mem::take(session);
        *session = Session {
            session_id: turn.uuid(),
            generation: old.generation.saturating_add(1),
            context_tokens: old.context_tokens,
            updated_at: turn.now.wall_ms,
            key: old.key,
            agent_id: old.agent_id,
            kind: old.kind,
            label: old.label,
            thinking_level: old.thinking_level,
            verbose_level: old.verbose_level,
            model: old.model,
            parent_key: old.parent_key,
            created_at: old.created_at,
            ..Session::default()
        };
        // The new transcript first: a crash in between leaves both, and the higher generation counts.
        write_session(session, turn);
        forget(old.session_id, turn);
        announce(&Change::Reset(reason), session, subscribers, turn);
        Some(session)
    }

    /// Removes a session and its transcript. Runs under way are forgotten here; ending them is up to the caller,
    /// beforehand. False where there is no such session.
    pub(crate) fn delete(&mut self, key: &str, subscribers: &Subscribers, turn: &mut Turn<'_>) -> bool {
        self.remove(key, &Change::Deleted, subscribers, turn)
    }

    fn remove(&mut self, key: &str, why: &Change<'_>, subscribers: &Subscribers, turn: &mut Turn<'_>) -> bool {
        let Some(session) = self.by_key.remove(key) else { return false };
        announce(why, &session, subscribers, turn);
        forget(session.session_id, turn);
        true
    }

    /// Drops all but the newest `keep` messages. `Some((dropped, kept))`; none where there is no such session.
    pub(crate) fn compact(
        &mut self,
        key: &str,
        keep: usize,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> Option<(usize, usize)> {
        let session = self.by_key.get_mut(key)?;
        Some(bounds::compact(session, keep.max(1), usize::MAX, subscribers, turn))
    }
}

fn forget(session_id: String, turn: &mut Turn<'_>) {
    turn.write(FileChange::Remove { file: transcript::path(&session_id) });
    turn.push(Effect::EndSession(session_id));
}

fn write_session(session: &mut Session, turn: &mut Turn<'_>) {
    append(session, transcript::session_line(session), turn);
}

/// Adds a line to the transcript, or writes it anew where lines of past states have piled up in it.
fn append(session: &mut Session, line: String, turn: &mut Turn<'_>) {
    let file = transcript::path(&session.session_id);
    if session.lines > bounds::superfluous_from(session.history.len()) {
        session.lines = session.history.len() + 1;
        turn.write(FileChange::Replace { file, text: transcript::whole(session) });
    } else {
        session.lines += 1;
        turn.write(FileChange::Append { file, line });
    }
}
