use std::fs;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use gatewarden_protocol::Secret;

use super::*;
use crate::database::Database;
use crate::error::StoreError;
use crate::maintenance::rekey::{Rekey, Rekeying, Step, rekey};
use crate::sealing::Sealer;
use gatewarden_core::gateway_record::DeviceToken;

fn wanted<'a>(state: &'a Path, database: &'a Database, old: SealingKey) -> Rekey<'a> {
    Rekey {
        state_dir: state,
        database,
        patience: Duration::from_secs(3),
        old,
        new: SealingKey::draw(state).unwrap(),
        stamp: "20260101T000000Z",
    }
}

/// Everything that is sealed is there.
async fn full() -> Stopped {
    let scratch = Scratch::in_file();
    let with_all = gatewarden_core::gateway_record::GatewaySpec {
        url_token: Some(Secret::new("url")),
        password: Some(Secret::new("pass")),
        ..new_gateway("a")
    };
    scratch.store.create_gateway(with_all).await.unwrap();
    scratch.store.load_or_create_device_seed().await.unwrap();
    let token =
        DeviceToken { token: Secret::new("device"), role: "operator".to_owned(), scopes: Vec::new(), issued_at_ms: 1 };
    scratch.store.put_device_token("127.0.0.1:1".to_owned(), token).await.unwrap();
    scratch.store.record_spawn(crate::tests::new_spawn("x"), crate::tests::spawn_text(), None).await.unwrap();
    Stopped::of(scratch).await
}

#[actix::test]
async fn everything_is_sealed_anew_and_nothing_of_the_old_key_is_left() {
    let state = full().await;
    let (database, old) = (Database::File(state.database()), state.key());
    let old_prefix = Sealer::new(old.bytes()).prefix();
    let done = rekey(wanted(state.path(), &database, state.key())).unwrap();
    assert_eq!((done.count, done.unreadable.len(), done.key_replaced, done.scrubbed), (7, 0, true, true));
    assert!(!state.key().is_same_as(&old));
    assert_eq!(state.starts_with().await, ["a"]);
    for suffix in ["", "-wal"] {
        let bytes = fs::read(format!("{}{suffix}", database.place().display())).unwrap_or_default();
        assert!(!bytes.windows(old_prefix.len()).any(|window| window == old_prefix.as_bytes()), "{suffix}");
    }
    let kept = done.kept.unwrap();
    assert!(SealingKey::from_file(&kept).unwrap().is_same_as(&old), "backups need it");
    let kept = "gatewarden.key.before-rekey-20260101T000000Z";
    assert_eq!(state.files(), ["gatewarden.db", "gatewarden.key", kept]);
    rekey(wanted(state.path(), &database, state.key())).unwrap();
    assert_eq!(state.files(), ["gatewarden.db", "gatewarden.key", kept, &format!("{kept}-2")], "in the same second");
}

#[actix::test]
async fn a_crash_at_any_step_leaves_a_pair_that_opens() {
    for crash_before in 0..=Step::ALL.len() {
        let state = full().await;
        let (database, old) = (Database::File(state.database()), state.key());
        let mut rekeying = Rekeying::begin(wanted(state.path(), &database, state.key())).unwrap();
        for step in &Step::ALL[..crash_before] {
            rekeying.carry_out(*step).unwrap();
        }
        drop(rekeying);
        assert_eq!(state.starts_with().await, ["a"], "after {crash_before} steps");
        let resealed = Step::ALL[..crash_before].contains(&Step::Reseal);
        assert_eq!(state.key().is_same_as(&old), !resealed, "after {crash_before} steps");
        // It can be done again, also without a start in between.
        let later = if resealed { "20260101T000001Z" } else { "20260101T000000Z" };
        let again = Rekey { stamp: later, ..wanted(state.path(), &database, state.key()) };
        assert_eq!(rekey(again).unwrap().count, 7, "after {crash_before} steps and once more");
        assert_eq!(state.starts_with().await, ["a"]);
    }
}

