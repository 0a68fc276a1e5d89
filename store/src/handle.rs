//! What everybody else holds of the store: typed, bounded, cheap to clone. Its methods for a table stand with that table.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatewarden_clock::clock::Clock;
use gatewarden_core::error::Failure;
use gatewarden_core::settings::RetentionSettings;
use gatewarden_core::spawn::SpawnRecord;
use gatewarden_protocol::Secret;
use tokio::sync::oneshot;

use crate::connection::{Connection, Pool};
use crate::database::{Database, read_transaction, write_transaction, write_trial};
use crate::error::StoreError;
use crate::files::beside;
use crate::gathered::Gathered;
use crate::key_file::SealingKey;
use crate::maintenance::backup::{Backup, make_with};
use crate::queue::{Queue, StoreMetrics, StoreOptions};
use crate::sealing::Sealer;
use crate::sqlite;
use crate::startup::{self, Installation};

/// A log that is longer than this is emptied, where no reader is in the way. A burst leaves 16 MiB.
const LONG_LOG: u64 = 64 * 1024 * 1024;
/// Turns of giving space back in one run: 200 MiB at most, so that the next run's work isn't kept waiting.
const MAX_TURNS: usize = 100;

/// A spawn as it is to be recorded, with its text and the client's idempotency key.
pub(crate) type NewSpawn = (SpawnRecord, Secret, Option<String>);

/// What a job works with: a connection in a transaction, the key, and the time at which the job was asked for.
pub(crate) struct Db<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) sealer: &'a Sealer,
    /// Wall time, Unix ms.
    pub(crate) now_ms: i64,
}

impl Db<'_> {
    /// Unix seconds.
    pub(crate) fn now_s(&self) -> i64 {
        self.now_ms / 1000
    }
}

