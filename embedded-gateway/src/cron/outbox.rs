//! What jobs tell by HTTP, until it is known what became of it.
//!
//! A message is in the file of the jobs before the run's end is noted there, as an answer for a chat is in the file of its account; that
//! it is being sent is there before it is. So it is sent at most once, also over a `kill -9`: again only where it certainly wasn't taken.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use gatewarden_protocol::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Cron;
use super::delivery::Fate;
use super::file::{self, LineOut};
use super::webhook::WebhookUrl;
use crate::config::WebhookReach;
use crate::effect::{AwaitedBy, Effect, LogLevel, RunId};
use crate::machine::GatewayMachine;
use crate::turn::Turn;

/// Messages that are being sent at a time; the others wait.
const AT_ONCE: usize = 8;
/// Messages that wait, and their bytes.
const MOST: usize = 256;
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Before a message is tried again that certainly wasn't taken, as with real gateways.
const PAUSES: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(20)];
const INTERRUPTED: &str = "the gateway ended while it was being sent; it isn't sent again, and is in the job's session";

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Post {
    /// The run that it is of, or a name of its own.
    run: String,
    url: WebhookUrl,
    /// JSON.
    body: String,
    /// It may have been sent: it isn't sent again after a crash.
    attempted: bool,
    #[serde(skip)]
    tries: usize,
    /// Not before; none in what was just read.
    #[serde(skip)]
    at: Option<Instant>,
    #[serde(skip)]
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Waits,
    /// That it is sent is being written, and then it is.
    Goes,
    Ended(Fate),
}

impl Post {
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.url.expose().len() + self.run.len()
    }

    /// Why the run failed that it tells of, where it did.
    pub(super) fn error(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body.get("error")?.as_str().map(str::to_owned)
    }
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PostOrder {
    pub run: RunId,
    pub url: WebhookUrl,
    pub body: String,
    pub token: Option<Secret>,
    pub reach: WebhookReach,
}

/// Why something wasn't taken. The texts are for people and hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PostFault {
    /// It wasn't sent, and may be later.
    Unreached(String),
    /// It isn't taken, or not sent there at all.
    Refused(String),
    /// Whether it was taken isn't known.
    Unanswered(String),
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    posts: BTreeMap<String, Post>,
    bytes: usize,
}

impl Outbox {
    /// A line of the file.
    pub(super) fn read(&mut self, post: Post) {
        self.forget(&post.run.clone());
        self.bytes += post.bytes();
        self.posts.insert(post.run.clone(), post);
    }

    pub(super) fn forget(&mut self, run: &str) -> bool {
        let post = self.posts.remove(run);
        self.bytes -= post.as_ref().map_or(0, Post::bytes);
        post.is_some()
    }

