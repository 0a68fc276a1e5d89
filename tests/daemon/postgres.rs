//! The daemon with its database on a PostgreSQL: one node alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::fine;
use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::http::Answer;
use crate::support::postgres_server::Server;
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

fn names(daemon: &Daemon) -> Vec<String> {
    daemon.gateways().iter().map(|gateway| gateway["name"].as_str().expect("a name").to_owned()).collect()
}

fn spawns(daemon: &Daemon) -> Vec<Value> {
    daemon.get("/api/spawn").expect(200).json()["history"].as_array().expect("a list").clone()
}

fn try_to_register(daemon: &Daemon, name: &str) -> Answer {
    let body = json!({"name": name, "host": "127.0.0.1", "port": 1, "token": "tok"});
    daemon.call("POST", "/api/gateways", Some(&body))
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9_of_the_daemon_and_restarts_of_the_server() {
    let Some(mut server) = Server::start() else { return };
    let setup = server.setup();
    let gateway = ScriptedGateway::of(Form::Protocol4, "tok-secret");
    let mut daemon = setup.start();
    let identity = daemon.get("/api/identity").expect(200).json();
    let id = daemon.register("lab", gateway.port(), "tok-secret");
    daemon.until_status(id, "online");
    let spawned = daemon.post("/api/spawn", &json!({"task": "Count the stars", "gateway_id": id}));
    let (before, listed) = (names(&daemon), spawns(&daemon));
    assert!(listed.len() == 1, "{} {listed:?}", spawned.text);

    daemon.crash_and_restart();
    assert_eq!(names(&daemon), before);
    assert_eq!(daemon.get("/api/identity").expect(200).json(), identity);
    assert_eq!(spawns(&daemon).len(), 1);
    daemon.until_status(id, "online");

    // Away: supervision and lists go on, writes say why not; back: everything goes on by itself.
    server.stop();
    let refused = try_to_register(&daemon, "meanwhile");
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.text.contains("the database server"), "{}", refused.text);
    assert_eq!(names(&daemon), before);
    daemon.until_status(id, "online");
    server.resume();
    wait::until("writes go on", PATIENCE, || try_to_register(&daemon, "afterwards").status == 201);
    assert_eq!(spawns(&daemon).len(), 1);

    assert!(!daemon.everything_said().contains("pw-secret"), "the password is nowhere");
    daemon.stop();
    let again = setup.start();
    assert!(names(&again).contains(&"afterwards".to_owned()) && !names(&again).contains(&"meanwhile".to_owned()));
}

#[test]
fn a_frozen_server_costs_three_seconds_and_no_gateway() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::of(Form::Protocol4, "tok-secret");
    let daemon = server.setup().start();
    let id = daemon.register("lab", gateway.port(), "tok-secret");
    daemon.until_status(id, "online");
    server.signal_all("-STOP");
    let began = wait::Stopwatch::start();
    let refused = try_to_register(&daemon, "frozen");
    assert!([503, 504].contains(&refused.status), "{}", refused.text);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    daemon.until_status(id, "online");
    server.signal_all("-CONT");
    wait::until("writes go on", PATIENCE, || [201, 409].contains(&try_to_register(&daemon, "thawed").status));
}

#[test]
fn the_commands_know_a_server() {
    let Some(server) = Server::start() else { return };
    let setup = server.setup();
    let daemon = setup.start();
    daemon.register("lab", 1, "tok");
    assert!(fine(&daemon, &["gateways", "list"]).contains("lab"));
    let state = setup.state().to_string_lossy().into_owned();
    let run = |args: &[&str]| setup.clone().only_args(&[args, &["--state-dir", &state]].concat()).run();
    let check = run(&["config", "check"]);
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    assert!(check.stdout.contains("store.url") && !check.stdout.contains("pw-secret"), "{}", check.stdout);
    let doctor = run(&["doctor"]);
    assert!(doctor.stdout.contains("PostgreSQL") && !doctor.stdout.contains("pw-secret"), "{}", doctor.stdout);
    for args in [&["backup"][..], &["restore", "some.db"]] {
        let refused = run(args);
        assert_eq!(refused.code, Some(64), "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("pg_dump") && !refused.stderr.contains("pw-secret"), "{}", refused.stderr);
    }
    let identity = run(&["identity"]);
    assert_eq!(identity.code, Some(0), "beside the daemon: {}", identity.stderr);
    assert!(
        identity.stdout.contains(daemon.get("/api/identity").expect(200).json()["device_id"].as_str().expect("an id"))
    );
}
