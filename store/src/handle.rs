//! What everybody else holds of the store: typed, bounded, cheap to clone.

mod access;
mod agents;
mod audit;
mod care;
mod credentials;
mod direct_connections;
mod gateways;
mod health;
mod local_processes;
mod notifications;
mod provisioning;
mod retention;
mod spawns;
mod steady_time;
mod token_usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;

use super::error::StoreError;
use super::key_file::SealingKey;
use super::open_error::StoreOpenError;
use super::options::StoreOptions;
use super::queue::{Queue, Which};
use super::sealing::Sealer;
use super::startup::{self, Installation};
use super::write_fault;
use crate::metrics::StoreMetrics;
use gatewarden_clock::clock::Clock;
use gatewarden_core::error::Failure;

/// The store's door. Clones share one writer thread and the reader threads; when the last clone is dropped, they finish
/// what is queued and end.
///
/// Reads, and writes whose turn doesn't come, are answered within the options' `admission_wait` + `job_deadline`. A write that
/// has begun is answered when it has ended, however long that takes: committed and on disk, or certainly not done. Whoever must
/// not wait so long is told by [`gatewarden_clock::overdue`]. Common failures: `store_unavailable` (too many jobs, database locked, full or
/// read-only, no turn in time: nothing was done; try again), `internal` (a fault of ours, logged) and `outcome_unknown` (the
/// writer thread died in the middle; only a restart helps).
#[derive(Clone, Debug)]
pub struct StoreHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: Queue,
    readers: Queue,
    sealer: Arc<Sealer>,
    clock: Clock,
    installation: Installation,
    path: PathBuf,
}

impl StoreHandle {
    /// Opens the database: makes it where there is none, checks it, migrates it, checks the key, starts the threads.
    ///
    /// To be called inside a running actix system, at the daemon's start: it reads and writes files on the calling thread.
    pub fn open(
        options: StoreOptions,
        key: SealingKey,
        clock: Clock,
        metrics: Arc<dyn StoreMetrics>,
    ) -> Result<Self, StoreOpenError> {
        let (installation, sealer) = startup::prepare(&options, key, clock.wall_ms() / 1000)?;
        let sealer = Arc::new(sealer);
        metrics.set_database(&options.path);
        let path = options.path.clone();
        let writer = Queue::start(Which::Writer, &options, clock.clone(), metrics.clone());
        let readers = Queue::start(Which::Reader, &options, clock.clone(), metrics);
        Ok(Self { shared: Arc::new(Shared { writer, readers, sealer, clock, installation, path }) })
    }

    /// The id of this installation: a uuid fixed at the first start.
    pub fn installation_id(&self) -> &str {
        &self.shared.installation.id
    }

    /// The id of the one organization of the organization API: a uuid fixed at the first start.
    pub fn organization_id(&self) -> &str {
        &self.shared.installation.organization_id
    }

    /// Removes the new key of a change of keys that was broken off before the database used it. Only for whoever holds the
    /// state directory's lock: nobody is changing keys then.
    pub fn forget_leftover_key(&self) {
        if let Some(path) = &self.shared.installation.leftover_key
            && std::fs::remove_file(path).is_ok()
        {
            tracing::info!(key.path = %path.display(), "removed the new encryption key of a change that was broken off");
        }
    }

    /// Jobs admitted and not finished: of the writer, of the readers.
    pub fn queue_depth(&self) -> (usize, usize) {
        (self.shared.writer.depth(), self.shared.readers.depth())
    }

    /// Answers once everything that was admitted before is committed or has failed. Also taken when the queue is full.
    pub async fn flush(&self) -> Result<(), Failure> {
        self.shared.writer.flush().await
    }

    /// Why the last write failed, where it did because the database can't be written: no space, read-only, locked by
    /// somebody, damaged. None again after a write that worked; damage stays.
    pub fn last_write_fault(&self) -> Option<Failure> {
        self.shared.writer.last_fault()
    }

