//! Who is told of a change of a session, and in which words.
//!
//! - `sessions.changed` to those who follow sessions: nested on protocol 4, flat on protocol 3, as real releases word it.
//! - `session.message` to those who follow the messages.
//! - `session.created`, `session.updated`, `session.pruned` (document 004) to every reader.

use serde_json::{Map, Value, json};

use super::rows::{MessageForm, message, row};
use super::{Message, RunEnd, Session};
use crate::caller::{ConnectionId, Scope};
use crate::effect::RunId;
use crate::subscribers::Subscribers;
use crate::turn::Turn;

#[derive(Debug)]
pub(crate) enum Change<'a> {
    Created,
    Patched,
    Message(&'a Message),
    RunBegan(&'a RunId),
    /// A run was suspended (true) or goes on.
    Paused(bool),
    RunEnded(&'a RunId, &'a RunEnd),
    /// It begins anew; `reset` or `new`.
    Reset(&'static str),
    Compacted {
        dropped: usize,
        kept: usize,
    },
    Deleted,
    /// It was removed because it was old.
    Pruned,
}

enum Word {
    Reason(&'static str),
    Phase(&'static str),
}

pub(crate) fn announce(change: &Change<'_>, session: &Session, subscribers: &Subscribers, turn: &mut Turn<'_>) {
    let now = turn.now.wall_ms;
    for protocol in [4, 3] {
        let to = speaking(protocol, subscribers.session_followers(), subscribers);
        if !to.is_empty() {
            turn.tell(to, "sessions.changed", changed(change, session, protocol, now));
        }
        if let Change::Message(new) = change {
            let to = speaking(protocol, subscribers.message_followers(&session.key), subscribers);
            if !to.is_empty() {
                turn.tell(to, "session.message", with_message(new, session, protocol, now));
            }
        }
    }
    let readers = subscribers.holding(Scope::Read);
    if !readers.is_empty()
        && let Some((event, payload)) = document_004(change, session, now)
    {
        turn.tell(readers, event, payload);
    }
}

/// Those of the connections who speak protocol 4, or those who don't.
fn speaking(protocol: u32, mut connections: Vec<ConnectionId>, subscribers: &Subscribers) -> Vec<ConnectionId> {
    connections
        .retain(|connection| subscribers.caller(*connection).is_some_and(|one| (one.protocol >= 4) == (protocol >= 4)));
    connections
}

fn word(change: &Change<'_>) -> Word {
    match change {
        Change::Created => Word::Reason("create"),
        Change::Patched => Word::Reason("patch"),
        Change::Message(_) => Word::Phase("message"),
        Change::RunBegan(_) => Word::Phase("start"),
        Change::Paused(true) => Word::Reason("pause"),
        Change::Paused(false) => Word::Reason("resume"),
        Change::RunEnded(_, RunEnd::Done) => Word::Phase("end"),
        // A killed run is an error on the wire; its row says `killed`.
        Change::RunEnded(_, RunEnd::Failed(_) | RunEnd::Killed) => Word::Phase("error"),
        Change::Reset(reason) => Word::Reason(reason),
        Change::Compacted { .. } => Word::Reason("compact"),
        Change::Deleted | Change::Pruned => Word::Reason("delete"),
    }
}

fn changed(change: &Change<'_>, session: &Session, protocol: u32, now: i64) -> Value {
    let mut payload = Map::new();
    payload.insert("sessionKey".into(), session.key.clone().into());
    payload.insert("sessionId".into(), session.session_id.clone().into());
    if protocol >= 4 {
        payload.insert("agentId".into(), session.agent_id.clone().into());
    }
    let gone = matches!(change, Change::Deleted | Change::Pruned);
    let (name, said, phase) = match word(change) {
        Word::Reason(reason) => ("reason", reason, false),
        Word::Phase(phase) => ("phase", phase, true),
    };
    payload.insert(name.into(), said.into());
    if let Change::RunBegan(run) | Change::RunEnded(run, _) = change {
        payload.insert("runId".into(), run.0.clone().into());
    }
    if let Change::Message(new) = change {
        payload.insert("messageId".into(), new.id.clone().into());
        payload.insert("messageSeq".into(), new.seq.into());
    }
    payload.insert("ts".into(), now.into());
    if !gone {
        let row = row(session, protocol, now);
        // Protocol 3 has the row's fields at the top, and beside them the whole row where a phase is told.
        if protocol < 4
            && let Some(fields) = row.as_object()
        {
            for (field, value) in fields.iter().filter(|(field, _)| *field != "key") {
                payload.insert(field.clone(), value.clone());
            }
        }
        if protocol >= 4 || phase {
            payload.insert("session".into(), row);
        }
    }
    Value::Object(payload)
}

fn with_message(new: &Message, session: &Session, protocol: u32, now: i64) -> Value {
    let mut payload = json!({
        "sessionKey": session.key,
        "sessionId": session.session_id,
        "message": message(new, if protocol >= 4 { MessageForm::Protocol4 } else { MessageForm::Protocol3 }),
        "messageId": new.id,
        "messageSeq": new.seq,
        "session": row(session, protocol, now),
        "updatedAt": session.updated_at,
    });
    if protocol >= 4
        && let Some(fields) = payload.as_object_mut()
    {
        fields.insert("agentId".into(), session.agent_id.clone().into());
    }
    payload
}

fn document_004(change: &Change<'_>, session: &Session, now: i64) -> Option<(&'static str, Value)> {
    let mut payload = json!({
        "sessionKey": session.key,
        "sessionId": session.session_id,
        "agentId": session.agent_id,
        "ts": now,
    });
    let fields = payload.as_object_mut()?;
    let event = match change {
        // Each message of a running agent would be one: those who want that follow the messages.
        Change::Message(_) => return None,
        Change::Created => "session.created",
        Change::Compacted { dropped, kept } => {
            fields.insert("reason".into(), "compacted".into());
            fields.insert("dropped".into(), (*dropped).into());
            fields.insert("kept".into(), (*kept).into());
            "session.pruned"
        }
        Change::Deleted | Change::Pruned => {
            fields.insert("reason".into(), if matches!(change, Change::Deleted) { "deleted" } else { "old" }.into());
            fields.insert("removed".into(), true.into());
            return Some(("session.pruned", payload));
        }
        Change::Patched | Change::RunBegan(_) | Change::Paused(_) | Change::RunEnded(..) | Change::Reset(_) => {
            "session.updated"
        }
    };
    fields.insert("session".into(), row(session, 4, now));
    Some((event, payload))
}
