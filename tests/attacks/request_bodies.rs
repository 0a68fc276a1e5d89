//! Bodies that never end, from clients without a key.

use std::io::Write as _;
use std::net::TcpStream;

use crate::attackers::{flood, is_closed, read_until};
use crate::costs::{MIB, Measured};
use crate::support::daemon::{ADMIN_KEY, PATIENCE, Setup};
use crate::support::http;
use crate::support::wait;

const CLIENTS: usize = 300;

#[test]
fn a_login_body_is_small_and_a_larger_one_is_refused_before_it_comes() {
    let daemon = Setup::new().start();
    let to = daemon.address();
    let head = |length: usize| {
        format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut client = TcpStream::connect(to).expect("connected");
    client.write_all(head(1_000_000).as_bytes()).expect("sent");
    read_until(&mut client, "413 Payload Too Large");
    let mut chunked = TcpStream::connect(to).expect("connected");
    write!(chunked, "POST /api/auth/login HTTP/1.1\r\nHost: {to}\r\nTransfer-Encoding: chunked\r\n\r\n").expect("sent");
    flood(&mut chunked, &format!("400\r\n{}\r\n", "x".repeat(0x400)), 64 * 1024);
    read_until(&mut chunked, "413 Payload Too Large");
    let body = format!("{{\"api_key\": \"{ADMIN_KEY}\"}}");
    let headers = [("Content-Type", "application/json")];
    http::request(to, "POST", "/api/auth/login", &headers, Some(body.as_bytes())).expect("an answer").expect(200);
}

#[test]
fn bodies_that_never_end_take_a_bounded_amount_of_memory() {
    let daemon = Setup::new().env("GATEWARDEN_LOG__LEVEL", "warn").start();
    let to = daemon.address();
    let process = Measured(daemon.pid());
    daemon.get("/health").expect(200);
    let before = process.memory();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| TcpStream::connect(to).expect("connected")).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        let (path, length) = match at % 3 {
            0 => ("/api/auth/login", 1_048_000),
            1 => ("/api/auth/login", 4_000),
            _ => ("/api/gateways", 1_048_000),
        };
        let _ = write!(
            client,
            "POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
    }
    for _ in 0..4 {
        for client in &mut clients {
            flood(client, "          ", 200_000);
        }
        daemon.get("/health").expect(200);
    }
    let taken = process.peak_memory().saturating_sub(before);
    assert!(taken < 70 * MIB, "{} MiB for {CLIENTS} clients", taken / MIB);
    wait::until("who never finishes is cut off", PATIENCE, || clients.iter_mut().all(is_closed));
}
