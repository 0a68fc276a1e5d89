//! The task of one session's child: starts the process, passes what it writes to the [`Conversation`], and carries out what that
//! decides.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatewarden_processes::{ChildEvent, Ended, Input, Launch, Order, OutputRate, supervise};
use tokio::sync::mpsc;

use super::conversation::{Conversation, Step};
use super::places::{Place, Resting};
use super::restarts::Restarts;
use crate::clock::{Now, until};
use crate::effect::{News, ProcessNews, ProcessOrder, ProcessSignal, RunId};

/// Longest message of an agent, in bytes: a tool may return a file.
const MESSAGE: usize = 4 * 1024 * 1024;
/// Messages to an agent that may wait until it reads.
const UNREAD: usize = 32;
/// Events of a process that may wait; while there are as many, its output waits in its pipes.
const EVENTS: usize = 8;
/// Lines passed on per second at most, whatever the bytes allow.
const LINES_PER_SECOND: u64 = 2_048;

#[derive(Debug)]
pub(super) enum Command {
    /// With what to start, where the process has ended meanwhile.
    Prompt(Box<Prompt>),
    Signal(ProcessSignal),
    Decide {
        question: u64,
        allow: bool,
    },
}

pub(super) struct Prompt {
    pub(super) order: ProcessOrder,
    pub(super) launch: Launch,
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt").field("run", &self.order.run).finish_non_exhaustive()
    }
}

/// What one child's task holds besides its process. A queue of commands that is closed ends it.
pub(super) struct Attendant {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) place: Arc<Place>,
    pub(super) resting: Arc<Resting>,
    pub(super) restarts: Arc<Mutex<Restarts>>,
    pub(super) news: mpsc::Sender<News>,
}

impl Attendant {
    pub(super) async fn attend(mut self, first: Prompt) {
        let mut next = Some(first);
        while let Some(prompt) = next {
            next = self.converse(prompt).await;
        }
    }

    /// One process, from its start to its end. A prompt that met its end is returned.
    async fn converse(&mut self, Prompt { order, launch }: Prompt) -> Option<Prompt> {
        let acp = *order.acp.clone()?;
        let mut pace = Pace::new(order.output_bytes_per_second);
        let (mut run, agent) = (order.run.clone(), acp.agent.clone());
        let mut process = Process::start(launch);
        let mut talk = Conversation::new(acp);
        talk.prompt(order, Now::read().at);
        let (mut listens, mut met_its_end) = (true, None);
        loop {
            self.carry_out(&mut talk, &process, &run).await;
            tokio::select! {
                biased;
                command = self.commands.recv(), if listens => match command {
                    Some(Command::Prompt(prompt)) if talk.is_ready() => {
                        run = prompt.order.run.clone();
                        talk.prompt(prompt.order, Now::read().at);
                    }
                    Some(Command::Prompt(prompt)) => {
                        // What follows is meant for it, too.
                        listens = false;
                        met_its_end = Some(*prompt);
                    }
                    Some(Command::Signal(signal)) => talk.signal(signal, Now::read().at),
                    Some(Command::Decide { question, allow }) => talk.decide(question, allow),
                    None => {
                        listens = false;
                        talk.stop();
                    }
                },
                () = self.place.ended() => talk.stop(),
                () = until(talk.deadline()) => talk.on_time(Now::read().at),
                event = pace.next(&mut process.events, talk.is_unheard()) => match event {
                    Some(ChildEvent::Started(started)) => talk.started(started.pid.unsigned_abs(), Now::read().at),
                    Some(ChildEvent::Output(stream, lines)) => {
                        for line in lines {
                            let now = Now::read().at;
                            if !talk.is_unheard() {
                                pace.spend(line.bytes, now);
                            }
                            talk.line(stream, &line.text, line.cut, now);
                            self.carry_out(&mut talk, &process, &run).await;
                        }
                    }
                    Some(ChildEvent::Signalled(order, outcome)) => talk.ordered(order, outcome),
                    Some(ChildEvent::Dropped(_) | ChildEvent::Replaced(_)) => {}
                    // Without a word only where its task has failed, which the log tells.
                    Some(ChildEvent::Ended(_)) | None => {
                        let ended = match event {
                            Some(ChildEvent::Ended(ended)) => ended,
                            _ => Ended { code: None, signal: None, ran: Duration::ZERO, left_behind: 0, timed_out: false },
                        };
                        let (now, was_at_work) = (Now::read().at, talk.is_at_work());
                        if talk.is_ready() {
                            tracing::info!(agent, code = ended.code, signal = ended.signal, "an ACP agent ended between two prompts");
                        }
                        if talk.ended(ended, now) {
                            self.restarts().failed(now);
                        }
                        if was_at_work {
                            self.place.close();
                        }
                        self.carry_out(&mut talk, &process, &run).await;
                        break;
                    }
                    Some(ChildEvent::NotStarted(reason)) => {
                        self.place.close();
                        talk.not_started(reason);
                        self.carry_out(&mut talk, &process, &run).await;
                        break;
                    }
                },
            }
        }
        // It had nothing to do when it ended: a prompt may be on its way.
        while met_its_end.is_none() && !self.place.end() && self.place.is_taken() {
            match self.commands.recv().await {
                Some(Command::Prompt(prompt)) => met_its_end = Some(*prompt),
                Some(Command::Signal(_) | Command::Decide { .. }) => {}
                None => break,
            }
        }
        met_its_end
    }

