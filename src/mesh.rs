//! The mesh: connections between the nodes of a cluster, over which a node that stands by passes requests to the one that acts.
//!
//! Each run of a daemon draws a key and a certificate of its own. The address and the certificate's SHA-256 stand in the database with a
//! proof of whoever has the sealing key ([`gatewarden_actors::store::postgres::mesh_entry`]); both ends of a connection take exactly the
//! certificates of living nodes whose proof is right. So neither a port that is reached, nor write access to the database alone, lets
//! anybody in.
//!
//! | file | does |
//! | --- | --- |
//! | `identity` | a node's key and certificate, and which of others it takes |
//! | `socket` | a connection that another node made, as the HTTP front serves it |
//! | `exchange` | a request over a connection to another node, and its answer |
//! | `carriers` | at the node that acts: connections over which others carry gateways |

pub(crate) mod carriers;
pub(crate) mod exchange;
mod identity;
pub(crate) mod socket;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use gatewarden_actors::store::member::View;
use gatewarden_actors::store::postgres::cluster::ClusterNode;
use gatewarden_listener::Connection;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) use identity::{Identity, certificate_shown_at};
use socket::MeshSocket;

/// What a node that takes a connection says first: by then it has checked who comes, and the other end knows that it did, and which
/// version of this protocol it speaks. HTTP/1.1 follows.
const WELCOME: &[u8; 18] = b"gatewarden-mesh/1\n";
/// What is asked for, by ALPN, of a connection over which gateways are carried.
const CARRIES: &[u8] = b"gatewarden-gateways/1";
/// How long a connection may take to stand, and how soon it is tried again at a node that doesn't know this one yet: it sees its entry
/// at its next beat.
const DIAL: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(200);
/// Connections that are made for requests at one time. Another node lets one address make more of them.
const DIALS_AT_ONCE: usize = 16;
/// How long a connection that comes in may take to stand.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long sent bytes may wait for a machine that is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(8);
/// After so long without a byte the machine at the other end is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(5);
/// How often it is looked whether the other nodes are reached.
const LOOK_AROUND: Duration = Duration::from_secs(10);
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// Of them at one time.
const LOOKS_AT_ONCE: usize = 8;

/// A connection to another node, after its welcome.
pub(crate) type Stream = TlsStream<TcpStream>;

/// Another node that takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The run of the daemon.
    pub(crate) node: String,
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) address: String,
    /// SHA-256 of its certificate.
    pub(crate) certificate: String,
    pub(crate) release: String,
}

impl Peer {
    fn of(node: &ClusterNode) -> Option<Self> {
        let facts = node.mesh.proven()?;
        Some(Self {
            node: node.node.clone(),
            name: node.name.clone(),
            address: facts.address.clone(),
            certificate: facts.certificate.clone(),
            release: node.release.clone(),
        })
    }
}

/// Whether this is the certificate of a living node that has the sealing key.
pub(crate) fn is_of_living_node(view: &View, certificate: &str) -> bool {
    view.nodes.iter().filter_map(|node| node.mesh.proven()).any(|facts| facts.certificate == certificate)
}

/// This node's end of all connections.
#[derive(Debug)]
pub(crate) struct Mesh {
    identity: Identity,
    view: watch::Receiver<View>,
    acceptor_config: Arc<rustls::ServerConfig>,
    /// The other node that acts, while there is one that takes connections.
    acting: watch::Sender<Option<Arc<Peer>>>,
    /// Whether each other node was reached when it was last looked or asked.
    reached: Mutex<BTreeMap<String, bool>>,
    /// Requests that may make a connection now.
    dials: Semaphore,
}

