//! Where ends of runs and failures are told: to chats, to webhooks; and what became of it.
//!
//! From a job's first failure until it works again is one incident. Of an incident each cause is told once, and after an alert nothing is
//! for a while; its end is told to who heard of it, as real gateways do. Answers and alerts are kept by the account of the channel, or
//! by the outbox, before it is noted of the run and of the job that they are: they are sent at most once.

use std::path::Path;

use gatewarden_protocol::wall_time;
use serde_json::json;

use super::alerts::{Alert, AlertRules, FailureAlert};
use super::delivery::{Fate, NO_ALERT_CHAT, NO_CHAT, RUN_FAILED};
use super::file::{self, LineOut};
use super::history::Entry;
use super::job::{Definition, Job};
use super::place::{Place, Target};
use super::tell;
use super::webhook::WebhookUrl;
use crate::effect::{LogLevel, RunId};
use crate::machine::GatewayMachine;
use crate::payload::digest;
use crate::turn::Turn;

/// Failures in a row before somebody is told, and how long nothing is told after that, where nothing else is said.
const AFTER: u32 = 2;
const COOLDOWN_MS: u64 = 3_600_000;
/// Of an error, in characters.
const SHOWN: usize = 200;

/// What counts for a job.
struct Plan {
    after: u32,
    cooldown_ms: u64,
    place: Place,
    /// It is another one than that of the answers.
    is_alternate: bool,
}

/// The job's own rules go before its `delivery.failureDestination`, this before the configuration, and that before the chat that its
/// answers go to. None: nobody is told.
fn plan(job: &Definition, config: Option<&AlertRules>) -> Option<Plan> {
    let own = match job.failure_alert() {
        Some(FailureAlert::Off(_)) => return None,
        Some(FailureAlert::On(rules)) => Some(rules),
        None => None,
    };
    let answers = job.place();
    let other = |place: &Place| answers.as_ref() != Some(place);
    let of = |rules: Option<&AlertRules>| rules.and_then(|rules| rules.place("").ok().flatten());
    let elsewhere = of(own).or_else(|| job.failure_place().filter(other)).or_else(|| of(config).filter(other));
    let is_alternate = elsewhere.as_ref().is_some_and(other);
    // A webhook is told of failures anyway.
    let chat = answers.filter(|place| !matches!(place, Place::Webhook(_)));
    let is_wanted = own.is_some() || config.is_some();
    let place = elsewhere.or(chat).or_else(|| is_wanted.then_some(Place::Last))?;
    let pick = |of: fn(&AlertRules) -> Option<u64>| own.and_then(of).or_else(|| config.and_then(of));
    let after = pick(|rules| rules.after.map(u64::from)).and_then(|after| u32::try_from(after).ok());
    let cooldown_ms = pick(|rules| rules.cooldown_ms).unwrap_or(COOLDOWN_MS);
    let is_quiet = own.is_none() && job.is_best_effort();
    (!is_quiet).then_some(Plan { after: after.unwrap_or(AFTER), cooldown_ms, place, is_alternate })
}

fn shown(why: &str) -> String {
    why.trim().chars().take(SHOWN).collect()
}

/// What is to be told of a run.
struct News {
    headline: String,
    /// Why; for a webhook alone: in chats there may be anybody, and in errors anything.
    why: Option<String>,
    /// What tells it from other causes.
    cause: String,
    /// The job is switched off: no later failure would tell that.
    is_over: bool,
}

/// None where nothing is to be told.
fn news(job: &Job, entry: &Entry, plan: &Plan) -> Option<News> {
    let (definition, state) = (&job.definition, &job.state);
    let name = &definition.name;
    match (&entry.error, &entry.delivery) {
        (Some(error), _) => {
            let is_over = !definition.enabled && (definition.schedule.is_once() || state.auto_disabled.is_some());
            if !is_over && state.consecutive_errors < plan.after {
                return None;
            }
            let times = match state.consecutive_errors {
                0 | 1 => String::new(),
                times => format!(" {times} times"),
            };
            let over = if is_over { ", and is switched off" } else { "" };
            let headline = format!("Automation \"{name}\" failed{times}{over}");
            Some(News { headline, why: Some(shown(error)), cause: format!("run {is_over} {error}"), is_over })
        }
        (None, Some(Fate::Failed(why))) if plan.is_alternate && !entry.best_effort => {
            let headline = format!("Automation \"{name}\" delivery failed");
            Some(News { headline, why: Some(shown(why)), cause: format!("delivery {why}"), is_over: false })
        }
        _ => None,
    }
}

