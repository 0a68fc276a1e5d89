//! Which node of a cluster holds each gateway's connection, and how the node that acts works with those that others hold.
//!
//! A node that stands by *carries* gateways for the one that acts: it runs their `Gateway` actors as they are, on its own sockets. The
//! acting node decides which ([`crate::machines::placement`]), records, elects and routes as ever; a [`CarrierActor`] there stands for
//! one such node. Between the two goes what a `Gateway` actor is told and what it says.
//!
//! | file | does |
//! | --- | --- |
//! | `messages` | what goes over the connection between the two nodes |
//! | `link` | the bytes of it: frames, and what waits to be sent |
//! | `carrier` | at the node that acts: another one that carries gateways for it |
//! | `carried` | at the other end: the gateways that this node carries |
//! | `nobody` | a gateway that no node may hold at the moment |

mod carried;
mod carrier;
mod link;
mod messages;
mod nobody;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::watch;

pub use self::carried::{CarriedGatewaysActor, CarriedParts, StartCarried, StarterOfCarried};
pub use self::carrier::{CarrierActor, CarrierParts};
pub use self::link::Link;
use crate::clock::Clock;
use crate::gateway::{FromGateway, GatewayHandle};
use crate::gateway_record::{GatewayRecord, SharedRecord};
use crate::machines::placement::{HeldBy, held_by};
use crate::metrics::Metrics;

/// The nodes that carry gateways for this one at the moment, by name.
pub type Carriers = BTreeMap<Arc<str>, Addr<CarrierActor>>;

/// Says where each gateway's connection is to be held.
#[derive(Clone)]
pub struct Placement {
    here: Arc<str>,
    carriers: watch::Receiver<Carriers>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Placement {
    /// For the node of this name.
    pub fn new(here: &str, carriers: watch::Receiver<Carriers>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { here: here.into(), carriers, clock, metrics }
    }

    /// Where this one is to be held.
    pub(crate) fn held_by(&self, record: &GatewayRecord) -> HeldBy {
        held_by(record, &self.here, self.carriers.borrow().keys())
    }

    /// Whether nodes came or went since this was asked last.
    pub(crate) fn has_changed(&mut self) -> bool {
        let changed = self.carriers.has_changed().unwrap_or(false);
        if changed {
            self.carriers.mark_unchanged();
        }
        changed
    }

    /// Starts a gateway's actor where it is to be held: `here` starts one on this node.
    pub fn start(
        &self,
        record: SharedRecord,
        incarnation: u64,
        supervisor: Recipient<FromGateway>,
        here: impl FnOnce(SharedRecord, u64, Recipient<FromGateway>) -> GatewayHandle,
    ) -> GatewayHandle {
        match self.held_by(&record) {
            HeldBy::Here => here(record, incarnation, supervisor),
            HeldBy::Node(node) => {
                let carrier = self.carriers.borrow().get(&node).cloned();
                match carrier {
                    Some(carrier) => carrier::start(&carrier, node, record, incarnation, supervisor),
                    None => self.start_nobody(node, &record, incarnation, supervisor),
                }
            }
            HeldBy::Nobody(node) => self.start_nobody(node, &record, incarnation, supervisor),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
