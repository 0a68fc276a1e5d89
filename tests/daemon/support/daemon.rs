//! The real binary under test: started on a loopback port of its own with short timings, watched, killed, restarted on the
//! same state.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{self, Answer};
use super::wait;

/// The admin key of every daemon under test.
pub(crate) const ADMIN_KEY: &str = "admin-key-for-tests-0123456789abcdef";

/// How long anything in a test may take before it counts as failed: generous, since the machine is shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// How long a gateway may stay away whose failed logins have used up their budget: that is whole again after a minute.
pub(crate) const BUDGET: Duration = Duration::from_secs(60 + 45);

/// How to start the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    state: PathBuf,
    /// Removes the directory with the last clone.
    _owned: Option<Arc<tempfile::TempDir>>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    binary: PathBuf,
}

impl Setup {
    /// A fresh state directory and short timings.
    pub(crate) fn new() -> Self {
        let owned = tempfile::Builder::new().prefix("gatewarden-test-").tempdir().expect("a temporary directory");
        let mut setup = Self {
            state: owned.path().join("state"),
            _owned: Some(Arc::new(owned)),
            env: Vec::new(),
            args: vec!["serve".into(), "--listen".into(), "127.0.0.1:0".into()],
            binary: env!("CARGO_BIN_EXE_gatewarden").into(),
        };
        for (key, value) in [
            ("API_KEY", ADMIN_KEY),
            ("GATEWARDEN_LOG__FORMAT", "json"),
            ("GATEWARDEN_LOG__LEVEL", "debug"),
            ("GATEWARDEN_RATE_LIMIT__ENABLED", "false"),
            ("GATEWARDEN_GATEWAY__BACKOFF", "200ms,400ms,1s"),
            // long: a disk that stalls for seconds is the machine's, not the gateway's
            ("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "10s"),
            ("GATEWARDEN_GATEWAY__PROBE_TIMEOUT", "10s"),
            ("GATEWARDEN_GATEWAY__DIAL_TIMEOUT", "10s"),
            ("GATEWARDEN_GATEWAY__CHALLENGE_TIMEOUT", "10s"),
            ("GATEWARDEN_GATEWAY__KNOWN_CHALLENGE_TIMEOUT", "10s"),
            ("GATEWARDEN_GATEWAY__CONNECT_TIMEOUT", "10s"),
            ("GATEWARDEN_GATEWAY__BLOCKED_RECHECK", "3s"),
            // a busy test machine is not a slow gateway
            ("GATEWARDEN_GATEWAY__DEGRADED_LATENCY", "10s"),
            // nobody listens on port 1: the seeded first gateway must not meet a real one
            ("OPENCLAW_GATEWAY_PORT", "1"),
            ("MC_DEFAULT_GATEWAY_NAME", "seeded"),
        ] {
            setup = setup.env(key, value);
        }
        setup
    }

    /// Sets an environment variable, in place of an earlier one of this name.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.retain(|(name, _)| name != key);
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Runs another release.
    pub(crate) fn binary(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.binary);
        self
    }

    /// Leaves an environment variable out.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.env.retain(|(name, _)| name != key);
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// For gateways of a dialect without a challenge: one is waited for as long as this.
    pub(crate) fn without_challenge(self) -> Self {
        self.env("GATEWARDEN_GATEWAY__CHALLENGE_TIMEOUT", "4s")
    }

    /// Replaces all arguments.
    pub(crate) fn only_args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    /// Uses this state directory.
    pub(crate) fn state_dir(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.state);
        self
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.state.join("gatewarden.db")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(&self.args);
        if self.args.first().is_some_and(|first| first == "serve") {
            command.arg("--state-dir").arg(&self.state);
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.state)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the daemon and waits until it listens.
    pub(crate) fn start(&self) -> Daemon {
        self.start_command(&mut self.command())
    }

