//! What a check found: each step, the cause where one failed, and its cure.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::output::{Paint, Tone, plain};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    /// Stable; those of gateways in general, and `clock_skew` and `tls_expected`.
    pub(super) code: String,
    pub(super) message: String,
    pub(super) help: String,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// Odd, and no reason to stop.
    Odd,
    Failed(Problem),
    /// Not needed, or not come to.
    Skipped,
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Odd => "odd",
            Self::Failed(_) => "failed",
            Self::Skipped => "skipped",
        }
    }

    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Failed(problem) => Some(problem),
            Self::Ok | Self::Odd | Self::Skipped => None,
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    pub(super) took: Option<Duration>,
}

/// All steps in the order of the way.
pub(super) const STEPS: [&str; 8] = ["dns", "tcp", "tls", "http", "upgrade", "handshake", "scopes", "clock"];

/// The whole report.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// As it can be typed again.
    pub(super) address: String,
    /// The name under which it is registered here.
    pub(super) name: Option<String>,
    pub(super) device_id: String,
    pub(super) whose: &'static str,
    pub(super) steps: Vec<Step>,
    /// What the gateway tells of itself once it lets us in.
    pub(super) gateway: Option<Value>,
}

impl Report {
    fn add(&mut self, name: &'static str, outcome: Outcome, detail: impl Into<String>, took: Option<Duration>) {
        self.steps.push(Step { name, outcome, detail: detail.into(), took });
    }

    pub(super) fn ok(&mut self, name: &'static str, detail: impl Into<String>, took: Option<Duration>) {
        self.add(name, Outcome::Ok, detail, took);
    }

    pub(super) fn odd(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, Outcome::Odd, detail, None);
    }

    pub(super) fn skipped(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, Outcome::Skipped, detail, None);
    }

    pub(super) fn failed(&mut self, name: &'static str, problem: Problem) {
        let detail = problem.message.clone();
        self.add(name, Outcome::Failed(problem), detail, None);
    }

    /// Steps that were not come to, so that each report names all of them.
    pub(super) fn close(mut self) -> Self {
        for name in STEPS {
            if !self.steps.iter().any(|step| step.name == name) {
                self.skipped(name, "not come to");
            }
        }
        self.steps.sort_by_key(|step| STEPS.iter().position(|name| *name == step.name));
        self
    }

    /// The first failure; a clock that is off before the login that fails because of it.
    pub(super) fn cause(&self) -> Option<&Problem> {
        let problems = || self.steps.iter().filter_map(|step| Some((step.name, step.outcome.problem()?)));
        let (_, first) = problems().next()?;
        let clock = problems().find(|(name, _)| *name == "clock").map(|(_, problem)| problem);
        Some(clock.filter(|_| first.code == "device_signature_expired").unwrap_or(first))
    }

    pub(super) fn json(&self) -> Value {
        let step = |step: &Step| {
            json!({
                "step": step.name,
                "result": step.outcome.word(),
                "detail": step.detail,
                "took_ms": step.took.map(|took| (took.as_secs_f64() * 1_000_000.0).round() / 1_000.0),
                "problem": step.outcome.problem(),
            })
        };
        json!({
            "address": self.address,
            "registered_as": self.name,
            "device": {"id": self.device_id, "whose": self.whose},
            "ok": self.cause().is_none(),
            "cause": self.cause(),
            "gateway": self.gateway,
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }

    pub(super) fn for_people(&self, paint: Paint) -> String {
        let known = self.name.as_ref().map(|name| format!(" (registered here as {name})")).unwrap_or_default();
        let mut lines = vec![plain(&format!("{}{known}, with {}", self.address, self.whose))];
        for step in &self.steps {
            let (mark, tone) = match &step.outcome {
                Outcome::Ok => ("ok", Tone::Good),
                Outcome::Odd => ("odd", Tone::Warning),
                Outcome::Failed(_) => ("FAILED", Tone::Bad),
                Outcome::Skipped => ("-", Tone::Faint),
            };
            let took = step.took.map(|took| format!(" ({:.1} ms)", took.as_secs_f64() * 1000.0)).unwrap_or_default();
            let mark = paint.paint(tone, &format!("{mark:<7}"));
            // The cause stands below in full.
            let detail = match &step.outcome {
                Outcome::Failed(problem) => &problem.code,
                _ => &step.detail,
            };
            lines.push(format!("  {mark} {:<10} {}{took}", step.name, plain(detail)));
        }
        match self.cause() {
            None => lines.push(paint.paint(Tone::Good, "Everything is fine.")),
            Some(problem) => {
                let cause = format!("Cause: {} ({})", problem.message, problem.code);
                lines.push(paint.paint(Tone::Bad, &plain(&cause)));
                lines.push(plain(&format!("Cure:  {}", problem.help)));
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            address: "ws://a:1".to_owned(),
            name: None,
            device_id: "d".to_owned(),
            whose: "a device",
            steps: Vec::new(),
            gateway: None,
        }
    }

    fn problem(code: &str) -> Problem {
        Problem { code: code.to_owned(), message: format!("{code}."), help: "Cure it.".to_owned() }
    }

    #[test]
    fn the_first_failure_is_the_cause_and_every_step_is_named() {
        let mut report = report();
        report.failed("tcp", problem("connection_refused"));
        report.ok("dns", "an address", None);
        let report = report.close();
        assert_eq!(report.cause().unwrap().code, "connection_refused");
        let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
        assert_eq!(names, STEPS);
        let text = report.for_people(Paint::none());
        assert!(text.contains("FAILED  tcp") && text.ends_with("Cure:  Cure it."), "{text}");
        assert_eq!(report.json()["cause"]["code"], "connection_refused");
    }

    #[test]
    fn a_login_that_fails_because_of_a_clock_is_the_clocks_fault() {
        let mut report = report();
        report.failed("handshake", problem("device_signature_expired"));
        report.failed("clock", problem("clock_skew"));
        assert_eq!(report.clone().close().cause().unwrap().code, "clock_skew");
        report.steps[0].outcome = Outcome::Failed(problem("token_mismatch"));
        assert_eq!(report.close().cause().unwrap().code, "token_mismatch");
    }
}
