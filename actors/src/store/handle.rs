//! What everybody else holds of the store: typed, bounded, cheap to clone.

mod access;
mod credentials;
mod gateways;
mod health;

use std::sync::Arc;

use super::key_file::SealingKey;
use super::open_error::StoreOpenError;
use super::options::StoreOptions;
use crate::clock::Clock;
use crate::error::Failure;
use crate::metrics::Metrics;

/// The store's door. Clones share one writer thread and the reader threads.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    installation_id: String,
}

impl StoreHandle {
    /// Opens the database: makes it where there is none, checks it, migrates it, checks the key, starts the threads.
    ///
    /// To be called inside a running actix system, at the daemon's start: it reads and writes files on the calling thread.
    pub fn open(
        options: StoreOptions,
        _key: SealingKey,
        _clock: Clock,
        _metrics: Arc<Metrics>,
    ) -> Result<Self, StoreOpenError> {
        Err(StoreOpenError::NotWritable { path: options.path, detail: "the store is not wired yet".into() })
    }

    /// The id of this installation: a uuid fixed at the first start.
    pub fn installation_id(&self) -> &str {
        &self.shared.installation_id
    }

    /// Jobs admitted and not finished: of the writer, of the readers.
    pub fn queue_depth(&self) -> (usize, usize) {
        (0, 0)
    }

    /// Answers once everything that was admitted before is committed or has failed. Also taken when the queue is full.
    pub async fn flush(&self) -> Result<(), Failure> {
        Err(Failure::unavailable("store"))
    }

    /// For the watchdog: whether the writer thread is alive, without touching the database.
    pub async fn ping_writer(&self) -> Result<(), Failure> {
        Err(Failure::unavailable("store"))
    }

    /// The same for the reader threads, all of them.
    pub async fn ping_readers(&self) -> Result<(), Failure> {
        Err(Failure::unavailable("store"))
    }

    /// Makes the write-ahead log empty where no reader is in the way: for the daemon's stop, after [`Self::flush`].
    pub async fn checkpoint(&self) -> Result<(), Failure> {
        Err(Failure::unavailable("store"))
    }
}
