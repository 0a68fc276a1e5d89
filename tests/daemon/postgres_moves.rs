//! The database moved between a file and a PostgreSQL, and its key changed there, as an operator does it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use serde_json::{Value, json};

use crate::support::client::fine;
use crate::support::daemon::{ADMIN_KEY, Daemon, Ended, PATIENCE, Setup};
use crate::support::http;
use crate::support::postgres_server::Server;
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::wait;

/// A command on the state directory of this setup.
fn command(setup: &Setup, args: &[&str]) -> Ended {
    let state = setup.state().display().to_string();
    setup.clone().only_args(&[args, &["--state-dir", &state]].concat()).run()
}

fn says(ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
    assert!([&ended.stdout, &ended.stderr].iter().any(|text| text.contains(words)), "{}{}", ended.stdout, ended.stderr);
    assert!(!ended.stderr.contains("pw-secret") && !ended.stdout.contains("pw-secret"));
}

fn spawn(daemon: &Daemon, gateway: i64, task: &str) -> Value {
    let body = json!({"task": task, "gateway_id": gateway}).to_string();
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json"), ("Idempotency-Key", task)];
    let answer = http::request(daemon.address(), "POST", "/api/spawn", &headers, Some(body.as_bytes()));
    answer.expect("an answer").expect(202).json()
}

/// Everything that a user sees of what is stored.
pub(crate) fn contents(daemon: &Daemon) -> [Value; 4] {
    let export = fine(daemon, &["export", "--format", "json", "--with-tokens"]);
    let list = |path: &str, name: &str| daemon.get(path).expect(200).json()[name].clone();
    let mut keys = list("/api/keys", "keys");
    for key in keys.as_array_mut().into_iter().flatten() {
        key["last_used_at"] = Value::Null;
    }
    let identity = daemon.get("/api/identity").expect(200).json();
    let spawns = list("/api/spawn", "history");
    [serde_json::from_str(&export).expect("JSON"), spawns, keys, identity]
}

#[test]
fn a_database_moves_to_a_server_and_back_and_nothing_is_missing() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
    let on_file = Setup::new();
    let on_server = on_file.clone().env("GATEWARDEN_STORE__URL", &server.url());
    let url_file = on_file.state().with_file_name("url");
    fs::write(&url_file, server.url()).expect("a file");
    fs::set_permissions(&url_file, fs::Permissions::from_mode(0o600)).expect("private");
    let to_server = ["store", "copy", "--to", &format!("@{}", url_file.display())];

    let mut daemon = on_file.start();
    let lab = daemon.register("lab", gateway.port(), "tok-secret");
    daemon.until_status(lab, "online");
    let gone = daemon.register("gone", 1, "tok");
    daemon.delete(gone).expect(200);
    let viewer = daemon.new_key("someone", "viewer");
    let first = spawn(&daemon, lab, "first");
    says(&command(&on_file, &to_server), 1, "Stop it first");
    wait::until("the spawn has ended", PATIENCE, || {
        daemon.get("/api/spawn").expect(200).json()["history"][0]["status"] == "completed"
    });
    let before = contents(&daemon);
    daemon.stop();

    says(&command(&on_file, &to_server), 0, "all were read again there and are the same");
    says(&command(&on_file, &to_server), 1, "is not empty");
    let mut daemon = on_server.start();
    daemon.until_status(lab, "online");
    assert_eq!(contents(&daemon), before);
    assert_eq!(spawn(&daemon, lab, "first")["spawnId"], first["spawnId"]);
    daemon.try_call(Some(&viewer), "GET", "/api/gateways", None).expect("an answer").expect(200);
    assert!(daemon.register("next", 1, "tok") > gone, "the id of a deleted gateway is given to no other one");
    spawn(&daemon, lab, "second");
    wait::until("the spawn has ended", PATIENCE, || {
        daemon.get("/api/spawn").expect(200).json()["history"][0]["status"] == "completed"
    });
    let after = contents(&daemon);
    let back = on_file.state().join("back.db");
    let to_file = ["store", "copy", "--to", back.to_str().expect("text")];
    says(&command(&on_server, &to_file), 1, "Stop it first");
    // From a machine without its state directory the server says who works on it.
    let elsewhere = Setup::new().env("GATEWARDEN_STORE__URL", &server.url());
    fs::create_dir_all(elsewhere.state()).expect("a directory");
    fs::copy(on_file.state().join("gatewarden.key"), elsewhere.state().join("gatewarden.key")).expect("the key");
    let target = elsewhere.state().join("copy.db");
    says(
        &command(&elsewhere, &["store", "copy", "--to", target.to_str().expect("text")]),
        1,
        "another gatewarden works on it (node ",
    );
    daemon.stop();

    says(
        &command(&on_server, &["store", "copy", "--to", on_file.database().to_str().expect("text")]),
        1,
        "is there already",
    );
    let copied = command(&on_server, &[&to_file[..], &["--json"]].concat());
    says(&copied, 0, "\"gateways\"");
    let daemon = on_file.env("GATEWARDEN_STORE__URL", &format!("sqlite://{}", back.display())).start();
    daemon.until_status(lab, "online");
    assert_eq!(contents(&daemon), after);
    assert_eq!(spawn(&daemon, lab, "second")["replayed"], true);
    assert_eq!(gateway.executed().values().sum::<usize>(), 2);
}

#[test]
fn a_copy_that_is_killed_leaves_nothing_on_the_server() {
    let Some(server) = Server::start() else { return };
    let setup = Setup::new();
    setup.start().stop();
    let mut file = SqliteConnection::establish(setup.database().to_str().expect("text")).expect("it opens");
    file.batch_execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
         INSERT INTO audit_log (at_ms, actor_name, action, result) SELECT i, 'a', 'b', 'ok' FROM n",
    )
    .expect("rows");
    drop(file);
    let to = server.url();
    let state = setup.state().display().to_string();
    let args = ["store", "copy", "--to", &to, "--state-dir", &state];
    let copying = setup.clone().only_args(&args).spawn();
    let writes = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO \"audit_log\"%'";
    wait::until("it writes", PATIENCE, || server.ask(writes) != "0");
    drop(copying);
    wait::until("its session has ended", PATIENCE, || server.ask(writes) == "0");
    assert_eq!(server.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    says(&setup.only_args(&args).run(), 0, "audit_log");
    let rows: u32 = server.ask("SELECT count(*) FROM audit_log").parse().expect("a number");
    assert!(rows >= 20_000, "{rows}");
}

#[test]
fn a_key_is_changed_on_a_server_while_no_node_runs_and_every_node_needs_the_new_one() {
    let Some(server) = Server::start() else { return };
    let setup = server.setup().env("GATEWARDEN_NODE__NAME", "a");
    let mut daemon = setup.start();
    daemon.register("lab", 1, "tok-secret");
    let before = contents(&daemon);
    let old = setup.state().join("gatewarden.key");
    let other = server.setup().env("GATEWARDEN_NODE__NAME", "b");
    fs::create_dir_all(other.state()).expect("a directory");
    fs::copy(&old, other.state().join("gatewarden.key")).expect("the key");
    says(&command(&other, &["rekey"]), 1, "another gatewarden works on it (node a at http://");
    daemon.stop();

    says(&command(&setup, &["rekey"]), 0, "every other node");
    says(&other.run(), 78, "sealed with another key");
    fs::copy(&old, other.state().join("gatewarden.key")).expect("the key");
    assert_eq!(contents(&other.start()), before);
}
