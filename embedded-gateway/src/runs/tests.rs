use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::caller::{Caller, caller_with};
use crate::clock::{CountingChance, Now};
use crate::config::{Auth, CommandTemplate, ConfiguredAgent};
use crate::effect::{Effect, OutputStream, ProcessNews, ProcessOrder, ProcessSignal};
use crate::loaded::Loaded;
use crate::machine::GatewayMachine;
use crate::reply::CallError;
use crate::turn::Call;

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
        machine.audience.join(Arc::clone(&caller));
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
        session.history().map(|message| (message.role.as_str().to_owned(), message.text.clone())).collect()
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

#[test]
fn an_agent_call_is_accepted_and_answered_a_second_time_at_its_end() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    let accepted = world.reply("r1");
    assert_eq!(accepted["runId"], "k1");
    assert_eq!(accepted["status"], "accepted");
    assert_eq!(accepted["sessionKey"], "agent:main:chat");
    let order = world.order();
    assert_eq!((order.stdin.as_deref(), order.args.as_slice()), (Some("hello"), &["-q".to_owned()][..]));
    assert!(
        order.json_lines && !order.args.contains(&"hello".to_owned()) && !order.env.values().any(|it| it == "hello")
    );
    assert_eq!(world.event("message")["text"], "hello");

    world.start("k1");
    assert!(world.replies("r1").is_empty());
    assert_eq!(world.event("agent")["data"]["phase"], "start");
    assert_eq!(world.event("typing")["typing"], true);
    assert_eq!(world.event("agent.status")["status"], "busy");
    assert_eq!(world.row("agent:main:chat")["status"], "running");

    world.says("k1", r#"{"type":"text","delta":"word0"}"#);
    assert_eq!(world.event("agent.text")["delta"], "word0");
    world.says("k1", r#"{"type":"text","delta":" word1"}"#);
    world.says("k1", r#"{"type":"usage","input":1100,"output":7,"model":"mock/m1"}"#);
    world.exit("k1", 0);
    let outcome = world.reply("r1");
    assert_eq!(outcome["status"], "ok");
    assert_eq!(outcome["result"]["payloads"][0]["text"], "word0 word1");
    let agent = &outcome["result"]["meta"]["agentMeta"];
    assert_eq!(agent["usage"], json!({"input": 1100, "output": 7, "total": 1107}));
    assert_eq!((&agent["provider"], &agent["model"]), (&json!("mock"), &json!("m1")));
    assert_eq!(world.event("agent.done")["status"], "ok");
    assert_eq!(world.event("agent.status")["status"], "idle");
    let row = world.row("agent:main:chat");
    assert_eq!((&row["status"], &row["inputTokens"]), (&json!("done"), &json!(1100)));
    let said = world.said_in("agent:main:chat");
    assert_eq!(said, [("user".into(), "hello".into()), ("assistant".into(), "word0 word1".into())]);
}

#[test]
fn a_failure_is_an_error_in_the_second_reply_and_says_why() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    let stderr = ProcessNews::Line { stream: OutputStream::Stderr, text: "no such model".into(), cut: false };
    world.news("k1", stderr);
    assert_eq!(world.logged(), ["no such model"]);
    world.exit("k1", 3);
    let error = world.refusal("r1");
    assert_eq!(error.code, "UNAVAILABLE");
    assert_eq!(error.message, "command \"talker\" ended with exit code 3: no such model");
    assert_eq!(world.event("chat")["state"], "error");
    assert_eq!(world.row("agent:main:chat")["status"], "failed");
}

#[test]
fn each_way_to_fail_has_its_sentence() {
    for (news, says) in [
        (exited(None, Some(11)), "signal 11 (SIGSEGV)"),
        (exited(None, None), "didn't say how"),
        (
            ProcessNews::Exited { code: None, signal: Some(15), duration_ms: 1, strays: 0, timed_out: true },
            "ran into its timeout of 9 s",
        ),
        (ProcessNews::NotStarted { reason: "program /bin/agent doesn't exist".into() }, "doesn't exist"),
    ] {
        let mut world = World::new();
        let mut params = message("k1");
        params["timeout"] = 9.into();
        world.call("r1", "agent", params);
        assert_eq!(world.order().timeout, Some(Duration::from_secs(9)));
        let starts = !matches!(news, ProcessNews::NotStarted { .. });
        if starts {
            world.start("k1");
        }
        world.news("k1", news);
        let error = world.refusal("r1");
        assert!(error.message.contains(says), "{}", error.message);
        let row = world.row("agent:main:chat");
        assert_eq!(row["status"], "failed");
        assert_eq!(world.events("typing").len(), usize::from(starts), "what never ran never typed");
    }
}

#[test]
fn an_error_line_fails_a_run_whatever_its_exit_code() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.says("k1", r#"{"type":"error","message":"no key for openai"}"#);
    world.exit("k1", 0);
    assert_eq!(world.refusal("r1").message, "no key for openai");
}

#[test]
fn the_same_key_is_answered_from_memory_and_never_run_twice() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.call("r2", "agent", message("k1"));
    assert_eq!(world.reply("r2")["status"], "accepted");
    assert!(world.orders().is_empty());
    world.says("k1", r#"{"type":"done","text":"all"}"#);
    world.exit("k1", 0);
    for request in ["r1", "r2"] {
        assert_eq!(world.reply(request)["status"], "ok");
    }
    world.call("r3", "agent", message("k1"));
    assert_eq!(world.reply("r3")["result"]["payloads"][0]["text"], "all");
    assert!(world.orders().is_empty());
}

#[test]
fn the_same_key_with_other_parameters_is_a_mistake() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    let mut other = message("k1");
    other["message"] = "other".into();
    world.call("r2", "agent", other);
    assert_eq!(world.refusal("r2").code, "INVALID_REQUEST");
    assert!(world.orders().is_empty());
    world.call("r3", "chat.send", message("k1"));
    assert!(world.refusal("r3").message.contains("was used for another request"));
}

