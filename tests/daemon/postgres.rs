//! The daemon with its database on a PostgreSQL. Only where TEST_POSTGRES_BIN names the folder of initdb and postgres, as
//! `.ci/postgres` does; else each test says that it was skipped.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::fine;
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::http::Answer;
use crate::support::ports::free_port;
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

/// The server refuses to run as root.
const NOBODY: &str = "65534";

/// A server of the test's own.
struct Server {
    bin: PathBuf,
    place: tempfile::TempDir,
    port: u16,
    running: Option<Child>,
}

impl Server {
    fn start() -> Option<Self> {
        let Some(bin) = std::env::var_os("TEST_POSTGRES_BIN") else {
            eprintln!("SKIPPED: no PostgreSQL; run it by .ci/postgres");
            return None;
        };
        let place = tempfile::Builder::new().prefix("gatewarden-server-").tempdir_in("/tmp").expect("a directory");
        let mut server = Self { bin: bin.into(), place, port: free_port(), running: None };
        std::os::unix::fs::chown(server.place.path(), Some(65534), Some(65534)).ok();
        let data = server.data();
        let mut make = server.command("initdb");
        make.args(["-U", "gw", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-D"]).arg(&data);
        let made = make.output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.resume();
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        if !rustix::process::geteuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program);
        command.env("HOME", self.place.path()).current_dir(self.place.path());
        command
    }

    /// Starts it where it is stopped, and waits until it takes connections.
    fn resume(&mut self) {
        let log = fs::File::create(self.place.path().join("log")).expect("a log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories="]).stdout(Stdio::null()).stderr(log);
        self.running = Some(command.spawn().expect("the server runs"));
        let log = self.place.path().join("log");
        wait::until("the server is up", PATIENCE, || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("ready to accept connections"))
        });
    }

    fn signal(&self, name: &str) {
        let pid = self.running.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    }

    /// Sends all its sessions away, at once.
    fn stop(&mut self) {
        self.signal("-INT");
        self.running.take().expect("it runs").wait().expect("it ends");
    }

    fn url(&self) -> String {
        format!("postgres://gw:pw-secret@127.0.0.1:{}/postgres", self.port)
    }

    fn setup(&self) -> Setup {
        Setup::new().env("GATEWARDEN_STORE__URL", &self.url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = Command::new("kill").args(["-QUIT", &running.id().to_string()]).status();
            let _ = running.wait();
        }
    }
}

fn names(daemon: &Daemon) -> Vec<String> {
    daemon.gateways().iter().map(|gateway| gateway["name"].as_str().expect("a name").to_owned()).collect()
}

fn spawns(daemon: &Daemon) -> Vec<Value> {
    daemon.get("/api/spawn").expect(200).json()["history"].as_array().expect("a list").clone()
}

fn try_to_register(daemon: &Daemon, name: &str) -> Answer {
    let body = json!({"name": name, "host": "127.0.0.1", "port": 1, "token": "tok"});
    daemon.call("POST", "/api/gateways", Some(&body))
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9_of_the_daemon_and_restarts_of_the_server() {
    let Some(mut server) = Server::start() else { return };
    let setup = server.setup();
    let gateway = ScriptedGateway::of(Form::Protocol4, "tok-secret");
    let mut daemon = setup.start();
    let identity = daemon.get("/api/identity").expect(200).json();
    let id = daemon.register("lab", gateway.port(), "tok-secret");
    daemon.until_status(id, "online");
    let spawned = daemon.post("/api/spawn", &json!({"task": "Count the stars", "gateway_id": id}));
    let (before, listed) = (names(&daemon), spawns(&daemon));
    assert!(listed.len() == 1, "{} {listed:?}", spawned.text);

    daemon.crash_and_restart();
    assert_eq!(names(&daemon), before);
    assert_eq!(daemon.get("/api/identity").expect(200).json(), identity);
    assert_eq!(spawns(&daemon).len(), 1);
    daemon.until_status(id, "online");

    // Away: supervision and lists go on, writes say why not; back: everything goes on by itself.
    server.stop();
    let refused = try_to_register(&daemon, "meanwhile");
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.text.contains("the database server"), "{}", refused.text);
    assert_eq!(names(&daemon), before);
    daemon.until_status(id, "online");
    server.resume();
    wait::until("writes go on", PATIENCE, || try_to_register(&daemon, "afterwards").status == 201);
    assert_eq!(spawns(&daemon).len(), 1);

    assert!(!daemon.everything_said().contains("pw-secret"), "the password is nowhere");
    daemon.stop();
    let again = setup.start();
    assert!(names(&again).contains(&"afterwards".to_owned()) && !names(&again).contains(&"meanwhile".to_owned()));
}

#[test]
fn a_frozen_server_costs_three_seconds_and_no_gateway() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::of(Form::Protocol4, "tok-secret");
    let daemon = server.setup().start();
    let id = daemon.register("lab", gateway.port(), "tok-secret");
    daemon.until_status(id, "online");
    let server_pid = server.running.as_ref().expect("it runs").id();
    let all = |signal: &str| {
        // The server's own processes: one for each session.
        let sessions =
            fs::read_to_string(format!("/proc/{server_pid}/task/{server_pid}/children")).expect("its sessions");
        let _ = Command::new("kill").arg(signal).args(sessions.split_whitespace()).status();
        server.signal(signal);
    };
    all("-STOP");
    let began = wait::Stopwatch::start();
    let refused = try_to_register(&daemon, "frozen");
    assert!([503, 504].contains(&refused.status), "{}", refused.text);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    daemon.until_status(id, "online");
    all("-CONT");
    wait::until("writes go on", PATIENCE, || [201, 409].contains(&try_to_register(&daemon, "thawed").status));
}

#[test]
fn a_second_daemon_on_the_same_database_is_refused() {
    let Some(server) = Server::start() else { return };
    let daemon = server.setup().start();
    let second = server.setup().run();
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("another gatewarden works on it"), "{}", second.stderr);
    assert!(!second.stderr.contains("pw-secret"));
    daemon.register("lab", 1, "tok");
}

#[test]
fn the_commands_know_a_server() {
    let Some(server) = Server::start() else { return };
    let setup = server.setup();
    let daemon = setup.start();
    daemon.register("lab", 1, "tok");
    assert!(fine(&daemon, &["gateways", "list"]).contains("lab"));
    let state = setup.state().to_string_lossy().into_owned();
    let run = |args: &[&str]| setup.clone().only_args(&[args, &["--state-dir", &state]].concat()).run();
    let check = run(&["config", "check"]);
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    assert!(check.stdout.contains("store.url") && !check.stdout.contains("pw-secret"), "{}", check.stdout);
    let doctor = run(&["doctor"]);
    assert!(doctor.stdout.contains("PostgreSQL") && !doctor.stdout.contains("pw-secret"), "{}", doctor.stdout);
    for args in [&["backup"][..], &["rekey"], &["restore", "some.db"]] {
        let refused = run(args);
        assert_eq!(refused.code, Some(2), "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("pg_dump") && !refused.stderr.contains("pw-secret"), "{}", refused.stderr);
    }
    let identity = run(&["identity"]);
    assert_eq!(identity.code, Some(0), "beside the daemon: {}", identity.stderr);
    assert!(
        identity.stdout.contains(daemon.get("/api/identity").expect(200).json()["device_id"].as_str().expect("an id"))
    );
}
