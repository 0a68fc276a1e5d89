//! Following the logs of real gateways.

use serde_json::json;

use crate::peer::{NEWEST, OLDER, Peer};
use crate::support::daemon::{ADMIN_KEY, Daemon};
use crate::support::event_stream::EventStream;

#[test]
fn the_log_of_a_real_gateway_is_followed_through_its_death() {
    let peers = [Peer::start(NEWEST), Peer::start(OLDER)];
    let daemon = Daemon::start();
    for peer in &peers {
        let id = daemon.register(peer.version, peer.port, &peer.token);
        daemon.until_status(id, "online");
        let path = format!("/api/gateways/{id}/logs?follow=true&limit=2");
        let mut stream = EventStream::open(daemon.address(), &path, &[("X-API-Key", ADMIN_KEY)]);
        for _ in 0..2 {
            let entry = stream.event();
            let data = &entry.data["data"];
            assert_eq!(entry.event, "log", "{entry:?}");
            assert!(data["timestamp"].is_i64() && data["level"].is_string() && data["source"].is_string(), "{data}");
        }
        // Without credentials for a model it fails, and the gateway writes that down.
        daemon.post("/api/spawn", &json!({"task": "say hello", "agent": "main", "gateway_id": id})).expect(202);
        let said = stream.until(|block| {
            block.data["data"]["message"]
                .as_str()
                .is_some_and(|text| text.contains("res ✓ agent ") || text.contains("lane="))
        });
        println!("{}: {}", peer.version, said.data);
        peer.kill();
        let told = stream.until(|block| block.event != "log");
        assert_eq!(told.event, "interrupted", "{told:?}");
        peer.start_again();
        stream.until(|block| block.event == "resumed");
        // Its log file has the same name after the restart, so that nothing is lost: not even its first words.
        let up = stream.until(|block| {
            let message = block.data["data"]["message"].as_str().unwrap_or_default();
            message.contains("listening")
        });
        println!("{}: {}", peer.version, up.data);
    }
}
