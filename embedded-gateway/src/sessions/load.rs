//! Sessions as the transcripts tell them when the gateway starts.

use std::collections::BTreeMap;

use super::{RowStatus, Session, SessionBounds, SessionKey, Sessions, transcript};
use crate::effect::FileChange;

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
        let Some(mut read) = transcript::read(&name, &bytes) else {
            if transcript::never_began(&bytes) {
                repairs.push(FileChange::Remove { file: transcript::path(&name) });
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
            read.session.ended_at = Some(read.session.updated_at);
        }
        let session = read.session;
        let older = match by_key.get(&session.key) {
            Some(other) if other.generation > session.generation => Some(session),
            _ => by_key.insert(session.key.clone(), session),
        };
        if let Some(older) = older {
            repairs.push(FileChange::Remove { file: transcript::path(&older.session_id) });
        }
    }
    for (key, name) in damaged {
        if let Some(session) = by_key.get_mut(&key).filter(|session| session.session_id == name) {
            remarks.push(format!(
                "sessions/{name}.jsonl was cut off or damaged; session {key} goes on without those lines"
            ));
            session.lines = session.history.len() + 1;
            repairs.push(FileChange::Replace {
                file: transcript::path(&session.session_id),
                text: transcript::whole(session),
            });
        }
    }
    LoadedSessions { sessions: Sessions { by_key, bounds }, repairs, remarks }
}
