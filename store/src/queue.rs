//! The way of a job to a store thread and of its answer back: admission, deadline, and the watchdog's ping.
//!
//! `SyncArbiter` queues without bound and can't be asked while its threads are busy. So what must be known of it stands beside
//! it: a semaphore that admits, and what each thread publishes of itself ([`ThreadHealth`], [`WriteFault`]; nobody else writes
//! those, and nobody waits for a lock). A permit is taken before a job is sent and travels with it until it has run. A
//! job whose caller has gone before its turn is not run at all.
//!
//! A deadline never leaves a write in doubt. A job that has not begun by then is withdrawn: it will not run, and its caller
//! knows. A write that has begun is waited for to its end, while its client is told that the outcome isn't known yet
//! ([`overdue`]). A read that has begun is given up.
//!
//! The ping must answer while the database is locked, full or slow, as a restart would cure none of that; and it must
//! not answer when a thread is dead or stuck for good. So it looks at the threads' health first:
//!
//! 1. a thread that has ended: failure;
//! 2. a thread in one job for longer than `stuck_after`: failure (a job waits for a lock for `busy_timeout` at most);
//! 3. every thread in a job that began lately, or done with one less than a second ago: alive, whatever waits in line;
//! 4. else an empty job is sent past the permits: answered: alive. Not answered within two seconds: their health is
//!    looked at again, and only threads that have all got into a job meanwhile, or through one, are alive.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use gatewarden_clock::clock::Clock;
use gatewarden_clock::overdue;
use gatewarden_core::error::Failure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::connection::{Connection, Pool};
use crate::database::{Database, changes};
use crate::error::{StoreError, in_doubt, unavailable};
use crate::thread::{Activity, Job, Slot, StoreThread, ThreadHealth, WriteFault};

/// Longest wait for admission, whatever the options say.
const MAX_ADMISSION_WAIT: Duration = Duration::from_secs(2);
/// A thread that ended a job less than this ago works.
const AT_WORK: Duration = Duration::from_secs(1);
/// How long an idle thread has for a ping.
const PING_WAIT: Duration = Duration::from_secs(2);

/// How [`crate::StoreHandle::open`] opens a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// A file and its directory are made where they don't exist (modes 0600 and 0700).
    pub database: Database,
    /// Whether the database may be looked at while another gatewarden works on it; false. Of a file that goes without saying.
    pub beside_another: bool,
    /// Reader threads, at least 1; 2.
    pub readers: usize,
    /// Jobs admitted at a time, for the writer and for the readers each; one more waits for `admission_wait`. 1,024.
    pub max_queue: usize,
    /// How long a statement waits for a lock that another process holds, and for a server's answer; 3 s. Below `job_deadline`, so that the lock is
    /// what the caller hears of.
    pub busy_timeout: Duration,
    /// How long a caller waits for admission when the queue is full; 1 s, at most 2 s.
    pub admission_wait: Duration,
    /// How long a caller waits for a job's answer; 10 s. For a write that has begun: after which its client is told so.
    pub job_deadline: Duration,
    /// A thread whose present job runs for longer counts as stuck, and the watchdog is no longer fed; 60 s.
    pub stuck_after: Duration,
}

impl StoreOptions {
    /// The defaults, for a database at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self::of(Database::File(path.into()))
    }

    /// The defaults.
    pub fn of(database: Database) -> Self {
        Self {
            database,
            beside_another: false,
            readers: 2,
            max_queue: 1024,
            busy_timeout: Duration::from_secs(3),
            admission_wait: Duration::from_secs(1),
            job_deadline: Duration::from_secs(10),
            stuck_after: Duration::from_secs(60),
        }
    }
}

/// What the store tells of its work, for whoever counts it. Must not block.
pub trait StoreMetrics: std::fmt::Debug + Send + Sync {
    /// Where the database's file is, where it is one; once, when it is opened.
    fn set_database(&self, path: &Path);

