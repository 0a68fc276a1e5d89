//! The life of one child: from its start to the last word of its output and the last of its descendants.

use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process_group, pidfd_open, prlimit};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::clock::Now;
use crate::effect::News;
use crate::effect::{OutputStream, ProcessNews, ProcessOrder, ProcessSignal, RunId};
use crate::processes::line_splitter::{Line, LineSplitter};
use crate::processes::not_started;
use crate::processes::output_budget::OutputBudget;
use crate::processes::run_marker::{RUN_VARIABLE, StateMark};
use crate::processes::strays::Descendants;
use crate::processes::subreaper::Leaders;

/// What is read at once.
const CHUNK: usize = 16 * 1024;
/// How long output is awaited after everything that could write it was ended. Only what couldn't be found can hold it open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Starts the child of an order and stays until it is gone. A closed `orders` queue ends it, as a kill.
pub(super) async fn look_after(
    order: ProcessOrder,
    mark: StateMark,
    news: mpsc::Sender<News>,
    orders: mpsc::Receiver<ProcessSignal>,
) {
    let teller = Teller { run: order.run.clone(), news };
    let order = Arc::new(order);
    let (asked, marker, number) = (Arc::clone(&order), mark.value(&order.run), mark.number(&order.run));
    // Waits for the execution: off the threads that serve.
    let started = tokio::task::spawn_blocking(move || start(&asked, &marker, number)).await;
    let child = match started {
        Ok(Ok(child)) => child,
        Ok(Err(reason)) => return teller.tell(ProcessNews::NotStarted { reason }).await,
        Err(_) => {
            let reason = "the gateway failed while it started the program; see its log".to_owned();
            return teller.tell(ProcessNews::NotStarted { reason }).await;
        }
    };
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else { return };
    teller.tell(ProcessNews::Started { pid: pid.unsigned_abs() }).await;
    let descendants = Descendants { mark, run: order.run.clone(), leader: pid };
    ChildTask::new(&order, child, teller, descendants).run(&order, orders).await;
}

fn start(order: &ProcessOrder, marker: &str, number: u64) -> Result<Child, String> {
    if order.make_cwd {
        // A failure shows when the directory is entered.
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&order.cwd);
    }
    // The allow-list has judged the path as it is written; a link on it may lead elsewhere. What is looked at is held open and
    // entered by its descriptor, so that nobody can put a link there in between.
    let held = hold(&order.cwd).ok().and_then(|held| Some((std::fs::read_link(by_descriptor(&held)).ok()?, held)));
    let real = held.as_ref().map(|(real, _)| real.clone()).or_else(|| std::fs::canonicalize(&order.cwd).ok());
    if let Some(real) = real.filter(|real| *real != order.cwd && !order.make_cwd) {
        let (asked, real) = (order.cwd.display(), real.display());
        return Err(format!(
            "working directory {asked} leads to {real} by a link: name that one, and allow it in the command's workingDirs"
        ));
    }
    let mut command = Command::new(&order.program);
    command
        .args(&order.args)
        .env_clear()
        .envs(&order.env)
        .env(RUN_VARIABLE, marker)
        .current_dir(held.as_ref().map_or_else(|| order.cwd.clone(), |(_, held)| by_descriptor(held)))
        .process_group(0)
        .stdin(if order.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let spawned = Leaders::of_this_process().start(number, || {
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        limit(pid, order);
        Ok::<_, std::io::Error>((child, pid))
    });
    spawned.map_err(|error| not_started::reason(&error, &order.program, &order.cwd))
}

/// Puts the order's bounds on a process that was just started. What it does in its very first moment comes before them: bounds
/// can be put on it before its program is executed only between fork and exec, where nothing safe can be run.
fn limit(pid: i32, order: &ProcessOrder) {
    for (resource, most) in [(Resource::Nofile, order.open_files), (Resource::As, order.memory)] {
        let Some(most) = most else { continue };
        // More than the gateway itself may have is not to be had; the file system's and the machine's own bounds stay.
        let highest = getrlimit(resource).maximum.map_or(most, |highest| most.min(highest));
        let bound = Rlimit { current: Some(highest), maximum: Some(highest) };
        if let Some(pid) = Pid::from_raw(pid)
            && let Err(error) = prlimit(Some(pid), resource, bound)
        {
            tracing::warn!(%error, pid = pid.as_raw_nonzero().get(), ?resource, "a process could not be limited");
        }
    }
}

