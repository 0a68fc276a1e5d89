//! Starting runs: how a piece of work is worded on a gateway, whether the gateway took it, and how certain that is.
//!
//! Work is worded by what the gateway can do. Real releases refuse a property that they don't know, so each form sends only what it
//! is known to take.
//!
//! Certainty is the point of all this. Work may move to another gateway only if it certainly was not taken: it never
//! left, or the gateway refused it before acceptance. Once the frame was given to the socket, anything but a refusal
//! leaves it open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::capabilities::SpawnForm;
use gatewarden_protocol::{AgentRow, Dialect};
use serde_json::{Map, Value, json};

use super::active::{ActiveConnection, ready};
use super::run_words::{self, Progress};
use super::turn::{CallToken, MAX_CALL, NoAnswer, PendingKind, Turn};
use super::{Effect, Runs};
use crate::error::Failure;
use crate::spawn::{Certainty, NotAccepted, SpawnRecord, SpawnRequest, SpawnState, Work, own_session};

/// After something of our own doing, until the list of sessions shows it.
const SOON: Duration = Duration::from_secs(1);

/// A run whose acceptance is awaited.
#[derive(Debug)]
pub(super) struct StartingRun {
    spawn: Arc<SpawnRequest>,
    form: SpawnForm,
    /// When its acceptance is awaited no more.
    deadline: Instant,
    /// Whether it has been given to the socket.
    pub(super) sent: bool,
    /// The session that it will run in, as far as we choose it.
    session_key: Option<String>,
    /// What is to be set on the session first, since the method itself can't say it; the next one last.
    before: Vec<Preparation>,
}

/// A `sessions.patch` ahead of a run.
#[derive(Debug)]
struct Preparation {
    params: Value,
    /// Whether the run makes no sense without it. A label is only for people.
    needed: bool,
}

impl Runs {
    /// Somebody wants a run started.
    pub(super) fn start(
        &mut self,
        turn: &mut Turn<'_>,
        active: Option<&mut ActiveConnection>,
        call: CallToken,
        spawn: &Arc<SpawnRequest>,
    ) {
        let active = match ready(turn, active) {
            Ok(active) => active,
            Err(failure) => return self.not_taken(turn, call, failure),
        };
        let form = match spawn.work {
            Work::Command { .. } => {
                active.capabilities.spawn_command().ok_or_else(|| turn.peer.cannot_run_programs("spawn"))
            }
            Work::Task { .. } => active.capabilities.spawn_task().ok_or_else(|| turn.peer.not_supported("agent")),
        };
        match form {
            Err(failure) => self.not_taken(turn, call, failure),
            Ok(form) => {
                let run = StartingRun::new(spawn, form, active.agents.as_deref(), turn.moment.now);
                self.starting.insert(call, run);
                self.go_on_starting(turn, active, call);
            }
        }
    }

    /// The next preparation, or the request itself.
    pub(super) fn go_on_starting(&mut self, turn: &mut Turn<'_>, active: &mut ActiveConnection, call: CallToken) {
        let active = match ready(turn, Some(active)) {
            Ok(active) => active,
            Err(failure) => return self.not_taken(turn, call, failure),
        };
        let Some(starting) = self.starting.get_mut(&call) else { return };
        let timeout = starting.deadline.saturating_duration_since(turn.moment.now);
        if let Some(preparation) = starting.before.pop() {
            let kind = PendingKind::Preparation(call, preparation.needed);
            let asked = active.request(turn, "sessions.patch", &preparation.params, timeout, kind);
            if let Err(failure) = asked {
                self.not_taken(turn, call, failure);
            }
            return;
        }
        let (method, params) = (starting.method(), Value::Object(starting.params()));
        let chosen_id = starting.is_under_spawn_id().then_some(starting.spawn_id());
        match active.request_as(turn, chosen_id, method, &params, timeout, PendingKind::Run(call)) {
            Err(failure) => self.not_taken(turn, call, failure),
            Ok(()) => {
                starting.sent = true;
                self.tracker.follow(starting.spawn_id(), starting.session_key.as_deref());
            }
        }
    }

