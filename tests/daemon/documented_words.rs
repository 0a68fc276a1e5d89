//! Words of the documents and of the pages that clients rely on, one by one, on the running program.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::client::{fine, until};
use super::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use super::support::http;
use super::support::own_gateway::GatewayHome;
use super::support::scripted_gateway::{Form, ScriptedGateway};
use super::support::wait::{self, Stopwatch};

#[test]
fn a_gateway_that_calls_itself_degraded_is_asked_again_and_believed_when_it_is_well() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "t");
    let daemon = Daemon::start();
    let id = daemon.register("own", gateway.port(), "t");
    daemon.until_status(id, "online");
    let verdict = json!({"ok": true, "eventLoop": {"degraded": true, "reasons": ["delay"]}});
    gateway.change(|behaviour| {
        behaviour.results.insert("health".to_owned(), verdict.clone());
    });
    gateway.send(&json!({"type": "event", "event": "health", "payload": verdict}));
    let shown = daemon.until_status(id, "degraded");
    assert_eq!(shown["last_error"]["code"], "gateway_degraded", "{shown}");
    let asked = gateway.record().asked("health");
    let watch = Stopwatch::start();
    wait::until("it is asked again while it says so", PATIENCE, || gateway.record().asked("health") > asked + 1);
    assert_eq!(daemon.gateway(id)["status"], "degraded");
    gateway.change(|behaviour| {
        behaviour.results.remove("health");
    });
    daemon.until_status(id, "online");
    // Its heartbeat comes every 30 s.
    assert!(watch.elapsed() < Duration::from_secs(45), "{:?}", watch.elapsed());
}

