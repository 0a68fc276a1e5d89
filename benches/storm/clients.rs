//! Clients that come and go: they ask and change over REST, follow events or leave them unread, spawn, and hang up in between.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::daemon::ADMIN_KEY;
use crate::support::dice::Dice;
use crate::support::http;
use crate::support::scripted_gateway::Fate;
use crate::support::wait;

const ASKERS: u64 = 3;
const SPAWNERS: u64 = 2;
const FOLLOWERS: u64 = 40;

/// What was asked, and how often it was answered how.
pub(crate) type Answers = BTreeMap<String, u64>;

pub(crate) struct Clients {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Answers>>,
}

/// An answer that isn't among those that clients of a storm have to expect.
pub(crate) fn is_odd(what: &str) -> bool {
    let status = what.rsplit_once(' ').map_or(what, |(_, status)| status);
    match status {
        // A sweep goes on for as long as the slowest probe, and the machine may be slow.
        "408" | "429" | "503" => false,
        "409" | "501" | "502" | "504" => !what.contains("/api/spawn"),
        _ => !status.starts_with('2'),
    }
}

impl Clients {
    pub(crate) fn come(to: SocketAddr, gateways: Vec<i64>, dice: &mut Dice) -> Self {
        let over = Arc::<AtomicBool>::default();
        let mut threads = Vec::new();
        for number in 0..ASKERS + SPAWNERS {
            let mut client =
                Client { to, gateways: gateways.clone(), dice: Dice::of(dice.roll(1 << 30)), answers: Answers::new() };
            let over = Arc::clone(&over);
            threads.push(std::thread::spawn(move || {
                for round in 0.. {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    if number < ASKERS {
                        client.ask(&format!("{number}-{round}"))
                    } else {
                        client.spawn(&format!("{number}-{round}"))
                    }
                    wait::holds_for("a moment", Duration::from_millis(client.dice.roll(300)), || true);
                }
                client.answers
            }));
        }
        let seed = dice.roll(1 << 30);
        let over_too = Arc::clone(&over);
        threads.push(std::thread::spawn(move || follow(to, seed, &over_too)));
        Self { over, threads }
    }

    /// They leave; what they were answered.
    pub(crate) fn go(self) -> Answers {
        self.over.store(true, Ordering::SeqCst);
        let mut all = Answers::new();
        for thread in self.threads {
            for (what, times) in thread.join().expect("a client that doesn't panic") {
                *all.entry(what).or_default() += times;
            }
        }
        all
    }
}

struct Client {
    to: SocketAddr,
    gateways: Vec<i64>,
    dice: Dice,
    answers: Answers,
}

