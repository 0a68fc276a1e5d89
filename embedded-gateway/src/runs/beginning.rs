//! How a run begins: taken in or refused, started or queued; and what is remembered of runs that have ended, for idempotency
//! keys and `agent.wait`.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use gatewarden_protocol::Dialect;
use serde_json::{Value, json};

use super::answer::Answer as Text;
use super::events::EventEmitter;
use super::run::{Asked, Run, RunState};
use super::{Parts, QUEUE, QUEUED_BYTES, Runs, replies, shown};
use crate::call::{Answer, Call, CallError, Outcome, ReplyTo};
use crate::caller::ConnectionId;
use crate::config::{ChannelKind, GatewayConfig};
use crate::effect::{AcpOrder, Effect, LogLevel, ProcessOrder, RunId};
use crate::payload::digest;
use crate::processes::PROGRAM_VARIABLES;
use crate::processes::command_templates::{AllowedCommand, FilledCommand, Wishes};
use crate::sessions::{NewMessage, Opening, Role, SessionKey};
use crate::turn::Turn;

/// Longest message, in bytes.
pub(crate) const MESSAGE_LIMIT: usize = 1024 * 1024;
/// Answers that are remembered, in bytes together.
const FINISHED_BYTES: usize = 16 * 1024 * 1024;

/// The runs that ended, oldest first.
#[derive(Debug, Default)]
pub(super) struct Finished {
    ids: VecDeque<(RunId, usize)>,
    bytes: usize,
}

/// Who asks for a run, and how it is answered.
#[derive(Debug, Clone)]
pub(crate) struct RunRequest {
    pub(crate) id: RunId,
    pub(crate) asked: Asked,
    pub(crate) fingerprint: String,
    pub(crate) reply: ReplyTo,
    pub(crate) from: String,
    /// The session's key as a client of document 004 wrote it: its events name the session so.
    pub(crate) written_key: Option<String>,
    /// Ended after this, or after the template's own timeout if that is shorter.
    pub(crate) timeout: Option<Duration>,
    /// Else the session's.
    pub(crate) model: Option<String>,
    /// Else the session's.
    pub(crate) thinking: Option<String>,
}

impl RunRequest {
    /// Of the gateway itself: nobody waits for a reply.
    pub(crate) fn unasked(id: RunId, from: String) -> Self {
        Self {
            id,
            asked: Asked::Unasked,
            fingerprint: String::new(),
            reply: ReplyTo { connection: ConnectionId(0), request: None },
            from,
            written_key: None,
            timeout: None,
            model: None,
            thinking: None,
        }
    }

    pub(crate) fn of(call: &Call, id: RunId, asked: Asked, timeout: Option<Duration>) -> Self {
        let fingerprint = fingerprint(&call.method, &call.params);
        let written = ["sessionKey", "key"].into_iter().find_map(|name| call.params.get(name)?.as_str());
        let written_key = written.filter(|_| call.caller.dialect == Dialect::Rpc).map(str::to_owned);
        let from = call.caller.client_id.clone();
        let text = |name: &str| call.params.get(name)?.as_str().filter(|text| !text.is_empty());
        let model = match (text("provider"), text("model")) {
            (Some(provider), Some(model)) => Some(format!("{provider}/{model}")),
            (_, model) => model.map(str::to_owned),
        };
        let thinking = text("thinking").or_else(|| text("thinkingLevel")).map(str::to_owned);
        Self { id, asked, fingerprint, reply: call.reply_to(), from, written_key, timeout, model, thinking }
    }
}

/// A run that is asked for, checked against the allow-list.
#[derive(Debug, Clone)]
pub(crate) struct NewRun {
    pub(crate) request: RunRequest,
    /// The session, which is made where it doesn't exist.
    pub(crate) session: SessionKey,
    pub(crate) opening: Opening,
    /// The agent; the template's name for a command.
    pub(crate) agent_id: String,
    pub(crate) command: AllowedCommand,
    pub(crate) cwd: PathBuf,
    pub(crate) make_cwd: bool,
    pub(crate) message: Option<String>,
}

