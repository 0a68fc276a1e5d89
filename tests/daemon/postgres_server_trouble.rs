//! A cluster whose database server has no connection or no space left: each has its sentence, and afterwards everything goes on, with
//! nothing lost and nobody else acting.

use serde_json::json;

use crate::postgres_nodes::{began, code, node, spawn};
use crate::support::daemon::{ADMIN_KEY, PATIENCE};
use crate::support::postgres_server::{Server, next_to};
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::wait;

#[test]
fn a_server_whose_connections_are_taken_refuses_newcomers_in_words_and_lets_a_node_take_over_once_there_are_some() {
    // 4 for the node that acts, 1 for the other one, 3 for us; the nodes' role is a superuser, for whom none is kept.
    let Some(server) = Server::start_with(&["max_connections=8", "superuser_reserved_connections=0"], false) else {
        return;
    };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
    let mut a = node(&server, "a").start();
    let mut b = next_to(&a, node(&server, "b")).start();
    let lab = a.register("lab", gateway.port(), "tok-secret");
    a.until_status(lab, "online");
    spawn(&a, lab, "before").expect("an answer").expect(202);
    let take_places =
        || std::iter::from_fn(|| server.try_to_hold("SELECT 1 AS place FROM pg_stat_activity WHERE false"));
    let mut held: Vec<_> = take_places().collect();

    // Who has its sessions works on.
    spawn(&a, lab, "meanwhile").expect("an answer").expect(202);
    let newcomer = next_to(&a, node(&server, "c")).run();
    assert_eq!(newcomer.code, Some(1), "{}", newcomer.stderr);
    assert!(newcomer.stderr.contains("max_connections"), "{}", newcomer.stderr);

    // The one that takes over takes the places of the one that is gone; and if somebody else was quicker, it waits.
    a.kill();
    held.extend(take_places());
    drop(held);
    wait::until("it acts, perhaps after its service manager has started it again", PATIENCE, || {
        if !b.runs()
            && let Ok(again) = b.setup().try_to_start()
        {
            b = again;
        }
        b.is_ready()
    });
    b.until_status(lab, "online");
    for task in ["before", "meanwhile"] {
        let again = spawn(&b, lab, task).expect("an answer").expect(202).json();
        assert_eq!(again["replayed"], true, "{again}");
    }
    assert_eq!(began(&gateway), 2);
}

#[test]
fn a_server_without_space_refuses_spawns_in_words_moves_nothing_and_takes_them_again_once_there_is_some() {
    let Some(server) = Server::start_with(&["min_wal_size=32MB", "max_wal_size=48MB"], true) else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
    let a = node(&server, "a").start();
    let b = next_to(&a, node(&server, "b")).start();
    let lab = a.register("lab", gateway.port(), "tok-secret");
    a.until_status(lab, "online");
    server.fill_disk();
    // What there is room for in the tables is still taken.
    let (mut taken, mut number) = (0, 0);
    let refused = wait::until_ok("a spawn finds no room", PATIENCE, || {
        number += 1;
        let body = json!({"task": format!("{number}-{}", "x".repeat(20_000)), "gateway_id": lab});
        let answer = a.try_call(Some(ADMIN_KEY), "POST", "/api/spawn", Some(&body)).expect("an answer");
        match answer.status {
            202 => {
                taken += 1;
                Err(format!("{taken} were taken"))
            }
            _ => Ok(answer),
        }
    });
    assert_eq!((refused.status, code(&refused).as_str()), (503, "store_unavailable"), "{}", refused.text);
    assert!(refused.text.contains("the database server has no space left"), "{}", refused.text);
    assert_eq!(a.gateway(lab)["status"], "online");
    assert_eq!(code(&b.get("/ready")), "standby");

    server.clear_disk();
    wait::until("spawns are taken again", PATIENCE, || {
        spawn(&a, lab, "afterwards").is_ok_and(|answer| answer.status == 202)
    });
    taken += 1;
    wait::until_ok("each that was taken has ended well, and no other ran", PATIENCE, || {
        let states = server.ask("SELECT count(*) || ' ' || state FROM spawns GROUP BY state ORDER BY state");
        if states == format!("{taken} completed") && began(&gateway) == taken { Ok(()) } else { Err(states) }
    });
    let nodes = a.get("/api/cluster").expect(200).json();
    assert_eq!(nodes["epoch"], json!(1), "{nodes}");
}
