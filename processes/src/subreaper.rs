//! This process as the parent of descendants that forked away, and the reaping of those.
//!
//! Children that were started by [`supervise`](crate::supervise) ("leaders") are reaped by their own tasks. Everything else that
//! becomes a child of this process was adopted; it is reaped here, one id at a time, so that no leader's exit status is ever
//! taken away. In a process that adopts, nothing else may start children.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{
    Pid, Resource, Rlimit, WaitId, WaitIdOptions, getpid, getrlimit, set_child_subreaper, setrlimit, waitid,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::proc_table::{Process, children};

/// There is one table, because a process has one set of children.
static LEADERS: Leaders =
    Leaders { pids: Mutex::new(BTreeSet::new()), adopts: AtomicBool::new(false), all_numbered: AtomicBool::new(true) };

/// The children that this process started itself, and whether it adopts others.
#[derive(Debug)]
pub(crate) struct Leaders {
    pids: Mutex<BTreeSet<i32>>,
    adopts: AtomicBool,
    all_numbered: AtomicBool,
}

impl Leaders {
    pub(crate) fn of_this_process() -> &'static Self {
        &LEADERS
    }

    /// Starts a child with the number of its tag while nobody reaps: `start` returns its id, which is a leader's from then on.
    pub(crate) fn start<T>(
        &self,
        number: Option<u64>,
        start: impl FnOnce() -> io::Result<(T, i32)>,
    ) -> io::Result<(T, i32)> {
        let mut pids = self.lock();
        // A child has its parent's limits from its first moment on; this process takes the limit for that moment.
        let before = getrlimit(Resource::Locks);
        let is_numbered = number.is_some_and(|number| {
            setrlimit(Resource::Locks, Rlimit { current: Some(number), maximum: before.maximum }).is_ok()
        });
        if !is_numbered {
            self.all_numbered.store(false, Ordering::Relaxed);
        }
        let started = start();
        if is_numbered {
            let _ = setrlimit(Resource::Locks, before);
        }
        let (child, pid) = started?;
        pids.insert(pid);
        Ok((child, pid))
    }

    /// Whether every child got its number so far: not where a hard limit stands in the way.
    pub(crate) fn all_numbered(&self) -> bool {
        self.all_numbered.load(Ordering::Relaxed)
    }

    /// A leader was reaped by its task.
    pub(crate) fn reaped(&self, pid: i32) {
        self.lock().remove(&pid);
    }

    /// Whether there is no leader but this one.
    pub(crate) fn only(&self, pid: i32) -> bool {
        self.lock().iter().all(|leader| *leader == pid)
    }

    /// Living children that nobody here started: descendants that forked away. None where this process doesn't adopt.
    pub(crate) fn adopted(&self) -> Vec<Process> {
        if !self.adopts.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let pids = self.lock();
        children().into_iter().filter(|process| !process.is_dead() && !pids.contains(&process.pid)).collect()
    }

    /// Reaps adopted children that have ended.
    fn reap_adopted(&self) {
        let pids = self.lock();
        for process in children() {
            if process.is_dead()
                && !pids.contains(&process.pid)
                && let Some(pid) = Pid::from_raw(process.pid)
            {
                // Someone else may have reaped it: then there is nothing left to do.
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes this process the parent of all descendants whose own parent ends, and reaps them from then on. For the process of
/// `gatewarden gateway run`, once, inside its runtime; in a process that starts children in other ways too it would take
/// their exit statuses away.
///
/// # Errors
///
/// The kernel refuses (older than 3.4), or no handler for SIGCHLD can be set. All works without: what forked away is still
/// found by its tag, and becomes a child of the system's first process.
pub fn adopt_descendants() -> io::Result<()> {
    let mut ended = signal(SignalKind::child())?;
    set_child_subreaper(Some(getpid()))?;
    LEADERS.adopts.store(true, Ordering::Relaxed);
    tokio::spawn(async move {
        while ended.recv().await.is_some() {
            // A look into /proc: off the threads that serve.
            let _ = tokio::task::spawn_blocking(|| LEADERS.reap_adopted()).await;
        }
    });
    Ok(())
}
