//! Scheduled jobs: messages that agents get at their times. Pure: the time is an argument, what is to be done goes out as effects.
//!
//! - One timer for the earliest job of all ([`Cron::wake`]); the others wait in order.
//! - **At most once.** That a run begins is written before it does: the machine asks for a confirmation
//!   ([`Effect::Confirm`](crate::effect::Effect::Confirm)), and starts the run when it has it ([`running`]). A run that a killed gateway
//!   had begun is told as failed, and not repeated. What a stop finds about to begin is taken back.
//! - What was missed while no gateway ran, or its machine slept, runs once afterwards, or not at all (`cron.skipMissedJobs`).

pub(crate) mod alerts;
pub(crate) mod delivery;
pub(crate) mod file;
pub(crate) mod history;
pub(crate) mod job;
mod outbox;
pub(crate) mod place;
mod poster;
mod posting;
mod running;
pub(crate) mod schedule;
mod telling;
#[cfg(test)]
mod tests;
pub(crate) mod webhook;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::call::CallError;
use crate::clock::Now;
use crate::config::CronSettings;
use crate::effect::{FileChange, LogLevel, RunId};
use crate::payload::joined;
use crate::subscribers::Subscribers;
use crate::turn::Turn;
use delivery::Fate;
use file::{LineOut, Stored};
use history::{Entry, History};
use job::{Definition, Job, State};
use outbox::Outbox;
pub(crate) use poster::Poster;

pub(crate) const MOST_JOBS: usize = 10_000;
/// All definitions together, in bytes of JSON.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of the file that may be past, besides as many as were not when it was last written anew.
const PAST_BYTES: usize = 1024 * 1024;
/// Runs by schedule at a time; what is due besides waits.
const AT_A_TIME: usize = 8;
/// Over so long the clocks are compared, in ms.
const LOOKED_AT_MS: u128 = 60_000;
/// Longest that a timer runs, in ms.
const LOOK_MS: u64 = 86_400_000;
/// What is told of a run that was under way when the gateway was killed; the words of real gateways.
const INTERRUPTED: &str = "cron: job interrupted by gateway restart";

/// A run that was begun and hasn't ended.
#[derive(Debug, Clone)]
struct UnderWay {
    /// As it was before.
    job: Job,
    /// Wall ms.
    began: i64,
    /// Somebody asked for it, and knows its id.
    manual: bool,
}

#[derive(Debug)]
pub(crate) struct Cron {
    jobs: BTreeMap<String, Job>,
    /// Jobs that are to run, by time (wall ms) and id.
    due: BTreeSet<(i64, String)>,
    under_way: HashMap<RunId, UnderWay>,
    history: History,
    outbox: Outbox,
    bytes: usize,
    /// Of the file.
    lines: usize,
    file_bytes: usize,
    /// Of the file when it was last written anew; 0 where it wasn't since the start.
    anew_bytes: usize,
    /// Of the gateway's machine.
    zone: TimeZone,
    settings: CronSettings,
    wake: Option<Instant>,
    /// When the clocks were compared last.
    looked: Now,
    /// Runs that were begun by hand; makes their ids different.
    asked: u64,
}

impl Cron {
    /// Goes on from what a former gateway wrote, but for what was under way: see `resume_jobs`.
    pub(crate) fn resume(stored: Stored, zone: TimeZone, settings: CronSettings, turn: &mut Turn<'_>) -> Self {
        let Stored { jobs, history, mut outbox, lines, bytes, damaged, torn } = stored;
        outbox.after_a_crash(turn.now.at);
        let mut cron = Self {
            bytes: jobs.values().map(|job| job.definition.bytes()).sum(),
            jobs,
            due: BTreeSet::new(),
            under_way: HashMap::new(),
            history,
            outbox,
            lines,
            file_bytes: bytes,
            anew_bytes: 0,
            zone,
            settings,
            wake: None,
            looked: turn.now,
            asked: 0,
        };
        if torn || damaged > 0 {
            cron.write_anew(turn);
        }
        for id in cron.jobs.keys().cloned().collect::<Vec<_>>() {
            cron.resume_job(&id, turn);
        }
        cron.arm(turn.now);
        cron
    }

    fn resume_job(&mut self, id: &str, turn: &mut Turn<'_>) {
        let now = turn.now.wall_ms;
        let Some(job) = self.jobs.get(id).filter(|job| job.definition.enabled) else { return };
        let is_missed = job.state.next_run_at_ms.is_some_and(|next| next <= now);
        if is_missed && self.settings.skip_missed && !job.definition.schedule.is_once() {
            let next = job.next(now, &self.zone);
            self.set_next(id, next);
            self.write(id, turn);
        } else {
            self.set_next(id, self.settled_next(id, now));
        }
    }

    /// What became of an answer that waited: the run's row, which is written anew.
    fn settle_answer(&mut self, run: &RunId, fate: Fate, turn: &mut Turn<'_>) -> Option<Entry> {
        let settled = self.history.settle(&run.0, fate)?;
        self.append(&LineOut::Run(&settled), turn);
        Some(settled)
    }