    /// Writes something without meaning, to find out whether a database that could not be written can be again.
    pub async fn try_a_write(&self) -> Result<(), Failure> {
        self.write("write to the database", |connection, _| write_fault::trial(connection)).await
    }

    /// For the watchdog: whether the writer thread is alive, without touching the database. A locked, full or slow
    /// database is no reason for a failure here; a dead thread, or one stuck in a job for longer than `stuck_after`, is.
    pub async fn ping_writer(&self) -> Result<(), Failure> {
        self.shared.writer.ping().await
    }

    /// The same for the reader threads, all of them.
    pub async fn ping_readers(&self) -> Result<(), Failure> {
        self.shared.readers.ping().await
    }

    /// Makes the write-ahead log empty where no reader is in the way: for the daemon's stop, after [`Self::flush`].
    pub async fn checkpoint(&self) -> Result<(), Failure> {
        self.shared
            .writer
            .run("tidy up the database", |connection| {
                connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").map_err(StoreError::from)
            })
            .await
    }

    /// One write, all or nothing: takes the write lock first, so that it can't lose against another one half-way.
    pub(super) async fn write<T, F>(&self, what: &'static str, job: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection, &Sealer) -> Result<T, StoreError> + Send + 'static,
    {
        let sealer = self.shared.sealer.clone();
        self.shared
            .writer
            .run(what, move |connection| connection.immediate_transaction(|connection| job(connection, &sealer)))
            .await
    }

    /// One read on any reader, all of it from one state of the database.
    pub(super) async fn read<T, F>(&self, what: &'static str, job: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection, &Sealer) -> Result<T, StoreError> + Send + 'static,
    {
        use diesel::Connection;
        let sealer = self.shared.sealer.clone();
        self.shared
            .readers
            .run(what, move |connection| connection.transaction(|connection| job(connection, &sealer)))
            .await
    }

    /// Does something to the writer's connection, outside of a transaction.
    #[cfg(test)]
    pub(super) async fn shared_writer_for_test(&self, act: fn(&mut SqliteConnection) -> diesel::QueryResult<()>) {
        self.shared
            .writer
            .run("act for a test", move |connection| act(connection).map_err(StoreError::from))
            .await
            .unwrap();
    }

    /// Closes the connections of all threads, so that a test may look at the files.
    #[cfg(test)]
    pub(super) async fn close_for_test(&self) {
        let spoiled = || StoreError::Database(diesel::result::Error::NotInTransaction);
        let _ = self.shared.writer.run::<(), _>("close", move |_| Err(spoiled())).await;
        // One job for each of the two threads: neither ends before both have one.
        let both = Arc::new(std::sync::Barrier::new(2));
        let close = |both: Arc<std::sync::Barrier>| {
            self.shared.readers.run::<(), _>("close", move |_| {
                both.wait();
                Err(spoiled())
            })
        };
        let _ = futures_util::future::join(close(both.clone()), close(both)).await;
    }

    /// Repeats a write that does a part of its work, each part in a transaction of its own, until it has none left; the sum
    /// of what the parts say they did. Stops at the first failure.
    pub(super) async fn write_in_turns<F>(&self, what: &'static str, part: F) -> Result<usize, Failure>
    where
        F: Fn(&mut SqliteConnection) -> Result<usize, StoreError> + Clone + Send + 'static,
    {
        let mut sum = 0;
        loop {
            let part = part.clone();
            let done = self.write(what, move |connection, _| part(connection)).await?;
            if done == 0 {
                return Ok(sum);
            }
            sum += done;
        }
    }

    /// Unix milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        self.shared.clock.wall_ms()
    }

    /// Unix seconds.
    fn now_s(&self) -> i64 {
        self.shared.clock.wall_ms() / 1000
    }
}

fn span_ms(span: Duration) -> i64 {
    i64::try_from(Clock::millis(span)).unwrap_or(i64::MAX)
}

/// A count for the database.
fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
