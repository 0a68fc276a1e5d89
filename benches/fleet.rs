//! Figures of the whole daemon. Run by hand: `cargo bench --bench fleet`, or `cargo bench --bench fleet -- start memory` for some:
//!
//! - `requests`: the list of ten gateways, requests a second against a bare handler
//! - `list`: the same list unchanged, with 10,000 gateways against 10
//! - `sweep`: the health of 100 gateways, half of them black-holed
//! - `history`, `spawn`: what the way through the daemon costs; by `.ci/postgres` a spawn also on PostgreSQL
//! - `burst`: spawns of 64 clients at once, against commits
//! - `failover`: the next spawn after the acting primary's connection was lost
//! - `fan_out`: events to 1,000 and 10,000 clients, against a bare loop
//! - `crowd`: ten thousand live gateways
//! - `nodes`: the same, held by three nodes of a cluster; by `.ci/postgres`
//! - `memory`: 10 and 1,000 gateways
//! - `start`: 1,000 live gateways; 1,000 and 10,000 of which nothing is heard
//!
//! Prints figures and ratios; judges nothing.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is run by hand, says what it finds and may end at the first surprise"
)]

#[path = "fleet/burst.rs"]
mod burst;
#[path = "fleet/clients.rs"]
mod clients;
#[path = "fleet/crowd.rs"]
mod crowd;
#[path = "fleet/failover.rs"]
mod failover;
#[path = "fleet/fan_out.rs"]
mod fan_out;
#[path = "fleet/load.rs"]
mod load;
#[path = "fleet/measured.rs"]
mod measured;
#[path = "fleet/nodes.rs"]
mod nodes;
#[path = "fleet/requests.rs"]
mod requests;
#[path = "fleet/round_trips.rs"]
mod round_trips;
#[path = "fleet/stored.rs"]
mod stored;

#[path = "../tests/daemon/support"]
mod support {
    #![expect(
        dead_code,
        unused_imports,
        reason = "the partners are shared with the black-box tests, which use all of them"
    )]
    pub(crate) mod background;
    pub(crate) mod daemon;
    pub(crate) mod http;
    pub(crate) mod ports;
    pub(crate) mod postgres_server;
    pub(crate) mod scripted_gateway;
    pub(crate) mod wait;
}

use std::time::Duration;

use measured::{mebibytes, setup};
use serde_json::json;
use support::daemon::Daemon;
use support::scripted_gateway::{Behaviour, Fault, Form, ScriptedGateway, Step};
use support::wait::{self, Stopwatch};

fn main() {
    measured::with_many_files();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if runs("requests") {
        requests::requests();
    }
    if runs("list") {
        stored::list();
    }
    if runs("sweep") {
        sweep();
    }
    if runs("history") {
        round_trips::history();
    }
    if runs("spawn") {
        round_trips::spawn();
    }
    if runs("burst") {
        burst::burst();
    }
    if runs("failover") {
        failover::failover();
    }
    if runs("fan_out") {
        fan_out::fan_out();
    }
    if runs("crowd") {
        crowd::crowd();
    }
    if runs("nodes") {
        nodes::nodes();
    }
    if runs("memory") {
        memory(10);
    }
    if runs("memory") || runs("start") {
        memory(1_000);
    }
    if runs("start") {
        stored::start();
    }
}

fn fleet(daemon: &Daemon, count: usize) -> Vec<ScriptedGateway> {
    let gateways: Vec<_> = (0..count).map(|_| ScriptedGateway::of(Form::Protocol4, "right")).collect();
    for (index, gateway) in gateways.iter().enumerate() {
        daemon.register(&format!("gateway-{index:04}"), gateway.port(), "right");
    }
    until_ready(&gateways);
    gateways
}

fn until_ready(gateways: &[ScriptedGateway]) {
    wait::until_ok("every gateway is connected", Duration::from_secs(180), || {
        let ready = gateways.iter().filter(|one| one.record().ready > 0).count();
        if ready == gateways.len() { Ok(()) } else { Err(format!("{ready} of {} are", gateways.len())) }
    });
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn memory(count: usize) {
    let setup = setup();
    let mut daemon = setup.start();
    let empty = daemon.memory();
    let gateways = fleet(&daemon, count);
    wait::holds_for("a minute of living together", Duration::from_secs(60), || true);
    let full = daemon.memory();
    println!(
        "memory: {count} live gateways after 1 min: {:.1} MiB resident, {:.1} MiB before them, {:.1} KiB a gateway",
        mebibytes(full),
        mebibytes(empty),
        full.saturating_sub(empty) as f64 / 1024.0 / count as f64
    );
    if count < 1_000 {
        return;
    }
    daemon.stop();
    stored::report(count, "that live", &setup);
    let _daemon = setup.start();
    let watch = Stopwatch::start();
    until_ready(&gateways);
    println!("start: all {count} connected again {:.1} s after that", watch.elapsed().as_secs_f64());
}

fn sweep() {
    let daemon = setup().start();
    let hole = Behaviour::of(Form::Protocol4, "right").fails(Step::Accept, Fault::Silence);
    let gateways = fleet(&daemon, 50);
    let holes: Vec<_> = (0..50).map(|_| ScriptedGateway::start(hole.clone())).collect();
    for (index, gateway) in holes.iter().enumerate() {
        daemon.register(&format!("hole-{index}"), gateway.port(), "");
    }
    for _ in 0..3 {
        let watch = Stopwatch::start();
        daemon.post("/api/gateways/health", &json!({})).expect(200);
        let took = watch.elapsed().as_secs_f64();
        println!(
            "sweep: {} live, {} black-holed: {took:.2} s, {:.2} x one probe's timeout",
            gateways.len(),
            holes.len(),
            took / 5.0
        );
    }
}