    /// The run of a job that ended last.
    fn newest(&self, job: &str) -> Option<&Entry> {
        self.history.iter().rfind(|entry| entry.job_id == job)
    }

    /// A run has ended. Whether its job is done with.
    fn end(&mut self, id: &str, error: Option<&str>, began: i64, retry: bool, turn: &mut Turn<'_>) -> bool {
        let Some(job) = self.jobs.get_mut(id) else { return false };
        let old = job.state.next_run_at_ms;
        let is_done = job.end(error, began, turn.now.wall_ms, retry);
        if job.state.auto_disabled.is_some() && error.is_some() && !job.definition.enabled {
            let said = format!(
                "job \"{}\" was switched off after {} failures in a row; switch it on again with cron.update",
                job.definition.name, job.state.consecutive_errors
            );
            turn.log(LogLevel::Warn, "cron", None, said);
        }
        self.place(id, old);
        is_done
    }

    /// When a job is to run by what is known of it. A time far behind the schedule's own is that of a clock that was set back.
    fn settled_next(&self, id: &str, now: i64) -> Option<i64> {
        let job = self.jobs.get(id).filter(|job| job.definition.enabled)?;
        let stored = job.state.next_run_at_ms?;
        let own = job.next(now, &self.zone);
        let is_behind = |own: &i64| stored > own.saturating_add(job::LONGEST_BACKOFF_MS);
        Some(own.filter(|own| is_behind(own) && !job.definition.schedule.is_once()).unwrap_or(stored))
    }

    pub(crate) fn configure(&mut self, settings: CronSettings, now: Now) {
        self.settings = settings;
        self.arm(now);
    }

    /// The wall clock may have jumped, or the machine slept: timers don't tell.
    fn look_at_clock(&mut self, now: Now) {
        let passed = now.at.saturating_duration_since(self.looked.at).as_millis();
        let moved = now.wall_ms.saturating_sub(self.looked.wall_ms);
        let has_jumped = moved.abs_diff(i64::try_from(passed).unwrap_or(i64::MAX)) > 5_000;
        if has_jumped {
            for (_, id) in self.due.clone() {
                self.set_next(&id, self.settled_next(&id, now.wall_ms));
            }
        }
        // Small steps in a row count together.
        if has_jumped || passed >= LOOKED_AT_MS {
            self.looked = now;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.wake, self.outbox.deadline()].into_iter().flatten().min()
    }

    /// Sets the timer for the earliest job; looks at the clock first, since a jump may be taken back before the next look.
    fn arm(&mut self, now: Now) {
        self.look_at_clock(now);
        let first = self.due.first().filter(|_| self.settings.enabled && self.has_room());
        self.wake = first.and_then(|(due, _)| {
            let left = u64::try_from(due.saturating_sub(now.wall_ms)).unwrap_or(0);
            now.at.checked_add(Duration::from_millis(left.min(LOOK_MS)))
        });
    }

    fn has_room(&self) -> bool {
        self.under_way.values().filter(|run| !run.manual).count() < AT_A_TIME
    }

    fn set_next(&mut self, id: &str, next: Option<i64>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let old = std::mem::replace(&mut job.state.next_run_at_ms, next);
        self.place(id, old);
    }

