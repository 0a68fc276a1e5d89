//! The life of one child: from its start to the last word of its output and the last of its group. One task a child.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use actix::prelude::*;
use gatewarden_protocol::Secret;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, Interest};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::kinship::{self, MARK_VARIABLE, Mark};
use super::output::LineSplitter;
use super::proc_table::{self, Process};
use crate::machines::process_supervision::Ending;

/// What is read at once.
const CHUNK: usize = 16 * 1024;
/// A child that fills whole chunks waits this long for the next to be read: 3 MiB a second for each stream.
const FLOOD_PAUSE: Duration = Duration::from_millis(5);
/// How long what a process left behind may take to end when asked.
const LEFT_GRACE: Duration = Duration::from_secs(2);
/// How long output is awaited after everything that could write it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// When the program has settled: a script's interpreter executes another file at first.
const SETTLED: Duration = Duration::from_secs(2);
/// Between two looks at a process where the kernel offers no handle on it.
const LOOK: Duration = Duration::from_millis(500);
/// Variables of the daemon's environment that are passed on; nothing else is, least of all its secrets and what the service
/// manager told it alone.
const PASSED_ON: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// What to execute.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, Secret>,
    pub(super) directory: Option<PathBuf>,
    pub(super) mark: Mark,
}

/// What the task is told. A closed queue ends the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Terminate,
    Kill,
}

/// What the task says, of which of the actor's runs.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(super) struct ChildSaid {
    pub(super) run: u64,
    pub(super) said: Said,
}

#[derive(Debug)]
pub(super) enum Said {
    Started {
        pid: i32,
        start_ticks: u64,
    },
    Lines {
        stream: &'static str,
        lines: Vec<String>,
    },
    /// It restarted itself: this process took its place.
    Replaced {
        pid: i32,
        start_ticks: u64,
    },
    /// It and everything of it is gone; so many had to be ended beside it.
    Ended {
        ending: Ending,
        left: u32,
    },
}

/// Starts the child and stays until it and its group are gone.
pub(super) async fn look_after(launch: Launch, run: u64, to: Recipient<ChildSaid>, orders: mpsc::Receiver<Order>) {
    let mark = launch.mark.clone();
    // Waits for the execution: off the threads that serve.
    let started = spawn_blocking(move || start(&launch)).await;
    let (child, leader) = match started {
        Ok(Ok(child)) => child,
        Ok(Err(reason)) => return tell(&to, run, ended_before(reason)).await,
        Err(_) => {
            return tell(&to, run, ended_before("the daemon failed while it started the program".to_owned())).await;
        }
    };
    tell(&to, run, Said::Started { pid: leader.pid, start_ticks: leader.start_ticks }).await;
    Task { watched: Watched::child(child, leader), mark, run, to, asked: false, kill_at: None }.run(orders).await;
}

fn ended_before(reason: String) -> Said {
    Said::Ended { ending: Ending::NotStarted(reason), left: 0 }
}

fn start(launch: &Launch) -> Result<(Child, Process), String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute() && home.is_dir());
    let directory = launch.directory.clone().or(home).unwrap_or_else(|| PathBuf::from("/"));
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .env_clear()
        .envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        // A restart that an OpenClaw gateway decides on stays in its process, so that it stays our child.
        .env("OPENCLAW_NO_RESPAWN", "1")
        .envs(launch.env.iter().map(|(name, value)| (name, value.expose())))
        .env(MARK_VARIABLE, &launch.mark.0)
        .current_dir(&directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().map_err(|error| reason(&error, launch, &directory))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    // A child that isn't reaped is always there.
    let leader = Process::read(pid).ok_or_else(|| format!("process {pid} is not listed in /proc"))?;
    Ok((child, leader))
}

/// Why a program could not be executed, and what to change.
fn reason(error: &io::Error, launch: &Launch, directory: &std::path::Path) -> String {
    let (program, at) = (launch.program.display(), directory.display());
    if !directory.is_dir() {
        return format!("its directory {at} does not exist: make it, or name another one in the command's directory");
    }
    match error.kind() {
        io::ErrorKind::NotFound if launch.program.exists() => {
            format!("the interpreter that the first line of {program} names does not exist")
        }
        io::ErrorKind::NotFound => format!("{program} does not exist: correct the command's program"),
        io::ErrorKind::PermissionDenied => {
            format!("{program} may not be executed by the daemon's user, or {at} may not be entered")
        }
        _ => format!("{program}: {error}"),
    }
}

async fn tell(to: &Recipient<ChildSaid>, run: u64, said: Said) {
    // Waits until it was taken: while the actor is busy the output waits in its pipes.
    let _ = to.send(ChildSaid { run, said }).await;
}

/// The process that counts as the gateway's: our child, or what took its place.
struct Watched {
    process: Process,
    child: Option<Child>,
    /// Becomes readable when it has ended. None where the kernel has no such thing (before 5.3).
    handle: Option<AsyncFd<OwnedFd>>,
    program: Option<PathBuf>,
}

impl Watched {
    fn child(child: Child, process: Process) -> Self {
        Self { child: Some(child), ..Self::stranger(process) }
    }

