mod answers;
mod approvals;
mod invariants;
mod news;
mod queueing;
mod spawns;
mod steering;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::call::{Call, CallError};
use crate::caller::{Caller, caller_with};
use crate::clock::{CountingChance, Now};
use crate::config::{Auth, CommandTemplate, ConfiguredAgent};
use crate::effect::{Effect, OutputStream, ProcessNews, ProcessOrder, ProcessSignal};
use crate::loading::Loaded;
use crate::machine::GatewayMachine;

/// A gateway without a network and without processes, on a clock that is moved by hand.
struct World {
    machine: GatewayMachine,
    chance: CountingChance,
    now: Now,
    caller: Arc<Caller>,
    /// What the last turn wanted.
    effects: Vec<Effect>,
}

fn template(json_lines: bool) -> CommandTemplate {
    CommandTemplate {
        program: "/bin/agent".into(),
        args: vec!["-q".into()],
        allowed_args: vec![crate::config::ArgumentPattern::Word],
        env: Default::default(),
        allowed_env: Default::default(),
        working_dirs: vec!["/srv".into()],
        json_lines,
        timeout: None,
    }
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut config = GatewayConfig::defaults(PathBuf::from("state"), Auth::None);
        config.commands.insert("plain".into(), template(false));
        config.commands.insert("talker".into(), template(true));
        for (id, command) in [("main", Some("talker")), ("coder", Some("plain")), ("idle", None)] {
            let agent = ConfiguredAgent {
                name: id.into(),
                command: command.map(str::to_owned),
                acp: None,
                workspace: PathBuf::from("/ws").join(id),
                model: None,
            };
            config.agents.insert(id.into(), agent);
        }
        config.default_agent = Some("main".into());
        change(&mut config);
        let config = Arc::new(config);
        let mut chance = CountingChance::default();
        let now = Now::read();
        let loaded = Loaded::nothing(&config);
        let mut machine = GatewayMachine::new(config, loaded, &mut Turn::new(now, &mut chance));
        let caller = Arc::new(caller_with(&["operator.read", "operator.write"]));
        machine.subscribers.join(Arc::clone(&caller));
        Self { machine, chance, now, caller, effects: Vec::new() }
    }

    fn turn(&mut self, decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>)) {
        let mut turn = Turn::new(self.now, &mut self.chance);
        decide(&mut self.machine, &mut turn);
        self.effects = turn.into_effects();
    }

    fn pass(&mut self, time: Duration) {
        self.now.at += time;
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
        self.now.uptime_ms += i64::try_from(time.as_millis()).unwrap();
        self.turn(GatewayMachine::on_time);
    }

    fn call_as(&mut self, caller: Arc<Caller>, request: &str, method: &str, params: Value) {
        let call = Call { caller, request: Some(request.into()), method: method.into(), params };
        self.turn(|machine, turn| machine.call(&call, turn));
    }

    fn call(&mut self, request: &str, method: &str, params: Value) {
        self.call_as(Arc::clone(&self.caller), request, method, params);
    }

    fn news(&mut self, run: &str, news: ProcessNews) {
        self.turn(|machine, turn| machine.process_news(&RunId(run.into()), news, turn));
    }

    fn start(&mut self, run: &str) {
        self.news(run, ProcessNews::Started { pid: 77 });
    }

    fn says(&mut self, run: &str, line: &str) {
        let news = ProcessNews::Line { stream: OutputStream::Stdout, text: line.into(), cut: false };
        self.news(run, news);
    }

    fn exit(&mut self, run: &str, code: i32) {
        self.news(run, exited(Some(code), None));
    }

    /// The replies of the last turn to a request.
    fn replies(&self, request: &str) -> Vec<Result<Value, CallError>> {
        let is_it = |effect: &Effect| match effect {
            Effect::Respond { to, outcome } if to.request.as_deref() == Some(request) => Some(outcome.clone()),
            _ => None,
        };
        self.effects.iter().filter_map(is_it).collect()
    }

    fn reply(&self, request: &str) -> Value {
        let replies = self.replies(request);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies[0].clone().expect("a good reply")
    }

    fn refusal(&self, request: &str) -> CallError {
        let replies = self.replies(request);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies[0].clone().expect_err("a refusal")
    }

    fn events(&self, name: &str) -> Vec<Value> {
        let is_it = |effect: &Effect| match effect {
            Effect::Tell { event, payload, .. } if event == name => Some((**payload).clone()),
            _ => None,
        };
        self.effects.iter().filter_map(is_it).collect()
    }

    fn event(&self, name: &str) -> Value {
        let events = self.events(name);
        assert_eq!(events.len(), 1, "{name}: {events:?}");
        events[0].clone()
    }

    fn orders(&self) -> Vec<ProcessOrder> {
        let is_it = |effect: &Effect| match effect {
            Effect::Start(order) => Some(order.clone()),
            _ => None,
        };
        self.effects.iter().filter_map(is_it).collect()
    }

    fn order(&self) -> ProcessOrder {
        let orders = self.orders();
        assert_eq!(orders.len(), 1, "{orders:?}");
        orders[0].clone()
    }

    fn signals(&self) -> Vec<(String, ProcessSignal)> {
        let is_it = |effect: &Effect| match effect {
            Effect::Signal { run, signal } => Some((run.0.clone(), *signal)),
            _ => None,
        };
        self.effects.iter().filter_map(is_it).collect()
    }

    fn logged(&self) -> Vec<String> {
        let is_it = |effect: &Effect| match effect {
            Effect::Log(line) => Some(line.message.clone()),
            _ => None,
        };
        self.effects.iter().filter_map(is_it).collect()
    }

    fn row(&self, key: &str) -> Value {
        crate::sessions::row(self.machine.sessions.get(key).expect("a session"), 4, self.now.wall_ms)
    }

    fn said_in(&self, key: &str) -> Vec<(String, String)> {
        let session = self.machine.sessions.get(key).expect("a session");
        session.history().map(|message| (format!("{:?}", message.role).to_lowercase(), message.text.clone())).collect()
    }
}

fn exited(code: Option<i32>, signal: Option<i32>) -> ProcessNews {
    ProcessNews::Exited { code, signal, duration_ms: 42, strays: 0, timed_out: false }
}

fn message(key: &str) -> Value {
    json!({"message": "hello", "sessionKey": "agent:main:chat", "idempotencyKey": key})
}

fn rpc_caller() -> Arc<Caller> {
    let mut caller = caller_with(&["operator.write"]);
    caller.dialect = gatewarden_protocol::Dialect::Rpc;
    caller.protocol = 0;
    Arc::new(caller)
}
