//! How the store is opened.

use std::path::PathBuf;
use std::time::Duration;

/// Options of [`super::handle::StoreHandle::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// The database file. It and its directory are made where they don't exist (modes 0600 and 0700).
    pub path: PathBuf,
    /// Reader threads, at least 1; 2.
    pub readers: usize,
    /// Jobs admitted at a time, for the writer and for the readers each; one more waits for `admission_wait`. 1,024.
    pub max_queue: usize,
    /// How long a statement waits for a lock that another process holds; 3 s. Below `job_deadline`, so that the lock is
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
        Self {
            path: path.into(),
            readers: 2,
            max_queue: 1024,
            busy_timeout: Duration::from_secs(3),
            admission_wait: Duration::from_secs(1),
            job_deadline: Duration::from_secs(10),
            stuck_after: Duration::from_secs(60),
        }
    }
}
