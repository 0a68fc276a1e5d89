//! Lines of logs, written on a thread of their own: to a file, to standard error or to the journal. Whoever writes a line never
//! waits. What the other end doesn't take waits within a bound; beyond it lines are dropped, counted, and their number is said
//! once lines are taken again.

mod journal;
mod kept_file;
mod standard_error;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

pub use journal::JournalEntry;
pub use kept_file::Keeping;
pub use standard_error::standard_error;

/// What may wait to be written, in bytes. Beyond it lines are dropped and counted.
const MAX_WAITING: usize = 8 * 1024 * 1024;

/// What a waiting line takes beside its bytes.
const OF_EACH_LINE: usize = 64;

/// Where lines go. Only the writer's own thread uses it, and it may wait there.
trait Sink: Send + 'static {
    /// Before the first line after a pause.
    fn look_after(&mut self) {}

    /// Writes a line, whose end it adds where there is one to add. False where that could not be done.
    fn append(&mut self, line: &[u8]) -> bool;

    /// When nothing waits.
    fn sync(&mut self) {}
}

/// How it is said that lines were dropped.
#[derive(Debug, Clone, Copy)]
pub enum Lost {
    /// By this line.
    Line(fn(u64) -> String),
    /// By calling this, which may well write a line.
    Call(fn(u64)),
}

enum Job {
    Line(Vec<u8>),
    Flush(mpsc::SyncSender<()>),
}

/// A handle; the thread ends when the last one is gone and everything is written.
#[derive(Clone)]
pub struct LineWriter {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    /// Dropped and not said yet.
    lost: AtomicU64,
    lost_in_all: Arc<AtomicU64>,
}

impl LineWriter {
    /// To a file: opens it (0600, missing directories 0700) and starts the thread.
    ///
    /// # Errors
    /// The file can't be opened for writing, or there is no thread to be had.
    pub fn open(keeping: Keeping) -> io::Result<Self> {
        let lost = keeping.lost;
        Self::start(kept_file::KeptFile::open(keeping)?, lost)
    }

    /// To standard error.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn to_standard_error(lost: Lost) -> io::Result<Self> {
        Self::start(standard_error::StandardError, lost)
    }

    /// To the journal; each line is a [`JournalEntry`].
    ///
    /// # Errors
    /// There is no journal, or no thread to be had.
    pub fn to_journal(lost: Lost) -> io::Result<Self> {
        Self::start(journal::Journal::connect()?, lost)
    }

    fn start(sink: impl Sink, lost: Lost) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let writer = Self { jobs, shared: Arc::clone(&shared) };
        std::thread::Builder::new().name("line-writer".to_owned()).spawn(move || work(sink, lost, &queue, &shared))?;
        Ok(writer)
    }

    /// Queues a line. Never waits.
    pub fn write(&self, line: impl Into<Vec<u8>>) {
        let line = line.into();
        let weight = line.len() + OF_EACH_LINE;
        if self.shared.waiting.fetch_add(weight, Ordering::Relaxed) + weight > MAX_WAITING {
            self.shared.waiting.fetch_sub(weight, Ordering::Relaxed);
            self.shared.lose();
        } else if self.jobs.send(Job::Line(line)).is_err() {
            self.shared.lose();
        }
    }

    /// Waits until what was queued before is written; false where that took too long.
    pub fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = mpsc::sync_channel(1);
        self.jobs.send(Job::Flush(done)).is_ok() && wait.recv_timeout(limit).is_ok()
    }

    /// How many lines were dropped since the start.
    pub fn lost(&self) -> &Arc<AtomicU64> {
        &self.shared.lost_in_all
    }
}

impl Shared {
    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.lost_in_all.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for LineWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineWriter").field("lost", self.lost()).finish_non_exhaustive()
    }
}

/// Each write is one line, or several, with their ends.
impl io::Write for LineWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        Self::write(self, lines.strip_suffix(b"\n").unwrap_or(lines));
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(mut sink: impl Sink, lost: Lost, queue: &mpsc::Receiver<Job>, shared: &Shared) {
    while let Ok(first) = queue.recv() {
        sink.look_after();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Line(line) => {
                    shared.waiting.fetch_sub(line.len() + OF_EACH_LINE, Ordering::Relaxed);
                    write(&mut sink, &line, lost, shared);
                }
                Job::Flush(done) => {
                    sink.sync();
                    let _ = done.try_send(());
                    // Who waited may move the file now: what comes next looks where it is.
                    break;
                }
            }
            next = queue.try_recv().ok();
        }
        sink.sync();
    }
}

fn write(sink: &mut impl Sink, line: &[u8], lost: Lost, shared: &Shared) {
    let gone = shared.lost.swap(0, Ordering::Relaxed);
    let said = match lost {
        Lost::Line(words) if gone > 0 => sink.append(words(gone).as_bytes()),
        _ => true,
    };
    let is_written = sink.append(line);
    match lost {
        Lost::Call(say) if gone > 0 && is_written => say(gone),
        Lost::Line(_) if said => {}
        Lost::Call(_) if gone == 0 => {}
        _ => {
            shared.lost.fetch_add(gone, Ordering::Relaxed);
        }
    }
    if !is_written {
        shared.lose();
    }
}

#[cfg(test)]
mod tests;
