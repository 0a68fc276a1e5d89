//! Gathers rows and writes them in batches, so that many small writes cost one transaction a second.
//!
//! A batch is written a second after its first row, or as soon as it has 200 rows, or at once where somebody waits for it.
//! While the store can't write, 10,000 rows are kept and tried again every five seconds; beyond that the oldest go. What
//! that means is the row's business ([`Batched`]): each that goes is told of, and one may be left in the log in their place.
//!
//! Health points are observations: nobody waits for them, and the last second of them may be lost. Of audit entries, no mutation's
//! goes without a trace:
//!
//! - A mutation calls [`BatchWriter::write`] and waits until its entry is on disk (many that wait at the same time share
//!   a transaction). Where that fails, the caller knows, and the entry stays in the buffer and is tried again.
//! - A refusal, an election and other things that nobody waits for call [`BatchWriter::push`]. Of these a power cut or
//!   `kill -9` may cost the last second.
//! - Entries that go for want of room are written to the daemon's own log as errors at that moment, and as soon as the store
//!   works again the audit log itself gets an entry `audit.lost` of the actor `system` with how many are missing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use gatewarden_core::error::Failure;
use gatewarden_core::gateway_report::HealthPoint;
use gatewarden_core::ids::GatewayId;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::handle::StoreHandle;
use crate::tables::audit_log::{AuditEntry, AuditResult};

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
type Appending = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>>>>;
/// Who waits for a row to be written.
type Done = oneshot::Sender<Result<(), Failure>>;

/// A row that is gathered.
pub trait Batched: Clone + Send + Unpin + 'static {
    /// Writes rows, all or none.
    fn append(store: StoreHandle, rows: Vec<Self>) -> impl Future<Output = Result<(), Failure>>;

    /// It went for want of room, unwritten.
    fn lost(&self);

    /// The row to write in the place of so many lost ones, if any.
    fn gap(lost: u64, now_ms: i64) -> Option<Self>;

    /// The store works again, and so many rows were lost: for the log.
    fn say_lost(lost: u64);
}

/// Where audit entries are put.
pub type AuditLogWriter = BatchWriter<AuditEntry>;
/// Where the registry puts health points.
pub type HealthLogWriter = BatchWriter<(GatewayId, HealthPoint)>;

/// Where rows are put. Clones share one mailbox slot of the actor behind it, so that its bound holds. When the last one is
/// dropped, the actor ends: flush first.
pub struct BatchWriter<R: Batched> {
    actor: Arc<Addr<BatchActor<R>>>,
    /// Rows that the mailbox had no room for.
    refused: Arc<AtomicU64>,
}

impl<R: Batched> Clone for BatchWriter<R> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), refused: self.refused.clone() }
    }
}

impl<R: Batched> std::fmt::Debug for BatchWriter<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchWriter").field("connected", &self.actor.connected()).finish_non_exhaustive()
    }
}

impl<R: Batched> BatchWriter<R> {
    /// Starts the actor on the current arbiter.
    pub fn start(store: StoreHandle) -> Self {
        let clock = store.clone();
        Self::start_with(move |rows| Box::pin(R::append(store.clone(), rows)), move || clock.now_ms())
    }

    fn start_with(append: impl Fn(Vec<R>) -> Appending + 'static, now_ms: impl Fn() -> i64 + 'static) -> Self {
        let refused = Arc::new(AtomicU64::new(0));
        let actor = BatchActor {
            append: Box::new(append),
            now_ms: Box::new(now_ms),
            rows: VecDeque::new(),
            lost: 0,
            refused: refused.clone(),
            writing: false,
            resting: false,
            waiting: Vec::new(),
        };
        // A burst may come within one turn of the arbiter; the capacity counts from the first message on.
        let actor = Actor::create(move |context: &mut Context<BatchActor<R>>| {
            context.set_mailbox_capacity(KEPT);
            actor
        });
        Self { actor: Arc::new(actor), refused }
    }

    /// Takes one row: written within a second or so while the store works. Never blocks, never fails.
    pub fn push(&self, row: R) {
        self.put(row, None);
    }

    /// Takes one row and answers once it is on disk. `store_unavailable`, `unavailable`: it is not there yet: it stays and is
    /// tried again, unless the actor has ended or has no room.
    pub async fn write(&self, row: R) -> Result<(), Failure> {
        let (done, written) = oneshot::channel();
        self.put(row, Some(done));
        written.await.unwrap_or_else(|_| Err(Failure::unavailable("store")))
    }

