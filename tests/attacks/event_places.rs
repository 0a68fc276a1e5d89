//! One key that wants all places for events.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::attackers::read_until;
use crate::support::daemon::{ADMIN_KEY, Daemon, Setup};

fn follow(daemon: &Daemon, key: &str) -> (TcpStream, bool, String) {
    let to = daemon.address();
    let mut client = TcpStream::connect(to).expect("connected");
    write!(client, "GET /api/events HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut head = read_until(&mut client, "\r\n\r\n");
    let is_in = head.starts_with("HTTP/1.1 200");
    if !is_in {
        client.read_to_string(&mut head).expect("the whole refusal");
    }
    (client, is_in, head)
}

#[test]
fn a_key_gets_a_tenth_of_them_and_others_find_room() {
    // Two thirds of 60 connections may follow events.
    let daemon = Setup::new().env("GATEWARDEN_HTTP__MAX_CONNECTIONS", "60").start();
    let greedy = daemon.new_key("greedy", "viewer");
    let mut streams: Vec<_> = (0..4).map(|_| follow(&daemon, &greedy)).collect();
    assert!(streams.iter().all(|(_, is_in, _)| *is_in));
    let (_, is_in, refusal) = follow(&daemon, &greedy);
    assert!(!is_in && refusal.starts_with("HTTP/1.1 429"), "{refusal}");
    assert!(
        refusal.contains("rate_limited") && refusal.contains("4 times") && refusal.contains("http.max_connections")
    );
    let other = daemon.new_key("other", "operator");
    streams.push(follow(&daemon, &other));
    streams.push(follow(&daemon, ADMIN_KEY));
    assert!(streams.iter().all(|(_, is_in, _)| *is_in));
}
