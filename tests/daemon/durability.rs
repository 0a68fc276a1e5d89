//! What was acknowledged survives `kill -9`, and so do the device identity and device tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::http;
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::wait;

/// Rounds of writing and killing; the reliability goal of 100 is reached by running the test five times.
const ROUNDS: u64 = 20;
/// Concurrent writers.
const WRITERS: usize = 4;

#[derive(QueryableByName)]
struct Integrity {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

fn integrity(setup: &Setup) -> String {
    let mut connection = SqliteConnection::establish(&setup.database().to_string_lossy()).expect("the database opens");
    let rows: Vec<Integrity> = diesel::sql_query("PRAGMA integrity_check").load(&mut connection).expect("it answers");
    rows.into_iter().map(|row| row.integrity_check).collect()
}

/// What one writer knows of its own gateways: name to priority, as acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    rows: BTreeMap<String, i64>,
    ids: BTreeMap<String, i64>,
    /// The operation that was under way when the daemon died: its gateway may or may not show it.
    uncertain: Option<String>,
}

fn write_until_death(
    address: std::net::SocketAddr,
    writer: usize,
    round: u64,
    known: &mut Acknowledged,
    started: &AtomicBool,
) {
    let key = [("X-API-Key", crate::support::daemon::ADMIN_KEY), ("Content-Type", "application/json")];
    let send = |method: &str, body: Value| {
        http::request(address, method, "/api/gateways", &key, Some(body.to_string().as_bytes()))
    };
    for step in 0.. {
        let name = format!("w{writer}-r{round}-s{step}");
        known.uncertain = Some(name.clone());
        let Ok(answer) = send("POST", json!({"name": name, "host": "127.0.0.1", "port": 1, "token": "tok"})) else {
            return;
        };
        let id = answer.expect(201).json()["gateway"]["id"].as_i64().expect("an id");
        known.rows.insert(name.clone(), 0);
        known.ids.insert(name.clone(), id);
        started.store(true, Ordering::SeqCst);
        let Ok(answer) = send("PUT", json!({"id": id, "priority": step + 1})) else { return };
        answer.expect(200);
        known.rows.insert(name, step + 1);
        // the fleet stays small: each writer removes its older ones
        if known.rows.len() > 6 {
            let oldest = known.ids.iter().min_by_key(|(_, id)| **id).map(|(name, id)| (name.clone(), *id));
            let (oldest, id) = oldest.expect("there is one");
            known.uncertain = Some(oldest.clone());
            let Ok(answer) = send("DELETE", json!({"id": id})) else { return };
            assert_eq!(answer.expect(200).json()["deleted"], true);
            known.rows.remove(&oldest);
            known.ids.remove(&oldest);
        }
        known.uncertain = None;
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_daemon_is_killed_under_concurrent_writers() {
    let setup = Setup::new().env("GATEWARDEN_GATEWAY__BACKOFF", "60s").env("GATEWARDEN_LOG__LEVEL", "warn");
    let mut daemon = setup.start();
    let identity = daemon.get("/api/identity").expect(200).json();
    let mut known: Vec<Acknowledged> = (0..WRITERS).map(|_| Acknowledged::default()).collect();
    for round in 0..ROUNDS {
        let address = daemon.address();
        std::thread::scope(|scope| {
            let started: Vec<Arc<AtomicBool>> = (0..WRITERS).map(|_| Arc::default()).collect();
            for (writer, known) in known.iter_mut().enumerate() {
                let started = Arc::clone(&started[writer]);
                scope.spawn(move || write_until_death(address, writer, round, known, &started));
            }
            wait::until("every writer has an acknowledgement", PATIENCE, || {
                started.iter().all(|one| one.load(Ordering::SeqCst))
            });
            // different moments in the life of the writes: 0 to 95 ms after the first acknowledgements
            wait::holds_for("a moment of writing", Duration::from_millis(round * 37 % 96), || true);
            daemon.kill();
        });
        assert_eq!(integrity(&setup), "ok", "round {round}");
        daemon = setup.start();
        let listed: BTreeMap<String, (i64, i64)> = daemon
            .gateways()
            .iter()
            .map(|one| {
                let number = |field: &str| one[field].as_i64().expect("a number");
                (one["name"].as_str().expect("a name").to_owned(), (number("priority"), number("id")))
            })
            .collect();
        for (writer, known) in known.iter_mut().enumerate() {
            let uncertain = known.uncertain.take();
            for (name, priority) in &known.rows {
                if uncertain.as_ref() == Some(name) {
                    continue;
                }
                assert_eq!(listed.get(name).map(|row| row.0), Some(*priority), "round {round}: {name} of {writer}");
            }
            // from here on the daemon's word counts for what was uncertain
            let own = format!("w{writer}-");
            known.rows = listed
                .iter()
                .filter(|(name, _)| name.starts_with(&own))
                .map(|(name, row)| (name.clone(), row.0))
                .collect();
            known.ids = listed
                .iter()
                .filter(|(name, _)| name.starts_with(&own))
                .map(|(name, row)| (name.clone(), row.1))
                .collect();
        }
        assert_eq!(daemon.get("/api/identity").expect(200).json(), identity, "round {round}");
    }
}

#[test]
fn a_gateway_and_the_identity_are_kept_when_the_daemon_dies_right_after_the_answer() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = Daemon::start();
    let id = daemon.register("kept", gateway.port(), "right");
    daemon.crash_and_restart();
    daemon.until_status(id, "online");
    assert_eq!(daemon.gateway(id)["token_set"], true);
    let attempts = gateway.record().attempts;
    let devices: std::collections::BTreeSet<_> = attempts.iter().filter_map(|one| one.device_id()).collect();
    assert_eq!(devices.len(), 1, "another device identity after the crash");
    assert!(attempts.iter().all(|one| one.accepted), "{attempts:?}");
}

#[derive(QueryableByName)]
struct State {
    #[diesel(sql_type = Text)]
    state: String,
}

#[test]
fn a_spawn_that_is_not_yet_written_down_as_sent_is_never_sent_again() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
    let setup = Setup::new().env("GATEWARDEN_ROUTING__LOST_AFTER", "2s");
    let mut daemon = setup.start();
    let id = daemon.register("lives", gateway.port(), "right");
    let mut was_recorded_only = false;
    for round in 1..=20 {
        daemon.until_status(id, "online");
        let address = daemon.address();
        let key = format!("k-{round}");
        let body = json!({"task": format!("job {round}"), "gateway_id": id}).to_string();
        let send = move |to| {
            let headers = [
                ("X-API-Key", crate::support::daemon::ADMIN_KEY),
                ("Content-Type", "application/json"),
                ("Idempotency-Key", &key),
            ];
            http::request(to, "POST", "/api/spawn", &headers, Some(body.as_bytes()))
        };
        std::thread::scope(|scope| {
            scope.spawn(|| send(address));
            let watch = wait::Stopwatch::start();
            while gateway.executed().len() < round && watch.elapsed() < PATIENCE {
                std::hint::spin_loop();
            }
            daemon.kill();
        });
        let mut database = SqliteConnection::establish(&setup.database().to_string_lossy()).expect("it opens");
        let query = "SELECT state FROM spawns ORDER BY id DESC LIMIT 1";
        let rows: Vec<State> = diesel::sql_query(query).load(&mut database).expect("rows");
        was_recorded_only |= rows[0].state == "recorded";
        drop(database);
        daemon = setup.start();
        wait::until_ok("it has ended, and was run once", PATIENCE, || {
            let again = send(daemon.address()).map_err(|error| error.to_string())?.json();
            let runs = gateway.executed();
            assert!(runs.values().all(|times| *times == 1) && runs.len() == round, "run twice: {runs:?}");
            let ended = ["completed", "lost", "failed"].iter().any(|state| again["status"] == *state);
            if ended && again["replayed"] == true { Ok(()) } else { Err(again.to_string()) }
        });
        if was_recorded_only {
            return;
        }
    }
    panic!("the daemon never died before it had written that the spawn was sent");
}

