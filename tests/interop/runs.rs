//! Work on real releases without model credentials: a task is taken, and fails in the gateway's own words.

use std::time::Duration;

use serde_json::{Value, json};

use crate::peer::{NEWEST, OLDER, Peer};
use crate::support::daemon::{Daemon, Setup};
use crate::support::wait;

/// An idle machine needs a second; a busy one has been seen to take fifteen.
const RUN_ENDS_WITHIN: Duration = Duration::from_secs(90);

fn ended(daemon: &Daemon, spawn_id: &Value) -> Value {
    let path = format!("/api/spawn/{}", spawn_id.as_str().expect("a spawn has an id"));
    wait::until_ok("the spawn ends", RUN_ENDS_WITHIN, || {
        let spawn = daemon.get(&path).expect(200).json();
        let status = spawn["status"].as_str().unwrap_or_default();
        if matches!(status, "completed" | "failed" | "killed" | "lost") { Ok(spawn) } else { Err(spawn.to_string()) }
    })
}

#[test]
fn a_task_on_a_real_gateway_without_credentials_fails_in_the_gateways_words() {
    let (newest, older) = (Peer::start(NEWEST), Peer::start(OLDER));
    let daemon = Setup::new().start();
    for (name, peer, words) in [
        ("four", &newest, "No route-compatible authentication source is configured"),
        ("three", &older, "No API key found for provider"),
    ] {
        let id = daemon.register(name, peer.port, &peer.token);
        daemon.until_status(id, "online");
        let task = json!({ "task": "say hello", "label": "Nightly", "gateway_id": id });
        let taken = daemon.post("/api/spawn", &task).expect(202).json();
        println!("{name}: {taken}");
        assert_eq!(taken["gateway"]["name"], name);
        assert_eq!(taken["runId"], taken["spawnId"], "the spawn's id is the idempotency key and the run's id");
        let spawn = ended(&daemon, &taken["spawnId"]);
        println!("{name}: {spawn}");
        assert_eq!(spawn["status"], "failed", "{spawn}");
        assert!(spawn["error"].to_string().contains(words), "{spawn}");

        let command = json!({ "command": "ls", "gateway_id": id });
        let refused = daemon.post("/api/spawn", &command).expect(501).json();
        println!("{name}: {refused}");
        for word in [name, peer.version, "spawn"] {
            assert!(refused.to_string().contains(word), "{word} is not named: {refused}");
        }
    }
}