#[test]
fn a_chat_message_is_answered_once_and_its_end_comes_by_events() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    let reply = world.reply("r1");
    assert_eq!((&reply["runId"], &reply["status"]), (&json!("k1"), &json!("started")));
    world.call("r2", "chat.send", message("k1"));
    assert_eq!(world.reply("r2")["status"], "in_flight");
    world.start("k1");
    world.says("k1", r#"{"type":"text","text":"word0"}"#);
    let delta = world.event("chat");
    assert_eq!((&delta["state"], &delta["deltaText"]), (&json!("delta"), &json!("word0")));
    world.exit("k1", 0);
    assert!(world.replies("r1").is_empty());
    let last = world.event("chat");
    assert_eq!((&last["state"], &last["message"]["content"][0]["text"]), (&json!("final"), &json!("word0")));
    world.call("r3", "chat.send", message("k1"));
    assert_eq!(world.reply("r3")["status"], "ok");
}

#[test]
fn a_second_message_waits_for_the_first_and_then_runs() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.call("r2", "chat.send", message("k2"));
    assert_eq!(world.reply("r2")["status"], "queued");
    assert!(world.orders().is_empty());
    world.start("k1");
    world.exit("k1", 0);
    assert_eq!(world.order().run, RunId("k2".into()));
    world.start("k2");
    world.exit("k2", 0);
    assert!(world.orders().is_empty());
    assert_eq!((world.machine.runs.processes(), world.machine.runs.queued()), (0, 0));
}

#[test]
fn only_so_many_messages_wait() {
    let mut world = World::new();
    for number in 0..=QUEUE {
        world.call("r", "chat.send", message(&format!("k{number}")));
        world.reply("r");
    }
    world.call("r", "chat.send", message("more"));
    let error = world.refusal("r");
    assert_eq!((error.code, error.retry_after_ms), ("UNAVAILABLE", Some(1_000)));
    assert_eq!(error.details["code"], "SESSION_BUSY");
    assert!(world.machine.runs.get(&RunId("more".into())).is_none());
}

#[test]
fn only_so_many_processes_run() {
    let mut world = World::with(|config| config.limits.processes = 2);
    for number in 0..2 {
        world.call("r", "spawn", json!({"command": "plain", "idempotencyKey": format!("k{number}")}));
        assert_eq!(world.orders().len(), 1);
    }
    world.call("r", "spawn", json!({"command": "plain"}));
    assert_eq!(world.refusal("r").details["code"], "TOO_MANY_PROCESSES");
    assert!(world.orders().is_empty());
    world.start("k0");
    world.exit("k0", 0);
    world.call("r", "spawn", json!({"command": "plain"}));
    assert_eq!(world.orders().len(), 1);
}

