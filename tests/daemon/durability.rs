//! What was acknowledged survives `kill -9`, and so do the device identity and device tokens.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::json;

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::http;
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::wait;

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