    pub(super) fn refused(&mut self, turn: &mut Turn<'_>, call: CallToken, no_answer: NoAnswer) {
        let Some(starting) = self.starting.get(&call) else { return };
        match no_answer {
            // It was heard of already: then it was taken, and this is how it ended.
            NoAnswer::Refused(error) | NoAnswer::NotOffered(error) if self.tracker.heard_of(starting.spawn_id()) => {
                let run_id = starting.spawn_id().to_owned();
                self.accept(turn, call, Value::Null, run_id.clone(), false);
                self.ended(turn, run_id, run_words::read_outcome(Err(error)));
            }
            no_answer => {
                let failure = no_answer.failure(turn.peer, starting.method());
                self.not_taken(turn, call, failure);
            }
        }
    }

    pub(super) fn taken(
        &mut self,
        turn: &mut Turn<'_>,
        active: &mut ActiveConnection,
        call: CallToken,
        request_id: String,
        payload: Value,
    ) {
        let Some(starting) = self.starting.get(&call) else { return };
        let (spawn_id, method) = (starting.spawn_id().to_owned(), starting.method());
        if self.tracker.names_another(&spawn_id, &payload) {
            let failure = turn.peer.spoke_of_another(method);
            return self.unanswered(turn, PendingKind::Run(call), failure, Certainty::Unknown);
        }
        let progress = run_words::progress(&payload);
        let is_over = match progress {
            Some(Progress::Accepted | Progress::Running) => false,
            Some(_) => true,
            // Dialect `rpc` answers once, with the agent's answer; elsewhere a plain yes is an acceptance.
            None => active.dialect == Dialect::Rpc,
        };
        let ended = is_over.then(|| run_words::end_in(&payload, method));
        // What has ended is not looked up any more: its own id spares everybody a second one.
        let named = run_words::run_id(&payload).filter(|_| !is_over && !starting.is_under_spawn_id());
        let run_id = named.unwrap_or_else(|| spawn_id.clone());
        if run_id != spawn_id {
            self.tracker.forget(&spawn_id);
        }
        let running = progress == Some(Progress::Running);
        let second_reply_due = method == "agent" && !is_over;
        if second_reply_due {
            active.expect_second_reply(request_id, Some(run_id.clone()));
        }
        self.accept(turn, call, payload, run_id.clone(), running);
        self.tracker.accepted(&run_id, running, second_reply_due);
        if let Some(stage) = ended {
            self.ended(turn, run_id, stage);
        } else if active.dialect == Dialect::Http {
            // So that its session can be steered at once.
            active.want_sessions_by(turn.moment.now + SOON);
        }
    }

    /// Answers the caller with the acceptance.
    fn accept(&mut self, turn: &mut Turn<'_>, call: CallToken, payload: Value, run_id: String, running: bool) {
        let Some(starting) = self.starting.remove(&call) else { return };
        let is_news = !self.tracker.heard_of(starting.spawn_id());
        let told = run_words::session_key(&payload);
        // A session that nobody named is the run's own.
        let alone = starting.session_key.is_none() && told.is_some();
        let session_key = told.or_else(|| starting.session_key.clone());
        self.tracker.follow(&run_id, session_key.as_deref());
        if alone {
            self.tracker.has_own_session(&run_id);
        }
        if is_news {
            self.tracker.tell_session(&run_id, true);
        }
        let record = SpawnRecord {
            state: if running { SpawnState::Running } else { SpawnState::Accepted },
            run_id: Some(run_id),
            session_key,
            pid: run_words::pid(&payload),
            result: Some(run_words::cut(payload)),
            ..starting.spawn.record.clone()
        };
        turn.push(Effect::AnswerRun(call, Box::new(Ok(record))));
        turn.push(Effect::SpawnAccepted(starting.spawn_id().to_owned(), starting.method()));
    }

    /// The gateway certainly hasn't taken it.
    pub(super) fn not_taken(&mut self, turn: &mut Turn<'_>, call: CallToken, failure: Failure) {
        if let Some(starting) = self.starting.remove(&call) {
            self.tracker.forget(starting.spawn_id());
        }
        let not_accepted = NotAccepted { failure, certainty: Certainty::NotTaken };
        turn.push(Effect::AnswerRun(call, Box::new(Err(not_accepted))));
    }

    /// The socket refused the frame that was to start a run: it never left.
    pub(super) fn unsent(&mut self, turn: &mut Turn<'_>, call: CallToken) {
        if self.starting.contains_key(&call) {
            let failure = turn.unavailable();
            self.not_taken(turn, call, failure);
        }
    }
}