    fn put(&self, row: R, done: Option<Done>) {
        if let Err(SendError::Full(refused) | SendError::Closed(refused)) = self.actor.try_send(Put { row, done }) {
            refused.row.lost();
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers once everything pushed before is written, or couldn't be at the first attempt: for the daemon's stop.
    pub async fn flush(&self) {
        // A closed mailbox has nothing left to write.
        let _ = self.actor.send(Flush).await;
    }
}

/// A row, and who waits for it to be written.
struct Put<R> {
    row: R,
    done: Option<Done>,
}

impl<R: 'static> Message for Put<R> {
    type Result = ();
}

/// The buffer and its timer.
struct BatchActor<R: Batched> {
    append: Box<dyn Fn(Vec<R>) -> Appending>,
    now_ms: Box<dyn Fn() -> i64>,
    rows: VecDeque<Put<R>>,
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

impl<R: Batched> Actor for BatchActor<R> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(INTERVAL, |actor, context| actor.write(context));
    }
}

impl<R: Batched> BatchActor<R> {
    fn write(&mut self, context: &mut Context<Self>) {
        if self.writing || self.resting {
            return;
        }
        self.lost += self.refused.swap(0, Ordering::Relaxed);
        let told = self.lost;
        let gap = if told > 0 { R::gap(told, (self.now_ms)()) } else { None };
        if self.rows.is_empty() && gap.is_none() {
            self.say_lost(told);
            self.answer_waiting();
            return;
        }
        let batch: Vec<_> = self.rows.drain(..self.rows.len().min(LARGEST_BATCH)).collect();
        // What was lost is older than what was kept.
        let rows = gap.into_iter().chain(batch.iter().map(|queued| queued.row.clone())).collect();
        self.writing = true;
        let appending = (self.append)(rows);
        context.spawn(appending.into_actor(self).map(move |outcome, actor, context| {
            actor.written(outcome, batch, told, context);
        }));
    }

    fn written(&mut self, outcome: Result<(), Failure>, batch: Vec<Put<R>>, told: u64, context: &mut Context<Self>) {
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
            R::say_lost(told);
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
            queued.row.lost();
            self.lost += 1;
            if let Some(done) = queued.done {
                let _ = done.send(Err(Failure::unavailable("store")));
            }
        }
    }
}

impl<R: Batched> Handler<Put<R>> for BatchActor<R> {
    type Result = ();

    fn handle(&mut self, put: Put<R>, context: &mut Self::Context) {
        let is_awaited = put.done.is_some();
        self.rows.push_back(put);
        self.shed();
        // For who waits one attempt now, even if the last one failed a moment ago; those who come meanwhile share the next one.
        self.resting &= !is_awaited;
        if is_awaited || self.rows.len() >= BATCH {
            self.write(context);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

impl<R: Batched> Handler<Flush> for BatchActor<R> {
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

impl Batched for AuditEntry {
    async fn append(store: StoreHandle, rows: Vec<Self>) -> Result<(), Failure> {
        store.append_audit(rows).await
    }

    fn lost(&self) {
        tracing::error!(
            audit.at_ms = self.at_ms,
            audit.actor = %self.actor.name,
            audit.action = %self.action,
            audit.target = self.target.as_deref().unwrap_or_default(),
            audit.result = self.result.as_str(),
            request.id = self.request_id.as_deref().unwrap_or_default(),
            "an audit entry is lost to the audit log, which the store can't write"
        );
    }

    fn gap(lost: u64, now_ms: i64) -> Option<Self> {
        let details = json!({ "entries": Value::from(lost) });
        Some(Self::by_system(now_ms, "audit.lost", None, AuditResult::Failed, details))
    }

    fn say_lost(lost: u64) {
        tracing::error!(entries.dropped = lost, "the audit log lacks {lost} entries; they are in this log as errors");
    }
}

impl Batched for (GatewayId, HealthPoint) {
    async fn append(store: StoreHandle, rows: Vec<Self>) -> Result<(), Failure> {
        store.append_health(rows).await
    }

    fn lost(&self) {}

    fn gap(_: u64, _: i64) -> Option<Self> {
        None
    }

    fn say_lost(lost: u64) {
        tracing::warn!(points.dropped = lost, "the health log lacks {lost} points");
    }
}

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod health_tests;