/// Whether an id is of the form that the gateway's own runs have. Anybody can guess those: a client may not take one before.
pub(crate) fn is_of_gateway(id: &RunId) -> bool {
    let own = |kind: &str| ["cron", "manual", "hook"].contains(&kind) || ChannelKind::named(kind).is_some();
    id.0.split_once(':').is_some_and(|(kind, _)| own(kind))
}

/// What tells one request from another under the same key.
pub(crate) fn fingerprint(method: &str, params: &Value) -> String {
    digest(format!("{method}\n{params}"))
}

impl Runs {
    /// Takes a run in. An error means that nothing was begun.
    pub(crate) fn begin(&mut self, new: NewRun, parts: &mut Parts<'_>, turn: &mut Turn<'_>) -> Outcome {
        if self.by_id.contains_key(&new.request.id) {
            let id = shown(&new.request.id.0);
            return Err(CallError::invalid(format!("there is a run \"{id}\" already; nothing was begun")));
        }
        let busy = self.check_room(&new, parts)?;
        if new.message.as_ref().is_some_and(|message| message.len() > MESSAGE_LIMIT) {
            return Err(CallError::invalid(format!("message is longer than {MESSAGE_LIMIT} bytes")));
        }
        let key = new.session.as_str().to_owned();
        let label = new.opening.label.clone();
        let known = parts.sessions.get(&key);
        let model = known.map_or_else(|| new.opening.model.clone(), |session| session.model.clone());
        let thinking = known.and_then(|session| session.thinking_level.clone());
        let wishes =
            Wishes { model: new.request.model.clone().or(model), thinking: new.request.thinking.clone().or(thinking) };
        let command = new.command.clone().filled(&wishes)?;
        if let Some(label) = &label {
            parts.sessions.check_label(label, &key)?;
        }
        let is_new = parts.sessions.get(&key).is_none();
        let session = parts.sessions.open(&new.session, new.opening.clone(), parts.subscribers, turn)?;
        let session_id = session.session_id.clone();
        if !is_new && label.is_some() && session.label != label {
            let patch = crate::sessions::Patch { label: Some(label), ..Default::default() };
            parts.sessions.patch(&key, patch, parts.subscribers, turn);
        }
        let role = if new.message.is_some() { Role::User } else { Role::System };
        let text = new.message.clone().unwrap_or_else(|| format!("started command \"{}\"", new.command.template));
        let message =
            NewMessage { role, text, run: Some(new.request.id.clone()), model: None, usage: None, stop_reason: None };
        let seq = parts.sessions.append(&key, message, parts.subscribers, turn).map(|message| message.seq);

        let (order, mut run) = made(&new, command, wishes, session_id, turn, parts.config);
        if let Some(text) = &new.message {
            EventEmitter::new(parts.subscribers, turn).message(&run, text, &new.request.from, turn);
        }
        let lane = self.lanes.entry(key).or_default();
        if busy {
            run.state = RunState::Queued;
            self.queued_bytes += order.stdin.as_ref().map_or(0, String::len);
            run.order = Some(order);
            lane.queue.push_back(new.request.id.clone());
        } else {
            lane.active = Some(new.request.id.clone());
            start(order, &run.session_key, parts, turn);
        }
        let answer = acknowledge(&mut run, &new.request.reply, seq, turn);
        self.by_id.insert(new.request.id, run);
        Ok(answer)
    }

    /// Whether one more message can wait in a session that is at work; None: it isn't.
    pub(crate) fn has_room_behind(&self, session: &str, bytes: usize) -> Option<bool> {
        let lane = self.lanes.get(session).filter(|lane| lane.active.is_some())?;
        Some(lane.queue.len() < QUEUE && self.queued_bytes.saturating_add(bytes) <= QUEUED_BYTES)
    }

