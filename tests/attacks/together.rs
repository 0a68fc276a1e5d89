//! All attacks at once against a daemon in a memory cgroup of 512 MiB (where one can be had), while a client that works as a
//! dashboard does goes on being served; afterwards the process is as it was before.
//!
//! Takes 20 s; `GATEWARDEN_ATTACK_SECONDS=300` makes it longer. Prints how long the client waited and what was left behind.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt;

use crate::attackers::{flood, narrow};
use crate::costs::{MIB, Measured};
use crate::gateways::{long_row, nested_maps};
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::event_stream::EventStream;
use crate::support::http;
use crate::support::own_gateway::GatewayHome;
use crate::support::rpc_client::RpcClient;
use crate::support::scripted_gateway::{Behaviour, Form, ScriptedGateway};
use crate::support::wait::{self, Stopwatch};

const MEMORY_LIMIT: u64 = 512 * MIB;
/// Between two looks of the client at the list.
const CLIENT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two steps of one attacker: two cores have to serve attackers, daemon and client.
const ATTACK_INTERVAL: Duration = Duration::from_millis(20);

/// How long the client uses a connection again after it last did.
const KEPT: Duration = Duration::from_secs(3);
/// An attacker's patience.
const IMPATIENT: Duration = Duration::from_secs(2);

/// Lets time go by: between two steps of a load, which must leave room for others. Never to wait for a state.
#[expect(clippy::disallowed_methods, reason = "a load has a pace")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Bytes that one connection sends at a time, at most.
const MAX_FLOOD: usize = 256 * 1024;

/// How long the attacks go on.
fn span() -> Duration {
    let asked = std::env::var("GATEWARDEN_ATTACK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(20))
}

/// A memory cgroup with a limit, removed at the end.
struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    /// Puts a process into a new one. None where this process may not make any.
    fn around(pid: u32) -> Option<Self> {
        let name = format!("gatewarden-attacks-{pid}");
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let made = Self(PathBuf::from(root).join(&name));
            let is_made = std::fs::create_dir(&made.0).is_ok();
            if is_made
                && std::fs::write(made.0.join(limit), MEMORY_LIMIT.to_string()).is_ok()
                && std::fs::write(made.0.join("cgroup.procs"), pid.to_string()).is_ok()
            {
                return Some(made);
            }
        }
        None
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // Possible once its process has ended.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// What a process holds once it is at rest.
#[derive(Debug, Clone, Copy)]
struct Holdings {
    memory_mib: u64,
    descriptors: usize,
}

impl Holdings {
    fn of(process: Measured) -> Self {
        Self { memory_mib: process.memory() / MIB, descriptors: process.descriptors() }
    }
}

/// Processor time that a process uses in three seconds.
fn work_at_rest(process: Measured) -> Duration {
    let before = process.processor_time();
    pause(Duration::from_secs(3));
    process.processor_time() - before
}

fn connect(to: SocketAddr, limit: Duration) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, limit).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(200))).ok()?;
    Some(stream)
}

/// Ends a connection by a reset.
fn reset(stream: TcpStream) {
    let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
}

/// Whom the attackers attack, and with what keys.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    viewer_key: String,
    over: Arc<AtomicBool>,
    steps: Arc<AtomicUsize>,
}

impl Target {
    /// Whether there is time for one more step.
    fn goes_on(&self) -> bool {
        self.steps.fetch_add(1, Ordering::Relaxed);
        pause(ATTACK_INTERVAL);
        !self.over.load(Ordering::Relaxed)
    }

    fn attack(&self, with: fn(&Self)) -> JoinHandle<()> {
        let target = self.clone();
        std::thread::spawn(move || with(&target))
    }
}

/// Requests without end, whose answers nobody reads.
fn pipeline(target: &Target, request: &str, connections: usize) {
    let mut open = std::collections::VecDeque::new();
    while target.goes_on() {
        let mut stream = narrow(target.address);
        flood(&mut stream, request, MAX_FLOOD);
        open.push_back(stream);
        if open.len() > connections {
            open.pop_front();
        }
        for stream in &mut open {
            flood(stream, request, MAX_FLOOD);
        }
    }
}

