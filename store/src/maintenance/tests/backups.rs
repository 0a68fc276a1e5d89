use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::error::StoreError;
use crate::maintenance::backup::{Wanted, make};

fn wanted<'a>(database: &'a Path, to: &'a Path, key: Option<SealingKey>) -> Wanted<'a> {
    Wanted { database, to, key, with_key: false }
}

#[actix::test]
async fn a_backup_of_a_running_store_is_private_whole_and_holds_what_was_committed() {
    let scratch = Scratch::in_file();
    for name in ["a", "b"] {
        scratch.store.create_gateway(new_gateway(name)).await.unwrap();
    }
    let to = scratch.dir.path().join("b.db");
    let key = SealingKey::load_or_create(None, scratch.dir.path()).unwrap();
    let backup = make(wanted(&scratch.path(), &to, Some(key))).unwrap();
    assert_eq!((backup.contents.gateways, backup.contents.key_checked), (2, true));
    assert_eq!(backup.key_path, None);
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    // The store goes on, and the backup stays what it was.
    scratch.store.create_gateway(new_gateway("c")).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(&to, elsewhere.path().join("gatewarden.db")).unwrap();
    fs::copy(scratch.dir.path().join("gatewarden.key"), elsewhere.path().join("gatewarden.key")).unwrap();
    let names = Stopped { dir: elsewhere }.starts_with().await;
    assert_eq!(names, ["a", "b"]);
}

#[actix::test]
async fn the_key_goes_along_only_where_it_is_wanted() {
    let stopped = Stopped::with(&["a"]).await;
    let to = stopped.path().join("b.db");
    let backup = make(Wanted { with_key: true, ..wanted(&stopped.database(), &to, Some(stopped.key())) }).unwrap();
    let key_path = backup.key_path.unwrap();
    assert_eq!(key_path, stopped.path().join("b.db.key"));
    assert_eq!(fs::metadata(&key_path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(SealingKey::from_file(&key_path).unwrap().is_same_as(&stopped.key()));
}

#[actix::test]
async fn without_a_key_at_hand_the_backup_says_that_it_was_not_tried() {
    let stopped = Stopped::with(&["a"]).await;
    let to = stopped.path().join("b.db");
    assert!(!make(wanted(&stopped.database(), &to, None)).unwrap().contents.key_checked);
}

#[actix::test]
async fn a_backup_that_is_not_good_leaves_nothing() {
    let stopped = Stopped::with(&["a"]).await;
    let before = stopped.files();
    let to = stopped.path().join("b.db");
    let other = tempfile::tempdir().unwrap();
    let error = make(wanted(&stopped.database(), &to, Some(SealingKey::draw(other.path()).unwrap()))).unwrap_err();
    assert!(matches!(error, StoreError::KeyMissing { .. }), "{error}");
    fs::write(other.path().join("gatewarden.key"), [7; 32]).unwrap();
    let wrong = SealingKey::load_or_create(None, other.path()).unwrap();
    let error = make(wanted(&stopped.database(), &to, Some(wrong))).unwrap_err();
    assert!(matches!(&error, StoreError::WrongKey { path, .. } if *path == stopped.database()));
    assert_eq!(error.exit_code(), 78);
    let nowhere = stopped.path().join("no/such/b.db");
    let error = make(wanted(&stopped.database(), &nowhere, None)).unwrap_err();
    assert!(error.to_string().contains("no/such"), "{error}");
    assert_eq!(stopped.files(), before);
}

#[actix::test]
async fn a_file_that_is_there_is_not_overwritten_and_no_database_is_said() {
    let stopped = Stopped::with(&["a"]).await;
    let to = stopped.path().join("precious");
    fs::write(&to, "precious").unwrap();
    let error = make(wanted(&stopped.database(), &to, None)).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    let none = stopped.path().join("none.db");
    let error = make(wanted(&none, &stopped.path().join("b.db"), None)).unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
}

#[actix::test]
async fn damaged_pages_are_found_before_a_backup_is_called_good() {
    let stopped = Stopped::with(&["a"]).await;
    let mut bytes = fs::read(stopped.database()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xa5);
    fs::write(stopped.database(), bytes).unwrap();
    let before = stopped.files();
    let to = stopped.path().join("b.db");
    let error = make(wanted(&stopped.database(), &to, Some(stopped.key()))).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(stopped.files(), before);
}