    /// Whether the session is at work; an error where there is no room for one more run.
    fn check_room(&self, new: &NewRun, parts: &Parts<'_>) -> Result<bool, CallError> {
        let bytes = new.message.as_ref().map_or(0, String::len);
        match self.has_room_behind(new.session.as_str(), bytes) {
            Some(true) => return Ok(true),
            Some(false) => {
                let waiting = self.lanes.get(new.session.as_str()).map_or(0, |lane| lane.queue.len());
                return Err(CallError::unavailable(format!(
                    "session {} is at work and {waiting} messages wait already; try again when it is done, or abort it",
                    new.session,
                ))
                .with_details(json!({"code": "SESSION_BUSY"}))
                .retry_after(1_000));
            }
            None => {}
        }
        let most = parts.config.limits.processes;
        if self.processes() >= most {
            return Err(CallError::unavailable(format!(
                "{most} processes run already, as many as gatewarden.limits.processes allows; try again when one has ended, or end one"
            ))
            .with_details(json!({"code": "TOO_MANY_PROCESSES"}))
            .retry_after(1_000));
        }
        Ok(false)
    }

    /// Looks an idempotency key up. The answer, where it was used for the same before; none where it is new, as far as is
    /// remembered.
    pub(crate) fn replay(&mut self, request: &RunRequest, turn: &mut Turn<'_>) -> Result<Option<Answer>, CallError> {
        let RunRequest { id, asked, fingerprint, reply, .. } = request;
        let Some(run) = self.by_id.get_mut(id) else { return Ok(None) };
        if run.fingerprint != *fingerprint {
            return Err(CallError::invalid(format!(
                "idempotencyKey \"{}\" was used for another request; use a new key for each request",
                shown(&id.0)
            )));
        }
        let ended = run.state.end().is_some();
        let answer = match asked {
            Asked::Chat | Asked::Session => replies::sent_again(run)?.into(),
            Asked::Agent | Asked::AgentOnce if ended => replies::outcome(run)?.into(),
            Asked::Agent => {
                turn.respond(reply, Ok(replies::accepted(run)));
                owe(run, reply)?
            }
            Asked::Spawn if run.acknowledged.is_some() || ended => replies::spawn_result_for(run, reply).into(),
            Asked::AgentOnce | Asked::Spawn => owe(run, reply)?,
            Asked::Unasked => run.to_value().into(),
        };
        Ok(Some(answer))
    }

    /// Remembers a run that has ended, and forgets the oldest ones beyond the bounds.
    pub(super) fn remember(&mut self, id: RunId, most: usize) {
        if let Some(run) = self.by_id.get(&id) {
            let weight = run.weight();
            self.finished.bytes += weight;
            self.finished.ids.push_back((id, weight));
        }
        while self.finished.ids.len() > most || (self.finished.bytes > FINISHED_BYTES && self.finished.ids.len() > 1) {
            let Some((oldest, weight)) = self.finished.ids.pop_front() else { break };
            self.finished.bytes = self.finished.bytes.saturating_sub(weight);
            self.by_id.remove(&oldest);
        }
    }

    /// Starts the next message of a session that has come to rest.
    pub(super) fn start_next(&mut self, key: &str, parts: &Parts<'_>, turn: &mut Turn<'_>) {
        let Some(lane) = self.lanes.get_mut(key).filter(|lane| lane.active.is_none()) else { return };
        let Some(next) = lane.queue.pop_front() else {
            self.lanes.remove(key);
            return;
        };
        let Some(run) = self.by_id.get_mut(&next) else { return };
        run.state = RunState::Starting;
        if let Some(order) = run.order.take() {
            self.queued_bytes = self.queued_bytes.saturating_sub(order.stdin.as_ref().map_or(0, String::len));
            start(order, key, parts, turn);
        }
        lane.active = Some(next);
    }
}

/// What the agent calls the session is known only once the run before has ended.
fn start(mut order: ProcessOrder, key: &str, parts: &Parts<'_>, turn: &mut Turn<'_>) {
    if let (Some(acp), Some(session)) = (&mut order.acp, parts.sessions.get(key))
        && acp.session == session.session_id
    {
        acp.conversation.clone_from(&session.conversation);
    }
    turn.push(Effect::Start(order));
}

