//! What the connections are told of runs: `agent` and `chat` as real gateways word them, `agent.*` and `typing` of document 004,
//! `agent.status` and `spawn_result` of document 002.

use serde_json::{Value, json};

use super::answer::Piece;
use super::replies;
use super::run::{Asked, Ending, Run, RunState};
use crate::caller::{ConnectionId, Scope};
use crate::config::ChannelKind;
use crate::payload::{joined, without_nulls};
use crate::subscribers::Subscribers;
use crate::turn::Turn;

pub(super) struct EventEmitter<'a> {
    readers: Vec<ConnectionId>,
    now: i64,
    subscribers: &'a Subscribers,
}

impl<'a> EventEmitter<'a> {
    pub(super) fn new(subscribers: &'a Subscribers, turn: &Turn<'_>) -> Self {
        Self { readers: subscribers.holding(Scope::Read), now: turn.now.wall_ms, subscribers }
    }

    pub(super) fn message(&self, run: &Run, text: &str, from: &str, turn: &mut Turn<'_>) {
        let payload = json!({
            "sessionKey": run.session_key,
            "agentId": run.agent_id,
            "runId": run.id.0,
            "role": "user",
            "text": text,
            "from": from,
            "channel": ChannelKind::of_sender(from).map_or("gateway", ChannelKind::id),
            "ts": self.now,
        });
        self.tell_by_written_key(run, "message", payload, turn);
    }

    pub(super) fn started(&self, run: &mut Run, turn: &mut Turn<'_>) {
        let data = json!({"phase": "start", "startedAt": self.now, "pid": run.pid});
        self.agent(run, "lifecycle", data, turn);
        self.typing(run, true, turn);
        self.spawn_result(run, turn);
    }

    pub(super) fn paused(&self, run: &mut Run, paused: bool, turn: &mut Turn<'_>) {
        let data = json!({"phase": if paused { "paused" } else { "resumed" }});
        self.agent(run, "lifecycle", data, turn);
    }

    pub(super) fn piece(&self, run: &mut Run, piece: &Piece, turn: &mut Turn<'_>) {
        if self.readers.is_empty() {
            return;
        }
        self.agent(run, "assistant", json!({"text": piece.text, "delta": piece.delta}), turn);
        let fields = json!({"state": "delta", "deltaText": piece.delta, "message": self.said(&piece.text)});
        self.chat(run, fields, turn);
        let fields = json!({"text": piece.text, "delta": piece.delta});
        self.of_document_004("agent.text", run, fields, turn);
    }

    pub(super) fn thinking(&self, run: &mut Run, text: &str, turn: &mut Turn<'_>) {
        self.agent(run, "thinking", json!({"text": text, "delta": text}), turn);
        self.of_document_004("agent.thinking", run, json!({"text": text, "delta": text}), turn);
    }

    pub(super) fn tool_start(&self, run: &mut Run, name: &str, id: Option<&str>, args: &Value, turn: &mut Turn<'_>) {
        let data = json!({"phase": "start", "name": name, "toolCallId": id, "args": args});
        self.agent(run, "tool", data, turn);
        self.of_document_004("agent.tool.start", run, json!({"tool": name, "toolCallId": id, "args": args}), turn);
    }

    pub(super) fn tool_result(
        &self,
        run: &mut Run,
        name: Option<&str>,
        id: Option<&str>,
        (result, is_error): (&Value, bool),
        turn: &mut Turn<'_>,
    ) {
        let data = json!({"phase": "result", "name": name, "toolCallId": id, "result": result, "isError": is_error});
        self.agent(run, "tool", data, turn);
        let fields = json!({"tool": name, "toolCallId": id, "result": result, "isError": is_error});
        self.of_document_004("agent.tool.result", run, fields, turn);
    }

    pub(super) fn usage(&self, run: &mut Run, turn: &mut Turn<'_>) {
        let usage = run.usage.unwrap_or_default();
        let data = json!({"inputTokens": usage.input, "outputTokens": usage.output, "model": run.model});
        self.agent(run, "usage", data, turn);
    }