#[actix::test]
async fn a_change_that_was_broken_off_is_finished_by_the_next_one() {
    let state = full().await;
    let database = Database::File(state.database());
    let mut rekeying = Rekeying::begin(wanted(state.path(), &database, state.key())).unwrap();
    for step in [Step::StageKey, Step::KeepOld, Step::Reseal] {
        rekeying.carry_out(step).unwrap();
    }
    drop(rekeying);
    let again = Rekey { stamp: "20260101T000001Z", ..wanted(state.path(), &database, state.key()) };
    assert_eq!(rekey(again).unwrap().count, 7);
    assert_eq!(state.starts_with().await, ["a"]);
}

#[actix::test]
async fn keys_that_an_operator_holds_are_left_to_the_operator() {
    let state = full().await;
    let (database, elsewhere) = (Database::File(state.database()), tempfile::tempdir().unwrap());
    let (old, new) = (elsewhere.path().join("old"), elsewhere.path().join("new"));
    fs::rename(state.path().join("gatewarden.key"), &old).unwrap();
    fs::write(&new, [9; 32]).unwrap();
    let keys = |old: &Path, new: &Path| Rekey {
        old: SealingKey::from_file(old).unwrap(),
        new: SealingKey::from_file(new).unwrap(),
        ..wanted(state.path(), &database, state.key())
    };
    let done = rekey(keys(&old, &new)).unwrap();
    assert_eq!((done.count, done.key_replaced, done.kept), (7, false, None));
    assert_eq!(state.files(), ["gatewarden.db"]);
    let error = rekey(keys(&old, &new)).unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    assert!(matches!(rekey(keys(&new, &new)).unwrap_err(), StoreError::SameKey));
    assert!(matches!(rekey(wanted(state.path(), &database, state.key())).unwrap_err(), StoreError::NoKey { .. }));
    fs::copy(&new, state.path().join("gatewarden.key")).unwrap();
    assert_eq!(state.starts_with().await, ["a"]);
}

#[actix::test]
async fn a_value_that_does_not_open_is_named_and_left() {
    let state = full().await;
    let database = Database::File(state.database());
    let sealed = Sealer::new(state.key().bytes())
        .seal(crate::sealing::Place { table: "gateways", row: "another", column: "token" }, b"x");
    let mut connection = SqliteConnection::establish(database.place().to_str().unwrap()).unwrap();
    diesel::sql_query("UPDATE gateways SET url_token = ?")
        .bind::<Text, _>(sealed.unwrap())
        .execute(&mut connection)
        .unwrap();
    drop(connection);
    let done = rekey(wanted(state.path(), &database, state.key())).unwrap();
    assert_eq!((done.count, done.unreadable.len()), (6, 1));
    assert!(done.unreadable[0].contains("url_token"), "{:?}", done.unreadable);
    assert_eq!(state.starts_with().await, ["a"]);
}

#[actix::test]
async fn a_sealed_column_that_nobody_told_of_stops_it_before_anything_is_changed() {
    let state = full().await;
    let database = Database::File(state.database());
    let sealed = Sealer::new(state.key().bytes())
        .seal(crate::sealing::Place { table: "later", row: "1", column: "secret" }, b"x")
        .unwrap();
    let mut connection = SqliteConnection::establish(database.place().to_str().unwrap()).unwrap();
    diesel::sql_query("CREATE TABLE later (secret TEXT)").execute(&mut connection).unwrap();
    diesel::sql_query("INSERT INTO later VALUES (?)").bind::<Text, _>(sealed).execute(&mut connection).unwrap();
    drop(connection);
    let error = rekey(wanted(state.path(), &database, state.key())).unwrap_err();
    assert!(matches!(&error, StoreError::UnknownSealed { count: 1, .. }), "{error}");
    assert!(error.to_string().contains("later.secret"), "{error}");
    assert_eq!(state.starts_with().await, ["a"]);
}

