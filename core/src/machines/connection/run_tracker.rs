//! The runs that were started here, and what has been told of each: every stage once, one final stage at most, nothing
//! after it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use gatewarden_protocol::SessionsEvent;

use super::run_words::{self, Confidence};
use crate::spawn::{RunNotice, RunStage, is_own_session};

/// Runs that are followed at a time; beyond that the oldest is given up, an ended one first.
pub(super) const MAX_RUNS: usize = 1024;
/// How long an ended run is remembered, so that late words about it are known for what they are. Longer than any
/// acceptance is awaited: one that comes after the end must not bring the run back.
const REMEMBERED: Duration = Duration::from_secs(660);
/// Fuller words follow a bare end within this.
const FULLER_WORDS: Duration = Duration::from_secs(2);
/// Real gateways themselves give a failed run this long for another try.
const RETRY_GRACE: Duration = Duration::from_secs(15);
/// How long after a kill an end is put down to it, where the gateway says only that it ended.
const KILL_REMEMBERED: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct RunTracker {
    runs: BTreeMap<u64, TrackedRun>,
    numbers: HashMap<String, u64>,
    dues: BTreeSet<(Instant, u64)>,
    last_number: u64,
    open: usize,
    /// What runs tell of their sessions since that was last taken.
    sessions: Vec<SessionsEvent>,
}

#[derive(Debug)]
struct TrackedRun {
    run_id: String,
    session_key: Option<String>,
    /// Whether nothing else runs in its session.
    own_session: bool,
    heard: bool,
    running_told: bool,
    second_reply_due: bool,
    kill_asked: Option<Instant>,
    /// An end that may still be bettered, and when it is told as it is.
    candidate: Option<(Confidence, RunStage)>,
    ended: bool,
    due: Option<Instant>,
}

impl RunTracker {
    /// Follows a run from now on. Known already: only its session is taken over.
    pub(super) fn follow(&mut self, run_id: &str, session_key: Option<&str>) {
        if let Some(run) = self.get_mut(run_id) {
            if session_key.is_some() {
                run.session_key = session_key.map(str::to_owned);
            }
            return;
        }
        if self.runs.len() >= MAX_RUNS {
            let ended = self.runs.iter().find(|(_, run)| run.ended).map(|(number, _)| *number);
            if let Some(oldest) = ended.or_else(|| self.runs.first_key_value().map(|(number, _)| *number)) {
                self.remove(oldest);
            }
        }
        self.last_number += 1;
        self.numbers.insert(run_id.to_owned(), self.last_number);
        self.open += 1;
        let run = TrackedRun {
            run_id: run_id.to_owned(),
            session_key: session_key.map(str::to_owned),
            own_session: session_key.is_some_and(|key| is_own_session(key, run_id)),
            heard: false,
            running_told: false,
            second_reply_due: false,
            kill_asked: None,
            candidate: None,
            ended: false,
            due: None,
        };
        self.runs.insert(self.last_number, run);
    }

    /// The gateway took it; whether it said that it runs, and whether its outcome will come as a second reply.
    pub(super) fn accepted(&mut self, run_id: &str, running: bool, second_reply_due: bool) {
        if let Some(run) = self.get_mut(run_id) {
            run.heard = true;
            run.running_told |= running;
            run.second_reply_due = second_reply_due;
        }
    }

    /// Its session was made for it.
    pub(super) fn has_own_session(&mut self, run_id: &str) {
        if let Some(run) = self.get_mut(run_id) {
            run.own_session = true;
        }
    }

    /// How it ended was told in another way: nothing more is told of it.
    pub(super) fn settle(&mut self, run_id: &str, session_key: Option<&str>, now: Instant) {
        self.follow(run_id, session_key);
        if let Some(number) = self.numbers.get(run_id).copied()
            && self.runs.get(&number).is_some_and(|run| !run.ended)
        {
            self.end(number, RunStage::Completed { result: serde_json::Value::Null }, now);
        }
    }

