//! Gathers rows and writes them in batches, so that many small writes cost one transaction a second.
//!
//! A batch is written a second after its first row, or as soon as it has 200 rows, or at once where somebody waits for it.
//! While the store can't write, 10,000 rows are kept and tried again every five seconds; beyond that the oldest go. What
//! that means is the owner's business: it is told of each row that goes, and may leave a row in the log in their place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use gatewarden_core::error::Failure;

/// A batch is written at the latest this long after its first row.
const INTERVAL: Duration = Duration::from_secs(1);
/// A batch is written as soon as it has this many rows.
const BATCH: usize = 200;
/// Most rows in one transaction.
const LARGEST_BATCH: usize = 2_000;
/// Rows kept while the store can't write.
const KEPT: usize = 10_000;
/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_secs(5);

/// A write under way.
pub(super) type Appending = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// What the owner of the rows decides.
pub(super) trait Batched: Unpin + 'static {
    /// A row.
    type Row: Clone + Send + Unpin + 'static;

    /// Writes rows, all or none.
    fn append(&self, rows: Vec<Self::Row>) -> Appending;

    /// A row went for want of room, unwritten.
    fn lost(row: &Self::Row);

    /// The row to write in the place of so many lost ones, if any.
    fn gap(&self, lost: u64) -> Option<Self::Row>;

    /// The store works again, and so many rows were lost: for the log.
    fn say_lost(lost: u64);
}

/// The door to a batching actor. Clones share one mailbox slot, so that its bound holds. When the last one is dropped, the
/// actor ends: flush first.
pub(super) struct Batcher<B: Batched> {
    actor: Arc<Addr<BatchActor<B>>>,
    /// Rows that the mailbox had no room for.
    refused: Arc<AtomicU64>,
}

impl<B: Batched> Clone for Batcher<B> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), refused: self.refused.clone() }
    }
}

impl<B: Batched> std::fmt::Debug for Batcher<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("connected", &self.actor.connected()).finish_non_exhaustive()
    }
}

impl<B: Batched> Batcher<B> {
    /// Starts the actor on the current arbiter.
    pub(super) fn start(owner: B) -> Self {
        let refused = Arc::new(AtomicU64::new(0));
        let actor = BatchActor {
            owner,
            rows: VecDeque::new(),
            lost: 0,
            refused: refused.clone(),
            writing: false,
            resting: false,
            waiting: Vec::new(),
        };
        // A burst may come within one turn of the arbiter; the capacity counts from the first message on.
        let actor = Actor::create(move |context: &mut Context<BatchActor<B>>| {
            context.set_mailbox_capacity(KEPT);
            actor
        });
        Self { actor: Arc::new(actor), refused }
    }

    /// Takes one row; never blocks, never fails.
    pub(super) fn push(&self, row: B::Row) {
        if let Err(SendError::Full(Push(row)) | SendError::Closed(Push(row))) = self.actor.try_send(Push(row)) {
            B::lost(&row);
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes one row and answers once it is written. After an error it is not written yet: it stays and is tried again,
    /// unless the actor has ended or has no room.
    pub(super) async fn write(&self, row: B::Row) -> Result<(), Failure> {
        let (done, written) = oneshot::channel();
        let sent = self.actor.try_send(Write { row, done });
        if let Err(SendError::Full(Write { row, .. }) | SendError::Closed(Write { row, .. })) = sent {
            B::lost(&row);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::unavailable("store"));
        }
        written.await.unwrap_or_else(|_| Err(Failure::unavailable("store")))
    }

    /// Answers once everything pushed before is written, or couldn't be at the first attempt: for the daemon's stop.
    pub(super) async fn flush(&self) {
        // A closed mailbox has nothing left to write.
        let _ = self.actor.send(Flush).await;
    }
}

/// A row, and who waits for it to be written.
struct Queued<R> {
    row: R,
    done: Option<oneshot::Sender<Result<(), Failure>>>,
}

/// The buffer and its timer.
pub(super) struct BatchActor<B: Batched> {
    owner: B,
    rows: VecDeque<Queued<B::Row>>,
    /// Rows that went and that no gap row tells of yet.
    lost: u64,
    /// Rows that the mailbox had no room for, counted by the senders.
    refused: Arc<AtomicU64>,
    /// A batch is on its way.
    writing: bool,
    /// The last attempt failed lately.
    resting: bool,
    /// Who waits for the buffer to be empty.
    waiting: Vec<oneshot::Sender<()>>,
}

impl<B: Batched> Actor for BatchActor<B> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(INTERVAL, |actor, context| actor.write(context));
    }
}

