//! Backup, restore, change of keys and `doctor`, as an operator runs them, beside a daemon that is busy.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use serde_json::{Value, json};

use super::support::daemon::{ADMIN_KEY, Daemon, Ended, PATIENCE, Setup};
use super::support::http;
use super::support::ports::free_port;
use super::support::wait;

/// Exit code of what a person must put right first.
const CONFIGURATION: i32 = 78;

/// A command on the state directory of this setup.
fn command(setup: &Setup, args: &[&str]) -> Ended {
    let state = setup.state().display().to_string();
    setup.clone().only_args(&[args, &["--state-dir", &state]].concat()).run()
}

fn ok(ended: Ended) -> Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in: {}", ended.stderr);
    }
    for rust in ["panicked", "RUST_BACKTRACE", "Error {", "Os {", "Some("] {
        assert!(!ended.stderr.contains(rust), "{rust:?} is for programmers: {}", ended.stderr);
    }
}

/// Files of a directory with their content; what a daemon leaves beside its database without saying anything with it, aside.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(&path).expect("readable")))
        .filter(|(path, content)| !content.is_empty() && !path.to_string_lossy().ends_with("-shm"))
        .filter(|(path, _)| !path.to_string_lossy().ends_with(".lock"))
        .collect();
    files.sort();
    files
}

/// The token that the daemon gives for a gateway: it opened it with its key.
fn token(daemon: &Daemon, gateway: &Value) -> Value {
    daemon.post("/api/gateways/connect", &json!({"id": gateway["id"]})).expect(200).json()["token"].clone()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_backup_under_write_load_holds_what_was_acknowledged_and_can_be_restored() {
    let setup = Setup::new().env("GATEWARDEN_GATEWAY__BACKOFF", "60s").env("GATEWARDEN_LOG__LEVEL", "warn");
    let mut daemon = setup.start();
    let identity = daemon.get("/api/identity").expect(200).json();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (stop, written) = (AtomicBool::new(false), AtomicI64::new(0));
    let address = daemon.address();
    let backups: Vec<(i64, PathBuf)> = std::thread::scope(|scope| {
        let (stop, written) = (&stop, &written);
        scope.spawn(move || {
            let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) && number < 2_000 {
                let body = json!({"name": format!("g{number}"), "host": "127.0.0.1", "port": 1,
                    "token": format!("tok-g{number}")});
                let sent = body.to_string();
                let answer = http::request(address, "POST", "/api/gateways", &headers, Some(sent.as_bytes()));
                answer.expect("an answer").expect(201);
                number += 1;
                written.store(number, Ordering::SeqCst);
            }
        });
        let made = (0..3)
            .map(|round| {
                let wanted = written.load(Ordering::SeqCst) + 5;
                wait::until("more is written", PATIENCE, || written.load(Ordering::SeqCst) >= wanted);
                let acknowledged = written.load(Ordering::SeqCst);
                let to = elsewhere.path().join(format!("b{round}.db"));
                let ended = ok(command(&setup, &["backup", "--to", to.to_str().expect("text")]));
                assert!(ended.stdout.contains("NOT included"), "{}", ended.stdout);
                assert!(ended.stdout.contains("was seen to open"), "{}", ended.stdout);
                assert_eq!(mode(&to), 0o600);
                (acknowledged, to)
            })
            .collect();
        stop.store(true, Ordering::SeqCst);
        made
    });
    let all = daemon.gateways().len();

    // Not while it runs.
    let (acknowledged, backup) = backups[1].clone();
    let named = backup.to_str().expect("text");
    says(&command(&setup, &["restore", named]), 1, &["Stop it first", "Nothing was changed"]);
    assert_eq!(daemon.gateways().len(), all);

    daemon.stop();
    let ended = ok(command(&setup, &["restore", named]));
    assert!(ended.stdout.contains(".before-restore-"), "{}", ended.stdout);
    let daemon = setup.start();
    assert_eq!(daemon.get("/api/identity").expect(200).json(), identity);
    let gateways = daemon.gateways();
    let names: BTreeSet<String> = gateways
        .iter()
        .map(|one| one["name"].as_str().expect("a name").to_owned())
        .filter(|name| name != "seeded")
        .collect();
    let count = i64::try_from(names.len()).expect("few");
    assert!(count >= acknowledged && count < 2_000, "{count} of {acknowledged}");
    // One state of the database: as one writer made them, so without gaps.
    for number in 0..count {
        assert!(names.contains(&format!("g{number}")), "g{number} of {count} is missing");
    }
    for gateway in gateways.iter().filter(|one| one["name"] != "seeded") {
        let name = gateway["name"].as_str().expect("a name");
        assert_eq!(token(&daemon, gateway), format!("tok-{name}"));
    }
    daemon.register("after", 1, "tok-after");
}

