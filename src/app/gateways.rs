//! Starts `Gateway` actors, spread over a few threads of their own: neither HTTP nor the registry shares a thread with the
//! frames of a gateway.

use std::sync::Arc;

use actix::Arbiter;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::dialing::Dialer;
use gatewarden_actors::gateway::{GatewayActor, GatewayParts};
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::registry::SpawnGateway;
use gatewarden_protocol::DeviceIdentity;

use crate::config::Config;

/// Threads for gateways, at most: one each costs stack and wake-ups, and the work is waiting.
const MAX_THREADS: usize = 4;

/// What the registry calls to start a `Gateway` actor. A gateway always lands on the same thread.
pub(super) fn spawner(
    config: &Config,
    identity: Arc<DeviceIdentity>,
    dialer: Arc<dyn Dialer>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> SpawnGateway {
    let settings = Arc::new(config.gateway.clone());
    let (clock, metrics) = (clock.clone(), metrics.clone());
    let instance_id = uuid::Uuid::new_v4().to_string();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let arbiters: Vec<Arbiter> = (0..threads).map(|_| Arbiter::new()).collect();
    Box::new(move |record, incarnation, supervisor| {
        let parts = GatewayParts {
            settings: settings.clone(),
            identity: identity.clone(),
            dialer: dialer.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            instance_id: instance_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            record,
            incarnation,
            supervisor,
        };
        // Ids are handed out in sequence, so this spreads evenly.
        let place = usize::try_from(parts.record.id.0).unwrap_or_default() % threads;
        let actor = match arbiters.get(place) {
            Some(arbiter) => GatewayActor::start_in(&arbiter.handle(), parts),
            None => actix::Actor::start(GatewayActor::new(parts)),
        };
        actor.into()
    })
}
