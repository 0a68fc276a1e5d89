//! Work by commands: spawn, control, sessions, events and logs.

use serde_json::{Value, json};

use super::support::client::{fine, run, until};
use super::support::daemon::{Daemon, PATIENCE, Setup};
use super::support::scripted_gateway::{Form, ScriptedGateway, log_line};
use super::support::wait;

const SESSION: &str = "agent:sample:main";
/// The main session of an agent can't be deleted; this one can.
const TALK: &str = "agent:sample:talk";

/// The daemon with the embedded gateway and its sample agent: sessions that pause, and runs that end.
fn up() -> Daemon {
    let setup = Setup::new();
    let state = setup.state().display().to_string();
    let daemon =
        setup.only_args(&["up", "--listen", "127.0.0.1:0", "--gateway-port", "0", "--state-dir", &state]).start();
    until(&daemon, &["gateways", "list"], "online");
    daemon
}

#[test]
fn work_is_given_watched_paused_killed_and_waited_for() {
    let daemon = up();
    let spawn = ["spawn", "count to 500", "--agent", "sample", "--session", SESSION, "--quiet"];
    let id = fine(&daemon, &spawn).trim().to_owned();
    let row = until(&daemon, &["sessions", "list"], "active");
    assert!(row.contains(SESSION) && row.contains("local"), "{row}");
    assert!(until(&daemon, &["logs", "local"], "says 2").contains("info"));

    assert_eq!(fine(&daemon, &["control", SESSION, "pause"]).trim(), "local paused session agent:sample:main.");
    until(&daemon, &["sessions", "list", "--status", "paused"], SESSION);
    fine(&daemon, &["control", SESSION, "resume", "--gateway", "local", "--quiet"]);
    fine(&daemon, &["control", SESSION, "terminate"]);
    until(&daemon, &["spawns", "show", &id, "--quiet"], "killed");
    assert!(fine(&daemon, &["spawns", "list"]).contains(&id));
    let unknown = run(&daemon, &["control", "agent:nobody:x", "kill"]);
    assert_eq!(unknown.code, Some(1), "{}", unknown.stderr);
    assert_eq!(run(&daemon, &["control", SESSION, "dance"]).code, Some(64));

    let waited = run(&daemon, &["spawn", "count to 2", "--agent", "sample", "--session", "agent:sample:two", "--wait"]);
    assert_eq!(waited.code, Some(0), "{} {}", waited.stdout, waited.stderr);
    assert!(waited.stdout.starts_with("local completed spawn "), "{}", waited.stdout);
    assert!(waited.stdout.ends_with(".\n1 2\n"), "what the agent said, and no JSON: {}", waited.stdout);
    assert!(waited.stderr.contains("completed on local"), "it says how it goes: {}", waited.stderr);
    assert!(
        waited.stderr.contains("Waiting for spawn ") && waited.stderr.contains(" on local to end."),
        "{}",
        waited.stderr
    );
    let patient = ["spawn", "count to 2", "--agent", "sample", "--wait", "--timeout", "60"];
    assert!(run(&daemon, &patient).stderr.contains(" to end, for 65 s at most."));
    for silent in ["--quiet", "--json"] {
        let waited = run(&daemon, &["spawn", "count to 2", "--agent", "sample", "--wait", silent]);
        assert_eq!((waited.code, waited.stderr.as_str()), (Some(0), ""), "{silent}");
    }
    let given = fine(&daemon, &["spawn", "count to 2", "--agent", "sample", "--session", "agent:sample:two"]);
    assert!(given.contains("took the work as spawn ") && given.contains(" in session agent:sample:two."), "{given}");
    assert!(fine(&daemon, &["spawn", "count to 2", "--agent", "sample", "--json"]).starts_with('{'));

    let key = "agent:sample:subagent:3f0c1d52-71ab-4d7b-a1aa-0e0b6f1a8d2f";
    fine(&daemon, &["spawn", "count to 2", "--agent", "sample", "--session", key, "--wait"]);
    let refused = run(&daemon, &["spawn", "x", "--agent", "nobody"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let narrow = |args: &[&str]| Setup::client_of(&daemon, args).env("COLUMNS", "80").run().stdout;
    let (sessions, spawns) = (narrow(&["sessions", "ls"]), narrow(&["spawns", "ls", "-n", "10"]));
    for list in [&sessions, &spawns] {
        assert!(list.lines().count() > 2 && list.lines().all(|line| line.chars().count() <= 80), "{list}");
    }
    assert!(sessions.contains(key), "a key that is cut can't be used: {sessions}");
    assert!(spawns.contains("\n  Gateway \"local\" refused"), "what is wrong stands below: {spawns}");
    let line: Value = serde_json::from_str(narrow(&["spawns", "ls", "-o", "jsonl"]).lines().next().unwrap_or_default())
        .expect("JSON");
    assert_eq!(line["agent"], "nobody");

    for args in
        [vec!["spawn"], vec!["spawn", "x", "--command", "y"], vec!["spawn", "--command", "x", "--selector", "y"]]
    {
        assert_eq!(run(&daemon, &args).code, Some(64), "{args:?}");
    }
    let elsewhere = run(&daemon, &["spawn", "x", "--selector", "site=moon"]);
    assert_eq!(
        elsewhere.code,
        Some(1),
        "no gateway has these labels, and waiting changes that for nobody: {}",
        elsewhere.stderr
    );
}

#[test]
fn waiting_for_work_on_a_frozen_gateway_ends_with_75_and_names_the_spawn_where_its_id_is_known() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    gateway.freeze();
    let ended = run(&daemon, &["spawn", "x", "--gateway", "lab", "--wait", "--timeout", "1"]);
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    let list: Value = serde_json::from_str(&fine(&daemon, &["spawns", "list", "--json"])).expect("JSON");
    let spawn = list["history"][0]["spawnId"].as_str().expect("an id");
    assert!(ended.stderr.contains(&format!("`gatewarden spawns show {spawn}`")), "{}", ended.stderr);
    // That one is known to give no answer by now, and would be refused.
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let id = daemon.register("other", gateway.port(), "right");
    daemon.until_status(id, "online");
    gateway.freeze();
    let ended = run(&daemon, &["spawn", "y", "--gateway", "other", "--wait", "--timeout", "1", "--json"]);
    let said: Value = serde_json::from_str(&ended.stderr).expect("JSON");
    assert_eq!((&said["code"], said["details"]["spawnId"].is_string()), (&"gateway_timeout".into(), true), "{said}");

    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__REQUEST_TIMEOUT", "1s").start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    gateway.freeze();
    let ended = run(&daemon, &["spawn", "x", "--gateway", "lab", "--wait", "--timeout", "1"]);
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    let list: Value = serde_json::from_str(&fine(&daemon, &["spawns", "list", "--json"])).expect("JSON");
    let spawn = list["history"][0]["spawnId"].as_str().expect("an id");
    assert!(ended.stderr.contains(&format!("`gatewarden spawns show {spawn}`")), "{}", ended.stderr);
    let ended = run(&daemon, &["spawn", "x", "--gateway", "lab"]);
    assert!(!ended.stderr.contains("spawns show ID"), "{}", ended.stderr);
}

#[test]
fn a_session_is_read_talked_to_named_and_deleted() {
    let daemon = up();
    fine(&daemon, &["spawn", "count to 2", "--agent", "sample", "--session", TALK, "--wait"]);
    let history = until(&daemon, &["sessions", "history", TALK], "count to 2");
    assert!(history.contains("user"), "{history}");
    fine(&daemon, &["sessions", "show", TALK, "--json"]);
    let taken = fine(&daemon, &["sessions", "message", TALK, "count to 3", "--idempotency-key", "k-1"]);
    assert!(taken.contains("local took it"), "{taken}");
    until(&daemon, &["sessions", "history", TALK], "count to 3");
    let named = fine(&daemon, &["sessions", "set", TALK, "--label", "the sample"]);
    assert_eq!(named, format!("local changed the label of session {TALK}.\n"));
    until(&daemon, &["sessions", "list"], "the sample");
    assert_eq!(run(&daemon, &["sessions", "set", TALK]).code, Some(64), "there is nothing to change");
    until(&daemon, &["sessions", "list"], "completed");
    fine(&daemon, &["sessions", "rm", TALK]);
    wait::until("it is gone", PATIENCE, || !fine(&daemon, &["sessions", "list", "--quiet"]).contains(TALK));
}

#[test]
fn events_come_line_by_line_in_words_or_json_and_end_after_a_count() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    let seeded = daemon.gateways().iter().find_map(|one| one["id"].as_i64().filter(|other| *other != id));
    daemon.until_status(seeded.expect("the seeded one"), "offline");
    let words = Setup::client_of(&daemon, &["events", "--follow"]).spawn();
    let mut json =
        Setup::client_of(&daemon, &["events", "--types", "gateway.status", "--json", "--count", "1"]).spawn();
    // A stream that begins after the event would wait for ever: it happens again until both have seen it.
    wait::until("both have seen a change", PATIENCE, || {
        // Not so often that the daemon forgets the first ones.
        if daemon.gateway(id)["status"] == "online" {
            daemon.post(&format!("/api/gateways/{id}/reconnect"), &json!({})).expect(200);
        }
        words.said().contains("lab:") && !json.said().is_empty()
    });
    let ended = json.ended();
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1), "{}", ended.stdout);
    let event: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&event["type"], &event["data"]["gateway"]), (&json!("gateway.status"), &json!("lab")));
    let before = event["id"].as_u64().expect("a number") - 1;
    let again = run(
        &daemon,
        &["events", "--types", "gateway.status", "--json", "--count", "1", "--since", &before.to_string()],
    );
    assert_eq!(again.stdout, ended.stdout, "what was missed comes again");
    let unknown = run(&daemon, &["events", "--types", "nothing"]);
    assert_eq!(unknown.code, Some(64), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("gateway.primary"), "the known types are named: {}", unknown.stderr);
}

#[test]
fn a_log_is_read_and_followed() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    assert!(fine(&daemon, &["logs", "lab"]).contains("info  gateway gateway is up"));
    let follow = Setup::client_of(&daemon, &["logs", "lab", "--follow", "--limit", "1"]).spawn();
    follow.until_said("gateway is up");
    gateway.change(|behaviour| behaviour.log.push(log_line("something \u{1b}[2J new")));
    follow.until_said("new");
    assert!(!follow.said().contains('\u{1b}'), "a gateway cannot steer a terminal: {:?}", follow.said());
    let mut gone = Setup::client_of(&daemon, &["logs", "lab", "-f"]).spawn();
    gone.until_said("gateway is up");
    daemon.delete(id).expect(200);
    let ended = gone.ended();
    assert_eq!(ended.code, Some(1), "{} {}", ended.stdout, ended.stderr);
    assert!(!ended.stderr.is_empty(), "it says why");
    assert_eq!(run(&daemon, &["logs", "lab"]).code, Some(1));
}