#[test]
fn agents_and_sessions_are_spoken_of_as_the_documents_do() {
    let daemon = Daemon::start();
    daemon.post("/api/agents", &json!({"name": "writer", "role": "author"})).expect(201);
    let changed = daemon.call("PUT", "/api/agents/writer", Some(&json!({"role": "editor"}))).expect(200).json();
    assert_eq!(
        (&changed["agent"]["role"], &changed["agent"]["board_id"]),
        (&json!("editor"), &Value::Null),
        "{changed}"
    );
    let gone = daemon.call("DELETE", "/api/agents/writer", None).expect(200).json();
    assert_eq!(gone, json!({"success": true, "deleted": true}));
    // What is wrong with the request is said before the session is looked for.
    let path = "/api/sessions/agent:nobody:main/control";
    assert_eq!(daemon.post(path, &json!({"action": "dance"})).expect(400).json()["code"], "invalid_request");
    assert_eq!(daemon.post(path, &json!({"action": "kill"})).expect(404).json()["code"], "session_not_found");
    for action in ["set-thinking", "set-verbose"] {
        let body = json!({"sessionKey": "agent:nobody:main", "level": ""});
        daemon.post(&format!("/api/sessions?action={action}"), &body).expect(400);
    }
    let login = || {
        http::request(daemon.address(), "POST", "/api/auth/login", &[], Some(br#"{"api_key": "wrong"}"#))
            .expect("an answer")
    };
    for _ in 0..5 {
        login().expect(401);
    }
    assert!(login().expect(429).header("retry-after").is_some());
}

#[test]
fn what_a_program_never_saw_is_not_claimed_of_it() {
    let setup = Setup::new();
    let state = setup.state().display().to_string();
    let daemon =
        setup.only_args(&["up", "--listen", "127.0.0.1:0", "--gateway-port", "0", "--state-dir", &state]).start();
    until(&daemon, &["gateways", "list"], "online");
    let of_spawn = |body: &Value| {
        let spawn = daemon.post("/api/spawn", body).expect(202).json();
        daemon.get(&format!("/api/spawn/{}", spawn["spawnId"].as_str().expect("an id"))).expect(200).json()
    };
    let program = of_spawn(&json!({"command": "sample", "model": "m1"}));
    assert_eq!((&program["kind"], &program["model"]), (&json!("command"), &Value::Null), "{program}");
    let task =
        of_spawn(&json!({"task": "count to 1", "agent": "sample", "model": "m1", "sessionKey": "agent:sample:m"}));
    assert_eq!(task["model"], "m1", "an agent is told: {task}");
}

#[test]
fn document_004s_webhook_and_switch_work_on_loopback_and_warn() {
    let home = GatewayHome::with(
        "openclaw.json",
        "{ // JSON5, as document 004 writes it
           gateway: {controlUi: {dangerouslyDisableDeviceAuth: true}},
           hooks: {webhooks: [{id: 'note', path: '/webhook/note', message: 'echo'}]},
           agents: {entries: {main: {command: 'brief', default: true}}},
           gatewarden: {metrics: {enabled: false}, commands: {brief: {program: '/bin/cat'}}},
        }",
    );
    let checked = home.run(&["config", "validate"]).expect(0);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    for words in ["requireDeviceAuth", "hooks.webhooks[0].secret is not set"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    let mut gateway = home.start(&[]);
    let headers = [("Content-Type", "application/json")];
    let called =
        http::request(gateway.address, "POST", "/webhook/note", &headers, Some(b"{\"a\": 1}")).expect("an answer");
    assert!((200..300).contains(&called.status), "{} {}", called.status, called.text);
    gateway.signal("TERM");
    gateway.wait();
    let logged = gateway.stderr();
    assert!(
        logged.contains(r#""level":"warn""#) && logged.contains("the gateway listens"),
        "the log is on standard error: {logged}"
    );
}

#[test]
fn a_taken_port_of_metrics_is_told_by_its_own_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let home = GatewayHome::with("openclaw.json", &format!("{{gatewarden: {{metrics: {{port: {port}}}}}}}"));
    let mut gateway = home.start(&[]);
    gateway.get("/health", None).expect(200);
    gateway.signal("TERM");
    gateway.wait();
    let logged = gateway.stderr();
    assert!(logged.contains("gatewarden.metrics.port") && !logged.contains("`gateway.port`"), "{logged}");
}

#[test]
fn pages_are_for_every_client_and_a_key_hears_what_it_may_not_follow() {
    let daemon = Daemon::start();
    let key = ("X-API-Key", ADMIN_KEY);
    let page =
        |headers: &[(&str, &str)]| http::request(daemon.address(), "GET", "/docs/", headers, None).expect("an answer");
    let plain = page(&[key]).expect(200);
    assert_eq!(plain.header("content-encoding"), None);
    assert!(plain.text.contains("<html"), "{}", plain.text.chars().take(200).collect::<String>());
    let viewer = daemon.new_key("looker", "viewer");
    let refused =
        daemon.try_call(Some(&viewer), "GET", "/api/events?types=audit,gateway.status", None).expect("an answer");
    let said = refused.expect(403).json();
    assert!(said["error"].as_str().is_some_and(|text| text.contains("audit (needs the role admin)")), "{said}");
    let kept = daemon.get("/api/keys").expect(200).json();
    assert_eq!((&kept["configured"], &kept["configured_in"]), (&json!(true), &json!("configuration")), "{kept}");
}

#[test]
fn a_gateway_that_is_back_is_tried_as_soon_as_somebody_probes_it_and_until_then_the_wait_is_said() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "t");
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__BACKOFF", "5m").start();
    let id = daemon.register("away", gateway.port(), "t");
    daemon.until_status(id, "online");
    gateway.kill();
    let away = daemon.until(id, "it is waited for", PATIENCE, |shown| shown["next_attempt"].is_i64());
    assert_eq!((&away["status"], &away["latency"]), (&json!("offline"), &Value::Null), "{away}");
    let said = fine(&daemon, &["status"]);
    // Whether it was cut off or has refused the next attempt already, the wait is told.
    let line = said.lines().find(|line| line.contains("away is offline (connection_")).expect("a line of its own");
    assert!(line.contains("), tried again in "), "{said}");
    gateway.revive();
    daemon.post("/api/gateways/health", &json!({"gateway_id": id})).expect(200);
    let watch = Stopwatch::start();
    daemon.until_status(id, "online");
    assert!(watch.elapsed() < Duration::from_secs(30), "minutes before its turn: {:?}", watch.elapsed());
}
