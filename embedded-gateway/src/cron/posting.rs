//! Sends what is in the outbox.
//!
//! A message is in the file of the jobs before it is noted there of its run, or of its job, as an answer for a chat is in the file of its
//! account; that it is being sent is there before it is. So it is sent at most once, also over a `kill -9`: again only where it certainly
//! wasn't taken.

use std::time::Duration;

use serde_json::Value;

use super::Cron;
use super::delivery::Fate;
use super::file::{self, LineOut};
use super::outbox::{Post, Stage};
use super::webhook::WebhookUrl;
use crate::effect::{AwaitedBy, Effect, LogLevel, PostOrder, RunId};
use crate::turn::Turn;

/// Messages that wait: of one job for a host, of all for that host, and all. On average none may be longer than this, in bytes.
const OF_A_JOB: usize = 32;
const OF_A_HOST: usize = 128;
const MOST: usize = 256;
const AVERAGE: usize = 32 * 1024;
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
    /// Has something of a job sent. Err: why it isn't.
    pub(super) fn post(
        &mut self,
        job: &str,
        run: &RunId,
        url: WebhookUrl,
        body: &Value,
        turn: &mut Turn<'_>,
    ) -> Result<(), String> {
        let post = Post {
            run: run.0.clone(),
            job: job.to_owned(),
            url,
            body: body.to_string(),
            attempted: false,
            tries: 0,
            at: Some(turn.now.at),
            stage: Stage::Waits,
        };
        let at_host: Vec<&Post> = self.outbox.iter().filter(|other| other.url.has_host_of(&post.url)).collect();
        let of_job = at_host.iter().copied().filter(|other| other.job == post.job).collect();
        let all = self.outbox.iter().collect();
        let shares = [(of_job, OF_A_JOB, " of this job"), (at_host, OF_A_HOST, " for this host"), (all, MOST, "")];
        for (waiting, most, whose) in shares {
            let bytes: usize = waiting.iter().copied().chain([&post]).map(Post::bytes).sum();
            if waiting.len() >= most || bytes > most * AVERAGE {
                let count = waiting.len();
                return Err(format!("{count} webhooks{whose} wait already, as many as are kept: the log says why"));
            }
        }
        let line = file::line(&LineOut::Post(&post));
        self.outbox.read(post);
        self.append_line(line, turn);
        Ok(())
    }

    /// Begins to send what is due.
    pub(super) fn send_posts(&mut self, turn: &mut Turn<'_>) {
        while let Some(post) = self.outbox.take_due(turn.now.at) {
            let (run, line) = (RunId(post.run.clone()), file::line(&LineOut::Post(post)));
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

    /// It was about to go, and is left to the next start.
    pub(super) fn post_kept(&mut self, run: &RunId, turn: &mut Turn<'_>) {
        let Some(post) = self.outbox.get_mut(&run.0).filter(|post| post.stage == Stage::Goes) else { return };
        (post.attempted, post.stage) = (false, Stage::Waits);
        let line = file::line(&LineOut::Post(post));
        self.append_line(line, turn);
    }

    /// What became of a message that was sent.
    pub(crate) fn post_heard(&mut self, run: &RunId, outcome: Result<(), PostFault>, turn: &mut Turn<'_>) {
        let Some(post) = self.outbox.get_mut(&run.0).filter(|post| post.stage == Stage::Goes) else { return };
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
