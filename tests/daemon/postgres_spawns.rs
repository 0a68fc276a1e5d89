//! What becomes of spawns that a node of a cluster had in hand when the database was slow to commit, or when the node was stopped or
//! killed: one that was stopped in order loses none.

use std::time::Duration;

use serde_json::{Value, json};

use crate::postgres_mesh::until_it_passes_on;
use crate::postgres_nodes::{began, code, node, spawn, spawn_at, until_ready};
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::postgres_server::{Held, Server, next_to};
use crate::support::scripted_gateway::{Behaviour, Fate, Form, Memory, ScriptedGateway};
use crate::support::wait;

/// While the test has lock 7, each commit of a new spawn takes 5 s, longer than a node waits for its answer.
const SLOW_COMMITS: &str = "
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NOT pg_try_advisory_xact_lock_shared(7) THEN PERFORM pg_sleep(5); END IF; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON spawns DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()";
/// Commits that are under way.
const COMMITTING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

struct Scene {
    server: Server,
    gateway: ScriptedGateway,
    a: Daemon,
    b: Daemon,
    lab: i64,
}

impl Scene {
    /// Two nodes, of which `a` acts, and a gateway.
    fn start() -> Option<Self> {
        let server = Server::start()?;
        let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
        let patient = |setup: Setup| {
            setup.env("GATEWARDEN_ROUTING__LOST_AFTER", "5s").env("GATEWARDEN_NODE__MESH_LISTEN", "127.0.0.1:0")
        };
        let a = patient(node(&server, "a")).start();
        let b = next_to(&a, patient(node(&server, "b"))).start();
        let lab = a.register("lab", gateway.port(), "tok-secret");
        a.until_status(lab, "online");
        server.ask(SLOW_COMMITS);
        Some(Self { server, gateway, a, b, lab })
    }

    fn slow_commits(&self) -> Held {
        self.server.holds("DO $$ BEGIN PERFORM pg_advisory_xact_lock(7); END $$")
    }

    fn until_committing(&self) {
        wait::until("the spawn's record is being committed", PATIENCE, || self.server.ask(COMMITTING) != "0");
    }

    /// The only spawn, once it has ended: its state.
    fn ended(&self) -> String {
        wait::until_ok("it has ended", PATIENCE, || {
            match self.server.ask("SELECT state FROM spawns WHERE completed_at_ms IS NOT NULL") {
                state if state.is_empty() => Err(self.server.ask("SELECT * FROM spawns")),
                state => Ok(state),
            }
        })
    }
}

/// What a client is told who sends the same until it is answered by more than "not now".
fn until_settled(daemon: &Daemon, lab: i64, task: &str) -> (u16, Value) {
    wait::until_ok("it is answered", PATIENCE, || match spawn(daemon, lab, task) {
        Ok(answer) if answer.status == 202 || answer.json()["details"]["spawnId"].is_string() => {
            Ok((answer.status, answer.json()))
        }
        Ok(answer) => Err(answer.text),
        Err(error) => Err(error.to_string()),
    })
}

#[test]
fn a_spawn_whose_commit_is_not_answered_in_time_is_recorded_once_and_runs_once() {
    let Some(scene) = Scene::start() else { return };
    // Whoever asks through the other node is told the same.
    until_it_passes_on(&scene.b);
    let (slow, address) = (scene.slow_commits(), scene.b.address());
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| spawn_at(address, scene.lab, "doubted").expect("an answer"));
        scene.until_committing();
        drop(slow);
        first.join().expect("no panic")
    });
    scene.a.until_logged(&["nobody knows yet whether this is done", "record the spawn"]);
    assert_eq!(first.status, 202, "{}", first.text);
    let (status, again) = until_settled(&scene.a, scene.lab, "doubted");
    assert_eq!((status, &again["spawnId"]), (202, &first.json()["spawnId"]), "{again}");
    assert_eq!((scene.ended().as_str(), began(&scene.gateway)), ("completed", 1));
    assert_eq!(scene.server.ask("SELECT count(*) FROM spawns"), "1");
}

#[test]
fn a_spawn_that_is_being_recorded_when_its_node_is_told_to_stop_is_lost_nowhere() {
    let Some(mut scene) = Scene::start() else { return };
    let (slow, address, lab) = (scene.slow_commits(), scene.a.address(), scene.lab);
    std::thread::scope(|scope| {
        // Its answer may not come before the daemon's end: the next node has it.
        scope.spawn(move || spawn_at(address, lab, "late"));
        scene.until_committing();
        scene.a.stop();
    });
    drop(slow);
    until_ready(&scene.b);
    scene.b.until_status(lab, "online");
    // Written by the node that stopped: nobody has to ask what became of it.
    let left = scene.server.ask("SELECT state FROM spawns");
    let (status, said) = until_settled(&scene.b, lab, "late");
    match scene.ended().as_str() {
        "completed" => assert_eq!((status, began(&scene.gateway)), (202, 1), "{said}"),
        "failed" => assert_eq!((status, began(&scene.gateway)), (503, 0), "{said}"),
        // A stop has 10 s for everything; on a machine that stands still they may be too short.
        "lost" if scene.a.log().contains("took too long and is left behind") => {}
        other => panic!("it is {other}, and was left {left}: {}", scene.a.log()),
    }
}

