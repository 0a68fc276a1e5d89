//! A database that fails while the daemon runs: writes are 503, reads and supervision go on, and it recovers by itself.

use std::path::{Path, PathBuf};

use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

#[test]
fn a_database_locked_by_another_process_is_503_for_writes_while_supervision_goes_on() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    let path = daemon.setup().database().to_string_lossy().into_owned();
    let mut other = SqliteConnection::establish(&path).expect("the database opens");
    wait::until_ok("the lock is ours", PATIENCE, || {
        other.batch_execute("BEGIN IMMEDIATE").map_err(|error| error.to_string())
    });
    let refused = daemon.post("/api/gateways", &json!({"name": "late", "host": "127.0.0.1", "port": 1})).expect(503);
    assert_eq!(refused.json()["code"], "store_unavailable");
    assert!(refused.header("retry-after").is_some());
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!((&status["status"], &status["store"]["ok"]), (&json!("degraded"), &json!(false)), "{status}");
    assert!(status["store"]["error"].as_str().is_some_and(|words| words.contains("locked")), "{status}");
    assert_eq!(daemon.gateway(id)["status"], "online");
    daemon.get("/health").expect(200);
    gateway.kill();
    daemon.until_status(id, "offline");
    gateway.revive();
    daemon.until_status(id, "online");
    other.batch_execute("ROLLBACK").expect("released");
    wait::until_ok("the daemon finds out by itself that it can write again", PATIENCE, || {
        let status = daemon.get("/api/status").expect(200).json();
        if status["store"]["ok"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    wait::until_ok("writes are taken again", PATIENCE, || {
        let answer = daemon.post("/api/gateways", &json!({"name": "late", "host": "127.0.0.1", "port": 1}));
        if answer.status == 201 { Ok(()) } else { Err(answer.text) }
    });
    assert_eq!(daemon.gateways().iter().filter(|one| one["name"] == "late").count(), 1);
}

/// A daemon whose state directory is a small disk of its own, and a file there; none where this system gives no such disk to a test.
fn on_small_disk() -> Option<(Daemon, PathBuf)> {
    const MOUNTED: &str = "mkdir -p \"$1\" && mount -t tmpfs -o size=16m,mode=700 none \"$1\" && shift && exec \"$@\"";
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root mounts a small disk");
        return None;
    }
    let setup = Setup::new();
    let state = setup.state().to_string_lossy().into_owned();
    let daemon = [env!("CARGO_BIN_EXE_gatewarden"), "serve", "--listen", "127.0.0.1:0", "--state-dir", &state];
    let args = [&["--mount", "bash", "-c", MOUNTED, "mounted", &state][..], &daemon].concat();
    let daemon = setup.binary(Path::new("unshare")).only_args(&args).start();
    let seen_from_there = state.trim_start_matches('/');
    let filling = PathBuf::from(format!("/proc/{}/root", daemon.pid())).join(seen_from_there).join("filling");
    Some((daemon, filling))
}

#[test]
fn a_disk_without_space_is_503_for_changes_while_supervision_goes_on_and_what_was_answered_is_there() {
    let Some((daemon, filling)) = on_small_disk() else { return };
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    let full = std::fs::write(&filling, vec![0; 32 << 20]).expect_err("it is small");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    let create = |name: &str| daemon.post("/api/agents", &json!({"name": name, "role": "research"}));
    // What there is room for in the files is still taken.
    let mut taken = Vec::new();
    let refused = wait::until_ok("a change finds no room", PATIENCE, || {
        let name = format!("agent-{}", taken.len());
        let answer = create(&name);
        if answer.status / 100 != 2 {
            return Ok(answer);
        }
        taken.push(name);
        Err(format!("{} were taken", taken.len()))
    });
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("store_unavailable")), "{}", refused.text);
    assert!(refused.header("retry-after").is_some());
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!((&status["status"], &status["store"]["ok"]), (&json!("degraded"), &json!(false)), "{status}");
    assert!(status["store"]["error"].as_str().is_some_and(|words| words.contains("no space left")), "{status}");
    gateway.kill();
    daemon.until_status(id, "offline");
    gateway.revive();
    daemon.until_status(id, "online");

    std::fs::remove_file(&filling).expect("it was there");
    wait::until_ok("the daemon finds out by itself that there is room", PATIENCE, || {
        let status = daemon.get("/api/status").expect(200).json();
        if status["store"]["ok"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    let name = format!("agent-{}", taken.len());
    assert_eq!(create(&name).status / 100, 2, "what was refused was not begun");
    taken.push(name);
    let agents = daemon.get("/api/agents?limit=500").expect(200).json();
    let mut names: Vec<&str> =
        agents["agents"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    names.retain(|name| name.starts_with("agent-"));
    names.sort_unstable();
    taken.sort_unstable();
    assert_eq!(names, taken);
}