#[test]
fn a_device_token_is_kept_and_used_where_no_shared_token_is_set() {
    let gateway =
        ScriptedGateway::start(Behaviour { issues_device_tokens: true, ..Behaviour::of(Form::Protocol4, "right") });
    let mut daemon = Daemon::start();
    let id = daemon.register("paired", gateway.port(), "right");
    daemon.until_status(id, "online");
    let issued = gateway.issued();
    assert_eq!(issued.len(), 1);
    // without the shared token the device token is all there is
    daemon.update(&json!({"id": id, "token": ""})).expect(200);
    let used = |gateway: &ScriptedGateway| {
        gateway.record().attempts.last().is_some_and(|one| one.accepted && one.token() == Some(issued[0].1.as_str()))
    };
    wait::until("the device token is used", PATIENCE, || used(&gateway));
    daemon.until_status(id, "online");
    gateway.forget();
    daemon.crash_and_restart();
    daemon.until_status(id, "online");
    assert!(used(&gateway), "the device token was not kept: {:?}", gateway.record().attempts);
    assert_eq!(gateway.issued(), issued, "a second pairing");
}

#[test]
fn a_device_token_that_the_gateway_no_longer_takes_is_forgotten_after_one_try() {
    let gateway =
        ScriptedGateway::start(Behaviour { issues_device_tokens: true, ..Behaviour::of(Form::Protocol4, "right") });
    let daemon = Daemon::start();
    let id = daemon.register("paired", gateway.port(), "right");
    daemon.until_status(id, "online");
    daemon.update(&json!({"id": id, "token": ""})).expect(200);
    daemon.until_status(id, "online");
    // The second list of agents is asked for on the second connection, once that is up.
    wait::until("the device token is used", PATIENCE, || {
        gateway.record().accepted() >= 2 && gateway.record().asked("agents.list") >= 2
    });
    let token = gateway.issued()[0].1.clone();
    gateway.revoke_device_tokens();
    gateway.forget();
    gateway.reset();
    daemon.until(id, "it is refused", PATIENCE, |shown| shown["status"] == "degraded");
    wait::until("it has tried without", PATIENCE, || gateway.record().attempts.len() >= 2);
    let with_token = gateway.record().attempts.iter().filter(|one| one.token() == Some(token.as_str())).count();
    assert_eq!(with_token, 1, "the dead token was tried again: {:?}", gateway.record().attempts);
    assert!(gateway.record().most_refusals_within(Duration::from_secs(60)) <= 5);
}
