//! Gateways that are units of the service manager, which is asked over D-Bus.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::fake_systemd_bus::FakeSystemdBus;
use crate::support::ports::free_port;

const UNIT: &str = "gatewarden-gateway@main.service";
const TOKEN: &str = "unit-gateway-token-0123";

struct Machine {
    _home: tempfile::TempDir,
    systemd: FakeSystemdBus,
    daemon: Daemon,
    port: u16,
}

fn machine() -> Machine {
    let home = tempfile::Builder::new().prefix("gatewarden-test-").tempdir().expect("a temporary directory");
    let config = home.path().join("openclaw.json");
    let text = format!(
        "{{gateway: {{bind: \"loopback\", auth: {{mode: \"token\", token: \"{TOKEN}\"}}}}, \
         gatewarden: {{metrics: {{enabled: false}}}}}}"
    );
    std::fs::write(&config, text).expect("written");
    let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(&config, private).expect("ours");
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewarden"));
    command
        .args(["gateway", "run", "--port", &port.to_string(), "--config"])
        .arg(&config)
        .arg("--state-dir")
        .arg(home.path().join("gateway"))
        .env_clear()
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let systemd = FakeSystemdBus::at(&home.path().join("bus"), UNIT, command);
    let daemon = Setup::new()
        .env("DBUS_SYSTEM_BUS_ADDRESS", &systemd.address())
        .env("GATEWARDEN_PROCESSES__SAMPLE_INTERVAL", "200ms")
        .env("GATEWARDEN_PROCESSES__VERIFY_WITHIN", "40s")
        .start();
    Machine { _home: home, systemd, daemon, port }
}

impl Machine {
    fn register(&self) -> i64 {
        let body = json!({"name": "unit", "host": "127.0.0.1", "port": self.port, "token": TOKEN, "unit": "gatewarden-gateway@main"});
        self.daemon.register_with(&body)
    }

    fn act(&self, id: i64, action: &str, status: u16) -> Value {
        let path = format!("/api/gateways/{id}/process");
        self.daemon.post(&path, &json!({"action": action})).expect(status).json()
    }

    fn until(&self, id: i64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.daemon.until(id, what, PATIENCE, |gateway| wanted(&gateway["process"]))["process"].clone()
    }
}

#[test]
fn a_unit_is_started_restarted_and_stopped_through_the_service_manager_and_verified() {
    let machine = machine();
    let id = machine.register();
    let process = machine.until(id, "the unit is inactive", |process| process["state"] == "stopped");
    assert_eq!((&process["kind"], &process["name"]), (&json!("unit"), &json!(UNIT)));
    assert!(machine.systemd.calls().is_empty(), "a unit is the service manager's to start");

    let answer = machine.act(id, "start", 200);
    assert_eq!(answer["process"]["verified"], "yes", "{answer}");
    let first = machine.systemd.pid().expect("it runs");
    assert_eq!(answer["process"]["pid"], first);
    machine.daemon.until_status(id, "online");
    let process = machine.until(id, "it is measured", |process| process["memory_bytes"] == 12_345_678);
    assert_eq!(process["cpu_seconds"], 1.5);

    let answer = machine.act(id, "restart", 200);
    assert_eq!(answer["process"]["verified"], "yes", "{answer}");
    let second = machine.systemd.pid().expect("it runs");
    assert!(second != first && answer["process"]["pid"] == second, "{answer}");

    machine.systemd.crash_and_restart();
    let process = machine.until(id, "a restart by the service manager is seen and verified", |process| {
        process["restarts"] == 1 && process["pid"] != second && process["verified"] == "yes"
    });
    assert_eq!(process["state"], "running");

    let answer = machine.act(id, "stop", 200);
    assert_eq!((&answer["process"]["state"], &answer["process"]["pid"]), (&json!("stopped"), &Value::Null), "{answer}");
    assert_eq!(machine.systemd.pid(), None);
    assert!(machine.systemd.calls().contains(&"StopUnit".to_owned()));
}

#[test]
fn a_unit_that_the_service_manager_gave_up_is_said_loudly() {
    let machine = machine();
    let id = machine.register();
    machine.act(id, "start", 200);
    machine.systemd.crash_for_good();
    let process = machine.until(id, "it is given up", |process| process["state"] == "gave_up");
    assert!(process["reason"].as_str().is_some_and(|words| words.contains("started too often")), "{process}");
    machine.daemon.until_code(id, "process_gave_up");
    machine.daemon.until_logged(&["\"ERROR\"", "gave_up"]);
    let answer = machine.act(id, "start", 200);
    assert_eq!(answer["process"]["verified"], "yes", "{answer}");
    assert!(machine.systemd.calls().contains(&"ResetFailedUnit".to_owned()));
}

#[test]
fn without_leave_the_answer_names_the_polkit_rule_and_without_a_bus_it_says_so() {
    let machine = machine();
    let id = machine.register();
    machine.systemd.forbid(true);
    let refused = machine.act(id, "start", 502);
    assert_eq!(refused["code"], "process_action_failed", "{refused}");
    assert!(refused["error"].as_str().is_some_and(|words| words.contains("50-gatewarden.rules")), "{refused}");
    machine.systemd.forbid(false);
    machine.act(id, "start", 200);

    let other = json!({"name": "other", "host": "127.0.0.1", "port": 1, "unit": "gatewarden-gateway@other"});
    let other = machine.daemon.register_with(&other);
    machine.until(other, "there is no such unit", |process| {
        process["state"] == "unknown" && process["reason"].as_str().is_some_and(|words| words.contains("no such unit"))
    });

    let alone = Setup::new().env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus").start();
    let id = alone.register_with(&json!({"name": "x", "host": "127.0.0.1", "port": 1, "unit": "gatewarden-gateway@x"}));
    let failed = alone.post(&format!("/api/gateways/{id}/process"), &json!({"action": "start"})).expect(502).json();
    assert!(failed["error"].as_str().is_some_and(|words| words.contains("system bus")), "{failed}");
    let found = alone.post(&format!("/api/gateways/{id}/process"), &json!({"action": "diagnose"})).expect(200).json();
    assert!(found["process"]["diagnosis"]["findings"].as_array().is_some_and(|all| all.len() > 1), "{found}");
}
