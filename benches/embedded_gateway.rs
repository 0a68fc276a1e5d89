//! Figures of the embedded gateway beside a real one in the same run: time from exec to the first hello, memory at rest and with
//! 100 sessions, and answered calls a second over one socket and over 50. Run by hand:
//!
//! ```sh
//! cargo bench --bench embedded_gateway               # the embedded gateway alone
//! cargo bench --bench embedded_gateway -- 2026.9.6   # and this release, installed and started by tests/peers/openclaw
//! ```
//!
//! Prints figures and judges nothing.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark is run by hand, says what it finds and may end at the first surprise"
)]

#[path = "../tests/daemon/support"]
mod support {
    #![expect(dead_code, reason = "the partners are shared with the black-box tests, which use all of them")]
    pub(crate) mod daemon;
    pub(crate) mod http;
    pub(crate) mod own_gateway;
    pub(crate) mod ports;
    pub(crate) mod wait;
}

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::own_gateway::GatewayHome;
use support::wait::Stopwatch;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

const SESSIONS: u32 = 100;
const SOCKETS: u32 = 50;
/// How long calls are counted.
const SPAN: Duration = Duration::from_secs(5);
/// How long a start may take.
const START: Duration = Duration::from_secs(120);
/// Between the last work and a look at the memory.
const REST: Duration = Duration::from_secs(5);

fn main() {
    let release = std::env::args().skip(1).find(|one| !one.starts_with('-'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        println!("load average {}", load_average());
        let home = GatewayHome::quiet();
        let watch = Stopwatch::start();
        let gateway = home.start(&[]);
        let process = Started { port: gateway.address.port(), token: home.token(), leader: gateway.pid(), watch };
        measure("embedded gateway", &process).await;
        drop(gateway);
        let Some(release) = release else { return };
        let peer = Peer::start(&release);
        measure(&format!("OpenClaw {release}"), &peer.process).await;
    });
}

/// A gateway that was just started.
struct Started {
    port: u16,
    token: String,
    leader: u32,
    /// Runs since its start.
    watch: Stopwatch,
}

