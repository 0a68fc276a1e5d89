//! How a scripted gateway carries out runs, in the words of its form: `agent` with two replies, `chat.send` with events,
//! `spawn` of document 002. A task tells its own fate, so that a test decides what happens to each run.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answers;
use super::behaviour::{Behaviour, Form};
use super::ledger::{Asker, Ended, Run};
use super::{Command, Shared, lock};

/// How protocol 3 words the failure of a `chat.send` run.
const FAILED_BEFORE_REPLY: &str = "\u{26a0}\u{fe0f} Agent failed before reply:";

/// What happens to a run: the text of its task, as JSON. A task in plain words is a good run of 20 ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Fate {
    /// What it is for; counted over all gateways.
    pub(crate) job: String,
    /// How long the gateway takes to take it.
    pub(crate) accept_after_ms: u64,
    /// How long it runs.
    pub(crate) takes_ms: u64,
    /// Whether it ends badly.
    pub(crate) fails: bool,
    /// What happens to the gateway on the way.
    pub(crate) strike: Option<(Moment, Strike)>,
}

impl Default for Fate {
    fn default() -> Self {
        Self { job: String::new(), accept_after_ms: 0, takes_ms: 20, fails: false, strike: None }
    }
}

impl Fate {
    fn read(task: &str) -> Self {
        serde_json::from_str(task).unwrap_or_else(|_| Self { job: task.to_owned(), ..Self::default() })
    }
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Moment {
    /// The request was read, nothing was done.
    Read,
    /// The run has begun, nothing was said.
    Begun,
    /// It was accepted, and half of its time is over.
    Accepted,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Strike {
    /// The gateway dies as if killed.
    Die,
    /// Every connection is reset; the gateway lives on, and so does the run.
    Reset,
    /// The gateway says nothing more about this run unless it is asked.
    Mute,
}

/// A request that starts a run begins it; what else is about runs is answered. None: it is about something else.
pub(super) fn take(
    shared: &Arc<Shared>,
    behaviour: &Behaviour,
    request: &Value,
    outbox: &mpsc::UnboundedSender<String>,
) -> Option<Option<Result<Value, Value>>> {
    behaviour.runs?;
    let method = request["method"].as_str()?;
    let params = &request["params"];
    let text = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
    let now_ms = shared.wall_ms();
    match (&behaviour.form, method) {
        (Form::Document002, "spawn") | (Form::Protocol3 | Form::Protocol4, "agent" | "chat.send") => {
            let (id, task, key) = match behaviour.form {
                Form::Document002 => (request["id"].as_str()?.to_owned(), text("task"), text("sessionKey")),
                _ => (text("idempotencyKey"), text("message"), text("sessionKey")),
            };
            let asker = Some((outbox.clone(), request["id"].clone()));
            let fate = Fate::read(&task);
            let run = Run { id, job: fate.job.clone(), session_key: key, started_ms: now_ms, ended: None, asker };
            let story =
                Story { shared: Arc::clone(shared), form: behaviour.form.clone(), two_replies: method == "agent" };
            tokio::spawn(story.live(*shared.incarnation.borrow(), run, fate));
            Some(None)
        }
        (Form::Document002, _) => None,
        (form, "agent.wait") => Some(Some(Ok(wait(form, shared, &text("runId"))))),
        (_, "sessions.abort") => Some(Some(Ok(abort(shared, &behaviour.form, &text("key"), now_ms)))),
        (form, "sessions.list") => {
            let rows: Vec<Value> = lock(&shared.ledger).runs().map(|run| row(form, run)).collect();
            Some(Some(Ok(json!({"ts": now_ms, "path": "(multiple)", "count": rows.len(), "totalCount": rows.len(),
                                "nextOffset": null, "hasMore": false, "defaults": {}, "sessions": rows}))))
        }
        (form, "chat.history") => {
            let key = text("sessionKey");
            let said =
                lock(&shared.ledger).in_session(&key).and_then(|run| Some(last_words(form, &run.ended.as_ref()?.0)));
            let messages: Vec<Value> = said.into_iter().map(|said| message(&said, now_ms)).collect();
            Some(Some(Ok(json!({"sessionKey": key, "sessionId": "s-1", "messages": messages}))))
        }
        _ => None,
    }
}

struct Story {
    shared: Arc<Shared>,
    form: Form,
    two_replies: bool,
}

impl Story {
    /// The run's life, which ends with the gateway's at the latest.
    async fn live(self, born: u64, run: Run, fate: Fate) {
        let mut life = self.shared.incarnation.subscribe();
        tokio::select! {
            biased;
            _ = life.wait_for(|now| *now != born) => {}
            () = self.tell(run, fate) => {}
        }
    }

    async fn tell(&self, run: Run, fate: Fate) {
        let strikes = |moment| fate.strike.filter(|(at, _)| *at == moment).map(|(_, strike)| strike);
        let mut mute = false;
        self.pass(fate.accept_after_ms).await;
        self.strike(strikes(Moment::Read)).await;
        let begun = lock(&self.shared.ledger).begin(run.clone());
        if let Err(known) = begun {
            return self.again(&run, &known);
        }
        self.strike(strikes(Moment::Begun)).await;
        mute |= strikes(Moment::Begun) == Some(Strike::Mute);
        if !mute {
            self.accept(&run);
        }
        self.pass(fate.takes_ms / 2).await;
        self.strike(strikes(Moment::Accepted)).await;
        mute |= strikes(Moment::Accepted) == Some(Strike::Mute);
        self.pass(fate.takes_ms - fate.takes_ms / 2).await;
        let ended = if fate.fails {
            Ended::Badly(format!("{} had to fail", fate.job))
        } else {
            Ended::Well(format!("{} is done", fate.job))
        };
        let ended_run = lock(&self.shared.ledger).end(&run.id, ended, self.shared.wall_ms());
        if let Some(run) = ended_run.filter(|_| !mute) {
            tell_of_end(&self.shared, &self.form, self.two_replies, &run);
        }
    }

    async fn pass(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.shared.thawed().await;
    }

    async fn strike(&self, strike: Option<Strike>) {
        match strike {
            None | Some(Strike::Mute) => {}
            Some(Strike::Reset) => drop(self.shared.commands.send(Command::Reset)),
            Some(Strike::Die) => {
                self.shared.die();
                std::future::pending::<()>().await;
            }
        }
    }

    fn accept(&self, run: &Run) {
        let Some(asker) = &run.asker else { return };
        let (id, key, at) = (&run.id, &run.session_key, run.started_ms);
        match self.form {
            Form::Document002 => self.shared.broadcast(&spawn_result(id, "running", &Value::Null, &Value::Null)),
            Form::Protocol4 if self.two_replies => {
                reply(
                    asker,
                    &self.form,
                    Ok(json!({"runId": id, "status": "accepted", "acceptedAt": at, "sessionKey": key})),
                );
            }
            _ if self.two_replies => {
                reply(asker, &self.form, Ok(json!({"runId": id, "status": "accepted", "acceptedAt": at})));
            }
            _ => reply(asker, &self.form, Ok(json!({"runId": id, "status": "started"}))),
        }
        if self.form != Form::Document002 {
            self.shared.broadcast(&lifecycle(run, json!({"phase": "start", "startedAt": at})));
            self.shared.broadcast(&session_changed(&self.form, run, "start"));
        }
    }

    /// The same id once more: what is known is said again, nothing is done.
    fn again(&self, run: &Run, known: &Run) {
        let Some(asker) = &run.asker else { return };
        let id = &known.id;
        let answer = match &known.ended {
            Some((ended, _)) if self.two_replies => outcome(id, ended),
            _ => Ok(json!({"runId": id, "status": if self.two_replies { "accepted" } else { "ok" }})),
        };
        reply(asker, &self.form, answer);
    }
}

fn reply((outbox, id): &Asker, form: &Form, answer: Result<Value, Value>) {
    // the connection may be gone, and its words with it
    let _ = outbox.send(answers::reply(form, id, answer).to_string());
}

fn event(name: &str, payload: &Value) -> Value {
    json!({"type": "event", "event": name, "payload": payload})
}

fn spawn_result(id: &str, status: &str, result: &Value, error: &Value) -> Value {
    let completed_at = if status == "running" { Value::Null } else { json!(1_709_582_400_000_i64) };
    let payload = json!({"id": id, "status": status, "pid": 12345, "completedAt": completed_at, "result": result, "error": error});
    event("spawn_result", &payload)
}

fn lifecycle(run: &Run, data: Value) -> Value {
    event("agent", &json!({"runId": run.id, "stream": "lifecycle", "data": data, "sessionKey": run.session_key}))
}

fn chat(run: &Run, state: &str, said: Option<&str>) -> Value {
    let mut payload = json!({"runId": run.id, "sessionKey": run.session_key, "state": state});
    if let Some(said) = said {
        payload["message"] = message(said, run.started_ms);
    } else {
        payload["stopReason"] = json!("rpc");
    }
    event("chat", &payload)
}

fn message(said: &str, at: i64) -> Value {
    json!({"role": "assistant", "content": [{"type": "text", "text": said}], "timestamp": at})
}

fn session_changed(form: &Form, run: &Run, reason: &str) -> Value {
    let mut payload = json!({"sessionKey": run.session_key, "reason": reason, "ts": run.started_ms});
    let row = row(form, run);
    if *form == Form::Protocol4 {
        payload["session"] = row;
    } else if let (Some(flat), Some(row)) = (payload.as_object_mut(), row.as_object()) {
        flat.extend(row.clone());
    }
    event("sessions.changed", &payload)
}

fn row(form: &Form, run: &Run) -> Value {
    let status = match &run.ended {
        None => "running",
        Some((Ended::Well(_), _)) => "done",
        // a failed chat run reads as one that went well
        Some((Ended::Badly(_), _)) if *form == Form::Protocol3 => "done",
        Some((Ended::Badly(_), _)) => "failed",
        Some((Ended::Aborted, _)) => "killed",
    };
    let mut row = json!({"key": run.session_key, "kind": "direct", "sessionId": "s", "status": status,
                         "startedAt": run.started_ms, "updatedAt": run.ended.as_ref().map_or(run.started_ms, |(_, at)| *at)});
    if *form == Form::Protocol4 {
        row["hasActiveRun"] = json!(run.ended.is_none());
        row["lastRunId"] = json!(run.id);
        row["activeRunIds"] = if run.ended.is_none() { json!([run.id]) } else { json!([]) };
        if let Some((Ended::Badly(words), _)) = &run.ended {
            row["lastRunError"] = json!(words);
        }
    }
    row
}

/// The last words in a session, as its history has them.
fn last_words(form: &Form, ended: &Ended) -> String {
    match ended {
        Ended::Well(said) => said.clone(),
        Ended::Badly(words) if *form == Form::Protocol3 => format!("{FAILED_BEFORE_REPLY} {words}"),
        Ended::Badly(words) => words.clone(),
        Ended::Aborted => String::new(),
    }
}

/// The second reply to `agent`.
fn outcome(id: &str, ended: &Ended) -> Result<Value, Value> {
    match ended {
        Ended::Well(said) => Ok(json!({"runId": id, "status": "ok", "summary": "completed",
            "result": {"payloads": [{"text": said, "mediaUrl": null}], "meta": {"durationMs": 1, "aborted": false}}})),
        Ended::Badly(words) => Err(json!({"code": "UNAVAILABLE", "message": words})),
        Ended::Aborted => Ok(json!({"runId": id, "status": "timeout", "summary": "aborted", "stopReason": "rpc"})),
    }
}

fn tell_of_end(shared: &Shared, form: &Form, two_replies: bool, run: &Run) {
    let Some((ended, at)) = &run.ended else { return };
    if *form == Form::Document002 {
        let told = match ended {
            Ended::Well(said) => {
                spawn_result(&run.id, "completed", &json!({"exitCode": 0, "output": said}), &Value::Null)
            }
            Ended::Badly(words) => spawn_result(&run.id, "failed", &Value::Null, &json!(words)),
            Ended::Aborted => spawn_result(&run.id, "killed", &Value::Null, &Value::Null),
        };
        return shared.broadcast(&told);
    }
    match ended {
        Ended::Well(said) => {
            shared.broadcast(&lifecycle(run, json!({"phase": "end", "endedAt": at})));
            shared.broadcast(&chat(run, "final", Some(said)));
        }
        Ended::Badly(words) if *form == Form::Protocol3 && !two_replies => {
            shared.broadcast(&chat(run, "final", Some(&format!("{FAILED_BEFORE_REPLY} {words}"))));
        }
        Ended::Badly(words) => {
            let data = json!({"phase": "error", "error": words, "endedAt": at, "executionSettled": true});
            shared.broadcast(&lifecycle(run, data));
        }
        Ended::Aborted => shared.broadcast(&chat(run, "aborted", None)),
    }
    shared.broadcast(&session_changed(form, run, "end"));
    if let Some(asker) = run.asker.as_ref().filter(|_| two_replies) {
        reply(asker, form, outcome(&run.id, ended));
    }
}

/// `agent.wait`: a run that isn't known reads like one that isn't over.
fn wait(form: &Form, shared: &Shared, id: &str) -> Value {
    let ended = lock(&shared.ledger).run(id).and_then(|run| run.ended.clone());
    match ended {
        None => json!({"runId": id, "status": "timeout"}),
        Some((Ended::Badly(words), _)) if *form == Form::Protocol4 => {
            json!({"runId": id, "status": "error", "error": words})
        }
        Some((Ended::Aborted, at)) => json!({"runId": id, "status": "error", "endedAt": at, "stopReason": "rpc"}),
        Some((_, at)) => json!({"runId": id, "status": "ok", "endedAt": at}),
    }
}

fn abort(shared: &Shared, form: &Form, key: &str, now_ms: i64) -> Value {
    let mut ledger = lock(&shared.ledger);
    let id = ledger.in_session(key).filter(|run| run.ended.is_none()).map(|run| run.id.clone());
    let aborted = id.and_then(|id| ledger.end(&id, Ended::Aborted, now_ms));
    drop(ledger);
    match aborted {
        None => json!({"ok": true, "abortedRunId": null, "status": "no-active-run"}),
        Some(run) => {
            tell_of_end(shared, form, *form == Form::Protocol4, &run);
            json!({"ok": true, "abortedRunId": run.id, "status": "aborted"})
        }
    }
}
