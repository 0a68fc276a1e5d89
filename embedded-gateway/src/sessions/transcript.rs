//! The transcript of a session: `sessions/<sessionId>.jsonl`, the only place where it is kept.
//!
//! Each line is either the session as it then was (`{"type":"session",..}`, the last one counts) or a message
//! (`{"type":"message",..}`). A line is added for each change; a compacted transcript is put in place of the old one. A
//! crash can therefore cost the change that was being written, and nothing before it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::session::{Message, Role, RowStatus, Session, SessionKey};
use super::{SessionBounds, Sessions};
use crate::effect::FileChange;

pub(crate) const FOLDER: &str = "sessions";

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum LineOut<'a> {
    Session(&'a Session),
    Message(&'a Message),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum LineIn {
    Session(Box<Session>),
    Message(Message),
}

/// Where a session's transcript is, relative to the state directory.
pub(crate) fn path(session_id: &str) -> PathBuf {
    PathBuf::from(FOLDER).join(format!("{session_id}.jsonl"))
}

pub(super) fn session_line(session: &Session) -> String {
    line(&LineOut::Session(session))
}

pub(super) fn message_line(message: &Message) -> String {
    line(&LineOut::Message(message))
}

fn line(out: &LineOut<'_>) -> String {
    // Plain data: there is nothing in it that could fail.
    serde_json::to_string(out).unwrap_or_default()
}

/// The whole transcript: the session, then the messages that are kept.
pub(super) fn whole(session: &Session) -> String {
    let mut text = session_line(session);
    text.push('\n');
    for message in &session.history {
        text.push_str(&message_line(message));
        text.push('\n');
    }
    text
}

#[derive(Debug)]
pub(super) struct Read {
    pub(super) session: Session,
    /// Lines that make no sense were left out, or the last one has no end: the file must be written anew before anything
    /// is added to it.
    pub(super) damaged: bool,
}

/// Reads a transcript; none where it tells no session (or one of another name).
pub(super) fn read(session_id: &str, bytes: &[u8]) -> Option<Read> {
    let text = String::from_utf8_lossy(bytes);
    let mut damaged = !text.is_empty() && !text.ends_with('\n');
    let mut found: Option<Session> = None;
    let mut messages = std::collections::VecDeque::<Message>::new();
    let mut lines = 0;
    for line in text.lines() {
        lines += 1;
        match serde_json::from_str(line) {
            Ok(LineIn::Session(session)) => found = Some(*session),
            Ok(LineIn::Message(message)) if messages.back().is_none_or(|last| last.seq < message.seq) => {
                messages.push_back(message);
            }
            Ok(LineIn::Message(_)) | Err(_) => damaged = true,
        }
    }
    let mut session = found.filter(|session| session.session_id == session_id)?;
    session.history_bytes = messages.iter().map(|message| message.text.len()).sum();
    session.message_count = session.message_count.max(messages.back().map_or(0, |last| last.seq));
    session.history = messages;
    session.lines = lines;
    Some(Read { session, damaged })
}

/// Whether a crash cut a new transcript off within its first line: there is nothing in it to keep.
pub(super) fn never_began(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = br#"{"type":"session""#;
    !bytes.contains(&b'\n') && bytes.iter().zip(BEGIN).all(|(one, other)| one == other)
}

/// Said of runs that were under way when the gateway ended without a word.
const CUT_OFF: &str = "the gateway ended while this run was under way";

#[derive(Debug)]
pub(crate) struct LoadedSessions {
    pub sessions: Sessions,
    /// What puts the files in order, to be carried out before anything else is written.
    pub repairs: Vec<FileChange>,
    pub remarks: Vec<String>,
}

/// Reads transcripts: pairs of the file's name without `.jsonl`, and its bytes. Cut and senseless lines are left out, of two
/// transcripts of one session the newer one counts.
pub(crate) fn load(bounds: SessionBounds, transcripts: impl IntoIterator<Item = (String, Vec<u8>)>) -> LoadedSessions {
    let mut by_key = BTreeMap::<String, Session>::new();
    let mut damaged = BTreeMap::<String, String>::new();
    let mut repairs = Vec::new();
    let mut remarks = Vec::new();
    for (name, bytes) in transcripts {
        let Some(mut read) = read(&name, &bytes) else {
            if never_began(&bytes) {
                repairs.push(FileChange::Remove { file: path(&name) });
                continue;
            }
            remarks.push(format!(
                "sessions/{name}.jsonl tells no session and was left alone; remove it, or restore it from a backup"
            ));
            continue;
        };
        let session = &read.session;
        if SessionKey::read(&session.key, "main").map(|key| key.agent()).as_ref() != Ok(&session.agent_id) {
            remarks.push(format!("sessions/{name}.jsonl has an invalid session key and was left alone"));
            continue;
        }
        if read.damaged {
            damaged.insert(session.key.clone(), name);
        }
        if read.session.status == Some(RowStatus::Running) {
            read.session.status = Some(RowStatus::Failed);
            read.session.last_run_error = Some(CUT_OFF.to_owned());
            // The run of the first message that nothing was answered to.
            let unanswered = read.session.history.iter().rev().take_while(|message| message.role == Role::User);
            if let Some(run) = unanswered.last().and_then(|message| message.run_id.clone()) {
                read.session.last_run_id = Some(run);
            }
            read.session.ended_at = Some(read.session.updated_at);
        }
        let session = read.session;
        let older = match by_key.get(&session.key) {
            Some(other) if other.generation > session.generation => Some(session),
            _ => by_key.insert(session.key.clone(), session),
        };
        if let Some(older) = older {
            repairs.push(FileChange::Remove { file: path(&older.session_id) });
        }
    }
    for (key, name) in damaged {
        if let Some(session) = by_key.get_mut(&key).filter(|session| session.session_id == name) {
            remarks.push(format!(
                "sessions/{name}.jsonl was cut off or damaged; session {key} goes on without those lines"
            ));
            session.lines = session.history.len() + 1;
            repairs.push(FileChange::Replace { file: path(&session.session_id), text: whole(session) });
        }
    }
    LoadedSessions { sessions: Sessions { by_key, bounds }, repairs, remarks }
}