#[test]
fn a_spawned_command_is_running_only_after_its_execution() {
    let mut world = World::new();
    world.call("spawn-1", "spawn", json!({"command": "plain", "args": ["developer"], "idempotencyKey": "k1"}));
    assert!(world.replies("spawn-1").is_empty() && world.events("spawn_result").is_empty());
    assert_eq!(world.order().args, ["-q", "developer"]);
    world.start("k1");
    let result = world.event("spawn_result");
    assert_eq!(world.reply("spawn-1"), result);
    for (field, value) in [("id", json!("spawn-1")), ("status", json!("running")), ("pid", json!(77))] {
        assert_eq!(result[field], value);
    }
    for field in ["completedAt", "result", "error"] {
        assert_eq!(result[field], Value::Null);
    }
    assert_eq!(result["sessionKey"], "agent:plain:spawn:k1");
    world.says("k1", "one");
    assert_eq!(world.logged(), ["one"]);
    world.exit("k1", 0);
    let result = world.event("spawn_result");
    assert_eq!((&result["status"], &result["result"]["exitCode"]), (&json!("completed"), &json!(0)));
    assert_eq!(result["result"]["text"], "one");
    assert_eq!(result["completedAt"], world.now.wall_ms);
    assert!(world.replies("spawn-1").is_empty());
    assert_eq!(world.row("agent:plain:spawn:k1")["status"], "done");
}

#[test]
fn other_readers_hear_of_a_spawn_under_the_id_of_its_run() {
    let mut world = World::new();
    let mut other = caller_with(&["operator.read"]);
    other.connection = ConnectionId(2);
    world.machine.audience.join(Arc::new(other));
    world.call("1", "spawn", json!({"command": "plain", "idempotencyKey": "k1"}));
    world.start("k1");
    let told: Vec<(Vec<ConnectionId>, Value)> = world
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell { to, event, payload } if event == "spawn_result" => Some((to.clone(), payload["id"].clone())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(vec![ConnectionId(1)], json!("1")), (vec![ConnectionId(2)], json!("k1"))]);
}

#[test]
fn a_long_request_id_becomes_the_runs_and_a_short_one_does_not() {
    let mut world = World::new();
    let long = "0123456789abcdef-spawn";
    world.call(long, "spawn", json!({"command": "plain"}));
    assert_eq!(world.order().run.0, long);
    world.call(long, "spawn", json!({"command": "plain"}));
    assert_ne!(world.order().run.0, long, "sent again without a key it is another one");
    world.call("1", "spawn", json!({"command": "plain"}));
    assert_ne!(world.order().run.0, "1");
}

#[test]
fn a_command_that_cannot_be_executed_is_an_error_and_a_failed_spawn_result() {
    let mut world = World::new();
    world.call("r1", "spawn", json!({"command": "plain", "idempotencyKey": "k1"}));
    world.news("k1", ProcessNews::NotStarted { reason: "program /bin/agent doesn't exist".into() });
    let error = world.refusal("r1");
    assert_eq!((error.code, &error.details["code"]), ("UNAVAILABLE", &json!("SPAWN_FAILED")));
    let result = world.event("spawn_result");
    assert_eq!((&result["status"], &result["pid"]), (&json!("failed"), &Value::Null));
    assert_eq!(result["error"], "program /bin/agent doesn't exist");
    assert_eq!(world.row("agent:plain:spawn:k1")["status"], "failed");
}

#[test]
fn what_the_allow_list_refuses_is_never_begun() {
    let mut world = World::new();
    for params in [
        json!({"command": "python"}),
        json!({"command": "plain", "args": ["-rf"]}),
        json!({"command": "plain", "args": ["a", "b"]}),
        json!({"command": "plain", "env": {"LD_PRELOAD": "x"}}),
        json!({"command": "plain", "env": {"A": "x"}}),
        json!({"command": "plain", "cwd": "/etc"}),
        json!({"command": "plain", "cwd": "/srv/../etc"}),
    ] {
        world.call("r1", "spawn", params.clone());
        let error = world.refusal("r1");
        assert!(matches!(error.code, "FORBIDDEN" | "INVALID_REQUEST"), "{params}: {error}");
        assert!(world.orders().is_empty() && world.machine.sessions.is_empty(), "{params}");
    }
}

