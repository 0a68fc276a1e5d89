//! How runs are answered: the payloads of `agent`, `chat.send`, `agent.wait`, `spawn` and of `spawn_result` events.

use serde_json::{Value, json};

use super::run::{Ending, Run, RunState};
use crate::call::{CallError, ReplyTo};
use crate::payload::without_nulls;
use crate::sessions::model_parts;

pub(super) fn accepted(run: &Run) -> Value {
    json!({
        "runId": run.id.0,
        "status": "accepted",
        "acceptedAt": run.accepted_at,
        "sessionKey": run.session_key,
        "agentId": run.agent_id,
    })
}

/// Reply to `chat.send` and `sessions.send`. `queued` where the session is at work: it starts when the runs before it have ended.
pub(super) fn sent(run: &Run, message_seq: Option<u64>) -> Value {
    let status = if run.state == RunState::Queued { "queued" } else { "started" };
    without_nulls(json!({
        "runId": run.id.0,
        "status": status,
        "sessionKey": run.session_key,
        "messageSeq": message_seq,
    }))
}

/// Last reply to `agent`: what the second reply of real gateways says.
pub(super) fn outcome(run: &Run) -> Result<Value, CallError> {
    let Some(end) = run.state.end() else { return Ok(accepted(run)) };
    match &end.how {
        Ending::Failed(error) => Err(CallError::unavailable(error.clone())),
        Ending::Killed(reason) => Ok(json!({
            "runId": run.id.0,
            "status": "timeout",
            "summary": "aborted",
            "stopReason": reason,
            "sessionKey": run.session_key,
        })),
        Ending::Completed => {
            let usage = run.usage.unwrap_or_default();
            let (provider, model) = model_parts(run.model.as_deref());
            Ok(json!({
                "runId": run.id.0,
                "status": "ok",
                "summary": "completed",
                "sessionKey": run.session_key,
                "result": {
                    "payloads": [{"text": run.answer.text(), "mediaUrl": null}],
                    "meta": {
                        "durationMs": end.duration_ms,
                        "agentMeta": {
                            "sessionId": run.session_id,
                            "provider": provider,
                            "model": model,
                            "usage": {
                                "input": usage.input,
                                "output": usage.output,
                                "total": usage.input.saturating_add(usage.output),
                            },
                        },
                        "aborted": false,
                        "truncated": run.answer.is_cut(),
                        "exitCode": end.exit_code,
                    },
                },
            }))
        }
    }
}

/// Reply to the same `chat.send` or `sessions.send` once more.
pub(super) fn sent_again(run: &Run) -> Result<Value, CallError> {
    match run.state.end() {
        None => Ok(json!({"runId": run.id.0, "status": "in_flight", "sessionKey": run.session_key})),
        Some(end) => match &end.how {
            Ending::Completed => Ok(json!({"runId": run.id.0, "status": "ok", "sessionKey": run.session_key})),
            Ending::Failed(_) | Ending::Killed(_) => outcome(run),
        },
    }
}

pub(super) fn waited(run: &Run) -> Value {
    let Some(end) = run.state.end() else { return still_waiting(&run.id.0) };
    match &end.how {
        Ending::Completed => json!({
            "runId": run.id.0,
            "status": "ok",
            "startedAt": run.started_at,
            "endedAt": end.at,
            "terminalReply": {"disposition": "visible", "text": run.answer.text()},
        }),
        Ending::Failed(error) => json!({
            "runId": run.id.0,
            "status": "error",
            "error": error,
            "startedAt": run.started_at,
            "endedAt": end.at,
        }),
        Ending::Killed(reason) => json!({
            "runId": run.id.0,
            "status": "timeout",
            "summary": "aborted",
            "stopReason": reason,
            "startedAt": run.started_at,
            "endedAt": end.at,
        }),
    }
}

/// Reply to `agent.wait` when its time is up, and about a run that isn't known.
pub(super) fn still_waiting(run_id: &str) -> Value {
    json!({"runId": run_id, "status": "timeout"})
}

pub(super) fn spawn_result_for(run: &Run, reply: &ReplyTo) -> Value {
    spawn_result(run, reply.request.as_deref().unwrap_or(&run.id.0))
}

/// The payload of `spawn_result`, and the reply to `spawn`. `id` is the request's for who asked, the run's for all others.
pub(super) fn spawn_result(run: &Run, id: &str) -> Value {
    let end = run.state.end();
    let (error, result) = match end {
        None => (None, Value::Null),
        Some(end) => {
            let error = match &end.how {
                Ending::Completed => None,
                Ending::Failed(error) => Some(error.clone()),
                Ending::Killed(reason) => Some(format!("killed on request ({reason})")),
            };
            let ran = end.exit_code.is_some() || end.signal.is_some();
            let result = json!({
                "exitCode": end.exit_code,
                "signal": end.signal,
                "durationMs": end.duration_ms,
                "text": run.answer.text(),
            });
            (error, if ran { result } else { Value::Null })
        }
    };
    let status = match run.state {
        // Stopped for a while is still running: document 002 has no word for it. The session's row has.
        RunState::Paused => "running",
        _ => run.state.as_str(),
    };
    json!({
        "id": id,
        "status": status,
        "pid": run.pid,
        "completedAt": end.map(|end| end.at),
        "result": result,
        "error": error,
        "runId": run.id.0,
        "sessionKey": run.session_key,
    })
}
