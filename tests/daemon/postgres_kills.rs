//! `kill -9` in the middle of a change of the key and of a migration on PostgreSQL: afterwards all is as it was before, or all is as it
//! is to be.

use std::fs;

use serde_json::{Value, json};

use crate::postgres_moves::contents;
use crate::support::daemon::{Daemon, Ended, PATIENCE, Setup};
use crate::support::dice::Dice;
use crate::support::postgres_server::Server;
use crate::support::wait;

/// Where a trigger lets a session sleep in the midst of its transaction.
const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

fn rekey(setup: &Setup) -> Setup {
    let state = setup.state().display().to_string();
    setup.clone().only_args(&["rekey", "--json", "--state-dir", &state])
}

/// Every value is sealed with the key that counts: a change of keys finds none that doesn't open.
fn all_opens(setup: &Setup, count: usize) {
    let ended: Ended = rekey(setup).run();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&said["rekeyed"]["count"], &said["rekeyed"]["unreadable"]), (&json!(count), &json!([])), "{said}");
}

/// Ends the sessions of a command that is gone: those that sleep learn of it only later.
fn until_ended(server: &Server) {
    server.ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    let others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gatewarden'";
    wait::until("its sessions have ended", PATIENCE, || server.ask(others) == "0");
}

/// A daemon with two gateways; how many values are sealed then.
fn filled(setup: &Setup, server: &Server) -> (Daemon, usize) {
    let daemon = setup.start();
    daemon.register("lab", 1, "tok-secret");
    daemon.register_with(
        &json!({"name": "other", "host": "127.0.0.1", "port": 2, "token": "tok-two", "password": "pw-two"}),
    );
    let sealed = server.ask(
        "SELECT (SELECT count(*) FROM meta WHERE name IN ('canary', 'admin_key')) + (SELECT count(*) FROM identity) \
         + (SELECT count(token) + count(url_token) + count(password) FROM gateways)",
    );
    (daemon, sealed.parse().expect("a number"))
}

#[test]
fn a_change_of_the_key_that_is_killed_leaves_the_old_key_or_the_new_one_and_every_value_opens() {
    let Some(server) = Server::start() else { return };
    let setup = server.setup().env("GATEWARDEN_NODE__NAME", "a");
    let (mut daemon, sealed) = filled(&setup, &server);
    let before = contents(&daemon);
    daemon.stop();
    let key = setup.state().join("gatewarden.key");
    let old = fs::read(&key).expect("the key");

    // Within its transaction, when the first gateway is sealed anew: it is as if nothing had been.
    server.ask(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$; \
         CREATE TRIGGER dawdle AFTER UPDATE ON gateways FOR EACH ROW EXECUTE FUNCTION dawdle()",
    );
    let canary = "SELECT value FROM meta WHERE name = 'canary'";
    let sealed_before = server.ask(canary);
    let changing = rekey(&setup).spawn();
    wait::until("it is in the middle", PATIENCE, || server.ask(ASLEEP) != "0");
    drop(changing);
    until_ended(&server);
    server.ask("DROP TRIGGER dawdle ON gateways");
    assert_eq!((server.ask(canary), fs::read(&key).expect("the key")), (sealed_before, old.clone()));
    let mut daemon = setup.start();
    assert_eq!(contents(&daemon), before);
    daemon.stop();
    all_opens(&setup, sealed);
    assert_ne!(fs::read(&key).expect("the key"), old);

    // After it, while what is left of the old key is wiped out, which needs the tables for itself: the new key counts.
    let reader = server.holds("LOCK TABLE gateways IN ACCESS SHARE MODE");
    let sealed_before = server.ask(canary);
    let changing = rekey(&setup).spawn();
    wait::until("everything is sealed anew", PATIENCE, || server.ask(canary) != sealed_before);
    drop(changing);
    drop(reader);
    until_ended(&server);
    let mut daemon = setup.start();
    assert_eq!(contents(&daemon), before);
    daemon.stop();
    all_opens(&setup, sealed);

    // And at any time.
    let mut dice = Dice::cast_from(4_711);
    for round in 0..6 {
        let changing = rekey(&setup).spawn();
        let lasts = std::time::Duration::from_millis(dice.roll(900));
        wait::holds_for("it is under way", lasts, || true);
        drop(changing);
        until_ended(&server);
        all_opens(&setup, sealed);
        println!("round {round}: killed after {lasts:?}");
    }
    assert_eq!(contents(&setup.start()), before);
}

#[test]
fn a_migration_that_is_killed_is_made_whole_by_the_next_start_and_nothing_of_it_was_there_before() {
    let Some(server) = Server::start() else { return };
    let dawdle = |tag: &str| {
        server.ask(&format!(
            "CREATE OR REPLACE FUNCTION dawdle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); END $$; \
             CREATE EVENT TRIGGER dawdle ON ddl_command_end WHEN TAG IN ('{tag}') EXECUTE FUNCTION dawdle()"
        ));
    };
    let killed_in_the_middle = |setup: &Setup| {
        let starting = setup.spawn();
        wait::until("it is in the middle", PATIENCE, || server.ask(ASLEEP) != "0");
        drop(starting);
        until_ended(&server);
        server.ask("DROP EVENT TRIGGER dawdle");
    };
    let tables = "SELECT COALESCE(string_agg(tablename || ' ' || (SELECT count(*) FROM information_schema.columns c \
                  WHERE c.table_name = t.tablename), ',' ORDER BY tablename), '') FROM pg_tables t WHERE schemaname = 'public'";

    let setup = server.setup().env("GATEWARDEN_NODE__NAME", "a");
    dawdle("CREATE INDEX");
    killed_in_the_middle(&setup);
    assert_eq!(server.ask(tables), "", "a new database is still empty");
    let mut daemon = setup.start();
    daemon.register("lab", 1, "tok-secret");
    let before = contents(&daemon);
    daemon.stop();

    // As an older release left it: some migrations are to be made, and it is killed in the second.
    let now = server.ask(tables);
    server.ask(include_str!("../../migrations/postgres/2026-11-30-090000_add_gateway_node/down.sql"));
    server.ask(include_str!("../../migrations/postgres/2026-11-29-090000_add_failed_logins/down.sql"));
    server.ask(include_str!("../../migrations/postgres/2026-11-27-090000_create_cluster/down.sql"));
    server.ask(include_str!("../../migrations/postgres/2026-11-26-090000_add_hold_downs/down.sql"));
    server.ask("DELETE FROM __diesel_schema_migrations WHERE version > '20261125090000'");
    let older = server.ask(tables);
    assert_ne!(older, now);
    dawdle("CREATE TABLE");
    killed_in_the_middle(&setup);
    assert_eq!(server.ask(tables), older, "none of them was made");
    let daemon = setup.start();
    assert_eq!((server.ask(tables), contents(&daemon)), (now, before));
}