#[test]
fn senseless_parameters_are_refused_by_name() {
    let mut world = World::new();
    for (method, params, says) in [
        ("spawn", json!({"foo": 1}), "unexpected property 'foo'"),
        ("spawn", json!({}), "'command' or 'task'"),
        ("spawn", json!({"command": "plain", "task": "x"}), "exclude each other"),
        ("spawn", json!({"task": "x", "args": []}), "'args' needs 'command'"),
        ("spawn", json!({"command": "plain", "env": {"A": 1}}), "at /env"),
        ("spawn", json!({"command": "plain", "env": []}), "at /env: must be object"),
        ("spawn", json!({"task": "x", "agent": "nobody"}), "Unknown agent id"),
        ("spawn", json!({"task": "x", "agent": "coder", "sessionKey": "agent:main:x"}), "belongs to another agent"),
        ("spawn", json!({"task": " "}), "must not be blank"),
        ("agent", json!({"idempotencyKey": "k"}), "'message'"),
        ("agent", json!({"message": "x"}), "'idempotencyKey'"),
        ("agent", json!({"message": "x", "idempotencyKey": ""}), "idempotencyKey"),
        ("agent", json!({"message": "x", "idempotencyKey": "a\nb"}), "control characters"),
        ("agent", json!({"message": "x", "idempotencyKey": "k".repeat(257)}), "at most 256 bytes"),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "agentId": "nobody"}), "Unknown agent id"),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "sessionId": "nope"}), "session not found"),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "attachments": [1]}), "attachments is not supported"),
        (
            "agent",
            json!({"message": "x", "idempotencyKey": "k", "agentId": "coder", "sessionKey": "agent:main:x"}),
            "doesn't fit session key",
        ),
        ("chat.send", json!({}), "session mutation target is unavailable"),
        ("chat.send", json!({"sessionKey": "main", "message": "x"}), "'idempotencyKey'"),
        ("sessions.send", json!({"key": "agent:main:none", "message": "x"}), "session not found: agent:main:none"),
        ("sessions.abort", json!({}), "key required"),
        ("chat.abort", json!({}), "'sessionKey'"),
        ("agent.wait", json!({}), "'runId'"),
        ("control", json!({"sessionKey": "main"}), "'action'"),
        ("control", json!({"sessionKey": "main", "action": "explode"}), "allowed values"),
        ("control", json!({"sessionKey": "main", "action": "pause"}), "session not found"),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "agentId": "idle"}), "has no command"),
    ] {
        world.call("r1", method, params.clone());
        let error = world.refusal("r1");
        assert!(error.message.contains(says), "{method} {params}: {}", error.message);
        assert!(world.orders().is_empty());
    }
    assert!(world.machine.sessions.is_empty());
}

#[test]
fn a_message_that_is_too_long_is_refused() {
    let mut world = World::new();
    let mut params = message("k1");
    params["message"] = "x".repeat(MESSAGE_LIMIT + 1).into();
    world.call("r1", "agent", params);
    assert!(world.refusal("r1").message.contains("longer than"));
    assert!(world.orders().is_empty());
}

