//! Who takes places and does nothing with them.

use std::io::Write as _;
use std::net::TcpStream;

use crate::attackers::{is_closed, read_until};
use crate::support::daemon::{ADMIN_KEY, PATIENCE, Setup};
use crate::support::wait;

#[test]
fn idle_strangers_make_room_and_who_is_served_or_known_stays() {
    let daemon = Setup::new().env("GATEWARDEN_HTTP__MAX_CONNECTIONS", "16").start();
    let to = daemon.address();
    let mut follower = TcpStream::connect(to).expect("connected");
    write!(follower, "GET /api/events HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n").expect("sent");
    read_until(&mut follower, "retry: ");
    let mut strangers: Vec<TcpStream> = Vec::new();
    for _ in 0..5 {
        strangers.extend((0..20).map(|_| TcpStream::connect(to).expect("connected")));
        daemon.get("/health").expect(200);
    }
    wait::until("those who were replaced are closed", PATIENCE, || {
        strangers.iter_mut().filter_map(|one| is_closed(one).then_some(())).count() >= 80
    });
    assert!(daemon.metrics().lines().any(|line| {
        line.starts_with("gatewarden_http_connections_ended_total{reason=\"replaced\"}") && !line.ends_with(" 0")
    }));
    daemon.register("seen", 1, "");
    read_until(&mut follower, "event: audit");
}

#[test]
fn a_key_that_takes_all_places_makes_room_for_others() {
    let daemon = Setup::new().env("GATEWARDEN_HTTP__MAX_CONNECTIONS", "32").start();
    let to = daemon.address();
    let key = daemon.new_key("greedy", "viewer");
    let mut kept: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        for _ in 0..32 {
            let Ok(mut stream) = TcpStream::connect(to) else { continue };
            // Where its place is gone already, the next one tries.
            if write!(stream, "GET /api/gateways HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {key}\r\n\r\n").is_ok() {
                kept.push(stream);
            }
        }
        for path in ["/api/status", "/api/gateways"] {
            // A client whose request is not there yet when another newcomer needs its place has to come again.
            let answer = wait::until_ok("an answer", PATIENCE, || {
                daemon.try_call(Some(ADMIN_KEY), "GET", path, None).map_err(|error| error.to_string())
            });
            answer.expect(200);
        }
    }
    assert!(kept.iter_mut().any(|one| !is_closed(one)), "it keeps what is its share");
}

#[test]
fn a_head_that_never_ends_is_cut_off_on_a_connection_that_was_used_before_too() {
    let daemon = Setup::new().start();
    let to = daemon.address();
    let mut fresh = TcpStream::connect(to).expect("connected");
    fresh.write_all(b"GET /hea").expect("sent");
    let mut used = TcpStream::connect(to).expect("connected");
    write!(used, "GET /health HTTP/1.1\r\nHost: {to}\r\n\r\n").expect("sent");
    read_until(&mut used, "\r\n\r\n");
    used.write_all(b"GET /hea").expect("sent");
    wait::until("both are closed", PATIENCE, || is_closed(&mut fresh) && is_closed(&mut used));
}