#[test]
fn a_machine_that_was_lost_comes_back_from_a_backup_with_its_key() {
    let setup = Setup::new();
    let mut daemon = setup.start();
    let id = daemon.register("kept", 1, "tok-kept");
    let identity = daemon.get("/api/identity").expect(200).json();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let dir = elsewhere.path().to_str().expect("text").to_owned();
    let said = ok(command(&setup, &["backup", "--with-key", "--json", "--to", &dir]));
    let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!((&said["backup"]["key_included"], &said["backup"]["key_checked"]), (&json!(true), &json!(true)));
    let (file, key) =
        (said["backup"]["path"].as_str().expect("a path"), said["backup"]["key_path"].as_str().expect("one"));
    assert_eq!((mode(Path::new(file)), mode(Path::new(key))), (0o600, 0o600));
    daemon.stop();

    let other = Setup::new();
    // Without the key: refused, and it says which one seems to be right.
    let refused = command(&other, &["restore", file]);
    says(&refused, CONFIGURATION, &["key", &format!("--key {key}")]);
    assert!(files(other.state()).is_empty(), "{:?}", files(other.state()));
    ok(command(&other, &["restore", file, "--key", key]));
    let daemon = other.start();
    assert_eq!(daemon.get("/api/identity").expect(200).json(), identity);
    assert_eq!(token(&daemon, &daemon.gateway(id)), "tok-kept");
}

#[test]
fn a_backup_works_with_the_daemon_stopped_and_lies_in_the_state_directory_by_default() {
    let setup = Setup::new();
    setup.start().stop();
    ok(command(&setup, &["backup"]));
    let made: Vec<_> = fs::read_dir(setup.state().join("backups")).expect("made").collect();
    assert_eq!(made.len(), 1);
    assert_eq!(mode(&setup.state().join("backups")), 0o700);
    setup.start();
}

#[test]
fn backups_that_cannot_be_made_say_why_and_leave_nothing() {
    let setup = Setup::new();
    says(&command(&setup, &["backup"]), 1, &["no database", "--state-dir"]);
    says(&command(&setup, &["rekey"]), 1, &["no database", "--state-dir"]);
    assert!(!setup.state().exists(), "nothing is made for it");
    setup.start().stop();
    empty_log(&setup.database());
    let before = files(setup.state());
    let elsewhere = tempfile::tempdir().expect("a directory");
    let taken = elsewhere.path().join("taken");
    fs::write(&taken, "precious").expect("written");
    says(&command(&setup, &["backup", "--to", taken.to_str().expect("text")]), 1, &["is not overwritten"]);
    assert_eq!(fs::read(&taken).expect("there"), b"precious");
    // A directory that nobody can write to, not even root.
    says(&command(&setup, &["backup", "--to", "/proc/self/b.db"]), 1, &["/proc/self/b.db", "name another place"]);
    let wrong = elsewhere.path().join("key");
    fs::write(&wrong, "0123456789abcdef".repeat(4)).expect("written");
    let to = elsewhere.path().join("b.db");
    let args = ["backup", "--to", to.to_str().expect("text"), "--key", wrong.to_str().expect("text")];
    says(&command(&setup, &args), CONFIGURATION, &["key does not open", "gatewarden.db"]);
    assert!(!to.exists());
    assert_eq!(files(setup.state()), before);
}

