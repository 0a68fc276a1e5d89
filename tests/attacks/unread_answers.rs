//! Clients that ask and never read the answers.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::attackers::{flood, is_closed, narrow, read_until};
use crate::costs::{MIB, Measured};
use crate::support::daemon::{ADMIN_KEY, PATIENCE, Setup};
use crate::support::http;
use crate::support::own_gateway::GatewayHome;
use crate::support::wait::{self, Stopwatch};

const CLIENTS: usize = 60;

/// Far above what they cost, and a fifth of what they did when each made the server answer ahead of it.
const MOST_MEMORY: u64 = 120 * MIB;

/// Far above what an idle server needs, and far below a thread that spins.
const MOST_OF_THREE_SECONDS: Duration = Duration::from_millis(500);

fn crowd(to: SocketAddr, path: &str) -> Vec<TcpStream> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| narrow(to)).collect();
    for _ in 0..8 {
        for client in &mut clients {
            flood(client, &request, 256 * 1024);
        }
        let health = http::request(to, "GET", "/health", &[], None).expect("others are served");
        assert_eq!(health.status, 200);
    }
    clients
}

/// Waits for three seconds in which it does next to nothing: on a busy machine it has something to finish first.
#[track_caller]
fn comes_to_rest(process: Measured) {
    wait::until("it rests", PATIENCE, || {
        let before = process.processor_time();
        wait::holds_for("three seconds pass", Duration::from_secs(3), || true);
        process.processor_time() - before < MOST_OF_THREE_SECONDS
    });
}

#[test]
fn answers_that_nobody_reads_take_a_bounded_amount_of_memory_and_their_clients_are_ended() {
    let daemon =
        Setup::new().env("GATEWARDEN_LOG__LEVEL", "warn").env("GATEWARDEN_HTTP__CONNECTION_MEMORY", "4MiB").start();
    daemon.get("/api/openapi.json").expect(200);
    let process = Measured(daemon.pid());
    let (before, descriptors) = (process.memory(), process.descriptors());
    let mut clients = crowd(daemon.address(), "/api/openapi.json");
    let taken = process.peak_memory().saturating_sub(before);
    assert!(taken < MOST_MEMORY, "{} MiB for {CLIENTS} clients", taken / MIB);
    let sample = |name: &str| {
        let text = daemon.metrics();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    assert!(sample("gatewarden_http_unread_bytes") <= 4.0 * 1024.0 * 1024.0);
    assert!(sample("gatewarden_http_connections_ended_total{reason=\"over_budget\"}") >= 1.0);
    comes_to_rest(process);
    wait::until("who takes nothing for ten seconds is ended", PATIENCE, || {
        sample("gatewarden_http_unread_bytes") == 0.0
    });
    assert!(sample("gatewarden_http_connections_ended_total{reason=\"write_stalled\"}") >= 1.0);
    wait::until("their descriptors are free again", PATIENCE, || process.descriptors() <= descriptors + 3);
    // What the kernel had taken before still comes, a narrow piece at a time, and its end after it.
    wait::until("each client has been told", PATIENCE, || clients.iter_mut().all(is_closed));
}

#[test]
fn a_client_that_follows_events_and_asks_more_and_more_makes_nothing_spin() {
    let daemon = Setup::new().env("GATEWARDEN_LOG__LEVEL", "warn").start();
    let to = daemon.address();
    let mut client = TcpStream::connect(to).expect("connected");
    write!(client, "GET /api/events HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n").expect("sent");
    read_until(&mut client, "retry: ");
    for _ in 0..20 {
        flood(&mut client, &format!("GET /health HTTP/1.1\r\nHost: {to}\r\n\r\n"), 1024 * 1024);
    }
    comes_to_rest(Measured(daemon.pid()));
    daemon.register("seen by the one who goes on reading", 1, "");
    read_until(&mut client, "event: audit");
}

#[test]
fn who_asks_ahead_and_reads_gets_every_answer_in_its_order() {
    let daemon = Setup::new().env("GATEWARDEN_LOG__LEVEL", "warn").start();
    let to = daemon.address();
    let mut client = TcpStream::connect(to).expect("connected");
    let body = "{\"id\": 999}";
    let mut asked = String::new();
    for number in 0..202 {
        let id = format!("x-request-id: n-{number}");
        match number % 3 {
            0 => asked.push_str(&format!("GET /health HTTP/1.1\r\nHost: {to}\r\n{id}\r\n\r\n")),
            1 => asked.push_str(&format!(
                "DELETE /api/gateways HTTP/1.1\r\nHost: {to}\r\n{id}\r\nX-API-Key: {ADMIN_KEY}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )),
            _ => asked.push_str(&format!(
                "DELETE /api/gateways HTTP/1.1\r\nHost: {to}\r\n{id}\r\nX-API-Key: {ADMIN_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )),
        }
    }
    client.write_all(asked.as_bytes()).expect("sent");
    let answers = read_until(&mut client, "x-request-id: n-201");
    let ids: Vec<&str> = answers.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
    assert_eq!(ids, (0..202).map(|number| format!("n-{number}")).collect::<Vec<_>>());
    assert_eq!(answers.matches("{\"deleted\":false}").count(), 134, "the bodies were read");
}

#[test]
fn the_embedded_gateway_bounds_them_too() {
    let home = GatewayHome::quiet();
    let gateway = home.start(&[]);
    let process = Measured(gateway.pid());
    gateway.get("/", None);
    let (before, descriptors) = (process.memory(), process.descriptors());
    let watch = Stopwatch::start();
    let mut clients = crowd(gateway.address, "/");
    let taken = process.peak_memory().saturating_sub(before);
    assert!(taken < MOST_MEMORY, "{} MiB for {CLIENTS} clients after {:?}", taken / MIB, watch.elapsed());
    comes_to_rest(process);
    wait::until("their descriptors are free again", PATIENCE, || process.descriptors() <= descriptors + 1);
    // What the kernel had taken before still comes, a narrow piece at a time, and its end after it.
    wait::until("each client has been told", PATIENCE, || clients.iter_mut().all(is_closed));
}
