//! The core with real children.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor as _, Addr};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::call::{Call, CallError};
use crate::caller::{Caller, ConnectionId, caller_with};
use crate::config::{Auth, CommandTemplate, ConfiguredAgent, GatewayConfig};
use crate::core_actor::CoreActor;
use crate::core_actor::{Ask, Stop};
use crate::loading::Loaded;
use crate::metrics::GatewayMetrics;
use crate::processes::find_orphans;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Stage {
    state: TempDir,
    core: Addr<CoreActor>,
    next: u64,
}

fn shell(script: &str, json_lines: bool, work: &std::path::Path) -> CommandTemplate {
    CommandTemplate {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        allowed_args: Vec::new(),
        env: Default::default(),
        allowed_env: Default::default(),
        working_dirs: vec![std::fs::canonicalize(work).unwrap()],
        json_lines,
        timeout: None,
    }
}

impl Stage {
    fn new(scripts: &[(&str, &str)]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let work = state.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let mut config = GatewayConfig::defaults(state.path().to_owned(), Auth::None);
        config.limits.kill_grace = Duration::from_millis(100);
        for (name, script) in scripts {
            config.commands.insert((*name).into(), shell(script, name.starts_with("json"), &work));
            let agent = ConfiguredAgent {
                name: (*name).into(),
                command: Some((*name).into()),
                acp: None,
                workspace: PathBuf::from("/nowhere"),
                model: None,
            };
            config.agents.insert((*name).into(), agent);
        }
        let config = Arc::new(config);
        let loaded = Loaded::nothing(&config);
        let core = CoreActor::new(
            tokio::sync::watch::Sender::new(config),
            None,
            loaded,
            GatewayMetrics::new().unwrap(),
            Default::default(),
        )
        .start();
        Self { state, core, next: 100 }
    }

    fn caller(&mut self) -> Arc<Caller> {
        self.next += 1;
        let mut caller = caller_with(&["operator.read", "operator.write"]);
        caller.connection = ConnectionId(self.next);
        // Each call gets one answer: its outcome.
        caller.dialect = gatewarden_protocol::Dialect::Rpc;
        Arc::new(caller)
    }

    fn ask(&mut self, method: &str, params: Value) -> impl Future<Output = Result<Value, CallError>> + 'static {
        let (answer, answered) = oneshot::channel();
        let call = Call { caller: self.caller(), request: Some("r1".into()), method: method.into(), params };
        let core = self.core.clone();
        async move {
            core.send(Ask { call, answer }).await.unwrap();
            tokio::time::timeout(PATIENCE, answered).await.expect("an answer in time").expect("an answer")
        }
    }

    async fn end(self) {
        tokio::time::timeout(PATIENCE, self.core.send(Stop)).await.expect("it stops in time").unwrap();
        assert!(find_orphans(self.state.path(), None).is_empty(), "nothing is left");
    }
}

#[actix::test]
async fn a_message_reaches_a_program_on_its_input_and_its_output_is_the_answer() {
    let mut stage = Stage::new(&[("upper", "tr a-z A-Z")]);
    let outcome = stage.ask("agent", json!({"message": "hello", "agentId": "upper"})).await.unwrap();
    assert_eq!(outcome["result"]["payloads"][0]["text"], "HELLO");
    assert_eq!(outcome["result"]["meta"]["exitCode"], 0);
    stage.end().await;
}

#[actix::test]
async fn a_spawned_process_is_paused_resumed_and_killed() {
    // One process: a shell that waits for its child's exec while that is stopped is shown as `D`, and never as stopped.
    let mut stage = Stage::new(&[("busy", "exec cat /dev/zero > /dev/null")]);
    let running = stage.ask("spawn", json!({"command": "busy", "idempotencyKey": "k1"})).await.unwrap();
    let pid = i32::try_from(running["pid"].as_i64().unwrap()).unwrap();
    let key = running["sessionKey"].as_str().unwrap().to_owned();
    let state = || gatewarden_processes::Process::read(pid).map(|process| process.state);
    for (action, status) in [("pause", "paused"), ("resume", "running")] {
        let reply = stage.ask("control", json!({"sessionKey": key, "action": action})).await.unwrap();
        assert_eq!(reply["status"], status);
        tokio::time::timeout(PATIENCE, async {
            while (state() == Some('T')) != (action == "pause") {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{action} never seen"));
    }
    let waiting = stage.ask("agent.wait", json!({"runId": "k1", "timeoutMs": 20_000}));
    let reply = stage.ask("control", json!({"sessionKey": key, "action": "kill"})).await.unwrap();
    assert_eq!(reply["aborted"], true);
    assert_eq!(waiting.await.unwrap()["summary"], "aborted");
    assert_eq!(state(), None);
    stage.end().await;
}

#[actix::test]
async fn a_program_that_is_not_there_is_an_error_and_not_a_run() {
    let mut stage = Stage::new(&[("x", "true")]);
    let refused = stage.ask("spawn", json!({"command": "rm"})).await.unwrap_err();
    assert_eq!(refused.code, "FORBIDDEN");
    std::fs::remove_dir(stage.state.path().join("work")).unwrap();
    let failed = stage.ask("spawn", json!({"command": "x"})).await.unwrap_err();
    assert!(failed.message.contains("work doesn't exist"), "{}", failed.message);
    stage.end().await;
}

#[actix::test]
async fn waiting_for_a_run_ends_with_its_time() {
    let mut stage = Stage::new(&[("busy", "cat /dev/zero > /dev/null")]);
    stage.ask("spawn", json!({"command": "busy", "idempotencyKey": "k1"})).await.unwrap();
    let waited = stage.ask("agent.wait", json!({"runId": "k1", "timeoutMs": 20})).await.unwrap();
    assert_eq!(waited, json!({"runId": "k1", "status": "timeout"}));
    stage.end().await;
}

#[actix::test]
async fn stopping_ends_children_and_answers_who_waits() {
    let mut stage = Stage::new(&[("stubborn", "trap '' TERM; while :; do read x < /dev/zero; done")]);
    let running = stage.ask("spawn", json!({"command": "stubborn", "idempotencyKey": "k1"})).await.unwrap();
    let waiting = stage.ask("agent.wait", json!({"runId": "k1", "timeoutMs": 20_000}));
    let waiting = actix::spawn(waiting);
    // Mailboxes keep their order: once this is answered, the question before it has been taken.
    stage.ask("control", json!({"sessionKey": running["sessionKey"], "action": "monitor"})).await.unwrap();
    stage.end().await;
    assert_eq!(waiting.await.unwrap().unwrap()["stopReason"], "shutdown");
}

#[actix::test]
async fn an_agent_that_speaks_json_lines_is_understood() {
    let script = r#"read message; echo '{"type":"text","delta":"you said: "}'; printf '{"type":"text","delta":"%s"}\n' "$message"
        echo '{"type":"usage","input":3,"output":2}'; echo '{"type":"done"}'"#;
    let mut stage = Stage::new(&[("json", script)]);
    let outcome = stage.ask("agent", json!({"message": "hello", "agentId": "json"})).await.unwrap();
    assert_eq!(outcome["result"]["payloads"][0]["text"], "you said: hello");
    assert_eq!(outcome["result"]["meta"]["agentMeta"]["usage"]["total"], 5);
    stage.end().await;
}
