//! A store thread: runs one job after the other on a connection of its own, outlives their panics, and lets others see whether
//! it is alive and whether it can write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use arc_swap::ArcSwapOption;
use gatewarden_clock::clock::Clock;
use gatewarden_core::error::Failure;

use crate::connection::{Connection, Pool};
use crate::database::{Database, in_transaction};
use crate::error::{Fault, StoreError};

/// A job: gets the thread's connection slot and sends its own answer.
pub(crate) struct Job(pub(crate) Box<dyn FnOnce(&mut Slot) + Send>);

impl Message for Job {
    type Result = ();
}

/// The place of the connection: opened at the first job, and again after whatever spoiled it.
pub(crate) struct Slot {
    database: Database,
    busy_timeout: Duration,
    pool: Pool,
    connection: Option<Connection>,
}

impl Slot {
    pub(crate) fn new(database: Database, busy_timeout: Duration, pool: Pool) -> Self {
        Self { database, busy_timeout, pool, connection: None }
    }

    /// Runs one job to its answer. A panic ends here.
    pub(crate) fn run<T>(
        &mut self,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Taken out for the time of the job: a panic drops the connection with whatever state it is in.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.open(self.busy_timeout, self.pool)?,
        };
        let ran = catch_unwind(AssertUnwindSafe(move || {
            let outcome = job(&mut connection);
            // Between jobs no transaction may be open.
            let spoiled = outcome.as_ref().is_err_and(StoreError::spoils_connection) || in_transaction(&mut connection);
            (outcome, (!spoiled).then_some(connection))
        }));
        match ran {
            Ok((outcome, connection)) => {
                self.connection = connection;
                outcome
            }
            Err(panic) => {
                let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
                Err(StoreError::Panicked(words.unwrap_or_default()))
            }
        }
    }
}

/// The actor on a `SyncArbiter`'s thread.
pub(crate) struct StoreThread {
    slot: Slot,
    health: Arc<ThreadHealth>,
    clock: Clock,
}

impl StoreThread {
    pub(crate) fn new(slot: Slot, health: Arc<ThreadHealth>, clock: Clock) -> Self {
        Self { slot, health, clock }
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.health.thread_ends();
    }
}

impl Actor for StoreThread {
    type Context = SyncContext<Self>;
}

impl Handler<Job> for StoreThread {
    type Result = ();

    fn handle(&mut self, Job(job): Job, _: &mut Self::Context) {
        self.health.job_starts(self.clock.now());
        job(&mut self.slot);
        self.health.job_ends(self.clock.now());
    }
}

/// Whether one thread is alive, told without the database: written by that thread, read by the watchdog's ping.
#[derive(Debug)]
pub(crate) struct ThreadHealth {
    base: Instant,
    /// Milliseconds from `base` to the start of the present job, plus one; 0 while idle.
    busy_since: AtomicU64,
    /// Milliseconds from `base` to the end of the last job, plus one; 0 before there was one.
    done_at: AtomicU64,
    gone: AtomicBool,
}

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Waits for a job; the last one ended this long ago, if there was one.
    Idle(Option<Duration>),
    /// In a job for this long.
    Busy(Duration),
    /// The thread has ended.
    Gone,
}

impl ThreadHealth {
    pub(crate) fn new(base: Instant) -> Self {
        Self { base, busy_since: AtomicU64::new(0), done_at: AtomicU64::new(0), gone: AtomicBool::new(false) }
    }

    fn job_starts(&self, now: Instant) {
        self.busy_since.store(self.mark(now), Ordering::Release);
    }

    fn job_ends(&self, now: Instant) {
        self.done_at.store(self.mark(now), Ordering::Release);
        self.busy_since.store(0, Ordering::Release);
    }

    fn mark(&self, now: Instant) -> u64 {
        Clock::millis(now.saturating_duration_since(self.base)).saturating_add(1)
    }

