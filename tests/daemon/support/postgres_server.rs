//! A PostgreSQL of a test's own. Only where TEST_POSTGRES_BIN names the folder of initdb and postgres, as `.ci/postgres` does; else each
//! test says that it was skipped.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::daemon::{Daemon, PATIENCE, Setup};
use super::ports::free_port;
use super::wait;

/// The server refuses to run as root.
const NOBODY: &str = "65534";

/// A server of the test's own.
pub(crate) struct Server {
    bin: PathBuf,
    place: tempfile::TempDir,
    port: u16,
    running: Option<Child>,
    settings: &'static [&'static str],
    /// On a file system of its own, which is in the memory and in the server's eyes only.
    has_small_disk: bool,
}

impl Server {
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[], false)
    }

    /// One with these settings, such as `max_connections=20`, perhaps on a disk of 120 MB, which needs root.
    pub(crate) fn start_with(settings: &'static [&'static str], has_small_disk: bool) -> Option<Self> {
        if has_small_disk && !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root mounts a small disk");
            return None;
        }
        let Some(bin) = std::env::var_os("TEST_POSTGRES_BIN") else {
            eprintln!("SKIPPED: no PostgreSQL; run it by .ci/postgres");
            return None;
        };
        let place = tempfile::Builder::new().prefix("gatewarden-server-").tempdir_in("/tmp").expect("a directory");
        let mut server = Self { bin: bin.into(), place, port: free_port(), running: None, settings, has_small_disk };
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

    /// Its data are copied there at its start, and gone with its end.
    fn command_on_small_disk(&self) -> Command {
        const MOUNTED: &str = "cp -a \"$1\" \"$1.kept\" && mount -t tmpfs -o size=120m,uid=65534,mode=700 none \"$1\" \
             && cp -a \"$1.kept/.\" \"$1\" && shift && exec \"$@\"";
        let server = self.command("postgres");
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-c", MOUNTED, "mounted"]).arg(self.data());
        command.arg(server.get_program()).args(server.get_args()).env("HOME", self.place.path());
        command
    }

    /// Writes its small disk full.
    pub(crate) fn fill_disk(&self) {
        let full = fs::write(self.filling(), vec![0; 200 << 20]).expect_err("it is small");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    }

    /// Gives the room free again.
    pub(crate) fn clear_disk(&self) {
        fs::remove_file(self.filling()).expect("it was there");
    }

    fn filling(&self) -> PathBuf {
        let pid = self.running.as_ref().expect("it runs").id();
        let data = self.data();
        PathBuf::from(format!("/proc/{pid}/root")).join(data.strip_prefix("/").expect("a whole path")).join("filling")
    }

    /// Starts it where it is stopped, and waits until it takes connections.
    pub(crate) fn resume(&mut self) {
        let log = fs::File::create(self.place.path().join("log")).expect("a log");
        let mut command = if self.has_small_disk { self.command_on_small_disk() } else { self.command("postgres") };
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        self.settings.iter().for_each(|setting| _ = command.args(["-c", setting]));
        command.args(["-c", "unix_socket_directories="]).stdout(Stdio::null()).stderr(log);
        self.running = Some(command.spawn().expect("the server runs"));
        let log = self.place.path().join("log");
        wait::until("the server is up", PATIENCE, || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("ready to accept connections"))
        });
    }

    /// Sends a signal to the server and to all its sessions, each of which is a process.
    pub(crate) fn signal_all(&self, signal: &str) {
        let pid = self.running.as_ref().expect("it runs").id();
        let sessions = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its sessions");
        let _ = Command::new("kill").arg(signal).args(sessions.split_whitespace()).status();
        self.signal(signal);
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn signal(&self, name: &str) {
        let pid = self.running.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    }

    /// Sends all its sessions away, at once.
    pub(crate) fn stop(&mut self) {
        self.signal("-INT");
        self.running.take().expect("it runs").wait().expect("it ends");
    }

    /// What a query of one value answers.
    pub(crate) fn ask(&self, query: &str) -> String {
        let asked =
            Command::new(self.bin.join("psql")).args([&self.url(), "-XAtc", query]).output().expect("psql runs");
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
    }

    /// Takes no writes any more, or takes them again: what a standby does.
    pub(crate) fn set_read_only(&self, is_on: bool) {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([&self.url(), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", "SET default_transaction_read_only = off"]);
        psql.args(["-c", &format!("ALTER SYSTEM SET default_transaction_read_only = {is_on}")]);
        let done = psql.args(["-c", "SELECT pg_reload_conf()"]).output().expect("psql runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// A session that does this in a transaction and keeps that open, until it is dropped.
    pub(crate) fn holds(&self, statement: &str) -> Held {
        self.try_to_hold(statement).expect("it has a place")
    }

    /// The same, where the server has a place for it.
    pub(crate) fn try_to_hold(&self, statement: &str) -> Option<Held> {
        let mut command = Command::new(self.bin.join("psql"));
        command.args([&self.url(), "-XAtq", "-v", "ON_ERROR_STOP=1"]);
        let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql runs");
        let (mut into, out) = (psql.stdin.take().expect("piped"), psql.stdout.take().expect("piped"));
        // One that found no place reads nothing.
        let _ = writeln!(into, "BEGIN; {statement}; SELECT 'held';");
        let mut said = String::new();
        BufReader::new(out).read_line(&mut said).expect("it answers");
        let held = Held { psql, _into: into };
        (said.trim() == "held").then_some(held)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://gw:pw-secret@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup::new().env("GATEWARDEN_STORE__URL", &self.url())
    }
}

/// A further node: it has the encryption key of the first.
pub(crate) fn next_to(first: &Daemon, setup: Setup) -> Setup {
    let key = "gatewarden.key";
    fs::DirBuilder::new().recursive(true).mode(0o700).create(setup.state()).expect("a directory");
    fs::copy(first.setup().state().join(key), setup.state().join(key)).expect("the key");
    setup
}

/// A session with an open transaction.
pub(crate) struct Held {
    psql: Child,
    _into: std::process::ChildStdin,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
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
