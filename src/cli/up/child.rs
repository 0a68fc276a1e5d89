//! The gateway as a child process: started, restarted with growing pauses, given up when it keeps failing, and never left
//! behind. It holds the other end of a pipe, so that it ends even where this process is killed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use gatewarden_actors::processes::TAG_VARIABLE;
use gatewarden_processes::{ChildEvent, Ended, Input, Launch, Order, Owner, supervise};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::super::output::complain;
use super::super::{EXIT_CONFIG, EXIT_USAGE};

/// How long a start may take until it listens.
const START: Duration = Duration::from_secs(20);
/// How long a stop may take, the end of its agents included; below the 10 s of a whole stop.
const STOP: Duration = Duration::from_millis(7_500);
/// How long the daemon may take to leave before its gateway is told to stop: with [`STOP`] below those 10 s, too.
pub(super) const HEAD_START: Duration = Duration::from_secs(2);
/// So many ends within the span are not chance.
const MAX_ENDS: usize = 5;
const SPAN: Duration = Duration::from_secs(60);
/// Pauses between an end and the next start.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Events that wait to be read, and orders that wait to be carried out.
const QUEUE: usize = 16;

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
    child: Option<GatewayProcess>,
    ends: VecDeque<Instant>,
}

#[derive(Debug)]
struct GatewayProcess {
    events: mpsc::Receiver<ChildEvent>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl GatewayProcess {
    /// The next line that it writes, or how it ended.
    async fn line(&mut self) -> Result<String, End> {
        loop {
            match self.events.recv().await {
                Some(ChildEvent::Output(_, lines)) => {
                    if let Some(line) = lines.into_iter().next() {
                        return Ok(line.text);
                    }
                }
                Some(ChildEvent::NotStarted(reason)) => return Err(End::not_started(&reason)),
                Some(ChildEvent::Ended(ended)) => return Err(End::of(ended)),
                Some(_) => {}
                None => return Err(End::not_started("its supervision failed")),
            }
        }
    }

    async fn end(&mut self) -> End {
        loop {
            // Beyond the first line it says nothing there.
            if let Err(end) = self.line().await {
                return end;
            }
        }
    }
}

/// It doesn't run (any more).
struct End {
    sentence: String,
    /// Wrong usage and wrong configuration stay wrong.
    is_hopeless: bool,
}

impl End {
    fn not_started(reason: &str) -> Self {
        Self { sentence: format!("The gateway cannot be started: {reason}."), is_hopeless: false }
    }

    fn of(ended: Ended) -> Self {
        let sentence = match (ended.code, ended.signal) {
            (Some(code), _) => format!("The gateway ended (exit status: {code})."),
            (None, Some(signal)) => format!("The gateway ended (signal: {signal})."),
            (None, None) => "The gateway ended.".to_owned(),
        };
        let is_hopeless = [EXIT_USAGE, EXIT_CONFIG].map(|code| Some(i32::from(code))).contains(&ended.code);
        Self { sentence, is_hopeless }
    }
}

impl Gateway {
    /// One that isn't started yet.
    pub(super) fn new(config: &Path, state_dir: &Path, port: u16) -> Self {
        let (config, state_dir) = (config.to_owned(), state_dir.to_owned());
        Self { config, state_dir, port, child: None, ends: VecDeque::new() }
    }

    /// Starts it and waits until it listens. It keeps the port that it got. The error is a sentence.
    pub(super) async fn start(&mut self) -> Result<Listening, String> {
        self.try_start().await.map_err(|end| end.sentence)
    }

    async fn try_start(&mut self) -> Result<Listening, End> {
        let program = std::env::current_exe()
            .map_err(|error| End::not_started(&format!("this program's path cannot be found: {error}")))?;
        let mut command = Command::new(program);
        command
            .args(["gateway", "run", "--supervised", "--port", &self.port.to_string()])
            .arg("--config")
            .arg(&self.config)
            .arg("--state-dir")
            .arg(&self.state_dir);
        let tag = Owner::new(TAG_VARIABLE, format!("up-{}", std::process::id())).tag("gateway");
        let launch = Launch {
            input: Input::Lifeline,
            captures_stderr: false,
            // It leaves the terminal's session by itself (see `--supervised`): Ctrl-C reaches this process, which ends the
            // gateway in order.
            leads_group: false,
            kill_after: Some(STOP),
            ..Launch::new(command, tag)
        };
        let (orders, queue) = mpsc::channel(QUEUE);
        let (told, events) = mpsc::channel(QUEUE);
        let report = move |event| {
            let told = told.clone();
            async move {
                let _ = told.send(event).await;
            }
        };
        let task = tokio::spawn(supervise(launch, queue, report));
        let child = self.child.insert(GatewayProcess { events, orders, task });
        let line = match timeout(START, child.line()).await {
            Ok(line) => line?,
            Err(_) => String::new(),
        };
        let Some(listening) = parse(&line) else {
            let _ = child.orders.try_send(Order::Kill);
            child.end().await;
            let sentence = format!("The gateway did not listen within {} s.", START.as_secs());
            return Err(End { sentence, is_hopeless: false });
        };
        self.port = listening.address.port();
        Ok(listening)
    }

    /// Restarts it as often as is sensible. Returns when it is given up: the sentence to say.
    pub(super) async fn keep_running(&mut self) -> String {
        let mut failed = None;
        loop {
            let end = match (failed.take(), &mut self.child) {
                (Some(end), _) => end,
                (None, Some(child)) => child.end().await,
                (None, None) => return "The gateway is not there.".to_owned(),
            };
            let End { sentence, is_hopeless } = end;
            if is_hopeless {
                return format!("{sentence} It is given up: only a person can put that right. The daemon goes on.");
            }
            let now = Instant::now();
            self.ends.push_back(now);
            self.ends.retain(|end| now.duration_since(*end) <= SPAN);
            let Some(pause) = PAUSES.get(self.ends.len() - 1).filter(|_| self.ends.len() < MAX_ENDS) else {
                return format!(
                    "{sentence} That was its end number {MAX_ENDS} within {} s: it is given up. Its log is {}. The daemon \
                     goes on; start the gateway with `gatewarden gateway run` once the cause is gone.",
                    SPAN.as_secs(),
                    self.state_dir.join("logs/gateway.log").display()
                );
            };
            complain(&format!("{sentence} It is started again in {} ms.", pause.as_millis()));
            sleep(*pause).await;
            failed = self.try_start().await.err();
        }
    }

    /// Ends it with its agents, politely first.
    pub(super) async fn stop(&mut self) {
        let Some(GatewayProcess { events, orders, mut task }) = self.child.take() else { return };
        // A closed queue of orders ends it; it is killed after its time.
        drop((events, orders));
        if timeout(STOP, &mut task).await.is_err() {
            complain("the gateway did not stop in time and is killed");
            let _ = timeout(Duration::from_secs(1), task).await;
        }
    }
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