fn pipelined_large_answers(target: &Target) {
    pipeline(target, "GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 100);
}

fn pipelined_small_answers(target: &Target) {
    pipeline(target, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 50);
}

/// Bodies that never end, from nobody in particular.
fn endless_logins(target: &Target) {
    let mut open = Vec::new();
    for length in [4_000, 1_048_000].into_iter().cycle() {
        if !target.goes_on() {
            return;
        }
        let head = format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        if let Some(mut stream) = connect(target.address, IMPATIENT) {
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&vec![b' '; length - 1]);
            open.push(stream);
        }
        if open.len() > 500 {
            open.drain(..100);
        }
    }
}

/// Heads that never end, and connections that send nothing.
fn half_open(target: &Target) {
    let mut open = Vec::new();
    while target.goes_on() {
        if let Some(mut stream) = connect(target.address, IMPATIENT) {
            if open.len() % 2 == 0 {
                let _ = stream.write_all(b"GET /api/gateways HTTP/1.1\r\nX-Trickle: ");
            }
            open.push(stream);
        }
        for stream in open.iter_mut().rev().take(20) {
            let _ = stream.write(b"x");
        }
        if open.len() > 500 {
            open.drain(..100);
        }
    }
}

/// WebSockets on which nobody says who they are: more than there are places for such.
fn silent_web_sockets(target: &Target) {
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut open = std::collections::VecDeque::new();
    while target.goes_on() {
        if let Some(mut stream) = connect(target.address, IMPATIENT) {
            let _ = stream.write_all(request.as_bytes());
            open.push_back(stream);
        }
        if open.len() > 200 {
            open.pop_front();
        }
    }
}

/// More event streams than one key may have.
fn streams_of_one_key(target: &Target) {
    let request = format!("GET /api/events HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\n\r\n", target.viewer_key);
    let mut open = Vec::new();
    while target.goes_on() {
        if let Some(mut stream) = connect(target.address, IMPATIENT) {
            let _ = stream.write_all(request.as_bytes());
            open.push(stream);
        }
        if open.len() > 600 {
            open.drain(..300);
        }
    }
}

/// Wrong keys, foreign hosts and nonsense.
fn strangers(target: &Target) {
    let requests = [
        "GET /api/gateways HTTP/1.1\r\nHost: localhost\r\nX-API-Key: guess\r\nConnection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\nzz\r\n",
    ];
    for request in requests.into_iter().cycle() {
        if !target.goes_on() {
            return;
        }
        if let Some(mut stream) = connect(target.address, IMPATIENT) {
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read(&mut [0; 4096]);
        }
    }
}

/// An operator's connection that breaks off in the middle of its changes.
fn broken_off_changes(target: &Target) {
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
    while target.goes_on() {
        let made = http::request(
            target.address,
            "POST",
            "/api/keys",
            &headers,
            Some(br#"{"name": "short-lived", "role": "viewer"}"#),
        );
        let Some(key) = made.ok().filter(|answer| answer.status == 201).map(|answer| answer.json()) else { continue };
        let id = &key["key"]["id"];
        let request = format!("DELETE /api/keys/{id} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n");
        if let Some(mut stream) = connect(target.address, IMPATIENT) {
            let _ = stream.write_all(request.as_bytes());
            reset(stream);
        }
    }
}

/// What the client met.
#[derive(Debug, Default)]
struct Served {
    waits: Vec<Duration>,
    failures: Vec<String>,
}

/// Reads the list every second, by turns on a new connection and by the one before, as browsers do; and follows the events.
fn client(address: SocketAddr, over: &AtomicBool) -> Served {
    let mut served = Served::default();
    let request = format!("GET /api/gateways HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n");
    let mut kept: Option<TcpStream> = None;
    let mut asked = Stopwatch::start();
    while !over.load(Ordering::Relaxed) {
        // One that was idle for 5 s may be closed at any moment.
        if asked.elapsed() > KEPT {
            kept = None;
        }
        asked = Stopwatch::start();
        let watch = asked;
        let answered = ask(&mut kept, address, &request);
        served.waits.push(watch.elapsed());
        if let Err(reason) = answered {
            served.failures.push(format!("after {} answers: {reason}", served.waits.len()));
        }
        pause(CLIENT_INTERVAL.saturating_sub(watch.elapsed()));
    }
    served
}

/// One request on the connection of the last one, or on a new one where there is none; every other connection is kept.
fn ask(kept: &mut Option<TcpStream>, address: SocketAddr, request: &str) -> Result<(), String> {
    let (mut stream, is_new) = match kept.take() {
        Some(stream) => (stream, false),
        None => (connect(address, PATIENCE).ok_or("no connection")?, true),
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut got = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.map_err(|error| error.to_string())?,
        };
        if read == 0 {
            return Err(format!("the connection ended after {} bytes", got.len()));
        }
        got.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&got);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if length.is_some_and(|length: usize| body.len() >= length) {
            if !head.starts_with("HTTP/1.1 200 ") {
                return Err(head.lines().next().unwrap_or_default().to_owned());
            }
            if is_new {
                *kept = Some(stream);
            }
            return Ok(());
        }
    }
}