/// A directory held open: it stays the same whatever its path leads to later. (The program doesn't inherit it.)
fn hold(dir: &Path) -> io::Result<File> {
    let flags = (OFlags::PATH | OFlags::DIRECTORY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(dir)
}

/// The path of what is held: a link to it, made by the kernel.
fn by_descriptor(held: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// Tells the core actor.
#[derive(Clone)]
struct Teller {
    run: RunId,
    news: mpsc::Sender<News>,
}

impl Teller {
    async fn tell(&self, news: ProcessNews) {
        // Nobody listens any more: the gateway is stopping, and the child is ended all the same.
        let _ = self.news.send(News { run: self.run.clone(), news }).await;
    }
}

/// One of the two streams.
struct Output<R> {
    reader: Option<R>,
    splitter: LineSplitter,
}

impl<R: AsyncRead + Unpin> Output<R> {
    fn new(reader: Option<R>, most: usize) -> Self {
        Self { reader, splitter: LineSplitter::new(most) }
    }

    /// The next bytes; 0 at the end. Never resolves once it has ended.
    async fn read(&mut self, chunk: &mut [u8]) -> usize {
        match &mut self.reader {
            Some(reader) => reader.read(chunk).await.unwrap_or(0),
            None => pending().await,
        }
    }

    /// The next bytes, 0 at the end; none where that was reached already.
    async fn read_rest(&mut self, chunk: &mut [u8]) -> Option<usize> {
        if self.reader.is_none() { None } else { Some(self.read(chunk).await) }
    }

    /// The lines that the bytes read end; all that is left where there were none.
    fn lines(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        if bytes.is_empty() {
            self.reader = None;
            lines.extend(self.splitter.finish());
        } else {
            self.splitter.push(bytes, |line| lines.push(line));
        }
        lines
    }
}

struct ChildTask {
    child: Child,
    group: Option<Pid>,
    /// Becomes readable when the leader has ended, before it is reaped. None where the kernel has no such thing.
    handle: Option<AsyncFd<OwnedFd>>,
    descendants: Descendants,
    teller: Teller,
    stdout: Output<ChildStdout>,
    stderr: Output<ChildStderr>,
    budget: OutputBudget,
    started: Instant,
    timeout_at: Option<Instant>,
    kill_at: Option<Instant>,
    timed_out: bool,
}

impl ChildTask {
    fn new(order: &ProcessOrder, mut child: Child, teller: Teller, descendants: Descendants) -> Self {
        let started = Now::read().at;
        if let (Some(text), Some(mut stdin)) = (order.stdin.clone(), child.stdin.take()) {
            tokio::spawn(async move {
                // A child that doesn't read its input closes the pipe, or ends; both end this.
                let _ = stdin.write_all(text.as_bytes()).await;
                let _ = stdin.shutdown().await;
            });
        }
        let group = Pid::from_raw(descendants.leader);
        Self {
            handle: group.and_then(handle_of),
            group,
            descendants,
            teller,
            stdout: Output::new(child.stdout.take(), order.max_line_bytes),
            stderr: Output::new(child.stderr.take(), order.max_line_bytes),
            child,
            budget: OutputBudget::new(order.output_bytes_per_second, started),
            started,
            timeout_at: order.timeout.and_then(|timeout| started.checked_add(timeout)),
            kill_at: None,
            timed_out: false,
        }
    }

    async fn run(mut self, order: &ProcessOrder, mut orders: mpsc::Receiver<ProcessSignal>) {
        let mut orders_open = true;
        let (mut out_chunk, mut err_chunk) = (vec![0_u8; CHUNK], vec![0_u8; CHUNK]);
        loop {
            let due = [self.timeout_at, self.kill_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                signal = orders.recv(), if orders_open => {
                    orders_open = signal.is_some();
                    self.order(signal.unwrap_or(ProcessSignal::Terminate), order.kill_grace).await;
                }
                () = ended(self.handle.as_ref(), &mut self.child) => break,
                () = until(due) => self.on_time(order.kill_grace).await,
                read = self.stdout.read(&mut out_chunk) => {
                    let lines = self.stdout.lines(out_chunk.get(..read).unwrap_or_default());
                    self.pass_on(OutputStream::Stdout, lines).await;
                }
                read = self.stderr.read(&mut err_chunk) => {
                    let lines = self.stderr.lines(err_chunk.get(..read).unwrap_or_default());
                    self.pass_on(OutputStream::Stderr, lines).await;
                }
            }
        }
        self.farewell(orders, out_chunk).await;
    }

    /// The leader has ended and isn't reaped yet.
    async fn farewell(mut self, orders: mpsc::Receiver<ProcessSignal>, mut chunk: Vec<u8>) {
        // From here on a signal is answered with "has ended".
        drop(orders);
        let descendants = self.descendants.clone();
        let leaders = Leaders::of_this_process();
        let ending = tokio::task::spawn_blocking(move || descendants.end_left_behind(leaders));
        let strays = ending.await.unwrap_or(0);
        let status = self.child.wait().await;
        leaders.reaped(self.descendants.leader);
        let duration = Now::read().at.saturating_duration_since(self.started);

        // Asked for at each turn: a writer that wasn't found and never pauses would win against a mere timeout every time.
        let deadline = tokio::time::Instant::now() + LAST_WORDS;
        let in_time = || tokio::time::Instant::now() < deadline;
        while in_time()
            && let Ok(Some(read)) = timeout_at(deadline, self.stdout.read_rest(&mut chunk)).await
        {
            let lines = self.stdout.lines(chunk.get(..read).unwrap_or_default());
            self.pass_on(OutputStream::Stdout, lines).await;
        }
        while in_time()
            && let Ok(Some(read)) = timeout_at(deadline, self.stderr.read_rest(&mut chunk)).await
        {
            let lines = self.stderr.lines(chunk.get(..read).unwrap_or_default());
            self.pass_on(OutputStream::Stderr, lines).await;
        }
        if let Some(bytes) = self.budget.last_report() {
            self.teller.tell(ProcessNews::Dropped { bytes }).await;
        }
        let (code, signal) = status.map_or((None, None), |status| (status.code(), status.signal()));
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let timed_out = self.timed_out;
        self.teller.tell(ProcessNews::Exited { code, signal, duration_ms, strays, timed_out }).await;
    }

    /// A deadline has passed.
    async fn on_time(&mut self, grace: Duration) {
        let now = Now::read().at;
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            let _ = self.signal_all(&[Signal::KILL]).await;
        } else if self.timeout_at.is_some_and(|at| at <= now) {
            self.timeout_at = None;
            self.timed_out = true;
            self.order(ProcessSignal::Terminate, grace).await;
        }
    }

    async fn order(&mut self, signal: ProcessSignal, grace: Duration) {
        let outcome = match signal {
            ProcessSignal::Pause => self.signal_all(&[Signal::STOP]).await,
            ProcessSignal::Resume => self.signal_all(&[Signal::CONT]).await,
            ProcessSignal::Terminate => {
                // Asked again, it doesn't get more time.
                self.kill_at = self.kill_at.or_else(|| Now::read().at.checked_add(grace));
                self.timeout_at = None;
                self.signal_all(&[Signal::TERM, Signal::CONT]).await
            }
        };
        self.teller.tell(ProcessNews::Signalled { signal, failed: outcome.err() }).await;
    }

    /// Signals the group, and what left it.
    async fn signal_all(&self, signals: &'static [Signal]) -> Result<(), String> {
        let Some(group) = self.group else { return Err("the process has no id".to_owned()) };
        for signal in signals {
            kill_process_group(group, *signal).map_err(|error| {
                format!("process group {} could not be signalled: {error}", self.descendants.leader)
            })?;
        }
        let descendants = self.descendants.clone();
        let outside = tokio::task::spawn_blocking(move || {
            for signal in signals {
                descendants.signal_outside(*signal);
            }
        });
        let _ = outside.await;
        Ok(())
    }

    /// What the budget lets through; the rest is counted.
    async fn pass_on(&mut self, stream: OutputStream, lines: Vec<Line>) {
        for Line { text, bytes, cut } in lines {
            let now = Now::read().at;
            let passes = self.budget.pass(bytes, now);
            if let Some(bytes) = self.budget.report(now) {
                self.teller.tell(ProcessNews::Dropped { bytes }).await;
            }
            if passes {
                self.teller.tell(ProcessNews::Line { stream, text, cut }).await;
            }
        }
    }
}

/// A handle on the leader. None where the kernel has none (before 5.3).
#[expect(
    deprecated,
    reason = "its successor asks for a promise that needs unsafe; an OwnedFd never changes its descriptor"
)]
fn handle_of(pid: Pid) -> Option<AsyncFd<OwnedFd>> {
    let handle = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
    AsyncFd::with_interest(handle, Interest::READABLE).ok()
}

/// Resolves when the leader has ended: unreaped, or (without a handle for it) reaped. May be called again.
async fn ended(handle: Option<&AsyncFd<OwnedFd>>, child: &mut Child) {
    match handle {
        Some(handle) => {
            let _ = handle.readable().await;
        }
        None => {
            let _ = child.wait().await;
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_held_is_entered_even_if_a_link_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let (asked, moved) = (root.join("asked"), root.join("moved"));
        std::fs::create_dir(&asked).unwrap();
        let held = hold(&asked).unwrap();
        std::fs::rename(&asked, &moved).unwrap();
        std::os::unix::fs::symlink("/", &asked).unwrap();
        assert_eq!(std::fs::canonicalize(by_descriptor(&held)).unwrap(), moved);
        assert!(hold(&root.join("gone")).is_err());
    }
}