#[test]
fn a_damaged_backup_or_a_wrong_key_is_refused_and_nothing_is_changed() {
    let setup = Setup::new();
    let mut daemon = setup.start();
    for number in 0..30 {
        daemon.register(&format!("g{number}"), 1, "tok");
    }
    let elsewhere = tempfile::tempdir().expect("a directory");
    let backup = elsewhere.path().join("b.db");
    let named = backup.to_str().expect("text").to_owned();
    ok(command(&setup, &["backup", "--to", &named]));
    daemon.stop();
    empty_log(&setup.database());
    let before = files(setup.state());

    let wrong = elsewhere.path().join("key");
    fs::write(&wrong, "0123456789abcdef".repeat(4)).expect("written");
    let refused = command(&setup, &["restore", &named, "--key", wrong.to_str().expect("text")]);
    says(&refused, CONFIGURATION, &["key does not open", "b.db", "Nothing was changed"]);

    let mut bytes = fs::read(&backup).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xa5);
    fs::write(&backup, bytes).expect("written");
    let damaged = command(&setup, &["restore", &named]);
    says(&damaged, CONFIGURATION, &["The backup", "damaged", "b.db", "Name another one", "Nothing was changed"]);
    assert!(!damaged.stderr.contains("from a backup"), "it is the backup: {}", damaged.stderr);
    fs::write(&backup, "no database").expect("written");
    says(&command(&setup, &["restore", &named]), CONFIGURATION, &["not a database", "b.db"]);
    says(&command(&setup, &["restore", "/no/such/file"]), 1, &["/no/such/file"]);

    assert_eq!(files(setup.state()), before);
    assert_eq!(setup.start().gateways().len(), 31);
}

#[test]
fn a_new_key_opens_everything_and_the_old_one_nothing_but_old_backups() {
    let setup = Setup::new();
    let mut daemon = setup.start();
    let id = daemon.register("kept", 1, "tok-kept");
    let identity = daemon.get("/api/identity").expect(200).json();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let backup = elsewhere.path().join("b.db").display().to_string();
    ok(command(&setup, &["backup", "--to", &backup]));
    says(&command(&setup, &["rekey"]), 1, &["Stop it first"]);
    daemon.stop();

    let key = setup.state().join("gatewarden.key");
    let old = fs::read(&key).expect("a key");
    let said = ok(command(&setup, &["rekey", "--json"]));
    let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let new = fs::read(&key).expect("a key");
    assert_ne!(new, old);
    assert_eq!(mode(&key), 0o600);
    assert_eq!((&said["rekeyed"]["key_replaced"], &said["rekeyed"]["scrubbed"]), (&json!(true), &json!(true)));
    let kept = said["rekeyed"]["kept"].as_str().expect("a path").to_owned();
    assert_eq!(fs::read(&kept).expect("kept"), old);

    let mut daemon = setup.start();
    assert_eq!(daemon.get("/api/identity").expect(200).json(), identity);
    assert_eq!(token(&daemon, &daemon.gateway(id)), "tok-kept");
    daemon.stop();

    // The old key opens the database no more; the backup from before needs it.
    fs::write(&key, &old).expect("written");
    let refused = setup.run();
    assert_eq!(refused.code, Some(CONFIGURATION), "{}", refused.stderr);
    fs::write(&key, &new).expect("written");
    says(&command(&setup, &["restore", &backup]), CONFIGURATION, &["--key"]);
    ok(command(&setup, &["restore", &backup, "--key", &kept]));
    let daemon = setup.start();
    assert_eq!(token(&daemon, &daemon.gateway(id)), "tok-kept");
}

