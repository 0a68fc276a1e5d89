//! Processes behind the protocol: spawned, followed, controlled, ended with the gateway.

use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use gatewarden_embedded_gateway::config::{CommandTemplate, ConfiguredAgent, GatewayConfig};
use gatewarden_embedded_gateway::processes::owner_of;
use gatewarden_processes::proc_table::{self, Process};
use serde_json::json;

use crate::support::{Client, Connect, Gateway, within};

/// An agent of this name that runs a script.
pub(crate) fn with_agent(config: &mut GatewayConfig, name: &str, json_lines: bool, script: &str) {
    let command = CommandTemplate {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        allowed_args: Vec::new(),
        env: Default::default(),
        allowed_env: Default::default(),
        working_dirs: vec!["/".into()],
        json_lines,
        timeout: None,
    };
    config.commands.insert(name.into(), command);
    let agent = ConfiguredAgent {
        name: name.into(),
        command: Some(name.into()),
        acp: None,
        workspace: config.state_dir.join("workspaces").join(name),
        model: None,
    };
    config.agents.insert(name.into(), agent);
    config.limits.kill_grace = Duration::from_millis(200);
}

fn lives(pid: &serde_json::Value) -> bool {
    let pid = pid.as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Process::read).is_some_and(|process| !process.is_dead())
}

#[actix::test]
async fn a_spawn_is_answered_and_followed_by_the_id_of_its_request() {
    let gateway = Gateway::start(|config| with_agent(config, "worker", false, "echo one; exit 3")).await;
    let mut client = Client::connect(&gateway).await;
    let request = client.ask("spawn", json!({"command": "worker"})).await;
    let running = client.reply(&request).await.unwrap();
    assert_eq!((&running["id"], &running["status"]), (&json!(request), &json!("running")));
    let first = client.event("spawn_result").await;
    assert_eq!((&first["id"], &first["pid"]), (&json!(request), &running["pid"]));
    let line = client.event_where("log", |line| line["message"] == "one").await;
    assert_eq!((&line["source"], &line["session"]), (&json!("worker"), &running["sessionKey"]));
    let last = client.event_where("spawn_result", |result| result["status"] != "running").await;
    assert_eq!(
        (&last["id"], &last["status"], &last["result"]["exitCode"]),
        (&json!(request), &json!("failed"), &json!(3))
    );
    let listed = client.call("sessions.list", json!({})).await;
    assert_eq!(listed["sessions"][0]["status"], "failed");
    gateway.stop().await;
}

#[actix::test]
async fn an_agent_call_is_answered_twice_and_its_text_streams_in_between() {
    let script = r#"read word; echo '{"type":"text","delta":"you said "}'; echo "{\"type\":\"text\",\"delta\":\"$word\"}"
        echo '{"type":"usage","input":11,"output":3,"model":"shell/sh"}'"#;
    let gateway = Gateway::start(|config| with_agent(config, "main", true, script)).await;
    let mut client = Client::connect(&gateway).await;
    let params =
        json!({"message": "hello", "agentId": "main", "sessionKey": "agent:main:chat", "idempotencyKey": "k1"});
    let request = client.ask("agent", params.clone()).await;
    assert_eq!(client.reply(&request).await.unwrap()["status"], "accepted");
    let waited = client.call("agent.wait", json!({"runId": "k1"})).await;
    assert_eq!(waited["status"], "ok", "{waited}");
    let outcome = client.reply(&request).await.unwrap();
    assert_eq!(outcome["result"]["payloads"][0]["text"], "you said hello");
    let last = client.event_where("chat", |chat| chat["state"] == "final").await;
    assert_eq!(last["message"]["content"][0]["text"], "you said hello");
    assert_eq!(client.call("agent", params).await["status"], "ok", "the same key is answered from memory");
    let history = client.call("chat.history", json!({"sessionKey": "agent:main:chat"})).await;
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(2));
    let older = client.call("chat.history", json!({"sessionKey": "agent:main:chat", "beforeSeq": 2, "limit": 1})).await;
    assert_eq!(older["messages"][0]["__openclaw"]["seq"], 1);
    assert_eq!((older["messages"].as_array().map(Vec::len), &older["hasMore"]), (Some(1), &json!(false)));
    gateway.stop().await;
}

#[actix::test]
async fn protocol_3_pauses_resumes_and_aborts_too() {
    let gateway = Gateway::start(|config| with_agent(config, "main", false, "exec cat /dev/zero > /dev/null")).await;
    let connect = Connect { protocols: (3, 3), ..Connect::default() };
    let mut client = Client::connect_as(&gateway, connect).await.unwrap();
    let key = "agent:main:chat";
    let send = json!({"sessionKey": key, "message": "work", "idempotencyKey": "k1"});
    assert_eq!(client.call("chat.send", send).await["status"], "started");
    client.event_where("agent", |agent| agent["data"]["phase"] == "start").await;
    for (action, status) in [("pause", "paused"), ("resume", "running")] {
        let reply = client.call("control", json!({"sessionKey": key, "action": action})).await;
        assert_eq!(reply["status"], status);
    }
    let reply = client.call("sessions.abort", json!({"key": key})).await;
    assert_eq!(reply, json!({"ok": true, "abortedRunId": "k1", "status": "aborted"}));
    let aborted = client.event_where("chat", |chat| chat["state"] == "aborted").await;
    assert_eq!(aborted["stopReason"], "rpc");
    gateway.stop().await;
}

#[actix::test]
async fn stopping_the_gateway_ends_its_processes_and_says_so_before_it_hangs_up() {
    let script = "trap '' TERM; (setsid sh -c 'echo $$; exec cat /dev/zero > /dev/null' &); while :; do read x < /dev/zero; done";
    let gateway = Gateway::start(|config| with_agent(config, "main", false, script)).await;
    let mut client = Client::connect(&gateway).await;
    let running = client.call("spawn", json!({"command": "main"})).await;
    let line = client.event_where("log", |line| line["extra"]["stream"] == "stdout").await;
    let away = json!(line["message"].as_str().unwrap().parse::<i64>().unwrap());
    gateway.stop().await;
    client.event("shutdown").await;
    let last = client.event_where("spawn_result", |result| result["status"] != "running").await;
    assert_eq!(last["status"], "killed");
    assert_eq!(client.closed().await.0, 1012);
    assert!(!lives(&running["pid"]) && !lives(&away));
}

#[actix::test]
async fn what_a_crashed_gateway_left_running_is_reported_by_the_next_one() {
    let state = tempfile::tempdir().unwrap();
    let marker = owner_of(state.path()).tag("lost-run");
    // What is left of a crash: a process with the mark of the state directory, and nobody who knows of it.
    let mut left = std::process::Command::new("/bin/cat")
        .arg("/dev/zero")
        .env(marker.variable().0, marker.variable().1)
        .stdout(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    // The kernel lets its parent go on a little before it shows the new program's environment.
    let pid = i32::try_from(left.id()).unwrap();
    within(async {
        while proc_table::environ(pid).is_none_or(|environ| environ.is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let gateway = Gateway::start_in(state, |_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let status = client.call("status", json!({})).await;
    let orphan = &status["orphans"][0];
    assert_eq!((&orphan["pid"], &orphan["runId"]), (&json!(left.id()), &json!("lost-run")));
    assert_eq!(client.call("health", json!({})).await["orphans"], 1);
    left.kill().unwrap();
    left.wait().unwrap();
    gateway.stop().await;
}
