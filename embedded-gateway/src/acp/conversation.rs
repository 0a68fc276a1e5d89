//! The conversation with one agent: what is written to it, what is told of it, when it has had its time. Pure: what the agent
//! writes and the time come in, what is to be done goes out as [`Step`]s.

mod ending;
mod permissions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatewarden_processes::{Order, Stream};
use gatewarden_protocol::words::is_unfit;
use serde_json::{Value, json};

use super::settings::{Change, Settings, Which};
use super::updates::Updates;
use super::wire::{self, Incoming, RpcError};
use crate::effect::{AcpOrder, LogLevel, ProcessNews, ProcessOrder};

/// How long an agent may take for each answer but that to a prompt. Some download themselves at their first start.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Lines that are no messages: some agents greet. One that writes more speaks something else.
const NOISE: u32 = 100;
/// What is kept of a line that is told to people, in characters.
const SHOWN: usize = 300;

/// What has to be done, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Write(String),
    Tell(ProcessNews),
    Order(Order),
    /// It has had no prompt for so long that it may be ended.
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The program isn't executed yet.
    Starting,
    Initializing,
    /// With the name of the method by which a former conversation is gone on with; none for a new one.
    Opening(Option<&'static str>),
    Setting(Which),
    Ready,
    Prompting,
    /// The process was told to end.
    Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancelled {
    OnRequest,
    OutOfTime,
}

/// The run under way.
#[derive(Debug)]
struct Turn {
    order: ProcessOrder,
    began: Instant,
    timeout_at: Option<Instant>,
    /// It was cancelled, and the process is told to end then.
    cancelled: Option<(Cancelled, Instant)>,
}

#[derive(Debug)]
pub(super) struct Conversation {
    stage: Stage,
    acp: AcpOrder,
    pid: u32,
    turn: Option<Turn>,
    next_id: u64,
    /// The request that waits for its answer, and until when.
    asked: Option<(u64, Option<Instant>)>,
    /// The value that the agent was asked to take.
    wished: String,
    can_load: bool,
    can_resume: bool,
    /// The agent's name for it.
    id: Option<String>,
    /// The agent has taken up a conversation, or was about to go on with a former one: how it ends now is that conversation's.
    speaks: bool,
    settings: Settings,
    updates: Updates,
    noise: u32,
    last_words: Option<String>,
    /// Why the process was told to end, where it wasn't asked for.
    fault: Option<String>,
    rests_since: Option<Instant>,
    paused: bool,
    /// What operators were asked for, by number: the agent's request, and its options to allow and to reject.
    questions: BTreeMap<u64, (Value, [Option<Value>; 2])>,
    asked_for: u64,
    steps: Vec<Step>,
}

impl Conversation {
    /// With a process that is just being started.
    pub(super) fn new(acp: AcpOrder) -> Self {
        Self {
            stage: Stage::Starting,
            acp,
            pid: 0,
            turn: None,
            next_id: 0,
            asked: None,
            wished: String::new(),
            can_load: false,
            can_resume: false,
            id: None,
            speaks: false,
            settings: Settings::default(),
            updates: Updates::default(),
            noise: 0,
            last_words: None,
            fault: None,
            rests_since: None,
            paused: false,
            questions: BTreeMap::new(),
            asked_for: 0,
            steps: Vec::new(),
        }
    }

    /// Whether a run is under way.
    pub(super) fn is_at_work(&self) -> bool {
        self.turn.is_some()
    }

    /// Whether what it writes now is passed on to nobody: its past, or its last words.
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self.stage, Stage::Opening(_) | Stage::Ending)
    }

    pub(super) fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// Whether it waits for a prompt.
    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let turn = self.turn.as_ref();
        let of_turn = turn.and_then(|turn| match turn.cancelled {
            Some((_, kill_at)) => Some(kill_at).filter(|_| self.stage == Stage::Prompting),
            None => turn.timeout_at.filter(|_| self.stage != Stage::Ending),
        });
        let rest = self.rests_since.and_then(|since| since.checked_add(self.acp.idle_timeout));
        [self.asked.and_then(|(_, until)| until), of_turn, rest].into_iter().flatten().min()
    }

    /// The next prompt. There is no other one under way.
    pub(super) fn prompt(&mut self, order: ProcessOrder, now: Instant) {
        self.rests_since = None;
        if let Some(acp) = &order.acp {
            self.acp.clone_from(acp);
        }
        let timeout_at = order.timeout.and_then(|timeout| now.checked_add(timeout));
        self.turn = Some(Turn { order, began: now, timeout_at, cancelled: None });
        if self.stage == Stage::Ready {
            self.tell(ProcessNews::Started { pid: self.pid });
            self.set(Which::Model, now);
        }
    }

    pub(super) fn started(&mut self, pid: u32, now: Instant) {
        self.pid = pid;
        self.tell(ProcessNews::Started { pid });
        if self.stage != Stage::Starting {
            return;
        }
        self.stage = Stage::Initializing;
        let params = json!({
            "protocolVersion": wire::VERSION,
            "clientCapabilities": {"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false},
            "clientInfo": {"name": "gatewarden", "version": env!("CARGO_PKG_VERSION")},
        });
        self.ask("initialize", &params, now);
    }

    pub(super) fn not_started(&mut self, reason: String) {
        self.turn = None;
        self.stage = Stage::Ending;
        self.tell(ProcessNews::NotStarted { reason });
    }

    /// A line of its output.
    pub(super) fn line(&mut self, stream: Stream, text: &str, cut: bool, now: Instant) {
        if stream == Stream::Stderr {
            return self.words(text, cut);
        }
        if self.stage == Stage::Ending {
            return;
        }
        if cut {
            return self.end(format!("wrote a message of more than {} bytes", text.len()));
        }
        match Incoming::read(text) {
            Incoming::Answer { id, outcome } => {
                if self.asked.is_some_and(|(asked, _)| asked == id) {
                    self.asked = None;
                    self.answered(outcome, now);
                }
            }
            Incoming::Notification { method, params } => {
                if method == "session/update" {
                    self.update(&params);
                }
            }
            Incoming::Request { id, method, params } if method == "session/request_permission" => {
                self.permission(&id, &params);
            }
            Incoming::Request { id, method, .. } => self.write(wire::refusal(&id, &method)),
            Incoming::Noise => self.noise(text),
        }
    }

    /// What it writes to standard error goes to the log.
    fn words(&mut self, text: &str, cut: bool) {
        if text.trim().is_empty() {
            return;
        }
        self.last_words = Some(text.chars().take(SHOWN).collect());
        let most = self.turn.as_ref().map_or(SHOWN, |turn| turn.order.max_line_bytes);
        let end = text.floor_char_boundary(most);
        let shown = text.get(..end).unwrap_or_default().to_owned();
        let cut = cut || end < text.len();
        self.tell(ProcessNews::Line { stream: Stream::Stderr, text: shown, cut });
    }

    fn noise(&mut self, text: &str) {
        self.words(text, false);
        self.noise = self.noise.saturating_add(u32::from(!text.trim().is_empty()));
        if self.noise == NOISE {
            let setting = self.setting("args");
            self.end(format!(
                "writes what is no message of ACP: many agents need an option such as --acp in {setting}"
            ));
        }
    }

    fn answered(&mut self, outcome: Result<Value, RpcError>, now: Instant) {
        match (self.stage, outcome) {
            (Stage::Initializing, Ok(answer)) => self.initialized(&answer, now),
            (Stage::Initializing, Err(error)) => {
                self.end(format!("refused to begin: {}", error.message));
            }
            (Stage::Opening(how), Ok(answer)) => self.opened(how, &answer, now),
            (Stage::Opening(Some(_)), Err(error)) => {
                self.remark(format!(
                    "agent \"{}\" doesn't know the former conversation any more ({}): it begins a new one",
                    self.acp.agent, error.message
                ));
                self.open_new(now);
            }
            (Stage::Opening(None), Err(error)) => {
                let reason = self.refused(&error);
                self.end(reason);
            }
            (Stage::Setting(which), Ok(answer)) => {
                self.settings.taken(which, std::mem::take(&mut self.wished), &answer);
                self.after_setting(which, now);
            }
            (Stage::Setting(which), Err(error)) => {
                let said = format!("didn't take the {} \"{}\": {}", which.as_str(), self.wished, error.message);
                self.not_set(which, said, now);
            }
            (Stage::Prompting, Ok(answer)) => self.prompted(&answer, now),
            (Stage::Prompting, Err(error)) => {
                let reason = self.refused(&error);
                self.finish(Err(reason), now);
            }
            (Stage::Starting | Stage::Ready | Stage::Ending, _) => {}
        }
    }

    fn refused(&self, error: &RpcError) -> String {
        if error.code == wire::AUTH_REQUIRED {
            return format!(
                "wants to be logged in ({}): log in with the program itself as the user that the gateway runs as, and set HOME or its \
                 key in {}",
                error.message,
                self.setting("env")
            );
        }
        format!("reported an error: {}", error.message)
    }

    fn initialized(&mut self, answer: &Value, now: Instant) {
        let version = answer.get("protocolVersion").unwrap_or(&Value::Null);
        if version.as_u64() != Some(wire::VERSION) {
            let version: String = version.to_string().chars().take(20).collect();
            return self.end(format!(
                "speaks version {version} of ACP, and this gateway version {}: install a release of it that speaks that one",
                wire::VERSION
            ));
        }
        let capabilities = answer.get("agentCapabilities").unwrap_or(&Value::Null);
        self.can_load = capabilities.get("loadSession").and_then(Value::as_bool) == Some(true);
        self.can_resume = capabilities.pointer("/sessionCapabilities/resume").is_some_and(Value::is_object);
        let Some(former) = self.acp.conversation.clone() else { return self.open_new(now) };
        let method = match (self.can_resume, self.can_load) {
            (true, _) => "session/resume",
            (false, true) => "session/load",
            (false, false) => {
                self.remark(format!(
                    "agent \"{}\" can't go on with a conversation after its process has ended: it begins a new one",
                    self.acp.agent
                ));
                return self.open_new(now);
            }
        };
        self.stage = Stage::Opening(Some(method));
        self.speaks = true;
        let mut params = self.place();
        if let Some(fields) = params.as_object_mut() {
            fields.insert("sessionId".to_owned(), former.into());
        }
        self.ask(method, &params, now);
    }

    fn open_new(&mut self, now: Instant) {
        self.stage = Stage::Opening(None);
        self.speaks = false;
        let params = self.place();
        self.ask("session/new", &params, now);
    }

    /// Where the agent works.
    fn place(&self) -> Value {
        let cwd = self.turn.as_ref().map(|turn| turn.order.cwd.display().to_string()).unwrap_or_default();
        json!({"cwd": cwd, "mcpServers": []})
    }

    fn opened(&mut self, how: Option<&'static str>, answer: &Value, now: Instant) {
        let id = match how {
            Some(_) => self.acp.conversation.clone(),
            None => answer.get("sessionId").and_then(Value::as_str).filter(|id| id.len() <= 1_024).map(str::to_owned),
        };
        let Some(id) = id else {
            return self.end("gave its conversation no name (sessionId)".to_owned());
        };
        if how.is_none() {
            self.tell(ProcessNews::Conversation(id.clone()));
        }
        self.id = Some(id);
        self.speaks = true;
        self.settings = Settings::read(answer);
        self.set(Which::Model, now);
    }

    /// Has a setting as the prompt wants it, then the next one, then sends the prompt.
    fn set(&mut self, which: Which, now: Instant) {
        let wish = match which {
            Which::Model => self.acp.model.clone(),
            Which::Thinking => self.acp.thinking.clone(),
        };
        let Some(wish) = wish else { return self.after_setting(which, now) };
        match self.settings.change(which, &wish, self.id.as_deref().unwrap_or_default()) {
            Change::Nothing => self.after_setting(which, now),
            Change::Ask { method, params, value } => {
                self.stage = Stage::Setting(which);
                self.wished = value;
                self.ask(method, &params, now);
            }
            Change::NoChoice => {
                let said = format!(
                    "agent \"{}\" lets nobody choose its {}; \"{wish}\" was not passed on",
                    self.acp.agent,
                    which.as_str()
                );
                self.remark(said);
                self.after_setting(which, now);
            }
            Change::NotOffered(offered) => {
                let said = format!("has no {} \"{wish}\"; it offers: {offered}", which.as_str());
                self.not_set(which, said, now);
            }
        }
    }

    /// Without its model a run is another one than was asked for; how hard it is to think is a wish.
    fn not_set(&mut self, which: Which, said: String, now: Instant) {
        match which {
            Which::Model => self.finish(Err(said), now),
            Which::Thinking => {
                self.remark(format!("agent \"{}\" {said}", self.acp.agent));
                self.after_setting(which, now);
            }
        }
    }

    fn after_setting(&mut self, which: Which, now: Instant) {
        if which == Which::Model {
            return self.set(Which::Thinking, now);
        }
        let text = self.turn.as_mut().and_then(|turn| turn.order.stdin.take()).unwrap_or_default();
        self.stage = Stage::Prompting;
        self.updates.next_turn();
        let params = json!({"sessionId": self.id, "prompt": [{"type": "text", "text": text}]});
        self.ask("session/prompt", &params, now);
    }

    fn prompted(&mut self, answer: &Value, now: Instant) {
        if let Some(usage) = self.updates.usage(answer, self.settings.model()) {
            self.say(&usage);
        }
        let reason = answer.get("stopReason").and_then(Value::as_str).unwrap_or_default();
        let cancelled = self.turn.as_ref().is_some_and(|turn| turn.cancelled.is_some());
        let outcome = match reason {
            _ if cancelled => Ok(()),
            "end_turn" => Ok(()),
            "max_tokens" => {
                Err("stopped before it was done: its answer reached the longest that its model gives".to_owned())
            }
            "max_turn_requests" => {
                Err("stopped before it was done: it asked its model as often as it may in one turn".to_owned())
            }
            "refusal" => Err("refused to go on".to_owned()),
            "cancelled" => Err("cancelled its turn by itself".to_owned()),
            other => Err(format!("ended its turn for a reason that is not known here: \"{}\"", shown(other))),
        };
        self.finish(outcome, now);
    }

    /// The run is over; the agent waits for the next one. The error is what it did.
    fn finish(&mut self, outcome: Result<(), String>, now: Instant) {
        let Some(turn) = self.turn.take() else { return };
        self.questions.clear();
        if std::mem::take(&mut self.paused) {
            // Its last words were on their way when it was stopped.
            self.steps.push(Step::Order(Order::Resume));
        }
        self.stage = Stage::Ready;
        self.rests_since = Some(now);
        let code = match (turn.cancelled.map(|(why, _)| why), outcome) {
            (Some(Cancelled::OnRequest), _) => None,
            (Some(Cancelled::OutOfTime), _) => {
                self.fail(&self.out_of_time(&turn));
                None
            }
            (None, Err(did)) => {
                self.fail(&did);
                None
            }
            // What a program that ends well says.
            (None, Ok(())) => Some(0),
        };
        self.exited(&turn, (code, None, 0), now);
    }

    fn out_of_time(&self, turn: &Turn) -> String {
        format!(
            "was cancelled at its time limit of {} s (the request's own, or {})",
            turn.order.timeout.unwrap_or_default().as_secs_f64(),
            self.setting("timeout")
        )
    }

    fn exited(&mut self, turn: &Turn, (code, signal, strays): (Option<i32>, Option<i32>, u32), now: Instant) {
        let duration = now.saturating_duration_since(turn.began).as_millis();
        let duration_ms = u64::try_from(duration).unwrap_or(u64::MAX);
        self.tell(ProcessNews::Exited { code, signal, duration_ms, strays, timed_out: false });
    }

    fn update(&mut self, params: &Value) {
        let update = params.get("update").unwrap_or(&Value::Null);
        self.settings.update(update);
        // What a conversation that is gone on with has said before is no answer to this prompt.
        if self.stage != Stage::Prompting || params.get("sessionId").and_then(Value::as_str) != self.id.as_deref() {
            return;
        }
        for line in self.updates.lines(update) {
            self.say(&line);
        }
    }

    fn fail(&mut self, did: &str) {
        let did = fit(did);
        self.say(&json!({"type": "error", "message": format!("agent \"{}\" {did}", self.acp.agent)}));
    }

    fn setting(&self, key: &str) -> String {
        format!("{}.{key}", self.entry())
    }

    fn entry(&self) -> String {
        format!("agents.entries.{}.acp", self.acp.agent)
    }

    fn ask(&mut self, method: &str, params: &Value, now: Instant) {
        self.next_id += 1;
        let until = if self.stage == Stage::Prompting { None } else { now.checked_add(ANSWER_WITHIN) };
        self.asked = Some((self.next_id, until));
        self.write(wire::request(self.next_id, method, params));
    }

    fn write(&mut self, line: String) {
        self.steps.push(Step::Write(line));
    }

    fn say(&mut self, line: &Value) {
        self.tell(ProcessNews::Line { stream: Stream::Stdout, text: line.to_string(), cut: false });
    }

    fn remark(&mut self, said: String) {
        self.tell(ProcessNews::Remark(LogLevel::Warn, fit(&said)));
    }

    fn tell(&mut self, news: ProcessNews) {
        self.steps.push(Step::Tell(news));
    }
}

/// In one line, without what steers a terminal or can't be seen: an agent's own words are in it.
fn fit(text: &str) -> String {
    let visible = text.chars().filter(|char| char.is_whitespace() || !is_unfit(*char));
    visible.map(|char| if char.is_whitespace() { ' ' } else { char }).collect()
}

/// In one line; `…` is where it was cut.
fn shown(text: &str) -> String {
    let more = text.chars().nth(SHOWN).map(|_| '…');
    text.chars().take(SHOWN).map(|char| if char.is_control() { ' ' } else { char }).chain(more).collect()
}
