//! The gateway as the parent of descendants that forked away, and the reaping of those.
//!
//! Children that were started by [`super::Launcher`] ("leaders") are reaped by their own tasks. Everything else that becomes a
//! child of this process was adopted; it is reaped here, one id at a time, so that no leader's exit status is ever taken
//! away. In a process that adopts, nothing but the launcher may start children.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{
    Pid, Resource, Rlimit, WaitId, WaitIdOptions, getpid, getrlimit, set_child_subreaper, setrlimit, waitid,
};
use tokio::signal::unix::{SignalKind, signal};

use super::proc_table::{self, Process};

/// The children that this process started itself. There is one table, because a process has one set of children.
static LEADERS: Leaders =
    Leaders { pids: Mutex::new(BTreeSet::new()), adopts: AtomicBool::new(false), all_numbered: AtomicBool::new(true) };

/// The children that this process started itself, and whether it adopts others.
#[derive(Debug)]
pub struct Leaders {
    pids: Mutex<BTreeSet<i32>>,
    adopts: AtomicBool,
    all_numbered: AtomicBool,
}

impl Leaders {
    /// Those of this process.
    pub fn of_this_process() -> &'static Self {
        &LEADERS
    }

    /// Starts a child with the number of its run ([`super::run_marker`]) while nobody reaps: `start` returns its id, which is a
    /// leader's from then on.
    pub fn start<T, E>(&self, number: u64, start: impl FnOnce() -> Result<(T, i32), E>) -> Result<T, E> {
        let mut pids = self.lock();
        // A child has its parent's limits from its first moment on; this process takes the limit for that moment.
        let before = getrlimit(Resource::Locks);
        let numbered = Rlimit { current: Some(number), maximum: before.maximum };
        if setrlimit(Resource::Locks, numbered).is_err() {
            self.all_numbered.store(false, Ordering::Relaxed);
        }
        let started = start();
        let _ = setrlimit(Resource::Locks, before);
        let (child, pid) = started?;
        pids.insert(pid);
        Ok(child)
    }

    /// Whether every child got its number so far: not where a hard limit stands in the way.
    pub fn all_numbered(&self) -> bool {
        self.all_numbered.load(Ordering::Relaxed)
    }

    /// A leader was reaped by its task.
    pub fn reaped(&self, pid: i32) {
        self.lock().remove(&pid);
    }

    /// Whether this is a leader.
    pub fn contains(&self, pid: i32) -> bool {
        self.lock().contains(&pid)
    }

    /// Whether there is no leader but this one.
    pub fn only(&self, pid: i32) -> bool {
        self.lock().iter().all(|leader| *leader == pid)
    }

    /// Whether this process adopts descendants that forked away.
    pub fn adopts(&self) -> bool {
        self.adopts.load(Ordering::Relaxed)
    }

    /// Reaps adopted children that have ended.
    fn reap_adopted(&self) {
        let pids = self.lock();
        let own = getpid().as_raw_nonzero().get();
        for process in children(own) {
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

/// The children of a process of ours: from its threads' lists where the kernel offers them, else from all processes.
fn children(own: i32) -> Vec<Process> {
    let lists = std::fs::read_dir("/proc/self/task").map(|threads| {
        threads.flatten().map(|thread| std::fs::read_to_string(thread.path().join("children"))).collect::<Vec<_>>()
    });
    match lists {
        Ok(lists) if lists.iter().any(Result::is_ok) => lists
            .iter()
            .flatten()
            .flat_map(|list| list.split_ascii_whitespace())
            .filter_map(|pid| Process::read(pid.parse().ok()?))
            .collect(),
        _ => proc_table::all().into_iter().filter(|process| process.parent == own).collect(),
    }
}

/// Makes this process the parent of all descendants whose own parent ends, and reaps them from then on. For the process of
/// `gatewarden gateway run`, once, inside its runtime; in a process that starts children in other ways too it would take
/// their exit statuses away.
///
/// # Errors
///
/// The kernel refuses (older than 3.4), or no handler for SIGCHLD can be set. The gateway works without: what forked away is
/// still found by its environment, and becomes a child of the system's first process.
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
