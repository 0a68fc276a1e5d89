use std::fs;

use super::*;
use crate::error::StoreError;
use crate::maintenance::backup::{Wanted, make};
use crate::maintenance::restore::{Restore, Restoring, Step, restore};

/// A backup of a state with gateway `old`, in a directory of its own, with its key.
async fn backup_of_old() -> (tempfile::TempDir, Stopped) {
    let source = Stopped::with(&["old"]).await;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("b.db");
    let (database, key) = (source.database(), Some(source.key()));
    make(Wanted { database: &database, to: &to, key, with_key: true }).unwrap();
    (dir, source)
}

fn wanted<'a>(state: &'a Path, database: &'a Path, from: &'a Path, key: SealingKey, install_key: bool) -> Restore<'a> {
    Restore { state_dir: state, database, from, key, install_key, stamp: "20260101T000000Z" }
}

#[actix::test]
async fn a_backup_takes_the_databases_place_and_the_old_one_stays_beside() {
    let (dir, state) = backup_of_old().await;
    let store = open_in(state.path(), |_| {}).unwrap();
    store.create_gateway(new_gateway("new")).await.unwrap();
    // Not closed as it should be: what it holds is in its log.
    end(store).await;
    let (database, from) = (state.database(), dir.path().join("b.db"));
    let done = restore(wanted(state.path(), &database, &from, state.key(), false)).unwrap();
    assert_eq!((done.contents.gateways, done.key_installed), (1, false));
    assert_eq!(state.starts_with().await, ["old"]);
    let kept = state.path().join("gatewarden.db.before-restore-20260101T000000Z");
    assert_eq!(done.kept, std::slice::from_ref(&kept));
    fs::rename(&kept, &database).unwrap();
    assert_eq!(state.starts_with().await, ["old", "new"]);
}

#[actix::test]
async fn an_empty_machine_is_set_up_from_a_backup_and_its_key() {
    let (dir, _) = backup_of_old().await;
    let empty = Stopped { dir: tempfile::tempdir().unwrap() };
    let (database, from) = (empty.database(), dir.path().join("b.db"));
    let key = SealingKey::from_file(&dir.path().join("b.db.key")).unwrap();
    let done = restore(wanted(empty.path(), &database, &from, key, true)).unwrap();
    assert!(done.key_installed && done.kept.is_empty());
    assert_eq!(empty.files(), ["gatewarden.db", "gatewarden.key"]);
    assert_eq!(empty.starts_with().await, ["old"]);
}

#[actix::test]
async fn a_crash_at_any_step_leaves_a_state_that_starts_as_before_or_as_restored() {
    for crash_before in 0..=Step::ALL.len() {
        let (dir, _) = backup_of_old().await;
        // Another installation, with another key.
        let state = Stopped::with(&["other"]).await;
        let (database, from) = (state.database(), dir.path().join("b.db"));
        let key = SealingKey::from_file(&dir.path().join("b.db.key")).unwrap();
        let mut restoring = Restoring::begin(wanted(state.path(), &database, &from, key, true)).unwrap();
        for step in &Step::ALL[..crash_before] {
            restoring.carry_out(*step).unwrap();
        }
        // As a crash would: nothing is tidied up.
        std::mem::forget(restoring);
        let swapped = Step::ALL[..crash_before].contains(&Step::Swap);
        assert_eq!(state.starts_with().await, [if swapped { "old" } else { "other" }], "after {crash_before} steps");
        // It can be done again, whatever was left behind.
        let key = SealingKey::from_file(&dir.path().join("b.db.key")).unwrap();
        let again = Restore { stamp: "20260101T000001Z", ..wanted(state.path(), &database, &from, key, true) };
        restore(again).unwrap();
        assert_eq!(state.starts_with().await, ["old"], "after {crash_before} steps and once more");
    }
}

#[actix::test]
async fn two_restores_of_one_second_keep_what_was_there_under_names_of_their_own() {
    let (dir, _) = backup_of_old().await;
    let state = Stopped::with(&["other"]).await;
    let (database, from) = (state.database(), dir.path().join("b.db"));
    for suffix in ["", "-2"] {
        let key = SealingKey::from_file(&dir.path().join("b.db.key")).unwrap();
        let done = restore(wanted(state.path(), &database, &from, key, true)).unwrap();
        let kept = crate::files::beside(&database, &format!(".before-restore-20260101T000000Z{suffix}"));
        assert!(done.kept.contains(&kept), "{:?}", done.kept);
    }
}

#[actix::test]
async fn what_cannot_be_restored_is_refused_and_nothing_is_changed() {
    let (dir, _) = backup_of_old().await;
    let state = Stopped::with(&["other"]).await;
    let before = (state.files(), fs::read(state.database()).unwrap());
    let good = dir.path().join("b.db");
    let key = || SealingKey::from_file(&dir.path().join("b.db.key")).unwrap();
    let database = state.database();
    let refuse = |from: &Path, key: SealingKey| restore(wanted(state.path(), &database, from, key, true)).unwrap_err();

    let error = refuse(&good, state.key());
    assert!(matches!(&error, StoreError::WrongKey { path, .. } if *path == good), "{error}");

    let mut bytes = fs::read(&good).unwrap();
    let damaged = dir.path().join("damaged.db");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs::write(&damaged, &bytes).unwrap();
    let error = refuse(&damaged, key());
    assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("damaged.db"), "{error}");

    let nonsense = dir.path().join("nonsense");
    fs::write(&nonsense, "no database at all").unwrap();
    assert!(matches!(refuse(&nonsense, key()), StoreError::Corrupt { .. }));
    assert!(matches!(refuse(&dir.path().join("none"), key()), StoreError::File { .. }));

    let newer = dir.path().join("newer.db");
    fs::copy(&good, &newer).unwrap();
    {
        use diesel::{Connection as _, connection::SimpleConnection as _};
        let mut connection = diesel::SqliteConnection::establish(newer.to_str().unwrap()).unwrap();
        connection.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000')").unwrap();
    }
    let error = refuse(&newer, key());
    assert!(matches!(&error, StoreError::TooNew { .. }), "{error}");

    assert_eq!((state.files(), fs::read(state.database()).unwrap()), before);
    assert_eq!(state.starts_with().await, ["other"]);
}
