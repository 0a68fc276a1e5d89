//! What the health log and the latencies say of times in which the daemon was not running or was frozen: nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::event_stream::EventStream;
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

/// Longer than what counts as a busy moment, from one look of the daemon to the next.
const LONG_ENOUGH: Duration = Duration::from_secs(9);

fn latency(daemon: &Daemon, id: i64) -> Value {
    daemon.get(&format!("/api/gateways/{id}/latency?bucket=5m&hours=1")).expect(200).json()
}

/// The one gap that both answers must tell.
fn the_gap(daemon: &Daemon, id: i64) -> (i64, String) {
    let mut found = None;
    wait::until("the gap is told", PATIENCE, || {
        let gaps = latency(daemon, id)["not_observed"].clone();
        let history = daemon.get(&format!("/api/gateways/health/history?gateway_id={id}")).expect(200).json();
        if history["not_observed"] != gaps {
            // It came between the two questions.
            return false;
        }
        assert!(gaps.as_array().is_some_and(|gaps| gaps.len() <= 1), "{gaps}");
        let gap = &gaps[0];
        found = gap["reason"]
            .as_str()
            .map(|reason| (gap["to"].as_i64().unwrap() - gap["from"].as_i64().unwrap(), reason.to_owned()));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_frozen_daemon_blames_no_gateway_and_says_that_it_saw_nothing() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let setup = crate::support::daemon::Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "2s");
    let daemon = setup.start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    wait::until("a round trip is known soon after the connection", PATIENCE, || {
        latency(&daemon, id)["gateways"][0]["buckets"][0]["p50"].is_number()
    });
    assert_eq!(latency(&daemon, id)["not_observed"], json!([]));
    daemon.signal("STOP");
    wait::holds_for("the gateway lives while the daemon is frozen", LONG_ENOUGH, || gateway.is_alive());
    daemon.signal("CONT");
    let (seconds, reason) = the_gap(&daemon, id);
    assert_eq!(reason, "frozen");
    assert!(seconds >= 8, "{seconds}");
    daemon.until_status(id, "online");
    let told = latency(&daemon, id);
    assert_eq!(told["gateways"][0]["outages"], json!([]), "{told}");
    assert_eq!(told["gateways"][0]["buckets"][0]["misses"], 0, "{told}");
    let shown = daemon.gateway(id);
    assert!(shown["latency"].as_i64().is_some_and(|latency| latency < 3_000), "{shown}");
}

#[test]
fn gateways_that_drop_a_frozen_daemon_had_no_outage_and_the_primary_stays() {
    let gateways = ["one", "two"].map(|name| (name, ScriptedGateway::of(Form::Protocol4, "right")));
    let daemon = Daemon::start();
    let ids = gateways.each_ref().map(|(name, gateway)| daemon.register(name, gateway.port(), "right"));
    daemon.update(&json!({"id": ids[0], "is_primary": true})).expect(200);
    ids.iter().for_each(|id| drop(daemon.until_status(*id, "online")));
    let acts = || daemon.gateway(ids[0])["acting_primary"] == true;
    wait::until("the primary acts", PATIENCE, acts);
    let path = "/api/events?types=gateway.status,gateway.primary";
    let mut events = EventStream::of(&daemon, path);
    for round in 1..=2 {
        daemon.signal("STOP");
        wait::holds_for("the daemon is frozen", LONG_ENOUGH, || gateways.iter().all(|(_, gateway)| gateway.is_alive()));
        gateways.iter().for_each(|(_, gateway)| gateway.reset());
        wait::until("both have dropped it", PATIENCE, || gateways.iter().all(|(_, it)| it.record().open == 0));
        daemon.signal("CONT");
        wait::until("both are connected anew", PATIENCE, || gateways.iter().all(|(_, it)| it.record().open == 1));
        for id in ids {
            daemon.until(id, "connected", PATIENCE, |it| it["status"] == "online" && it["phase"] == "ready");
            let told = latency(&daemon, id);
            assert_eq!(told["gateways"][0]["outages"], json!([]), "{round}: {told}");
        }
        assert!(acts());
    }
    // A change that must be told: nothing of the kind was told before.
    gateways[1].1.kill();
    let told = events.event();
    assert_eq!(
        (&told.data["data"]["gateway"], &told.data["data"]["to"]),
        (&json!("two"), &json!("offline")),
        "{told:?}"
    );
}

#[test]
fn the_time_in_which_no_daemon_ran_is_neither_online_time_nor_an_outage() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = crate::support::daemon::Setup::new().start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    gateway.kill();
    let down = daemon.until_status(id, "offline");
    // At once, but for a slow disk.
    wait::until_ok("the history tells it", PATIENCE, || {
        let told = daemon.get(&format!("/api/gateways/health/history?gateway_id={id}")).expect(200).json();
        let newest = &told["history"][0]["entries"][0];
        if newest["status"] == "offline" && newest["state"] == down["status"] { Ok(()) } else { Err(told.to_string()) }
    });
    daemon.stop();
    wait::holds_for("the gateway is away while no daemon runs", LONG_ENOUGH, || !gateway.is_alive());
    gateway.revive();
    daemon = daemon.setup().start();
    daemon.until_status(id, "online");
    let (seconds, reason) = the_gap(&daemon, id);
    assert_eq!(reason, "stopped");
    assert!((8..30).contains(&seconds), "{seconds}");
    let told = latency(&daemon, id);
    let outages = told["gateways"][0]["outages"].as_array().unwrap();
    let begin = told["not_observed"][0]["from"].as_i64().unwrap();
    assert!(!outages.is_empty(), "{told}");
    assert!(outages.iter().all(|outage| outage["to"].as_i64().is_some_and(|to| to <= begin)), "{told}");
}
