//! Jobs on a clock that is moved by hand, with a file that a crash can leave as it is at any time.

mod alerts;
mod methods;
mod restarts;
mod times;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::call::Call;
use crate::caller::{Caller, caller_with};
use crate::clock::CountingChance;
use crate::config::{CommandTemplate, ConfiguredAgent, GatewayConfig};
use crate::effect::{AwaitedBy, Effect, OutputStream, PostOrder, ProcessNews, ProcessOrder};
use crate::loading::Loaded;
use crate::machine::GatewayMachine;
use crate::tests::fixture::config;

/// 2026-11-23T10:00:00Z
const NOON: i64 = 1_795_428_000_000;
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    machine: GatewayMachine,
    chance: CountingChance,
    now: Now,
    caller: Arc<Caller>,
    /// The file of the jobs.
    file: String,
    /// Nothing can be written any more.
    disk_is_full: bool,
    stops_before_it_is_sent: bool,
    /// Confirmations come only when they are asked for.
    holds_back: bool,
    waiting: Vec<RunId>,
    /// What was sent to webhooks and hasn't been answered.
    posts: Vec<PostOrder>,
    orders: Vec<ProcessOrder>,
    events: Vec<Value>,
}

fn configuration(skip_missed: bool) -> GatewayConfig {
    let mut config = config();
    let template = CommandTemplate {
        program: "/bin/agent".into(),
        args: Vec::new(),
        allowed_args: Vec::new(),
        env: Default::default(),
        allowed_env: Default::default(),
        working_dirs: vec!["/srv".into()],
        json_lines: false,
        timeout: None,
    };
    config.commands.insert("talker".into(), template);
    for id in ["main", "other"] {
        let agent = ConfiguredAgent {
            name: id.into(),
            command: Some("talker".into()),
            acp: None,
            workspace: "/ws".into(),
            model: None,
        };
        config.agents.insert(id.into(), agent);
    }
    config.default_agent = Some("main".into());
    config.cron.skip_missed = skip_missed;
    config
}

impl World {
    fn new() -> Self {
        Self::at(Now { wall_ms: NOON, ..Now::read() }, String::new(), false)
    }

    fn at(now: Now, file: String, skip_missed: bool) -> Self {
        let config = Arc::new(configuration(skip_missed));
        let mut chance = CountingChance(u64::try_from(now.wall_ms).unwrap());
        let mut turn = Turn::new(now, &mut chance);
        let loaded = Loaded { cron: Stored::read(file.as_bytes()), ..Loaded::nothing(&config) };
        let mut machine = GatewayMachine::new(config, loaded, &mut turn);
        let effects = turn.into_effects();
        let caller = Arc::new(caller_with(&["operator.admin"]));
        machine.subscribers.join(Arc::clone(&caller));
        let mut world = Self {
            machine,
            chance,
            now,
            caller,
            file,
            disk_is_full: false,
            stops_before_it_is_sent: false,
            holds_back: false,
            waiting: Vec::new(),
            posts: Vec::new(),
            orders: Vec::new(),
            events: Vec::new(),
        };
        world.carry_out(effects);
        world.turn(|_, _| {});
        world
    }

    /// The gateway was killed, and another one starts so much later.
    fn killed(&self, later: Duration, skip_missed: bool) -> Self {
        Self::at(self.later(later), self.file.clone(), skip_missed)
    }

    fn later(&self, time: Duration) -> Now {
        let ms = i64::try_from(time.as_millis()).unwrap();
        Now { at: self.now.at + time, wall_ms: self.now.wall_ms + ms, uptime_ms: self.now.uptime_ms + ms }
    }

    fn turn<T>(&mut self, decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>) -> T) -> T {
        let mut turn = Turn::new(self.now, &mut self.chance);
        let decided = decide(&mut self.machine, &mut turn);
        self.machine.attend_webhooks(&mut turn);
        let effects = turn.into_effects();
        self.carry_out(effects);
        decided
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write(FileChange::Append { file, line })
                    if file.as_os_str() == file::FILE && !self.disk_is_full =>
                {
                    self.file += &(line + "\n");
                }
                Effect::Write(FileChange::Replace { file, text }) if file.as_os_str() == file::FILE => self.file = text,
                Effect::Confirm { awaited_by: AwaitedBy::Run(run), .. } => {
                    self.waiting.push(run);
                    if !self.holds_back {
                        self.confirm();
                    }
                }
                Effect::Confirm { awaited_by: AwaitedBy::Post(run), .. } => {
                    let written = !self.disk_is_full;
                    if self.stops_before_it_is_sent {
                        self.turn(GatewayMachine::stopping);
                    }
                    self.turn(|machine, turn| machine.post_confirmed(&run, written, turn));
                }
                Effect::Post(order) => self.posts.push(order),
                Effect::Start(order) => self.orders.push(order),
                Effect::Tell { event, payload, .. } if event == "cron" => self.events.push((*payload).clone()),
                _ => {}
            }
        }
    }

    fn confirm(&mut self) {
        let written = !self.disk_is_full;
        for run in std::mem::take(&mut self.waiting) {
            self.turn(|machine, turn| machine.confirmed(&run, written, turn));
        }
    }

    /// Time passes; the machine is woken whenever it asked for it.
    fn pass(&mut self, time: Duration) {
        let end = self.later(time);
        for _ in 0..10_000 {
            let Some(wake) = self.machine.next_deadline().filter(|wake| *wake <= end.at) else { break };
            self.now = self.later(wake.saturating_duration_since(self.now.at));
            self.turn(GatewayMachine::on_time);
        }
        self.now = end;
    }

    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, CallError> {
        let (caller, request) = (Arc::clone(&self.caller), Some("r".to_owned()));
        let call = Call { caller, request, method: method.into(), params };
        let mut turn = Turn::new(self.now, &mut self.chance);
        self.machine.call(&call, &mut turn);
        let (mut answer, mut others) = (None, Vec::new());
        for effect in turn.into_effects() {
            match effect {
                Effect::Respond { outcome, .. } => answer = Some(outcome),
                other => others.push(other),
            }
        }
        self.carry_out(others);
        answer.expect("an answer")
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{error}"))
    }

    fn add(&mut self, schedule: Value) -> String {
        let job = json!({"name": "a job", "schedule": schedule, "payload": {"kind": "agentTurn", "message": "do it"}});
        self.call("cron.add", job)["id"].as_str().unwrap().to_owned()
    }

    fn job(&mut self, id: &str) -> Value {
        self.call("cron.get", json!({"id": id}))
    }

    fn runs(&mut self, id: &str) -> Vec<Value> {
        self.call("cron.runs", json!({"id": id}))["entries"].as_array().unwrap().clone()
    }

    fn news(&mut self, run: &RunId, news: ProcessNews) {
        self.turn(|machine, turn| machine.process_news(run, news, turn));
    }

    /// The agent of the newest order answers and ends.
    fn end(&mut self, code: i32) -> ProcessOrder {
        let order = self.orders.pop().expect("something runs");
        let ended = ProcessNews::Exited { code: Some(code), signal: None, duration_ms: 5, strays: 0, timed_out: false };
        self.news(&order.run, ProcessNews::Started { pid: 7 });
        let line = ProcessNews::Line { stream: OutputStream::Stdout, text: "done".into(), cut: false };
        self.news(&order.run, line);
        self.news(&order.run, ended);
        order
    }
}

fn every(seconds: u64) -> Value {
    json!({"kind": "every", "everyMs": seconds * 1_000})
}

fn at(ms: i64) -> Value {
    json!({"kind": "at", "at": gatewarden_protocol::wall_time::of_millis(ms)})
}
