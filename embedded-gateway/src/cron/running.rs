//! Runs of jobs, from their time to their end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::delivery::Fate;
use super::history::Entry;
use super::job::{Job, Payload};
use super::place::Place;
use super::{UnderWay, file, tell};
use crate::call::CallError;
use crate::effect::{AwaitedBy, Effect, LogLevel, RunId};
use crate::machine::GatewayMachine;
use crate::methods::{AgentMessage, deliver};
use crate::runs::{Ending, RunRequest, RunState};
use crate::sessions::{Opening, Usage};
use crate::turn::Turn;

/// Jobs that are begun in one turn; the next ones follow at once.
const IN_A_TURN: usize = 32;
/// A run that names no limit of its own ends after this, as with real gateways.
const LONGEST: Duration = Duration::from_secs(3_600);
/// What is kept of an answer and of an error, in characters.
const KEPT: usize = 2_000;
const NOT_BEGUN: &str = "the run was not begun:";

fn cut(text: &str) -> String {
    text.chars().take(KEPT).collect()
}

/// How a run went.
#[derive(Default)]
struct Outcome {
    /// Why it failed, and whether nothing was begun, so that it may be tried again.
    error: Option<(String, bool)>,
    answer: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    session_id: Option<String>,
}

impl Outcome {
    fn failed(error: String, retry: bool) -> Self {
        Self { error: Some((error, retry)), ..Self::default() }
    }
}

impl GatewayMachine {
    /// What was under way when a former gateway ended comes to its end: alerts, runs, answers. An answer is kept to be sent before its
    /// run's row is written, this before an alert, and that before the job: what is there of it isn't done again.
    pub(crate) fn resume_jobs(&mut self, turn: &mut Turn<'_>) {
        // By what they are of, with the failure that they tell.
        let answers = self.channels.answers_of_jobs().into_iter().map(|run| (run.0, None));
        let posts = self.cron.outbox.iter().map(|post| (post.run.clone(), post.error()));
        let kept: BTreeMap<String, Option<String>> = answers.chain(posts).collect();
        let cron = &mut self.cron;
        let resume =
            |job: &mut Job| job.state.alert.as_mut()?.resume(|name| kept.contains_key(name)).then(|| job.id.clone());
        for id in cron.jobs.values_mut().filter_map(resume).collect::<Vec<_>>() {
            cron.write(&id, turn);
        }
        let begun = cron.jobs.values().filter_map(|job| Some((job.clone(), job.state.running_at_ms?)));
        for (job, began) in begun.collect::<Vec<_>>() {
            let ended = self.cron.newest(&job.id).filter(|entry| entry.run_at_ms == began).cloned();
            if let Some(entry) = ended {
                self.cron.end(&job.id, entry.error.as_deref(), began, false, turn);
                self.run_noted(&entry, true, turn);
                continue;
            }
            let run = job.state.running.clone().unwrap_or_else(|| format!("cron:{}:{began}", job.id));
            let error = match kept.get(&run) {
                Some(error) => error.clone(),
                None => {
                    let name = &job.definition.name;
                    let said =
                        format!("a run of job \"{name}\" was under way at the gateway's end; it is not repeated");
                    turn.log(LogLevel::Warn, "cron", None, said);
                    Some(super::INTERRUPTED.to_owned())
                }
            };
            let run = RunId(run);
            self.cron.under_way.insert(run.clone(), UnderWay { job, began, manual: false });
            let outcome = Outcome { error: error.map(|error| (error, false)), ..Outcome::default() };
            self.job_ended(&run, outcome, turn);
        }
        // Channels keep those that certainly weren't sent.
        let waiting = self.cron.history.iter().filter(|entry| entry.waits() && !kept.contains_key(&entry.run_id));
        for run in waiting.map(|entry| RunId(entry.run_id.clone())).collect::<Vec<_>>() {
            let said =
                "the gateway ended while the answer was being sent; it isn't sent again, and is in the job's session";
            self.cron.settle_answer(&run, Fate::Unknown(said.to_owned()), turn);
        }
        let waiting = self.cron.jobs.values().filter(|job| job.state.last_delivery == Some(Fate::Waiting));
        let settled = waiting.filter_map(|job| self.cron.newest(&job.id)).filter(|entry| !entry.waits());
        for entry in settled.cloned().collect::<Vec<_>>() {
            self.run_noted(&entry, false, turn);
        }
    }

    /// Begins what is due.
    pub(crate) fn run_due_jobs(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.wall_ms;
        for _ in 0..IN_A_TURN {
            let cron = &self.cron;
            if !cron.settings.enabled || !cron.has_room() || self.is_stopping() {
                break;
            }
            let Some((_, id)) = cron.due.first().filter(|(due, _)| *due <= now).cloned() else { break };
            if cron.get(&id).is_some_and(|job| job.state.running_at_ms.is_some()) {
                // Still at the last one: this time is passed over.
                let next = cron.get(&id).and_then(|job| job.next(now, &cron.zone));
                self.cron.set_next(&id, next.filter(|next| *next > now));
                continue;
            }
            self.begin_job(&id, false, turn);
        }
        self.cron.arm(turn.now);
    }

