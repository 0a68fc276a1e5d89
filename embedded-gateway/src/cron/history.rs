//! How runs of jobs went: the newest ones, within bounds of each job and of all together.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::delivery::Fate;
use super::job::Status;
use crate::payload::{joined, joined_if};
use crate::sessions::Usage;

const OF_A_JOB: usize = 200;
const OF_ALL: usize = 10_000;
const BYTES: usize = 16 * 1024 * 1024;

/// One run that has ended. Times are wall ms.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// Of its end.
    pub(crate) ts: i64,
    pub(crate) job_id: String,
    pub(crate) job_name: String,
    pub(crate) run_id: String,
    pub(crate) run_at_ms: i64,
    pub(crate) duration_ms: i64,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The answer, cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
    /// What became of the answer, where somebody expects it in a chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delivery: Option<Fate>,
    /// The run counts as completed whatever becomes of its answer.
    #[serde(default)]
    pub(crate) best_effort: bool,
    /// The job is done with, and removed once the answer is delivered.
    #[serde(default)]
    pub(crate) ends_job: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_run_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
}

impl Entry {
    pub(crate) fn status(&self) -> Status {
        if self.error.is_some() { Status::Error } else { Status::Ok }
    }

    pub(crate) fn delivery_status(&self) -> &'static str {
        self.delivery.as_ref().map_or("not-requested", Fate::status)
    }

    pub(crate) fn waits(&self) -> bool {
        self.delivery == Some(Fate::Waiting)
    }

    /// Whether the run worked, and so did the delivery of its answer, where that has to.
    pub(crate) fn completion(&self) -> &'static str {
        match &self.delivery {
            _ if self.error.is_some() => "failed",
            Some(fate) => fate.completion(self.best_effort),
            None => "succeeded",
        }
    }

    /// In memory; about as much as its JSON.
    pub(crate) fn weight(&self) -> usize {
        let texts = [&self.error, &self.summary, &self.session_id, &self.session_key, &self.model];
        let fate = self.delivery.as_ref().map_or(0, |fate| fate.words().len());
        let more = fate + texts.into_iter().flatten().map(String::len).sum::<usize>();
        size_of::<Self>() + self.job_id.len() + self.job_name.len() + self.run_id.len() + more
    }

    fn fields(&self) -> Value {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = shown.as_object_mut() {
            for own in ["delivery", "bestEffort", "endsJob", "usage"] {
                fields.remove(own);
            }
            if let Some(usage) = &self.usage {
                let sum = usage.input.saturating_add(usage.output);
                let usage = json!({"input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": sum});
                fields.insert("usage".to_owned(), usage);
            }
        }
        shown
    }

    /// As webhooks are told of it, with the job but for the places where its runs are told: the address of another webhook is as good
    /// as a password. What an agent said before it failed isn't told.
    pub(crate) fn told_outside(&self, mut job: Option<Value>) -> Value {
        if let Some(Value::Object(fields)) = &mut job {
            fields.retain(|name, _| name != "delivery" && name != "failureAlert");
        }
        let more = json!({
            "action": "finished",
            "status": self.status().as_str(),
            "delivered": true,
            "deliveryStatus": "delivered",
            "job": job,
        });
        let mut told = joined(self.fields(), more);
        if let Some(fields) = told.as_object_mut() {
            fields.retain(|name, value| !value.is_null() && name != "ts" && name != "jobName");
            if self.error.is_some() {
                fields.remove("summary");
            }
        }
        told
    }

    /// As real gateways show it. A run without a status isn't over for their clients: they ask again until its answer is delivered.
    pub(crate) fn to_value(&self) -> Value {
        let shown = joined(
            self.fields(),
            json!({"action": "finished", "completionStatus": self.completion(), "deliveryStatus": self.delivery_status()}),
        );
        let shown = joined_if(shown, !self.waits(), || json!({"status": self.status().as_str()}));
        match &self.delivery {
            Some(fate) => joined(shown, fate.to_value()),
            None => shown,
        }
    }
}

/// Oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    of_job: HashMap<String, usize>,
    bytes: usize,
    /// Rows whose answers wait.
    waiting: usize,
}

impl History {
    pub(crate) fn add(&mut self, entry: Entry) {
        let count = self.of_job.entry(entry.job_id.clone()).or_default();
        *count += 1;
        if *count > OF_A_JOB
            && let Some(oldest) = self.entries.iter().position(|other| other.job_id == entry.job_id)
        {
            self.remove(oldest);
        }
        self.bytes += entry.weight();
        self.waiting += usize::from(entry.waits());
        self.entries.push_back(entry);
        while self.entries.len() > OF_ALL || (self.bytes > BYTES && self.entries.len() > 1) {
            self.remove(0);
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(entry) = self.entries.remove(at) else { return };
        self.bytes = self.bytes.saturating_sub(entry.weight());
        self.waiting -= usize::from(entry.waits());
        if let Some(count) = self.of_job.get_mut(&entry.job_id) {
            *count -= 1;
            if *count == 0 {
                self.of_job.remove(&entry.job_id);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What became of the answer of a run whose answer waits. The run's row as it is now; none where none waits.
    pub(crate) fn settle(&mut self, run: &str, fate: Fate) -> Option<Entry> {
        // Most rows of the file were never waited for: they aren't searched for.
        if self.waiting == 0 {
            return None;
        }
        let entry = self.entries.iter_mut().rev().find(|entry| entry.waits() && entry.run_id == run)?;
        let before = entry.weight();
        entry.delivery = Some(fate);
        let settled = entry.clone();
        self.waiting -= usize::from(!settled.waits());
        self.bytes = self.bytes.saturating_sub(before) + settled.weight();
        Some(settled)
    }

    /// A row of the file: it takes the place of the one that waited for its answer to be delivered.
    pub(crate) fn read(&mut self, entry: Entry) {
        let fate = entry.delivery.clone().filter(|fate| *fate != Fate::Waiting);
        if fate.and_then(|fate| self.settle(&entry.run_id, fate)).is_none() {
            self.add(entry);
        }
    }

    pub(crate) fn has(&self, job: &str) -> bool {
        self.of_job.contains_key(job)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(job: &str, ts: i64, summary: usize) -> Entry {
        Entry { ts, job_id: job.into(), summary: Some("x".repeat(summary)), ..Entry::default() }
    }

    #[test]
    fn a_job_keeps_its_newest_runs_and_leaves_those_of_others() {
        let mut history = History::default();
        history.add(entry("rare", 0, 1));
        for ts in 1..1_000 {
            history.add(entry("often", ts, 1));
        }
        assert_eq!(history.len(), OF_A_JOB + 1);
        assert!(history.has("rare"));
        assert_eq!(history.iter().next_back().map(|entry| entry.ts), Some(999));
    }

    #[test]
    fn all_together_are_bounded_in_number_and_bytes() {
        let mut history = History::default();
        for ts in 0..30_000 {
            history.add(entry(&format!("job-{}", ts % 1_000), ts, 1_000));
        }
        assert!(history.len() <= OF_ALL && history.bytes <= BYTES);
        let kept: usize = history.of_job.values().sum();
        assert_eq!((kept, history.bytes), (history.len(), history.iter().map(Entry::weight).sum()));
    }
}
