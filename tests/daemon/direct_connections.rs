//! CLI tools that connect directly: heartbeats, silence, a restart in between.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::event_stream::EventStream;
use crate::support::wait;

fn connect(daemon: &Daemon, agent: &str, interval_s: Option<u64>) -> String {
    let mut body = json!({"agent_name": agent, "tool_name": "codex", "tool_version": "2.1.0"});
    if let Some(interval) = interval_s {
        body["metadata"] = json!({"heartbeat_interval_s": interval});
    }
    let opened = daemon.post("/api/connect", &body).expect(200).json();
    opened["connection_id"].as_str().expect("an id").to_owned()
}

fn connection(daemon: &Daemon, id: &str) -> Value {
    let list = daemon.get("/api/connect").expect(200).json();
    let all = list["connections"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["connection_id"] == id).unwrap_or_else(|| panic!("{id} is not in {list}"))
}

fn until_silent(daemon: &Daemon, id: &str) {
    wait::until_ok("the silent tool is given up", PATIENCE, || {
        let one = connection(daemon, id);
        let given_up =
            one["status"] == "disconnected" && one["end_reason"] == "silent" && one["agent_status"] == "offline";
        if given_up { Ok(()) } else { Err(one.to_string()) }
    });
}

fn beat(daemon: &Daemon, agent: &str, id: &str) -> Value {
    daemon.post(&format!("/api/agents/{agent}/heartbeat"), &json!({"connection_id": id})).expect(200).json()
}

#[test]
fn a_tool_that_falls_silent_is_given_up_and_revived_by_a_late_heartbeat() {
    let daemon = Setup::new().env("GATEWARDEN_DIRECT__HEARTBEAT_TIMEOUT", "1s").start();
    let silent = connect(&daemon, "quick", None);
    let patient = connect(&daemon, "patient", Some(3600));
    until_silent(&daemon, &silent);
    assert_eq!(connection(&daemon, &patient)["status"], "connected", "it announced longer intervals");
    let path = "/api/events?types=agent.status";
    let mut news = EventStream::of(&daemon, path);
    assert_eq!(beat(&daemon, "quick", &silent)["revived"], true);
    // Asked for it, the daemon might say that it is silent again.
    news.until(|event| event.data["data"]["agent"] == "quick" && event.data["data"]["to"] == "online");
    until_silent(&daemon, &silent);
    daemon.call("DELETE", "/api/connect", Some(&json!({"connection_id": silent}))).expect(200);
    let late = json!({"connection_id": silent});
    let refused = daemon.post("/api/agents/quick/heartbeat", &late).expect(409).json();
    assert_eq!(refused["code"], "connection_ended", "{refused}");
}

#[test]
fn after_kill_dash_nine_tools_are_still_connected_and_the_silent_ones_are_still_found_out() {
    let mut daemon = Setup::new().env("GATEWARDEN_DIRECT__HEARTBEAT_TIMEOUT", "2s").start();
    let silent = connect(&daemon, "silent", None);
    let patient = connect(&daemon, "patient", Some(3600));
    let tokens = json!({"connection_id": patient, "tokens": {"input": 10, "output": 5, "model": "m"}});
    daemon.post("/api/agents/patient/heartbeat", &tokens).expect(200);
    daemon.crash_and_restart();
    assert_eq!(connection(&daemon, &patient)["status"], "connected");
    assert_eq!(beat(&daemon, "patient", &patient)["revived"], false);
    until_silent(&daemon, &silent);
    let costs = daemon.get("/api/tokens?action=agent-costs&timeframe=hour").expect(200).json();
    assert_eq!(costs["agents"]["patient"]["stats"]["totalTokens"], 15, "{costs}");
}

#[test]
fn an_agent_has_one_connection_and_goes_with_its_record() {
    let daemon = Daemon::start();
    let first = connect(&daemon, "codex", None);
    let second = connect(&daemon, "codex", None);
    assert_eq!(connection(&daemon, &first)["end_reason"], "replaced");
    assert_eq!(connection(&daemon, &second)["agent_status"], "online");
    daemon.call("DELETE", "/api/agents/codex", None).expect(200);
    assert_eq!(daemon.get("/api/connect").expect(200).json()["connections"], json!([]));
    daemon.call("DELETE", "/api/connect", Some(&json!({"connection_id": second}))).expect(404);
}