#[test]
fn a_key_that_comes_as_a_credential_is_left_to_the_operator() {
    let credentials = tempfile::tempdir().expect("a directory");
    let old = credentials.path().join("gatewarden.key");
    fs::write(&old, "0123456789abcdef".repeat(4)).expect("written");
    let plain = Setup::new();
    let setup = plain.clone().env("CREDENTIALS_DIRECTORY", credentials.path().to_str().expect("text"));
    let mut daemon = setup.start();
    let id = daemon.register("kept", 1, "tok-kept");
    daemon.stop();
    assert!(!setup.state().join("gatewarden.key").exists());

    // As root, outside of the service.
    says(&command(&plain, &["rekey"]), CONFIGURATION, &["--key FILE"]);
    // As the service would see it.
    says(&command(&setup, &["rekey"]), CONFIGURATION, &["--new-key FILE"]);
    let new = plain.state().with_extension("new-key");
    fs::write(&new, "fedcba9876543210".repeat(4)).expect("written");
    let (old_name, new_name) = (old.to_str().expect("text"), new.to_str().expect("text"));
    let said = ok(command(&plain, &["rekey", "--key", old_name, "--new-key", new_name]));
    assert!(said.stdout.contains("YOU MUST put") && said.stdout.contains(new_name), "{}", said.stdout);
    let refused = setup.run();
    assert_eq!(refused.code, Some(CONFIGURATION), "{}", refused.stderr);
    fs::copy(&new, &old).expect("copied");
    let daemon = setup.start();
    assert_eq!(token(&daemon, &daemon.gateway(id)), "tok-kept");
}

/// What `doctor` found, by area.
fn findings(ended: &Ended) -> Vec<(String, String, String)> {
    let said: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr));
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let findings: Vec<_> = said["findings"].as_array().expect("a list").iter().collect();
    for finding in &findings {
        let has_cure = !text(finding, "cure").is_empty();
        assert!(has_cure || finding["level"] != "problem", "{finding} has no cure");
    }
    let problems = findings.iter().filter(|finding| finding["level"] == "problem").count();
    assert_eq!((said["problems"].as_u64(), said["ok"].as_bool()), (Some(problems as u64), Some(problems == 0)));
    assert_eq!(ended.code, Some(i32::from(problems > 0)), "{said}");
    findings.iter().map(|one| (text(one, "level"), text(one, "area"), text(one, "text"))).collect()
}

fn has(findings: &[(String, String, String)], level: &str, area: &str, words: &str) {
    let found = findings.iter().any(|one| one.0 == level && one.1 == area && one.2.contains(words));
    assert!(found, "no {level} of {area} with {words:?} in {findings:#?}");
}

#[test]
fn doctor_finds_nothing_wrong_with_a_daemon_that_runs_or_has_stopped() {
    // Not one that the system gives to somebody else once it is free.
    let own = format!("127.0.0.1:{}", free_port());
    let setup = Setup::new().only_args(&["serve", "--listen", &own]);
    let mut daemon = setup.start();
    let address = daemon.address().to_string();
    // It listens elsewhere than the configuration says, as with --listen.
    let elsewhere = setup.clone().env("GATEWARDEN_HTTP__LISTEN", "127.0.0.1:9").env("GATEWARDEN_URL", "127.0.0.1:1");
    let found = findings(&command(&elsewhere, &["doctor", "--json"]));
    has(&found, "ok", "address", &address);
    has(&found, "problem", "address", "nobody answers at $GATEWARDEN_URL");
    let setup = setup.env("GATEWARDEN_HTTP__LISTEN", &address);
    let found = findings(&command(&setup, &["doctor", "--json"]));
    has(&found, "ok", "daemon", &format!("process {}", daemon.pid()));
    has(&found, "ok", "address", &address);
    for area in ["configuration", "state directory", "database", "encryption key", "clock", "open files"] {
        has(&found, "ok", area, "");
    }
    let words = ok(command(&setup, &["doctor", "--deep"]));
    assert!(
        words.stdout.contains("every page and index") && words.stdout.ends_with("no problems found\n"),
        "{}",
        words.stdout
    );
    daemon.stop();
    empty_log(&setup.database());
    let before = files(setup.state());
    let found = findings(&command(&setup, &["doctor", "--json"]));
    has(&found, "note", "daemon", "none works");
    has(&found, "ok", "address", "is free");
    has(&found, "ok", "encryption key", "opens the database");
    assert_eq!(files(setup.state()), before, "it changes nothing");
    setup.start();
}

