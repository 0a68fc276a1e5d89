//! The gateway as a child process: started, restarted with growing pauses, given up when it keeps failing, and never left
//! behind. It holds the other end of a pipe, so that it ends even where this process is killed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use super::super::{EXIT_CONFIG, EXIT_USAGE, terminal};

/// How long a start may take until it listens.
const START: Duration = Duration::from_secs(20);
/// How long a stop may take, the end of its agents included; below the 10 s of a whole stop.
const STOP: Duration = Duration::from_millis(7_500);
/// How long the daemon may take to leave before its gateway is told to stop: with [`STOP`] below those 10 s, too.
pub(super) const HEAD_START: Duration = Duration::from_secs(2);
/// So many ends within the span are not chance.
const MOST_ENDS: usize = 5;
const SPAN: Duration = Duration::from_secs(60);
/// Pauses between an end and the next start.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Its first line is never longer, in bytes.
const LONGEST_LINE: u64 = 4096;

/// Where it listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) encrypted: bool,
}

/// The gateway of this `up`.
#[derive(Debug)]
pub(super) struct Gateway {
    config: PathBuf,
    state_dir: PathBuf,
    port: u16,
    child: Option<Child>,
    /// Our end of the pipe whose end is the child's end, too. (Waiting for a child would close one left inside it.)
    lifeline: Option<ChildStdin>,
    ends: VecDeque<Instant>,
}

impl Gateway {
    /// One that isn't started yet.
    pub(super) fn new(config: &Path, state_dir: &Path, port: u16) -> Self {
        Self {
            config: config.to_owned(),
            state_dir: state_dir.to_owned(),
            port,
            child: None,
            lifeline: None,
            ends: VecDeque::new(),
        }
    }

    /// Starts it and waits until it listens. It keeps the port that it got.
    pub(super) async fn start(&mut self) -> Result<Listening, String> {
        let program =
            std::env::current_exe().map_err(|error| format!("This program's path cannot be found: {error}."))?;
        let mut child = Command::new(program)
            .args(["gateway", "run", "--supervised", "--port", &self.port.to_string()])
            .arg("--config")
            .arg(&self.config)
            .arg("--state-dir")
            .arg(&self.state_dir)
            // It leaves the terminal's session by itself (see `--supervised`): Ctrl-C reaches this process, which ends the
            // gateway in order.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("The gateway cannot be started: {error}."))?;
        self.lifeline = child.stdin.take();
        let line = match child.stdout.take() {
            None => String::new(),
            Some(stdout) => {
                let mut line = String::new();
                let _ = timeout(START, BufReader::new(stdout.take(LONGEST_LINE)).read_line(&mut line)).await;
                line
            }
        };
        match parse(&line) {
            Some(listening) => {
                self.port = listening.address.port();
                self.child = Some(child);
                Ok(listening)
            }
            None => {
                // It has said why on standard error, which is ours.
                let ended = timeout(Duration::from_secs(1), child.wait()).await;
                self.child = Some(child);
                match ended {
                    Ok(Ok(status)) => Err(sentence_of(status)),
                    _ => Err(format!("The gateway did not listen within {} s.", START.as_secs())),
                }
            }
        }
    }

    /// Restarts it as often as is sensible. Returns when it is given up: the sentence to say.
    pub(super) async fn keep_running(&mut self) -> String {
        loop {
            let status = match &mut self.child {
                Some(child) => child.wait().await,
                None => return "The gateway is not there.".to_owned(),
            };
            let sentence = match &status {
                Ok(status) => sentence_of(*status),
                Err(error) => format!("The gateway cannot be watched: {error}."),
            };
            if let Ok(status) = status
                && [EXIT_USAGE, EXIT_CONFIG].iter().any(|code| status.code() == Some(i32::from(*code)))
            {
                return format!("{sentence} It is given up: only a person can put that right. The daemon goes on.");
            }
            let now = Instant::now();
            self.ends.push_back(now);
            while self.ends.front().is_some_and(|end| now.duration_since(*end) > SPAN) {
                self.ends.pop_front();
            }
            let Some(pause) = PAUSES.get(self.ends.len().saturating_sub(1)).filter(|_| self.ends.len() < MOST_ENDS)
            else {
                return format!(
                    "{sentence} That was its end number {MOST_ENDS} within {} s: it is given up. Its log is {}. The daemon \
                     goes on; start the gateway with `gatewarden gateway run` once the cause is gone.",
                    SPAN.as_secs(),
                    self.state_dir.join("logs/gateway.log").display()
                );
            };
            terminal::complain(&format!("{sentence} It is started again in {} ms.", pause.as_millis()));
            sleep(*pause).await;
            if let Err(sentence) = self.start().await {
                terminal::complain(&sentence);
                self.kill();
            }
        }
    }

    /// Ends it with its agents, politely first.
    pub(super) async fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Some(pid) = pid_of(child) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP, child.wait()).await.is_err() {
            terminal::complain("the gateway did not stop in time and is killed");
            self.kill();
        }
        self.child = None;
        self.lifeline = None;
    }

    fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            if let Some(pid) = pid_of(child) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = child.start_kill();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
}

fn sentence_of(status: ExitStatus) -> String {
    format!("The gateway ended ({status}).")
}

/// `listening on ws://127.0.0.1:18789`
fn parse(line: &str) -> Option<Listening> {
    let url = line.trim().strip_prefix("listening on ")?;
    let (scheme, address) = url.split_once("://")?;
    Some(Listening { address: address.parse().ok()?, encrypted: scheme == "wss" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_where_it_listens_is_understood() {
        let listening = parse("listening on wss://127.0.0.1:18789\n").unwrap();
        assert_eq!((listening.address.port(), listening.encrypted), (18789, true));
        assert!(parse("").is_none() && parse("listening on nothing").is_none());
    }

    #[test]
    fn a_stop_fits_into_ten_seconds() {
        assert!(HEAD_START + STOP < Duration::from_secs(10));
    }
}
