//! `gatewarden up`: the first minute of a new user.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::daemon::PATIENCE;
use super::support::http::{self, Answer};
use super::support::own_gateway::GatewayHome;
use super::support::wait::{self, Stopwatch};

/// A running `up`. Dropping it kills it, and its gateway ends by itself.
struct Up {
    child: Child,
    said: Arc<Mutex<String>>,
    address: SocketAddr,
    key: String,
    /// From when it listened until it said how to go on.
    took: Duration,
}

fn command(home: &Path, gateway_port: u16) -> Command {
    command_at("127.0.0.1:0", home, gateway_port)
}

fn command_at(listen: &str, home: &Path, gateway_port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewarden"));
    command
        .args(["up", "--listen", listen, "--gateway-port", &gateway_port.to_string(), "--state-dir"])
        .arg(home.join("up"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("GATEWARDEN_RATE_LIMIT__ENABLED", "false")
        // A busy test machine is not a slow gateway.
        .env("GATEWARDEN_GATEWAY__DEGRADED_LATENCY", "10s")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A printed line, as it is pasted into another terminal of the same person.
fn paste(line: &str, home: &Path) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", line]).env_clear().env("HOME", home).output().expect("a shell");
    if output.status.success() { Ok(()) } else { Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr))) }
}

fn start(home: &Path, gateway_port: u16) -> Up {
    let mut child = command(home, gateway_port).spawn().expect("the binary starts");
    let said = Arc::new(Mutex::new(String::new()));
    follow(child.stdout.take().expect("piped"), &said);
    follow(child.stderr.take().expect("piped"), &said);
    let until_said = |words: &str| {
        wait::until_ok(&format!("up says {words}"), PATIENCE, || {
            let text = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if text.contains(words) { Ok(text) } else { Err(text) }
        })
    };
    until_said("listening on http://");
    let watch = Stopwatch::start();
    let text = until_said("Ctrl-C ends everything");
    let took = watch.elapsed();
    let address = text.lines().find_map(|line| line.strip_prefix("listening on http://")).expect("an address");
    let key = std::fs::read_to_string(home.join("up/admin.key")).expect("a key").trim().to_owned();
    Up { child, said, address: address.parse().expect("an address"), key, took }
}

fn follow(from: impl std::io::Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{line}\n"));
        }
    });
}

impl Up {
    fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let headers = [("X-API-Key", self.key.as_str()), ("Content-Type", "application/json")];
        let body = body.map(|body| body.to_string());
        http::request(self.address, method, path, &headers, body.as_deref().map(str::as_bytes)).expect("an answer")
    }

    fn control(&self, action: &str) {
        let path = "/api/sessions/agent:sample:main/control";
        self.call("POST", path, Some(json!({"action": action}))).expect(200);
    }

    fn gateway_pid(&self) -> Option<u32> {
        let output = Command::new("ps").args(["-o", "pid=", "--ppid", &self.child.id().to_string()]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- what up said ---\n{}", self.said());
        }
    }
}

/// The state of a process (`T` is stopped); none where it is gone.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next().filter(|state| *state != 'Z')
}

/// The session of a process (that of its terminal, where it has one).
fn session_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(3).map(str::to_owned)
}

/// The child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &pid.to_string()]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next()?.trim().parse().ok()
}

/// Answers as web servers do, for as long as it is asked.
fn web_server() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
        }
    });
    port
}

#[test]
fn a_port_that_another_program_has_is_named_and_not_this_very_command() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let listen = format!("127.0.0.1:{}", web_server());
    let output = command_at(&listen, home.path(), 0).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains(&listen) && !said.contains("in use by another gatewarden"),
        "{said}"
    );
}

#[test]
fn what_is_no_gateway_of_ours_at_its_port_is_said_with_a_way_on() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let port = web_server();
    let up = start(home.path(), port);
    let said = up.said();
    for words in
        [&format!("something listens at 127.0.0.1:{port} already"), "is no OpenClaw gateway", "up --gateway-port 0"]
    {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    assert!(up.took < Duration::from_secs(15), "at once, not after {:?}", up.took);
    drop(up);
    let beside = start(home.path(), 0);
    assert!(beside.said().contains("(started by this command), online"), "the way on works: {}", beside.said());
}

