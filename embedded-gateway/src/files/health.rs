//! What the machine knows of its files: which ones could not be written, and what it says about it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::effect::LogLevel;
use crate::turn::Turn;

/// Between two log lines about files that can't be written.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Files remembered as broken; there are never more of ours.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct FilesHealth {
    broken: BTreeSet<PathBuf>,
    failures: u64,
    last_error: Option<String>,
    said: Option<Instant>,
    unsaid: u64,
}

impl FilesHealth {
    /// A change failed: counted, and said at most once a minute.
    pub(crate) fn failed(&mut self, file: &Path, error: &str, turn: &mut Turn<'_>) {
        self.failures = self.failures.saturating_add(1);
        if self.broken.len() < MOST {
            self.broken.insert(file.to_owned());
        }
        self.last_error = Some(format!("{}: {error}", file.display()));
        let now = turn.now.at;
        if self.said.is_some_and(|at| now.saturating_duration_since(at) < SAY_EVERY) {
            self.unsaid = self.unsaid.saturating_add(1);
            return;
        }
        self.said = Some(now);
        let more = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            unsaid => format!(" ({unsaid} more failures since the last such line)"),
        };
        let text = format!(
            "{} in the state directory could not be written: {error}; the gateway goes on and tries again every minute. Make room on the disk, or correct its permissions{more}",
            file.display()
        );
        tracing::error!("{text}");
        turn.log(LogLevel::Error, "files", None, text);
    }

    /// A file is as it should be again.
    pub(crate) fn restored(&mut self, file: &Path, turn: &mut Turn<'_>) {
        if self.broken.remove(file) && self.broken.is_empty() {
            self.said = None;
            self.unsaid = 0;
            turn.log(LogLevel::Info, "files", None, "all files of the state directory can be written again");
        }
    }

    pub(crate) fn broken(&self) -> impl Iterator<Item = &Path> {
        self.broken.iter().map(PathBuf::as_path)
    }

    /// Changes that failed since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// A sentence for `health`; none while all is well.
    pub(crate) fn degraded(&self) -> Option<String> {
        if self.broken.is_empty() {
            return None;
        }
        let last = self.last_error.as_deref().unwrap_or("unknown error");
        Some(format!("{} files of the state directory could not be written; last: {last}", self.broken.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{CountingChance, Now};
    use crate::effect::Effect;

    fn lines(turn: Turn<'_>) -> usize {
        turn.into_effects().iter().filter(|effect| matches!(effect, Effect::Log(_))).count()
    }

    #[test]
    fn failures_are_counted_all_but_said_once_a_minute() {
        let mut chance = CountingChance::default();
        let start = Now::read();
        let mut health = FilesHealth::default();
        for (second, said) in [(0, 1), (1, 0), (59, 0), (60, 1), (61, 0)] {
            let now = Now { at: start.at + Duration::from_secs(second), ..start };
            let mut turn = Turn::new(now, &mut chance);
            health.failed(Path::new("sessions/a.jsonl"), "No space left on device", &mut turn);
            assert_eq!(lines(turn), said, "second {second}");
        }
        assert_eq!(health.failures(), 5);
        assert!(health.degraded().is_some_and(|text| text.contains("No space left on device")));
    }

    #[test]
    fn all_is_well_again_only_when_every_file_is() {
        let mut chance = CountingChance::default();
        let mut turn = Turn::new(Now::read(), &mut chance);
        let mut health = FilesHealth::default();
        health.failed(Path::new("a"), "x", &mut turn);
        health.failed(Path::new("b"), "x", &mut turn);
        health.restored(Path::new("a"), &mut turn);
        assert!(health.degraded().is_some());
        health.restored(Path::new("b"), &mut turn);
        assert_eq!(health.degraded(), None);
    }
}
