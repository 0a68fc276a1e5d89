//! Starts children and looks after each in a task of its own.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use gatewarden_processes::{
    ChildEvent, Directory, Ended, Input, Launch, Order, OutputRate, Owner, ProcessTag, supervise,
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;

use crate::acp::AcpChildren;
use crate::clock::Now;
use crate::effect::{News, ProcessNews, ProcessOrder, ProcessSignal, RunId};

/// Orders to one child that may wait.
const SIGNAL_QUEUE: usize = 32;
/// How long the last news may wait to be taken.
const LAST_NEWS: Duration = Duration::from_secs(1);
/// How long the end of a gateway waits for its children beyond their grace.
const STOP_MARGIN: Duration = Duration::from_secs(3);

/// The children of one gateway. News of all of them go into one bounded queue; while it is full their output waits in its
/// pipes. Needs a tokio runtime with time and IO.
#[derive(Debug)]
pub struct Launcher {
    owner: Owner,
    news: mpsc::Sender<News>,
    running: HashMap<RunId, Running>,
    acp: AcpChildren,
    /// Agents that speak ACP live on between two prompts: beyond so many children, the one that has rested longest is ended.
    most: usize,
    /// ACP agents that were started.
    conversations: u64,
    stopping: bool,
}

#[derive(Debug)]
struct Running {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
    kill_grace: Duration,
}

impl Launcher {
    /// A launcher without children.
    pub fn new(owner: Owner, news: mpsc::Sender<News>) -> Self {
        let acp = AcpChildren::new(news.clone());
        Self { owner, news, running: HashMap::new(), acp, most: usize::MAX, conversations: 0, stopping: false }
    }