impl<B: Batched> BatchActor<B> {
    fn write(&mut self, context: &mut Context<Self>) {
        if self.writing || self.resting {
            return;
        }
        self.lost += self.refused.swap(0, Ordering::Relaxed);
        let told = self.lost;
        let gap = if told > 0 { self.owner.gap(told) } else { None };
        if self.rows.is_empty() && gap.is_none() {
            self.say_lost(told);
            self.answer_waiting();
            return;
        }
        let batch: Vec<_> = self.rows.drain(..self.rows.len().min(LARGEST_BATCH)).collect();
        // What was lost is older than what was kept.
        let rows = gap.into_iter().chain(batch.iter().map(|queued| queued.row.clone())).collect();
        self.writing = true;
        let appending = self.owner.append(rows);
        context.spawn(appending.into_actor(self).map(move |outcome, actor, context| {
            actor.written(outcome, batch, told, context);
        }));
    }

    fn written(
        &mut self,
        outcome: Result<(), Failure>,
        batch: Vec<Queued<B::Row>>,
        told: u64,
        context: &mut Context<Self>,
    ) {
        self.writing = false;
        match outcome {
            Ok(()) => {
                self.say_lost(told);
                for done in batch.into_iter().filter_map(|queued| queued.done) {
                    // Who no longer waits needs no answer.
                    let _ = done.send(Ok(()));
                }
                if self.is_urgent() {
                    self.write(context);
                }
            }
            Err(failure) => {
                // The store has logged why. What came meanwhile is newer: the batch goes back before it.
                for mut queued in batch.into_iter().rev() {
                    if let Some(done) = queued.done.take() {
                        let _ = done.send(Err(failure.clone()));
                    }
                    self.rows.push_front(queued);
                }
                // Those who came meanwhile would wait for the next attempt: they learn now that it has to be waited for.
                for queued in &mut self.rows {
                    if let Some(done) = queued.done.take() {
                        let _ = done.send(Err(failure.clone()));
                    }
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

    fn say_lost(&mut self, told: u64) {
        self.lost = self.lost.saturating_sub(told);
        if told > 0 {
            B::say_lost(told);
        }
    }

    fn is_urgent(&self) -> bool {
        self.rows.len() >= BATCH || !self.waiting.is_empty() || self.rows.iter().any(|queued| queued.done.is_some())
    }

    fn answer_waiting(&mut self) {
        for waiter in self.waiting.drain(..) {
            // Who no longer waits needs no answer.
            let _ = waiter.send(());
        }
    }

    fn shed(&mut self) {
        let surplus = self.rows.len().saturating_sub(KEPT);
        for queued in self.rows.drain(..surplus) {
            B::lost(&queued.row);
            self.lost += 1;
            if let Some(done) = queued.done {
                let _ = done.send(Err(Failure::unavailable("store")));
            }
        }
    }
}

struct Push<R>(R);

impl<R: 'static> Message for Push<R> {
    type Result = ();
}

impl<B: Batched> Handler<Push<B::Row>> for BatchActor<B> {
    type Result = ();

    fn handle(&mut self, Push(row): Push<B::Row>, context: &mut Self::Context) {
        self.rows.push_back(Queued { row, done: None });
        self.shed();
        if self.rows.len() >= BATCH {
            self.write(context);
        }
    }
}

struct Write<R> {
    row: R,
    done: oneshot::Sender<Result<(), Failure>>,
}

impl<R: 'static> Message for Write<R> {
    type Result = ();
}

impl<B: Batched> Handler<Write<B::Row>> for BatchActor<B> {
    type Result = ();

    fn handle(&mut self, Write { row, done }: Write<B::Row>, context: &mut Self::Context) {
        self.rows.push_back(Queued { row, done: Some(done) });
        self.shed();
        // One attempt now, even if the last one failed a moment ago; those who come while it runs share the next one.
        self.resting = false;
        self.write(context);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

impl<B: Batched> Handler<Flush> for BatchActor<B> {
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
