//! What is shown of a local process, and what a closer look finds.

use std::collections::VecDeque;

use gatewarden_api::gateways::{LastEnd, OutputLine};
use gatewarden_processes::usage::Usage;

use crate::gateway_record::ProcessSource;
use crate::machines::process_supervision::Ending;

/// Lines of output that are kept.
const MAX_OUTPUT_LINES: usize = 500;
/// Bytes of output that are kept.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;

gatewarden_protocol::named! {
    /// Where a local process is. For a unit, in the service manager's words.
    pub enum ProcessState {
        /// It doesn't run, and shall not.
        Stopped = "stopped",
        /// It is being started.
        Starting = "starting",
        /// It runs.
        Running = "running",
        /// It was asked to end.
        Stopping = "stopping",
        /// It ended by itself and is started again soon.
        Waiting = "waiting",
        /// It ended too often, or as only a person can put right; for a unit: failed.
        GaveUp = "gave_up",
        /// Nobody can tell: the service manager doesn't answer, or there is no such unit or command.
        Unknown = "unknown",
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

/// How a process ended, as it is shown.
pub(super) fn last_end(at_ms: i64, ending: &Ending) -> LastEnd {
    LastEnd {
        at: at_ms.div_euclid(1_000),
        message: ending.words(),
        code: if let Ending::Code(code) = ending { Some(*code) } else { None },
        signal: if let Ending::Signal(signal) = ending { Some(*signal) } else { None },
    }
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

/// The newest lines, bounded in number and bytes.
#[derive(Debug, Default)]
pub(super) struct OutputRing {
    lines: VecDeque<OutputLine>,
    bytes: usize,
    dropped: u64,
}

impl OutputRing {
    /// Keeps a line: without colours and other control characters.
    pub(super) fn push(&mut self, at_ms: i64, stream: &str, text: &str) {
        let text = text.replace('\t', " ").chars().filter(|char| !char.is_control()).collect();
        let line = OutputLine { timestamp: at_ms, stream: stream.to_owned(), text };
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > MAX_OUTPUT_LINES || self.bytes > MAX_OUTPUT_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
            self.dropped += 1;
        }
    }

    /// The newest lines, oldest first.
    pub(super) fn newest(&self, most: usize) -> Vec<OutputLine> {
        self.lines.iter().skip(self.lines.len().saturating_sub(most)).cloned().collect()
    }

    /// Lines that are no longer kept.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// A sentence for each thing that is wrong; empty where nothing is.
pub(super) fn findings(view: &ProcessView, is_connected: bool, obstacle: Option<&str>) -> Vec<String> {
    let mut findings = Vec::new();
    if view.state != ProcessState::Running {
        findings.push(match &view.reason {
            Some(reason) => format!("It is {}: {reason}.", view.state.as_str()),
            None => format!("It is {}.", view.state.as_str()),
        });
    }
    match (is_connected, obstacle, view.state) {
        (true, _, ProcessState::Running) => {}
        (true, _, _) => findings.push(
            "The gateway is connected all the same: something else listens at its address. Stop that, or correct the \
             gateway's host and port."
                .to_owned(),
        ),
        (false, Some(obstacle), ProcessState::Running) => findings.push(format!(
            "The process runs, but the gateway is not connected: {}. It may still be coming up; else compare the port and \
             the token that it is started with to those of the gateway's record.",
            obstacle.trim_end_matches('.')
        )),
        (false, None, ProcessState::Running) => {
            findings.push("The process runs, but the gateway is not connected yet.".to_owned());
        }
        (false, _, _) => {}
    }
    if let Some(Verified::No(missing)) = &view.verified {
        findings.push(format!("The last start could not be verified: {}.", missing.join("; ")));
    }
    if view.restarts > 0 && view.state != ProcessState::GaveUp {
        let last = view.last_end.as_ref().map(|end| format!("; last it {}", end.message)).unwrap_or_default();
        findings.push(format!("It was started again {} times without anybody's asking{last}.", view.restarts));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway_record::ProcessSource;

    fn view(state: ProcessState) -> ProcessView {
        ProcessView { state, ..ProcessView::unknown(ProcessSource::Command("x".into()), 1) }
    }

    #[test]
    fn a_process_that_runs_and_is_connected_has_nothing_wrong() {
        assert!(findings(&view(ProcessState::Running), true, None).is_empty());
    }

    #[test]
    fn each_trouble_is_a_sentence_of_its_own() {
        let said = |view: &ProcessView, (connected, obstacle)| findings(view, connected, obstacle).join(" ");
        assert!(said(&view(ProcessState::Running), (false, Some("connection refused"))).contains("connection refused"));
        assert!(said(&view(ProcessState::Stopped), (true, None)).contains("something else listens"));
        let looping =
            ProcessView { restarts: 3, reason: Some("process 7 exited".into()), ..view(ProcessState::Waiting) };
        let words = said(&looping, (false, None));
        assert!(words.contains("process 7 exited") && words.contains("3 times"), "{words}");
        let unverified =
            ProcessView { verified: Some(Verified::No(vec!["a, b".into()])), ..view(ProcessState::Running) };
        assert!(said(&unverified, (true, None)).contains("could not be verified: a, b"));
    }

    #[test]
    fn the_newest_lines_are_kept_within_both_bounds_and_without_control_characters() {
        let mut ring = OutputRing::default();
        for number in 0..MAX_OUTPUT_LINES + 6 {
            ring.push(1, "stdout", &number.to_string());
        }
        ring.push(1, "stdout", "\x1b[31mred\tand\rblue");
        assert_eq!(ring.dropped(), 7);
        assert_eq!(
            ring.newest(2).iter().map(|line| line.text.as_str()).collect::<Vec<_>>(),
            ["505", "[31mred andblue"]
        );
        for _ in 0..200 {
            ring.push(1, "stdout", &"x".repeat(4096));
        }
        assert!(ring.bytes <= MAX_OUTPUT_BYTES);
        assert_eq!(ring.newest(usize::MAX).len(), MAX_OUTPUT_BYTES / 4096);
    }
}
