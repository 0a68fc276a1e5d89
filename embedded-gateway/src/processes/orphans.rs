//! What a gateway that crashed left running: found by the next one on the same state directory, and reported. They are not
//! ended: nobody asked for that, and their work may be wanted.

use serde_json::{Value, json};

use super::proc_table;
use super::run_marker::StateMark;

/// Most orphans that are listed.
const MOST: usize = 100;

/// What is shown of a run's id, in characters: ids are no longer than that.
const LONGEST_RUN: usize = 256;

/// A process of a former gateway on this state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its id.
    pub pid: i32,
    /// Its group's: what to signal.
    pub group: i32,
    /// The program's name.
    pub program: String,
    /// The run that it was started for; `unknown` where it has cleared its environment.
    pub run: String,
}

impl Orphan {
    /// How it is shown in `health` and `status`.
    pub fn to_value(&self) -> Value {
        json!({"pid": self.pid, "group": self.group, "program": self.program, "runId": self.run})
    }

    /// What the log says.
    pub fn sentence(&self) -> String {
        format!(
            "process {} ({}) of run {} was left running by a gateway that crashed; it is not under control any more. To end it: \
             kill -TERM -- -{}",
            self.pid, self.program, self.run, self.group
        )
    }
}

/// The orphans of a state directory, at most 100. To be called at start, before anything is run. Blocking (reads `/proc`).
pub fn find_orphans(mark: &StateMark) -> Vec<Orphan> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    proc_table::all()
        .into_iter()
        .filter(|process| !process.is_dead() && process.pid != own)
        .filter_map(|process| {
            let run = match proc_table::environ(process.pid).and_then(|environ| mark.run_in(&environ)) {
                Some(run) => run.0,
                None => proc_table::lock_limit(process.pid)
                    .is_some_and(|number| mark.is_own(number))
                    .then(|| "unknown".to_owned())?,
            };
            let program = proc_table::name(process.pid).unwrap_or_default();
            // Any process can name itself anything there.
            let run = run.chars().filter(|char| !char.is_control()).take(LONGEST_RUN).collect();
            Some(Orphan { pid: process.pid, group: process.group, program, run })
        })
        .take(MOST)
        .collect()
}