fn hostile_gateways(daemon: &Daemon) -> Vec<ScriptedGateway> {
    (0..4)
        .map(|number| {
            let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "token"));
            daemon.register(&format!("hostile-{number}"), gateway.port(), "token");
            gateway
        })
        .collect()
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("an attacker ends in order");
    }
}

#[test]
fn all_attacks_at_once_cost_no_client_an_answer_and_leave_nothing_behind() {
    let mut daemon = Setup::new().env("GATEWARDEN_LOG__LEVEL", "info").start();
    let cgroup = MemoryCgroup::around(daemon.pid());
    let honest = ScriptedGateway::of(Form::Protocol4, "token");
    let honest_id = daemon.register("honest", honest.port(), "token");
    daemon.until_status(honest_id, "online");
    let viewer_key = daemon.new_key("watcher", "viewer");
    let hostile = hostile_gateways(&daemon);

    let target = Target {
        address: daemon.address(),
        viewer_key,
        over: Arc::new(AtomicBool::new(false)),
        steps: Arc::new(AtomicUsize::new(0)),
    };
    // A short round of everything first: what the process needs for its work is not what is left behind.
    let all = [
        pipelined_large_answers,
        pipelined_small_answers,
        endless_logins,
        half_open,
        streams_of_one_key,
        strangers,
        broken_off_changes,
    ];
    let warm: Vec<_> = all.into_iter().map(|attack| target.attack(attack)).collect();
    pause(Duration::from_secs(3));
    target.over.store(true, Ordering::Relaxed);
    join(warm);
    let process = Measured(daemon.pid());
    let before = settled(process, None);
    let work_before = work_at_rest(process);

    target.over.store(false, Ordering::Relaxed);
    let mut events = EventStream::open(daemon.address(), "/api/events", &[("X-API-Key", ADMIN_KEY)]);
    let followed = Arc::new(Mutex::new(events.start));
    let attackers: Vec<_> = all.into_iter().map(|attack| target.attack(attack)).collect();
    let served = std::thread::scope(|scope| {
        let client = scope.spawn(|| client(target.address, &target.over));
        let following = scope.spawn(|| {
            while !target.over.load(Ordering::Relaxed) {
                let Some(block) = events.next() else { panic!("the event stream of an admin ended") };
                *followed.lock().unwrap_or_else(PoisonError::into_inner) = block.id.unwrap_or_default();
            }
        });
        let (nested, mut row) = (nested_maps(), 0);
        let watch = Stopwatch::start();
        while watch.elapsed() < span() {
            // Half of them with large values in a small text, half with rows of long names.
            for gateways in hostile.chunks(2) {
                let [one, other] = gateways else { continue };
                one.send_raw(&nested);
                for _ in 0..100 {
                    other.send_raw(&long_row(row));
                    row += 1;
                }
            }
            pause(Duration::from_secs(1));
        }
        target.over.store(true, Ordering::Relaxed);
        // Something to follow, so that the follower sees that it is over.
        daemon.new_key("last", "viewer");
        daemon.register("last", 1, "token");
        following.join().expect("events were followed to the end");
        client.join().expect("the client ends in order")
    });
    join(attackers);
    drop(hostile);

    let peak = process.peak_memory() / MIB;
    let mut waits = served.waits.clone();
    waits.sort();
    let (middle, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "{} steps of attackers in {:?}; {} answers, half of them within {middle:?}, the slowest after {longest:?}; peak {peak} MiB{}",
        target.steps.load(Ordering::Relaxed),
        span(),
        waits.len(),
        if cgroup.is_some() { " in a memory cgroup of 512 MiB" } else { "" },
    );
    assert!(served.failures.is_empty(), "requests that were not served: {:#?}", served.failures);
    assert!(peak < MEMORY_LIMIT / MIB, "peak {peak} MiB");
    assert_eq!(daemon.gateway(honest_id)["status"], "online");

    let after = settled(process, Some(before));
    let mut work_after = work_at_rest(process);
    for _ in 0..5 {
        // A busy machine has something to finish first.
        if work_after > work_before + Duration::from_secs(1) {
            work_after = work_at_rest(process);
        }
    }
    println!("before: {before:?}, {work_before:?} of work in 3 s; after: {after:?}, {work_after:?} of work in 3 s");
    assert!(after.memory_mib < before.memory_mib * 3 / 2 + 32, "{before:?} became {after:?}");
    assert!(work_after <= work_before + Duration::from_secs(1), "{work_before:?} at rest became {work_after:?}");
    daemon.stop();
}