    /// So many jobs are admitted and not finished on the threads of `writer` or `reader`.
    fn set_store_queue(&self, pool: &'static str, depth: usize);

    /// A job has run, for so long, and whether it did what it should.
    fn observe_store_job(&self, pool: &'static str, took: Duration, done: bool);
}

/// Where nobody counts.
impl StoreMetrics for () {
    fn set_database(&self, _: &Path) {}
    fn set_store_queue(&self, _: &'static str, _: usize) {}
    fn observe_store_job(&self, _: &'static str, _: Duration, _: bool) {}
}

/// The threads of one kind, with their queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pool: Pool,
    threads: Addr<StoreThread>,
    permits: Arc<Semaphore>,
    capacity: usize,
    healths: Arc<[Arc<ThreadHealth>]>,
    admission_wait: Duration,
    job_deadline: Duration,
    stuck_after: Duration,
    fault: Arc<WriteFault>,
    clock: Clock,
    metrics: Arc<dyn StoreMetrics>,
}

/// A permit that keeps the depth metric right, however it ends.
struct Admission {
    permit: Option<OwnedSemaphorePermit>,
    permits: Arc<Semaphore>,
    capacity: usize,
    pool: Pool,
    metrics: Arc<dyn StoreMetrics>,
}

impl Admission {
    fn publish(&self) {
        self.metrics.set_store_queue(self.pool.name(), self.capacity.saturating_sub(self.permits.available_permits()));
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.publish();
    }
}

impl Queue {
    /// Starts the threads. Inside a running actix system.
    pub(crate) fn start(pool: Pool, options: &StoreOptions, clock: Clock, metrics: Arc<dyn StoreMetrics>) -> Self {
        let threads = match pool {
            Pool::Writer => 1,
            Pool::Reader => options.readers.max(1),
        };
        let base = clock.now();
        let healths: Arc<[Arc<ThreadHealth>]> = (0..threads).map(|_| Arc::new(ThreadHealth::new(base))).collect();
        let address = {
            let (healths, clock, next) = (healths.clone(), clock.clone(), AtomicUsize::new(0));
            let (database, busy_timeout) = (options.database.clone(), options.busy_timeout);
            SyncArbiter::start(threads, move || {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let health = healths.get(turn).cloned().unwrap_or_else(|| Arc::new(ThreadHealth::new(base)));
                StoreThread::new(Slot::new(database.clone(), busy_timeout, pool), health, clock.clone())
            })
        };
        let capacity = options.max_queue.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            pool,
            threads: address,
            permits: Arc::new(Semaphore::new(capacity)),
            capacity,
            healths,
            admission_wait: options.admission_wait.min(MAX_ADMISSION_WAIT),
            job_deadline: options.job_deadline,
            stuck_after: options.stuck_after,
            fault: Arc::default(),
            clock,
            metrics,
        }
    }

    /// Why the last write failed; see [`WriteFault`].
    pub(crate) fn last_fault(&self) -> Option<Failure> {
        self.fault.get()
    }

    /// Jobs admitted and not finished.
    pub(crate) fn depth(&self) -> usize {
        self.capacity.saturating_sub(self.permits.available_permits())
    }

    /// Runs a job on a thread and waits for its answer: for a write that has begun as long as that takes.
    pub(crate) async fn run<T, F>(&self, what: &'static str, job: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let admission = self.admit(what).await?;
        let (reply, answer) = oneshot::channel();
        let (clock, metrics, pool) = (self.clock.clone(), self.metrics.clone(), self.pool.name());
        let (last_fault, is_writer) = (self.fault.clone(), self.pool == Pool::Writer);
        let taken = Arc::new(AtomicBool::new(false));
        let taken_by_thread = taken.clone();
        self.threads.do_send(Job(Box::new(move |slot| {
            // Whoever takes it first decides: the thread that it runs, its caller that it doesn't.
            if reply.is_closed() || taken_by_thread.swap(true, Ordering::AcqRel) {
                return;
            }
            let began = clock.now();
            // Only after a failure anybody needs to know whether something was changed.
            let doubted = is_writer && last_fault.get().is_some();
            let mut changed = false;
            let outcome = slot.run(|connection| {
                let before = doubted.then(|| changes(connection));
                let done = job(connection)?;
                changed = before.is_some_and(|before| before != changes(connection));
                Ok(done)
            });
            metrics.observe_store_job(pool, clock.now().saturating_duration_since(began), outcome.is_ok());
            let fault = outcome.as_ref().err().and_then(StoreError::fault);
            let outcome = outcome.map_err(|error| error.into_failure(what));
            if is_writer {
                last_fault.note(fault, &outcome, changed);
            }
            // First the permit: who has the answer finds the queue already shorter.
            drop(admission);
            let _ = reply.send(outcome);
        })));
        self.answer(what, &taken, answer).await
    }

    /// Answers when all jobs sent before have run.
    pub(crate) async fn flush(&self) -> Result<(), Failure> {
        match overdue::within(self.job_deadline, pin!(self.empty_job())).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(self.dead("has ended")),
            None => Err(unavailable("The store did not work off its queue in time".to_owned())),
        }
    }

    /// Whether all threads are alive; see the module's documentation.
    pub(crate) async fn ping(&self) -> Result<(), Failure> {
        if self.all_at_work()? {
            return Ok(());
        }
        if let Ok(Ok(())) = timeout(PING_WAIT, self.empty_job()).await {
            return Ok(());
        }
        if self.all_at_work()? { Ok(()) } else { Err(self.dead("does not answer")) }
    }

    /// Whether every thread is in a job, or was a moment ago; an error where one has ended or is stuck.
    fn all_at_work(&self) -> Result<bool, Failure> {
        let now = self.clock.now();
        let mut all = true;
        for health in self.healths.iter() {
            match health.activity(now) {
                Activity::Gone => return Err(self.dead("has ended")),
                Activity::Busy(since) if since > self.stuck_after => return Err(self.dead("is stuck in one job")),
                Activity::Busy(_) => {}
                Activity::Idle(Some(since)) if since < AT_WORK => {}
                Activity::Idle(_) => all = false,
            }
        }
        Ok(all)
    }

    fn empty_job(&self) -> oneshot::Receiver<()> {
        let (reply, answer) = oneshot::channel();
        self.threads.do_send(Job(Box::new(move |_| {
            let _ = reply.send(());
        })));
        answer
    }

    async fn admit(&self, what: &'static str) -> Result<Admission, Failure> {
        let acquired = timeout(self.admission_wait, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = acquired else {
            tracing::warn!(store.job = what, "could not {what}: {} jobs wait for the store", self.capacity);
            return Err(unavailable(format!("Could not {what}: too many requests wait for the store")));
        };
        let admission = Admission {
            permit: Some(permit),
            permits: self.permits.clone(),
            capacity: self.capacity,
            pool: self.pool,
            metrics: self.metrics.clone(),
        };
        admission.publish();
        Ok(admission)
    }

    async fn answer<T>(
        &self,
        what: &'static str,
        taken: &AtomicBool,
        answer: oneshot::Receiver<Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut answer = pin!(answer);
        let answered = match overdue::within(self.job_deadline, answer.as_mut()).await {
            Some(answered) => answered,
            None if !taken.swap(true, Ordering::AcqRel) => {
                tracing::warn!(store.job = what, "could not {what}: its turn did not come in {:?}", self.job_deadline);
                return Err(unavailable(format!(
                    "Could not {what}: the store did not come to it in time, and will not do it"
                )));
            }
            None => match self.pool {
                Pool::Reader => {
                    tracing::warn!(store.job = what, "could not {what}: no answer in {:?}", self.job_deadline);
                    return Err(unavailable(format!("Could not {what}: the store did not answer in time")));
                }
                Pool::Writer => {
                    tracing::warn!(
                        store.job = what,
                        "no answer in {:?}: waiting for the store's word",
                        self.job_deadline
                    );
                    overdue::tell_client(|| in_doubt(what));
                    answer.await
                }
            },
        };
        match answered {
            Ok(outcome) => outcome,
            // The thread has ended: in the middle of it, or before.
            Err(_) if self.pool == Pool::Writer && taken.load(Ordering::Acquire) => {
                self.dead("has ended");
                Err(in_doubt(what))
            }
            Err(_) => Err(self.dead("has ended")),
        }
    }

    fn dead(&self, how: &str) -> Failure {
        let message = format!("The store's {} thread {how}", self.pool.name());
        tracing::error!("{message}");
        unavailable(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> (tempfile::TempDir, Queue) {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::at(dir.path().join("none.db"));
        options.job_deadline = Duration::from_secs(5);
        let queue = Queue::start(Pool::Writer, &options, Clock::system(), Arc::new(()));
        (dir, queue)
    }

    #[actix::test]
    async fn a_ping_does_not_need_a_database() {
        let (_dir, queue) = writer();
        queue.ping().await.unwrap();
        assert!(queue.run("read", |_| Ok(())).await.is_err(), "there is no database to open");
        queue.ping().await.unwrap();
        assert_eq!(queue.depth(), 0);
    }

    #[actix::test]
    async fn a_ping_tells_that_the_thread_has_ended() {
        let (_dir, queue) = writer();
        queue.threads.do_send(Job(Box::new(|_| panic!("on purpose, past the catch"))));
        let failure = loop {
            match queue.ping().await {
                Err(failure) => break failure,
                Ok(()) => tokio::task::yield_now().await,
            }
        };
        assert!(failure.message.contains("has ended") || failure.message.contains("does not answer"), "{failure}");
        let failure = queue.run("read", |_| Ok(())).await.unwrap_err();
        assert_eq!(failure.code, gatewarden_core::error::ErrorCode::StoreUnavailable);
        assert_eq!(queue.depth(), 0, "its permit came back");
    }
}
