//! `gatewarden gateways start`, `stop`, `restart` and `diagnose`, on a gateway that the daemon runs.

use serde_json::Value;

use super::support::client::{fine, run};
use super::support::local_command::Local;

#[test]
fn a_process_is_stopped_started_restarted_and_examined_by_commands() {
    let local = Local::gateway();
    let daemon = local.setup.start();
    let (port, token) = local.address();
    let added = ["gateways", "add", "local", &port, "--token-file", &token, "--command", "local", "--wait"];
    assert!(fine(&daemon, &added).contains("local is online"));
    let page = fine(&daemon, &["gateways", "show", "local"]);
    assert!(page.contains("command local: running as process "), "{page}");

    assert_eq!(fine(&daemon, &["gateways", "stop", "local"]), "local is stopped\n");
    let examined = run(&daemon, &["gateways", "diagnose", "local"]);
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    assert!(examined.stdout.starts_with("command local: stopped"), "{}", examined.stdout);

    let started = fine(&daemon, &["gateways", "start", "local"]);
    assert!(started.starts_with("local runs as process ") && started.contains("connected anew"), "{started}");
    let answer: Value =
        serde_json::from_str(&fine(&daemon, &["gateways", "restart", "local", "--json"])).expect("JSON");
    assert_eq!(answer["process"]["verified"], "yes", "{answer}");
    let examined = fine(&daemon, &["gateways", "diagnose", "local"]);
    for part in ["running as process", &answer["process"]["pid"].to_string(), "\nruns /", "It said last:"] {
        assert!(examined.contains(part), "{part} is not in {examined}");
    }
    assert_eq!(fine(&daemon, &["gateways", "diagnose", "local", "--quiet"]), "running\n");
    assert_eq!(fine(&daemon, &["gateways", "restart", "local", "--no-wait", "--quiet"]), "");

    fine(&daemon, &["gateways", "update", "local", "--no-process"]);
    let refused = run(&daemon, &["gateways", "restart", "local"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    for words in ["Gateway \"local\" is not", "neither a unit nor a command", "gateways update local --unit"] {
        assert!(refused.stderr.contains(words), "{words} is not in {}", refused.stderr);
    }
    let unknown = run(&daemon, &["gateways", "update", "local", "--command", "rm"]);
    assert_eq!(unknown.code, Some(1), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("[commands"), "the cure is said: {}", unknown.stderr);
    assert_eq!(run(&daemon, &["gateways", "update", "local", "--unit", "a.service", "--command", "b"]).code, Some(64));
}