/// What the process holds once connections and streams have ended: descriptors as before, where that is known.
fn settled(process: Measured, before: Option<Holdings>) -> Holdings {
    let mut last = Holdings::of(process);
    let mut same = 0;
    wait::until_ok("what the attackers left is given back", Duration::from_secs(90), || {
        pause(Duration::from_millis(500));
        let now = Holdings::of(process);
        same = if now.descriptors == last.descriptors { same + 1 } else { 0 };
        last = now;
        let is_back = before.is_none_or(|before| now.descriptors <= before.descriptors + 8);
        if same >= 6 && is_back { Ok(now) } else { Err(format!("{now:?}, before {before:?}")) }
    })
}

#[test]
fn the_embedded_gateway_survives_strangers_and_leaves_nothing_behind() {
    let home = GatewayHome::quiet();
    let mut gateway = home.start(&[]);
    let token = home.token();
    let cgroup = MemoryCgroup::around(gateway.pid());
    let target = Target {
        address: gateway.address,
        viewer_key: "guess".to_owned(),
        over: Arc::new(AtomicBool::new(false)),
        steps: Arc::new(AtomicUsize::new(0)),
    };
    fn pages(target: &Target) {
        pipeline(target, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 100);
    }
    let attackers: Vec<_> = [pages, pipelined_small_answers, endless_logins, half_open, strangers, silent_web_sockets]
        .map(|attack| target.attack(attack))
        .into();
    let watch = Stopwatch::start();
    let mut failures = Vec::new();
    let mut slowest = Duration::ZERO;
    while watch.elapsed() < span() {
        let asked = Stopwatch::start();
        let answer = http::request(gateway.address, "GET", "/health", &[("Host", "localhost")], None);
        slowest = slowest.max(asked.elapsed());
        if !answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            failures.push(format!("after {:?}: {answer:?}", watch.elapsed()));
        }
        let (_client, answer) = RpcClient::open(gateway.address, &token);
        if !answer["error"].is_null() {
            failures.push(format!("a login after {:?}: {answer}", watch.elapsed()));
        }
        pause(CLIENT_INTERVAL);
    }
    target.over.store(true, Ordering::Relaxed);
    join(attackers);
    let process = Measured(gateway.pid());
    let peak = process.peak_memory() / MIB;
    println!(
        "{} steps of attackers in {:?}; slowest answer after {slowest:?}; peak {peak} MiB{}",
        target.steps.load(Ordering::Relaxed),
        span(),
        if cgroup.is_some() { " in a memory cgroup of 512 MiB" } else { "" },
    );
    assert!(failures.is_empty(), "requests that were not served: {failures:#?}");
    assert!(peak < 256, "peak {peak} MiB");
    wait::until_ok("its connections end", Duration::from_secs(60), || {
        let now = Holdings::of(process);
        if now.descriptors < 40 { Ok(()) } else { Err(format!("{now:?}")) }
    });
    wait::until("it works for nobody", PATIENCE, || work_at_rest(process) <= Duration::from_millis(600));
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}
