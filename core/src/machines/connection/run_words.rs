//! What a gateway's words say about a run: acceptances, second replies, events. Pure reading, in one place for all
//! releases.

use gatewarden_protocol::{Event, WireError, read_log_line, words};
use serde_json::{Value, json};

use crate::spawn::{RunNotice, RunStage};

/// Longest result that is kept, bytes of JSON.
const MAX_RESULT: usize = 64 * 1024;
/// What is kept of the text of a longer one, bytes.
const MAX_TEXT: usize = 48 * 1024;
/// How protocol 3 words the failure of a `chat.send` run, which it reports as a final answer.
const FAILED_BEFORE_REPLY: &str = "\u{26a0}\u{fe0f} Agent failed before reply:";

/// How much an end counts, lightest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Confidence {
    /// The gateway may try again with another model.
    MayBeRetried,
    /// The bare fact: fuller words follow within moments.
    Bare,
    /// The answer's text; where a second reply is due, that tells more.
    Text,
    /// Nothing better will come.
    Certain,
}

/// What a word for a state means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Accepted,
    Running,
    Completed,
    Failed,
    Killed,
}

/// A status as gateways word it; none for one that isn't known.
pub(super) fn progress(payload: &Value) -> Option<Progress> {
    match payload.get("status")?.as_str()?.to_ascii_lowercase().as_str() {
        "accepted" | "queued" | "pending" | "recorded" => Some(Progress::Accepted),
        "running" | "started" | "active" | "spawned" | "in_flight" => Some(Progress::Running),
        "completed" | "done" | "ok" | "exited" | "success" | "finished" => Some(Progress::Completed),
        "failed" | "error" | "timeout" | "crashed" => Some(Progress::Failed),
        "killed" | "aborted" | "cancelled" | "canceled" | "terminated" => Some(Progress::Killed),
        _ => None,
    }
}

/// Whether a reply says that a run was taken, or goes on.
pub(super) fn is_under_way(payload: &Value) -> bool {
    matches!(progress(payload), Some(Progress::Accepted | Progress::Running))
}

/// An event about a run of a real release, or of one that words its events alike. `failures_read_as_final` is the quirk
/// of that name. A run that runs may be in a new try after a failure.
pub(super) fn read_event(event: &Event, failures_read_as_final: bool) -> Option<(RunNotice, Confidence)> {
    let payload = &event.payload;
    let (stage, confidence) = match event.name.as_str() {
        "agent" => lifecycle(payload)?,
        "chat" => chat(payload, failures_read_as_final)?,
        _ => return None,
    };
    let run_id = payload.get("runId")?.as_str()?.to_owned();
    Some((RunNotice { run_id, session_key: text(payload, &["sessionKey"]), stage }, confidence))
}

fn lifecycle(payload: &Value) -> Option<(RunStage, Confidence)> {
    if payload.get("stream").and_then(Value::as_str) != Some("lifecycle") {
        return None;
    }
    let data = payload.get("data")?;
    let aborted = data.get("aborted").and_then(Value::as_bool) == Some(true)
        || data.get("status").and_then(Value::as_str) == Some("cancelled");
    match data.get("phase").and_then(Value::as_str)? {
        "start" => Some((RunStage::Running { pid: None }, Confidence::Certain)),
        "end" | "error" if aborted => Some((killed(data), Confidence::Certain)),
        "end" => {
            let said = data.get("terminalReply").and_then(|reply| text(reply, &["text"]));
            let result = said.map_or(Value::Null, |text| json!({ "text": text }));
            Some((RunStage::Completed { result: cut(result) }, Confidence::Bare))
        }
        "error" => {
            // Settled: there won't be another try.
            let settled = data.get("executionSettled").and_then(Value::as_bool) == Some(true);
            let confidence = if settled { Confidence::Bare } else { Confidence::MayBeRetried };
            Some((failed(data, Value::Null), confidence))
        }
        _ => None,
    }
}

