//! Starts on what an operator may have left in the state directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use diesel::Connection as _;
use diesel::prelude::*;

use crate::connection::Connection as Either;
use crate::error::StoreError;
use crate::key_file::KEY_FILE_NAME;
use crate::tests::{Scratch, new_gateway, open_in};

fn execute(scratch: &Scratch, query: &str) {
    scratch.execute(query).unwrap();
}

/// Ends the store but keeps its directory.
async fn end(scratch: Scratch) -> tempfile::TempDir {
    scratch.store.checkpoint().await.unwrap();
    scratch.dir
}

#[actix::test]
async fn a_first_start_makes_a_private_database_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a b%20#").join("state");
    let store = open_in(&state, |_| {}).unwrap();
    store.create_gateway(new_gateway("a")).await.unwrap();
    assert_eq!(store.installation_id().len(), 36);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for file in ["gatewarden.db", "gatewarden.db-wal", "gatewarden.db-shm", KEY_FILE_NAME] {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
}

#[actix::test]
async fn a_second_start_finds_the_same_installation() {
    let scratch = Scratch::in_file();
    let id = scratch.store.installation_id().to_owned();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.installation_id(), id);
    assert_eq!(scratch.store.load_gateways().await.unwrap().len(), 1);
}

#[actix::test]
async fn a_database_that_others_can_read_is_narrowed() {
    let dir = end(Scratch::in_file()).await;
    let path = dir.path().join("gatewarden.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    open_in(dir.path(), |_| {}).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[actix::test]
async fn a_wrong_key_is_told_and_nothing_is_changed() {
    let dir = end(Scratch::in_file()).await;
    let key_path = dir.path().join(KEY_FILE_NAME);
    let key = fs::read(&key_path).unwrap();
    fs::write(&key_path, [1_u8; 32]).unwrap();
    let before = fs::read(dir.path().join("gatewarden.db")).unwrap();
    let error = open_in(dir.path(), |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("gatewarden.key"), "{error}");
    assert_eq!(fs::read(dir.path().join("gatewarden.db")).unwrap(), before);
    fs::write(&key_path, key).unwrap();
    open_in(dir.path(), |_| {}).unwrap();
}

#[actix::test]
async fn a_missing_key_is_told_and_no_new_one_is_made() {
    let dir = end(Scratch::in_file()).await;
    let key_path = dir.path().join(KEY_FILE_NAME);
    fs::remove_file(&key_path).unwrap();
    let error = open_in(dir.path(), |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::KeyMissing { .. }), "{error}");
    assert_eq!(error.exit_code(), 78);
    assert!(!key_path.exists());
}

#[actix::test]
async fn a_file_that_is_no_database_is_told_and_left_alone() {
    for garbage in [&b"no database at all"[..], &[0_u8; 8192], b"x"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gatewarden.db");
        fs::write(&path, garbage).unwrap();
        let error = open_in(dir.path(), |_| {}).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert_eq!(error.exit_code(), 78);
        assert_eq!(fs::read(&path).unwrap(), garbage);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no key was made for it either");
    }
}

#[actix::test]
async fn damaged_pages_are_found_at_the_start() {
    let scratch = Scratch::in_file();
    for turn in 0..50 {
        scratch.store.create_gateway(new_gateway(&format!("gateway-{turn}"))).await.unwrap();
    }
    let dir = end(scratch).await;
    let path = dir.path().join("gatewarden.db");
    let mut bytes = fs::read(&path).unwrap();
    for wal in ["gatewarden.db-wal", "gatewarden.db-shm"] {
        let _ = fs::remove_file(dir.path().join(wal));
    }
    bytes[4096..].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let error = open_in(dir.path(), |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[actix::test]
async fn a_database_of_a_newer_release_is_refused_by_name_of_its_migrations() {
    let scratch = Scratch::in_file();
    execute(&scratch, "INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000')");
    let dir = end(scratch).await;
    let error = open_in(dir.path(), |_| {}).unwrap_err();
    assert!(matches!(&error, StoreError::TooNew { unknown, .. } if unknown == &["20991231000000"]), "{error}");
    assert_eq!(error.exit_code(), 78);
}

#[actix::test]
async fn a_database_of_another_program_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gatewarden.db");
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    diesel::sql_query("CREATE TABLE recipes (id INTEGER)").execute(&mut other).unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    let error = open_in(dir.path(), |_| {}).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[actix::test]
async fn a_locked_database_is_not_writable_rather_than_corrupt() {
    let scratch = Scratch::in_file();
    let mut outsider = scratch.outsider();
    diesel::sql_query("BEGIN IMMEDIATE").execute(&mut outsider).unwrap();
    let error = open_in(scratch.dir.path(), |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("locked"), "{error}");
}

#[actix::test]
async fn a_place_that_can_not_hold_a_database_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for place in [dir.path().join("file").join("below"), dir.path().join("taken")] {
        let _ = fs::create_dir_all(place.join("gatewarden.db"));
        let error = open_in(&place, |_| {}).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
    }
}

#[actix::test]
async fn a_failed_first_start_leaves_no_half_made_database() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let key = crate::key_file::SealingKey::load_or_create(None, &state).unwrap();
    // The key can't be written: somebody else made one meanwhile.
    fs::write(state.join(KEY_FILE_NAME), [3_u8; 32]).unwrap();
    let options = crate::queue::StoreOptions::at(state.join("gatewarden.db"));
    let error = super::prepare(&options, key).unwrap_err();
    assert!(matches!(error, StoreError::KeyNotWritable { .. }), "{error}");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "only the other's key is there");
}

