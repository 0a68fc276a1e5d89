//! Agents as processes, asked for over HTTP, WebSocket and webhooks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewarden_embedded_gateway::config::{CommandTemplate, ConfiguredAgent, GatewayConfig, Webhook};
use gatewarden_protocol::Secret;
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};

use crate::support::{Client, Gateway, TOKEN, request, request_to, within};

const JSON: (&str, &str) = ("content-type", "application/json");

/// `wait` runs until it is ended, `stubborn` until it is killed, `cat` (the agent `main`) says what it is told.
fn with_commands(config: &mut GatewayConfig) {
    let directory = std::fs::canonicalize(&config.state_dir).unwrap();
    for (name, script) in [
        ("wait", "echo ready; exec sleep 600"),
        ("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.05; done"),
        ("cat", "cat; echo told >> told"),
    ] {
        config.commands.insert(name.to_owned(), shell(script, &directory));
    }
    let agent = ConfiguredAgent {
        name: "Main".to_owned(),
        command: Some("cat".to_owned()),
        acp: None,
        workspace: directory.join("workspace"),
        model: None,
    };
    config.agents.insert("main".to_owned(), agent);
    config.default_agent = Some("main".to_owned());
    config.limits.kill_grace = Duration::from_millis(300);
    config.webhooks = vec![Webhook {
        id: "my-hook".to_owned(),
        path: "/webhook/my-hook".to_owned(),
        agent_id: "main".to_owned(),
        message: "Webhook triggered: {{body.message}}".to_owned(),
        secret: Some(Secret::new("hook-secret")),
    }];
}

fn shell(script: &str, directory: &Path) -> CommandTemplate {
    CommandTemplate {
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".to_owned(), script.to_owned()],
        allowed_args: Vec::new(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        allowed_env: BTreeSet::new(),
        working_dirs: vec![directory.to_owned()],
        json_lines: false,
        timeout: None,
    }
}

fn bearer() -> (&'static str, String) {
    ("authorization", format!("Bearer {TOKEN}"))
}

fn pid_of(payload: &Value) -> Pid {
    Pid::from_raw(payload["pid"].as_i64().unwrap().try_into().unwrap()).unwrap()
}

#[actix::test]
async fn a_process_is_spawned_listed_and_killed_over_http() {
    let gateway = Gateway::start(with_commands).await;
    let (name, token) = bearer();
    let headers = [JSON, (name, token.as_str())];
    let spawned = request(&gateway, "POST", "/spawn", &headers, r#"{"command":"wait"}"#).await;
    assert_eq!(spawned.status, 200, "{spawned:?}");
    let spawned = spawned.json();
    assert_eq!(spawned["status"], "running");
    let (pid, key) = (pid_of(&spawned), spawned["sessionKey"].as_str().unwrap().to_owned());
    assert!(test_kill_process(pid).is_ok());

    let row = |sessions: Value| sessions["sessions"].as_array().unwrap().iter().find(|row| row["key"] == key).cloned();
    let sessions = request(&gateway, "GET", "/sessions", &headers[1..], "").await.json();
    assert_eq!(row(sessions).unwrap()["status"], "active");

    let kill = json!({"sessionKey": key, "action": "kill"}).to_string();
    assert_eq!(request(&gateway, "POST", "/control", &headers, &kill).await.status, 200);
    let killed = async {
        loop {
            let sessions = request(&gateway, "GET", "/sessions", &headers[1..], "").await.json();
            let row = row(sessions).unwrap();
            if row["status"] != "active" {
                return row["status"].clone();
            }
        }
    };
    assert_eq!(within(killed).await, "killed");
    let metrics = request_to(gateway.running().metrics_address.unwrap(), "GET", "/metrics", &[], "").await.body;
    for line in ["spawn_requests_total 1", "processes_started_total 1", "processes 0"] {
        assert!(metrics.contains(&format!("\nopenclaw_gateway_{line}\n")), "{line} in {metrics}");
    }
}

#[actix::test]
async fn what_is_not_allowed_is_refused_with_its_reason() {
    let gateway = Gateway::start(with_commands).await;
    let (name, token) = bearer();
    let headers = [JSON, (name, token.as_str())];
    for body in [r#"{"command":"rm"}"#, r#"{"command":"wait","args":["-rf"]}"#, r#"{"command":"wait","foo":1}"#, "{}"] {
        let refused = request(&gateway, "POST", "/spawn", &headers, body).await;
        assert!((400..404).contains(&refused.status), "{body}: {refused:?}");
        assert!(!refused.json()["error"]["message"].as_str().unwrap().is_empty());
    }
    let nobody = r#"{"sessionKey":"agent:main:nothing","action":"kill"}"#;
    assert_eq!(request(&gateway, "POST", "/control", &headers, nobody).await.status, 404);
}

#[actix::test]
async fn a_run_is_followed_paused_resumed_and_killed_over_websocket() {
    let gateway = Gateway::start(with_commands).await;
    let mut client = Client::connect(&gateway).await;
    client.ask("spawn", json!({"command": "wait"})).await;
    let running = client.event_where("spawn_result", |result| result["status"] == "running").await;
    let key = running["sessionKey"].clone();
    for action in ["pause", "resume", "kill"] {
        client.call("control", json!({"sessionKey": key, "action": action})).await;
    }
    client.event_where("spawn_result", |result| result["status"] == "killed").await;
    assert!(test_kill_process(pid_of(&running)).is_err(), "it is gone");
}

#[actix::test]
async fn stopping_ends_every_process_first_and_its_end_is_told() {
    let gateway = Gateway::start(with_commands).await;
    let mut client = Client::connect(&gateway).await;
    client.ask("spawn", json!({"command": "stubborn"})).await;
    let running = client.event_where("spawn_result", |result| result["status"] == "running").await;
    let log = |event: &Value| event["message"].as_str().is_some_and(|text| text.contains("ready"));
    client.event_where("log", log).await;
    let listening = async {
        client.event("shutdown").await;
        let end = client.event_where("spawn_result", |result| result["status"] != "running").await;
        (end, client.closed().await)
    };
    let ((end, close), _) = tokio::join!(listening, gateway.stop());
    assert!(test_kill_process(pid_of(&running)).is_err(), "it is gone, though it ignores SIGTERM");
    assert_ne!(end["status"], "completed", "{end}");
    assert_eq!(close, (1012, "service restart".to_owned()));
}

#[actix::test]
async fn a_webhook_starts_a_run_once_for_each_delivery() {
    let gateway = Gateway::start(with_commands).await;
    let mut client = Client::connect(&gateway).await;
    let headers = [JSON, ("authorization", "Bearer hook-secret"), ("x-github-delivery", "d-1")];
    let body = r#"{"message":"Hello"}"#;
    let first = request(&gateway, "POST", "/webhook/my-hook", &headers, body).await;
    assert_eq!(first.status, 202, "{first:?}");
    let done = client.event("agent.done").await;
    assert_eq!((&done["text"], &done["runId"]), (&json!("Webhook triggered: Hello"), &first.json()["runId"]));
    let again = request(&gateway, "POST", "/webhook/my-hook", &headers, body).await;
    assert_eq!((again.status, again.json()["runId"].clone()), (202, first.json()["runId"].clone()));
    let other = request(&gateway, "POST", "/webhook/my-hook", &headers[..2], body).await;
    assert_ne!(other.json()["runId"], first.json()["runId"]);
    client.event("agent.done").await;
    let told = std::fs::read_to_string(gateway.state_dir().join("told")).unwrap();
    assert_eq!(told.lines().count(), 2, "two runs, not three");
}