#[test]
fn pause_and_resume_are_answered_when_the_group_was_signalled() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.call("c1", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    assert!(world.replies("c1").is_empty());
    assert_eq!(world.signals(), [("k1".into(), ProcessSignal::Pause)]);
    world.news("k1", ProcessNews::Signalled { signal: ProcessSignal::Pause, failed: None });
    assert_eq!(world.reply("c1")["status"], "paused");
    assert_eq!(world.row("agent:main:chat")["paused"], true);
    world.call("c2", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    assert_eq!(world.reply("c2")["status"], "paused", "once more is no mistake");
    assert!(world.signals().is_empty());
    world.call("c3", "control", json!({"sessionKey": "agent:main:chat", "action": "resume"}));
    world.news("k1", ProcessNews::Signalled { signal: ProcessSignal::Resume, failed: None });
    assert_eq!(world.reply("c3")["status"], "running");
    assert_eq!(world.row("agent:main:chat")["status"], "running");
    world.call("c4", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    world.news("k1", ProcessNews::Signalled { signal: ProcessSignal::Pause, failed: Some("not permitted".into()) });
    assert!(world.refusal("c4").message.contains("not permitted"));
    assert_eq!(world.row("agent:main:chat")["status"], "running");
}

#[test]
fn orders_that_wait_are_answered_when_the_run_ends_first() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.call("c1", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    world.call("c2", "control", json!({"sessionKey": "agent:main:chat", "action": "kill"}));
    world.exit("k1", 0);
    assert!(world.refusal("c1").message.contains("its run has ended"));
    assert_eq!(world.reply("c2")["status"], "killed");
}

#[test]
fn a_kill_ends_the_run_and_those_that_wait_in_its_session() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.call("r2", "agent", message("k2"));
    world.start("k1");
    world.call("c1", "chat.abort", json!({"sessionKey": "agent:main:chat"}));
    assert_eq!(world.reply("c1"), json!({"ok": true, "aborted": true, "runIds": ["k1", "k2"]}));
    assert_eq!(world.signals(), [("k1".into(), ProcessSignal::Terminate)]);
    assert_eq!(world.reply("r2")["stopReason"], "rpc", "what waited ends at once");
    world.news("k1", exited(None, Some(15)));
    let killed = world.reply("r1");
    assert_eq!(
        (&killed["status"], &killed["summary"], &killed["stopReason"]),
        (&json!("timeout"), &json!("aborted"), &json!("rpc"))
    );
    let chat = world.event("chat");
    assert_eq!((&chat["state"], &chat["stopReason"]), (&json!("aborted"), &json!("rpc")));
    assert_eq!(world.row("agent:main:chat")["status"], "killed");
    assert!(world.orders().is_empty());
    world.call("c2", "chat.abort", json!({"sessionKey": "agent:main:chat"}));
    assert_eq!(world.reply("c2"), json!({"ok": true, "aborted": false, "runIds": []}));
}

#[test]
fn an_abort_of_one_run_leaves_the_others() {
    let mut world = World::new();
    for key in ["k1", "k2", "k3"] {
        world.call("r", "chat.send", message(key));
    }
    world.call("c1", "sessions.abort", json!({"runId": "k2"}));
    assert_eq!(world.reply("c1"), json!({"ok": true, "abortedRunId": "k2", "status": "aborted"}));
    assert!(world.signals().is_empty());
    world.start("k1");
    world.exit("k1", 0);
    assert_eq!(world.order().run.0, "k3");
    world.call("c2", "sessions.abort", json!({"key": "agent:main:chat", "runId": "nope"}));
    assert_eq!(world.reply("c2"), json!({"ok": true, "abortedRunId": null, "status": "no-active-run"}));
}

#[test]
fn a_spawn_that_is_killed_says_so() {
    let mut world = World::new();
    world.call("r1", "spawn", json!({"command": "plain", "idempotencyKey": "k1"}));
    world.start("k1");
    world.call("c1", "control", json!({"sessionKey": "agent:plain:spawn:k1", "action": "terminate"}));
    world.news("k1", ProcessNews::Signalled { signal: ProcessSignal::Terminate, failed: None });
    let reply = world.reply("c1");
    assert_eq!(
        (&reply["status"], &reply["aborted"], &reply["runIds"]),
        (&json!("ending"), &json!(true), &json!(["k1"]))
    );
    world.news("k1", exited(None, Some(9)));
    let result = world.event("spawn_result");
    assert_eq!((&result["status"], &result["result"]["signal"]), (&json!("killed"), &json!(9)));
    world.call("c2", "control", json!({"sessionKey": "agent:plain:spawn:k1", "action": "kill"}));
    assert_eq!(world.reply("c2")["aborted"], false);
    world.call("c3", "control", json!({"sessionKey": "agent:plain:spawn:k1", "action": "pause"}));
    assert_eq!(world.refusal("c3").details["code"], "NO_ACTIVE_RUN");
    world.call("c4", "control", json!({"sessionKey": "agent:plain:spawn:k1", "action": "monitor"}));
    assert_eq!((&world.reply("c4")["status"], &world.reply("c4")["runs"]), (&json!("idle"), &json!([])));
}

#[test]
fn waiting_ends_with_the_run_or_with_the_time() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.call("w1", "agent.wait", json!({"runId": "k1", "timeoutMs": 1_000}));
    world.call("w2", "agent.wait", json!({"runId": "k1", "timeoutMs": 5_000}));
    world.call("w0", "agent.wait", json!({"runId": "k1", "timeoutMs": 0}));
    assert_eq!(world.reply("w0"), json!({"runId": "k1", "status": "timeout"}));
    assert_eq!(world.machine.next_deadline(), Some(world.now.at + Duration::from_secs(1)));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.reply("w1"), json!({"runId": "k1", "status": "timeout"}));
    assert!(world.replies("w2").is_empty());
    world.exit("k1", 0);
    let waited = world.reply("w2");
    assert_eq!((&waited["status"], &waited["endedAt"]), (&json!("ok"), &json!(world.now.wall_ms)));
    assert_eq!(world.machine.next_deadline(), None);
    world.call("w3", "agent.wait", json!({"runId": "k1"}));
    assert_eq!(world.reply("w3")["status"], "ok");
    world.call("w4", "agent.wait", json!({"runId": "nope"}));
    assert_eq!(world.reply("w4"), json!({"runId": "nope", "status": "timeout"}));
}

