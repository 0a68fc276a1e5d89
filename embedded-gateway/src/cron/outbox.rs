//! What jobs tell by HTTP, until it is known what became of it.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::delivery::Fate;
use super::webhook::WebhookUrl;
use crate::effect::RunId;

/// Messages that are being sent at a time, and to one host; the others wait.
const AT_ONCE: usize = 8;
const AT_ONCE_TO_A_HOST: usize = AT_ONCE / 2;
const INTERRUPTED: &str = "the gateway ended while it was being sent; it isn't sent again";

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Post {
    /// The run that it is of, or a name of its own.
    pub(super) run: String,
    #[serde(default)]
    pub(super) job: String,
    pub(super) url: WebhookUrl,
    /// JSON.
    pub(super) body: String,
    /// It may have been sent: it isn't sent again after a crash.
    pub(super) attempted: bool,
    #[serde(skip)]
    pub(super) tries: usize,
    /// Not before; none in what was just read.
    #[serde(skip)]
    pub(super) at: Option<Instant>,
    #[serde(skip)]
    pub(super) stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Stage {
    #[default]
    Waits,
    /// That it is sent is being written, and then it is.
    Goes,
    Ended(Fate),
}

impl Post {
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.url.expose().len() + self.run.len()
    }

    /// Why the run failed that it tells of, where it did.
    pub(super) fn error(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body.get("error")?.as_str().map(str::to_owned)
    }
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The oldest first.
    posts: Vec<Post>,
}

impl Outbox {
    /// A line of the file.
    pub(super) fn read(&mut self, post: Post) {
        match self.get_mut(&post.run) {
            Some(former) => *former = post,
            None => self.posts.push(post),
        }
    }

    pub(super) fn forget(&mut self, run: &str) {
        self.posts.retain(|post| post.run != run);
    }

    /// What was being sent when the gateway ended isn't sent again.
    pub(super) fn after_a_crash(&mut self, now: Instant) {
        for post in &mut self.posts {
            post.at = Some(now);
            if post.attempted {
                post.stage = Stage::Ended(Fate::Unknown(INTERRUPTED.to_owned()));
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Post> {
        self.posts.iter()
    }

    pub(super) fn get(&self, run: &str) -> Option<&Post> {
        self.posts.iter().find(|post| post.run == run)
    }

    pub(super) fn get_mut(&mut self, run: &str) -> Option<&mut Post> {
        self.posts.iter_mut().find(|post| post.run == run)
    }

    pub(super) fn len(&self) -> usize {
        self.posts.len()
    }

    /// What has come to its end, and isn't forgotten yet.
    pub(super) fn ended(&self) -> Vec<(RunId, Fate)> {
        let ended = |post: &Post| match &post.stage {
            Stage::Ended(fate) => Some((RunId(post.run.clone()), fate.clone())),
            Stage::Waits | Stage::Goes => None,
        };
        self.posts.iter().filter_map(ended).collect()
    }

    /// What waits for its time alone.
    fn next(&self) -> impl Iterator<Item = &Post> {
        let going: Vec<&Post> = self.posts.iter().filter(|post| post.stage == Stage::Goes).collect();
        let has_room = move |post: &&Post| {
            let at_host = going.iter().filter(|other| other.url.has_host_of(&post.url)).count();
            going.len() < AT_ONCE && at_host < AT_ONCE_TO_A_HOST
        };
        self.posts.iter().filter(|post| post.stage == Stage::Waits).filter(has_room)
    }

    /// Takes the oldest one that is due to be sent.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<&Post> {
        let run = self.next().find(|post| post.at.is_some_and(|at| at <= now))?.run.clone();
        let post = self.get_mut(&run)?;
        (post.attempted, post.stage) = (true, Stage::Goes);
        Some(post)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next().filter_map(|post| post.at).min()
    }
}
