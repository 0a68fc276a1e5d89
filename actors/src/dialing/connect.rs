//! TCP to the first of several addresses that answers. Attempts start 300 ms apart, or as soon as the one before has
//! failed, so that a dead IPv6 address doesn't eat the whole budget (RFC 8305 in short).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::failure::{DialFailure, DialStep};

const STAGGER: Duration = Duration::from_millis(300);

/// Connects to the first that answers. No deadline: the caller has one.
///
/// # Errors
/// The most telling failure once all have failed.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialFailure> {
    let mut waiting = VecDeque::from(addresses);
    let mut under_way = FuturesUnordered::new();
    let mut failure = None;
    loop {
        if let Some(address) = waiting.pop_front() {
            under_way.push(TcpStream::connect(address));
        }
        tokio::select! {
            biased;
            outcome = under_way.next() => match outcome {
                Some(Ok(stream)) => {
                    // Requests are small and wait for answers; a failure to set it costs latency only.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Some(Err(error)) => failure = Some(more_telling(failure, connect_failure(&error))),
                None => break,
            },
            () = sleep(STAGGER), if !waiting.is_empty() => {}
        }
    }
    Err(failure.unwrap_or_else(|| DialFailure::NameNotResolved { reason: "the name has no address".to_owned() }))
}

fn connect_failure(error: &io::Error) -> DialFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialFailure::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            DialFailure::Reset { step: DialStep::Connect }
        }
        io::ErrorKind::TimedOut => DialFailure::Timeout { step: DialStep::Connect },
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            DialFailure::Unreachable { reason: error.to_string() }
        }
        _ => DialFailure::Other { step: DialStep::Connect, reason: error.to_string() },
    }
}

/// A machine that answered says more than a network that didn't: an unreachable IPv6 must not hide a refused IPv4.
fn more_telling(so_far: Option<DialFailure>, next: DialFailure) -> DialFailure {
    let weight = |failure: &DialFailure| match failure {
        DialFailure::Refused | DialFailure::Reset { .. } => 2,
        DialFailure::Timeout { .. } => 1,
        _ => 0,
    };
    match so_far {
        Some(so_far) if weight(&so_far) >= weight(&next) => so_far,
        _ => next,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::timeout;

    use super::*;

    async fn refusing() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[actix::test]
    async fn a_refused_address_is_followed_by_the_next_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let stream = connect(vec![refusing().await, there]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), there);
    }

    #[actix::test]
    async fn a_dead_address_does_not_hold_up_the_next() {
        // A full queue of connections that nobody accepts: the system answers no further attempt.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let never_accepting = socket.listen(1).unwrap();
        let dead = never_accepting.local_addr().unwrap();
        let mut fillers = Vec::new();
        while let Ok(filler) = timeout(STAGGER / 3, TcpStream::connect(dead)).await {
            fillers.push(filler.unwrap());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let stream = timeout(Duration::from_secs(20), connect(vec![dead, there])).await.expect("held up").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), there);
    }

    #[actix::test]
    async fn when_all_fail_the_most_telling_failure_is_told() {
        assert_eq!(connect(vec![refusing().await, refusing().await]).await.err(), Some(DialFailure::Refused));
        let unreachable = DialFailure::Unreachable { reason: String::new() };
        assert_eq!(more_telling(Some(unreachable.clone()), DialFailure::Refused), DialFailure::Refused);
        assert_eq!(more_telling(Some(DialFailure::Refused), unreachable), DialFailure::Refused);
    }
}
