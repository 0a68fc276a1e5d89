//! Rows that wait to be written: those that come while a commit is under way share the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatewarden_core::error::Failure;
use tokio::sync::oneshot;

/// A row, and who waits for what comes of it.
#[derive(Debug)]
pub(crate) struct Waiting<R, T> {
    pub(crate) row: Arc<R>,
    /// When it was asked for, wall ms.
    pub(crate) asked_ms: i64,
    /// Dropped where it is to be tried on its own.
    pub(crate) reply: oneshot::Sender<Result<T, Failure>>,
}

/// All that wait.
#[derive(Debug)]
pub(crate) struct Gathered<R, T>(Mutex<Vec<Waiting<R, T>>>);

impl<R, T> Default for Gathered<R, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<R, T> Gathered<R, T> {
    /// Whether it is the first, which has all written, and where its answer comes.
    pub(crate) fn put(&self, row: Arc<R>, asked_ms: i64) -> (bool, oneshot::Receiver<Result<T, Failure>>) {
        let (reply, written) = oneshot::channel();
        let mut all = self.all();
        all.push(Waiting { row, asked_ms, reply });
        (all.len() == 1, written)
    }

    pub(crate) fn all(&self) -> MutexGuard<'_, Vec<Waiting<R, T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
