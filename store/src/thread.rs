//! A store thread: runs one job after the other on a connection of its own, and outlives their panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use diesel::SqliteConnection;
use diesel::connection::{AnsiTransactionManager, TransactionManager};

use super::connection::{self, Which};
use super::error::{StoreError, internal};
use super::pulse::Pulse;
use gatewarden_clock::clock::Clock;
use gatewarden_core::error::Failure;

/// A job: gets the thread's connection slot and sends its own answer.
pub(super) struct Job(pub(super) Box<dyn FnOnce(&mut Slot) + Send>);

impl Message for Job {
    type Result = ();
}

/// The place of the connection: opened at the first job, and again after whatever spoiled it.
pub(super) struct Slot {
    path: PathBuf,
    busy_timeout: Duration,
    which: Which,
    connection: Option<SqliteConnection>,
}

impl Slot {
    pub(super) fn new(path: PathBuf, busy_timeout: Duration, which: Which) -> Self {
        Self { path, busy_timeout, which, connection: None }
    }

    /// Runs one job to its answer. A panic ends here, as `internal`.
    pub(super) fn run<T>(
        &mut self,
        what: &'static str,
        job: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        // Taken out for the time of the job: a panic drops the connection with whatever state it is in.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                connection::open(&self.path, self.busy_timeout, self.which).map_err(|error| error.into_failure(what))?
            }
        };
        let ran = catch_unwind(AssertUnwindSafe(move || {
            let outcome = job(&mut connection);
            let spoiled = outcome.as_ref().is_err_and(StoreError::spoils_connection) || in_transaction(&mut connection);
            (outcome, (!spoiled).then_some(connection))
        }));
        match ran {
            Ok((outcome, connection)) => {
                self.connection = connection;
                outcome.map_err(|error| error.into_failure(what))
            }
            Err(panic) => {
                let words = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_default();
                tracing::error!(store.job = what, error = %words, "could not {what}: the job panicked");
                Err(internal(what))
            }
        }
    }
}

/// Between jobs no transaction may be open; a failed rollback leaves one.
fn in_transaction(connection: &mut SqliteConnection) -> bool {
    !matches!(AnsiTransactionManager::transaction_manager_status_mut(connection).transaction_depth(), Ok(None))
}

/// The actor on a `SyncArbiter`'s thread.
pub(super) struct StoreThread {
    slot: Slot,
    pulse: Arc<Pulse>,
    clock: Clock,
}

impl StoreThread {
    pub(super) fn new(slot: Slot, pulse: Arc<Pulse>, clock: Clock) -> Self {
        Self { slot, pulse, clock }
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.pulse.thread_ends();
    }
}

impl Actor for StoreThread {
    type Context = SyncContext<Self>;
}

impl Handler<Job> for StoreThread {
    type Result = ();

    fn handle(&mut self, Job(job): Job, _: &mut Self::Context) {
        self.pulse.job_starts(self.clock.now());
        job(&mut self.slot);
        self.pulse.job_ends(self.clock.now());
    }
}