    /// What was being sent when the gateway ended isn't sent again.
    pub(super) fn after_a_crash(&mut self, now: Instant) {
        for post in self.posts.values_mut() {
            post.at = Some(now);
            if post.attempted {
                post.stage = Stage::Ended(Fate::Unknown(INTERRUPTED.to_owned()));
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Post> {
        self.posts.values()
    }

    pub(super) fn get(&self, run: &str) -> Option<&Post> {
        self.posts.get(run)
    }

    pub(super) fn len(&self) -> usize {
        self.posts.len()
    }

    fn free(&self) -> usize {
        AT_ONCE.saturating_sub(self.posts.values().filter(|post| post.stage == Stage::Goes).count())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.posts.values().filter(|post| post.stage == Stage::Waits);
        waiting.filter_map(|post| post.at).min().filter(|_| self.free() > 0)
    }
}

impl Cron {
    /// Has something sent. Err: why it isn't.
    pub(super) fn post(
        &mut self,
        run: &RunId,
        url: WebhookUrl,
        body: &Value,
        turn: &mut Turn<'_>,
    ) -> Result<(), String> {
        let post = Post {
            run: run.0.clone(),
            url,
            body: body.to_string(),
            attempted: false,
            tries: 0,
            at: Some(turn.now.at),
            stage: Stage::Waits,
        };
        if self.outbox.len() >= MOST || self.outbox.bytes.saturating_add(post.bytes()) > MOST_BYTES {
            return Err(format!(
                "{} webhooks wait already, as many as are kept: the log says why they do",
                self.outbox.len()
            ));
        }
        self.append(&LineOut::Post(&post), turn);
        self.outbox.read(post);
        Ok(())
    }

    /// Begins to send what is due.
    fn send_posts(&mut self, turn: &mut Turn<'_>) {
        let free = self.outbox.free();
        let is_due = |post: &&mut Post| post.stage == Stage::Waits && post.at.is_some_and(|at| at <= turn.now.at);
        let mut begun = Vec::new();
        for post in self.outbox.posts.values_mut().filter(is_due).take(free) {
            (post.attempted, post.stage) = (true, Stage::Goes);
            begun.push((RunId(post.run.clone()), file::line(&LineOut::Post(post))));
        }
        for (run, line) in begun {
            self.append_line(line, turn);
            turn.push(Effect::Confirm { file: file::path(), awaited_by: AwaitedBy::Post(run) });
        }
    }

    /// That a message is being sent is on disk, or isn't.
    fn post_confirmed(&mut self, run: &RunId, written: bool, turn: &mut Turn<'_>) {
        if !written {
            let said = format!("that it is sent couldn't be written: {} of the state directory", file::FILE);
            return self.post_heard(run, Err(PostFault::Unreached(said)), turn);
        }
        let Some(post) = self.outbox.get(&run.0) else { return };
        turn.push(Effect::Post(PostOrder {
            run: run.clone(),
            url: post.url.clone(),
            body: post.body.clone(),
            token: self.settings.webhook_token.clone(),
            reach: self.settings.webhook_reach.clone(),
        }));
    }

    /// What became of a message that was sent.
    pub(crate) fn post_heard(&mut self, run: &RunId, outcome: Result<(), PostFault>, turn: &mut Turn<'_>) {
        let Some(post) = self.outbox.posts.get_mut(&run.0).filter(|post| post.stage == Stage::Goes) else { return };
        let origin = post.url.origin();
        let fate = match outcome {
            Ok(()) => Fate::Delivered,
            Err(PostFault::Refused(said)) => Fate::Failed(said),
            Err(PostFault::Unanswered(said)) => Fate::Unknown(format!("{said}; it isn't sent again")),
            Err(PostFault::Unreached(said)) => match PAUSES.get(post.tries) {
                None => Fate::Failed(format!("given up after {} tries: {said}", post.tries + 1)),
                Some(pause) => {
                    if post.tries == 0 {
                        let said = format!("a webhook to {origin} is sent again: {said}");
                        turn.log(LogLevel::Warn, "cron", None, said);
                    }
                    post.tries += 1;
                    (post.attempted, post.stage) = (false, Stage::Waits);
                    post.at = turn.now.at.checked_add(*pause);
                    let line = file::line(&LineOut::Post(post));
                    return self.append_line(line, turn);
                }
            },
        };
        if let Fate::Failed(said) | Fate::Unknown(said) = &fate {
            turn.log(LogLevel::Warn, "cron", None, format!("a webhook to {origin} is given up: {said}"));
        }
        post.stage = Stage::Ended(fate);
    }
}

impl GatewayMachine {
    /// After each turn: what became of messages is noted, then they are forgotten; those that are due are sent.
    pub(crate) fn attend_webhooks(&mut self, turn: &mut Turn<'_>) {
        let ended = |post: &Post| match &post.stage {
            Stage::Ended(fate) => Some((RunId(post.run.clone()), fate.clone())),
            Stage::Waits | Stage::Goes => None,
        };
        let ended: Vec<(RunId, Fate)> = self.cron.outbox.iter().filter_map(ended).collect();
        for (run, fate) in ended {
            self.answer_settled(&run, fate, turn);
            self.cron.outbox.forget(&run.0);
            self.cron.append(&LineOut::Posted(&run.0), turn);
        }
        if !self.is_stopping() {
            self.cron.send_posts(turn);
        }
    }

    pub(crate) fn post_confirmed(&mut self, run: &RunId, written: bool, turn: &mut Turn<'_>) {
        let written = written && self.files.broken().all(|broken| broken != Path::new(file::FILE));
        self.cron.post_confirmed(run, written, turn);
    }
}
