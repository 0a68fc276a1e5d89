//! A TCP proxy on loopback that delays, cuts, swallows or trickles what passes, on command.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::background::runtime;

/// What the proxy does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Passes them on.
    Clear,
    /// Each piece is held back this long, both ways.
    Delayed(Duration),
    /// One byte after each such pause, towards the client.
    Trickle(Duration),
    /// Takes them and passes nothing on; new connections are accepted and left alone.
    BlackHole,
    /// Every connection is reset, new ones as well.
    Cut,
}

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct ChaosProxy {
    port: u16,
    link: Arc<watch::Sender<Link>>,
    task: AbortHandle,
    passed: Arc<Mutex<u64>>,
}

impl ChaosProxy {
    /// Starts one in front of a loopback port.
    pub(crate) fn before(target: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("a plain option");
        let port = listener.local_addr().expect("bound").port();
        let link = Arc::new(watch::channel(Link::Clear).0);
        let passed = Arc::new(Mutex::new(0));
        let (shared, counter) = (Arc::clone(&link), Arc::clone(&passed));
        let task = runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("inside a runtime");
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        connections.spawn(carry(client, target, shared.subscribe(), Arc::clone(&counter)));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { port, link, task: task.abort_handle(), passed }
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on the link is like this.
    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Bytes passed on so far, both ways.
    pub(crate) fn passed(&self) -> u64 {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, target: u16, mut link: watch::Receiver<Link>, passed: Arc<Mutex<u64>>) {
    if link.wait_for(|link| *link != Link::BlackHole).await.is_err() || *link.borrow() == Link::Cut {
        let _ = client.set_zero_linger();
        return;
    }
    let Ok(mut server) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target))).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let mut client = client;
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let cut = {
        let mut watched = link.clone();
        let (mut client_read, mut client_write) = client.split();
        let (mut server_read, mut server_write) = server.split();
        loop {
            let (count, towards_client) = tokio::select! {
                read = client_read.read(&mut up) => (read.unwrap_or(0), false),
                read = server_read.read(&mut down) => (read.unwrap_or(0), true),
                changed = watched.wait_for(|link| *link == Link::Cut) => {
                    drop(changed);
                    break true;
                }
            };
            if count == 0 {
                break false;
            }
            let state = *link.borrow();
            if let Link::Delayed(wait) = state {
                tokio::time::sleep(wait).await;
            }
            let done = match state {
                Link::BlackHole => continue,
                Link::Cut => break true,
                Link::Trickle(gap) if towards_client => trickle(&mut client_write, &down[..count], gap).await,
                _ if towards_client => client_write.write_all(&down[..count]).await,
                _ => server_write.write_all(&up[..count]).await,
            };
            if done.is_err() {
                break false;
            }
            *passed.lock().unwrap_or_else(PoisonError::into_inner) += count as u64;
        }
    };
    if cut {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

async fn trickle(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], gap: Duration) -> std::io::Result<()> {
    for byte in bytes {
        tokio::time::sleep(gap).await;
        to.write_all(&[*byte]).await?;
    }
    Ok(())
}
