//! Whether a start of a local process came to something: a new process, and a new connection to the gateway in it.

use std::time::{Duration, Instant};

/// How a verification stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Something is missing, and there is time.
    Pending,
    /// There is a new process, and the gateway was connected and authenticated anew after it had started.
    Verified,
    /// Time is up: what is missing, a sentence each.
    Failed(Vec<String>),
}

/// One verification. Connections are told apart by the time at which they became ready.
#[derive(Debug, Clone)]
pub struct Verification {
    began: Instant,
    within: Duration,
    process: Option<Process>,
    ready_since_ms: Option<i64>,
    /// What keeps the connection from being ready, in words.
    obstacle: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    pid: i32,
    /// The connection that was there when it started can't be to it.
    stale_ready_ms: Option<i64>,
}

impl Verification {
    /// Begins one; `ready_since_ms` is that of the connection there is now.
    pub fn begin(now: Instant, within: Duration, ready_since_ms: Option<i64>) -> Self {
        Self { began: now, within, process: None, ready_since_ms, obstacle: None }
    }

    /// When [`Self::verdict`] will not be pending any more.
    pub fn deadline(&self) -> Instant {
        self.began + self.within
    }

    /// A process started.
    pub fn on_process(&mut self, pid: i32) {
        self.process = Some(Process { pid, stale_ready_ms: self.ready_since_ms });
    }

    /// It ended.
    pub fn on_process_end(&mut self) {
        self.process = None;
    }

    /// What is known of the connection now.
    pub fn on_link(&mut self, ready_since_ms: Option<i64>, obstacle: Option<String>) {
        self.ready_since_ms = ready_since_ms;
        self.obstacle = obstacle;
    }

    /// How it stands at `now`.
    pub fn verdict(&self, now: Instant) -> Verdict {
        let connected =
            |process: &Process| self.ready_since_ms.is_some() && self.ready_since_ms != process.stale_ready_ms;
        if self.process.as_ref().is_some_and(connected) {
            return Verdict::Verified;
        }
        if now < self.deadline() { Verdict::Pending } else { Verdict::Failed(self.missing()) }
    }

    /// What is missing, a sentence each.
    pub fn missing(&self) -> Vec<String> {
        let within = self.within.as_secs();
        let Some(process) = self.process else {
            return vec![format!("there was no running process {within} s after the start")];
        };
        let pid = process.pid;
        vec![match (self.ready_since_ms, &self.obstacle) {
            (Some(_), _) => format!(
                "process {pid} runs, but the gateway's connection is the one from before it started: something else listens \
                 at the gateway's address"
            ),
            (None, Some(obstacle)) => {
                format!("process {pid} runs, but the gateway was not connected within {within} s: {obstacle}")
            }
            (None, None) => format!("process {pid} runs, but the gateway was not connected within {within} s"),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(60);

    fn now() -> Instant {
        crate::any_instant()
    }

    #[test]
    fn a_new_process_and_a_connection_after_it_are_both_needed() {
        let at = now();
        let mut verification = Verification::begin(at, WITHIN, Some(5));
        assert_eq!(verification.verdict(at), Verdict::Pending);
        verification.on_process(77);
        assert_eq!(verification.verdict(at), Verdict::Pending, "the old connection doesn't count");
        verification.on_link(None, Some("connection refused".into()));
        assert_eq!(verification.verdict(at), Verdict::Pending);
        verification.on_link(Some(9), None);
        assert_eq!(verification.verdict(at), Verdict::Verified);
        assert_eq!(verification.verdict(at + WITHIN * 2), Verdict::Verified);
    }

    #[test]
    fn a_connection_without_the_process_is_somebody_elses() {
        let at = now();
        let mut verification = Verification::begin(at, WITHIN, None);
        verification.on_process(77);
        verification.on_process_end();
        verification.on_link(Some(9), None);
        let Verdict::Failed(missing) = verification.verdict(at + WITHIN) else { panic!("it is late") };
        assert!(missing[0].contains("no running process"), "{missing:?}");
    }

    #[test]
    fn what_is_missing_is_said_once_time_is_up() {
        let at = now();
        let mut verification = Verification::begin(at, WITHIN, Some(3));
        verification.on_process(77);
        let said = |verification: &Verification| match verification.verdict(at + WITHIN) {
            Verdict::Failed(missing) => missing.join(" "),
            other => panic!("{other:?}"),
        };
        assert!(said(&verification).contains("something else listens"));
        verification.on_link(None, Some("the token is wrong".into()));
        let words = said(&verification);
        assert!(words.contains("process 77 runs") && words.contains("the token is wrong"), "{words}");
    }
}
