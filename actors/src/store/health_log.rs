//! Gathers health points and writes them in batches, so that a fleet's observations cost one transaction a second.
//!
//! Points are observations, not commands: nobody waits for them, and the last second of them may be lost. While the store
//! can't write, 10,000 are kept and tried again; beyond that the oldest go, and the log says how many went.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::error::Failure;
use crate::gateway::messages::HealthPoint;
use crate::ids::GatewayId;
use crate::store::handle::StoreHandle;

/// A batch is written at the latest this long after its first point.
const INTERVAL: Duration = Duration::from_secs(1);
/// A batch is written as soon as it has this many points.
const BATCH: usize = 200;
/// Most points in one transaction.
const LARGEST_BATCH: usize = 2_000;
/// Points kept while the store can't write.
const KEPT: usize = 10_000;
/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_secs(5);

/// One point with the gateway that it belongs to.
type Point = (GatewayId, HealthPoint);

/// Where the registry puts health points. Cheap to clone; never blocks, never fails. When the last clone is dropped, the
/// actor behind it ends: flush first.
#[derive(Clone, Debug)]
pub struct HealthLogWriter {
    actor: Addr<HealthLogActor>,
    refused: Arc<AtomicU64>,
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
        let refused = Arc::new(AtomicU64::new(0));
        let actor = HealthLogActor {
            append: Box::new(append),
            points: VecDeque::new(),
            dropped: 0,
            refused: refused.clone(),
            writing: false,
            resting: false,
            waiting: Vec::new(),
        };
        // A whole fleet may report within one turn of the registry; the capacity counts from the first message on.
        let actor = Actor::create(move |context: &mut Context<HealthLogActor>| {
            context.set_mailbox_capacity(KEPT);
            actor
        });
        Self { actor, refused }
    }

    /// Takes one point: written within a second or so while the store works.
    pub fn push(&self, id: GatewayId, point: HealthPoint) {
        if self.actor.try_send(Push((id, point))).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers once everything pushed before is written, or couldn't be at the first attempt: for the daemon's stop.
    pub async fn flush(&self) {
        // A closed mailbox has nothing left to write.
        let _ = self.actor.send(Flush).await;
    }
}

type Appending = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// The buffer and its timer.
struct HealthLogActor {
    append: Box<dyn Fn(Vec<Point>) -> Appending>,
    points: VecDeque<Point>,
    /// Points that went since the last success.
    dropped: u64,
    /// Points that the mailbox had no room for, counted by the senders.
    refused: Arc<AtomicU64>,
    /// A batch is on its way.
    writing: bool,
    /// The last attempt failed lately.
    resting: bool,
    /// Who waits for the buffer to be empty.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Actor for HealthLogActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(INTERVAL, |actor, context| actor.write(context));
    }
}

impl HealthLogActor {
    fn write(&mut self, context: &mut Context<Self>) {
        if self.writing || self.resting {
            return;
        }
        if self.points.is_empty() {
            self.answer_waiting();
            return;
        }
        let batch: Vec<Point> = self.points.drain(..self.points.len().min(LARGEST_BATCH)).collect();
        self.writing = true;
        let appending = (self.append)(batch.clone());
        context.spawn(appending.into_actor(self).map(move |outcome, actor, context| {
            actor.written(outcome, batch, context);
        }));
    }

    fn written(&mut self, outcome: Result<(), Failure>, batch: Vec<Point>, context: &mut Context<Self>) {
        self.writing = false;
        match outcome {
            Ok(()) => {
                self.dropped += self.refused.swap(0, Ordering::Relaxed);
                if self.dropped > 0 {
                    tracing::warn!(points.dropped = self.dropped, "the health log lacks {} points", self.dropped);
                    self.dropped = 0;
                }
                if self.points.len() >= BATCH || !self.waiting.is_empty() {
                    self.write(context);
                }
            }
            Err(_) => {
                // The store has logged why. What came meanwhile is newer: the batch goes back before it.
                for point in batch.into_iter().rev() {
                    self.points.push_front(point);
                }
                self.shed();
                self.resting = true;
                context.run_later(RETRY, |actor, context| {
                    actor.resting = false;
                    actor.write(context);
                });
                self.answer_waiting();
            }
        }
    }

    fn answer_waiting(&mut self) {
        for waiter in self.waiting.drain(..) {
            // Who no longer waits needs no answer.
            let _ = waiter.send(());
        }
    }

    fn shed(&mut self) {
        let surplus = self.points.len().saturating_sub(KEPT);
        self.points.drain(..surplus);
        self.dropped += surplus as u64;
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Push(Point);

impl Handler<Push> for HealthLogActor {
    type Result = ();

    fn handle(&mut self, Push(point): Push, context: &mut Self::Context) {
        self.points.push_back(point);
        self.shed();
        if self.points.len() >= BATCH {
            self.write(context);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Flush> for HealthLogActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Flush, context: &mut Self::Context) -> Self::Result {
        // One attempt now, even if the last one failed a moment ago.
        self.resting = false;
        let (done, written) = oneshot::channel();
        self.waiting.push(done);
        self.write(context);
        Box::pin(async move {
            let _ = written.await;
        })
    }
}

#[cfg(test)]
mod tests;