#[actix::test]
async fn before_an_upgrade_a_copy_is_kept_in_the_place_of_the_one_before() {
    use diesel_migrations::MigrationHarness as _;
    let scratch = Scratch::in_file();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    scratch.store.checkpoint().await.unwrap();
    scratch.store.close_for_test().await;
    let dir = scratch.dir;
    let path = |name: &str| dir.path().join(name);
    let mut outsider = SqliteConnection::establish(path("gatewarden.db").to_str().unwrap()).unwrap();
    let newest = outsider.revert_last_migration(crate::database::SQLITE_MIGRATIONS).unwrap().to_string();
    drop(outsider);
    let (ours, not_ours) = ("gatewarden.db.before-0.0.1", "gatewarden.db.before-restore-20260101T000000Z");
    fs::write(path(ours), "of an earlier upgrade").unwrap();
    fs::write(path(not_ours), "of an operator").unwrap();

    let store = open_in(dir.path(), |_| {}).unwrap();
    assert_eq!(store.load_gateways().await.unwrap().len(), 1);
    let kept = path(concat!("gatewarden.db.before-", env!("CARGO_PKG_VERSION")));
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = SqliteConnection::establish(kept.to_str().unwrap()).unwrap();
    let schema = crate::startup::schema(&mut Either::Sqlite(copy), &kept).unwrap();
    assert!(schema.pending == 1 && !schema.applied.contains(&newest), "{schema:?}");
    assert!(!path(ours).exists() && path(not_ours).exists());
    store.close_for_test().await;

    // No upgrade, no copy.
    fs::remove_file(&kept).unwrap();
    open_in(dir.path(), |_| {}).unwrap();
    assert!(!kept.exists());
}

#[actix::test]
async fn without_room_for_a_copy_there_is_no_upgrade() {
    use diesel_migrations::MigrationHarness as _;
    let scratch = Scratch::in_file();
    scratch.store.checkpoint().await.unwrap();
    scratch.store.close_for_test().await;
    let dir = scratch.dir;
    let database = dir.path().join("gatewarden.db");
    let mut outsider = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    outsider.revert_last_migration(crate::database::SQLITE_MIGRATIONS).unwrap();
    drop(outsider);
    // Its place can't be had.
    fs::create_dir(dir.path().join(concat!("gatewarden.db.before-", env!("CARGO_PKG_VERSION")))).unwrap();
    let error = open_in(dir.path(), |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("a copy of it"), "{error}");
    let outsider = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    assert_eq!(crate::startup::schema(&mut Either::Sqlite(outsider), &database).unwrap().pending, 1);
}
