//! What the store tells of its work: the daemon counts it.

use std::path::Path;
use std::time::Duration;

/// Told by the store's threads and by whoever sends them work; must not block.
pub trait StoreMetrics: std::fmt::Debug + Send + Sync {
    /// Where the database is; once, when it is opened.
    fn set_database(&self, path: &Path);

    /// So many jobs are admitted and not finished on the threads of `writer` or `reader`.
    fn set_store_queue(&self, which: &'static str, depth: usize);

    /// A job has run, for so long, and whether it did what it should.
    fn observe_store_job(&self, which: &'static str, took: Duration, done: bool);
}

/// Where nobody counts, as in the commands.
impl StoreMetrics for () {
    fn set_database(&self, _: &Path) {}
    fn set_store_queue(&self, _: &'static str, _: usize) {}
    fn observe_store_job(&self, _: &'static str, _: Duration, _: bool) {}
}
