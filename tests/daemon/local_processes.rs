//! Gateways that are processes of this machine: the daemon starts them, sees them end, starts them again, verifies, gives up,
//! stops, and leaves nothing behind.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::event_stream::EventStream;
use crate::support::local_command::Local;
use crate::support::wait;

fn follow(daemon: &Daemon) -> EventStream {
    EventStream::of(daemon, "/api/events?types=gateway.process")
}

fn act(daemon: &Daemon, id: i64, action: &str, status: u16) -> Value {
    daemon.post(&format!("/api/gateways/{id}/process"), &json!({"action": action})).expect(status).json()
}

fn until_process(daemon: &Daemon, id: i64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    daemon.until(id, what, PATIENCE, |gateway| wanted(&gateway["process"]))["process"].clone()
}

fn until_verified(daemon: &Daemon, id: i64) -> i64 {
    let process = until_process(daemon, id, "it runs and is verified", |process| {
        process["state"] == "running" && process["verified"] == "yes"
    });
    process["pid"].as_i64().expect("a pid")
}

fn signal(pid: i64, name: &str) {
    let status = std::process::Command::new("kill").arg(format!("-{name}")).arg("--").arg(pid.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Whether a process is there and not only waiting to be reaped.
fn lives(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

#[test]
fn a_gateway_is_started_with_its_record_and_started_again_when_it_is_killed() {
    let local = Local::gateway();
    let daemon = local.setup.start();
    let mut events = follow(&daemon);
    let id = local.register(&daemon);
    let first = until_verified(&daemon, id);
    daemon.until_status(id, "online");
    let process = until_process(&daemon, id, "it is measured", |process| process["cpu_percent"].is_number());
    assert!(process["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1_000_000), "{process}");
    assert_eq!((&process["kind"], &process["name"]), (&json!("command"), &json!("local")));

    signal(first, "KILL");
    let process = until_process(&daemon, id, "it was started again and verified", |process| {
        process["restarts"] == 1 && process["verified"] == "yes"
    });
    assert_ne!(process["pid"], first);
    assert_eq!(process["last_end"]["signal"], 9, "{process}");
    daemon.until_status(id, "online");
    let changes = ["started", "verified", "exited", "started", "verified"];
    for change in changes {
        let event = events.event().data["data"].clone();
        assert_eq!(event["change"], change, "{event}");
        assert_eq!((&event["gateway_id"], &event["gateway"]), (&json!(id), &json!("local")));
    }
    let metrics = daemon.metrics();
    for line in [
        format!("gatewarden_gateway_process_state{{gateway=\"{id}\",state=\"running\"}} 1"),
        format!("gatewarden_gateway_process_restarts_total{{gateway=\"{id}\"}} 1"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    assert!(metrics.contains("gatewarden_gateway_process_resident_memory_bytes"));
}

#[test]
fn a_restart_is_a_new_process_and_a_new_connection_and_a_stop_ends_it_for_good() {
    let local = Local::gateway();
    let mut daemon = local.setup.start();
    let id = local.register(&daemon);
    let first = until_verified(&daemon, id);
    let since = daemon.until_status(id, "online")["healthy_since"].clone();

    let answer = act(&daemon, id, "restart", 200);
    let second = answer["process"]["pid"].as_i64().expect("a pid");
    assert_ne!(second, first);
    assert_eq!(
        (&answer["process"]["verified"], &answer["process"]["restarts"]),
        (&json!("yes"), &json!(0)),
        "{answer}"
    );
    assert!(!lives(first) && lives(second));
    let gateway = daemon.gateway(id);
    assert_eq!(gateway["status"], "online", "{gateway}");
    assert!(gateway["healthy_since"].as_i64() >= since.as_i64());

    let answer = act(&daemon, id, "start", 200);
    assert_eq!(answer["process"]["pid"], second, "nothing happens to one that runs");

    let answer = act(&daemon, id, "stop", 200);
    assert_eq!((&answer["process"]["state"], &answer["process"]["pid"]), (&json!("stopped"), &Value::Null), "{answer}");
    assert!(!lives(second));
    let gateway = daemon.until(id, "the gateway says why it is offline", PATIENCE, |gateway| {
        gateway["last_error"]["code"] == "process_stopped"
    });
    assert_eq!(gateway["status"], "offline");

    daemon.crash_and_restart();
    let process = until_process(&daemon, id, "it stays stopped", |process| process["state"] == "stopped");
    assert_eq!(process["pid"], Value::Null);
    let answer = act(&daemon, id, "start", 200);
    assert_eq!(answer["process"]["verified"], "yes", "{answer}");

    let audit = daemon.get("/api/audit?action=gateway.process").expect(200).text;
    for action in ["restart", "stop", "start"] {
        assert!(audit.contains(&format!("\"action\":\"{action}\"")), "{audit}");
    }
}

#[test]
fn thirty_crashes_in_a_row_end_in_gave_up_and_a_start_begins_anew() {
    let local = Local::script("echo crash >> HOME_DIR/count; echo \"$PLAIN and gone\"; exit 3")
        .env("GATEWARDEN_PROCESSES__BACKOFF", "10ms")
        .env("GATEWARDEN_PROCESSES__MAX_RESTARTS", "29");
    let daemon = local.setup.start();
    let mut events = follow(&daemon);
    let id = local.register(&daemon);
    let count = || std::fs::read_to_string(local.path("count")).unwrap_or_default().lines().count();
    let process = until_process(&daemon, id, "it is given up", |process| process["state"] == "gave_up");
    assert_eq!(count(), 30);
    assert_eq!((&process["restarts"], &process["last_end"]["code"]), (&json!(29), &json!(3)), "{process}");
    assert!(process["reason"].as_str().is_some_and(|words| words.contains("Given up")), "{process}");
    wait::holds_for("it is not started again", Duration::from_secs(1), || count() == 30);

    assert_eq!(daemon.until_code(id, "process_gave_up")["status"], "offline");
    let gave_up = events.until(|event| event.data["data"]["change"] == "gave_up");
    assert_eq!(gave_up.data["data"]["state"], "gave_up");
    daemon.until_logged(&["\"ERROR\"", "gave_up"]);
    let state = format!("gatewarden_gateway_process_state{{gateway=\"{id}\",state=\"gave_up\"}} 1");
    assert!(daemon.metrics().contains(&state));

    let found = act(&daemon, id, "diagnose", 200)["process"]["diagnosis"].clone();
    let output = found["output"].as_array().expect("lines");
    assert_eq!(output.last().map(|line| &line["text"]), Some(&json!("seen and gone")), "{found}");
    assert!(found["findings"][0].as_str().is_some_and(|words| words.contains("exited with code 3")), "{found}");

    let failed = act(&daemon, id, "start", 502);
    assert_eq!(failed["code"], "process_action_failed", "{failed}");
    assert_eq!(count(), 60, "thirty more tries, and no more");
}

#[test]
fn what_only_a_person_can_put_right_is_not_tried_again() {
    let local = Local::script("echo crash >> HOME_DIR/count; exit 78");
    let daemon = local.setup.start();
    let id = local.register(&daemon);
    let process = until_process(&daemon, id, "it is given up", |process| process["state"] == "gave_up");
    assert!(process["reason"].as_str().is_some_and(|words| words.contains("only a person")), "{process}");
    assert_eq!(std::fs::read_to_string(local.path("count")).expect("written").lines().count(), 1);
}

#[test]
fn a_process_that_is_no_gateway_is_reported_with_what_is_missing() {
    let local = Local::script("sleep 1000 & wait").env("GATEWARDEN_PROCESSES__VERIFY_WITHIN", "2s");
    let daemon = local.setup.start();
    let id = local.register(&daemon);
    let process = until_process(&daemon, id, "it is not verified", |process| process["verified"] == "no");
    assert_eq!(process["state"], "running");
    let failed = act(&daemon, id, "restart", 502);
    assert_eq!(failed["code"], "process_action_failed");
    let missing = failed["details"]["missing"][0].as_str().expect("a sentence");
    assert!(missing.contains("was not connected within 2 s"), "{missing}");
}

#[test]
fn a_stop_ends_the_whole_group_also_what_ignores_it_and_what_left_it() {
    let script = "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $! > HOME_DIR/inside; \
                  setsid sh -c 'echo $$ > HOME_DIR/outside; while :; do sleep 1; done' & \
                  echo $$ > HOME_DIR/leader; while :; do sleep 1; done";
    let local = Local::script(script).env("GATEWARDEN_PROCESSES__STOP_GRACE", "1s");
    let daemon = local.setup.start();
    let id = local.register(&daemon);
    let pid_in = |name: &str| {
        wait::until_ok("the script says its pid", PATIENCE, || {
            let text = std::fs::read_to_string(local.path(name)).map_err(|error| error.to_string())?;
            text.trim().parse::<i64>().map_err(|error| error.to_string())
        })
    };
    let pids = ["leader", "inside", "outside"].map(pid_in);
    assert!(pids.iter().all(|pid| lives(*pid)));
    let answer = act(&daemon, id, "stop", 200);
    assert_eq!(answer["process"]["last_end"]["signal"], 9, "{answer}");
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
}

#[test]
fn the_daemons_stop_ends_its_processes() {
    let local = Local::gateway();
    let mut daemon = local.setup.start();
    let id = local.register(&daemon);
    let pid = until_verified(&daemon, id);
    daemon.stop();
    assert!(!lives(pid));
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_unseen() {
    let local = Local::gateway();
    let mut daemon = local.setup.start();
    let id = local.register(&daemon);
    let first = until_verified(&daemon, id);
    daemon.kill();
    assert!(lives(first), "nobody was there to end it");
    let daemon = local.setup.start();
    let second = until_verified(&daemon, id);
    assert_ne!(second, first);
    assert!(!lives(first));
    daemon.until_logged(&["orphan_ended", &first.to_string()]);
    daemon.until_status(id, "online");
}

#[test]
fn a_gateway_that_restarts_itself_as_another_process_is_followed() {
    // As OpenClaw of protocol 3 does: a new session, and the launched process exits with 0.
    let script = "if [ -e HOME_DIR/again ]; then rm HOME_DIR/again; setsid /bin/sh -c 'echo $$ > HOME_DIR/successor; \
                  while :; do sleep 1; done' & exit 0; fi; \
                  while [ ! -e HOME_DIR/again ]; do sleep 0.1; done; \
                  rm HOME_DIR/again; setsid /bin/sh -c 'echo $$ > HOME_DIR/successor; while :; do sleep 1; done' & \
                  while [ ! -e HOME_DIR/successor ]; do sleep 0.1; done; exit 0";
    let local = Local::script(script);
    let daemon = local.setup.start();
    let id = local.register(&daemon);
    until_process(&daemon, id, "it runs", |process| process["state"] == "running");
    std::fs::write(local.path("again"), "").expect("written");
    let successor = wait::until_ok("the successor runs", PATIENCE, || {
        let text = std::fs::read_to_string(local.path("successor")).map_err(|error| error.to_string())?;
        text.trim().parse::<i64>().map_err(|error| error.to_string())
    });
    let process = until_process(&daemon, id, "the successor is watched", |process| process["pid"] == successor);
    assert_eq!((&process["state"], &process["restarts"]), (&json!("running"), &json!(0)));
    signal(successor, "KILL");
    until_process(&daemon, id, "its end is seen", |process| process["restarts"] == 1 && process["pid"] != successor);
}

#[test]
fn only_names_that_the_configuration_knows_are_taken() {
    let local = Local::script("sleep 1000");
    let daemon = local.setup.start();
    let base = json!({"name": "x", "host": "127.0.0.1", "port": 1});
    let with = |field: &str, value: Value| {
        let mut body = base.clone();
        body[field] = value;
        body
    };
    for (body, status, says) in [
        (with("command", json!("sleep 1000")), 400, "it defines local"),
        (with("command", json!("/bin/sh")), 400, "A command line can't be given"),
        (with("unit", json!("ssh.service")), 400, "processes.units"),
        (with("unit", json!("user:openclaw.service")), 501, "Units of users"),
    ] {
        let answer = daemon.post("/api/gateways", &body).expect(status);
        assert!(answer.text.contains(says), "{}", answer.text);
    }
    let plain = daemon.register_with(&base);
    let answer = act(&daemon, plain, "status", 409);
    assert_eq!(answer["code"], "process_not_managed");
    let path = format!("/api/gateways/{plain}/process");
    daemon.post(&path, &json!({"action": "exec"})).expect(400);
    daemon.post("/api/gateways/999/process", &json!({"action": "status"})).expect(404);

    // Named later, taken away again: the process comes and goes with it.
    daemon.update(&json!({"id": plain, "command": "local"})).expect(200);
    let pid = until_process(&daemon, plain, "it runs", |process| process["state"] == "running")["pid"].clone();
    daemon.update(&json!({"id": plain, "command": null})).expect(200);
    daemon.until(plain, "it is no process any more", PATIENCE, |gateway| {
        gateway["process"].is_null() && gateway["command"].is_null()
    });
    wait::until("it has ended", PATIENCE, || !lives(pid.as_i64().expect("a pid")));

    daemon.update(&json!({"id": plain, "command": "local"})).expect(200);
    let pid = until_process(&daemon, plain, "it runs again", |process| process["state"] == "running")["pid"].clone();
    daemon.delete(plain).expect(200);
    wait::until("it ends with its gateway", PATIENCE, || !lives(pid.as_i64().expect("a pid")));
}
