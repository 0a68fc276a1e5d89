//! The children of all sessions whose agents speak ACP.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatewarden_processes::Launch;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;

use super::child::{Attendant, Command, Prompt};
use super::places::{Place, Resting};
use super::restarts::Restarts;
use crate::effect::{News, ProcessOrder, ProcessSignal, RunId};

/// Commands to one child that may wait.
const COMMANDS: usize = 32;

/// One child a session, started by its first prompt.
#[derive(Debug)]
pub(crate) struct AcpChildren {
    by_session: HashMap<String, Child>,
    /// By agent.
    restarts: HashMap<String, Arc<Mutex<Restarts>>>,
    resting: Arc<Resting>,
    news: mpsc::Sender<News>,
}

#[derive(Debug)]
struct Child {
    /// The last one.
    run: RunId,
    commands: mpsc::Sender<Command>,
    place: Arc<Place>,
    task: JoinHandle<()>,
    kill_grace: Duration,
    /// With what it was started.
    started_with: StartedWith,
}

type StartedWith = (PathBuf, Vec<String>, BTreeMap<String, String>, PathBuf);

impl AcpChildren {
    pub(crate) fn new(news: mpsc::Sender<News>) -> Self {
        Self { by_session: HashMap::new(), restarts: HashMap::new(), resting: Arc::default(), news }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_session.values().filter(|child| !child.task.is_finished()).count()
    }

    pub(crate) fn has(&self, session: &str) -> bool {
        self.by_session.get(session).is_some_and(|child| !child.task.is_finished())
    }

    /// Gives a session's agent its next prompt; `launch` is for where it doesn't run. The error: a sentence why it isn't started.
    pub(crate) fn prompt(&mut self, order: ProcessOrder, launch: Launch, now: Instant) -> Result<(), String> {
        let Some(acp) = order.acp.clone() else { return Err("it is no agent that speaks ACP".to_owned()) };
        self.by_session.retain(|_, child| !child.task.is_finished());
        let (run, kill_grace) = (order.run.clone(), order.kill_grace);
        let started_with = (order.program.clone(), order.args.clone(), order.env.clone(), order.cwd.clone());
        let prompt = Prompt { order, launch };
        if let Some(child) = self.by_session.get_mut(&acp.session) {
            if child.started_with == started_with && child.place.take() {
                child.run = run;
                let full = |_| "too many orders wait for this process".to_owned();
                return child.commands.try_send(Command::Prompt(Box::new(prompt))).map_err(full);
            }
            // Ends, where it hasn't ended by itself.
            child.place.end();
            self.by_session.remove(&acp.session);
        }
        let restarts = Arc::clone(self.restarts.entry(acp.agent.clone()).or_default());
        let wait = restarts.lock().unwrap_or_else(PoisonError::into_inner).wait(now);
        if let Some((failures, wait)) = wait {
            return Err(format!(
                "agent \"{}\" failed {failures} times in a row and is started again in {:.0} s at the earliest: its errors are in \
                 the log; correct agents.entries.{}.acp",
                acp.agent,
                wait.as_secs_f64().ceil(),
                acp.agent
            ));
        }
        let (commands, queue) = mpsc::channel(COMMANDS);
        let place = Place::taken();
        let (resting, news) = (Arc::clone(&self.resting), self.news.clone());
        let attendant = Attendant { commands: queue, place: Arc::clone(&place), resting, restarts, news };
        let task = tokio::spawn(attendant.attend(prompt));
        let child = Child { run, commands, place, task, kill_grace, started_with };
        self.by_session.insert(acp.session, child);
        Ok(())
    }

    /// Passes a signal on to the child that works on a run. None where none does; an error where it can't take it.
    pub(crate) fn signal(&self, run: &RunId, signal: ProcessSignal) -> Option<Result<(), TrySendError<()>>> {
        self.command(run, Command::Signal(signal))
    }

    /// Answers a question of the agent that works on a run.
    pub(crate) fn decide(&self, run: &RunId, question: u64, allow: bool) {
        if let Some(Err(TrySendError::Full(()))) = self.command(run, Command::Decide { question, allow }) {
            tracing::warn!(
                run = run.0,
                question,
                "a decision could not be passed on: too many orders wait for the agent"
            );
        }
    }

    fn command(&self, run: &RunId, command: Command) -> Option<Result<(), TrySendError<()>>> {
        let child = self.by_session.values().find(|child| child.run == *run)?;
        Some(child.commands.try_reserve().map(|place| place.send(command)))
    }

    /// Ends a session's child, whose last words are still passed on.
    pub(crate) fn end_session(&mut self, session: &str) {
        // Its queue is closed with that, once what waits in it is read.
        self.by_session.remove(session);
    }

    /// Ends the child that has had nothing to do for the longest time, if there is one.
    pub(crate) fn make_room(&self) {
        self.resting.make_room();
    }

    /// Ends all: their tasks, and the grace that each has.
    pub(crate) fn end(&mut self) -> Vec<(JoinHandle<()>, Duration)> {
        self.by_session.drain().map(|(_, child)| (child.task, child.kill_grace)).collect()
    }
}