impl News {
    fn recovery(job: &Definition) -> Self {
        let headline = format!("Automation \"{}\" recovered\nThe latest run completed successfully.", job.name);
        Self { headline, why: None, cause: String::new(), is_over: false }
    }

    fn text(&self, is_for_chat: bool, run_at_ms: i64) -> String {
        match (&self.why, is_for_chat) {
            (Some(why), false) => format!("{}\nLast error: {why}", self.headline),
            (None, false) => self.headline.clone(),
            (why, true) => {
                let details = if why.is_some() { "\nCheck automation history for details." } else { "" };
                format!("{}{details}\nRun started: {}", self.headline, wall_time::of_millis(run_at_ms))
            }
        }
    }
}

fn not_sent(what: &str, job: &str, why: String, turn: &mut Turn<'_>) -> Fate {
    turn.log(LogLevel::Warn, "cron", None, format!("{what} of job \"{job}\" wasn't sent: {why}"));
    Fate::Failed(why)
}

impl GatewayMachine {
    /// After each turn: what became of messages is noted, then they are forgotten; those that are due are sent.
    pub(crate) fn attend_webhooks(&mut self, turn: &mut Turn<'_>) {
        for (run, fate) in self.cron.outbox.ended() {
            self.answer_settled(&run, fate, turn);
            self.cron.outbox.forget(&run.0);
            self.cron.append(&LineOut::Posted(&run.0), turn);
        }
        if !self.is_stopping() {
            self.cron.send_posts(turn);
        }
    }

    pub(crate) fn post_confirmed(&mut self, run: &RunId, written: bool, turn: &mut Turn<'_>) {
        if self.is_stopping() {
            return self.cron.post_kept(run, turn);
        }
        let written = written && self.files.broken().all(|broken| broken != Path::new(file::FILE));
        self.cron.post_confirmed(run, written, turn);
    }

    /// It waits to be sent: a former gateway came that far.
    fn keeps(&self, name: &RunId) -> bool {
        self.cron.outbox.get(&name.0).is_some() || self.channels.answers_of_jobs().contains(name)
    }

    /// Gives an answer to the channel that it is for, where it is for one.
    pub(super) fn hand_over(
        &mut self,
        job: &str,
        run: &RunId,
        answer: Option<&str>,
        failed: bool,
        turn: &mut Turn<'_>,
    ) -> Option<Fate> {
        if self.keeps(run) {
            return Some(Fate::Waiting);
        }
        let definition = &self.cron.get(job)?.definition;
        definition.delivery()?;
        let target = match definition.place() {
            None => None,
            Some(Place::Webhook(_)) => return None,
            Some(Place::Chat(target)) => Some(target),
            Some(Place::Last) => self.last_chat(definition),
        };
        let Some(target) = target else { return Some(Fate::Suppressed(NO_CHAT.to_owned())) };
        if failed {
            return Some(Fate::Failed(RUN_FAILED.to_owned()));
        }
        let text = match Fate::of_answer(answer) {
            Ok(text) => text,
            Err(fate) => return Some(fate),
        };
        let name = definition.name.clone();
        Some(match self.channels.announce(&target, text, run, turn) {
            Ok(()) => Fate::Waiting,
            Err(why) => not_sent("the answer", &name, why, turn),
        })
    }

    /// Has a webhook told how a run went: also of one that failed, then without what its agent said.
    pub(super) fn post_end(
        &mut self,
        url: WebhookUrl,
        entry: &Entry,
        job: Option<&Job>,
        answer: Option<&str>,
        turn: &mut Turn<'_>,
    ) -> Fate {
        if let (None, Err(fate)) = (&entry.error, Fate::of_answer(answer)) {
            return fate;
        }
        let body = entry.told_outside(job.map(Job::to_value));
        match self.cron.post(&entry.job_id, &RunId(entry.run_id.clone()), url, &body, turn) {
            Ok(()) => Fate::Waiting,
            Err(why) => not_sent("the webhook", &entry.job_name, why, turn),
        }
    }

    /// The chat from which the job's session, or else its agent, was written to last.
    fn last_chat(&self, definition: &Definition) -> Option<Target> {
        let session = definition.session("", self.agents.default_id()).ok()?;
        let is_named = definition.target().starts_with("session:");
        self.channels.last_chat(&session.agent(), is_named.then_some(session.as_str()))
    }

    /// Where a place of a job is now; none where nobody has written yet.
    fn located(&self, place: &Place, definition: &Definition) -> Option<Place> {
        match place {
            Place::Last => self.last_chat(definition).map(Place::Chat),
            Place::Chat(_) | Place::Webhook(_) => Some(place.clone()),
        }
    }

