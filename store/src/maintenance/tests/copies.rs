use std::time::Duration;

use diesel::RunQueryDsl as _;
use gatewarden_core::gateway_record::DeviceToken;
use gatewarden_protocol::Secret;

use super::*;
use crate::database::Database;
use crate::error::StoreError;
use crate::maintenance::copy::{Copied, Wanted, copy};
use crate::tests::{new_schema, open, outside, server};

fn copied(from: &Database, to: &Database, key: SealingKey) -> Result<Copied, StoreError> {
    let wanted = Wanted { from, to, key, patience: Duration::from_secs(3) };
    std::thread::scope(|scope| scope.spawn(|| copy(wanted)).join().unwrap())
}

/// A row at least in every table, with what the two databases write differently.
async fn full() -> Stopped {
    let scratch = Scratch::in_file();
    for name in ["a", "b", "gone"] {
        scratch.store.create_gateway(new_gateway(name)).await.unwrap();
    }
    scratch.store.load_or_create_device_seed().await.unwrap();
    let token =
        DeviceToken { token: Secret::new("device"), role: "operator".to_owned(), scopes: Vec::new(), issued_at_ms: 1 };
    scratch.store.put_device_token("127.0.0.1:1".to_owned(), token).await.unwrap();
    scratch.store.record_spawn(crate::tests::new_spawn("x"), crate::tests::spawn_text(), None).await.unwrap();
    for query in [
        "DELETE FROM gateways WHERE name = 'gone'",
        "UPDATE gateways SET is_primary = 1, workspace_root = '/w\u{e4}ge \u{1f980}' WHERE name = 'b'",
        "INSERT INTO agents (name, role, gateway_id, source, is_gateway_main, created_at, updated_at) \
         VALUES ('scout', 'x', 1, 'sync', 1, 1, 2)",
        "INSERT INTO api_keys (name, role, sha256, prefix, created_at) VALUES ('k', 'viewer', 'ab', 'gw_', 1)",
        "INSERT INTO web_sessions VALUES ('cd', NULL, 'ef', 1, 2)",
        "INSERT INTO idempotency_keys SELECT 0, 'aa', 'bb', spawn_id, 5 FROM spawns",
        "INSERT INTO direct_connections (agent_id, tool_name, connection_id, status, last_heartbeat, created_at) \
         VALUES (1, 't', 'c', 'connected', 1, 1)",
        "INSERT INTO token_usage (at_ms, agent, model, input_tokens, output_tokens, cost, source) \
         VALUES (1, 'scout', 'm', 9007199254740993, 2, 0.1, 's'), (2, 'scout', 'm', 1, 2, NULL, 's'), (3, 'scout', 'm', 1, 2, 3, 's')",
        "INSERT INTO notification_episodes VALUES ('d', 'fleet', 'c', 'e', 1, 2, 3, '', 'n', 0)",
        "INSERT INTO notification_outbox (notification_id, destination, subject, condition, body, created_at_ms, next_attempt_ms) \
         VALUES ('n', 'd', 'fleet', 'c', '{}', 1, 2)",
        "INSERT INTO local_processes VALUES (1, 1, 5, 6, 'boot', 7)",
        "INSERT INTO failed_logins VALUES ('ws://h:1', 0, 5, 1), ('ws://h:1', 1, 6, 0)",
        "INSERT INTO audit_log (at_ms, actor_name, action, result, details) VALUES (1, 'a' || char(0) || 'b', 'x', 'ok', '{}')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) \
         INSERT INTO health_log (gateway_id, at_ms, status, latency_ms, thinned, samples) \
         SELECT 1, i, 'online', i / 7.0, i % 2, '[1.5]' FROM n",
    ] {
        scratch.execute(query).unwrap();
    }
    Stopped::of(scratch).await
}

/// Where a copy goes: to a server where there is one, else to another file.
fn elsewhere(dir: &Path) -> Database {
    server().map_or_else(|| Database::File(dir.join("copy.db")), |server| Database::Server(new_schema(&server)))
}

fn is_untouched(database: &Database) -> bool {
    match database {
        Database::File(path) => {
            let dir = std::fs::read_dir(path.parent().unwrap()).unwrap();
            !dir.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("copy.db"))
        }
        Database::Server(_) => outside(database, |connection| crate::database::tables(connection).unwrap().is_empty()),
    }
}

