//! Nodes that find each other on loopback, without a database.

use std::net::IpAddr;

use actix_http::RequestHead;
use actix_http::body::BodySize;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::FutureExt as _;
use gatewarden_actors::store::member::Standing;
use gatewarden_actors::store::postgres::mesh_entry::{Mesh as Entry, MeshFacts};
use gatewarden_listener::{Connections, Limits, Place};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::exchange::{NoAnswer, Pool};
use super::*;

/// A node that acts, one that knows it, and a socket at which the first is reached.
pub(super) struct Pair {
    acting: Arc<Mesh>,
    other: Arc<Mesh>,
    peer: Peer,
    listener: TcpListener,
    view: watch::Sender<View>,
}

fn entry(name: &str, acts: bool, address: String, identity: &Identity) -> ClusterNode {
    let certificate = identity.fingerprint().to_owned();
    ClusterNode {
        node: name.to_owned(),
        name: name.to_owned(),
        url: String::new(),
        release: String::new(),
        acts,
        beat: 1,
        expired: false,
        beat_age_ms: 0,
        joined_ms: 0,
        mesh: Entry::Proven(MeshFacts { address, certificate }),
    }
}

fn seen_by(id: &str, nodes: Vec<ClusterNode>) -> View {
    let (standing, id) = (Standing::StandsBy, id.to_owned());
    View { standing, id, nodes, epoch: 1, since_ms: 0, seen_ms: 0, fault: None }
}

pub(super) async fn pair() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (a, b) = (Identity::draw().unwrap(), Identity::draw().unwrap());
    let address = listener.local_addr().unwrap().to_string();
    let nodes = vec![entry("a", true, address, &a), entry("b", false, "127.0.0.1:9".to_owned(), &b)];
    let peer = Peer::of(&nodes[0]).unwrap();
    let (_, of_acting) = watch::channel(seen_by("a", nodes.clone()));
    let (view, of_other) = watch::channel(seen_by("b", nodes));
    let (acting, other) = (Mesh::start(a, of_acting).unwrap(), Mesh::start(b, of_other).unwrap());
    Pair { acting, other, peer, listener, view }
}

fn strangers(most: usize) -> Connections {
    Connections::new(Limits::shared_out(most, usize::MAX), |_| false)
}

fn enter(strangers: &Connections) -> Place {
    strangers.enter(IpAddr::from([127, 0, 0, 1])).unwrap()
}

impl Pair {
    /// Lets in who comes, as the front does; what came of it, one after the other.
    pub(super) fn serve(self, most: usize) -> (Arc<Mesh>, Peer, UnboundedReceiver<io::Result<MeshSocket>>) {
        let (came, comes) = unbounded_channel();
        let Self { acting, other, peer, listener, view } = self;
        actix_rt::spawn(async move {
            let (strangers, _view) = (strangers(most), view);
            while let Ok((tcp, _)) = listener.accept().await {
                let (place, acting, came) = (enter(&strangers), acting.clone(), came.clone());
                actix_rt::spawn(async move {
                    let never = std::future::pending();
                    let welcomed = acting.welcome(tcp, place.connection(), never, || Some(())).await;
                    let _ = came.send(welcomed.map(|(socket, ())| socket));
                });
            }
        });
        (other, peer, comes)
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_stranger_goes_for_a_newcomer_at_once_and_all_go_at_the_end_of_their_time_or_of_the_front() {
    let strangers = strangers(16);
    let began = tokio::time::Instant::now();
    let silent = std::future::pending::<io::Result<()>>;
    let oldest = enter(&strangers);
    let mut others: Vec<Place> = (1..14).map(|_| enter(&strangers)).collect();
    let newest = others.pop().unwrap();
    let mut waited = Box::pin(while_it_may(oldest.connection(), std::future::pending(), silent()));
    assert!((&mut waited).now_or_never().is_none());
    let _newcomer = enter(&strangers);
    assert!(waited.await.unwrap_err().to_string().contains("newcomer"));
    let stopped = while_it_may(newest.connection(), std::future::ready(()), silent()).await;
    assert!(stopped.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody was waited for");
    let late = while_it_may(newest.connection(), std::future::pending(), silent()).await;
    assert_eq!((late.unwrap_err().kind(), began.elapsed()), (io::ErrorKind::TimedOut, HANDSHAKE));
}

#[actix_web::test]
async fn connections_for_many_requests_at_once_take_turns_so_that_none_goes_for_another() {
    // Loopback has seven eighths of them: 35.
    let (other, peer, _let_in) = pair().await.serve(40);
    let dialled = futures_util::future::join_all((0..100).map(|_| other.dial(&peer))).await;
    let failed: Vec<String> = dialled.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(other.reached("a"), Some(true));
}

#[actix_web::test]
async fn a_request_does_not_wait_for_a_connection_to_a_node_that_acts_no_longer() {
    let Pair { other, peer, listener, view, .. } = pair().await;
    let asked = async {
        let nothing = futures_util::stream::empty::<Result<Bytes, PayloadError>>();
        let (pool, head) = (Pool::of_at_most(1), RequestHead::default());
        other.exchange(&pool, 0, &peer, head, BodySize::None, nothing).await
    };
    let taken_over = async {
        // It is being dialled, and says nothing.
        let accepted = listener.accept().await.unwrap();
        view.send_modify(|view| view.nodes.retain(|node| node.name != "a"));
        std::future::pending::<()>().await;
        drop(accepted);
    };
    let answered = tokio::select! {
        answered = asked => answered,
        () = taken_over => unreachable!(),
    };
    let Err(NoAnswer::NotReached(error)) = answered else { panic!("nothing was sent") };
    assert_eq!(error.to_string(), "it acts no longer");
}