#[test]
fn a_fresh_directory_becomes_a_gateway_that_runs_pauses_resumes_and_kills_an_agent() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut up = start(home.path(), 0);
    let said = up.said();
    assert!(said.contains("(started by this command), online"), "{said}");
    assert_eq!(said.matches(&up.key).count(), 1, "the key is shown once: {said}");
    let once = said.lines().find_map(|line| line.split_once("/login?once=")).expect("a link").1;
    let body = json!({ "once": once }).to_string();
    let login = || http::request(up.address, "POST", "/api/auth/login", &[], Some(body.as_bytes())).expect("an answer");
    assert_eq!(login().expect(200).json()["role"], "admin");
    login().expect(401);
    let token = std::fs::read_to_string(home.path().join("up/gateway/gateway-token")).expect("a token");
    assert!(!said.contains(token.trim()), "the gateway's token is never shown");
    let again = command(home.path(), 0).output().expect("the binary starts");
    let told = String::from_utf8_lossy(&again.stdout);
    let runs = format!("gatewarden runs already: process {}", up.child.id());
    assert!(again.status.success() && told.starts_with(&runs), "a second up starts nothing: {told}");
    assert!(told.contains(&format!("--url http://{}", up.address)), "it says where: {told}");

    let mut pasted: Vec<&str> = said.lines().filter(|line| line.contains(" --url ")).map(str::trim).collect();
    assert!(pasted.remove(0).contains(" dashboard "), "{said}");
    assert_eq!(pasted.len(), 4, "spawn, pause, resume, events: {said}");
    assert!(pasted.pop().is_some_and(|line| line.contains(" events --types log,spawn_result")), "{said}");
    for (line, answer) in pasted.iter().zip(["count to 60", "paused", "resumed"]) {
        wait::until_ok(answer, PATIENCE, || paste(line, home.path()));
    }
    up.control("kill");

    let body = json!({"agent": "sample", "task": "count to 500", "sessionKey": "agent:sample:main"});
    wait::until_ok("the session is free again", PATIENCE, || {
        let history = up.call("GET", "/api/spawn", None).json();
        if history["history"][0]["status"] == "killed" { Ok(()) } else { Err(history.to_string()) }
    });
    up.call("POST", "/api/spawn", Some(body)).expect(202);
    let gateway = up.gateway_pid().expect("the gateway runs");
    let agent = wait::until_ok("the agent runs", PATIENCE, || child_of(gateway).ok_or_else(|| "no child".to_owned()));
    assert_ne!(
        session_of(gateway),
        session_of(up.child.id()),
        "the gateway has no terminal that an agent could write to"
    );
    assert_eq!(session_of(agent), session_of(gateway));
    wait::until_ok("its words are seen through the daemon", PATIENCE, || {
        let logs = up.call("GET", "/api/gateways/1/logs", None).text;
        if logs.contains("says 2") { Ok(()) } else { Err(logs) }
    });

    up.control("pause");
    wait::until("the process is stopped", PATIENCE, || state(agent) == Some('T'));
    up.control("resume");
    wait::until("the process goes on", PATIENCE, || state(agent).is_some_and(|state| state != 'T'));
    up.control("kill");
    wait::until("the process is gone", PATIENCE, || state(agent).is_none());
    wait::until_ok("the spawn is told as killed", PATIENCE, || {
        let history = up.call("GET", "/api/spawn", None).json();
        if history["history"][0]["status"] == "killed" { Ok(()) } else { Err(history.to_string()) }
    });

    let body = json!({"agent": "sample", "task": "count to 500", "sessionKey": "agent:sample:main"});
    up.call("POST", "/api/spawn", Some(body)).expect(202);
    let agent = wait::until_ok("another one runs", PATIENCE, || child_of(gateway).ok_or_else(|| "no child".to_owned()));
    let watch = Stopwatch::start();
    up.signal("INT");
    let status = wait::until_ok("up ends", PATIENCE, || match up.child.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    });
    let said = wait::until_ok("it says goodbye", PATIENCE, || {
        let said = up.said();
        if said.contains("Stopped. `gatewarden up` goes on from here.") { Ok(said) } else { Err(said) }
    });
    let (_, goodbye) = said.split_once("Ctrl-C ends everything").expect("the welcome");
    if !goodbye.contains("the store took too long") {
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(
            !goodbye.contains("WARN") && !goodbye.contains("ERROR"),
            "the end of its own gateway is no news: {goodbye}"
        );
        assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
    }
    assert_eq!((state(gateway), state(agent)), (None, None), "nothing is left behind");

    // A second start knows everything again and shows no key.
    let again = start(home.path(), 0);
    let gateways = again.call("GET", "/api/gateways", None).expect(200);
    assert_eq!(gateways.json()["gateways"].as_array().map(Vec::len), Some(1), "{}", gateways.text);
    // It listens at another port, and its record follows.
    assert!(again.said().contains(", online") && !again.said().contains(&again.key), "{}", again.said());
}

