//! Ten thousand live gateways whose connections three nodes of a cluster hold, a third each: what that costs each node, and how soon
//! all goes on after the node that acts was killed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::Rest;
use crate::crowd::{EACH, PATIENCE, RECORDS, until_online};
use crate::measured::{load_average, mebibytes, processor_time, setup};
use crate::stored::register;
use crate::support::daemon::{ADMIN_KEY, Daemon};
use crate::support::postgres_server::{Server, next_to};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait::{self, Stopwatch};

const NAMES: [&str; 3] = ["a", "b", "c"];

pub(crate) fn nodes() {
    let Some(server) = Server::start() else { return };
    let mut nodes: Vec<Daemon> = Vec::new();
    for name in NAMES {
        let setup = setup().env("GATEWARDEN_STORE__URL", &server.url());
        let setup = setup.env("GATEWARDEN_NODE__NAME", name).env("GATEWARDEN_NODE__MESH_LISTEN", "127.0.0.1:0");
        let setup = match nodes.first() {
            Some(first) => next_to(first, setup),
            None => setup,
        };
        nodes.push(setup.start());
    }
    wait::until("each passes requests on", PATIENCE, || nodes.iter().all(|node| status(node).is_some()));

    let gateways: Vec<_> = (0..RECORDS / EACH).map(|_| ScriptedGateway::of(Form::Protocol4, "right")).collect();
    let watch = Stopwatch::start();
    // On one machine every address is that of the node that acts, but where a node is named.
    register(
        &nodes[0],
        RECORDS,
        |index| json!({"host": "127.0.0.1", "port": gateways[index / EACH].port(), "node": NAMES[index % NAMES.len()]}),
    );
    let mut rest = Rest::connect(nodes[0].address());
    until_online(&mut rest, RECORDS, |_, _| {});
    println!("nodes: {RECORDS} gateways online {:.1} s after the first was registered", watch.elapsed().as_secs_f64());
    let used = || -> Vec<f64> { nodes.iter().map(|node| processor_time(node.pid())).collect() };
    let (before, watch) = (used(), Stopwatch::start());
    wait::holds_for("a minute at rest", Duration::from_secs(60), || true);
    for ((name, node), (before, after)) in NAMES.iter().zip(&nodes).zip(before.iter().zip(used())) {
        println!(
            "nodes: a minute at rest, {name}: {:.1} MiB resident, {:.1} % of one core; load {}",
            mebibytes(node.memory()),
            100.0 * (after - before) / watch.elapsed().as_secs_f64(),
            load_average()
        );
    }

    let watch = Stopwatch::start();
    nodes[0].kill();
    wait::until("another node acts", PATIENCE, || status(&nodes[1]).is_some());
    let acts = watch.elapsed().as_secs_f64();
    let has_primary = |status: Value| !status["acting_primary"].is_null();
    wait::until("there is an acting primary", PATIENCE, || status(&nodes[1]).is_some_and(has_primary));
    let primary = watch.elapsed().as_secs_f64();
    let left = (0..RECORDS).filter(|index| index % NAMES.len() != 0).count();
    until_online(&mut Rest::connect(nodes[1].address()), left, |_, _| {});
    println!(
        "nodes: the node that acts killed: another acts after {acts:.1} s, has a primary after {primary:.1} s, and all {left} gateways \
         of the two after {:.1} s; load {}",
        watch.elapsed().as_secs_f64(),
        load_average()
    );
}

/// What the node that acts says of the fleet, whichever node is asked.
fn status(node: &Daemon) -> Option<Value> {
    let answer = node.try_call(Some(ADMIN_KEY), "GET", "/api/status", None).ok()?;
    (answer.status == 200).then(|| answer.json())
}
