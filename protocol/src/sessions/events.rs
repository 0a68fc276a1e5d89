//! Events that tell something about sessions.

use serde_json::Value;

use super::{RowRules, SessionRow, SessionStatus, read_sessions};
use crate::fields;
use crate::frame::Event;

/// What an event tells about sessions.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionsEvent {
    /// All sessions, as document 002's `tick` brings them.
    Snapshot(Vec<SessionRow>),
    /// Some of more sessions, as a `tick` of a gateway with many of them brings them: whole rows, which say nothing of others.
    Part(Vec<SessionRow>),
    /// One session's row. A whole row replaces what was known, a partial one is merged into it.
    Changed {
        /// The row.
        row: Box<SessionRow>,
        /// Whether it tells everything.
        whole: bool,
    },
    /// One session is gone.
    Removed {
        /// Its key.
        key: String,
    },
    /// A run of one session began or ended: all that releases tell that have no `sessions.changed`.
    Run {
        /// The session's key.
        key: String,
        /// The run.
        run_id: Option<String>,
        /// Whether it began.
        running: bool,
        /// Wall ms, where told.
        at_ms: Option<i64>,
    },
    /// Something changed, and the event doesn't say what: ask for the list again.
    Unspecified,
}

/// Reads an event; none where it tells nothing about sessions.
pub fn read_sessions_event(event: &Event, rules: RowRules) -> Option<SessionsEvent> {
    let payload = &event.payload;
    match event.name.as_str() {
        "sessions.changed" | "session.updated" | "session.created" => Some(changed(payload, rules)),
        "session.deleted" | "session.removed" => Some(match fields::name(payload, &["sessionKey", "key"]) {
            Some(key) => SessionsEvent::Removed { key },
            None => SessionsEvent::Unspecified,
        }),
        "tick" => {
            let page = read_sessions(payload.get("snapshot")?, rules)?;
            let listed = u64::try_from(page.rows.len()).unwrap_or(u64::MAX);
            let all = page.total.is_none_or(|total| total <= listed);
            Some(if all { SessionsEvent::Snapshot(page.rows) } else { SessionsEvent::Part(page.rows) })
        }
        "agent" => lifecycle(payload),
        "chat" => chat(payload),
        _ => None,
    }
}

/// `sessions.changed`: flat on protocol 3, with the row in `session` on protocol 4 and for phases of a run.
fn changed(payload: &Value, rules: RowRules) -> SessionsEvent {
    let Some(key) = fields::name(payload, &["sessionKey", "key"]) else { return SessionsEvent::Unspecified };
    let reason = payload.get("reason").and_then(Value::as_str);
    if matches!(reason, Some("delete" | "deleted" | "remove" | "removed")) {
        return SessionsEvent::Removed { key };
    }
    let nested = payload.get("session").filter(|session| session.is_object());
    let mut read = nested.and_then(|session| SessionRow::read(session, rules));
    let whole = read.is_some();
    if read.is_none() {
        read = SessionRow::read(payload, rules);
    }
    let Some(mut row) = read else { return SessionsEvent::Unspecified };
    row.key = key;
    // The phase is what happened just now; the row beside it may have been read a moment before or after.
    match payload.get("phase").and_then(Value::as_str) {
        Some("start") if row.status.is_none() => row.status = Some(SessionStatus::Active),
        Some("end" | "error" | "abort") if row.has_active_run != Some(true) => {
            row.status = Some(SessionStatus::Completed)
        }
        _ => {}
    }
    // An abort may also come as a reason, and on protocol 3 the row then still says running.
    if reason == Some("abort") && row.has_active_run != Some(true) {
        row.status = Some(SessionStatus::Completed);
    }
    // A reset session has had no run yet; a whole row without a status says so by itself.
    if matches!(reason, Some("reset" | "new")) && row.status.is_none() {
        row.status = Some(SessionStatus::Completed);
    }
    SessionsEvent::Changed { row: Box::new(row), whole }
}

/// `agent` events: only the begin and the end of a run matter here.
fn lifecycle(payload: &Value) -> Option<SessionsEvent> {
    if payload.get("stream").and_then(Value::as_str) != Some("lifecycle") {
        return None;
    }
    let data = payload.get("data")?;
    let running = match data.get("phase").and_then(Value::as_str)? {
        "start" => true,
        "end" | "error" => false,
        _ => return None,
    };
    Some(SessionsEvent::Run {
        key: fields::name(payload, &["sessionKey"])?,
        run_id: fields::name(payload, &["runId"]),
        running,
        at_ms: fields::time_ms(data, &["endedAt", "startedAt"]).or_else(|| fields::time_ms(payload, &["ts"])),
    })
}

/// `chat` events: the end of a run. A `final` without a message is a second send that was steered into the run under
/// way, which goes on.
fn chat(payload: &Value) -> Option<SessionsEvent> {
    match payload.get("state").and_then(Value::as_str)? {
        "final" if payload.get("message").is_some_and(Value::is_object) => {}
        "error" | "aborted" => {}
        _ => return None,
    }
    Some(SessionsEvent::Run {
        key: fields::name(payload, &["sessionKey"])?,
        run_id: fields::name(payload, &["runId"]),
        running: false,
        at_ms: payload.get("message").and_then(|message| fields::time_ms(message, &["timestamp"])),
    })
}