/// The store's handle. Clones share one writer thread and the reader threads; when the last clone is dropped, they finish
/// what is queued and end.
///
/// Reads, and writes whose turn doesn't come, are answered within the options' `admission_wait` + `job_deadline`. A write that
/// has begun is answered when it has ended, however long that takes: committed and on disk, or certainly not done. Whoever must
/// not wait so long is told by [`gatewarden_clock::overdue`]. Common failures: `store_unavailable` (too many jobs, database
/// locked, full or read-only, no turn in time: nothing was done; try again), `internal` (a fault of ours, logged) and
/// `outcome_unknown` (the writer thread died in the middle; only a restart helps).
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
    database: Database,
    gathered_spawns: Arc<Gathered<NewSpawn, Option<SpawnRecord>>>,
    /// No spawn is recorded any more.
    recording_is_over: Arc<AtomicBool>,
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
    ) -> Result<Self, StoreError> {
        let (installation, sealer) = startup::prepare(&options, key)?;
        if let Database::File(path) = &options.database {
            metrics.set_database(path);
        }
        let writer = Queue::start(Pool::Writer, &options, clock.clone(), metrics.clone());
        let readers = Queue::start(Pool::Reader, &options, clock.clone(), metrics);
        let (sealer, database) = (Arc::new(sealer), options.database);
        let (gathered_spawns, recording_is_over) = (Arc::default(), Arc::default());
        let shared =
            Shared { writer, readers, sealer, clock, installation, database, gathered_spawns, recording_is_over };
        Ok(Self { shared: Arc::new(shared) })
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

    /// For the daemon's stop: a spawn whose turn to be recorded has not come by now never is (`unavailable`), as nobody would send it.
    pub fn end_recording(&self) {
        self.shared.recording_is_over.store(true, Ordering::Release);
    }

    pub(crate) fn gathered_spawns(&self) -> &Arc<Gathered<NewSpawn, Option<SpawnRecord>>> {
        &self.shared.gathered_spawns
    }

    pub(crate) fn recording_is_over(&self) -> Arc<AtomicBool> {
        self.shared.recording_is_over.clone()
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
        self.write("write to the database", |db| Ok(write_trial(db.connection)?)).await
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
        if self.shared.database.file().is_none() {
            return Ok(());
        }
        self.maintain(sqlite::empty_log).await
    }

    /// Gives unused space of the database back, in short transactions, and keeps its statistics and its log in order.
    /// A server does all of that by itself.
    pub async fn tidy(&self) -> Result<(), Failure> {
        let Some(path) = self.shared.database.file() else { return Ok(()) };
        for _ in 0..MAX_TURNS {
            if self.maintain(sqlite::give_back).await? == 0 {
                break;
            }
        }
        let log = std::fs::metadata(beside(path, "-wal")).map_or(0, |metadata| metadata.len());
        if log > LONG_LOG {
            self.checkpoint().await?;
        }
        self.maintain(sqlite::optimize).await
    }

    /// On the writer's connection, outside of a transaction.
    async fn maintain<T: Send + 'static>(
        &self,
        work: fn(&mut Connection) -> diesel::QueryResult<T>,
    ) -> Result<T, Failure> {
        self.shared.writer.run("tidy up the database", move |connection| Ok(work(connection)?)).await
    }

    /// Makes a verified backup without the key in a new file: see [`crate::maintenance::backup`].
    ///
    /// It works on a thread and a connection of its own, since a large database takes longer than any job may. A daemon that
    /// stops meanwhile doesn't wait for it.
    pub async fn back_up(&self, to: PathBuf) -> Result<Backup, StoreError> {
        let Database::File(database) = self.shared.database.clone() else {
            return Err(StoreError::NoFile { place: self.shared.database.place() });
        };
        let sealer = self.shared.sealer.clone();
        let (reply, answer) = oneshot::channel();
        let place = to.clone();
        std::thread::Builder::new()
            .name("backup".to_owned())
            .spawn(move || {
                let _ = reply.send(make_with(&database, &to, &sealer));
            })
            .map_err(StoreError::file(&place, "written"))?;
        answer.await.unwrap_or(Err(StoreError::BrokenOff))
    }

    /// Thins the health log and forgets old audit entries, spawns, idempotency keys, direct connections, token usage and failed logins, each
    /// in short transactions, by the clock's judgement of each span ([`Clock::judged_ms`]). One that fails doesn't keep the
    /// others from it; the answer is the first failure, and the next run goes on from there.
    pub async fn forget_old(&self, retention: &RetentionSettings) -> Result<(), Failure> {
        let judged = |kept| self.shared.clock.judged_ms(kept);
        let outcomes = [
            self.thin_health(judged(retention.thinned.max(retention.full)), retention.full, retention.thinned)
                .await
                .map(|_| 0),
            self.thin_audit(judged(retention.audit), retention.audit).await,
            self.purge_idempotency_keys(judged(Self::IDEMPOTENCY_KEPT)).await,
            self.thin_spawns(judged(retention.spawns), retention.spawns).await,
            self.thin_connections(judged(Self::CONNECTIONS_KEPT), Self::CONNECTIONS_KEPT).await,
            self.thin_tokens(judged(Self::TOKENS_KEPT), Self::TOKENS_KEPT).await,
            self.thin_failed_logins().await,
            self.cut_logs(Self::MOST_LOGGED, Self::MOST_SPAWNS).await,
            self.tidy().await.map(|()| 0),
        ];
        outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
    }

    /// One write, all or nothing. The job may be done again, from the start, where another write came between.
    pub(crate) async fn write<T, F>(&self, what: &'static str, job: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Fn(&mut Db<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (sealer, now_ms) = (self.shared.sealer.clone(), self.now_ms());
        let work = move |connection: &mut Connection| {
            write_transaction(connection, |connection| job(&mut Db { connection, sealer: &sealer, now_ms }))
        };
        self.shared.writer.run(what, work).await
    }

    /// One read on any reader, all of it from one state of the database.
    pub(crate) async fn read<T, F>(&self, what: &'static str, job: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut Db<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (sealer, now_ms) = (self.shared.sealer.clone(), self.now_ms());
        let work = move |connection: &mut Connection| {
            read_transaction(connection, |connection| job(&mut Db { connection, sealer: &sealer, now_ms }))
        };
        self.shared.readers.run(what, work).await
    }

    /// Repeats a write that does a part of its work, each part in a transaction of its own, until it has none left; the sum
    /// of what the parts say they did. Stops at the first failure.
    pub(crate) async fn write_in_turns<F>(&self, what: &'static str, part: F) -> Result<usize, Failure>
    where
        F: Fn(&mut Db<'_>) -> Result<usize, StoreError> + Clone + Send + 'static,
    {
        let mut sum = 0;
        loop {
            let done = self.write(what, part.clone()).await?;
            if done == 0 {
                return Ok(sum);
            }
            sum += done;
        }
    }

    /// Unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.shared.clock.wall_ms()
    }

    /// The wall time by which what is kept for so long is too old or not.
    pub(crate) fn judged_ms(&self, kept: Duration) -> i64 {
        self.shared.clock.judged_ms(kept)
    }
}

/// Milliseconds for the database.
pub(crate) fn span_ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A count for the database.
pub(crate) fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
