//! The conversation with one agent: what is written to it, what is told of it, when it has had its time. Pure: what the agent
//! writes and the time come in, what is to be done goes out as [`Step`]s.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatewarden_processes::{Ended, Order, Stream};
use serde_json::{Value, json};

use super::settings::{Change, Settings, Which};
use super::updates::Updates;
use super::wire::{self, Incoming, RpcError};
use crate::effect::{AcpOrder, LogLevel, Permissions, ProcessNews, ProcessOrder, ProcessSignal, Question};

/// How long an agent may take for each answer but that to a prompt. Some download themselves at their first start.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Lines that are no messages: some agents greet. One that writes more speaks something else.
const NOISE: u32 = 100;
/// What an agent may ask for at a time.
const QUESTIONS: usize = 16;
/// What is shown of what a tool is called with, in characters.
const INPUT: usize = 2_000;
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

    pub(super) fn is_ending(&self) -> bool {
        self.stage == Stage::Ending
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
        if self.is_ending() {
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
        let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
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
        let mut params = self.place();
        if let Some(fields) = params.as_object_mut() {
            fields.insert("sessionId".to_owned(), former.into());
        }
        self.ask(method, &params, now);
    }

    fn open_new(&mut self, now: Instant) {
        self.stage = Stage::Opening(None);
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

    fn permission(&mut self, id: &Value, params: &Value) {
        let options = params.get("options").and_then(Value::as_array);
        let of_kinds = |kinds: [&str; 2]| {
            let of_kind = |kind: &str| {
                let is_it = |option: &&Value| option.get("kind").and_then(Value::as_str) == Some(kind);
                options.into_iter().flatten().find(is_it).and_then(|option| option.get("optionId")).cloned()
            };
            kinds.into_iter().find_map(of_kind)
        };
        let to_allow = of_kinds(["allow_once", "allow_always"]);
        let to_reject = of_kinds(["reject_once", "reject_always"]);
        let turn = self.turn.as_ref().filter(|turn| turn.cancelled.is_none() && self.stage == Stage::Prompting);
        let Some(turn) = turn else { return self.permit(id, None) };
        let tool = params.get("toolCall").unwrap_or(&Value::Null);
        let title = shown(tool.get("title").and_then(Value::as_str).unwrap_or("a tool"));
        let (done, word) = match (self.acp.permissions, &to_allow) {
            (Permissions::Ask, Some(_)) if self.questions.len() < QUESTIONS => {
                self.asked_for += 1;
                let input = tool.get("rawInput").filter(|input| !input.is_null());
                let question = Question {
                    number: self.asked_for,
                    title,
                    input: input.map(|input| input.to_string().chars().take(INPUT).collect()),
                    cwd: turn.order.cwd.display().to_string(),
                    tool_call: tool.get("toolCallId").and_then(Value::as_str).map(shown),
                };
                self.questions.insert(self.asked_for, (id.clone(), [to_allow, to_reject]));
                return self.tell(ProcessNews::Asks(question));
            }
            (Permissions::Ask, Some(_)) => ("denied, since as much waits for a decision already", "ask"),
            (Permissions::Ask, None) => ("not allowed, since the agent offers no way to", "ask"),
            (Permissions::Allow, Some(_)) => ("allowed", "allow"),
            (Permissions::Allow, None) => ("not allowed, since the agent offers no way to", "allow"),
            (Permissions::Deny, _) => ("denied", "deny"),
        };
        let allows = self.acp.permissions == Permissions::Allow;
        self.permit(id, if allows { to_allow } else { to_reject });
        let setting = self.setting("permissions");
        let said = format!("\"{title}\" of agent \"{}\" was {done}: {setting} is {word}", self.acp.agent);
        self.tell(ProcessNews::Remark(LogLevel::Info, said));
    }

    /// Answers a request for permission with one of its options.
    fn permit(&mut self, id: &Value, option: Option<Value>) {
        let outcome = match option {
            Some(option) => json!({"outcome": "selected", "optionId": option}),
            None => json!({"outcome": "cancelled"}),
        };
        self.write(wire::answer(id, &json!({"outcome": outcome})));
    }

    /// An operator has decided, or nobody has in time.
    pub(super) fn decide(&mut self, question: u64, allow: bool) {
        if let Some((id, [to_allow, to_reject])) = self.questions.remove(&question) {
            self.permit(&id, if allow { to_allow } else { to_reject });
        }
    }

    pub(super) fn signal(&mut self, signal: ProcessSignal, now: Instant) {
        let running = self.turn.is_some() && self.stage != Stage::Ending;
        match signal {
            _ if self.turn.is_none() => {
                let failed = Some("the run has ended".to_owned());
                self.tell(ProcessNews::Signalled { signal, failed });
            }
            ProcessSignal::Pause => {
                self.paused = true;
                self.steps.push(Step::Order(Order::Pause));
            }
            ProcessSignal::Resume => {
                self.paused = false;
                self.steps.push(Step::Order(Order::Resume));
            }
            ProcessSignal::Terminate => {
                self.tell(ProcessNews::Signalled { signal, failed: None });
                if running {
                    self.cancel(Cancelled::OnRequest, now);
                }
            }
        }
    }

    fn cancel(&mut self, why: Cancelled, now: Instant) {
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.cancelled.is_none()) else { return };
        let kill_at = now.checked_add(turn.order.kill_grace).unwrap_or(now);
        turn.cancelled = Some((why, kill_at));
        if std::mem::take(&mut self.paused) {
            self.steps.push(Step::Order(Order::Resume));
        }
        if self.stage == Stage::Prompting {
            self.write(wire::notification("session/cancel", &json!({"sessionId": self.id})));
            for (id, _) in std::mem::take(&mut self.questions).into_values() {
                self.permit(&id, None);
            }
        } else {
            self.stop();
        }
    }

    /// A signal was delivered, or could not be.
    pub(super) fn ordered(&mut self, order: Order, outcome: Result<(), String>) {
        let signal = match order {
            Order::Pause => ProcessSignal::Pause,
            Order::Resume => ProcessSignal::Resume,
            // Told when it was asked for.
            Order::Terminate | Order::Kill => return,
        };
        let wanted = self.turn.as_ref().is_some_and(|turn| turn.cancelled.is_none());
        if wanted {
            self.tell(ProcessNews::Signalled { signal, failed: outcome.err() });
        }
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let turn = self.turn.as_ref();
        if is_due(self.rests_since.and_then(|since| since.checked_add(self.acp.idle_timeout))) {
            self.steps.push(Step::Rest);
            // Asked again later, where somebody has just given it a prompt.
            self.rests_since = Some(now);
        } else if is_due(self.asked.and_then(|(_, until)| until)) {
            let what = match self.stage {
                Stage::Initializing => "initialize",
                Stage::Opening(how) => how.unwrap_or("session/new"),
                _ => "the choice of its model or thinking level",
            };
            let cure = if self.stage == Stage::Initializing {
                format!(": is it an ACP agent? Check program and args of {}", self.entry())
            } else {
                String::new()
            };
            self.end(format!("did not answer {what} within {} s{cure}", ANSWER_WITHIN.as_secs()));
        } else if is_due(turn.and_then(|turn| turn.cancelled).map(|(_, kill_at)| kill_at))
            && self.stage == Stage::Prompting
        {
            self.stop();
        } else if is_due(turn.filter(|turn| turn.cancelled.is_none()).and_then(|turn| turn.timeout_at)) {
            self.cancel(Cancelled::OutOfTime, now);
        }
    }

    /// The process is gone. Whether that was a failure of the agent.
    pub(super) fn ended(&mut self, ended: Ended, now: Instant) -> bool {
        let asked_for = self.stage == Stage::Ending && self.fault.is_none();
        self.stage = Stage::Ending;
        (self.asked, self.rests_since) = (None, None);
        let Some(turn) = self.turn.take() else { return false };
        let words = self.last_words.take().map_or_else(String::new, |words| format!(": {}", words.trim()));
        match (turn.cancelled, self.fault.take()) {
            (Some((Cancelled::OnRequest, _)), _) => {}
            (Some((Cancelled::OutOfTime, _)), _) => self.fail(&self.out_of_time(&turn)),
            (None, Some(did)) => self.fail(&format!("{did}{words}")),
            (None, None) => {
                let how = match (ended.code, ended.signal) {
                    (Some(code), _) => format!("exit code {code}"),
                    (None, Some(signal)) => format!("signal {signal}"),
                    (None, None) => "no exit code".to_owned(),
                };
                let did = if self.id.is_none() {
                    format!(
                        "ended before it could be spoken to ({how}; check program and args of {}){words}",
                        self.entry()
                    )
                } else {
                    format!("ended in the midst of its work ({how}){words}")
                };
                self.fail(&did);
            }
        }
        self.exited(&turn, (ended.code, ended.signal, ended.left_behind), now);
        !asked_for && turn.cancelled.is_none()
    }

    /// It isn't told anything any more: the gateway is stopping, or something else needs its place.
    pub(super) fn stop(&mut self) {
        self.stage = Stage::Ending;
        self.asked = None;
        self.rests_since = None;
        self.steps.push(Step::Order(Order::Terminate));
    }

    /// It did what no agent may do, or nothing: its process is ended, and the run fails with that.
    pub(super) fn end(&mut self, did: String) {
        if self.stage != Stage::Ending {
            self.fault = Some(did);
            self.stop();
        }
    }

    fn fail(&mut self, did: &str) {
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
        self.tell(ProcessNews::Remark(LogLevel::Warn, said));
    }

    fn tell(&mut self, news: ProcessNews) {
        self.steps.push(Step::Tell(news));
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests;