#[test]
fn spawns_that_wait_to_be_recorded_when_their_node_is_told_to_stop_are_lost_nowhere() {
    let Some(mut scene) = Scene::start() else { return };
    let (address, lab) = (scene.a.address(), scene.lab);
    let dawdles = |server: &Server, seconds: &str| {
        server.ask(&format!(
            "CREATE OR REPLACE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$"
        ))
    };
    // One is being recorded and the others wait: recorded together, they would take longer than a stop.
    let tasks: Vec<String> = (0..28).map(|number| format!("waits-{number}")).collect();
    dawdles(&scene.server, "1");
    std::thread::scope(|scope| {
        for (number, task) in tasks.iter().enumerate() {
            scope.spawn(move || spawn_at(address, lab, task));
            if number == 0 {
                scene.until_committing();
            }
        }
        wait::until("all have come", PATIENCE, || {
            let metrics = scene.a.get("/metrics").expect(200).text;
            let open = metrics.lines().find_map(|line| line.strip_prefix("gatewarden_http_connections "));
            open.is_some_and(|open| open.parse::<usize>().is_ok_and(|open| open >= tasks.len()))
        });
        scene.a.stop();
    });
    dawdles(&scene.server, "0");
    until_ready(&scene.b);
    scene.b.until_status(lab, "online");
    for task in &tasks {
        until_settled(&scene.b, lab, task);
    }
    let ended = wait::until_ok("all have ended", PATIENCE, || {
        let states = scene.server.ask("SELECT state || ' ' || count(*) FROM spawns GROUP BY state");
        if ["recorded", "sent", "accepted", "running", "unknown"].iter().any(|open| states.contains(open)) {
            return Err(states);
        }
        Ok(states)
    });
    assert!(ended.contains("completed") && !ended.contains("lost"), "{ended}: {}", scene.a.log());
}

#[test]
fn a_spawn_that_its_gateway_is_slow_to_take_or_has_not_finished_when_its_node_stops_ends_as_it_ran() {
    let Some(mut scene) = Scene::start() else { return };
    let (address, lab) = (scene.a.address(), scene.lab);
    let task = |fate: &Fate| serde_json::to_string(fate).expect("plain");
    let long = task(&Fate { job: "long".into(), takes_ms: 8_000, ..Fate::default() });
    spawn_at(address, lab, &long).expect("an answer").expect(202);
    let slow = task(&Fate { job: "slow".into(), accept_after_ms: 7_000, ..Fate::default() });
    std::thread::scope(|scope| {
        scope.spawn(|| spawn_at(address, lab, &slow));
        let asked = || scene.gateway.record().requests.iter().filter(|(method, _)| method == "agent").count();
        wait::until("both have reached the gateway", PATIENCE, || asked() == 2);
        scene.a.stop();
    });
    until_ready(&scene.b);
    scene.b.until_status(lab, "online");
    for task in [&long, &slow] {
        let (status, said) = until_settled(&scene.b, lab, task);
        assert_eq!((status, &said["replayed"]), (202, &json!(true)), "{said}");
    }
    wait::until_ok("both have ended well", PATIENCE, || {
        let states = scene.server.ask("SELECT string_agg(state, ' ') FROM spawns");
        if states == "completed completed" { Ok(()) } else { Err(states) }
    });
    assert_eq!(began(&scene.gateway), 2);
}

#[test]
fn a_spawn_whose_node_is_killed_between_its_record_and_its_sending_never_runs_and_is_lost() {
    let Some(mut scene) = Scene::start() else { return };
    let (slow, address, lab) = (scene.slow_commits(), scene.a.address(), scene.lab);
    std::thread::scope(|scope| {
        let cut_off = scope.spawn(move || spawn_at(address, lab, "unsent"));
        scene.until_committing();
        scene.a.kill();
        assert!(cut_off.join().expect("no panic").is_err());
    });
    drop(slow);
    wait::until("the server commits it all the same", PATIENCE, || {
        !scene.server.ask("SELECT state FROM spawns").is_empty()
    });
    until_ready(&scene.b);
    let (status, said) = until_settled(&scene.b, lab, "unsent");
    assert_eq!((status, &said["status"]), (202, &json!("unknown")), "{said}");
    assert_eq!((scene.ended().as_str(), began(&scene.gateway)), ("lost", 0));
    assert_eq!(code(&spawn(&scene.b, lab, "unsent").expect("an answer")), "", "the answer stays");
    wait::holds_for("nobody sends it later", Duration::from_secs(1), || began(&scene.gateway) == 0);
}