async fn measure(name: &str, gateway: &Started) {
    let (mut client, bytes) = loop {
        match Client::connect(gateway).await {
            Ok(connected) => break connected,
            Err(reason) if gateway.watch.elapsed() > START => panic!("{name} lets nobody in: {reason}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    println!("\n{name}");
    println!("  exec to first hello      {:>10.0} ms", gateway.watch.elapsed().as_secs_f64() * 1e3);
    println!("  size of the hello        {bytes:>10} bytes");
    tokio::time::sleep(REST).await;
    println!("  memory at rest           {:>10.1} MiB", memory(gateway.leader));
    let mut refused = 0;
    for number in 0..SESSIONS {
        let key = format!("agent:main:bench-{number}");
        let answer = client.call("sessions.create", &json!({"key": key, "label": format!("Bench {number}")})).await;
        if answer.contains("\"ok\":false") {
            refused += 1;
        }
    }
    if refused > 0 {
        println!("  ({refused} of {SESSIONS} sessions were refused)");
    }
    tokio::time::sleep(REST).await;
    println!("  memory, {SESSIONS} sessions     {:>10.1} MiB", memory(gateway.leader));
    for (method, params) in [("ping", json!({})), ("health", json!({})), ("sessions.list", json!({"limit": 10}))] {
        let size = client.call(method, &params).await.len();
        let alone = calls_per_second(gateway, 1, method, &params).await;
        let many = calls_per_second(gateway, SOCKETS, method, &params).await;
        println!("  {method:<14} one socket {alone:>10.0} /s   {SOCKETS} sockets {many:>8.0} /s   ({size} bytes each)");
    }
    println!("  memory afterwards        {:>10.1} MiB", memory(gateway.leader));
}

/// Each socket asks again as soon as it has its answer.
async fn calls_per_second(gateway: &Started, sockets: u32, method: &str, params: &Value) -> f64 {
    let mut clients = Vec::new();
    for _ in 0..sockets {
        clients.push(Client::connect(gateway).await.expect("let in").0);
    }
    let watch = Stopwatch::start();
    let calling = clients.into_iter().map(|mut client| async move {
        let mut count = 0_u32;
        while watch.elapsed() < SPAN {
            client.call(method, params).await;
            count += 1;
        }
        count
    });
    let counts = futures_util::future::join_all(calling).await;
    f64::from(counts.iter().sum::<u32>()) / watch.elapsed().as_secs_f64()
}

/// A client that needs no device: `gateway-client` on loopback with the shared token.
struct Client {
    socket: WebSocketStream<TcpStream>,
    next_id: u32,
}

impl Client {
    /// Connects; also tells how long the hello is.
    async fn connect(gateway: &Started) -> Result<(Self, usize), String> {
        let stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let url = format!("ws://127.0.0.1:{}/", gateway.port);
        let (socket, _) = client_async(url, stream).await.map_err(|error| error.to_string())?;
        let mut client = Self { socket, next_id: 0 };
        let params = json!({"minProtocol": 3, "maxProtocol": 4, "role": "operator",
            "scopes": ["operator.admin", "operator.read", "operator.write"], "auth": {"token": gateway.token},
            "client": {"id": "gateway-client", "mode": "backend", "version": "1.0.0", "platform": "linux"}});
        let hello = client.ask("connect", &params).await?;
        if hello.contains("\"ok\":true") { Ok((client, hello.len())) } else { Err(hello) }
    }

    async fn call(&mut self, method: &str, params: &Value) -> String {
        self.ask(method, params).await.expect("an answer")
    }

    async fn ask(&mut self, method: &str, params: &Value) -> Result<String, String> {
        self.next_id += 1;
        let id = format!("\"bench-{}\"", self.next_id);
        let frame = format!(r#"{{"type":"req","id":{id},"method":"{method}","params":{params}}}"#);
        self.socket.send(Message::text(frame)).await.map_err(|error| error.to_string())?;
        loop {
            match self.socket.next().await {
                // Answers begin with their type and id; nothing else has our id.
                Some(Ok(Message::Text(text))) if text.contains(&id) => return Ok(text.to_string()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("closed".to_owned()),
            }
        }
    }
}

/// A real gateway.
struct Peer {
    process: Started,
}

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openclaw"));
    command.args(arguments).stderr(Stdio::inherit());
    command
}

impl Peer {
    /// Does not wait until the tool finds it ready: the first hello counts.
    fn start(release: &str) -> Self {
        assert!(
            tool(&["install", release]).status().is_ok_and(|status| status.success()),
            "{release} can't be installed"
        );
        let port = support::ports::free_port();
        let _ = tool(&["reset", &port.to_string()]).status();
        let token = format!("bench-token-{port}");
        let watch = Stopwatch::start();
        let output = tool(&["launch", release, &port.to_string(), &token]).output().expect("the tool runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let leader = said.trim().parse().unwrap_or_else(|_| panic!("no process: {said}"));
        Self { process: Started { port, token, leader, watch } }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let port = self.process.port.to_string();
        let _ = tool(&["stop", &port]).status();
        let _ = tool(&["reset", &port]).status();
    }
}

/// Resident memory of a process and of all below it, in MiB.
fn memory(leader: u32) -> f64 {
    let all: Vec<u32> = std::fs::read_dir("/proc")
        .expect("the kernel lists processes")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let mut family = vec![leader];
    loop {
        let more: Vec<u32> = all
            .iter()
            .copied()
            .filter(|pid| !family.contains(pid) && parent(*pid).is_some_and(|pid| family.contains(&pid)))
            .collect();
        if more.is_empty() {
            break;
        }
        family.extend(more);
    }
    let resident = |pid: u32| -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").trim().parse().ok()
    };
    family.into_iter().filter_map(resident).sum::<f64>() / 1024.0
}

/// How busy the machine is, to be said beside the figures.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