    pub(super) fn ended(&self, run: &mut Run, turn: &mut Turn<'_>) {
        let Some(end) = run.state.end().cloned() else { return };
        let text = run.answer.text().to_owned();
        let message = if text.is_empty() { Value::Null } else { self.said(&text) };
        let started = run.started_at;
        let (status, error) = match &end.how {
            Ending::Completed => {
                let data = json!({
                    "phase": "end",
                    "startedAt": started,
                    "endedAt": end.at,
                    "aborted": false,
                    "stopReason": "stop",
                    "executionSettled": true,
                    "terminalReply": {"disposition": "visible", "text": text},
                });
                self.agent(run, "lifecycle", data, turn);
                self.chat(run, json!({"state": "final", "stopReason": "stop", "message": message}), turn);
                ("ok", Value::Null)
            }
            Ending::Failed(error) => {
                let data = json!({
                    "phase": "error",
                    "error": error,
                    "startedAt": started,
                    "endedAt": end.at,
                    "aborted": false,
                    "executionSettled": true,
                });
                self.agent(run, "lifecycle", data, turn);
                self.chat(run, json!({"state": "error", "errorMessage": error, "message": message}), turn);
                ("error", Value::from(error.clone()))
            }
            Ending::Killed(reason) => {
                let data = json!({
                    "phase": "end",
                    "status": "cancelled",
                    "aborted": true,
                    "stopReason": reason,
                    "startedAt": started,
                    "endedAt": end.at,
                });
                self.agent(run, "lifecycle", data, turn);
                self.chat(run, json!({"state": "aborted", "stopReason": reason, "message": message}), turn);
                ("aborted", Value::from(format!("killed on request ({reason})")))
            }
        };
        let fields = json!({
            "text": text,
            "status": status,
            "error": error,
            "exitCode": end.exit_code,
            "signal": end.signal,
            "durationMs": end.duration_ms,
        });
        self.of_document_004("agent.done", run, fields, turn);
        if started.is_some() {
            self.typing(run, false, turn);
        }
        self.spawn_result(run, turn);
    }

    /// Document 002's status of an agent. `id` is its place in the list of agents, from 1.
    pub(super) fn agent_status(&self, id: usize, name: &str, status: &str, activity: &str, turn: &mut Turn<'_>) {
        let payload = json!({
            "id": id,
            "name": name,
            "status": status,
            "last_seen": self.now / 1_000,
            "last_activity": activity,
        });
        self.tell("agent.status", payload, turn);
    }

    /// To who asked, under the id of the request; to all other readers under the id of the run.
    fn spawn_result(&self, run: &Run, turn: &mut Turn<'_>) {
        if run.asked != Asked::Spawn || matches!(run.state, RunState::Queued | RunState::Starting) {
            return;
        }
        let spawner = run.spawner.as_ref().filter(|(connection, _)| self.subscribers.caller(*connection).is_some());
        if let Some((connection, request)) = spawner {
            turn.tell(vec![*connection], "spawn_result", replies::spawn_result(run, request));
        }
        let others = self.readers.iter().copied().filter(|reader| spawner.is_none_or(|(asker, _)| asker != reader));
        turn.tell(others.collect(), "spawn_result", replies::spawn_result(run, &run.id.0));
    }

    fn typing(&self, run: &Run, typing: bool, turn: &mut Turn<'_>) {
        self.of_document_004("typing", run, json!({"typing": typing}), turn);
    }

    /// A real gateway's `agent` event. Each has the next number of its run.
    fn agent(&self, run: &mut Run, stream: &str, data: Value, turn: &mut Turn<'_>) {
        run.seq += 1;
        let payload = json!({
            "runId": run.id.0,
            "sessionKey": run.session_key,
            "sessionId": run.session_id,
            "agentId": run.agent_id,
            "stream": stream,
            "data": data,
            "seq": run.seq,
            "ts": self.now,
        });
        self.tell("agent", payload, turn);
    }

    /// A real gateway's `chat` event, with the number of the `agent` event before it.
    fn chat(&self, run: &Run, fields: Value, turn: &mut Turn<'_>) {
        let payload = json!({
            "runId": run.id.0,
            "sessionKey": run.session_key,
            "agentId": run.agent_id,
            "seq": run.seq,
        });
        self.tell("chat", joined(payload, without_nulls(fields)), turn);
    }

    fn of_document_004(&self, event: &str, run: &Run, fields: Value, turn: &mut Turn<'_>) {
        let payload = json!({
            "sessionKey": run.session_key,
            "agentId": run.agent_id,
            "runId": run.id.0,
            "ts": self.now,
        });
        self.tell_by_written_key(run, event, joined(payload, fields), turn);
    }

    /// An event of document 004, whose clients know a session by the key that they wrote. All others know the whole key.
    fn tell_by_written_key(&self, run: &Run, event: &str, payload: Value, turn: &mut Turn<'_>) {
        let asker = run.written_key.as_ref().filter(|(connection, _)| self.readers.contains(connection));
        let Some((asker, key)) = asker else { return self.tell(event, payload, turn) };
        turn.tell(vec![*asker], event, joined(payload.clone(), json!({"sessionKey": key})));
        turn.tell(self.readers.iter().copied().filter(|reader| reader != asker).collect(), event, payload);
    }

    fn said(&self, text: &str) -> Value {
        json!({"role": "assistant", "content": [{"type": "text", "text": text}], "timestamp": self.now})
    }

    fn tell(&self, event: &str, payload: Value, turn: &mut Turn<'_>) {
        turn.tell(self.readers.clone(), event, payload);
    }
}
