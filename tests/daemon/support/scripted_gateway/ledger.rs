//! The runs of a scripted gateway: what it knows of each, and what it really did. The former may be forgotten when the
//! gateway dies; the latter is the truth that tests judge the daemon by, and never is.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::mpsc;

/// What a gateway still knows of its runs when it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// All of them; those that were under way have failed.
    Keeps,
    /// Nothing.
    Forgets,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With these words.
    Well(String),
    /// With these words.
    Badly(String),
    /// On request.
    Aborted,
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Truth {
    /// It is under way.
    Runs,
    /// It has ended.
    Ended(Ended),
    /// The gateway died under it and has forgotten it.
    CutOff,
}

/// The way back to whoever asked for a run: the connection that it came over, and the request's id.
pub(super) type Asker = (mpsc::UnboundedSender<String>, Value);

/// One run, as the gateway knows it.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) job: String,
    pub(super) session_key: String,
    pub(super) started_ms: i64,
    pub(super) ended: Option<(Ended, i64)>,
    pub(super) asker: Option<Asker>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    runs: BTreeMap<String, Run>,
    executed: BTreeMap<String, usize>,
    jobs: BTreeMap<String, (usize, Truth)>,
}

impl Ledger {
    /// Begins a run, unless one of this id is known: then nothing is executed and that one is given.
    pub(super) fn begin(&mut self, run: Run) -> Result<(), Box<Run>> {
        if let Some(known) = self.runs.get(&run.id) {
            return Err(Box::new(known.clone()));
        }
        *self.executed.entry(run.id.clone()).or_default() += 1;
        let job = self.jobs.entry(run.job.clone()).or_insert((0, Truth::Runs));
        *job = (job.0 + 1, Truth::Runs);
        self.runs.insert(run.id.clone(), run);
        Ok(())
    }

    /// Ends a run that is under way; what it was. None where it isn't any more.
    pub(super) fn end(&mut self, id: &str, ended: Ended, now_ms: i64) -> Option<Run> {
        let run = self.runs.get_mut(id).filter(|run| run.ended.is_none())?;
        run.ended = Some((ended.clone(), now_ms));
        if let Some(job) = self.jobs.get_mut(&run.job) {
            job.1 = Truth::Ended(ended);
        }
        let asker = run.asker.take();
        Some(Run { asker, ..run.clone() })
    }

    /// The gateway comes back after its death.
    pub(super) fn come_back(&mut self, memory: Memory, now_ms: i64) {
        let open: Vec<String> =
            self.runs.values().filter(|run| run.ended.is_none()).map(|run| run.id.clone()).collect();
        for id in open {
            match memory {
                Memory::Keeps => drop(self.end(&id, Ended::Badly("the gateway was killed".to_owned()), now_ms)),
                Memory::Forgets => {
                    if let Some(job) = self.runs.get(&id).and_then(|run| self.jobs.get_mut(&run.job)) {
                        job.1 = Truth::CutOff;
                    }
                }
            }
        }
        if memory == Memory::Forgets {
            self.runs.clear();
        }
    }

    pub(super) fn run(&self, id: &str) -> Option<&Run> {
        self.runs.get(id)
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// The run in a session, the one under way first.
    pub(super) fn in_session(&self, key: &str) -> Option<&Run> {
        let there = || self.runs.values().filter(|run| run.session_key == key);
        there().find(|run| run.ended.is_none()).or_else(|| there().next_back())
    }

    pub(super) fn executed(&self) -> BTreeMap<String, usize> {
        self.executed.clone()
    }

    pub(super) fn jobs(&self) -> BTreeMap<String, (usize, Truth)> {
        self.jobs.clone()
    }
}