    /// The same with a listening socket, handed over as the service manager does.
    pub(crate) fn start_on(&self, listener: &std::net::TcpListener) -> Daemon {
        let plain = self.command();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=gatewarden; exec \"$0\" \"$@\""])
            .arg(plain.get_program())
            .args(plain.get_args())
            .env_clear()
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().expect("a second handle"))))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.start_command(&mut command)
    }

    /// The same, where it may end instead: what it said then.
    pub(crate) fn try_to_start(&self) -> Result<Daemon, String> {
        self.try_command(&mut self.command())
    }

    fn start_command(&self, command: &mut Command) -> Daemon {
        let refused = |said| panic!("the daemon ended before it listened; it said: {said}");
        self.try_command(command).unwrap_or_else(refused)
    }

    fn try_command(&self, command: &mut Command) -> Result<Daemon, String> {
        let mut child = command.spawn().expect("the binary starts");
        let stderr = follow(child.stderr.take().expect("piped"));
        let stdout = follow(child.stdout.take().expect("piped"));
        let address = wait::until_ok("the daemon says where it listens", PATIENCE, || {
            let said = text_of(&stdout);
            if let Some(line) = said.lines().find_map(|line| line.strip_prefix("listening on http://")) {
                return line.trim().parse::<SocketAddr>().map(Ok).map_err(|error| format!("{line}: {error}"));
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Ok(Err(format!("{status}: {}", text_of(&stderr))));
            }
            Err(format!("{said:?}; log: {}", text_of(&stderr)))
        })?;
        Ok(Daemon { child, address, stdout, stderr, answers: Mutex::default(), setup: self.clone() })
    }

    /// Starts it without waiting for anything: for commands that go on until somebody ends them.
    pub(crate) fn spawn(&self) -> Going {
        let mut child = self.command().spawn().expect("the binary starts");
        let stderr = follow(child.stderr.take().expect("piped"));
        let stdout = follow(child.stdout.take().expect("piped"));
        Going { child, stdout, stderr }
    }

    /// A command of a client of this daemon, with its admin key.
    pub(crate) fn client_of(daemon: &Daemon, args: &[&str]) -> Self {
        Self::new()
            .without("API_KEY")
            .env("GATEWARDEN_URL", &format!("http://{}", daemon.address()))
            .env("GATEWARDEN_API_KEY", ADMIN_KEY)
            .only_args(args)
    }

    /// The arguments and the environment, for whoever starts the binary in a way of its own.
    pub(crate) fn prepared(&self) -> Command {
        self.command()
    }

    /// Runs it to its end, which must come by itself: for starts that fail and for other subcommands.
    pub(crate) fn run(&self) -> Ended {
        let mut child = self.command().spawn().expect("the binary starts");
        let stderr = follow(child.stderr.take().expect("piped"));
        let stdout = follow(child.stdout.take().expect("piped"));
        let status = wait::until_ok("the process ends by itself", PATIENCE, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => {
                if text_of(&stdout).lines().any(|line| line.starts_with("listening on http://")) {
                    let _ = child.kill();
                    panic!("it started although it should have refused: {}", text_of(&stderr));
                }
                Err(format!("{other:?}: {}", text_of(&stderr)))
            }
        });
        settled(&stdout);
        settled(&stderr);
        Ended { code: status.code(), stdout: text_of(&stdout), stderr: text_of(&stderr) }
    }
}

/// A command that goes on. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Going {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Going {
    /// What it has printed so far.
    pub(crate) fn said(&self) -> String {
        text_of(&self.stdout)
    }

    /// Waits until it has printed this.
    #[track_caller]
    pub(crate) fn until_said(&self, words: &str) {
        wait::until_ok(&format!("it says {words:?}"), PATIENCE, || {
            let said = self.said();
            if said.contains(words) { Ok(()) } else { Err(format!("{said}; {}", text_of(&self.stderr))) }
        });
    }

    /// Waits for its end, which must come by itself.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Ended {
        let child = &mut self.child;
        let status = wait::until_ok("it ends by itself", PATIENCE, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        settled(&self.stdout);
        settled(&self.stderr);
        Ended { code: status.code(), stdout: text_of(&self.stdout), stderr: text_of(&self.stderr) }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

type Captured = Arc<Mutex<(Vec<u8>, bool)>>;

fn follow(from: impl Read + Send + 'static) -> Captured {
    let captured: Captured = Arc::default();
    let sink = Arc::clone(&captured);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            sink.lock().unwrap_or_else(PoisonError::into_inner).0.append(&mut line);
        }
        sink.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
    });
    captured
}

