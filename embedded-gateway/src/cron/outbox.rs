//! What jobs tell by HTTP, until it is known what became of it.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::delivery::Fate;
use super::webhook::WebhookUrl;
use crate::effect::RunId;

/// Messages that are being sent at a time; the others wait.
const AT_ONCE: usize = 8;
const INTERRUPTED: &str = "the gateway ended while it was being sent; it isn't sent again";

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Post {
    /// The run that it is of, or a name of its own.
    pub(super) run: String,
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
    pub(super) fn run(&self) -> &str {
        &self.run
    }

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
    pub(super) posts: BTreeMap<String, Post>,
    pub(super) bytes: usize,
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

    /// What has come to its end, and isn't forgotten yet.
    pub(super) fn ended(&self) -> Vec<(RunId, Fate)> {
        let ended = |post: &Post| match &post.stage {
            Stage::Ended(fate) => Some((RunId(post.run.clone()), fate.clone())),
            Stage::Waits | Stage::Goes => None,
        };
        self.posts.values().filter_map(ended).collect()
    }

    pub(super) fn free(&self) -> usize {
        AT_ONCE.saturating_sub(self.posts.values().filter(|post| post.stage == Stage::Goes).count())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.posts.values().filter(|post| post.stage == Stage::Waits);
        waiting.filter_map(|post| post.at).min().filter(|_| self.free() > 0)
    }
}