fn chat(payload: &Value, failures_read_as_final: bool) -> Option<(RunStage, Confidence)> {
    match payload.get("state").and_then(Value::as_str)? {
        "final" => {
            // Without a message: it was handed to the run under way in its session, or had nothing to say.
            let said = payload.get("message").map(message_text).unwrap_or_default();
            if failures_read_as_final && said.starts_with(FAILED_BEFORE_REPLY) {
                let stage = RunStage::Failed { error: words::shown(&said), result: Value::Null };
                return Some((stage, Confidence::Certain));
            }
            let result = if said.is_empty() { Value::Null } else { json!({ "text": said }) };
            Some((RunStage::Completed { result: cut(result) }, Confidence::Text))
        }
        "error" => Some((failed(payload, Value::Null), Confidence::MayBeRetried)),
        "aborted" => Some((killed(payload), Confidence::Certain)),
        _ => None,
    }
}

fn last_answer(history: &Value) -> Option<&Value> {
    let messages = history.get("messages")?.as_array()?;
    messages.iter().rfind(|message| message.get("role").and_then(Value::as_str) == Some("assistant"))
}

/// Of a session whose only run has ended: whether the model failed in its last try.
pub(super) fn failed_try_in_history(history: &Value) -> Option<RunStage> {
    let last = last_answer(history)?;
    (last.get("stopReason").and_then(Value::as_str) == Some("error")).then(|| failed(last, Value::Null))
}

/// Whether the last words of a session are those of a failure.
pub(super) fn failure_in_history(history: &Value) -> Option<RunStage> {
    let said = message_text(last_answer(history)?);
    said.starts_with(FAILED_BEFORE_REPLY).then(|| RunStage::Failed { error: words::shown(&said), result: Value::Null })
}

/// The error that a reply of `logs.tail` tells of a session whose only run is in question, and when that was, Unix ms.
pub(super) fn failure_in_log(log: &Value, session_key: &str) -> Option<(RunStage, Option<i64>)> {
    let about = format!("lane task error: lane=session:{session_key} ");
    let mut lines = log.get("lines")?.as_array()?.iter().rev().filter_map(Value::as_str);
    let entry = read_log_line(lines.find(|line| line.contains(&about))?);
    let (_, error) = entry.message.split_once("error=")?;
    let error = error.trim_matches('"').trim_start_matches("Error: ");
    Some((RunStage::Failed { error: words::shown(error), result: Value::Null }, entry.timestamp))
}

/// The second reply to `agent`.
pub(super) fn read_outcome(outcome: Result<Value, WireError>) -> RunStage {
    let payload = match outcome {
        Ok(payload) => payload,
        Err(error) => return RunStage::Failed { error: said(&error), result: Value::Null },
    };
    let aborted = payload.pointer("/result/meta/aborted").and_then(Value::as_bool) == Some(true);
    if aborted || is_abort(&payload) {
        return killed(&payload);
    }
    match progress(&payload) {
        Some(Progress::Killed) => killed(&payload),
        Some(Progress::Failed) => failed(&payload, payload.get("result").cloned().unwrap_or_default()),
        _ => RunStage::Completed { result: cut(payload.get("result").cloned().unwrap_or(payload)) },
    }
}

/// The reply of `agent.wait`; none where it tells nothing (an unknown run reads as a timeout too).
pub(super) fn read_wait(payload: &Value) -> Option<RunStage> {
    if is_abort(payload) {
        return Some(killed(payload));
    }
    match progress(payload)? {
        Progress::Completed => {
            let said = payload.get("terminalReply").and_then(|reply| text(reply, &["text"]));
            let result = said.map_or(Value::Null, |text| json!({ "text": text }));
            Some(RunStage::Completed { result: cut(result) })
        }
        Progress::Failed if payload.get("status").and_then(Value::as_str) != Some("timeout") => {
            Some(failed(payload, Value::Null))
        }
        Progress::Killed => Some(killed(payload)),
        Progress::Failed if payload.get("endedAt").is_some_and(Value::is_number) => Some(failed(payload, Value::Null)),
        Progress::Accepted | Progress::Running | Progress::Failed => None,
    }
}

/// A run that was stopped on request ends with the way the request came in as its reason.
fn is_abort(payload: &Value) -> bool {
    matches!(payload.get("stopReason").and_then(Value::as_str), Some("rpc" | "aborted" | "abort" | "user"))
        || payload.get("summary").and_then(Value::as_str) == Some("aborted")
}