    /// The gateway certainly didn't take it, or nothing more is wanted of it.
    pub(super) fn forget(&mut self, run_id: &str) {
        if let Some(number) = self.numbers.get(run_id) {
            self.remove(*number);
        }
    }

    /// A run began or ended in its session, of which nothing may have been heard yet.
    pub(super) fn tell_session(&mut self, run_id: &str, running: bool) {
        if let Some(key) = self.session_of(run_id) {
            let run_id = Some(run_id.to_owned());
            self.sessions.push(SessionsEvent::Run { key, run_id, running, at_ms: None });
        }
    }

    /// What the runs told of their sessions: of some gateways nothing else would for minutes.
    pub(super) fn take_session_events(&mut self) -> Vec<SessionsEvent> {
        std::mem::take(&mut self.sessions)
    }

    /// Whether the gateway has said anything of it.
    pub(super) fn heard_of(&self, run_id: &str) -> bool {
        self.numbers.get(run_id).and_then(|number| self.runs.get(number)).is_some_and(|run| run.heard)
    }

    /// Whether what was said of this run names another one that is followed here: then it tells of that one, if of any.
    pub(super) fn names_another(&self, run_id: &str, said: &serde_json::Value) -> bool {
        run_words::run_id(said).is_some_and(|named| named != run_id && self.numbers.contains_key(&named))
    }

    /// The session of a run.
    pub(super) fn session_of(&self, run_id: &str) -> Option<String> {
        self.numbers.get(run_id).and_then(|number| self.runs.get(number))?.session_key.clone()
    }

    /// Runs that are followed or remembered.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether any run is still open.
    pub(super) fn has_open(&self) -> bool {
        self.open > 0
    }

    /// The connection is gone, and with it all second replies.
    pub(super) fn connection_lost(&mut self) {
        for run in self.runs.values_mut() {
            run.second_reply_due = false;
        }
    }

    /// The open runs: id, session, and whether that is their own.
    pub(super) fn open_runs(&self) -> impl Iterator<Item = (&str, Option<&str>, bool)> {
        self.runs
            .values()
            .filter(|run| !run.ended)
            .map(|run| (run.run_id.as_str(), run.session_key.as_deref(), run.own_session))
    }

    /// A kill was asked for in a session: what ends there in a while without saying why was killed.
    pub(super) fn kill_asked(&mut self, session_key: &str, now: Instant) {
        for run in self.runs.values_mut() {
            if !run.ended && run.session_key.as_deref() == Some(session_key) {
                run.kill_asked = Some(now);
            }
        }
    }

    /// The gateway says that there was nothing to kill.
    pub(super) fn kill_found_nothing(&mut self, session_key: &str) {
        for run in self.runs.values_mut().filter(|run| run.session_key.as_deref() == Some(session_key)) {
            run.kill_asked = None;
        }
    }

