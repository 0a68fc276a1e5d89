//! Gateways whose connections other nodes hold for the one that acts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::postgres_mesh::{node, until_it_passes_on};
use crate::support::client::fine;
use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::event_stream::EventStream;
use crate::support::own_network;
use crate::support::postgres_server::{Server, next_to};
use crate::support::scripted_gateway::{Behaviour, Fate, Form, Memory, ScriptedGateway};
use crate::support::wait;

fn gateway() -> ScriptedGateway {
    ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps))
}

/// Registers one whose connection this node alone may hold.
fn register_on(daemon: &Daemon, name: &str, gateway: &ScriptedGateway, node: &str) -> i64 {
    let body = json!({
        "name": name, "host": "127.0.0.1", "port": gateway.port(), "token": "tok-secret", "node": node,
    });
    daemon.register_with(&body)
}

fn until_shown(what: &str, daemon: &Daemon, id: i64, wanted: impl Fn(&Value) -> bool) {
    daemon.until(id, what, PATIENCE, wanted);
}

fn is_online_at(node: Option<&str>) -> impl Fn(&Value) -> bool {
    move |gateway| gateway["status"] == "online" && gateway["held_by"].as_str() == node
}

/// Gateways that each node holds, as the one that acts says.
fn held(daemon: &Daemon) -> Vec<(String, i64)> {
    let nodes = daemon.get("/api/cluster").expect(200).json()["nodes"].clone();
    let of =
        |node: &Value| (node["name"].as_str().unwrap_or_default().to_owned(), node["gateways"].as_i64().unwrap_or(-1));
    nodes.as_array().expect("a list").iter().map(of).collect()
}

fn spawn(daemon: &Daemon, gateway: i64, task: &str) -> Value {
    daemon.post("/api/spawn", &json!({"task": task, "gateway_id": gateway})).expect(202).json()
}

fn until_ended(daemon: &Daemon, spawned: &Value) -> Value {
    let path = format!("/api/spawn/{}", spawned["spawnId"].as_str().expect("an id"));
    let mut last = Value::Null;
    wait::until("it ends", PATIENCE, || {
        last = daemon.get(&path).expect(200).json();
        ["completed", "failed", "killed", "lost"].iter().any(|state| last["status"] == *state)
    });
    last
}

#[test]
fn another_node_holds_a_gateways_connection_and_the_one_that_acts_does_all_with_it() {
    let Some(server) = Server::start() else { return };
    let (gateway, local) = (gateway(), gateway());
    let a = node(&server, "a").start();
    let mut b = next_to(&a, node(&server, "b")).start();
    until_it_passes_on(&b);
    wait::until("b is a node that carries", PATIENCE, || held(&a).len() == 2);
    let mut events = EventStream::of(&a, "/api/events");
    let edge = register_on(&a, "edge", &gateway, "b");
    let here = a.register("here", local.port(), "tok-secret");
    until_shown("b holds it", &a, edge, is_online_at(Some("b")));
    until_shown("an address of this machine is dialled where the daemon acts", &a, here, is_online_at(None));
    assert_eq!(held(&a), [("a".to_owned(), 2), ("b".to_owned(), 1)], "the seeded one, too");
    events.until(|event| event.data.to_string().contains("edge"));
    assert_eq!(b.gateway(edge)["held_by"], "b", "whichever node is asked");

    let spawned = spawn(&a, edge, "once");
    assert_eq!(until_ended(&a, &spawned)["status"], "completed");
    assert_eq!(gateway.executed().values().sum::<usize>(), 1, "it ran once, and there");
    let check = a.post("/api/gateways/health", &json!({"gateway_id": edge})).expect(200).text;
    assert!(check.contains("\"online\""), "{check}");
    a.get(&format!("/api/sessions?gateway={edge}")).expect(200);
    let metrics = a.metrics();
    let counts = |metrics: &str| metrics.contains(&format!("gatewarden_rpcs_total{{gateway=\"{edge}\""));
    assert!(counts(&metrics), "what happens to it is counted where it is shown: {metrics}");
    assert!(fine(&a, &["cluster"]).contains("GATEWAYS"));

    let slow = Fate { job: "slow".to_owned(), takes_ms: 3_000, ..Fate::default() };
    let slow = spawn(&a, edge, &serde_json::to_string(&slow).expect("plain"));
    b.kill();
    until_shown("nobody holds it", &a, edge, |shown| {
        shown["status"] == "offline" && shown["last_error"]["code"] == "node_missing" && shown["held_by"].is_null()
    });
    assert_eq!(a.gateway(here)["status"], "online", "the others stay");
    let _b = b.setup().start();
    until_shown("b holds it again", &a, edge, is_online_at(Some("b")));
    assert_eq!(until_ended(&a, &slow)["status"], "completed", "what was under way is asked about");
    assert_eq!(until_ended(&a, &spawn(&a, edge, "again"))["status"], "completed");

    a.update(&json!({"id": edge, "node": null})).expect(200);
    until_shown("a dials it itself", &a, edge, is_online_at(None));
    assert_eq!(until_ended(&a, &spawn(&a, edge, "at home"))["status"], "completed");
}

