//! Starts `Gateway` actors, spread over a few threads.

use std::cell::Cell;
use std::sync::Arc;

use actix_rt::Arbiter;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::dialing::NetworkDialer;
use gatewarden_actors::gateway::{GatewayActor, GatewayParts};
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::registry::{GatewayDoor, SpawnGateway};
use gatewarden_protocol::DeviceIdentity;

use crate::config::Config;

/// Threads that share all gateways. Two keep a second core busy; a gateway stays on the thread it was started on.
const THREADS: usize = 2;

/// What the registry calls to start a gateway's actor. The threads live as long as the system.
pub(super) fn spawner(
    config: &Config,
    identity: Arc<DeviceIdentity>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> SpawnGateway {
    let arbiters: Vec<Arbiter> = (0..THREADS).map(|_| Arbiter::new()).collect();
    let settings = Arc::new(config.gateway.clone());
    let dialer = Arc::new(NetworkDialer::new());
    let instance_id = format!("gatewarden-{}", uuid::Uuid::new_v4());
    let (clock, metrics) = (clock.clone(), metrics.clone());
    let next = Cell::new(0_usize);
    Box::new(move |record, incarnation, supervisor| {
        let turn = next.get();
        next.set(turn.wrapping_add(1));
        let parts = GatewayParts {
            record,
            incarnation,
            settings: settings.clone(),
            identity: identity.clone(),
            dialer: dialer.clone(),
            supervisor,
            clock: clock.clone(),
            metrics: metrics.clone(),
            instance_id: instance_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let arbiter = arbiters.get(turn % THREADS).map_or_else(Arbiter::current, Arbiter::handle);
        GatewayDoor::of(&GatewayActor::start_in(&arbiter, parts))
    })
}
