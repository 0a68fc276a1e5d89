//! What `gatewarden doctor` and `gatewarden gateway doctor` found: what is well, what is worth knowing, what is wrong and its cure.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{Access, access};
use serde_json::{Value, json};

use super::output::{Paint, Tone, plain_lines};
use super::{EXIT_FAILURE, EXIT_OK};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
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
    area: &'static str,
    text: String,
    /// What to do; empty where there is nothing to do.
    pub(super) cure: String,
}

impl Finding {
    pub(super) fn fine(area: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fine, area, text: text.into(), cure: String::new() }
    }

    pub(super) fn note(area: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Note, area, text: text.into(), cure: cure.into() }
    }

    pub(super) fn problem(area: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Problem, area, text: text.into(), cure: cure.into() }
    }
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
        self.add(Finding::fine(area, text));
    }

    pub(super) fn note(&mut self, area: &'static str, text: impl Into<String>, cure: impl Into<String>) {
        self.add(Finding::note(area, text, cure));
    }

    pub(super) fn problem(&mut self, area: &'static str, text: impl Into<String>, cure: impl Into<String>) {
        self.add(Finding::problem(area, text, cure));
    }

    pub(super) fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.level == Level::Problem).count()
    }

    /// 1 where something is wrong.
    pub(super) fn exit_code(&self) -> u8 {
        if self.problems() == 0 { EXIT_OK } else { EXIT_FAILURE }
    }

    pub(super) fn json(&self) -> Value {
        let shown = |Finding { level, area, text, cure }: &Finding| {
            let cure = (!cure.is_empty()).then_some(cure);
            json!({ "level": level.word(), "area": area, "text": text, "cure": cure })
        };
        let findings: Vec<Value> = self.findings.iter().map(shown).collect();
        json!({ "ok": self.problems() == 0, "problems": self.problems(), "findings": findings })
    }

    pub(super) fn text(&self, paint: Paint) -> String {
        let mut lines = Vec::new();
        for Finding { level, area, text, cure } in &self.findings {
            let word = paint.paint(level.tone(), &format!("{:8}", level.word()));
            lines.push(format!("{word} {area}: {}", plain_lines(text)));
            if !cure.is_empty() {
                lines.push(format!("         cure: {}", plain_lines(cure)));
            }
        }
        lines.push(match self.problems() {
            0 => "no problems found".to_owned(),
            1 => "1 problem found".to_owned(),
            many => format!("{many} problems found"),
        });
        lines.join("\n")
    }

    /// A file or directory that is there must be its owner's alone.
    pub(super) fn must_be_private(&mut self, area: &'static str, path: &Path) {
        let Ok(metadata) = std::fs::metadata(path) else { return };
        let (shown, mode) = (path.display(), metadata.permissions().mode() & 0o777);
        if mode & 0o077 != 0 {
            let (verb, right) = if metadata.is_dir() { ("entered", 700) } else { ("read", 600) };
            let text = format!("{shown} may be {verb} by others (mode {mode:04o})");
            self.problem(area, text, format!("chmod {right} {shown}"));
        }
    }

    pub(super) fn must_be_writable(&mut self, area: &'static str, dir: &Path, cure: &str) {
        if access(dir, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            self.problem(area, format!("{} cannot be written to", dir.display()), cure);
        }
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