    /// The same, where an answer could be sent there now. Err: why none could be.
    pub(crate) fn reachable(&self, place: &Place, definition: &Definition) -> Result<Place, String> {
        let found = self.located(place, definition).ok_or_else(|| NO_CHAT.to_owned())?;
        let refusal = match &found {
            Place::Chat(target) => self.channels.writable(target).err(),
            Place::Webhook(url) => url.refusal(&self.config.cron.webhook_reach),
            Place::Last => None,
        };
        refusal.map_or(Ok(found), Err)
    }

    /// A channel or a webhook is done with the answer of a run.
    pub(crate) fn answer_settled(&mut self, run: &RunId, fate: Fate, turn: &mut Turn<'_>) {
        let Some(entry) = self.cron.settle_answer(run, fate.clone(), turn) else {
            return self.alert_settled(run, fate, turn);
        };
        self.run_noted(&entry, false, turn);
    }

    /// A run has ended, or it is known what became of its answer. The job is to be written afterwards.
    pub(super) fn note_incident(&mut self, entry: &Entry, turn: &mut Turn<'_>) {
        let Some(job) = self.cron.jobs.get_mut(&entry.job_id) else { return };
        let plan = plan(&job.definition, self.config.cron.failure_alert.as_ref());
        let (now, news) = (turn.now.wall_ms, plan.as_ref().and_then(|plan| news(job, entry, plan)));
        if entry.completion() == "succeeded" {
            // Who heard of the failure hears that it is over.
            let was_told = job.state.alert.as_mut().and_then(|alert| alert.incident.take()).is_some();
            if let Some(plan) = plan.filter(|_| was_told) {
                let news = News::recovery(&job.definition);
                self.tell_incident(entry, &plan, &news, None, turn);
            }
            return;
        }
        let (Some(plan), Some(news)) = (plan, news) else { return };
        let cause = digest(format!("{} {:?}", news.cause, plan.place));
        let last = job.state.alert.as_ref().and_then(|alert| alert.incident.as_ref());
        let is_told = last.is_some_and(|(at_ms, told)| {
            // A time that is ahead is that of a clock that was set back.
            let ago = u64::try_from(now.saturating_sub(*at_ms)).ok();
            told.as_ref() == Some(&cause) || (!news.is_over && ago.is_some_and(|ago| ago < plan.cooldown_ms))
        });
        if !is_told {
            self.tell_incident(entry, &plan, &news, Some((now, cause)), turn);
        }
    }

    fn tell_incident(
        &mut self,
        entry: &Entry,
        plan: &Plan,
        news: &News,
        incident: Option<(i64, String)>,
        turn: &mut Turn<'_>,
    ) {
        let Some(job) = self.cron.get(&entry.job_id).cloned() else { return };
        // Of a run there is one at most, which it is known by after a crash.
        let name = RunId(format!("alert:{}", entry.run_id));
        let sent = match self.located(&plan.place, &job.definition) {
            _ if self.keeps(&name) => Ok(()),
            Some(Place::Chat(target)) => {
                self.channels.announce(&target, &news.text(true, entry.run_at_ms), &name, turn)
            }
            Some(Place::Webhook(url)) => {
                let body = json!({
                    "jobId": job.id,
                    "jobName": job.definition.name,
                    "message": news.text(false, entry.run_at_ms),
                    "runAtMs": entry.run_at_ms,
                });
                self.cron.post(&job.id, &name, url, &body, turn)
            }
            Some(Place::Last) | None => Err(NO_ALERT_CHAT.to_owned()),
        };
        let fate =
            sent.map_or_else(|why| not_sent("the failure alert", &job.definition.name, why, turn), |()| Fate::Waiting);
        if let Some(job) = self.cron.jobs.get_mut(&entry.job_id) {
            job.state.alert = Some(Alert::new(incident, name.0, fate));
        }
    }

    /// A channel or a webhook is done with an alert.
    pub(super) fn alert_settled(&mut self, name: &RunId, fate: Fate, turn: &mut Turn<'_>) {
        let is_it = |job: &&mut Job| job.state.alert.as_ref().is_some_and(|alert| alert.name == name.0);
        let Some(job) = self.cron.jobs.values_mut().find(is_it) else { return };
        if let Some(alert) = &mut job.state.alert {
            alert.settle(fate);
        }
        let job = job.clone();
        self.cron.write(&job.id, turn);
        tell(&job, json!({"action": "updated"}), &self.subscribers, turn);
    }
}