#[test]
fn a_frozen_node_is_given_up_and_sends_nothing_when_it_wakes() {
    let Some(server) = Server::start() else { return };
    let gateway = gateway();
    let a = node(&server, "a").start();
    let b = next_to(&a, node(&server, "b")).start();
    until_it_passes_on(&b);
    let edge = register_on(&a, "edge", &gateway, "b");
    until_shown("b holds it", &a, edge, is_online_at(Some("b")));
    b.signal("STOP");
    until_shown("it is given up", &a, edge, |shown| shown["last_error"]["code"] == "node_missing");
    let refused = a.post("/api/spawn", &json!({"task": "late", "gateway_id": edge}));
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (503, Some("gateway_unavailable")),
        "{}",
        refused.text
    );
    b.signal("CONT");
    until_shown("it carries again", &a, edge, is_online_at(Some("b")));
    assert!(gateway.executed().is_empty(), "what was refused ran nowhere");
    wait::holds_for("there is one connection", Duration::from_secs(2), || gateway.record().ready == 1);
}

#[test]
fn the_node_that_takes_over_has_the_others_hold_their_gateways_for_it() {
    let Some(server) = Server::start() else { return };
    let (first, second) = (gateway(), gateway());
    let mut a = node(&server, "a").start();
    let b = next_to(&a, node(&server, "b")).start();
    let c = next_to(&a, node(&server, "c")).start();
    until_it_passes_on(&b);
    until_it_passes_on(&c);
    let on_b = register_on(&a, "on-b", &first, "b");
    let on_c = register_on(&a, "on-c", &second, "c");
    until_shown("b holds it", &a, on_b, is_online_at(Some("b")));
    until_shown("c holds it", &a, on_c, is_online_at(Some("c")));
    let spawned = spawn(&a, on_b, "before");
    a.kill();
    wait::until("another one acts", PATIENCE, || b.is_ready() || c.is_ready());
    let (acting, on_other, other, on_own) = if b.is_ready() { (&b, on_c, "c", on_b) } else { (&c, on_b, "b", on_c) };
    until_shown("its own is its own", acting, on_own, is_online_at(None));
    until_shown("the other one holds its own for it", acting, on_other, is_online_at(Some(other)));
    assert_eq!(until_ended(acting, &spawned)["status"], "completed", "its gateway was asked");
    assert_eq!(until_ended(acting, &spawn(acting, on_other, "after"))["status"], "completed");
    let ran = first.executed().values().chain(second.executed().values()).copied().collect::<Vec<_>>();
    assert!(ran.iter().all(|times| *times == 1), "each once: {ran:?}");
}

/// Addresses that any node reaches, with the same ports each time. What is at a loopback address is held by the node that acts.
#[test]
fn gateways_are_shared_out_by_their_addresses_and_anew_when_a_node_comes_or_goes() {
    const TEST: &str =
        "postgres_placement::gateways_are_shared_out_by_their_addresses_and_anew_when_a_node_comes_or_goes";
    if !own_network::is_inside(TEST) {
        return;
    }
    let Some(server) = Server::start() else { return };
    let a = node(&server, "a").start();
    let mut b = next_to(&a, node(&server, "b")).start();
    until_it_passes_on(&b);
    wait::until("b is a node that carries", PATIENCE, || held(&a).len() == 2);
    let gateways: Vec<_> = (0..12).map(|_| gateway()).collect();
    let register = |(index, gateway): (usize, &ScriptedGateway)| {
        let name = format!("gateway-{index}");
        a.register_with(&json!({"name": name, "host": "10.9.8.7", "port": gateway.port(), "token": "tok-secret"}))
    };
    let ids: Vec<i64> = gateways.iter().enumerate().map(register).collect();
    // By who holds them; none while one is not online.
    let shares = || -> Option<[usize; 3]> {
        let mut shares = [0; 3];
        for id in &ids {
            let shown = a.gateway(*id);
            let place = ["a", "b", "c"].iter().position(|name| *name == shown["held_by"].as_str().unwrap_or("a"));
            shares[place?] += usize::from(shown["status"] == "online");
        }
        (shares.iter().sum::<usize>() == ids.len()).then_some(shares)
    };
    let until_shared = |what: &str, is_right: fn([usize; 3]) -> bool| {
        wait::until_ok(what, PATIENCE, || {
            let now = shares();
            if now.is_some_and(is_right) { Ok(()) } else { Err(format!("{now:?}")) }
        });
    };
    let spawn_at_each = || {
        let spawned: Vec<Value> = ids.iter().map(|id| spawn(&a, *id, "a task")).collect();
        assert!(spawned.iter().all(|spawned| until_ended(&a, spawned)["status"] == "completed"));
    };
    until_shared("both hold some", |[a, b, c]| a > 0 && b > 0 && c == 0);
    spawn_at_each();
    let _c = next_to(&a, node(&server, "c")).start();
    wait::until("c is a node that carries", PATIENCE, || held(&a).len() == 3);
    until_shared("all three hold some", |shares| !shares.contains(&0));
    spawn_at_each();
    b.kill();
    until_shared("the two others hold all", |[a, b, c]| a > 0 && b == 0 && c > 0);
    spawn_at_each();
    for gateway in &gateways {
        let executed = gateway.executed();
        assert!(executed.len() == 3 && executed.values().all(|times| *times == 1), "each ran once: {executed:?}");
    }
}
