//! A client that takes nothing of its answer for too long is cut off by the kernel. Nobody else could: while a connection
//! has no room, the HTTP front waits for it and runs nothing on its behalf, not even a timer.

use std::net::TcpListener;
use std::time::Duration;

/// How long sent bytes may wait for a client that is alive but takes nothing, or that is gone without a word.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sets it for the connections that will come in on this socket.
pub fn cut_off(listener: &TcpListener) {
    let patience = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(listener, patience) {
        // Such a client then holds its connection, with a few hundred kilobytes at most.
        tracing::warn!(%error, "clients that read nothing will not be cut off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn accepted_connections_have_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        cut_off(&listener);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&accepted).unwrap(), 60_000);
    }
}