#[test]
fn the_dialect_without_ids_gets_the_outcome_alone() {
    let mut world = World::new();
    let params = json!({"message": "Hello", "sessionKey": "main", "model": "anthropic/x", "thinkingLevel": "medium"});
    world.call_as(rpc_caller(), "1", "agent", params);
    assert!(world.replies("1").is_empty());
    let order = world.order();
    assert_eq!(world.machine.runs.get(&order.run).unwrap().session_key, "agent:main:main");
    world.start(&order.run.0);
    world.says(&order.run.0, r#"{"type":"text","text":"hi"}"#);
    world.exit(&order.run.0, 0);
    assert_eq!(world.reply("1")["result"]["payloads"][0]["text"], "hi");
}

#[test]
fn tools_and_thoughts_are_told_in_order_with_the_text() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.says("k1", r#"{"type":"text","delta":"a"}"#);
    world.says("k1", r#"{"type":"text","delta":"b"}"#);
    assert!(world.events("agent.text").is_empty(), "not due yet");
    world.says("k1", r#"{"type":"tool_start","name":"ls","id":"t1","args":{"path":"/"}}"#);
    let names: Vec<&str> = world
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell { event, .. } if event.starts_with("agent.") => Some(event.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["agent.text", "agent.tool.start"]);
    assert_eq!(world.event("agent.tool.start")["tool"], "ls");
    world.says("k1", r#"{"type":"tool_result","name":"ls","id":"t1","result":"x"}"#);
    assert_eq!(world.event("agent.tool.result")["result"], "x");
    assert_eq!(world.event("agent")["data"]["phase"], "result");
    world.says("k1", r#"{"type":"thinking","text":"hm"}"#);
    assert_eq!(world.event("agent.thinking")["text"], "hm");
    world.says("k1", "not json");
    assert_eq!(world.logged(), ["not json"]);
    world.says("k1", r#"{"type":"text","delta":"c"}"#);
    assert!(world.events("agent.text").is_empty());
    assert!(world.machine.next_deadline().is_some());
    world.pass(Duration::from_millis(200));
    assert_eq!(world.event("agent.text")["delta"], "c");
    assert_eq!(world.machine.next_deadline(), None);
}

#[test]
fn events_of_a_run_are_numbered_without_gaps() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    let mut numbers = Vec::new();
    world.start("k1");
    numbers.extend(world.events("agent"));
    world.says("k1", r#"{"type":"text","delta":"a"}"#);
    numbers.extend(world.events("agent"));
    world.says("k1", r#"{"type":"usage","input":1,"output":1}"#);
    numbers.extend(world.events("agent"));
    world.exit("k1", 0);
    numbers.extend(world.events("agent"));
    let numbers: Vec<u64> = numbers.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_lost_connection_is_owed_nothing_and_its_run_goes_on() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.call("w1", "agent.wait", json!({"runId": "k1"}));
    world.call("c1", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    let connection = world.caller.connection;
    world.turn(|machine, turn| machine.disconnected(connection, turn.now));
    assert!(world.signals().is_empty());
    world.exit("k1", 0);
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Respond { .. } | Effect::Tell { .. })));
    assert_eq!(world.row("agent:main:chat")["status"], "done");
}

#[test]
fn late_news_of_a_run_that_has_ended_tell_nothing() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.exit("k1", 0);
    world.exit("k1", 1);
    assert!(world.effects.is_empty());
    world.start("never");
    assert!(world.effects.is_empty());
}

#[test]
fn finished_runs_are_forgotten_beyond_the_limit() {
    let mut world = World::with(|config| config.limits.finished_runs = 2);
    for number in 0..4 {
        let key = format!("k{number}");
        world.call("r", "chat.send", message(&key));
        world.start(&key);
        world.exit(&key, 0);
    }
    let known = |number: u32| world.machine.runs.get(&RunId(format!("k{number}"))).is_some();
    assert_eq!([0, 1, 2, 3].map(known), [false, false, true, true]);
}

#[test]
fn dropped_output_and_strays_are_said_in_the_log() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.news("k1", ProcessNews::Dropped { bytes: 5 });
    assert!(world.logged()[0].contains("5 bytes of output were dropped"));
    world.news("k1", ProcessNews::Exited { code: Some(0), signal: None, duration_ms: 1, strays: 2, timed_out: false });
    assert!(world.logged()[0].contains("2 processes that run k1 left behind"));
}

#[test]
fn stopping_ends_everything_that_waits_and_marks_the_rest() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.call("r2", "agent", message("k2"));
    world.start("k1");
    world.turn(GatewayMachine::stopping);
    assert_eq!(world.reply("r2")["summary"], "aborted");
    assert_eq!(world.signals(), [("k1".into(), ProcessSignal::Terminate)]);
    world.news("k1", exited(None, Some(15)));
    assert_eq!(world.reply("r1")["summary"], "aborted");
    assert_eq!(world.row("agent:main:chat")["status"], "killed");
}

#[test]
fn a_message_without_a_session_has_one_of_its_own_and_one_to_an_agent_its_main_one() {
    let mut world = World::new();
    world.call("r1", "agent", json!({"message": "x", "idempotencyKey": "K1"}));
    assert_eq!(world.reply("r1")["sessionKey"], "agent:main:explicit:k1");
    world.call("r2", "agent", json!({"message": "x", "idempotencyKey": "K2", "agentId": "coder"}));
    assert_eq!(world.reply("r2")["sessionKey"], "agent:coder:main");
    world.call("r3", "spawn", json!({"task": "x", "agent": "coder", "idempotencyKey": "K3"}));
    assert_eq!(world.order().cwd, PathBuf::from("/srv"));
    world.start("K3");
    assert_eq!(world.reply("r3")["sessionKey"], "agent:coder:spawn:k3");
}

#[test]
fn an_agent_whose_command_names_no_directory_works_in_its_own_folder() {
    let mut world = World::with(|config| {
        config.commands.get_mut("plain").unwrap().working_dirs.clear();
    });
    world.call("r1", "agent", json!({"message": "x", "idempotencyKey": "k1", "agentId": "coder"}));
    let order = world.order();
    assert_eq!((order.cwd, order.make_cwd), (PathBuf::from("/ws/coder"), true));
    world.call("r2", "spawn", json!({"command": "plain"}));
    let order = world.order();
    assert_eq!((order.cwd, order.make_cwd), (PathBuf::from("/"), false));
}

#[derive(Debug, Clone)]
enum Step {
    Send(u8, u8),
    Spawn(u8),
    Start(u8),
    NotStart(u8),
    Say(u8),
    Exit(u8),
    Abort(u8),
    Control(u8, u8),
    Wait(u8),
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..12_u8, 0..3_u8).prop_map(|(run, session)| Step::Send(run, session)),
        (0..12_u8).prop_map(Step::Spawn),
        (0..12_u8).prop_map(Step::Start),
        (0..12_u8).prop_map(Step::NotStart),
        (0..12_u8).prop_map(Step::Say),
        (0..12_u8).prop_map(Step::Exit),
        (0..3_u8).prop_map(Step::Abort),
        (0..3_u8, 0..3_u8).prop_map(|(session, action)| Step::Control(session, action)),
        (0..12_u8).prop_map(Step::Wait),
        Just(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_sessions_have_one_process_and_every_request_is_answered(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::with(|config| {
            config.limits.processes = 4;
            config.limits.finished_runs = 5;
        });
        // Requests, and how many replies each had.
        let mut asked: std::collections::BTreeMap<String, (bool, usize)> = Default::default();
        // Processes as the launcher would have them: whether it was executed.
        let mut processes: std::collections::BTreeMap<String, bool> = Default::default();
        let mut drain: Vec<Step> = Vec::new();
        let mut at = 0;
        loop {
            let step = match steps.get(at) {
                Some(step) => step.clone(),
                None => {
                    // In the end all processes end, and so does all waiting.
                    if drain.is_empty() {
                        let Some(next) = processes.keys().next().cloned() else { break };
                        let number: u8 = next[1..].parse().unwrap();
                        drain = vec![Step::Exit(number), Step::Start(number)];
                    }
                    drain.pop().unwrap()
                }
            };
            at += 1;
            let request = format!("q{at}");
            match step {
                Step::Send(run, session) => {
                    asked.insert(request.clone(), (run % 2 == 0, 0));
                    let params = json!({"message": "x", "sessionKey": format!("agent:main:s{session}"), "idempotencyKey": format!("k{run}")});
                    world.call(&request, if run % 2 == 0 { "agent" } else { "chat.send" }, params);
                }
                Step::Spawn(run) => {
                    asked.insert(request.clone(), (false, 0));
                    world.call(&request, "spawn", json!({"command": "plain", "idempotencyKey": format!("k{run}")}));
                }
                Step::Start(run) => {
                    let Some(executed) = processes.get_mut(&format!("k{run}")) else { continue };
                    if std::mem::replace(executed, true) { continue }
                    world.start(&format!("k{run}"));
                }
                Step::NotStart(run) => {
                    let key = format!("k{run}");
                    if processes.get(&key) != Some(&false) { continue }
                    processes.remove(&key);
                    world.news(&key, ProcessNews::NotStarted { reason: "no".into() });
                }
                Step::Say(run) => {
                    if processes.get(&format!("k{run}")) != Some(&true) { continue }
                    world.says(&format!("k{run}"), r#"{"type":"text","delta":"a"}"#);
                }
                Step::Exit(run) => {
                    let key = format!("k{run}");
                    if processes.get(&key) != Some(&true) { continue }
                    processes.remove(&key);
                    world.exit(&key, i32::from(run % 3));
                }
                Step::Abort(session) => {
                    asked.insert(request.clone(), (false, 0));
                    world.call(&request, "chat.abort", json!({"sessionKey": format!("agent:main:s{session}")}));
                }
                Step::Control(session, action) => {
                    asked.insert(request.clone(), (false, 0));
                    let action = ["pause", "resume", "kill"][usize::from(action)];
                    world.call(&request, "control", json!({"sessionKey": format!("agent:main:s{session}"), "action": action}));
                }
                Step::Wait(run) => {
                    asked.insert(request.clone(), (false, 0));
                    world.call(&request, "agent.wait", json!({"runId": format!("k{run}"), "timeoutMs": 100}));
                }
                Step::Pass => world.pass(Duration::from_millis(60)),
            }
            for effect in std::mem::take(&mut world.effects) {
                match effect {
                    Effect::Start(order) => {
                        prop_assert!(processes.insert(order.run.0.clone(), false).is_none(), "{} runs twice", order.run.0);
                    }
                    Effect::Respond { to, outcome } => {
                        let (twice, count) = asked.get_mut(to.request.as_deref().unwrap()).unwrap();
                        *count += 1;
                        let accepted = outcome.is_ok_and(|payload| payload["status"] == "accepted");
                        prop_assert!(*count <= 1 + usize::from(*twice), "answered too often");
                        prop_assert!(!(accepted && *count == 2), "accepted twice");
                    }
                    _ => {}
                }
            }
            prop_assert!(processes.len() <= 4);
            prop_assert_eq!(world.machine.runs.processes(), processes.len());
            let mut sessions = std::collections::BTreeSet::new();
            for run in world.machine.runs.under_way().filter(|run| run.state.has_process()) {
                prop_assert!(sessions.insert(run.session_key.clone()), "two processes in one session");
            }
        }
        world.pass(Duration::from_secs(1));
        for effect in &world.effects {
            if let Effect::Respond { to, .. } = effect {
                asked.get_mut(to.request.as_deref().unwrap()).unwrap().1 += 1;
            }
        }
        prop_assert_eq!((world.machine.runs.processes(), world.machine.runs.queued()), (0, 0));
        prop_assert_eq!(world.machine.runs.queued_bytes, 0);
        prop_assert!(world.machine.runs.lanes.is_empty());
        prop_assert!(world.machine.sessions.iter().all(|session| !session.is_busy()));
        prop_assert!(asked.values().all(|(_, count)| *count >= 1), "somebody waits for ever: {:?}", asked);
    }
}
