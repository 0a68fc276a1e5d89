//! What the kernel is told of sockets: its own buffers count as the process's memory, too.

use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How long sent bytes may wait for a client that is alive but takes nothing, or that is gone without a word.
/// Where the daemon itself has something to write, it ends the connection earlier.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is sent and not yet acknowledged, at most; the kernel doubles it for its own bookkeeping.
const SEND_BUFFER: usize = 256 * 1024;
/// What waits to be sent, about: a client that reads nothing holds no more than this.
const UNSENT: u32 = 32 * 1024;
/// What has arrived and wasn't read; the kernel doubles it.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// A client's TCP connection, plain or under encryption.
pub trait ClientSocket: AsyncRead + AsyncWrite + Unpin {
    /// What is underneath.
    fn tcp(&self) -> &TcpStream;

    /// From now on, closing it throws away what wasn't sent, instead of leaving that to the kernel for a while.
    fn discard_when_closed(&self) {
        let _ = rustix::net::sockopt::set_socket_linger(self.tcp(), Some(Duration::ZERO));
    }
}

impl ClientSocket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

/// Sets the limits for the connections that will come in on this socket.
pub fn prepare(listener: &impl AsFd) {
    use rustix::net::sockopt;
    let patience = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
    let set = sockopt::set_tcp_user_timeout(listener, patience)
        .and_then(|()| sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER))
        .and_then(|()| sockopt::set_socket_recv_buffer_size(listener, RECEIVE_BUFFER))
        .map_err(std::io::Error::from)
        .and_then(|()| socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT));
    if let Err(error) = set {
        // Still bounded, by what the kernel does by itself.
        tracing::warn!(%error, "the kernel's buffers for clients could not be made small");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    #[test]
    fn accepted_connections_have_the_limits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        prepare(&listener);
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&accepted).unwrap(), 15_000);
        assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), UNSENT);
        assert_eq!(rustix::net::sockopt::socket_send_buffer_size(&accepted).unwrap(), 2 * SEND_BUFFER);
        assert_eq!(rustix::net::sockopt::socket_recv_buffer_size(&accepted).unwrap(), 2 * RECEIVE_BUFFER);
    }

    #[test]
    fn the_kernel_keeps_little_for_who_reads_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        prepare(&listener);
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        client.set_recv_buffer_size(2_048).unwrap();
        client.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let mut taken = 0;
        while let Ok(count) = accepted.write(&[0; 16 * 1024]) {
            taken += count;
        }
        assert!(taken <= 128 * 1024, "{taken}");
    }
}
