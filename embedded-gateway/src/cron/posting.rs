//! Sends what is in the outbox.
//!
//! A message is in the file of the jobs before the run's end is noted there, as an answer for a chat is in the file of its account; that
//! it is being sent is there before it is. So it is sent at most once, also over a `kill -9`: again only where it certainly wasn't taken.

use std::time::Duration;

use serde_json::Value;

use super::Cron;
use super::delivery::Fate;
use super::file::{self, LineOut};
use super::outbox::{Post, Stage};
use super::webhook::WebhookUrl;
use crate::effect::{AwaitedBy, Effect, LogLevel, PostOrder, RunId};
use crate::turn::Turn;

/// Messages that wait, and their bytes.
const MOST: usize = 256;
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Before a message is tried again that certainly wasn't taken, as with real gateways.
const PAUSES: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(20)];

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
        let line = file::line(&LineOut::Post(&post));
        self.outbox.read(post);
        self.append_line(line, turn);
        Ok(())
    }

    /// Begins to send what is due.
    pub(super) fn send_posts(&mut self, turn: &mut Turn<'_>) {
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
    pub(super) fn post_confirmed(&mut self, run: &RunId, written: bool, turn: &mut Turn<'_>) {
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
