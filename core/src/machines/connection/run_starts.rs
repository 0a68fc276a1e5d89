//! Starting runs: how a piece of work is worded on a gateway, whether the gateway took it, and how certain that is.
//!
//! Work is worded by what the gateway can do. Real releases refuse a property that they don't know, so each form sends only what it
//! is known to take.
//!
//! Certainty is the point of all this. Work may move to another gateway only if it certainly was not taken: it never
//! left, or the gateway refused it before acceptance. Once the frame was given to the socket, anything but a refusal
//! leaves it open.

use std::time::{Duration, Instant};

use gatewarden_protocol::capabilities::{SpawnCommand, SpawnTask};
use gatewarden_protocol::{AgentRow, Capabilities, Dialect};
use serde_json::{Map, Value, json};

use super::active::{ActiveConnection, ready};
use super::run_words::{self, Progress};
use super::turn::{CallToken, MAX_CALL, NoAnswer, PendingKind, Turn};
use super::{Effect, Runs};
use crate::error::Failure;
use crate::spawn::{Accepted, Certainty, NotAccepted, SpawnRequest, Work, own_session};

/// After something of our own doing, until the list of sessions shows it.
const SOON: Duration = Duration::from_secs(1);

/// A request that starts a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WorkRequest {
    pub(super) spawn_id: String,
    /// When its acceptance is awaited no more.
    pub(super) deadline: Instant,
    /// Whether it has been given to the socket.
    pub(super) sent: bool,
    /// The method on the wire; over HTTP, `spawn` stands for `POST /spawn`.
    pub(super) method: &'static str,
    pub(super) params: Value,
    /// The session that it will run in, as far as we choose it.
    pub(super) session_key: Option<String>,
    /// What is to be set on the session first, since the method itself can't say it; the next one last.
    pub(super) before: Vec<Preparation>,
    /// Whether the request goes out under the spawn's id: document 002 knows a run by the id of its request.
    pub(super) under_spawn_id: bool,
}

/// A `sessions.patch` ahead of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Preparation {
    pub(super) params: Value,
    /// Whether the run makes no sense without it. A label is only for people.
    pub(super) needed: bool,
}

/// What a form calls the fields of a task.
struct TaskNames {
    task: &'static str,
    agent: &'static str,
    timeout: &'static str,
}

/// The words of our own API, since document 002 has none.
const DOCUMENTED: TaskNames = TaskNames { task: "task", agent: "agent", timeout: "timeoutSeconds" };
/// Those of real releases, and of document 004 as far as it names any.
const RELEASE: TaskNames = TaskNames { task: "message", agent: "agentId", timeout: "timeout" };

