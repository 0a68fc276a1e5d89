//! The life of one child: from its start to the last word of its output and the last of what it leaves behind. One task a child.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::output::{Chunk, Line, Output, OutputBudget, Stream};
use crate::ownership::ProcessTag;
use crate::proc_table::{self, Process};
use crate::start::{Input, Launch, OutputRate};
use crate::subreaper::Leaders;

/// A child that fills whole chunks waits this long for the next to be read: 3 MiB a second.
const FLOOD_PAUSE: Duration = Duration::from_millis(5);
/// How long output is awaited after everything that could write it was ended. Only what couldn't be found can hold it open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// When the program has settled: a script's interpreter executes another file at first.
const SETTLED: Duration = Duration::from_secs(2);
/// Between two looks at a process where the kernel offers no handle on it.
const LOOK: Duration = Duration::from_millis(500);

/// What a child's task is told. A queue that is closed means [`Order::Terminate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// SIGSTOP to everything of it.
    Pause,
    /// SIGCONT.
    Resume,
    /// SIGTERM (and SIGCONT, so that what is paused takes it), then SIGKILL after [`Launch::kill_after`].
    Terminate,
    /// SIGKILL.
    Kill,
}

/// What a child's task tells, in order. [`ChildEvent::NotStarted`] and [`ChildEvent::Ended`] are the last.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildEvent {
    /// The program was executed.
    Started(Process),
    /// It could not be: a sentence that says what to change.
    NotStarted(String),
    /// It wrote these lines.
    Output(Stream, Vec<Line>),
    /// It wrote more than may pass: so many bytes were dropped since the last time.
    Dropped(u64),
    /// An order was carried out, or why it could not be.
    Signalled(Order, Result<(), String>),
    /// It restarted itself: this process took its place.
    Replaced(Process),
    /// It and everything of it is gone, and its output was read to the end.
    Ended(Ended),
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, where it ended by itself and was a child of ours.
    pub code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// From execution to the end.
    pub ran: Duration,
    /// Processes that it had left behind and that had to be ended.
    pub left_behind: u32,
    /// It ran into its timeout.
    pub timed_out: bool,
}

/// Starts a child and stays until it and everything of it is gone. While `report` isn't done, output waits in its pipes.
/// Needs a tokio runtime with time and IO.
pub async fn supervise<R, F>(mut launch: Launch, orders: mpsc::Receiver<Order>, report: R)
where
    R: Fn(ChildEvent) -> F,
    F: Future<Output = ()>,
{
    // Waits for the execution: off the threads that serve.
    let started = spawn_blocking(move || {
        let (child, pid) = launch.start()?;
        // A child that isn't reaped is always there, unless `/proc` can't be read.
        Ok((child, Process::read(pid).unwrap_or_else(|| unreadable(pid)), launch))
    });
    match started.await.unwrap_or_else(|_| Err("starting the program failed; see the log".to_owned())) {
        Ok((child, process, launch)) => {
            report(ChildEvent::Started(process)).await;
            Supervisor::new(child, process, launch, report).run(orders).await;
        }
        Err(reason) => report(ChildEvent::NotStarted(reason)).await,
    }
}

fn unreadable(pid: i32) -> Process {
    Process { pid, parent: proc_table::own_pid(), group: pid, state: 'R', ..Process::default() }
}

/// The process that counts: the child, or what took its place.
struct Watched {
    process: Process,
    child: Option<Child>,
    /// Becomes readable when it has ended, before it is reaped. None where the kernel has no such thing (before 5.3).
    handle: Option<AsyncFd<OwnedFd>>,
    /// The file that it executes, once it has settled.
    program: Option<PathBuf>,
}

impl Watched {
    fn new(process: Process, child: Option<Child>) -> Self {
        Self { process, child, handle: handle_of(process.pid), program: None }
    }

