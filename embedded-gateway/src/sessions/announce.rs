//! Who is told of a change of a session, and in which words.
//!
//! - `sessions.changed` to those who follow sessions: nested on protocol 4, flat on protocol 3, as real releases word it.
//! - `session.message` to those who follow the messages.
//! - `session.created`, `session.updated`, `session.pruned` (document 004) to every reader.

use serde_json::{Value, json};

use super::rows::{message, row};
use super::{Message, RunEnd, Session};
use crate::caller::{ConnectionId, Scope};
use crate::effect::RunId;
use crate::payload::{joined, joined_if, without_nulls};
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

/// How `sessions.changed` names the change: under `reason`, or as a `phase` of a run.
fn word(change: &Change<'_>) -> (&'static str, &'static str) {
    match change {
        Change::Created => ("reason", "create"),
        Change::Patched => ("reason", "patch"),
        Change::Message(_) => ("phase", "message"),
        Change::RunBegan(_) => ("phase", "start"),
        Change::Paused(true) => ("reason", "pause"),
        Change::Paused(false) => ("reason", "resume"),
        Change::RunEnded(_, RunEnd::Done) => ("phase", "end"),
        // A killed run is an error on the wire; its row says `killed`.
        Change::RunEnded(_, RunEnd::Failed(_) | RunEnd::Killed) => ("phase", "error"),
        Change::Reset(reason) => ("reason", reason),
        Change::Compacted { .. } => ("reason", "compact"),
        Change::Deleted | Change::Pruned => ("reason", "delete"),
    }
}

fn changed(change: &Change<'_>, session: &Session, protocol: u32, now: i64) -> Value {
    let (name, word) = word(change);
    let run = match change {
        Change::RunBegan(run) | Change::RunEnded(run, _) => Some(&run.0),
        _ => None,
    };
    let new = match change {
        Change::Message(new) => Some(*new),
        _ => None,
    };
    let row = (!matches!(change, Change::Deleted | Change::Pruned)).then(|| row(session, protocol, now));
    let payload = without_nulls(json!({
        "sessionKey": session.key,
        "sessionId": session.session_id,
        "agentId": (protocol >= 4).then_some(&session.agent_id),
        name: word,
        "runId": run,
        "messageId": new.map(|new| &new.id),
        "messageSeq": new.map(|new| new.seq),
        "ts": now,
        "session": row.as_ref().filter(|_| protocol >= 4 || name == "phase"),
    }));
    // Protocol 3 has the row's fields at the top, and beside them the whole row where a phase is told.
    let Some(Value::Object(mut fields)) = row.filter(|_| protocol < 4) else { return payload };
    fields.remove("key");
    joined(payload, Value::Object(fields))
}

fn with_message(new: &Message, session: &Session, protocol: u32, now: i64) -> Value {
    without_nulls(json!({
        "sessionKey": session.key,
        "sessionId": session.session_id,
        "agentId": (protocol >= 4).then_some(&session.agent_id),
        "message": message(new, protocol),
        "messageId": new.id,
        "messageSeq": new.seq,
        "session": row(session, protocol, now),
        "updatedAt": session.updated_at,
    }))
}

fn document_004(change: &Change<'_>, session: &Session, now: i64) -> Option<(&'static str, Value)> {
    let (event, more) = match change {
        // Each message of a running agent would be one: those who want that follow the messages.
        Change::Message(_) => return None,
        Change::Deleted => ("session.pruned", json!({"reason": "deleted", "removed": true})),
        Change::Pruned => ("session.pruned", json!({"reason": "old", "removed": true})),
        Change::Compacted { dropped, kept } => {
            ("session.pruned", json!({"reason": "compacted", "dropped": dropped, "kept": kept}))
        }
        Change::Created => ("session.created", json!({})),
        Change::Patched | Change::RunBegan(_) | Change::Paused(_) | Change::RunEnded(..) | Change::Reset(_) => {
            ("session.updated", json!({}))
        }
    };
    let payload = json!({
        "sessionKey": session.key,
        "sessionId": session.session_id,
        "agentId": session.agent_id,
        "ts": now,
    });
    let is_there = !matches!(change, Change::Deleted | Change::Pruned);
    Some((event, joined_if(joined(payload, more), is_there, || json!({"session": row(session, 4, now)}))))
}
