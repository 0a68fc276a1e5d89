//! What a check found: each step, the cause where one failed, and its cure.

use std::time::Duration;

use gatewarden_api::gateways::LastError;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

/// Where each step is told as soon as it is done; there are as many as [`STEPS`] at most.
pub(crate) type StepTold = UnboundedSender<Value>;

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Ok,
    /// Odd, and no reason to stop.
    Odd,
    Failed(LastError),
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

    fn problem(&self) -> Option<&LastError> {
        match self {
            Self::Failed(problem) => Some(problem),
            Self::Ok | Self::Odd | Self::Skipped => None,
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) detail: String,
    pub(crate) took: Option<Duration>,
}

impl Step {
    fn json(&self) -> Value {
        json!({
            "step": self.name,
            "result": self.outcome.word(),
            "detail": self.detail,
            "took_ms": self.took.map(|took| (took.as_secs_f64() * 1_000_000.0).round() / 1_000.0),
            "problem": self.outcome.problem(),
        })
    }
}

/// All steps in the order of the way.
pub(crate) const STEPS: [&str; 8] = ["dns", "tcp", "tls", "http", "upgrade", "handshake", "scopes", "clock"];

/// The whole report.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// As it can be typed again.
    pub(crate) address: String,
    /// The name under which it is registered here.
    pub(crate) name: Option<String>,
    pub(crate) device_id: String,
    pub(crate) whose: &'static str,
    pub(crate) steps: Vec<Step>,
    /// What the gateway tells of itself once it lets us in.
    pub(crate) gateway: Option<Value>,
    pub(crate) told: Option<StepTold>,
}

impl Report {
    fn add(&mut self, name: &'static str, outcome: Outcome, detail: impl Into<String>, took: Option<Duration>) {
        let step = Step { name, outcome, detail: detail.into(), took };
        if let Some(told) = &self.told {
            // Nobody listens any more: whoever began the check sees to that.
            let _ = told.send(step.json());
        }
        self.steps.push(step);
    }

    pub(crate) fn ok(&mut self, name: &'static str, detail: impl Into<String>, took: Option<Duration>) {
        self.add(name, Outcome::Ok, detail, took);
    }

    pub(crate) fn odd(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, Outcome::Odd, detail, None);
    }

    pub(crate) fn skipped(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, Outcome::Skipped, detail, None);
    }

    pub(crate) fn failed(&mut self, name: &'static str, problem: LastError) {
        let detail = problem.message.clone();
        self.add(name, Outcome::Failed(problem), detail, None);
    }

    /// Steps that were not come to, so that each report names all of them.
    pub(crate) fn close(mut self) -> Self {
        self.told = None;
        for name in STEPS {
            if !self.steps.iter().any(|step| step.name == name) {
                self.skipped(name, "not come to");
            }
        }
        self.steps.sort_by_key(|step| STEPS.iter().position(|name| *name == step.name));
        self
    }

    /// The first failure; a clock that is off before the login that fails because of it.
    pub(crate) fn cause(&self) -> Option<&LastError> {
        let problems = || self.steps.iter().filter_map(|step| Some((step.name, step.outcome.problem()?)));
        let (_, first) = problems().next()?;
        let clock = problems().find(|(name, _)| *name == "clock").map(|(_, problem)| problem);
        Some(clock.filter(|_| first.code == "device_signature_expired").unwrap_or(first))
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "address": self.address,
            "registered_as": self.name,
            "device": {"id": self.device_id, "whose": self.whose},
            "ok": self.cause().is_none(),
            "cause": self.cause(),
            "gateway": self.gateway,
            "steps": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
        })
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
            told: None,
        }
    }

    fn problem(code: &str) -> LastError {
        LastError { code: code.to_owned(), message: format!("{code}."), help: "Cure it.".to_owned() }
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
