//! At the node that acts: a connection to each other node, over which that carries gateways for this one.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::Arbiter;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::cluster::RightToAct;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::placement::{CarrierActor, CarrierParts, Carriers};
use gatewarden_protocol::Secret;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Mesh, Peer};

/// How often it is looked whether a node came, or can be reached again.
const LOOK: Duration = Duration::from_millis(500);
/// A node that carried for a shorter time is not asked again at once: its gateways would be dialled anew again and again.
const SHORT_MS: i64 = 30_000;
const PAUSE: Duration = Duration::from_secs(5);
/// How long the start of the gateways waits for the nodes that are there: each that comes later has gateways moved to it.
const FIRST: Duration = Duration::from_millis(200);

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) epoch: i64,
    pub(crate) device_seed: Secret,
    pub(crate) right: RightToAct,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

/// Connects to all other nodes, again and again, on a thread of its own, and returns once those that are there carry, or don't in time.
pub(crate) async fn start(mesh: &Arc<Mesh>, parts: Parts) -> watch::Receiver<Carriers> {
    let (carriers, mut known) = watch::channel(Carriers::new());
    let weak = Arc::downgrade(mesh);
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(move || {
        actix_rt::spawn(async move {
            let (carriers, dialled) = (Rc::new(carriers), Rc::new(std::cell::RefCell::new(BTreeSet::new())));
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(mesh) = weak.upgrade() else { return };
                for peer in of_this_release(&mesh) {
                    if !dialled.borrow_mut().insert(peer.node.clone()) {
                        continue;
                    }
                    let (mesh, carriers, dialled, parts) =
                        (mesh.clone(), carriers.clone(), dialled.clone(), parts.clone());
                    actix_rt::spawn(async move {
                        let began_ms = parts.clock.uptime_ms();
                        let clock = parts.clock.clone();
                        let carried = carry(&mesh, &peer, parts, &carriers).await;
                        if carried && clock.uptime_ms() - began_ms < SHORT_MS {
                            tokio::time::sleep(PAUSE).await;
                        }
                        dialled.borrow_mut().remove(&peer.node);
                    });
                }
            }
        });
    });
    let wanted = of_this_release(mesh).count();
    let _ = tokio::time::timeout(FIRST, known.wait_for(|known| known.len() >= wanted)).await;
    known
}

/// The other nodes that may carry: what is said to a carried gateway differs by release.
fn of_this_release(mesh: &Mesh) -> impl Iterator<Item = Peer> {
    mesh.others().into_iter().filter(|peer| peer.release == env!("CARGO_PKG_VERSION"))
}

/// Has this node carry gateways for as long as it does. Whether it did.
async fn carry(mesh: &Mesh, peer: &Peer, parts: Parts, carriers: &watch::Sender<Carriers>) -> bool {
    let link = match mesh.dial_carrier(peer).await {
        Ok(link) => link,
        Err(error) => {
            tracing::debug!(node.name = %peer.name, %error, "node {} carries no gateways", peer.name);
            return false;
        }
    };
    let node: Arc<str> = peer.name.as_str().into();
    let Parts { epoch, device_seed, right, clock, metrics } = parts;
    let parts = CarrierParts { node: node.clone(), epoch, device_seed, right, clock, metrics };
    let (carrier, accepted, ended) = CarrierActor::start(parts, link);
    if accepted.await.is_err() {
        tracing::debug!(node.name = %peer.name, "node {} does not carry gateways for this one", peer.name);
        return false;
    }
    carriers.send_modify(|carriers| drop(carriers.insert(node.clone(), carrier.clone())));
    tracing::info!(node.name = %peer.name, "node {} carries gateways", peer.name);
    // Its sender goes with the actor.
    let _ = ended.await;
    carriers.send_modify(|carriers| carriers.retain(|_, other| *other != carrier));
    tracing::warn!(node.name = %peer.name, "node {} carries no gateways any more: others dial them", peer.name);
    true
}
