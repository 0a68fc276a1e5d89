//! What a finding is, and how findings are shown.

use serde_json::{Value, json};

use crate::cli::client::{Paint, Tone};
use crate::cli::terminal;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// All is well.
    Fine,
    /// Good to know; nothing is broken.
    Note,
    /// Something is broken, or soon will be.
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Fine => Tone::Good,
            Self::Note => Tone::Warning,
            Self::Problem => Tone::Bad,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) area: &'static str,
    pub(super) text: String,
    /// What to do; empty where there is nothing to do.
    pub(super) cure: String,
}

/// Everything that was looked at, in order.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn fine(&mut self, area: &'static str, text: impl Into<String>) {
        self.add(Finding { level: Level::Fine, area, text: text.into(), cure: String::new() });
    }

    pub(super) fn note(&mut self, area: &'static str, text: impl Into<String>, cure: impl Into<String>) {
        self.add(Finding { level: Level::Note, area, text: text.into(), cure: cure.into() });
    }

    pub(super) fn problem(&mut self, area: &'static str, text: impl Into<String>, cure: impl Into<String>) {
        self.add(Finding { level: Level::Problem, area, text: text.into(), cure: cure.into() });
    }

    pub(super) fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.level == Level::Problem).count()
    }

    pub(super) fn json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|Finding { level, area, text, cure }| {
                let cure = (!cure.is_empty()).then_some(cure);
                json!({ "level": level.word(), "area": area, "text": text, "cure": cure })
            })
            .collect();
        json!({ "ok": self.problems() == 0, "problems": self.problems(), "findings": findings })
    }

    pub(super) fn text(&self, paint: Paint) -> String {
        let mut lines = Vec::new();
        for Finding { level, area, text, cure } in &self.findings {
            let word = paint.paint(level.tone(), &format!("{:8}", level.word()));
            lines.push(format!("{word} {area}: {}", terminal::plain_lines(text)));
            if !cure.is_empty() {
                lines.push(format!("         cure: {}", terminal::plain_lines(cure)));
            }
        }
        lines.push(match self.problems() {
            0 => "no problems found".to_owned(),
            1 => "1 problem found".to_owned(),
            many => format!("{many} problems found"),
        });
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_problems_count_and_each_says_its_cure() {
        let mut report = Report::default();
        report.fine("disk", "much");
        report.note("backups", "none yet", "make one");
        assert!(report.text(Paint::none()).ends_with("no problems found"));
        assert_eq!(report.json()["ok"], true);
        report.problem("key", "lost", "find it");
        let text = report.text(Paint::none());
        assert!(text.contains("problem  key: lost\n         cure: find it\n1 problem found"), "{text}");
        assert_eq!(
            report.json()["findings"][2],
            json!({"level": "problem", "area": "key", "text": "lost", "cure": "find it"})
        );
        assert_eq!(report.json()["findings"][0]["cure"], Value::Null);
    }
}
