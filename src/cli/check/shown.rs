//! The report of a check for people.

use crate::check::report::{Outcome, Report};
use crate::cli::output::{Paint, Tone, plain};

pub(super) fn for_people(report: &Report, paint: Paint) -> String {
    let known = report.name.as_ref().map(|name| format!(" (registered here as {name})")).unwrap_or_default();
    let mut lines = vec![plain(&format!("{}{known}, with {}", report.address, report.whose))];
    for step in &report.steps {
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
    match report.cause() {
        None => lines.push(paint.paint(Tone::Good, "Everything is fine.")),
        Some(problem) => {
            let cause = format!("Cause: {} ({})", problem.message, problem.code);
            lines.push(paint.paint(Tone::Bad, &plain(&cause)));
            lines.push(plain(&format!("Cure:  {}", problem.help)));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use gatewarden_api::gateways::LastError;

    use super::*;

    #[test]
    fn people_read_the_cause_and_its_cure_below_the_steps() {
        let mut report = Report {
            address: "ws://a:1".to_owned(),
            name: None,
            device_id: "d".to_owned(),
            whose: "a device",
            steps: Vec::new(),
            gateway: None,
            told: None,
        };
        let code = "connection_refused".to_owned();
        report.failed("tcp", LastError { code, message: "Nobody listens.".to_owned(), help: "Cure it.".to_owned() });
        let text = for_people(&report.close(), Paint::none());
        assert!(text.contains("FAILED  tcp") && text.ends_with("Cure:  Cure it."), "{text}");
    }
}
