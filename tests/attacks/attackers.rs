//! Clients that don't read what they ask for, or never finish what they send.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::support::daemon::PATIENCE;
use crate::support::wait::Stopwatch;

/// A connection that takes next to nothing into its own kernel buffer.
pub(crate) fn narrow(to: SocketAddr) -> TcpStream {
    // Closed on exec: else a process that another test starts meanwhile would hold it, too.
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
    sockopt::set_socket_recv_buffer_size(&socket, 2_048).expect("set");
    rustix::net::connect(&socket, &to).expect("connected");
    TcpStream::from(socket)
}

/// Sends the text again and again until the other end takes no more, or so many bytes of it. Never waits.
pub(crate) fn flood(stream: &mut TcpStream, text: &str, most: usize) {
    stream.set_nonblocking(true).expect("set");
    let block = text.repeat((64 * 1024 / text.len()).max(1));
    let mut sent = 0;
    while sent < most {
        // Whole texts only count where all of it was taken; a cut one at the end is an attack, too.
        match stream.write(block.as_bytes()) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
}

/// Whether the other end has closed or reset it. What it sent before is read and dropped.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let mut bytes = [0; 64 * 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

/// Reads until the text has come.
#[track_caller]
pub(crate) fn read_until(stream: &mut TcpStream, text: &str) -> String {
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(Duration::from_secs(40))).expect("set");
    let (mut got, mut bytes, watch) = (String::new(), [0; 4_096], Stopwatch::start());
    while !got.contains(text) {
        assert!(watch.elapsed() < PATIENCE, "no {text:?} in {got:?}");
        let count = match stream.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.unwrap_or_else(|error| panic!("{error} after {got:?}")),
        };
        assert!(count > 0, "the end after {got:?}");
        got.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    got
}
