//! Nodes whose wall clocks jump, each its own, while the server's keeps time: no role moves for that, and a takeover loses nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::postgres_nodes::{began, code, node, spawn, until_ready};
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::postgres_server::{Server, next_to};
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::wait;
use crate::support::wall_clock::WallClock;

const DAYS: i64 = 40;
/// Longer than a node without a beat lives.
const LONGER_THAN_A_BEAT: Duration = Duration::from_secs(8);

/// Three nodes, of which the first acts, each with a clock of its own.
fn three(server: &Server) -> Option<([WallClock; 3], [Daemon; 3])> {
    let clocks = [WallClock::new()?, WallClock::new()?, WallClock::new()?];
    let setup = |at: usize, name: &str| clocks[at].of(node(server, name));
    let a = setup(0, "a").start();
    let others = [next_to(&a, setup(1, "b")).start(), next_to(&a, setup(2, "c")).start()];
    let [b, c] = others;
    Some((clocks, [a, b, c]))
}

/// Nobody but this node acts, for so long that another one would have taken over.
fn keeps_the_role(nodes: &[Daemon; 3], acting: usize, epoch: i64) {
    wait::holds_for("the role stays", LONGER_THAN_A_BEAT, || {
        nodes.iter().enumerate().all(|(at, node)| {
            // Each shows all of them, whichever acts.
            let shown = node.try_call(Some(ADMIN_KEY), "GET", "/api/cluster", None).expect("an answer");
            let roles = shown.json()["nodes"].as_array().cloned().unwrap_or_default();
            let acts = roles.iter().filter(|one| one["role"] == "acting").map(|one| one["name"].clone());
            let ready = code(&node.get("/ready"));
            shown.json()["epoch"] == epoch
                && acts.collect::<Vec<_>>() == [json!(["a", "b", "c"][acting])]
                && ready == if at == acting { "" } else { "standby" }
        })
    });
}

#[test]
fn the_role_stays_whichever_clock_jumps_and_a_takeover_by_a_wrong_clock_deletes_and_repeats_nothing() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
    let Some((clocks, mut nodes)) = three(&server) else { return };
    let lab = nodes[0].register("lab", gateway.port(), "right");
    nodes[0].until_status(lab, "online");
    let first = spawn(&nodes[0], lab, "first").expect("an answer").expect(202).json();

    // The one that acts, and then one that stands by.
    let mut tasks = 1;
    for (moved, days) in [(0, DAYS), (0, 0), (0, -DAYS), (0, 0), (1, DAYS), (1, 0), (2, -DAYS)] {
        clocks[moved].set_days_ahead(days);
        keeps_the_role(&nodes, 0, 1);
        assert_eq!(nodes[0].gateway(lab)["status"], "online");
        spawn(&nodes[0], lab, &format!("task-{tasks}")).expect("an answer").expect(202);
        tasks += 1;
        wait::until("it runs", PATIENCE, || began(&gateway) == tasks);
    }
    assert_eq!(gateway.record().attempts.len(), 1);

    // Of two that stand by one is behind, and the other is ahead when it takes over.
    clocks[1].set_days_ahead(DAYS);
    let mut acting = 0;
    for epoch in [2, 3] {
        let (dead, recorded) = (acting, server.ask("SELECT count(*) FROM idempotency_keys"));
        let since = wait::Stopwatch::start();
        nodes[dead].kill();
        acting = wait::until_ok("another node acts", PATIENCE, || {
            let acts = |at: &usize| *at != dead && nodes[*at].is_ready();
            (0..3).find(acts).ok_or_else(|| server.ask("SELECT name, state FROM cluster_nodes"))
        });
        println!("node {acting} acts {:?} after node {dead} was killed", since.elapsed());
        nodes[acting].until_status(lab, "online");
        let again = spawn(&nodes[acting], lab, "first").expect("an answer").json();
        assert_eq!((&again["spawnId"], &again["replayed"]), (&first["spawnId"], &json!(true)), "{again}");
        assert_eq!(nodes[acting].get("/api/cluster").expect(200).json()["epoch"], epoch);
        assert_eq!(server.ask("SELECT count(*) FROM idempotency_keys"), recorded);
        nodes[acting].until_logged(&["the wall clock jumped"]);
        // It comes back with the clock that it had.
        nodes[dead] = nodes[dead].setup().clone().start();
        assert_eq!(code(&nodes[dead].get("/ready")), "standby");
    }
    assert_eq!(began(&gateway), tasks);
}

/// The same on a machine that was booted a hundred days ago: its boot and its uptime are its own. None where only root could make it so.
fn on_another_machine(setup: Setup) -> Option<Setup> {
    const MACHINE: [&str; 6] = ["--mount", "--time", "--boottime", "8640000", "--fork", "--kill-child"];
    let boot = setup.state().join("boot_id");
    fs::write(&boot, "11111111-2222-4333-8444-555555555555\n").expect("written");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let boot = text(&boot);
    let tried = Command::new("unshare").args(MACHINE).args(["sh", "-c", script, &boot, "true"]).output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        assert!(std::env::var_os("NEEDS_NETWORKS").is_none(), "no namespaces here: {tried:?}");
        eprintln!("SKIPPED: no namespaces of time here (unshare, mount)");
        return None;
    }
    let state = text(setup.state());
    let daemon = [env!("CARGO_BIN_EXE_gatewarden"), "serve", "--listen", "127.0.0.1:0", "--state-dir", &state];
    let args = [&MACHINE[..], &["sh", "-c", script, &boot], &daemon].concat();
    Some(setup.binary(Path::new("unshare")).only_args(&args))
}

#[test]
fn a_node_on_another_machine_does_not_take_its_own_uptime_for_time_that_passed() {
    let Some(server) = Server::start() else { return };
    let Some(clock) = WallClock::new() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
    let mut a = node(&server, "a").start();
    let Some(setup) = on_another_machine(next_to(&a, clock.of(node(&server, "b")))) else { return };
    let b = setup.start();
    let lab = a.register("lab", gateway.port(), "right");
    a.until_status(lab, "online");
    let first = spawn(&a, lab, "first").expect("an answer").expect(202).json();
    wait::until("it runs", PATIENCE, || began(&gateway) == 1);
    clock.set_days_ahead(DAYS);
    a.kill();
    until_ready(&b);
    b.until_status(lab, "online");
    let again = spawn(&b, lab, "first").expect("an answer").json();
    assert_eq!((&again["spawnId"], &again["replayed"]), (&first["spawnId"], &json!(true)), "{again}");
    assert_eq!(began(&gateway), 1);
    let jumped = wait::until_ok("the jump is said", PATIENCE, || {
        let audit = b.get("/api/audit").expect(200).json();
        let entries = audit["audit"].as_array().into_iter().flatten();
        let jump = entries
            .filter(|entry| entry["action"] == "clock.jump")
            .find_map(|entry| entry["details"]["seconds"].as_i64());
        jump.ok_or_else(|| audit.to_string())
    });
    assert!((DAYS * 86_400..(DAYS + 1) * 86_400).contains(&jumped), "{jumped}");
}