    fn stranger(process: Process) -> Self {
        Self { process, child: None, handle: handle_of(process.pid), program: None }
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
                while Process::read(self.process.pid)
                    .is_some_and(|now| now.start_ticks == self.process.start_ticks && !now.is_dead())
                {
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// How it ended, without reaping it.
    fn ending(&self) -> Ending {
        if self.child.is_none() {
            return Ending::Unknown;
        }
        let status = Pid::from_raw(self.process.pid).and_then(|pid| {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), options).ok().flatten()
        });
        let code = status.as_ref().and_then(rustix::process::WaitIdStatus::exit_status);
        let signal = status.as_ref().and_then(rustix::process::WaitIdStatus::terminating_signal);
        match (code, signal) {
            (Some(code), _) => Ending::Code(code),
            (None, Some(signal)) => Ending::Signal(signal),
            (None, None) => Ending::Unknown,
        }
    }
}

struct Task {
    watched: Watched,
    mark: Mark,
    run: u64,
    to: Recipient<ChildSaid>,
    /// Somebody wants it to end.
    asked: bool,
    kill_at: Option<Instant>,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let readers = self.read_output();
        let mut open = true;
        let mut settled = Some(Instant::now() + SETTLED);
        let ending = loop {
            tokio::select! {
                biased;
                order = orders.recv(), if open => {
                    open = order.is_some();
                    self.obey(order).await;
                }
                () = self.watched.ended() => {
                    let ending = self.watched.ending();
                    match self.successor(&ending).await {
                        Some(successor) => self.follow(successor).await,
                        None => break ending,
                    }
                }
                () = until(self.kill_at) => {
                    self.kill_at = None;
                    self.signal(&[Signal::KILL]).await;
                }
                () = until(settled) => {
                    settled = None;
                    self.watched.program = proc_table::program(self.watched.process.pid);
                }
            }
        };
        drop(orders);
        let left = self.end_left_behind().await;
        if let Some(mut child) = self.watched.child.take() {
            let _ = child.wait().await;
        }
        let deadline = Instant::now() + LAST_WORDS;
        for mut reader in readers {
            if timeout_at(deadline, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        tell(&self.to, self.run, Said::Ended { ending, left }).await;
    }

    fn read_output(&mut self) -> Vec<JoinHandle<()>> {
        let Some(child) = &mut self.watched.child else { return Vec::new() };
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(actix_rt::spawn(read(stdout, "stdout", self.run, self.to.clone())));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(actix_rt::spawn(read(stderr, "stderr", self.run, self.to.clone())));
        }
        readers
    }

    async fn obey(&mut self, order: Option<Order>) {
        self.asked = true;
        match order {
            Some(Order::Terminate) => self.signal(&[Signal::TERM, Signal::CONT]).await,
            Some(Order::Kill) => self.signal(&[Signal::KILL]).await,
            // Nobody is there any more who could want it to run.
            None => {
                self.kill_at = Some(Instant::now() + LEFT_GRACE);
                self.signal(&[Signal::TERM, Signal::CONT]).await;
            }
        }
    }

    /// It is alive or not yet reaped, so that its group is meant.
    async fn signal(&self, signals: &'static [Signal]) {
        let (leader, mark) = (self.watched.process.pid, self.mark.clone());
        let sent = spawn_blocking(move || {
            for signal in signals {
                kinship::signal_all(leader, &mark, *signal);
            }
        });
        let _ = sent.await;
    }

    /// Only a clean exit that nobody asked for can be a restart.
    async fn successor(&self, ending: &Ending) -> Option<Process> {
        if self.asked || !matches!(ending, Ending::Code(0) | Ending::Unknown) {
            return None;
        }
        let (former, program, mark) = (self.watched.process, self.watched.program.clone(), self.mark.clone());
        spawn_blocking(move || kinship::successor(&former, program.as_deref(), &mark)).await.ok().flatten()
    }

    async fn follow(&mut self, successor: Process) {
        let program = self.watched.program.take();
        let former = std::mem::replace(&mut self.watched, Watched { program, ..Watched::stranger(successor) });
        if let Some(mut child) = former.child {
            let _ = child.wait().await;
        }
        let said = Said::Replaced { pid: successor.pid, start_ticks: successor.start_ticks };
        tell(&self.to, self.run, said).await;
    }

    async fn end_left_behind(&self) -> u32 {
        // The id of somebody else's child may mean another process by now.
        let leader = self.watched.child.as_ref().map(|_| self.watched.process.pid);
        let mark = self.mark.clone();
        spawn_blocking(move || kinship::end_left_behind(leader, &mark, LEFT_GRACE)).await.unwrap_or(0)
    }
}

async fn read(mut from: impl AsyncRead + Unpin, stream: &'static str, run: u64, to: Recipient<ChildSaid>) {
    let mut splitter = LineSplitter::default();
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        let count = from.read(&mut chunk).await.unwrap_or(0);
        let lines = match chunk.get(..count).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => splitter.push(bytes),
            None => splitter.finish().into_iter().collect(),
        };
        if !lines.is_empty() {
            tell(&to, run, Said::Lines { stream, lines }).await;
        }
        match count {
            0 => return,
            CHUNK => sleep(FLOOD_PAUSE).await,
            _ => {}
        }
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

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
