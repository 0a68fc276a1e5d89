//! Holds answers, records and the gateways' own truth against each other.

use std::collections::BTreeMap;

use serde_json::Value;

use super::FINAL;
use super::campaign::{Ended, Front, Job};
use crate::support::scripted_gateway::{Ended as RunEnded, Form, Memory, Truth};

/// What there was of each kind, so that a test can tell whether it meant anything.
#[derive(Debug, Default)]
pub(super) struct Counts {
    states: BTreeMap<String, usize>,
    answers: BTreeMap<u16, usize>,
    pub(super) deaths: usize,
}

impl Counts {
    pub(super) fn ended(&self, state: &str) -> usize {
        self.states.get(state).copied().unwrap_or(0)
    }
}

/// What the gateways really did for a job.
struct Done<'a> {
    times: usize,
    there: Option<(&'a Front, Truth)>,
}

pub(super) fn judge(ended: &Ended) -> Counts {
    let mut counts = Counts { deaths: ended.deaths, ..Counts::default() };
    for front in &ended.gateways {
        let doubled: Vec<_> = front.executed().into_iter().filter(|(_, times)| *times > 1).collect();
        assert!(doubled.is_empty(), "run twice under the same id: {doubled:?}");
    }
    let done: Vec<_> = ended.gateways.iter().map(|front| (front, front.jobs())).collect();
    for job in &ended.jobs {
        let name = &job.fate.job;
        let what = Done {
            times: done.iter().filter_map(|(_, jobs)| jobs.get(name)).map(|(times, _)| times).sum(),
            there: done.iter().find_map(|(front, jobs)| jobs.get(name).map(|(_, truth)| (*front, truth.clone()))),
        };
        let records = ended.records.get(name).map(Vec::as_slice).unwrap_or_default();
        let [record] = records else { panic!("not one record: {job}: {records:?}") };
        let story = || {
            format!(
                "{job}\n{record}\nbegun {} times: {:?}",
                what.times,
                what.there.as_ref().map(|(front, truth)| (front.id, truth))
            )
        };
        assert!(what.times <= 1, "run twice: {}", story());
        if let Err(complaint) = agrees(job, record, &what) {
            panic!("{complaint}: {}\n{}", story(), log_of(ended, record));
        }
        *counts.states.entry(text(record, "status").to_owned()).or_default() += 1;
        *counts.answers.entry(job.answer.as_ref().map_or(0, |answer| answer.status)).or_default() += 1;
    }
    println!("{counts:?}");
    counts
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// What the daemon said of this spawn.
fn log_of(ended: &Ended, record: &Value) -> String {
    let log = ended.daemon.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(text(record, "spawnId"))).collect();
    lines.join("\n")
}

fn agrees(job: &Job, record: &Value, what: &Done<'_>) -> Result<(), String> {
    let state = text(record, "status");
    if !FINAL.contains(&state) || !record["completedAt"].is_i64() {
        return Err("it has not ended".to_owned());
    }
    let not_accepted = state == "failed" && text(record, "errorCode") != "run_failed";
    answer_agrees(job, record, not_accepted, what)?;
    record_agrees(record, not_accepted, what)
}

/// The answer against the record.
fn answer_agrees(job: &Job, record: &Value, not_accepted: bool, what: &Done<'_>) -> Result<(), String> {
    let Some(answer) = &job.answer else { return Err("it got no answer".to_owned()) };
    let body = answer.json();
    let spawn_id = [&body["spawnId"], &body["details"]["spawnId"]].into_iter().find_map(Value::as_str);
    if spawn_id != record["spawnId"].as_str() {
        return Err(format!("the answer is about {spawn_id:?}"));
    }
    match answer.status {
        202 if body["replayed"] == true => Ok(()),
        202 if not_accepted || what.times != 1 => Err("the answer says that it was taken".to_owned()),
        202 if body["gateway"]["id"] != record["gateway"]["id"] => Err("the answer names another gateway".to_owned()),
        202 if body["runId"] != record["runId"] => Err("the answer names another run".to_owned()),
        202 => Ok(()),
        504 if not_accepted => Err("the answer says that nobody knows".to_owned()),
        504 => Ok(()),
        502 | 503 if !not_accepted || what.times != 0 => Err("the answer says that it was not taken".to_owned()),
        502 | 503 if text(&body, "code") != text(record, "errorCode") => Err("the answer has another code".to_owned()),
        502 | 503 => Ok(()),
        _ => Err(format!("answered {} {}", answer.status, answer.text)),
    }
}

/// The record against what really happened.
fn record_agrees(record: &Value, not_accepted: bool, what: &Done<'_>) -> Result<(), String> {
    let state = text(record, "status");
    let reason = [text(record, "reason"), text(record, "error")].concat();
    if state != "completed" && reason.is_empty() {
        return Err("it doesn't say why".to_owned());
    }
    let Some((front, truth)) = &what.there else {
        return if not_accepted || state == "lost" { Ok(()) } else { Err("it never ran".to_owned()) };
    };
    if record["gateway"]["id"] != front.id {
        return Err("it ran elsewhere".to_owned());
    }
    // who can't be asked, or has forgotten it, leaves it lost where its own word went astray
    let may_be_lost = front.memory == Memory::Forgets || front.form == Form::Document002;
    let expected = match truth {
        Truth::Ended(RunEnded::Well(_)) => "completed",
        Truth::Ended(RunEnded::Badly(_)) => "failed",
        Truth::Ended(RunEnded::Aborted) => "killed",
        Truth::CutOff => "lost",
        Truth::Runs => return Err("it still runs".to_owned()),
    };
    if not_accepted || (state != expected && !(state == "lost" && may_be_lost)) {
        return Err(format!("it should be {expected}"));
    }
    let told = record["result"].to_string() + &reason;
    match truth {
        Truth::Ended(RunEnded::Badly(words)) if state == "failed" && !told.contains(words.as_str()) => {
            Err(format!("it doesn't have the gateway's words: {words}"))
        }
        _ => Ok(()),
    }
}