/// Puts everything into the database's own file. A daemon that stops on a slow disk leaves the write-ahead log to the next
/// start, and pages in there hide the file's.
fn empty_log(database: &Path) {
    let mut connection = SqliteConnection::establish(&database.display().to_string()).expect("the database opens");
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").expect("emptied");
}

#[test]
fn doctor_finds_what_is_wrong_and_says_a_cure() {
    let wrong = Setup::new().env("GATEWARDEN_GATEWAY__BACKOFF", "soon");
    has(&findings(&command(&wrong, &["doctor", "--json"])), "problem", "configuration", "gateway.backoff");

    // Whatever else runs on this machine has no say.
    let setup = Setup::new().env("GATEWARDEN_HTTP__LISTEN", "127.0.0.1:0");
    let new = findings(&command(&setup, &["doctor", "--json"]));
    has(&new, "note", "state directory", "the first start makes it");
    assert!(!setup.state().exists(), "it makes nothing");

    let mut daemon = setup.start();
    for number in 0..30 {
        daemon.register(&format!("g{number}"), 1, "tok");
    }
    daemon.stop();
    let (state, key) = (setup.state().to_owned(), setup.state().join("gatewarden.key"));
    let right = fs::read(&key).expect("a key");
    let look = |setup: &Setup| findings(&command(setup, &["doctor", "--json"]));
    let modes = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");

    modes(&state, 0o755);
    modes(&setup.database(), 0o644);
    let found = look(&setup);
    has(&found, "problem", "state directory", "entered by others (mode 0755)");
    has(&found, "problem", "state directory", "gatewarden.db may be read by others");
    modes(&state, 0o700);
    modes(&setup.database(), 0o600);

    fs::write(&key, "0123456789abcdef".repeat(4)).expect("written");
    modes(&key, 0o600);
    has(&look(&setup), "problem", "encryption key", "another key");
    fs::remove_file(&key).expect("removed");
    has(&look(&setup), "problem", "encryption key", "there is none");
    assert!(!key.exists());
    fs::write(&key, "nonsense").expect("written");
    modes(&key, 0o600);
    has(&look(&setup), "problem", "encryption key", "malformed");
    fs::write(&key, right).expect("written");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        while let Ok((mut stream, _)) = taken.accept() {
            // Who closes with a request unread resets the connection, and the answer may be lost.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    has(&look(&setup.clone().env("GATEWARDEN_HTTP__LISTEN", &address)), "problem", "address", "another program");
    let other = Daemon::start();
    let found = look(&setup.clone().env("GATEWARDEN_HTTP__LISTEN", &other.address().to_string()));
    has(&found, "problem", "address", "another state directory");

    empty_log(&setup.database());
    let whole = fs::read(setup.database()).expect("there");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0xa5);
    fs::write(setup.database(), damaged).expect("written");
    has(&look(&setup), "problem", "database", "damaged");
    fs::write(setup.database(), whole).expect("written");
    let found = look(&setup);
    assert!(found.iter().all(|one| one.0 != "problem"), "{found:#?}");
}

#[test]
fn backups_of_one_instant_dont_take_names_or_keys_from_each_other() {
    let setup = Setup::new();
    setup.start().stop();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (dir, file) = (elsewhere.path().to_str().expect("text"), elsewhere.path().join("pk.db"));
    let at_once = |to: &str| -> Vec<Ended> {
        std::thread::scope(|scope| {
            let one = || command(&setup, &["backup", "--with-key", "--to", to]);
            let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|one| one.join().expect("it ended")).collect()
        })
    };
    let ended = at_once(file.to_str().expect("text"));
    assert_eq!(ended.iter().filter(|ended| ended.code == Some(0)).count(), 1);
    ended.iter().filter(|ended| ended.code != Some(0)).for_each(|ended| says(ended, 1, &["is not overwritten"]));
    assert!(elsewhere.path().join("pk.db.key").exists());
    at_once(dir).into_iter().for_each(|ended| drop(ok(ended)));
    let names: Vec<PathBuf> = files(elsewhere.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names.len(), 10, "each with its key: {names:?}");
}
