//! The file of the jobs: `cron.jsonl`, the only place where they are kept.
//!
//! Each line is a job as it then was (the last one counts), the id of one that was removed, a run that has ended, or what is to be told
//! of one by HTTP and that this is done with. A line is added for each change, and the file is written anew when most of its lines or
//! bytes are past. A crash can therefore cost the change that was being written, and nothing before it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::history::{Entry, History};
use super::job::Job;
use super::outbox::{Outbox, Post};

pub(crate) const FILE: &str = "cron.jsonl";

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LineOut<'a> {
    Job(&'a Job),
    Removed(&'a str),
    Run(&'a Entry),
    Post(&'a Post),
    Posted(&'a str),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum LineIn {
    Job(Box<Job>),
    Removed(String),
    Run(Box<Entry>),
    Post(Box<Post>),
    Posted(String),
}

pub(super) fn path() -> PathBuf {
    PathBuf::from(FILE)
}

pub(super) fn line(out: &LineOut<'_>) -> String {
    // Plain data: there is nothing in it that could fail.
    serde_json::to_string(out).unwrap_or_default()
}

/// What a file tells.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) history: History,
    pub(super) outbox: Outbox,
    /// Of the file.
    pub(super) lines: usize,
    pub(super) bytes: usize,
    /// Lines that make no sense, but for a last one without end, which is what a crash leaves.
    pub(crate) damaged: usize,
    /// It has to be written anew before anything is added to it.
    pub(super) torn: bool,
}

impl Stored {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut stored =
            Self { torn: !text.is_empty() && !text.ends_with('\n'), bytes: bytes.len(), ..Self::default() };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            stored.lines += 1;
            match serde_json::from_str(line) {
                Ok(LineIn::Job(job)) => drop(stored.jobs.insert(job.id.clone(), *job)),
                Ok(LineIn::Removed(id)) => drop(stored.jobs.remove(&id)),
                Ok(LineIn::Run(entry)) => stored.history.read(*entry),
                Ok(LineIn::Post(post)) => stored.outbox.read(*post),
                Ok(LineIn::Posted(run)) => stored.outbox.forget(&run),
                Err(_) if stored.torn && lines.peek().is_none() => {}
                Err(_) => stored.damaged += 1,
            }
        }
        stored
    }
}

pub(super) fn whole<'a>(jobs: impl Iterator<Item = &'a Job>, history: &History, outbox: &Outbox) -> String {
    let jobs = jobs.map(|job| line(&LineOut::Job(job)));
    let runs = history.iter().map(|entry| line(&LineOut::Run(entry)));
    let posts = outbox.iter().map(|post| line(&LineOut::Post(post)));
    jobs.chain(runs).chain(posts).fold(String::new(), |mut text, line| {
        text.push_str(&line);
        text.push('\n');
        text
    })
}