impl StartingRun {
    /// A spawn that goes out in this form. `agents` are the gateway's, where known.
    fn new(spawn: &Arc<SpawnRequest>, form: SpawnForm, agents: Option<&[AgentRow]>, now: Instant) -> Self {
        let mut run = Self {
            deadline: now + spawn.timeout.min(MAX_CALL),
            spawn: Arc::clone(spawn),
            form,
            sent: false,
            session_key: None,
            before: Vec::new(),
        };
        let Work::Task { agent, session_key, model, label, .. } = &spawn.work else { return run };
        run.session_key.clone_from(session_key);
        if matches!(form, SpawnForm::AgentTwoReplies | SpawnForm::ChatSend) {
            // Without a session of its own it would run in the agent's main one and take over its label.
            run.session_key.get_or_insert_with(|| {
                let default =
                    || agents.into_iter().flatten().find(|agent| agent.is_default).map(|agent| agent.id.clone());
                let agent = agent.clone().or_else(default).unwrap_or_else(|| "main".to_owned());
                own_session(&agent, &spawn.record.spawn_id)
            });
        }
        if form == SpawnForm::ChatSend {
            let key = &run.session_key;
            let label = label.as_ref().map(|label| (json!({ "key": key, "label": label }), false));
            let model = model.as_ref().map(|model| (json!({ "key": key, "model": model }), true));
            let prepare = |(params, needed)| Preparation { params, needed };
            run.before = label.into_iter().chain(model).map(prepare).collect();
        }
        run
    }

    fn spawn_id(&self) -> &str {
        &self.spawn.record.spawn_id
    }

    /// The method on the wire; over HTTP, `spawn` stands for `POST /spawn`.
    fn method(&self) -> &'static str {
        match self.form {
            SpawnForm::Spawn | SpawnForm::Http => "spawn",
            SpawnForm::AgentOneReply | SpawnForm::AgentTwoReplies => "agent",
            SpawnForm::ChatSend => "chat.send",
        }
    }

    /// Whether the request goes out under the spawn's id: document 002 knows a run by the id of its request.
    fn is_under_spawn_id(&self) -> bool {
        self.form == SpawnForm::Spawn
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        match &self.spawn.work {
            // Of document 002.
            Work::Command { command, args, env, cwd } => {
                let env: Map<String, Value> =
                    env.iter().map(|(name, value)| (name.clone(), Value::from(value.expose()))).collect();
                params.insert("command".to_owned(), command.clone().into());
                params.insert("args".to_owned(), args.clone().into());
                params.insert("env".to_owned(), env.into());
                put(&mut params, "cwd", cwd.clone());
            }
            Work::Task { task, agent, model, label, timeout_seconds, .. } => {
                let (task_name, agent_name, timeout_name) = match self.form {
                    // The words of our own API, since document 002 has none.
                    SpawnForm::Spawn | SpawnForm::Http => ("task", "agent", "timeoutSeconds"),
                    // Those of real releases, and of document 004 as far as it names any.
                    _ => ("message", "agentId", "timeout"),
                };
                params.insert(task_name.to_owned(), task.clone().into());
                put(&mut params, "sessionKey", self.session_key.clone());
                if self.form == SpawnForm::ChatSend {
                    // It takes neither model nor label, which belong to the session there.
                    put(&mut params, "timeoutMs", timeout_seconds.map(|seconds| u64::from(seconds) * 1_000));
                } else {
                    put(&mut params, agent_name, agent.clone());
                    put(&mut params, "model", model.clone());
                    put(&mut params, "label", label.clone());
                    put(&mut params, timeout_name, *timeout_seconds);
                }
            }
        }
        if matches!(self.form, SpawnForm::Http | SpawnForm::AgentTwoReplies | SpawnForm::ChatSend) {
            params.insert("idempotencyKey".to_owned(), self.spawn_id().into());
        }
        if matches!(self.form, SpawnForm::AgentTwoReplies | SpawnForm::ChatSend) {
            params.insert("deliver".to_owned(), false.into());
        }
        params
    }
}

fn put(params: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        params.insert(name.to_owned(), value.into());
    }
}