    async fn carry_out(&self, talk: &mut Conversation, process: &Process, run: &RunId) {
        loop {
            let steps = talk.take_steps();
            if steps.is_empty() {
                return;
            }
            for step in steps {
                match step {
                    Step::Write(line) => {
                        if let Err(mpsc::error::TrySendError::Full(_)) = process.input.try_send(line) {
                            talk.end("does not read what it is told".to_owned());
                        }
                    }
                    Step::Tell(news) => {
                        if let ProcessNews::Exited { code, .. } = &news
                            && talk.is_ready()
                        {
                            if *code == Some(0) {
                                self.restarts().worked();
                            }
                            // Before anybody hears of it, who could have the next prompt.
                            self.place.free();
                            self.resting.add(&self.place);
                        }
                        // Nobody listens any more: the gateway is stopping, and the child is ended all the same.
                        let _ = self.news.send(News { run: run.clone(), news }).await;
                    }
                    // It is gone, or about to be.
                    Step::Order(order) => drop(process.orders.try_send(order)),
                    // Told to end by that, where nobody has just given it a prompt.
                    Step::Rest => drop(self.place.end()),
                }
            }
        }
    }

    fn restarts(&self) -> std::sync::MutexGuard<'_, Restarts> {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that is looked after by a task of its own. It is ended where this is dropped.
struct Process {
    orders: mpsc::Sender<Order>,
    input: mpsc::Sender<String>,
    events: mpsc::Receiver<ChildEvent>,
}

impl Process {
    fn start(launch: Launch) -> Self {
        let (orders, queue) = mpsc::channel(UNREAD);
        let (input, lines) = mpsc::channel(UNREAD);
        let (report, events) = mpsc::channel(EVENTS);
        let launch = Launch {
            input: Input::Queue(lines),
            // A message that is dropped would never be missed by who waits for it.
            output_rate: OutputRate::Paced,
            max_line_bytes: MESSAGE,
            timeout: None,
            ..launch
        };
        tokio::spawn(supervise(launch, queue, move |event| {
            let report = report.clone();
            async move {
                let _ = report.send(event).await;
            }
        }));
        Self { orders, input, events }
    }
}

/// Output that comes faster than it may waits.
#[derive(Debug)]
struct Pace {
    per_second: u64,
    /// Everything that was passed on is paid for then.
    paid_at: Option<Instant>,
}

impl Pace {
    /// What may be passed on at once after a silence, in time.
    const SAVED: Duration = Duration::from_secs(1);

    fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(LINES_PER_SECOND), paid_at: None }
    }

    fn spend(&mut self, bytes: u64, now: Instant) {
        let bytes = bytes.max(self.per_second / LINES_PER_SECOND);
        let micros = u128::from(bytes).saturating_mul(1_000_000) / u128::from(self.per_second);
        let cost = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        let from = self.paid_at.map_or(now, |paid| paid.max(now));
        self.paid_at = from.checked_add(cost);
    }

    /// When more may come.
    fn free_at(&self) -> Option<Instant> {
        self.paid_at.and_then(|paid| paid.checked_sub(Self::SAVED))
    }

    /// `at_once`: without waiting for the pace.
    async fn next(&self, events: &mut mpsc::Receiver<ChildEvent>, at_once: bool) -> Option<ChildEvent> {
        if let Some(at) = self.free_at().filter(|_| !at_once) {
            tokio::time::sleep_until(at.into()).await;
        }
        events.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_comes_at_once_and_the_rest_at_its_pace() {
        let now = Now::read().at;
        let mut pace = Pace::new(10_240);
        assert!(pace.free_at().is_none());
        pace.spend(10_240, now);
        assert!(pace.free_at().unwrap() <= now);
        pace.spend(5_120, now);
        assert_eq!(pace.free_at(), Some(now + Duration::from_millis(500)));
        let later = now + Duration::from_secs(60);
        pace.spend(10_240, later);
        assert!(pace.free_at().unwrap() <= later);
        for _ in 0..2 * LINES_PER_SECOND {
            pace.spend(0, later);
        }
        assert!(pace.free_at().unwrap() > later + Duration::from_secs(1), "empty lines cost something, too");
    }
}