fn text_of(captured: &Captured) -> String {
    String::from_utf8_lossy(&captured.lock().unwrap_or_else(PoisonError::into_inner).0).into_owned()
}

fn settled(captured: &Captured) {
    wait::until("its output has been read to the end", PATIENCE, || {
        captured.lock().unwrap_or_else(PoisonError::into_inner).1
    });
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    stdout: Captured,
    stderr: Captured,
    answers: Mutex<String>,
    setup: Setup,
}

impl Daemon {
    /// Starts one with a fresh state and short timings.
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether its process is there.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it was set up.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Any request with any key (or none). Every answer is kept for [`Daemon::everything_said`].
    pub(crate) fn try_call(
        &self,
        key: Option<&str>,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        let mut headers = Vec::new();
        if let Some(key) = key {
            headers.push(("X-API-Key", key));
        }
        let text = body.map(Value::to_string);
        if text.is_some() {
            headers.push(("Content-Type", "application/json"));
        }
        let answer = http::request(self.address, method, path, &headers, text.as_deref().map(str::as_bytes))?;
        let mut said = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // enough to find a leak by, without keeping megabytes of polling
        if said.len() < 8 * 1024 * 1024 {
            said.push_str(&format!("{method} {path} {} {:?} {}\n", answer.status, answer.headers, answer.text));
        }
        Ok(answer)
    }

    /// Whether it acts and is ready. It doesn't answer while it takes a role over, which breaks connections, or where it is gone.
    pub(crate) fn is_ready(&self) -> bool {
        self.try_call(None, "GET", "/ready", None).is_ok_and(|answer| answer.status == 200)
    }