    /// With room for so many children, of which those that rest make way for others.
    pub fn with_room_for(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Starts a child. Its news say whether that worked. How many there may be is the caller's to decide.
    pub fn start(&mut self, order: ProcessOrder) {
        if self.stopping {
            let reason = "the gateway is stopping".to_owned();
            return self.tell(News { run: order.run, news: ProcessNews::NotStarted { reason } });
        }
        self.running.retain(|_, running| !running.task.is_finished());
        let runs_already = order.acp.as_ref().is_some_and(|acp| self.acp.has(&acp.session));
        if !runs_already && self.len() >= self.most {
            self.acp.make_room();
        }
        if let Some(acp) = &order.acp {
            self.conversations += 1;
            // Told apart from a former child of the session, which may still be ending.
            let tag = self.owner.tag(&format!("{}.{}", acp.session, self.conversations));
            let (run, launch) = (order.run.clone(), launch(&order, tag));
            if let Err(reason) = self.acp.prompt(order, launch, Now::read().at) {
                self.tell(News { run, news: ProcessNews::NotStarted { reason } });
            }
            return;
        }
        let (orders, queue) = mpsc::channel(SIGNAL_QUEUE);
        let (run, kill_grace) = (order.run.clone(), order.kill_grace);
        let (of, news) = (run.clone(), self.news.clone());
        let report = move |event| {
            let (run, news) = (of.clone(), news.clone());
            async move {
                for told in news_of(event) {
                    // Nobody listens any more: the gateway is stopping, and the child is ended all the same.
                    let _ = news.send(News { run: run.clone(), news: told }).await;
                }
            }
        };
        let launch = launch(&order, self.owner.tag(&order.run.0));
        let launch = Launch { input: order.stdin.map_or(Input::Empty, Input::Text), ..launch };
        let task = tokio::spawn(supervise(launch, queue, report));
        self.running.insert(run, Running { orders, task, kill_grace });
    }

    /// Signals a child's group. Its news say what came of it; a child that has ended is reported as such.
    pub fn signal(&mut self, run: &RunId, signal: ProcessSignal) {
        let to_acp = self.acp.signal(run, signal);
        let order = match signal {
            ProcessSignal::Pause => Order::Pause,
            ProcessSignal::Resume => Order::Resume,
            ProcessSignal::Terminate => Order::Terminate,
        };
        let running = self.running.get(run);
        let refused = match to_acp
            .or_else(|| running.map(|running| running.orders.try_reserve().map(|place| place.send(order))))
        {
            Some(Ok(())) => return,
            Some(Err(TrySendError::Full(()))) => "too many orders wait for this process",
            Some(Err(TrySendError::Closed(()))) | None => "the process has ended",
        };
        let news = ProcessNews::Signalled { signal, failed: Some(refused.to_owned()) };
        self.tell(News { run: run.clone(), news });
    }

    /// Answers an agent that asked whether it may do something. One that has ended needs no answer.
    pub fn decide(&self, run: &RunId, question: u64, allow: bool) {
        self.acp.decide(run, question, allow);
    }

    /// Ends the agent that waits for a session's next prompt, or has just been told to end its last one.
    pub fn end_session(&mut self, session: &str) {
        self.acp.end_session(session);
    }

    fn tell(&self, said: News) {
        let news = self.news.clone();
        tokio::spawn(async move {
            let _ = news.send(said).await;
        });
    }

    /// How many children run.
    pub fn len(&self) -> usize {
        self.running.values().filter(|running| !running.task.is_finished()).count() + self.acp.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all children, as by a kill, and everything that they left behind; no more are started. Resolves when they are gone
    /// and their news were taken; returns how many processes had to be killed beyond the groups' leaders. Their news should
    /// be read meanwhile, or their receiver dropped.
    pub fn stop(&mut self) -> impl Future<Output = u32> + Send + 'static {
        // Closing their queues ends them.
        let running = self.running.drain().map(|(_, running)| (running.task, running.kill_grace));
        let running: Vec<(JoinHandle<()>, Duration)> = running.chain(self.acp.end()).collect();
        self.stopping = true;
        let (owner, news) = (self.owner.clone(), self.news.clone());
        async move {
            let longest = running.iter().map(|(_, kill_grace)| *kill_grace).max().unwrap_or_default();
            let all = async {
                for (task, _) in running {
                    let _ = task.await;
                }
            };
            let _ = tokio::time::timeout(longest + STOP_MARGIN, all).await;
            let ended = tokio::task::spawn_blocking(move || owner.end_all()).await.unwrap_or(0);
            let taken = async {
                while !news.is_closed() && news.capacity() < news.max_capacity() {
                    tokio::task::yield_now().await;
                }
            };
            let _ = tokio::time::timeout(LAST_NEWS, taken).await;
            ended
        }
    }
}

fn launch(order: &ProcessOrder, tag: ProcessTag) -> Launch {
    let mut command = Command::new(&order.program);
    command.args(&order.args).env_clear().envs(&order.env);
    Launch {
        // The allow-list has judged the path as it is written; a link on it may lead elsewhere.
        directory: if order.make_cwd {
            Directory::Made(order.cwd.clone())
        } else {
            Directory::WithoutLinks(order.cwd.clone())
        },
        open_files: order.open_files,
        memory: order.memory,
        max_line_bytes: order.max_line_bytes,
        output_rate: OutputRate::Dropping(order.output_bytes_per_second),
        timeout: order.timeout,
        kill_after: Some(order.kill_grace),
        ..Launch::new(command, tag)
    }
}

fn news_of(event: ChildEvent) -> Vec<ProcessNews> {
    vec![match event {
        ChildEvent::Started(process) => ProcessNews::Started { pid: process.pid.unsigned_abs() },
        ChildEvent::NotStarted(reason) => ProcessNews::NotStarted { reason },
        ChildEvent::Output(stream, lines) => {
            let news = |line: gatewarden_processes::Line| ProcessNews::Line { stream, text: line.text, cut: line.cut };
            return lines.into_iter().map(news).collect();
        }
        ChildEvent::Dropped(bytes) => ProcessNews::Dropped { bytes },
        ChildEvent::Signalled(order, outcome) => {
            let signal = match order {
                Order::Pause => ProcessSignal::Pause,
                Order::Resume => ProcessSignal::Resume,
                Order::Terminate | Order::Kill => ProcessSignal::Terminate,
            };
            ProcessNews::Signalled { signal, failed: outcome.err() }
        }
        // Only where it is asked for.
        ChildEvent::Replaced(_) => return Vec::new(),
        ChildEvent::Ended(Ended { code, signal, ran, left_behind, timed_out }) => ProcessNews::Exited {
            code,
            signal,
            duration_ms: u64::try_from(ran.as_millis()).unwrap_or(u64::MAX),
            strays: left_behind,
            timed_out,
        },
    }]
}

#[cfg(test)]
mod tests;
