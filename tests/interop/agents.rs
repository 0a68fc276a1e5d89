//! The agents of real gateways, taken over on demand.

use serde_json::json;

use crate::peer::{NEWEST, OLDER, Peer};
use crate::support::daemon::Daemon;

#[test]
fn the_agents_of_real_gateways_are_taken_over_and_those_of_another_are_left_alone() {
    let (newest, older) = (Peer::start(NEWEST), Peer::start(OLDER));
    let daemon = Daemon::start();
    let four = daemon.register("four", newest.port, &newest.token);
    let three = daemon.register("three", older.port, &older.token);
    for (id, created, skipped) in [(four, 1, 0), (three, 0, 1)] {
        daemon.until_status(id, "online");
        let synced = daemon.post("/api/agents/sync", &json!({"gateway_id": id})).expect(200).json();
        println!("{synced}");
        assert_eq!((&synced["created"], &synced["skipped"]), (&json!(created), &json!(skipped)), "{synced}");
    }
    let main = daemon.get("/api/agents/main").expect(200).json();
    println!("{main}");
    let main = &main["agent"];
    assert_eq!((&main["gateway_id"], &main["source"]), (&json!(four), &json!("sync")), "{main}");
    assert_eq!((&main["status"], &main["config"]["id"]), (&json!("online"), &json!("main")), "{main}");
    daemon.call("DELETE", "/api/agents/main", None).expect(200);
    let synced = daemon.post("/api/agents/sync", &json!({"gateway_id": three})).expect(200).json();
    assert_eq!(synced["created"], 1, "{synced}");
}
