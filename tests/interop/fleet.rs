//! The whole story with a mixed fleet, one assertion after the other: what an operator, the metrics, the log and systemd see.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::peer::{NEWEST, OLDER, Peer};
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::notify_socket::NotifySocket;
use crate::support::scripted_gateway::{Behaviour, Fault, Form, ScriptedGateway, Step};
use crate::support::wait::{self, Stopwatch};

/// Heartbeats in these tests.
const HEARTBEAT: Duration = Duration::from_secs(3);

fn setup() -> Setup {
    Setup::new()
        .env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "3s")
        .env("GATEWARDEN_GATEWAY__PROBE_TIMEOUT", "5s")
        .env("GATEWARDEN_GATEWAY__CHALLENGE_TIMEOUT", "5s")
        .env("GATEWARDEN_GATEWAY__KNOWN_CHALLENGE_TIMEOUT", "5s")
        .env("GATEWARDEN_GATEWAY__CONNECT_TIMEOUT", "5s")
}

fn explained(shown: &Value) {
    let error = &shown["last_error"];
    for field in ["code", "message", "help"] {
        assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {shown}");
    }
}

/// Methods that the daemon calls on a real gateway, as shown by its metrics: those refused are worth a look.
fn refused_calls(daemon: &Daemon, id: i64) -> Vec<String> {
    let mark = format!("gateway=\"{id}\"");
    daemon
        .metrics()
        .lines()
        .filter(|line| line.starts_with("gatewarden_rpcs_total") && line.contains(&mark))
        .filter(|line| line.contains("outcome=\"refused\"") && !line.contains("method=\"ping\""))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_mixed_fleet_is_seen_as_it_is_through_deaths_freezes_and_a_crash_of_the_daemon() {
    let (newest, older) = (Peer::start(NEWEST), Peer::start(OLDER));
    let hole = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "x").fails(Step::Accept, Fault::Silence));
    let web = ScriptedGateway::of(Form::WebServer, "");
    let setup = setup();
    let systemd = NotifySocket::at(&setup.state().with_extension("notify"));
    let mut daemon = setup.env("NOTIFY_SOCKET", &systemd.address()).start();

    let four = daemon.register("four", newest.port, &newest.token);
    let three = daemon.register("three", older.port, &older.token);
    let black = daemon.register("hole", hole.port(), "x");
    let page = daemon.register("page", web.port(), "");
    let wrong = daemon.register("wrong", newest.port, "not-the-token");
    // the seeded one would only blur the counts
    daemon.update(&json!({"id": four, "is_primary": true})).expect(200);
    let seeded = daemon.gateways().iter().find(|one| one["name"] == "seeded").and_then(|one| one["id"].as_i64());
    daemon.delete(seeded.expect("the seeded gateway is listed")).expect(200);

    explained(&daemon.until_status(black, "timeout"));
    println!("online with what they are");
    let shown = daemon.until_status(four, "online");
    assert_eq!((&shown["protocol"], &shown["version"]), (&json!(4), &json!(NEWEST)), "{shown}");
    let shown = daemon.until_status(three, "online");
    assert_eq!((&shown["protocol"], &shown["version"]), (&json!(3), &json!(OLDER)), "{shown}");
    for id in [four, three] {
        let shown = daemon.until(id, "agents are counted", PATIENCE, |shown| shown["agents_count"] == 1);
        assert_eq!((&shown["last_error"], &shown["dialect"]), (&json!(null), &json!("openclaw")));
        let logs = daemon.get(&format!("/api/gateways/{id}/logs?limit=20")).expect(200).json();
        let entries = logs["logs"].as_array().expect("entries");
        assert!(!entries.is_empty(), "{logs}");
        for entry in entries {
            assert!(entry["message"].as_str().is_some_and(|text| !text.is_empty()), "{entry}");
            assert!(entry["timestamp"].is_i64() && entry["level"].is_string(), "{entry}");
        }
        let nodes = daemon.get(&format!("/api/nodes?action=list&gateway_id={id}")).expect(200).json();
        assert_eq!(nodes["available"], true, "{nodes}");
        assert!(refused_calls(&daemon, id).is_empty(), "{:?}", refused_calls(&daemon, id));
    }

    println!("the black hole, the web server and the wrong token");
    explained(&daemon.until_status(black, "offline"));
    let history = daemon.get(&format!("/api/gateways/health/history?gateway_id={black}")).expect(200);
    println!("history of the black hole: {}", history.text);
    let shown = daemon.until_code(page, "not_a_gateway");
    assert_eq!(shown["status"], "offline");
    explained(&shown);
    let shown = daemon.until_code(wrong, "token_mismatch");
    assert_eq!(shown["status"], "degraded");
    explained(&shown);
    assert_eq!(daemon.gateway(four)["status"], "online", "a wrong token of another record cost the good one its place");

    println!("a sweep takes one probe's timeout");
    let watch = Stopwatch::start();
    let sweep = daemon.post("/api/gateways/health", &json!({})).expect(200).json();
    println!("sweep: {:?} {sweep}", watch.elapsed());
    assert!(watch.elapsed() < Duration::from_secs(20), "{:?}", watch.elapsed());
    let results = sweep["results"].as_array().expect("results");
    assert_eq!(results.len(), 5);
    for (id, status) in [(four, "online"), (three, "online"), (black, "offline"), (page, "error"), (wrong, "error")] {
        assert!(results.iter().any(|one| one["id"] == id && one["status"] == status), "{id} is not {status}: {sweep}");
    }

    println!("metrics, the list and the status line agree");
    let state = |daemon: &Daemon, id: i64, status: &str| {
        let line = format!("gatewarden_gateway_state{{gateway=\"{id}\",state=\"{status}\"}} 1");
        daemon.metrics().lines().any(|one| one == line)
    };
    for (id, status) in
        [(four, "online"), (three, "online"), (black, "offline"), (page, "offline"), (wrong, "degraded")]
    {
        wait::until(&format!("the metrics say that {id} is {status}"), PATIENCE, || state(&daemon, id, status));
        daemon.until_logged(&[&format!("\"{status}\"")]);
    }
    wait::until("the status line says so too", PATIENCE, || {
        systemd.has_heard(|line| line == "STATUS=2 of 5 gateways online, primary four")
    });

    println!("SIGKILL is seen at once, the return without help");
    for (peer, id) in [(&newest, four), (&older, three)] {
        peer.kill();
        let watch = Stopwatch::start();
        daemon.until(id, "the death is seen", Duration::from_secs(3), |shown| shown["status"] != "online");
        println!("{}: death seen after {:?}", peer.version, watch.elapsed());
        daemon.until_status(id, "offline");
        peer.start_again();
        let watch = Stopwatch::start();
        daemon.until(id, "it is back", Duration::from_secs(90), |shown| shown["status"] == "online");
        println!("{}: return seen {:?} after it was ready", peer.version, watch.elapsed());
    }

    println!("SIGSTOP is seen within three heartbeats");
    for (peer, id) in [(&newest, four), (&older, three)] {
        // on a busy machine a real gateway calls itself degraded for a while after its start
        daemon.until(id, "it is well", Duration::from_secs(180), |shown| shown["status"] == "online");
        peer.freeze();
        let watch = Stopwatch::start();
        daemon.until(id, "the freeze is seen", HEARTBEAT * 3, |shown| shown["status"] != "online");
        println!("{}: freeze seen after {:?}", peer.version, watch.elapsed());
        daemon
            .until(id, "it times out", PATIENCE, |shown| shown["status"] == "timeout" || shown["status"] == "offline");
        peer.thaw();
        daemon.until(id, "it is back", Duration::from_secs(60), |shown| shown["status"] == "online");
    }

    println!("kill -9 right after a 201 loses nothing");
    let identity = daemon.get("/api/identity").expect(200).json();
    let last = daemon.register("last", older.port, &older.token);
    daemon.crash_and_restart();
    assert_eq!(daemon.get("/api/identity").expect(200).json(), identity);
    for id in [four, three, last] {
        daemon.until(id, "online after the crash", PATIENCE, |shown| shown["status"] == "online");
    }
    let names: BTreeSet<String> =
        daemon.gateways().iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
    assert_eq!(names, ["four", "hole", "last", "page", "three", "wrong"].map(str::to_owned).into());
    for id in [four, three] {
        let devices = daemon.get(&format!("/api/nodes?action=devices&gateway_id={id}")).expect(200).json();
        println!("devices of {id}: {devices}");
        assert!(devices["pending"].as_array().is_some_and(Vec::is_empty), "a pairing is pending: {devices}");
        assert!(devices["devices"].as_array().is_some_and(|paired| paired.len() <= 1), "a second pairing: {devices}");
    }
}

#[test]
fn an_announced_stop_and_a_restart_of_a_real_gateway_are_followed() {
    let older = Peer::start(OLDER);
    let daemon = setup().start();
    let id = daemon.register("three", older.port, &older.token);
    daemon.until_status(id, "online");
    older.stop();
    daemon.until(id, "the stop is seen", Duration::from_secs(5), |shown| shown["status"] != "online");
    older.start_again();
    daemon.until(id, "it is back", Duration::from_secs(60), |shown| shown["status"] == "online");
}

#[test]
fn a_token_that_is_set_right_brings_a_real_gateway_online_at_once() {
    let older = Peer::start(OLDER);
    let daemon = setup().start();
    let id = daemon.register("three", older.port, "not-the-token");
    explained(&daemon.until_code(id, "token_mismatch"));
    daemon.update(&json!({"id": id, "token": older.token})).expect(200);
    daemon.until_status(id, "online");
    let missing = daemon.register("tokenless", older.port, "");
    explained(&daemon.until_code(missing, "token_missing"));
}