    /// A request as admin.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        match self.try_call(Some(ADMIN_KEY), method, path, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path} got no answer: {error}; log: {}", self.log()),
        }
    }

    /// `GET` as admin.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    /// `POST` as admin.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body))
    }

    /// Registers a gateway on a loopback port; its id.
    #[track_caller]
    pub(crate) fn register(&self, name: &str, port: u16, token: &str) -> i64 {
        self.register_with(&json!({"name": name, "host": "127.0.0.1", "port": port, "token": token}))
    }

    /// Registers a gateway; its id.
    #[track_caller]
    pub(crate) fn register_with(&self, body: &Value) -> i64 {
        let created = self.post("/api/gateways", body).expect(201).json();
        created["gateway"]["id"].as_i64().expect("an id")
    }

    /// `DELETE` of a gateway.
    #[track_caller]
    pub(crate) fn delete(&self, id: i64) -> Answer {
        self.call("DELETE", "/api/gateways", Some(&json!({"id": id})))
    }

    /// `PUT` of a gateway.
    #[track_caller]
    pub(crate) fn update(&self, body: &Value) -> Answer {
        self.call("PUT", "/api/gateways", Some(body))
    }

    /// All gateways as listed.
    #[track_caller]
    pub(crate) fn gateways(&self) -> Vec<Value> {
        self.get("/api/gateways").expect(200).json()["gateways"].as_array().cloned().expect("a list")
    }

    /// The main agent that an answer of the organization API names by the id of its record, by its id on the gateway.
    #[track_caller]
    pub(crate) fn main_agent(&self, answer: &Value) -> String {
        let id = answer["gateway_agent_id"].as_str().unwrap_or_else(|| panic!("no main agent in {answer}"));
        let agent = self.get(&format!("/api/agents/{id}")).expect(200).json()["agent"].clone();
        assert_eq!((&agent["is_gateway_main"], &agent["board_id"]), (&Value::Bool(true), &Value::Null), "{agent}");
        agent["config"]["id"].as_str().unwrap_or_else(|| panic!("no id on the gateway in {agent}")).to_owned()
    }

    /// One gateway as listed.
    #[track_caller]
    pub(crate) fn gateway(&self, id: i64) -> Value {
        self.gateways().into_iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("gateway {id} is not listed"))
    }

    /// Waits until a gateway looks as wanted, and gives it.
    #[track_caller]
    pub(crate) fn until(&self, id: i64, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until_ok(what, limit, || {
            let gateway = self.gateway(id);
            if wanted(&gateway) { Ok(gateway) } else { Err(gateway.to_string()) }
        })
    }

    /// Waits until a gateway has this status.
    #[track_caller]
    pub(crate) fn until_status(&self, id: i64, status: &str) -> Value {
        self.until(id, &format!("gateway {id} is {status}"), PATIENCE, |gateway| gateway["status"] == status)
    }

    /// Waits until a gateway shows this error code.
    #[track_caller]
    pub(crate) fn until_code(&self, id: i64, code: &str) -> Value {
        self.until(id, &format!("gateway {id} shows {code}"), PATIENCE, |gateway| gateway["last_error"]["code"] == code)
    }

    /// The metrics page.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics").expect(200).text
    }

    /// A new API key of this role.
    #[track_caller]
    pub(crate) fn new_key(&self, name: &str, role: &str) -> String {
        let created = self.post("/api/keys", &json!({"name": name, "role": role})).expect(201).json();
        created["api_key"].as_str().unwrap_or_else(|| panic!("no key in {created}")).to_owned()
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        text_of(&self.stderr)
    }

    /// Its log lines that are JSON.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line of the log with all of these words: it is written, and read here, a little after the fact.
    #[track_caller]
    pub(crate) fn until_logged(&self, words: &[&str]) {
        wait::until_ok(&format!("a line of the log with {words:?}"), PATIENCE, || {
            let log = self.log();
            if log.lines().any(|line| words.iter().all(|word| line.contains(word))) { Ok(()) } else { Err(log) }
        });
    }

    /// Everything that it ever gave away: log, standard output, every answer.
    pub(crate) fn everything_said(&self) -> String {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        format!("{}\n{}\n{answers}", self.log(), text_of(&self.stdout))
    }

    /// Resident memory, bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.kernel_says("VmRSS:")
    }

    /// The most resident memory that it ever had, bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.kernel_says("VmHWM:")
    }

    /// A line of the kernel's status of the process, bytes.
    pub(crate) fn kernel_says(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// Sends a signal by its name, for instance `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait::until_ok("the daemon ends", PATIENCE, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
    }

    /// Stops it politely and waits.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        self.ends_well();
    }

    /// Waits for its end after a signal. It must end well, or say that the disk was too slow for its last observations.
    #[track_caller]
    pub(crate) fn ends_well(&mut self) -> bool {
        self.ends_well_or_says(&[])
    }

    /// Waits for its end after a signal: it ends well, or has said one of these words, or that the disk is to blame; then false.
    #[track_caller]
    pub(crate) fn ends_well_or_says(&mut self, words: &[&str]) -> bool {
        let status = self.wait();
        settled(&self.stderr);
        let log = self.log();
        let says = |words: &&str| log.contains(*words);
        let is_excused = says(&"the store took too long and is left behind") || words.iter().any(says);
        assert!(status.success() || is_excused, "{status}; log: {log}");
        !is_excused
    }

    /// `kill -9`, at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// `kill -9`, then a new start on the same state.
    pub(crate) fn crash_and_restart(&mut self) {
        self.kill();
        *self = self.setup.start();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().filter(|line| !line.contains("access_log")).take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            println!("--- last log lines of the daemon ---\n{}", tail.join("\n"));
        }
    }
}