#[actix::test]
async fn a_crash_at_any_step_leaves_a_server_and_a_key_that_open() {
    let Some(server) = crate::tests::server() else { return };
    for crash_before in 0..=Step::ALL.len() {
        let database = Database::Server(crate::tests::new_schema(&server));
        let scratch = Scratch::of(database.clone(), |_| {});
        scratch.store.create_gateway(new_gateway("a")).await.unwrap();
        let Scratch { dir, store, .. } = scratch;
        end(store).await;
        let state = dir.path().to_path_buf();
        let key = || SealingKey::load_or_create(None, &state).unwrap();
        let old = key();
        let begun = std::thread::scope(|scope| {
            let steps = scope.spawn(|| {
                let mut rekeying = Rekeying::begin(wanted(&state, &database, key())).unwrap();
                Step::ALL[..crash_before].iter().for_each(|step| rekeying.carry_out(*step).unwrap());
            });
            steps.join()
        });
        begun.unwrap();
        let store = crate::tests::open(&database, dir.path(), |_| {}).unwrap();
        let gateways = store.load_gateways().await.unwrap();
        assert_eq!(gateways[0].token.as_ref().unwrap().expose(), "token-of-a", "after {crash_before} steps");
        end(store).await;
        assert_eq!(
            key().is_same_as(&old),
            !Step::ALL[..crash_before].contains(&Step::Reseal),
            "after {crash_before} steps"
        );
    }
}

#[actix::test]
async fn a_server_is_rekeyed_by_rows_and_a_node_with_the_old_key_writes_no_more() {
    let Some(server) = crate::tests::server() else { return };
    let database = Database::Server(crate::tests::new_schema(&server));
    let scratch = Scratch::of(database.clone(), |_| {});
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    let known = crate::records::KnownAdminKey { key: Some(Secret::new("adm-secret")), before: None };
    scratch.store.settle_admin_key(known, "a".to_owned()).await.unwrap();
    for number in 0..70 {
        let spawn = crate::tests::new_spawn(&number.to_string());
        scratch.store.record_spawn(spawn, crate::tests::spawn_text(), None).await.unwrap();
    }
    let state = scratch.dir.path().to_path_buf();
    let key = || SealingKey::load_or_create(None, &state).unwrap();
    let change = |stamp| {
        let wanted = Rekey { stamp, ..wanted(&state, &database, key()) };
        std::thread::scope(|scope| scope.spawn(|| rekey(wanted)).join().unwrap())
    };
    let refused = change("20260101T000000Z").unwrap_err();
    assert!(refused.to_string().contains("another gatewarden works on it") && refused.exit_code() == 1, "{refused}");
    scratch
        .execute(
            "INSERT INTO cluster_nodes (node, name, url, release, home, state, joined_at, beat_at, expires_at) \
        SELECT 'id', 'warden-b', 'http://b', '1', 'home', 'active', now(), now(), now()",
        )
        .unwrap();
    let old_prefix = Sealer::new(key().bytes()).prefix();
    let Scratch { dir, store, .. } = scratch;
    end(store).await;
    crate::tests::outside(&database, |connection| {
        let beat = "UPDATE cluster_nodes SET expires_at = clock_timestamp() + interval '5 seconds'";
        diesel::sql_query(beat).execute(connection).unwrap();
    });
    let refused = change("20260101T000000Z").unwrap_err().to_string();
    assert!(refused.contains("node warden-b at http://b"), "{refused}");
    crate::tests::outside(&database, |connection| {
        diesel::sql_query("UPDATE cluster_nodes SET expires_at = now()").execute(connection).unwrap();
        diesel::sql_query("UPDATE cluster_roles SET node = 'id', epoch = 7").execute(connection).unwrap();
    });
    let done = change("20260101T000001Z").unwrap();
    // The canary, the admin key, a token, and the spawns.
    assert_eq!((done.count, done.unreadable.len(), done.key_replaced, done.scrubbed), (73, 0, true, true));
    let scratch = Scratch { store: crate::tests::open(&database, dir.path(), |_| {}).unwrap(), dir, database };
    assert_eq!(scratch.store.load_gateways().await.unwrap()[0].token.as_ref().unwrap().expose(), "token-of-a");
    assert!(!scratch.holds(&old_prefix));
    let lost = "SELECT 1 FROM cluster_roles WHERE node IS NULL AND epoch = 8 AND NOT EXISTS \
        (SELECT 1 FROM cluster_nodes WHERE state = 'active')";
    assert_eq!(scratch.execute(lost).unwrap(), 1, "a node that wakes with the old key finds itself dead");
}