#[actix::test]
async fn every_row_goes_there_and_back_and_ids_of_deleted_rows_are_given_to_nobody() {
    let state = full().await;
    let (here, there, back) =
        (Database::File(state.database()), elsewhere(state.path()), Database::File(state.path().join("back.db")));
    let first = copied(&here, &there, state.key()).unwrap();
    assert!(first.tables.iter().all(|table| table.rows > 0), "{first:?}");
    assert_eq!(copied(&there, &back, state.key()).unwrap(), first);
    for database in [&there, &back] {
        let store = open(database, state.path(), |_| {}).unwrap();
        let gateways = store.load_gateways().await.unwrap();
        let tokens = gateways.iter().map(|gateway| gateway.token.as_ref().unwrap().expose().to_owned());
        assert_eq!(tokens.collect::<Vec<_>>(), ["token-of-a", "token-of-b"]);
        let next = store.create_gateway(new_gateway("next")).await.unwrap();
        assert!(next.record.id.0 > 3 && gateways.iter().all(|gateway| gateway.id.0 < 3), "{}", next.record.id.0);
        end(store).await;
    }
}

#[actix::test]
async fn each_fault_is_said_and_leaves_the_target_as_it_was() {
    let state = full().await;
    let (here, there) = (Database::File(state.database()), elsewhere(state.path()));
    let refused = |words: &str, code: u8, key: SealingKey| {
        let error = copied(&here, &there, key).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(is_untouched(&there), "{words}");
    };
    let other = state.path().join("other.key");
    std::fs::write(&other, [9; 32]).unwrap();
    refused("sealed with another key", 78, SealingKey::from_file(&other).unwrap());
    refused("no encryption key", 78, SealingKey::draw(&state.path().join("none")).unwrap());

    let store = crate::tests::open_in(state.path(), |_| {}).unwrap();
    store.load_gateways().await.unwrap();
    refused("cannot be opened for writing", 1, state.key());
    end(store).await;
    let change = |query: &str| outside(&here, |connection| diesel::sql_query(query).execute(connection)).unwrap();
    // Of the last table: all the others are there by then.
    change("UPDATE local_processes SET pid = 'many'");
    refused("local_processes.pid is not of the column's type", 1, state.key());
    change("UPDATE local_processes SET pid = NULL");
    change("CREATE TABLE kept AS SELECT * FROM __diesel_schema_migrations ORDER BY version DESC LIMIT 1");
    change("DELETE FROM __diesel_schema_migrations WHERE version IN (SELECT version FROM kept)");
    refused("older release", 78, state.key());
    change("INSERT INTO __diesel_schema_migrations SELECT * FROM kept");
    change("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')");
    refused("newer release", 78, state.key());
    change("DELETE FROM __diesel_schema_migrations WHERE version = '29990101000000'");

    copied(&here, &there, state.key()).unwrap();
    let again = copied(&here, &there, state.key()).unwrap_err();
    let expected = if there.file().is_some() { "is there already" } else { "is not empty" };
    assert!(again.to_string().contains(expected) && again.exit_code() == 1, "{again}");
    let left_behind = Database::File(state.path().join("new.db"));
    std::fs::write(state.path().join("new.db-wal"), "x").unwrap();
    assert!(matches!(copied(&there, &left_behind, state.key()), Err(StoreError::Exists { .. })));
    let nothing = Database::File(state.path().join("nothing.db"));
    assert!(matches!(copied(&nothing, &left_behind, state.key()), Err(StoreError::NoDatabase { .. })));
}

#[actix::test]
async fn a_server_is_copied_only_while_nobody_works_on_it() {
    let Some(server) = server() else { return };
    let scratch = Scratch::of(Database::Server(new_schema(&server)), |_| {});
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    let to = Database::File(scratch.dir.path().join("copy.db"));
    let key = || SealingKey::load_or_create(None, scratch.dir.path()).unwrap();
    let error = copied(&scratch.database, &to, key()).unwrap_err();
    assert!(error.to_string().contains("another gatewarden works on it") && error.exit_code() == 1, "{error}");
    assert!(is_untouched(&to));
}