/// A process that ends with its test, however that ends.
struct KilledAtLast(Child);

impl Drop for KilledAtLast {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn of_two_at_once_one_starts_everything_and_the_other_says_so() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut both = [0, 0].map(|port| KilledAtLast(command(home.path(), port).spawn().expect("it starts")));
    let second = wait::until_ok("one of them ends", PATIENCE, || {
        let ended = both.iter_mut().position(|one| matches!(one.0.try_wait(), Ok(Some(_))));
        ended.ok_or_else(|| "both go on".to_owned())
    });
    let mut told = String::new();
    both[second].0.stdout.take().expect("piped").read_to_string(&mut told).expect("text");
    let status = both[second].0.wait().expect("it has ended");
    let first = &mut both[1 - second].0;
    let runs = format!("gatewarden runs already: process {}", first.id());
    assert!(status.success() && told.starts_with(&runs), "{status}: {told}");
    let said = Arc::new(Mutex::new(String::new()));
    follow(first.stdout.take().expect("piped"), &said);
    wait::until_ok("the other one runs", PATIENCE, || {
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if said.contains("(started by this command), online") { Ok(()) } else { Err(said) }
    });
    signal(first.id(), "INT");
    first.wait().expect("it ends");
}

#[test]
fn a_gateway_that_dies_is_started_again_and_one_whose_supervisor_is_killed_ends() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut up = start(home.path(), 0);
    let first = up.gateway_pid().expect("the gateway runs");
    signal(first, "KILL");
    let second = wait::until_ok("another one runs", PATIENCE, || match up.gateway_pid() {
        Some(pid) if pid != first => Ok(pid),
        other => Err(format!("{other:?}")),
    });
    wait::until_ok("it is online again", PATIENCE, || {
        let list = up.call("GET", "/api/gateways", None).json();
        if list["gateways"][0]["status"] == "online" { Ok(()) } else { Err(list.to_string()) }
    });
    wait::until_ok("it says so", PATIENCE, || {
        let said = up.said();
        if said.contains("It is started again") { Ok(()) } else { Err(said) }
    });
    up.signal("KILL");
    let _ = up.child.wait();
    wait::until("the gateway has ended by itself", PATIENCE, || state(second).is_none());
}

#[test]
fn a_gateway_that_listens_already_is_taken_as_it_is() {
    let home = GatewayHome::quiet();
    let mut command = home.command(&["run", "--port", "0", "--state-dir"]);
    command.arg(home.path().join("up/gateway"));
    let gateway = home.start_command(command);
    let up = start(home.path(), gateway.address.port());
    let said = up.said();
    assert!(said.contains("(it was there already), online"), "{said}");
    assert_eq!(up.gateway_pid(), None, "no second gateway is started");
    drop(up);
    gateway.get("/health", None).expect(200);
}
