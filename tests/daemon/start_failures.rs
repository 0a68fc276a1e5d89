//! A start that cannot succeed: the right exit code, a sentence that says what to do, and nothing half-written.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use crate::support::daemon::{Ended, Setup};

/// Exit code of wrong usage.
const USAGE: i32 = 64;
/// Exit code of a bad configuration, a wrong key, a corrupt or too new database.
const CONFIGURATION: i32 = 78;

fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "it said: {}", ended.stderr);
    assert!(!ended.stdout.contains("listening on"));
    for word in words {
        assert!(ended.stderr.to_lowercase().contains(&word.to_lowercase()), "{word:?} is not in: {}", ended.stderr);
    }
    for rust in ["panicked", "RUST_BACKTRACE", "Error {", "Os {", "Some(", "unwrap"] {
        assert!(!ended.stderr.contains(rust), "{rust:?} is for programmers: {}", ended.stderr);
    }
}

#[test]
fn wrong_usage_ends_with_64() {
    says(&Setup::new().only_args(&["frobnicate"]).run(), USAGE, &["frobnicate"]);
    says(&Setup::new().args(&["--no-such-flag"]).run(), USAGE, &["--no-such-flag"]);
}

#[test]
fn a_bad_value_names_key_value_and_what_would_be_right_before_anything_is_made() {
    let setup = Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "banana");
    says(&setup.run(), CONFIGURATION, &["heartbeat_interval", "banana"]);
    assert!(!setup.state().exists(), "a state directory was made");
    let setup = Setup::new().env("GATEWARDEN_GATEWAY__NO_SUCH_KEY", "1");
    says(&setup.run(), CONFIGURATION, &["no_such_key"]);
    let setup = Setup::new();
    let file = setup.state().with_extension("toml");
    fs::write(&file, "[gateway]\nheartbeat_intervall = \"5s\"\n").expect("written");
    let path = file.to_string_lossy().into_owned();
    says(&setup.clone().args(&["--config", &path]).run(), CONFIGURATION, &["heartbeat_intervall", &path]);
    says(&setup.clone().args(&["--config", "/no/such/file.toml"]).run(), CONFIGURATION, &["/no/such/file.toml"]);
    assert!(!setup.state().exists(), "a state directory was made");
}

#[test]
fn a_port_in_use_is_said_with_its_address() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let setup = Setup::new().only_args(&["serve", "--listen", &address]);
    says(&setup.run(), 1, &[&address, "another program"]);
}

#[test]
fn a_port_for_other_nodes_does_nothing_with_a_database_in_a_file_and_the_log_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let folder = tempfile::tempdir().expect("a directory");
    let few_files = folder.path().join("few-files");
    fs::write(&few_files, format!("#!/bin/sh\nulimit -n 1000\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_gatewarden")))
        .expect("written");
    fs::set_permissions(&few_files, fs::Permissions::from_mode(0o700)).expect("its owner's");
    // Less than half of the files, and more than the quarter that a mesh leaves.
    let setup = Setup::new().env("GATEWARDEN_HTTP__MAX_CONNECTIONS", "400").binary(&few_files);
    let daemon = setup.env("GATEWARDEN_NODE__MESH_LISTEN", &address).start();
    daemon.until_logged(&["node.mesh_listen does nothing"]);
    assert!(!daemon.log().contains("http.max_connections"), "{}", daemon.log());
}

#[test]
fn a_state_directory_that_cannot_be_made_is_said() {
    let setup = Setup::new();
    let file = setup.state().with_extension("file");
    fs::write(&file, "not a directory").expect("written");
    let ended = setup.state_dir(&file.join("state")).run();
    assert!(matches!(ended.code, Some(1 | CONFIGURATION)), "{ended:?}");
    says(&ended, ended.code.expect("checked"), &[&file.to_string_lossy()]);
}

#[test]
fn a_corrupt_database_is_left_as_it_is() {
    let setup = Setup::new();
    setup.start().stop();
    let garbage = vec![0x5a; 64 * 1024];
    fs::write(setup.database(), &garbage).expect("written");
    for leftover in ["gatewarden.db-wal", "gatewarden.db-shm"] {
        let _ = fs::remove_file(setup.state().join(leftover));
    }
    says(&setup.run(), CONFIGURATION, &["gatewarden.db"]);
    assert_eq!(fs::read(setup.database()).expect("readable"), garbage, "the corrupt file was changed");
}

#[test]
fn a_wrong_or_lost_encryption_key_is_told_from_the_canary_and_changes_nothing() {
    let setup = Setup::new();
    let mut daemon = setup.start();
    daemon.register("sealed", 1, "tok-sealed");
    daemon.stop();
    let key = setup.state().join("gatewarden.key");
    let right = fs::read(&key).expect("a key file");
    fs::write(&key, "0123456789abcdef".repeat(4)).expect("written");
    says(&setup.run(), CONFIGURATION, &["key"]);
    fs::remove_file(&key).expect("removed");
    says(&setup.run(), CONFIGURATION, &["key"]);
    assert!(!key.exists(), "a new key was made over sealed rows");
    fs::write(&key, &right).expect("written");
    let daemon = setup.start();
    let sealed = daemon.gateways().into_iter().find(|one| one["name"] == "sealed").expect("listed");
    assert_eq!(sealed["token_set"], true);
    let id = sealed["id"].clone();
    assert_eq!(daemon.post("/api/gateways/connect", &json!({"id": id})).expect(200).json()["token"], "tok-sealed");
}

#[test]
fn a_database_of_a_newer_release_is_refused() {
    let setup = Setup::new();
    setup.start().stop();
    let mut connection = SqliteConnection::establish(&setup.database().to_string_lossy()).expect("the database opens");
    connection
        .batch_execute(
            "INSERT INTO __diesel_schema_migrations (version, run_on) VALUES ('99991231000000', CURRENT_TIMESTAMP)",
        )
        .expect("written");
    drop(connection);
    says(&setup.run(), CONFIGURATION, &["newer"]);
}

#[test]
fn two_daemons_do_not_share_one_state_directory_unnoticed() {
    let setup = Setup::new();
    let daemon = setup.start();
    let identity = daemon.get("/api/identity").expect(200).json();
    // whether the second is refused or waits its turn, the first one's identity and data stay whole
    let second = setup.clone().only_args(&["serve", "--listen", &daemon.address().to_string()]).run();
    let address = daemon.address().to_string();
    says(
        &second,
        1,
        &["is in use by another gatewarden", &format!("process {}", daemon.pid()), &address, "--state-dir"],
    );
    let elsewhere = setup.clone().only_args(&["serve", "--listen", "127.0.0.1:0"]).run();
    says(&elsewhere, 1, &["is in use by another gatewarden", &address]);
    assert_eq!(daemon.get("/api/identity").expect(200).json(), identity);
    daemon.register("still-writable", 1, "");
}
