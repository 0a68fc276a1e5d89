//! Agents as their users see them: kept across a crash, synced from gateways, by hand and by themselves.

use serde_json::json;

use crate::support::daemon::Daemon;

#[test]
fn an_acknowledged_agent_survives_kill_dash_nine_and_a_deleted_one_stays_deleted() {
    let mut daemon = Daemon::start();
    let body =
        json!({"name": "researcher", "role": "research", "config": {"gateway_config": {"preferred_gateway": "b"}}});
    let made = daemon.post("/api/agents", &body).expect(201).json();
    assert!(made["warning"].as_str().is_some_and(|warning| warning.contains("\"b\"")), "{made}");
    daemon.post("/api/agents", &json!({"name": "gone"})).expect(201);
    daemon.call("DELETE", "/api/agents/gone", None).expect(200);
    daemon.call("PUT", "/api/agents/researcher", Some(&json!({"status": "busy"}))).expect(200);
    daemon.crash_and_restart();
    let kept = daemon.get("/api/agents/researcher").expect(200).json();
    assert_eq!((&kept["agent"]["config"], &kept["agent"]["role"]), (&body["config"], &body["role"]), "{kept}");
    daemon.get("/api/agents/gone").expect(404);
    assert_eq!(daemon.get("/api/agents").expect(200).json()["total"], 1);
}