    /// How long ago a mark was made; `None` for 0.
    fn ago(&self, mark: u64, now: Instant) -> Option<Duration> {
        let at = Duration::from_millis(mark.checked_sub(1)?);
        Some(now.saturating_duration_since(self.base).saturating_sub(at))
    }

    fn thread_ends(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(crate) fn activity(&self, now: Instant) -> Activity {
        if self.gone.load(Ordering::Acquire) {
            return Activity::Gone;
        }
        match self.ago(self.busy_since.load(Ordering::Acquire), now) {
            Some(busy) => Activity::Busy(busy),
            None => Activity::Idle(self.ago(self.done_at.load(Ordering::Acquire), now)),
        }
    }
}

/// Why the last write failed, until one works again: published by the writer thread, the only one that changes it.
///
/// Only a job that changed something proves that the database can be written: a transaction without changes commits on a full
/// disk, too. Damage is not over because another part of the file could be written: it stays until the daemon is stopped and
/// the database restored, as its help says.
#[derive(Debug, Default)]
pub(crate) struct WriteFault(ArcSwapOption<(Fault, Failure)>);

impl WriteFault {
    pub(crate) fn get(&self) -> Option<Failure> {
        self.0.load().as_deref().map(|(_, failure)| failure.clone())
    }

    /// Takes what kind of trouble the database made for a job, the job's outcome, and whether it changed anything.
    pub(crate) fn note<T>(&self, fault: Option<Fault>, outcome: &Result<T, Failure>, changed: bool) {
        let present = self.0.load().as_deref().map(|(fault, _)| *fault);
        if present == Some(Fault::Corrupt) {
            return;
        }
        match (fault, outcome) {
            (Some(fault), Err(failure)) => self.0.store(Some(Arc::new((fault, failure.clone())))),
            (_, Ok(_)) if changed && present.is_some() => {
                self.0.store(None);
                tracing::info!("the database can be written again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use gatewarden_core::error::ErrorCode;

    use super::*;

    #[test]
    fn a_threads_health_tells_idle_busy_and_gone_apart() {
        let base = Clock::system().now();
        let after = |seconds| base + Duration::from_secs(seconds);
        let health = ThreadHealth::new(base);
        assert_eq!(health.activity(after(5)), Activity::Idle(None));
        health.job_starts(base);
        assert_eq!(health.activity(base), Activity::Busy(Duration::ZERO));
        assert_eq!(health.activity(after(70)), Activity::Busy(Duration::from_secs(70)));
        health.job_ends(after(71));
        assert_eq!(health.activity(after(71)), Activity::Idle(Some(Duration::ZERO)));
        assert_eq!(health.activity(after(74)), Activity::Idle(Some(Duration::from_secs(3))));
        health.job_starts(after(72));
        health.thread_ends();
        assert_eq!(health.activity(after(73)), Activity::Gone);
    }

    fn failed(words: &str) -> Result<(), Failure> {
        Err(Failure::new(ErrorCode::StoreUnavailable, words))
    }

    #[test]
    fn a_fault_lasts_until_something_was_written() {
        let fault = WriteFault::default();
        fault.note(Some(Fault::Full), &failed("full"), false);
        fault.note(None, &Ok(()), false);
        fault.note(None, &Err::<(), _>(Failure::new(ErrorCode::NameTaken, "taken")), true);
        assert_eq!(fault.get().map(|fault| fault.message), Some("full".to_owned()), "nothing was written");
        fault.note(Some(Fault::ReadOnly), &failed("read-only"), false);
        assert_eq!(fault.get().map(|fault| fault.message), Some("read-only".to_owned()), "the last one counts");
        fault.note(None, &Ok(()), true);
        assert_eq!(fault.get(), None);
    }

    #[test]
    fn damage_is_not_over_because_something_else_could_be_written() {
        let fault = WriteFault::default();
        fault.note(Some(Fault::Corrupt), &failed("damaged"), false);
        fault.note(Some(Fault::Locked), &failed("locked"), false);
        fault.note(None, &Ok(()), true);
        assert_eq!(fault.get().map(|fault| fault.message), Some("damaged".to_owned()));
    }
}