    /// `cron.run`: at once, whatever the schedule says. The run's id.
    pub(crate) fn run_job_now(&mut self, id: &str, turn: &mut Turn<'_>) -> RunId {
        let run = self.begin_job(id, true, turn);
        self.cron.arm(turn.now);
        run
    }

    /// That it begins is written first; what follows waits for that.
    fn begin_job(&mut self, id: &str, manual: bool, turn: &mut Turn<'_>) -> RunId {
        let (cron, began) = (&mut self.cron, turn.now.wall_ms);
        let run = if manual {
            cron.asked += 1;
            RunId(format!("manual:{id}:{began}:{}", cron.asked))
        } else {
            RunId(format!("cron:{id}:{began}"))
        };
        if let Some(job) = cron.jobs.get_mut(id) {
            let before = job.clone();
            job.begin(began, &run.0, &cron.zone);
            cron.place(id, before.state.next_run_at_ms);
            cron.under_way.insert(run.clone(), UnderWay { job: before, began, manual });
        }
        cron.write(id, turn);
        turn.push(Effect::Confirm { file: file::path(), awaited_by: AwaitedBy::Run(run.clone()) });
        run
    }

    /// What was to be written before a run is there, or isn't.
    pub(crate) fn confirmed(&mut self, run: &RunId, written: bool, turn: &mut Turn<'_>) {
        let Some(under_way) = self.cron.under_way.get(run).cloned() else { return };
        let written = written && self.files.broken().all(|broken| broken != Path::new(file::FILE));
        let begun = if written {
            self.deliver_job(run, &under_way, turn)
        } else {
            let why = format!("{NOT_BEGUN} that couldn't be written: {} of the state directory", file::FILE);
            Err(CallError::unavailable(why).retry_after(1_000))
        };
        if let Err(error) = begun {
            let retry = error.retry_after_ms.is_some();
            self.job_ended(run, Outcome::failed(error.message, retry), turn);
        }
        self.settle_jobs(turn);
    }

    /// The gateway stops: what waits for being written, or for another run of its session, doesn't begin, and is due as before. Who
    /// asked for a run is told.
    pub(crate) fn take_jobs_back(&mut self, turn: &mut Turn<'_>) {
        self.settle_jobs(turn);
        let (cron, runs) = (&mut self.cron, &self.runs);
        let waits = |run: &RunId| runs.get(run).is_none_or(|run| run.state == RunState::Queued);
        for (run, under_way) in cron.under_way.extract_if(|run, _| waits(run)).collect::<Vec<_>>() {
            let (cron, before) = (&mut self.cron, &under_way.job);
            if let Some(job) = cron.jobs.get_mut(&before.id) {
                // Where it was given other times meanwhile, those count.
                let is_same = job.definition.enabled && job.definition.schedule == before.definition.schedule;
                let next = if is_same { before.state.next_run_at_ms } else { job.state.next_run_at_ms };
                (job.state.running_at_ms, job.state.running) = (None, None);
                job.state.last_run_at_ms = before.state.last_run_at_ms;
                cron.set_next(&before.id, next);
                cron.write(&before.id, turn);
            }
            if under_way.manual {
                cron.under_way.insert(run.clone(), under_way);
                let why = format!("{NOT_BEGUN} the gateway is stopping");
                self.job_ended(&run, Outcome::failed(why, false), turn);
            }
        }
    }

    fn deliver_job(&mut self, run: &RunId, under_way: &UnderWay, turn: &mut Turn<'_>) -> Result<(), CallError> {
        let (id, began) = (&under_way.job.id, under_way.began);
        let job = self.cron.get(id).cloned().ok_or_else(|| super::not_found(id))?;
        let definition = &job.definition;
        let session = definition.session(id, self.agents.default_id())?;
        let agent = self.agents.resolve(Some(&session.agent()))?;
        if definition.target() == "isolated"
            && self.sessions.get(session.as_str()).is_some_and(|session| !session.is_busy())
        {
            self.sessions.reset(session.as_str(), "new", &self.subscribers, turn);
        }
        let (model, thinking, seconds) = match &definition.payload {
            Payload::SystemEvent { .. } => (None, None, None),
            Payload::AgentTurn { model, thinking, timeout_seconds, .. } => {
                (model.clone(), thinking.clone(), *timeout_seconds)
            }
        };
        let timeout = seconds.map_or(Some(LONGEST), |seconds| (seconds > 0).then(|| Duration::from_secs(seconds)));
        let request = RunRequest { timeout, model, thinking, ..RunRequest::unasked(run.clone(), format!("cron:{id}")) };
        let more = json!({"action": "started", "runAtMs": began, "runId": run.0, "sessionKey": session.as_str()});
        let text = definition.payload.text().to_owned();
        let message = AgentMessage { session, opening: Opening::default(), agent, text, cwd: None };
        deliver(self, request, message, turn)?;
        tell(&job, more, &self.subscribers, turn);
        Ok(())
    }

