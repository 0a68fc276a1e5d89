//! What is shown of a local process.

use serde::Serialize;

use super::output::OutputLine;
use super::usage::Usage;
use crate::gateway_record::ProcessSource;

/// Where a local process is. For a unit, in the service manager's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It doesn't run, and shall not.
    Stopped,
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It was asked to end.
    Stopping,
    /// It ended by itself and is started again soon.
    Waiting,
    /// It ended too often, or as only a person can put right; for a unit: failed.
    GaveUp,
    /// Nobody can tell: the service manager doesn't answer, or there is no such unit or command.
    Unknown,
}

impl ProcessState {
    /// All, for metrics and documents.
    pub const ALL: [Self; 7] =
        [Self::Stopped, Self::Starting, Self::Running, Self::Stopping, Self::Waiting, Self::GaveUp, Self::Unknown];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Waiting => "waiting",
            Self::GaveUp => "gave_up",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether the last start came to something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// Not known yet.
    Pending,
    /// A new process and a new connection.
    Yes,
    /// What is missing, a sentence each.
    No(Vec<String>),
}

/// The last end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEnd {
    /// Wall ms.
    pub at_ms: i64,
    /// `exited with code 1`.
    pub words: String,
    /// Exit code, where it exited.
    pub code: Option<i32>,
    /// Signal, where that ended it.
    pub signal: Option<i32>,
}

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessView {
    /// What runs it.
    pub source: ProcessSource,
    /// Where it is.
    pub state: ProcessState,
    /// Wall ms at which it came there.
    pub since_ms: i64,
    /// Its main process.
    pub pid: Option<i32>,
    /// Wall ms at which that started.
    pub started_ms: Option<i64>,
    /// Restarts that nobody asked for, since the daemon's start; for a unit, as the service manager counts.
    pub restarts: u64,
    /// How it last ended.
    pub last_end: Option<LastEnd>,
    /// Wall ms of the next start, while it waits for that.
    pub next_start_ms: Option<i64>,
    /// Why it doesn't run, and what to do.
    pub reason: Option<String>,
    /// Whether the last start was verified; none where there was none.
    pub verified: Option<Verified>,
    /// What it uses.
    pub usage: Option<Usage>,
}

impl ProcessView {
    /// Nothing known yet.
    pub fn unknown(source: ProcessSource, now_ms: i64) -> Self {
        Self {
            source,
            state: ProcessState::Unknown,
            since_ms: now_ms,
            pid: None,
            started_ms: None,
            restarts: 0,
            last_end: None,
            next_start_ms: None,
            reason: None,
            verified: None,
            usage: None,
        }
    }
}

/// One process of a gateway's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// The program's name, at most 15 characters.
    pub name: String,
    /// `R`, `S`, `D`, `T`, ...
    pub state: char,
}

/// What a closer look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnosis {
    /// What is wrong and what to do, a sentence each; empty where nothing is.
    pub findings: Vec<String>,
    /// What is executed, without its arguments.
    pub program: Option<String>,
    /// The processes that belong to it.
    pub members: Vec<Member>,
    /// What it said last, oldest first.
    pub output: Vec<OutputLine>,
    /// Lines that it said before and that are no longer kept.
    pub output_dropped: u64,
}