    /// The gateway says that a kill ended something: the named runs, or whatever was open in the session. Words of their
    /// own follow as a rule.
    pub(super) fn kill_confirmed(&mut self, session_key: &str, named: &[String], now: Instant) {
        let numbers: Vec<u64> = self
            .runs
            .iter()
            .filter(|(_, run)| !run.ended)
            .filter(|(_, run)| {
                let in_session = run.session_key.as_deref() == Some(session_key);
                if named.is_empty() { in_session } else { named.contains(&run.run_id) }
            })
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            let stage = RunStage::Killed { reason: "aborted (asked for here)".to_owned() };
            self.better(number, Confidence::Text, stage, now + FULLER_WORDS);
        }
    }

    /// The gateway said this of a run, whose end counts so much. Says what is to be told of it.
    pub(super) fn on_notice(&mut self, said: RunNotice, confidence: Confidence, now: Instant) -> Option<RunNotice> {
        let number = *self.numbers.get(&said.run_id)?;
        let run = self.runs.get_mut(&number)?;
        run.heard = true;
        if run.ended {
            return None;
        }
        if said.session_key.is_some() && run.session_key.is_none() {
            run.session_key = said.session_key;
        }
        match said.stage {
            RunStage::Running { pid } => {
                // A new try: the failure before it was none of the run's.
                if run.candidate.as_ref().is_some_and(|(confidence, _)| *confidence == Confidence::MayBeRetried) {
                    run.candidate = None;
                    self.set_due(number, None);
                }
                let run = self.runs.get_mut(&number)?;
                if std::mem::replace(&mut run.running_told, true) {
                    return None;
                }
                Some(run.notice(RunStage::Running { pid }))
            }
            stage => {
                let stage = run.put_down_to_kill(stage, now);
                let fuller_to_come = run.second_reply_due && confidence < Confidence::Certain;
                let wait = match confidence {
                    Confidence::MayBeRetried => RETRY_GRACE,
                    Confidence::Bare => FULLER_WORDS,
                    Confidence::Text if fuller_to_come => FULLER_WORDS,
                    Confidence::Text | Confidence::Certain => return self.end(number, stage, now),
                };
                self.better(number, confidence, stage, now + wait);
                None
            }
        }
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.dues.first().map(|(due, _)| *due)
    }

    /// Ends that nothing bettered are told, and what ended long ago is forgotten.
    pub(super) fn on_deadline(&mut self, now: Instant) -> Vec<RunNotice> {
        let mut notices = Vec::new();
        while let Some((due, number)) = self.dues.first().copied().filter(|(due, _)| *due <= now) {
            let candidate = self.runs.get_mut(&number).and_then(|run| run.candidate.take());
            match candidate {
                Some((_, stage)) => notices.extend(self.end(number, stage, now)),
                None => self.remove(number),
            }
            self.dues.remove(&(due, number));
        }
        notices
    }

    fn get_mut(&mut self, run_id: &str) -> Option<&mut TrackedRun> {
        self.numbers.get(run_id).and_then(|number| self.runs.get_mut(number))
    }

    /// Keeps an end that says more than the one known; of two that say as much, the first.
    fn better(&mut self, number: u64, confidence: Confidence, stage: RunStage, due: Instant) {
        let Some(run) = self.runs.get_mut(&number) else { return };
        if run.candidate.as_ref().is_none_or(|(known, _)| confidence > *known) {
            run.candidate = Some((confidence, stage));
            self.set_due(number, Some(due));
        }
    }

    fn end(&mut self, number: u64, stage: RunStage, now: Instant) -> Option<RunNotice> {
        let run = self.runs.get_mut(&number)?;
        run.ended = true;
        run.candidate = None;
        let notice = run.notice(stage);
        self.tell_session(&notice.run_id, false);
        self.open = self.open.saturating_sub(1);
        self.set_due(number, Some(now + REMEMBERED));
        Some(notice)
    }

    fn set_due(&mut self, number: u64, due: Option<Instant>) {
        let Some(run) = self.runs.get_mut(&number) else { return };
        if let Some(old) = std::mem::replace(&mut run.due, due) {
            self.dues.remove(&(old, number));
        }
        if let Some(due) = due {
            self.dues.insert((due, number));
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(run) = self.runs.remove(&number) else { return };
        self.numbers.remove(&run.run_id);
        if let Some(due) = run.due {
            self.dues.remove(&(due, number));
        }
        if !run.ended {
            self.open = self.open.saturating_sub(1);
        }
    }
}

impl TrackedRun {
    fn notice(&self, stage: RunStage) -> RunNotice {
        RunNotice { run_id: self.run_id.clone(), session_key: self.session_key.clone(), stage }
    }

    /// An end without an answer, shortly after a kill, is the kill's.
    fn put_down_to_kill(&self, stage: RunStage, now: Instant) -> RunStage {
        let lately = self.kill_asked.is_some_and(|at| now.saturating_duration_since(at) < KILL_REMEMBERED);
        match stage {
            RunStage::Completed { result } if lately && result.is_null() => {
                RunStage::Killed { reason: "aborted (asked for here)".to_owned() }
            }
            RunStage::Failed { error, result } if lately && !result.is_null() => RunStage::Killed { reason: error },
            other => other,
        }
    }
}