impl Runs {
    /// Somebody wants a run started.
    pub(super) fn start(
        &mut self,
        turn: &mut Turn<'_>,
        active: Option<&mut ActiveConnection>,
        call: CallToken,
        spawn: &SpawnRequest,
    ) {
        let worded = ready(turn, active).and_then(|active| {
            word(&active.capabilities, active.agents.as_deref(), spawn, turn.moment.now)
                .map(|request| (active, request))
                .map_err(|missing| match spawn.work {
                    Work::Command { .. } => turn.peer.cannot_run_programs(missing),
                    Work::Task { .. } => turn.peer.not_supported(missing),
                })
        });
        match worded {
            Err(failure) => self.not_taken(turn, call, failure),
            Ok((active, request)) => {
                self.starting.insert(call, request);
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
        let Some(request) = self.starting.get_mut(&call) else { return };
        let timeout = request.deadline.saturating_duration_since(turn.moment.now);
        if let Some(preparation) = request.before.pop() {
            let kind = PendingKind::Preparation(call, preparation.needed);
            let asked = active.request(turn, "sessions.patch", &preparation.params, timeout, kind);
            if let Err(failure) = asked {
                self.not_taken(turn, call, failure);
            }
            return;
        }
        let chosen_id = request.under_spawn_id.then_some(request.spawn_id.as_str());
        match active.request_as(turn, chosen_id, request.method, &request.params, timeout, PendingKind::Run(call)) {
            Err(failure) => self.not_taken(turn, call, failure),
            Ok(()) => {
                request.sent = true;
                self.tracker.follow(&request.spawn_id, request.session_key.as_deref());
            }
        }
    }

    pub(super) fn refused(&mut self, turn: &mut Turn<'_>, call: CallToken, no_answer: NoAnswer) {
        let Some(starting) = self.starting.get(&call) else { return };
        match no_answer {
            // It was heard of already: then it was taken, and this is how it ended.
            NoAnswer::Refused(error) | NoAnswer::NotOffered(error) if self.tracker.heard_of(&starting.spawn_id) => {
                let run_id = starting.spawn_id.clone();
                self.accept(turn, call, Value::Null, run_id.clone(), false);
                self.ended(turn, run_id, run_words::read_outcome(Err(error)));
            }
            no_answer => {
                let failure = no_answer.failure(turn.peer, starting.method);
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
        let spawn_id = starting.spawn_id.clone();
        if self.tracker.names_another(&spawn_id, &payload) {
            let failure = turn.peer.spoke_of_another(starting.method);
            return self.unanswered(turn, PendingKind::Run(call), failure, Certainty::Unknown);
        }
        let progress = run_words::progress(&payload);
        let is_over = match progress {
            Some(Progress::Accepted | Progress::Running) => false,
            Some(_) => true,
            // Dialect `rpc` answers once, with the agent's answer; elsewhere a plain yes is an acceptance.
            None => active.dialect == Dialect::Rpc,
        };
        let ended = is_over.then(|| run_words::end_in(&payload, starting.method));
        // What has ended is not looked up any more: its own id spares everybody a second one.
        let named = run_words::run_id(&payload).filter(|_| !is_over && !starting.under_spawn_id);
        let run_id = named.unwrap_or_else(|| spawn_id.clone());
        if run_id != spawn_id {
            self.tracker.forget(&spawn_id);
        }
        let running = progress == Some(Progress::Running);
        let second_reply_due = starting.method == "agent" && !is_over;
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
        let is_news = !self.tracker.heard_of(&starting.spawn_id);
        let told = run_words::session_key(&payload);
        // A session that nobody named is the run's own.
        let alone = starting.session_key.is_none() && told.is_some();
        let session_key = told.or(starting.session_key);
        self.tracker.follow(&run_id, session_key.as_deref());
        if alone {
            self.tracker.has_own_session(&run_id);
        }
        if is_news {
            self.tracker.tell_session(&run_id, true);
        }
        let accepted = Accepted {
            run_id,
            session_key,
            pid: run_words::pid(&payload),
            running,
            method: starting.method,
            reply: run_words::cut(payload),
        };
        turn.push(Effect::AnswerRun(call, Ok(accepted)));
    }

    /// The gateway certainly hasn't taken it.
    pub(super) fn not_taken(&mut self, turn: &mut Turn<'_>, call: CallToken, failure: Failure) {
        if let Some(starting) = self.starting.remove(&call) {
            self.tracker.forget(&starting.spawn_id);
        }
        turn.push(Effect::AnswerRun(call, Err(NotAccepted { failure, certainty: Certainty::NotTaken })));
    }

    /// The socket refused the frame that was to start a run: it never left.
    pub(super) fn unsent(&mut self, turn: &mut Turn<'_>, call: CallToken) {
        if self.starting.contains_key(&call) {
            let failure = turn.unavailable();
            self.not_taken(turn, call, failure);
        }
    }
}

/// The words for a spawn's work, or the method that the gateway lacks for it. `agents` are the gateway's, where known.
fn word(
    capabilities: &Capabilities,
    agents: Option<&[AgentRow]>,
    SpawnRequest { record, work, timeout, .. }: &SpawnRequest,
    now: Instant,
) -> Result<WorkRequest, &'static str> {
    let spawn_id = record.spawn_id.as_str();
    let plain = |method, params, session_key| WorkRequest {
        spawn_id: spawn_id.to_owned(),
        deadline: now + (*timeout).min(MAX_CALL),
        sent: false,
        method,
        params: Value::Object(params),
        session_key,
        before: Vec::new(),
        under_spawn_id: false,
    };
    let documented = |params, key| WorkRequest { under_spawn_id: true, ..plain("spawn", params, key) };
    let over_http = |params, key| plain("spawn", with_key(params, spawn_id), key);
    match work {
        Work::Command { .. } => match capabilities.spawn_command() {
            SpawnCommand::Spawn => Ok(documented(command_params(work), None)),
            SpawnCommand::Http => Ok(over_http(command_params(work), None)),
            SpawnCommand::Impossible => Err("spawn"),
        },
        Work::Task { session_key, .. } => {
            let named = || session_key.clone();
            match capabilities.spawn_task() {
                SpawnTask::Spawn => Ok(documented(task_params(&DOCUMENTED, work, named()), named())),
                SpawnTask::Http => Ok(over_http(task_params(&DOCUMENTED, work, named()), named())),
                SpawnTask::AgentOneReply => Ok(plain("agent", task_params(&RELEASE, work, named()), named())),
                SpawnTask::AgentTwoReplies => {
                    let key = session_of(work, agents, spawn_id);
                    Ok(plain("agent", agent_params(work, &key, spawn_id), Some(key)))
                }
                SpawnTask::ChatSend => {
                    let key = session_of(work, agents, spawn_id);
                    let (params, before) = chat_params(work, &key, spawn_id);
                    Ok(WorkRequest { before, ..plain("chat.send", params, Some(key)) })
                }
                SpawnTask::Impossible => Err("agent"),
            }
        }
    }
}

fn with_key(mut params: Map<String, Value>, spawn_id: &str) -> Map<String, Value> {
    params.insert("idempotencyKey".to_owned(), spawn_id.into());
    params
}

/// `command`, `args`, `env` and `cwd` of document 002.
fn command_params(work: &Work) -> Map<String, Value> {
    let mut params = Map::new();
    if let Work::Command { command, args, env, cwd } = work {
        let env: Map<String, Value> =
            env.iter().map(|(name, value)| (name.clone(), Value::from(value.expose()))).collect();
        params.insert("command".to_owned(), command.clone().into());
        params.insert("args".to_owned(), args.clone().into());
        params.insert("env".to_owned(), env.into());
        put(&mut params, "cwd", cwd.clone());
    }
    params
}

fn task_params(names: &TaskNames, work: &Work, session_key: Option<String>) -> Map<String, Value> {
    let mut params = Map::new();
    if let Work::Task { task, agent, model, label, timeout_seconds, .. } = work {
        params.insert(names.task.to_owned(), task.clone().into());
        put(&mut params, names.agent, agent.clone());
        put(&mut params, "sessionKey", session_key);
        put(&mut params, "model", model.clone());
        put(&mut params, "label", label.clone());
        put(&mut params, names.timeout, *timeout_seconds);
    }
    params
}

/// `agent` of real releases. Without a session of its own it would run in the agent's main one and take over its label.
fn agent_params(work: &Work, key: &str, spawn_id: &str) -> Map<String, Value> {
    let mut params = with_key(task_params(&RELEASE, work, Some(key.to_owned())), spawn_id);
    params.insert("deliver".to_owned(), false.into());
    params
}

/// `chat.send` of real releases: it takes neither model nor label, which belong to the session there.
fn chat_params(work: &Work, key: &str, spawn_id: &str) -> (Map<String, Value>, Vec<Preparation>) {
    let mut params = agent_params(work, key, spawn_id);
    params.remove("agentId");
    let mut take = |name: &str| params.remove(name);
    let (label, model, timeout) = (take("label"), take("model"), take("timeout"));
    put(&mut params, "timeoutMs", timeout.and_then(|seconds| seconds.as_u64()).map(|seconds| seconds * 1_000));
    let prepare = |params, needed| Preparation { params, needed };
    let label = label.map(|label| prepare(json!({ "key": key, "label": label }), false));
    let model = model.map(|model| prepare(json!({ "key": key, "model": model }), true));
    (params, label.into_iter().chain(model).collect())
}

/// The session that was named, else a new one whose key tells which spawn it is for.
fn session_of(work: &Work, agents: Option<&[AgentRow]>, spawn_id: &str) -> String {
    let Work::Task { session_key, agent, .. } = work else { return String::new() };
    session_key.clone().unwrap_or_else(|| {
        let default = || agents.into_iter().flatten().find(|agent| agent.is_default).map(|agent| agent.id.clone());
        let agent = agent.clone().or_else(default).unwrap_or_else(|| "main".to_owned());
        own_session(&agent, spawn_id)
    })
}

fn put(params: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        params.insert(name.to_owned(), value.into());
    }
}