    /// Puts a job into its place among those that wait; `old` is where it stood.
    fn place(&mut self, id: &str, old: Option<i64>) {
        if let Some(old) = old {
            self.due.remove(&(old, id.to_owned()));
        }
        let next = self.jobs.get(id).filter(|job| job.definition.enabled).and_then(|job| job.state.next_run_at_ms);
        if let Some(next) = next {
            self.due.insert((next, id.to_owned()));
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Job> {
        self.jobs.get(id)
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn status(&self) -> Value {
        let next = self.due.first().map(|(due, _)| *due).filter(|_| self.settings.enabled);
        json!({
            "enabled": self.settings.enabled,
            "triggersEnabled": false,
            "storage": "jsonl",
            "jobs": self.jobs.len(),
            "nextWakeAtMs": next,
        })
    }

    pub(crate) fn add(
        &mut self,
        mut definition: Definition,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> Result<&Job, CallError> {
        let now = turn.now.wall_ms;
        definition.schedule.check(&self.zone, now).map_err(CallError::invalid)?;
        let bytes = definition.bytes();
        self.check_room(bytes, 1)?;
        self.bytes += bytes;
        let id = turn.uuid();
        let job = Job { id: id.clone(), created_at_ms: now, updated_at_ms: now, definition, state: State::default() };
        let next = job.next(now, &self.zone);
        self.jobs.insert(id.clone(), job);
        self.set_next(&id, next);
        self.changed(&id, "added", subscribers, turn);
        self.jobs.get(&id).ok_or_else(|| not_found(&id))
    }

    fn check_room(&self, bytes: usize, jobs: usize) -> Result<(), CallError> {
        if self.jobs.len() + jobs > MOST_JOBS || self.bytes.saturating_add(bytes) > MOST_BYTES {
            return Err(CallError::unavailable(format!(
                "there are {} jobs with {} bytes already, and at most {MOST_JOBS} with {MOST_BYTES} are kept: remove one with \
                 cron.remove",
                self.jobs.len(),
                self.bytes
            )));
        }
        Ok(())
    }

    pub(crate) fn update(
        &mut self,
        id: &str,
        mut definition: Definition,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> Result<&Job, CallError> {
        let now = turn.now.wall_ms;
        let job = self.jobs.get(id).ok_or_else(|| not_found(id))?;
        let old = &job.definition;
        let reschedules = definition.schedule != old.schedule;
        let is_switched = definition.enabled != old.enabled;
        let before = old.bytes();
        let mut next = job.state.next_run_at_ms;
        if reschedules {
            definition.schedule.check(&self.zone, now).map_err(CallError::invalid)?;
        }
        let after = definition.bytes();
        self.check_room(after.saturating_sub(before), 0)?;
        self.bytes = self.bytes.saturating_sub(before) + after;
        if let Some(job) = self.jobs.get_mut(id) {
            job.definition = definition;
            job.updated_at_ms = now;
            if reschedules || is_switched {
                job.state.auto_disabled = None;
                job.state.consecutive_errors = 0;
                if let Some((_, cause)) = job.state.alert.as_mut().and_then(|alert| alert.incident.as_mut()) {
                    *cause = None;
                }
                next = job.next(now, &self.zone);
            }
        }
        self.set_next(id, next);
        self.changed(id, "updated", subscribers, turn);
        self.jobs.get(id).ok_or_else(|| not_found(id))
    }

    pub(crate) fn remove(
        &mut self,
        id: &str,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> Result<Job, CallError> {
        let job = self.jobs.remove(id).ok_or_else(|| not_found(id))?;
        self.place(id, job.state.next_run_at_ms);
        self.bytes = self.bytes.saturating_sub(job.definition.bytes());
        self.append(&LineOut::Removed(id), turn);
        tell(&job, json!({"action": "removed"}), subscribers, turn);
        self.arm(turn.now);
        Ok(job)
    }

    fn changed(&mut self, id: &str, action: &str, subscribers: &Subscribers, turn: &mut Turn<'_>) {
        self.write(id, turn);
        self.arm(turn.now);
        if let Some(job) = self.jobs.get(id) {
            tell(job, json!({"action": action, "nextRunAtMs": job.state.next_run_at_ms}), subscribers, turn);
        }
    }

    fn record(&mut self, entry: Entry, turn: &mut Turn<'_>) {
        // First, so that it is in the file also where that is written anew at this line.
        let line = file::line(&LineOut::Run(&entry));
        self.history.add(entry);
        self.append_line(line, turn);
    }

    fn write(&mut self, id: &str, turn: &mut Turn<'_>) {
        let Some(job) = self.jobs.get(id) else { return };
        let line = file::line(&LineOut::Job(job));
        self.append_line(line, turn);
    }

    fn append(&mut self, out: &LineOut<'_>, turn: &mut Turn<'_>) {
        self.append_line(file::line(out), turn);
    }

    fn append_line(&mut self, line: String, turn: &mut Turn<'_>) {
        let live = self.jobs.len() + self.history.len() + self.outbox.len();
        self.lines += 1;
        self.file_bytes += line.len() + 1;
        turn.write(FileChange::Append { file: file::path(), line });
        if self.lines > live.saturating_mul(2).saturating_add(256)
            || self.file_bytes > self.anew_bytes.saturating_mul(2).saturating_add(PAST_BYTES)
        {
            self.write_anew(turn);
        }
    }

    fn write_anew(&mut self, turn: &mut Turn<'_>) {
        let whole = self.as_file();
        self.lines = self.jobs.len() + self.history.len() + self.outbox.len();
        if let FileChange::Replace { text, .. } = &whole {
            (self.file_bytes, self.anew_bytes) = (text.len(), text.len());
        }
        turn.write(whole);
    }

    pub(crate) fn as_file(&self) -> FileChange {
        FileChange::Replace { file: file::path(), text: file::whole(self.jobs.values(), &self.history, &self.outbox) }
    }
}

/// Tells readers of a job (event `cron`).
fn tell(job: &Job, more: Value, subscribers: &Subscribers, turn: &mut Turn<'_>) {
    let to = subscribers.holding(crate::caller::Scope::Read);
    if !to.is_empty() {
        turn.tell(to, "cron", joined(json!({"jobId": job.id, "job": job.to_value()}), more));
    }
}

pub(crate) fn not_found(id: &str) -> CallError {
    let id = gatewarden_protocol::words::shown(id);
    CallError::invalid(format!("Automation not found: {id}. List automations and retry with a current job id."))
        .with_details(json!({"code": "CRON_JOB_NOT_FOUND", "jobId": id}))
}