    /// Resolves when it has ended; a child isn't reaped then, where there is a handle.
    async fn ended(&mut self) {
        match (&self.handle, &mut self.child) {
            (Some(handle), _) => {
                let _ = handle.readable().await;
            }
            (None, Some(child)) => {
                let _ = child.wait().await;
            }
            (None, None) => {
                while self.process.lives_on() {
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Whether it ended well, as far as that is known. It isn't reaped by that.
    fn ended_well(&self) -> bool {
        if self.child.is_none() {
            return true;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = Pid::from_raw(self.process.pid).and_then(|pid| waitid(WaitId::Pid(pid), options).ok().flatten());
        status.is_none_or(|status| status.exit_status() == Some(0))
    }

    /// Exit code and signal. It is reaped by that.
    async fn reap(&mut self) -> (Option<i32>, Option<i32>) {
        let Some(mut child) = self.child.take() else { return (None, None) };
        let status = child.wait().await;
        Leaders::of_this_process().reaped(self.process.pid);
        status.map_or((None, None), |status| (status.code(), status.signal()))
    }
}

/// A handle on a process.
#[expect(
    deprecated,
    reason = "its successor asks for a promise that needs unsafe; an OwnedFd never changes its descriptor"
)]
fn handle_of(pid: i32) -> Option<AsyncFd<OwnedFd>> {
    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
    AsyncFd::with_interest(handle, Interest::READABLE).ok()
}

struct Supervisor<R> {
    watched: Watched,
    tag: ProcessTag,
    report: R,
    output: Output,
    budget: Option<OutputBudget>,
    /// Held open for as long as the child lives.
    _lifeline: Option<ChildStdin>,
    leads_group: bool,
    kill_after: Option<Duration>,
    left_behind_grace: Duration,
    /// Only a clean exit that nobody asked for can be a restart.
    may_restart: bool,
    started: Instant,
    timeout_at: Option<Instant>,
    kill_at: Option<Instant>,
    settled_at: Option<Instant>,
    timed_out: bool,
}

impl<R, F> Supervisor<R>
where
    R: Fn(ChildEvent) -> F,
    F: Future<Output = ()>,
{
    fn new(mut child: Child, process: Process, launch: Launch, report: R) -> Self {
        let started = Instant::now();
        let mut stdin = child.stdin.take();
        let input = match launch.input {
            Input::Text(text) => {
                let (sender, queue) = mpsc::channel(1);
                let _ = sender.try_send(text);
                Some(queue)
            }
            Input::Queue(queue) => Some(queue),
            Input::Empty | Input::Lifeline => None,
        };
        if let Some(mut queue) = input
            && let Some(mut stdin) = stdin.take()
        {
            tokio::spawn(async move {
                // A child that doesn't read its input closes the pipe, or ends; both end this.
                while let Some(text) = queue.recv().await
                    && stdin.write_all(text.as_bytes()).await.is_ok()
                {}
                let _ = stdin.shutdown().await;
            });
        }
        Self {
            output: Output::new(&mut child, launch.max_line_bytes),
            watched: Watched::new(process, Some(child)),
            tag: launch.tag,
            report,
            budget: match launch.output_rate {
                OutputRate::Paced => None,
                OutputRate::Dropping(per_second) => Some(OutputBudget::new(per_second, started)),
            },
            _lifeline: stdin,
            leads_group: launch.leads_group,
            kill_after: launch.kill_after,
            left_behind_grace: launch.left_behind_grace,
            may_restart: launch.follows_restarts,
            started,
            timeout_at: launch.timeout.and_then(|timeout| started.checked_add(timeout)),
            kill_at: None,
            settled_at: launch.follows_restarts.then(|| started + SETTLED),
            timed_out: false,
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut orders_open = true;
        loop {
            let due = [self.timeout_at, self.kill_at, self.settled_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                order = orders.recv(), if orders_open => match order {
                    Some(order) => self.obey(order).await,
                    None => {
                        orders_open = false;
                        // Nobody is there any more who could want it to run.
                        self.kill_after = self.kill_after.or(Some(self.left_behind_grace));
                        self.obey(Order::Terminate).await;
                    }
                },
                () = self.watched.ended() => match self.successor().await {
                    Some(successor) => self.follow(successor).await,
                    None => break,
                },
                () = until(due) => self.on_time().await,
                chunk = self.output.next() => self.pass_on(chunk).await,
            }
        }
        // From here on nobody can be told that an order was carried out.
        drop(orders);
        let ended = self.farewell().await;
        (self.report)(ChildEvent::Ended(ended)).await;
    }

    /// It has ended and isn't reaped yet.
    async fn farewell(&mut self) -> Ended {
        // The id of somebody else's child may mean another process by now.
        let leader = self.watched.child.as_ref().map(|_| self.watched.process.pid);
        let (tag, grace) = (self.tag.clone(), self.left_behind_grace);
        let mut ending = pin!(spawn_blocking(move || tag.end_left_behind(leader, grace)));
        let left_behind = loop {
            tokio::select! {
                biased;
                left_behind = &mut ending => break left_behind.unwrap_or(0),
                chunk = self.output.next() => self.pass_on(chunk).await,
            }
        };
        let (code, signal) = self.watched.reap().await;
        let ran = self.started.elapsed();
        // Asked for at each turn: a writer that wasn't found and never pauses would win against a mere timeout every time.
        let deadline = Instant::now() + LAST_WORDS;
        while self.output.is_open()
            && Instant::now() < deadline
            && let Ok(chunk) = timeout_at(deadline, self.output.next()).await
        {
            self.pass_on(chunk).await;
        }
        if let Some(bytes) = self.budget.as_mut().and_then(OutputBudget::last_report) {
            (self.report)(ChildEvent::Dropped(bytes)).await;
        }
        Ended { code, signal, ran, left_behind, timed_out: self.timed_out }
    }

    async fn on_time(&mut self) {
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.kill_at) {
            self.kill_at = None;
            let _ = self.signal(&[Signal::KILL]).await;
        } else if is_due(self.timeout_at) {
            self.timed_out = true;
            self.obey(Order::Terminate).await;
        } else if is_due(self.settled_at) {
            self.settled_at = None;
            self.watched.program = proc_table::program(self.watched.process.pid);
        }
    }

    async fn obey(&mut self, order: Order) {
        let signals: &'static [Signal] = match order {
            Order::Pause => &[Signal::STOP],
            Order::Resume => &[Signal::CONT],
            Order::Terminate => &[Signal::TERM, Signal::CONT],
            Order::Kill => &[Signal::KILL],
        };
        if matches!(order, Order::Terminate | Order::Kill) {
            self.may_restart = false;
            self.timeout_at = None;
            // Asked again, it doesn't get more time.
            self.kill_at = self.kill_at.or_else(|| Instant::now().checked_add(self.kill_after?));
        }
        let outcome = self.signal(signals).await;
        (self.report)(ChildEvent::Signalled(order, outcome)).await;
    }

    /// Signals everything of it. It is alive or not yet reaped, so that its group is meant.
    async fn signal(&mut self, signals: &'static [Signal]) -> Result<(), String> {
        let (leader, tag) = (self.watched.process.pid, self.tag.clone());
        match spawn_blocking(move || tag.signal(leader, signals)).await {
            Ok(Err(error)) if self.leads_group => {
                Err(format!("process group {leader} could not be signalled: {error}"))
            }
            _ => Ok(()),
        }
    }

    async fn successor(&mut self) -> Option<Process> {
        if !self.may_restart || !self.watched.ended_well() {
            return None;
        }
        let (former, program, tag) = (self.watched.process, self.watched.program.clone(), self.tag.clone());
        spawn_blocking(move || tag.successor(&former, program.as_deref())).await.ok().flatten()
    }

    async fn follow(&mut self, successor: Process) {
        self.watched.reap().await;
        let program = self.watched.program.take();
        self.watched = Watched { program, ..Watched::new(successor, None) };
        (self.report)(ChildEvent::Replaced(successor)).await;
    }

    /// What the budget lets through; the rest is counted.
    async fn pass_on(&mut self, Chunk { stream, mut lines, is_full }: Chunk) {
        let mut dropped = None;
        if let Some(budget) = &mut self.budget {
            let now = Instant::now();
            lines.retain(|line| budget.pass(line.bytes, now));
            dropped = budget.report(now);
        } else if is_full {
            sleep(FLOOD_PAUSE).await;
        }
        if !lines.is_empty() {
            (self.report)(ChildEvent::Output(stream, lines)).await;
        }
        if let Some(bytes) = dropped {
            (self.report)(ChildEvent::Dropped(bytes)).await;
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