fn made(
    new: &NewRun,
    command: FilledCommand,
    wishes: Wishes,
    session_id: String,
    turn: &mut Turn<'_>,
    config: &GatewayConfig,
) -> (ProcessOrder, Run) {
    let limits = &config.limits;
    let mut env = command.env;
    let [_, id, key, session, agent] = PROGRAM_VARIABLES;
    for (name, value) in
        [(id, new.request.id.0.as_str()), (key, new.session.as_str()), (session, &session_id), (agent, &new.agent_id)]
    {
        env.insert(name.to_owned(), value.to_owned());
    }
    let acp = new.command.acp.map(|(permissions, idle_timeout)| {
        // One process has many runs.
        env.remove(id);
        Box::new(AcpOrder {
            session: session_id.clone(),
            agent: new.agent_id.clone(),
            conversation: None,
            permissions,
            model: wishes.model.clone(),
            thinking: wishes.thinking.clone(),
            idle_timeout,
        })
    });
    if acp.is_none() {
        env.extend(wishes.variables());
    }
    let timeout = new.request.timeout.into_iter().chain(new.command.timeout).min();
    let order = ProcessOrder {
        run: new.request.id.clone(),
        program: new.command.program.clone(),
        args: command.args,
        env,
        cwd: new.cwd.clone(),
        make_cwd: new.make_cwd,
        stdin: new.message.clone(),
        json_lines: new.command.json_lines,
        timeout,
        kill_grace: limits.kill_grace,
        open_files: limits.process_open_files,
        memory: limits.process_memory,
        max_line_bytes: limits.output_line,
        output_bytes_per_second: limits.output_bytes_per_second,
        acp,
    };
    let spawner = new.request.reply.request.clone().filter(|_| new.request.asked == Asked::Spawn);
    let run = Run {
        id: new.request.id.clone(),
        session_key: new.session.as_str().to_owned(),
        session_id,
        agent_id: new.agent_id.clone(),
        template: new.command.template.clone(),
        asked: new.request.asked,
        fingerprint: new.request.fingerprint.clone(),
        state: RunState::Starting,
        pid: None,
        accepted_at: turn.now.wall_ms,
        started_at: None,
        usage: None,
        model: wishes.model.filter(|_| command.takes_model),
        order: None,
        json_lines: new.command.json_lines,
        timeout,
        replies: Vec::new(),
        waiters: Vec::new(),
        controls: Vec::new(),
        written_key: new.request.written_key.clone().map(|key| (new.request.reply.connection, key)),
        spawner: spawner.map(|request| (new.request.reply.connection, request)),
        answer: Text::default(),
        reported_error: None,
        last_words: None,
        kill_asked: None,
        seq: 0,
        acknowledged: None,
    };
    super::log(
        &run,
        LogLevel::Debug,
        format!("run {} of command \"{}\" accepted", run.id.0, run.template),
        json!({}),
        turn,
    );
    (order, run)
}

/// The first reply, by the method.
fn acknowledge(run: &mut Run, reply: &ReplyTo, message_seq: Option<u64>, turn: &mut Turn<'_>) -> Answer {
    match run.asked {
        Asked::Agent => {
            turn.respond(reply, Ok(replies::accepted(run)));
            run.replies.push(reply.clone());
            Answer::Later
        }
        Asked::Spawn if run.state == RunState::Queued => {
            let payload = replies::spawn_result_for(run, reply);
            run.acknowledged = Some(payload.clone());
            Answer::Payload(payload)
        }
        Asked::AgentOnce | Asked::Spawn => {
            run.replies.push(reply.clone());
            Answer::Later
        }
        Asked::Chat => Answer::Payload(replies::sent(run, None)),
        Asked::Session => Answer::Payload(replies::sent(run, message_seq)),
        Asked::Unasked => Answer::Payload(run.to_value()),
    }
}

/// A reply that comes later, with the others that are owed. Bounded, since one key may be sent again and again.
fn owe(run: &mut Run, reply: &ReplyTo) -> Outcome {
    if run.replies.len() >= 32 {
        return Err(CallError::unavailable("too many requests with this idempotencyKey wait for its end already"));
    }
    run.replies.push(reply.clone());
    Ok(Answer::Later)
}