impl Mesh {
    /// To be called inside a runtime, on which it looks around until it is dropped.
    pub(crate) fn start(identity: Identity, view: watch::Receiver<View>) -> io::Result<Arc<Self>> {
        let seen = view.clone();
        let acceptor_config =
            identity.server_config(move |certificate| is_of_living_node(&seen.borrow(), certificate))?;
        let (acting, _) = watch::channel(acting_of(&view.borrow()));
        let dials = Semaphore::new(DIALS_AT_ONCE);
        let mesh = Arc::new(Self { identity, view, acceptor_config, acting, reached: Mutex::default(), dials });
        actix_rt::spawn(follow(mesh.view.clone(), Arc::downgrade(&mesh)));
        let weak = Arc::downgrade(&mesh);
        actix_rt::spawn(async move {
            // By the first time the others have seen this one's entry.
            tokio::time::sleep(FIRST_LOOK).await;
            let mut looks = interval(LOOK_AROUND);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(mesh) = weak.upgrade() else { return };
                mesh.look_around().await;
            }
        });
        Ok(mesh)
    }

    /// The other node that acts, where it takes connections.
    pub(crate) fn acting(&self) -> Option<Arc<Peer>> {
        self.acting.borrow().clone()
    }

    /// Resolves when this node acts no longer, as far as is known here.
    pub(crate) fn until_gone(&self, node: &str) -> impl Future<Output = ()> + use<> {
        let (mut acting, node) = (self.acting.subscribe(), node.to_owned());
        async move {
            let _ = acting.wait_for(|now| now.as_ref().is_none_or(|now| now.node != node)).await;
        }
    }

    /// Whether this node was reached when it was last tried; none: not tried yet.
    pub(crate) fn reached(&self, node: &str) -> Option<bool> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }

    /// A new connection to this node, which has let this one in. For a request: those take turns, as a node that is dialled takes the
    /// oldest of too many for strangers.
    pub(crate) async fn dial(&self, peer: &Peer) -> io::Result<Stream> {
        let in_turn = async {
            let _turn = self.dials.acquire().await.map_err(io::Error::other)?;
            self.until_known(peer, None).await
        };
        self.within_time(peer, in_turn).await
    }

    /// A new connection to this node, over which it is to carry gateways.
    pub(crate) async fn dial_carrier(&self, peer: &Peer) -> io::Result<Stream> {
        let stream = self.within_time(peer, self.until_known(peer, Some(CARRIES))).await?;
        if stream.get_ref().1.alpn_protocol() != Some(CARRIES) {
            return Err(io::Error::other("it is of a release that carries no gateways"));
        }
        Ok(stream)
    }

    /// The other living nodes that take connections.
    pub(crate) fn others(&self) -> Vec<Peer> {
        let view = self.view.borrow();
        view.nodes.iter().filter(|node| node.node != view.id).filter_map(Peer::of).collect()
    }

    async fn within_time(&self, peer: &Peer, dialling: impl Future<Output = io::Result<Stream>>) -> io::Result<Stream> {
        let dialled = tokio::time::timeout(DIAL, dialling).await;
        let dialled = dialled.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
        self.note(peer, dialled.as_ref().err());
        dialled
    }

    async fn until_known(&self, peer: &Peer, protocol: Option<&[u8]>) -> io::Result<Stream> {
        loop {
            match self.connect(peer, protocol).await {
                Err(error) if is_not_known_there(&error) => tokio::time::sleep(AGAIN).await,
                dialled => return dialled,
            }
        }
    }

    async fn connect(&self, peer: &Peer, protocol: Option<&[u8]>) -> io::Result<Stream> {
        let tcp = TcpStream::connect(&peer.address).await?;
        tcp.set_nodelay(true)?;
        let millis = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&tcp, millis)?;
        sockopt::set_socket_keepalive(&tcp, true)?;
        sockopt::set_tcp_keepidle(&tcp, QUIET)?;
        sockopt::set_tcp_keepintvl(&tcp, QUIET)?;
        let config = self.identity.client_config(&peer.certificate, protocol)?;
        let mut stream = TlsConnector::from(config).connect(identity::server_name()?, tcp).await?;
        let mut welcome = [0; WELCOME.len()];
        stream.read_exact(&mut welcome).await?;
        if &welcome != WELCOME {
            return Err(io::Error::other("it speaks another version of the protocol between nodes"));
        }
        Ok(stream)
    }

    fn note(&self, peer: &Peer, error: Option<&io::Error>) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reached.insert(peer.node.clone(), error.is_none());
        match error {
            Some(error) if before != Some(false) => {
                tracing::warn!(node.name = %peer.name, mesh.address = %peer.address, %error,
                    "node {} is not reached at {}", peer.name, peer.address);
            }
            None if before == Some(false) => {
                tracing::info!(node.name = %peer.name, "node {} is reached again", peer.name);
            }
            _ => {}
        }
    }

    async fn look_around(&self) {
        let others = self.others();
        self.reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|node, _| others.iter().any(|other| other.node == *node));
        let looks = futures_util::stream::iter(others);
        looks
            .for_each_concurrent(LOOKS_AT_ONCE, async |other| {
                let _ = self.within_time(&other, self.until_known(&other, None)).await;
            })
            .await;
    }

    /// Lets a node in that connects here. A stranger learns nothing but that there is TLS, and is waited for until `place` is needed for
    /// a newcomer, or the front stops. `take_place` gives a node its own; where there is none the node hears nothing, and knows that it
    /// was not let in.
    pub(crate) async fn welcome<P>(
        &self,
        tcp: TcpStream,
        place: &Connection,
        stopping: impl Future<Output = ()>,
        take_place: impl FnOnce() -> Option<P>,
    ) -> io::Result<(MeshSocket, P)> {
        let shaking_hands = async {
            let mut tls = TlsAcceptor::from(self.acceptor_config.clone()).accept(tcp).await?;
            let certificate = identity::shown_certificate(tls.get_ref().1)
                .ok_or_else(|| io::Error::other("it showed no certificate"))?;
            let taken = take_place().ok_or_else(|| io::Error::other("no place is free for it"))?;
            tls.write_all(WELCOME).await?;
            tls.flush().await?;
            Ok((MeshSocket::new(tls, certificate), taken))
        };
        while_it_may(place, stopping, shaking_hands).await
    }
}

/// What comes of a connection that nobody knows yet, as long as it may take.
async fn while_it_may<T>(
    place: &Connection,
    stopping: impl Future<Output = ()>,
    shaking_hands: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::select! {
        biased;
        () = place.when_ended() => Err(io::Error::other("its place was needed for a newcomer")),
        () = stopping => Err(io::Error::other("nobody is let in any more")),
        shaken = tokio::time::timeout(HANDSHAKE, shaking_hands) => {
            shaken.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
        }
    }
}

/// Whether the other end refused this node's certificate.
fn is_not_known_there(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::AlertReceived(_)))
}

fn acting_of(view: &View) -> Option<Arc<Peer>> {
    view.acting().filter(|acting| acting.node != view.id).and_then(Peer::of).map(Arc::new)
}

/// Keeps known who acts, and tells only what changes: many may wait for that.
async fn follow(mut view: watch::Receiver<View>, mesh: std::sync::Weak<Mesh>) {
    while view.changed().await.is_ok() {
        let Some(mesh) = mesh.upgrade() else { return };
        let now = acting_of(&view.borrow_and_update());
        mesh.acting.send_if_modified(|acting| {
            let changes = *acting != now;
            *acting = now;
            changes
        });
    }
}

#[cfg(test)]
mod tests;
