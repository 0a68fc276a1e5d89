//! Where health points are put: gathered and written in batches, so that a fleet's observations cost one transaction a
//! second.
//!
//! Points are observations, not commands: nobody waits for them, and the last second of them may be lost. While the store
//! can't write, 10,000 are kept and tried again; beyond that the oldest go, and the log says how many went.

use crate::batching::{Appending, Batched, Batcher};
use crate::handle::StoreHandle;
use gatewarden_core::gateway_report::HealthPoint;
use gatewarden_core::ids::GatewayId;

/// One point with the gateway that it belongs to.
type Point = (GatewayId, HealthPoint);

/// Where the registry puts health points. Cheap to clone; never blocks, never fails. When the last clone is dropped, the
/// actor behind it ends: flush first.
#[derive(Clone, Debug)]
pub struct HealthLogWriter {
    batcher: Batcher<Points>,
}

impl HealthLogWriter {
    /// Starts the writer on the current arbiter.
    pub fn start(store: StoreHandle) -> Self {
        Self::start_with(move |points| {
            let store = store.clone();
            Box::pin(async move { store.append_health(points).await })
        })
    }

    fn start_with(append: impl Fn(Vec<Point>) -> Appending + 'static) -> Self {
        Self { batcher: Batcher::start(Points { append: Box::new(append) }) }
    }

    /// Takes one point: written within a second or so while the store works.
    pub fn push(&self, id: GatewayId, point: HealthPoint) {
        self.batcher.push((id, point));
    }

    /// Answers once everything pushed before is written, or couldn't be at the first attempt: for the daemon's stop.
    pub async fn flush(&self) {
        self.batcher.flush().await;
    }
}

struct Points {
    append: Box<dyn Fn(Vec<Point>) -> Appending>,
}

impl Batched for Points {
    type Row = Point;

    fn append(&self, rows: Vec<Point>) -> Appending {
        (self.append)(rows)
    }

    fn lost(_: &Point) {}

    fn gap(&self, _: u64) -> Option<Point> {
        None
    }

    fn say_lost(lost: u64) {
        tracing::warn!(points.dropped = lost, "the health log lacks {lost} points");
    }
}

#[cfg(test)]
mod tests;