impl Client {
    fn send(&mut self, route: &str, method: &str, path: &str, body: Option<&Value>, key: Option<&str>) -> Value {
        let mut headers = vec![("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
        headers.extend(key.map(|key| ("Idempotency-Key", key)));
        let body = body.map(Value::to_string);
        let answer = http::request(self.to, method, path, &headers, body.as_deref().map(str::as_bytes));
        let status = answer
            .as_ref()
            .map_or_else(|error| error.kind().to_string().replace(' ', "-"), |answer| answer.status.to_string());
        *self.answers.entry(format!("{method} {route} {status}")).or_default() += 1;
        answer.map(|answer| answer.json()).unwrap_or_default()
    }

    fn ask(&mut self, name: &str) {
        let id = self.dice.pick(&self.gateways);
        match self.dice.roll(100) {
            0..40 => drop(self.send("/api/gateways/{id}", "GET", &format!("/api/gateways/{id}"), None, None)),
            40..70 => {
                let path = self.dice.pick(&[
                    "/api/gateways",
                    "/api/status",
                    "/api/sessions",
                    "/api/spawn",
                    "/metrics",
                    "/health",
                ]);
                self.send(path, "GET", path, None, None);
            }
            70..80 => {
                let body = json!({"name": format!("passing-{name}"), "host": "127.0.0.1", "port": 1, "token": "any"});
                let made = self.send("/api/gateways", "POST", "/api/gateways", Some(&body), None);
                let body = json!({"id": made["gateway"]["id"]});
                self.send("/api/gateways", "DELETE", "/api/gateways", Some(&body), None);
            }
            80..88 => {
                let body = json!({"name": format!("key-{name}"), "role": "viewer"});
                let made = self.send("/api/keys", "POST", "/api/keys", Some(&body), None);
                let path = format!("/api/keys/{}", made["key"]["id"]);
                self.send("/api/keys/{id}", "DELETE", &path, None, None);
            }
            88 => drop(self.send("/api/gateways/health", "POST", "/api/gateways/health", Some(&json!({})), None)),
            _ => {
                // Hangs up in the middle of a request.
                if let Ok(mut stream) = TcpStream::connect(self.to) {
                    let whole = format!(
                        "POST /api/gateways HTTP/1.1\r\nHost: {}\r\nX-API-Key: {ADMIN_KEY}\r\nContent-Length: 500\r\n\r\n{{",
                        self.to
                    );
                    let length = usize::try_from(self.dice.roll(whole.len() as u64)).expect("small");
                    let _ = stream.write_all(&whole.as_bytes()[..length]);
                }
            }
        }
    }

    fn spawn(&mut self, name: &str) {
        let fate = Fate {
            job: format!("job-{name}"),
            takes_ms: self.dice.roll(2_000),
            fails: self.dice.percent(10),
            ..Fate::default()
        };
        let mut body = json!({"task": serde_json::to_string(&fate).expect("plain")});
        if self.dice.percent(50) {
            body["gateway_id"] = json!(self.dice.pick(&self.gateways));
        }
        let key = self.dice.percent(30).then(|| format!("key-{name}"));
        self.send("/api/spawn", "POST", "/api/spawn", Some(&body), key.as_deref());
        wait::holds_for("a pause", Duration::from_secs(1), || true);
    }
}

/// Followers of events, over SSE and WebSocket, on one thread; some of them don't read.
fn follow(to: SocketAddr, seed: u64, over: &AtomicBool) -> Answers {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let followers = (0..FOLLOWERS).map(|number| async move {
            let mut dice = Dice::of(seed + number);
            let mut answers = Answers::new();
            while !over.load(Ordering::SeqCst) {
                let (route, upgrade) = dice.pick(&[
                    ("/api/events", ""),
                    (
                        "/api/ws",
                        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                    ),
                ]);
                let stays = Duration::from_millis(dice.roll(20_000));
                let (reads, resets) = (dice.percent(85), dice.percent(30));
                let head = format!("GET {route} HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\n{upgrade}\r\n");
                let status = follow_once(to, &head, stays, reads, resets).await.unwrap_or_else(|error| error.kind().to_string().replace(' ', "-"));
                let status = if status == "101" { "200".to_owned() } else { status };
                *answers.entry(format!("GET {route} {status}")).or_default() += 1;
                tokio::time::sleep(Duration::from_millis(dice.roll(3_000))).await;
            }
            answers
        });
        let mut all = Answers::new();
        for answers in futures_util::future::join_all(followers).await {
            for (what, times) in answers {
                *all.entry(what).or_default() += times;
            }
        }
        all
    })
}

async fn follow_once(
    to: SocketAddr,
    head: &str,
    stays: Duration,
    reads: bool,
    resets: bool,
) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(to).await?;
    stream.write_all(head.as_bytes()).await?;
    let mut buffer = vec![0; 16 * 1024];
    let count = stream.read(&mut buffer).await?;
    let status = String::from_utf8_lossy(&buffer[..count]).split(' ').nth(1).unwrap_or("nothing").to_owned();
    let read_on = async {
        if !reads {
            std::future::pending::<()>().await;
        }
        while let Ok(1..) = stream.read(&mut buffer).await {}
    };
    let _ = tokio::time::timeout(stays, read_on).await;
    if resets {
        stream.set_zero_linger()?;
    }
    Ok(status)
}