    /// Takes note of jobs' runs that have ended.
    pub(crate) fn settle_jobs(&mut self, turn: &mut Turn<'_>) {
        let mut ended = self.runs.take_ended();
        ended.retain(|run| self.cron.under_way.contains_key(run));
        for id in &ended {
            let outcome = match self.runs.get(id) {
                None => Outcome::failed("the run ended, and how isn't remembered".to_owned(), false),
                Some(run) => {
                    let error = match run.state.end().map(|end| &end.how) {
                        Some(Ending::Completed) => None,
                        Some(Ending::Failed(error)) => Some(error.clone()),
                        Some(Ending::Killed(reason)) => Some(format!("the run was ended on request ({reason})")),
                        None => Some("the run is still under way".to_owned()),
                    };
                    Outcome {
                        error: error.map(|error| (error, false)),
                        answer: Some(run.text().to_owned()).filter(|text| !text.is_empty()),
                        model: run.model.clone(),
                        usage: run.usage,
                        session_id: Some(run.session_id.clone()),
                    }
                }
            };
            self.job_ended(id, outcome, turn);
        }
        if !ended.is_empty() {
            self.run_due_jobs(turn);
        }
    }

    fn job_ended(&mut self, run: &RunId, outcome: Outcome, turn: &mut Turn<'_>) {
        let Some(UnderWay { job: before, began, .. }) = self.cron.under_way.remove(run) else { return };
        let (id, now) = (before.id.clone(), turn.now.wall_ms);
        let Outcome { error, answer, model, usage, session_id } = outcome;
        let (error, retry) = error.map_or((None, false), |(error, retry)| (Some(error), retry && before.is_due(began)));
        let error = error.as_deref().map(cut);
        // Before anything is noted here: after a crash in between the answer is still sent.
        let fate = self.hand_over(&id, run, answer.as_deref(), error.is_some(), turn);
        let is_done = self.cron.end(&id, error.as_deref(), began, retry, turn);
        let job = self.cron.get(&id).cloned();
        // Of one that was removed meanwhile it is told what it was.
        let definition = &job.as_ref().unwrap_or(&before).definition;
        let mut entry = Entry {
            ts: now,
            job_id: id.clone(),
            job_name: definition.name.clone(),
            run_id: run.0.clone(),
            run_at_ms: began,
            duration_ms: now.saturating_sub(began).max(0),
            error,
            summary: answer.as_deref().map(cut),
            best_effort: definition.is_best_effort(),
            delivery: fate,
            ends_job: is_done,
            session_id,
            session_key: definition.session(&id, self.agents.default_id()).ok().map(|key| key.as_str().to_owned()),
            next_run_at_ms: job.as_ref().and_then(|job| job.state.next_run_at_ms),
            model,
            usage,
        };
        if let (None, Some(Place::Webhook(url))) =
            (&entry.delivery, job.as_ref().and_then(|job| job.definition.place()))
        {
            entry.delivery = Some(self.post_end(url, &entry, job.as_ref(), answer.as_deref(), turn));
        }
        self.cron.record(entry.clone(), turn);
        self.run_noted(&entry, true, turn);
    }

    /// A run's row is in the file: of a run that has ended, or whose answer is settled. What follows from it.
    pub(super) fn run_noted(&mut self, entry: &Entry, has_ended: bool, turn: &mut Turn<'_>) {
        // What came of an older run says nothing of how the job is. A failure was noted when the run ended.
        let is_newest = self.cron.newest(&entry.job_id).is_some_and(|newest| newest.run_id == entry.run_id);
        if is_newest && (has_ended || entry.error.is_none()) {
            self.note_incident(entry, turn);
        }
        let Some(job) = self.cron.jobs.get_mut(&entry.job_id) else { return };
        if is_newest {
            job.state.last_delivery.clone_from(&entry.delivery);
        }
        let job = job.clone();
        self.cron.write(&job.id, turn);
        let more = if entry.waits() { json!({"action": "updated"}) } else { entry.to_value() };
        tell(&job, more, &self.subscribers, turn);
        // Switched on again or changed meanwhile, it has another time to come.
        let is_over = entry.ends_job && !job.definition.enabled && job.state.running_at_ms.is_none();
        if is_over && entry.completion() == "succeeded" {
            // Its session stays: the answer is in it.
            let _: Result<_, CallError> = self.cron.remove(&job.id, &self.subscribers, turn);
        }
        self.cron.arm(turn.now);
    }

    /// `cron.remove`: with the session that was the job's alone.
    pub(crate) fn remove_job(&mut self, id: &str, turn: &mut Turn<'_>) -> Result<Value, CallError> {
        let job = self.cron.remove(id, &self.subscribers, turn)?;
        if job.definition.target() == "isolated" {
            let session = job.definition.session(id, self.agents.default_id())?;
            if self.sessions.get(session.as_str()).is_some_and(|session| !session.is_busy()) {
                self.sessions.delete(session.as_str(), &self.subscribers, turn);
            }
        }
        Ok(json!({"ok": true, "removed": true}))
    }
}
