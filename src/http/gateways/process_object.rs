//! A gateway's process on this machine, as the API shows it.

use gatewarden_actors::processes::view::{Diagnosis as Findings, ProcessView, Verified};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::gateway_object::seconds;

/// A gateway's process on this machine. Times are Unix seconds.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Process {
    /// `unit` or `command`.
    #[schema(example = "command")]
    pub kind: String,
    /// The unit's or the command's name.
    #[schema(example = "openclaw")]
    pub name: String,
    /// `stopped`, `starting`, `running`, `stopping`, `waiting` (ended, and started again soon), `gave_up` (ended too often, or as
    /// only a person can put right) or `unknown`.
    #[schema(example = "running")]
    pub state: String,
    /// When the state took its present value.
    pub since: i64,
    /// The main process.
    pub pid: Option<i32>,
    /// When that started.
    pub started_at: Option<i64>,
    /// Restarts that nobody asked for.
    pub restarts: u64,
    /// How it last ended.
    pub last_end: Option<LastEnd>,
    /// When it is started again, while it waits for that.
    pub next_start: Option<i64>,
    /// Why it doesn't run, and what to do.
    pub reason: Option<String>,
    /// Whether the last start was verified by a new process and a new connection: `pending`, `yes`, `no`; none where there was
    /// no start.
    pub verified: Option<String>,
    /// What the verification missed.
    pub missing: Vec<String>,
    /// Resident memory of all its processes.
    pub memory_bytes: Option<u64>,
    /// Share of one processor lately.
    pub cpu_percent: Option<f64>,
    /// Processor time since the start.
    pub cpu_seconds: Option<f64>,
    /// How many processes it is.
    pub processes: Option<u32>,
    /// Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
}

/// How a process ended.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LastEnd {
    /// When.
    pub at: i64,
    /// In words.
    #[schema(example = "exited with code 1")]
    pub message: String,
    /// The exit code, where it exited.
    pub code: Option<i32>,
    /// The signal, where that ended it.
    pub signal: Option<i32>,
}

/// A closer look.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Diagnosis {
    /// What is wrong and what to do, a sentence each.
    pub findings: Vec<String>,
    /// What is executed.
    pub program: Option<String>,
    /// The processes that belong to it.
    pub members: Vec<Member>,
    /// What it said last, oldest first. Empty for a unit: that is in the journal.
    pub output: Vec<OutputLine>,
    /// Lines that it said before.
    pub output_dropped: u64,
}

/// One process.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Member {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// The program's name.
    pub name: String,
    /// As in `ps`.
    #[schema(example = "S")]
    pub state: String,
}

/// A line of output.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputLine {
    /// When it was read, Unix milliseconds.
    pub timestamp: i64,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Its text.
    pub text: String,
}

impl Process {
    /// What a view shows.
    pub fn of(view: &ProcessView) -> Self {
        let (verified, missing) = match &view.verified {
            None => (None, Vec::new()),
            Some(Verified::Pending) => (Some("pending"), Vec::new()),
            Some(Verified::Yes) => (Some("yes"), Vec::new()),
            Some(Verified::No(missing)) => (Some("no"), missing.clone()),
        };
        let usage = view.usage.as_ref();
        Self {
            kind: view.source.kind().to_owned(),
            name: view.source.name().to_owned(),
            state: view.state.as_str().to_owned(),
            since: seconds(view.since_ms),
            pid: view.pid,
            started_at: view.started_ms.map(seconds),
            restarts: view.restarts,
            last_end: view.last_end.as_ref().map(|end| LastEnd {
                at: seconds(end.at_ms),
                message: end.words.clone(),
                code: end.code,
                signal: end.signal,
            }),
            next_start: view.next_start_ms.map(seconds),
            reason: view.reason.clone(),
            verified: verified.map(str::to_owned),
            missing,
            memory_bytes: usage.map(|usage| usage.memory_bytes),
            cpu_percent: usage.and_then(|usage| usage.cpu_percent).map(tenths),
            cpu_seconds: usage.map(|usage| usage.cpu_seconds),
            processes: usage.map(|usage| usage.processes),
            diagnosis: None,
        }
    }
}

impl Diagnosis {
    /// What was found.
    pub fn of(found: Findings) -> Self {
        Self {
            findings: found.findings,
            program: found.program,
            members: found
                .members
                .into_iter()
                .map(|one| Member { pid: one.pid, parent: one.parent, name: one.name, state: one.state.to_string() })
                .collect(),
            output: found
                .output
                .into_iter()
                .map(|line| OutputLine { timestamp: line.at_ms, stream: line.stream.to_owned(), text: line.text })
                .collect(),
            output_dropped: found.output_dropped,
        }
    }
}

fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}
