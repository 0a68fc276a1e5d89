//! Starts children and looks after each in a task of its own.

mod child_task;

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::run_marker::StateMark;
use super::strays;
use super::subreaper::Leaders;
use crate::effect::News;
use crate::effect::{ProcessNews, ProcessOrder, ProcessSignal, RunId};

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
    mark: StateMark,
    news: mpsc::Sender<News>,
    running: HashMap<RunId, Running>,
    stopping: bool,
}

#[derive(Debug)]
struct Running {
    signals: mpsc::Sender<ProcessSignal>,
    task: JoinHandle<()>,
    kill_grace: Duration,
}

impl Launcher {
    /// A launcher without children.
    pub fn new(mark: StateMark, news: mpsc::Sender<News>) -> Self {
        Self { mark, news, running: HashMap::new(), stopping: false }
    }

    /// Starts a child. Its news say whether that worked. How many there may be is the caller's to decide.
    pub fn start(&mut self, order: ProcessOrder) {
        if self.stopping {
            let reason = "the gateway is stopping".to_owned();
            return self.tell(News { run: order.run, news: ProcessNews::NotStarted { reason } });
        }
        self.running.retain(|_, running| !running.task.is_finished());
        let (signals, orders) = mpsc::channel(SIGNAL_QUEUE);
        let (run, kill_grace) = (order.run.clone(), order.kill_grace);
        let task = tokio::spawn(child_task::look_after(order, self.mark.clone(), self.news.clone(), orders));
        self.running.insert(run, Running { signals, task, kill_grace });
    }

    /// Signals a child's group. Its news say what came of it; a child that has ended is reported as such.
    pub fn signal(&mut self, run: &RunId, signal: ProcessSignal) {
        let refused = match self.running.get(run).map(|running| running.signals.try_send(signal)) {
            Some(Ok(())) => return,
            Some(Err(mpsc::error::TrySendError::Full(_))) => "too many orders wait for this process",
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => "the process has ended",
        };
        let news = ProcessNews::Signalled { signal, failed: Some(refused.to_owned()) };
        self.tell(News { run: run.clone(), news });
    }

    fn tell(&self, said: News) {
        let news = self.news.clone();
        tokio::spawn(async move {
            let _ = news.send(said).await;
        });
    }

    /// How many children run.
    pub fn len(&self) -> usize {
        self.running.values().filter(|running| !running.task.is_finished()).count()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all children, as by a kill, and everything that they left behind; no more are started. Resolves when they are gone
    /// and their news were taken; returns how many processes had to be killed beyond the groups' leaders. Their news should
    /// be read meanwhile, or their receiver dropped.
    pub fn stop(&mut self) -> impl Future<Output = u32> + Send + 'static {
        let running: Vec<Running> = self.running.drain().map(|(_, running)| running).collect();
        self.stopping = true;
        let (mark, news) = (self.mark.clone(), self.news.clone());
        async move {
            for child in &running {
                // Full or closed: dropping the queue below ends the child all the same.
                let _ = child.signals.try_send(ProcessSignal::Terminate);
            }
            let longest = running.iter().map(|child| child.kill_grace).max().unwrap_or_default();
            let tasks: Vec<JoinHandle<()>> = running.into_iter().map(|child| child.task).collect();
            let all = async {
                for task in tasks {
                    let _ = task.await;
                }
            };
            let _ = tokio::time::timeout(longest + STOP_MARGIN, all).await;
            let ended = tokio::task::spawn_blocking(move || strays::end_all(&mark, Leaders::of_this_process()));
            let ended = ended.await.unwrap_or(0);
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

#[cfg(test)]
mod tests;