/// A `spawn_result` of document 002, or the answer to `POST /spawn`, which is worded alike.
pub(super) fn read_spawn_result(payload: &Value) -> RunStage {
    let result = payload.get("result").cloned().unwrap_or_default();
    let has_result = !result.is_null() || payload.get("completedAt").is_some_and(|at| !at.is_null());
    let exit_code = ["exitCode", "exit_code", "code"].iter().find_map(|field| result.get(*field)?.as_i64());
    let failed_so = |result: Value| match exit_code {
        Some(code) if text(payload, &["error", "message"]).is_none() => {
            RunStage::Failed { error: format!("exit code {code}"), result: cut(result) }
        }
        _ => failed(payload, result),
    };
    match progress(payload) {
        Some(Progress::Killed) => killed(payload),
        Some(Progress::Failed) => failed_so(result),
        Some(Progress::Completed) if exit_code.is_some_and(|code| code != 0) => failed_so(result),
        Some(Progress::Completed) => RunStage::Completed { result: cut(result) },
        None if has_result => RunStage::Completed { result: cut(result) },
        Some(Progress::Accepted | Progress::Running) | None => RunStage::Running { pid: pid(payload) },
    }
}

/// The end that an answer already tells.
pub(super) fn end_in(payload: &Value, method: &str) -> RunStage {
    let of_spawn = (method == "spawn").then(|| read_spawn_result(payload));
    let ended = of_spawn.filter(|stage| !matches!(stage, RunStage::Running { .. }));
    ended.unwrap_or_else(|| read_outcome(Ok(payload.clone())))
}

/// The process id, where told.
pub(super) fn pid(payload: &Value) -> Option<i64> {
    payload.get("pid").and_then(Value::as_i64)
}

/// The session, where told.
pub(super) fn session_key(payload: &Value) -> Option<String> {
    text(payload, &["sessionKey", "session", "key"])
}

/// The run's id, where told.
pub(super) fn run_id(payload: &Value) -> Option<String> {
    text(payload, &["runId", "spawnId", "id"])
}

fn killed(payload: &Value) -> RunStage {
    let words = text(payload, &["error", "errorMessage", "summary"]);
    let why = text(payload, &["stopReason", "reason", "signal"]);
    let reason = match (words, why) {
        (Some(words), Some(why)) if words != why => format!("{words} ({why})"),
        (Some(words), _) => words,
        (None, Some(why)) => format!("aborted ({why})"),
        (None, None) => "aborted".to_owned(),
    };
    RunStage::Killed { reason: words::shown(&reason) }
}

fn failed(payload: &Value, result: Value) -> RunStage {
    let error = payload.get("error");
    let error = text(payload, &["errorMessage", "error", "message", "summary"])
        .or_else(|| text(error?, &["message", "error", "code"]))
        .or_else(|| text(payload, &["status"]))
        .unwrap_or_else(|| "it gave no reason".to_owned());
    RunStage::Failed { error: words::shown(&error), result: cut(result) }
}

fn said(error: &WireError) -> String {
    let text = if error.message.is_empty() { &error.code } else { &error.message };
    let text = words::shown(text);
    if text.is_empty() { "it gave no reason".to_owned() } else { text }
}

fn text(value: &Value, fields: &[&str]) -> Option<String> {
    let found = fields.iter().find_map(|field| value.get(*field)?.as_str().filter(|text| !text.is_empty()));
    found.map(str::to_owned)
}

/// The text of a message: plain, or the text parts of its content.
fn message_text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => text(message, &["text"]).unwrap_or_default(),
    }
}

/// A value that is kept: whole up to 64 KiB, else the beginning of its text.
pub(super) fn cut(value: Value) -> Value {
    if is_small(&value) {
        return value;
    }
    let texts = value
        .get("payloads")
        .and_then(Value::as_array)
        .map(|parts| parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("\n"));
    let long = texts.filter(|text| !text.is_empty()).or_else(|| text(&value, &["text"]));
    let long = long.unwrap_or_else(|| value.to_string());
    let mut end = long.len().min(MAX_TEXT);
    loop {
        let shortened = long.get(..end).map(|text| json!({ "text": text, "truncated": true }));
        match shortened {
            // Escapes may blow a text up, to six times its length at most.
            Some(shortened) if is_small(&shortened) => return shortened,
            Some(_) => end /= 2,
            None => end = end.saturating_sub(1),
        }
    }
}

fn is_small(value: &Value) -> bool {
    /// Counts what is written, up to the bound.
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            if self.0 > MAX_RESULT { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Counter(0), value).is_ok()
}
